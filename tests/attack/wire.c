// SPDX-License-Identifier: BSD-2-Clause
/* Frames that come close to what the tc wall lets pass: the policy of bottles.py allows one address
 * directly, and publishes one port. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DIRECT "203.0.113.60"
#define DIRECT_PORT 7001
#define PUBLISHED 8099

struct frame {
	size_t length;
	uint8_t bytes[512];
};

static void put(struct frame *f, const void *bytes, size_t length)
{
	memcpy(f->bytes + f->length, bytes, length);
	f->length += length;
}

static void put_ethernet(struct frame *f, unsigned first, uint16_t protocol)
{
	const uint8_t head[14] = {(uint8_t)first, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xb0,
				  (uint8_t)(protocol >> 8), (uint8_t)protocol};

	put(f, head, sizeof(head));
}

/* `options`: a word of them, or 0. */
static void put_ip(struct frame *f, const char *to, uint8_t protocol, uint16_t fragment,
		   uint32_t options, size_t payload)
{
	struct {
		struct iphdr ip;
		uint32_t options;
	} head = {.ip = {.version = 4, .ihl = options ? 6 : 5, .ttl = 64, .protocol = protocol,
			 .frag_off = htons(fragment), .saddr = inet_addr("203.0.113.201"),
			 .daddr = inet_addr(to)},
		  .options = options};
	size_t size = head.ip.ihl * 4u;

	head.ip.tot_len = htons((uint16_t)(size + payload));
	head.ip.check = checksum(&head, size, 0);
	put(f, &head, size);
}

static void put_ports(struct frame *f, uint16_t from, uint16_t to)
{
	const uint16_t ports[2] = {htons(from), htons(to)};

	put(f, ports, sizeof(ports));
}

static void put_datagram(struct frame *f)
{
	const uint16_t rest[2] = {htons((uint16_t)(8 + strlen(mark))), 0};

	put_ports(f, 4711, DIRECT_PORT);
	put(f, rest, sizeof(rest));
	put(f, mark, strlen(mark));
}

static void send_frame(const struct frame *f)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	char name[16];

	to.sll_ifindex = (int)wire_index(name);
	if (sendto(open_socket(AF_PACKET, SOCK_RAW, 0), f->bytes, f->length, 0, (void *)&to,
		   sizeof(to)) < 0)
		perror("sendto");
}

static void send_datagram(unsigned first, uint8_t protocol, uint16_t fragment, uint32_t options)
{
	struct frame f = {0};

	put_ethernet(&f, first, ETH_P_IP);
	put_ip(&f, DIRECT, protocol, fragment, options, 8 + strlen(mark));
	put_datagram(&f);
	send_frame(&f);
}

static void send_segment(uint8_t flags)
{
	struct frame f = {0};
	uint8_t rest[16] = {[8] = 0x50, [9] = flags};

	put_ethernet(&f, 2, ETH_P_IP);
	put_ip(&f, setting("V4"), IPPROTO_TCP, 0, 0, 20 + strlen(mark));
	put_ports(&f, PUBLISHED, ntohs(target4.sin_port));
	put(&f, rest, sizeof(rest));
	put(&f, mark, strlen(mark));
	send_frame(&f);
}

/* What is quoted is what carries the data. */
static void send_error(uint8_t type, uint8_t code)
{
	const uint8_t icmp[8] = {type, code};
	struct frame f = {0};

	put_ethernet(&f, 2, ETH_P_IP);
	put_ip(&f, DIRECT, IPPROTO_ICMP, 0, 0, 8 + 20 + 8 + strlen(mark));
	put(&f, icmp, sizeof(icmp));
	put_ip(&f, DIRECT, IPPROTO_UDP, 0, 0, 8 + strlen(mark));
	put_datagram(&f);
	send_frame(&f);
}

ATTACK(packet_direct_options, "", "a frame to a direct address, with IP options")
{
	send_datagram(2, IPPROTO_UDP, 0, htonl(0x01010100));
}
ATTACK(packet_direct_fragment, "", "a fragment to a direct address")
{
	send_datagram(2, IPPROTO_UDP, 0x2000, 0);
}
ATTACK(packet_direct_protocol, "", "UDP-Lite to a direct address and port")
{
	send_datagram(2, IPPROTO_UDPLITE, 0, 0);
}
ATTACK(packet_direct_broadcast, "", "a frame to everybody on the link, for a direct address")
{
	send_datagram(0xff, IPPROTO_UDP, 0, 0);
}
ATTACK(packet_published_answer, "", "a published port answers somebody who never came")
{
	send_segment(TH_ACK);
}
ATTACK(packet_published_opens, "", "a published port opens a connection, data in the SYN")
{
	send_segment(TH_SYN);
}
ATTACK(packet_forged_peer, "breaks", "tells the tc wall by its map that somebody came to the published port")
{
	write_wire_maps("peers");
	send_segment(TH_ACK);
}
ATTACK(packet_icmp_error, "", "ICMP errors to a direct address that quote the data")
{
	send_error(3, 4);
	send_error(3, 3);
	send_error(11, 0);
	send_error(12, 0);
}
ATTACK(packet_icmp6_error, "", "ICMPv6 errors that quote the data")
{
	struct frame f = {0};
	uint8_t packet[256];
	size_t size = forge_udp6(packet);

	for (uint8_t type = 1; type <= 4; type++) {
		const uint8_t icmp[8] = {type};
		uint8_t outer[40];

		f.length = 0;
		put_ethernet(&f, 2, ETH_P_IPV6);
		memcpy(outer, packet, sizeof(outer));
		outer[5] = (uint8_t)(8 + size);
		outer[6] = IPPROTO_ICMPV6;
		put(&f, outer, sizeof(outer));
		put(&f, icmp, sizeof(icmp));
		put(&f, packet, size);
		send_frame(&f);
	}
}
ATTACK(packet_arp_stuffed, "", "ARP for a direct address, with more behind it")
{
	uint8_t arp[28] = {0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xb0, 203, 0, 113, 201,
			   0, 0, 0, 0, 0, 0, 203, 0, 113, 60};
	struct frame f = {0};

	put_ethernet(&f, 0xff, ETH_P_ARP);
	put(&f, arp, sizeof(arp));
	put(&f, mark, strlen(mark));
	send_frame(&f);
}

/* With a header for network cards that fill in the checksum: where, we say. */
static void send_unfinished(const struct frame *f, uint16_t start, uint16_t offset)
{
	struct virtio_net_hdr head = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = start,
				      .csum_offset = offset};
	struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)f->bytes, f->length}};
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = parts,
				 .msg_iovlen = 2};
	int fd = open_socket(AF_PACKET, SOCK_RAW, 0);
	char name[16];

	to.sll_ifindex = (int)wire_index(name);
	set_int(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	if (sendmsg(fd, &message, 0) < 0)
		perror("sendmsg");
}

ATTACK(packet_checksum_port, "", "the checksum that a network card fills in becomes the port")
{
	const uint16_t rest[2] = {htons(16), 0};
	uint16_t filler[4] = {0};
	struct frame f = {0};

	put_ethernet(&f, 2, ETH_P_IP);
	put_ip(&f, DIRECT, IPPROTO_UDP, 0, 0, 16);
	put_ports(&f, 4711, DIRECT_PORT);
	put(&f, rest, sizeof(rest));
	/* so that the sum of it all, inverted, is the port */
	filler[0] = checksum(f.bytes + 34, 8, ntohs(target4.sin_port));
	put(&f, filler, sizeof(filler));
	send_unfinished(&f, 34, 2);
}

/* A datagram or segment to `port`, whoever sent it. */
static bool is_for(const uint8_t *frame, ssize_t length, uint16_t port)
{
	return length >= 38 && frame[12] == 8 && frame[13] == 0 &&
	       memcmp(frame + 36, &port, sizeof(port)) == 0;
}

ATTACK(packet_hears, "inbound inside own", "a packet socket hears what knocks from outside")
{
	struct pollfd ready = {.fd = open_socket(AF_PACKET, SOCK_RAW, 0), .events = POLLIN};
	const time_t end = time(NULL) + 4;
	uint8_t frame[2048];
	struct sockaddr_ll from = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	socklen_t size;
	char name[16];

	/* what others send on loopback meanwhile is much, and would bury it */
	from.sll_ifindex = (int)wire_index(name);
	need(bind(ready.fd, (void *)&from, sizeof(from)), "bind");
	while (time(NULL) < end && poll(&ready, 1, 2500) > 0) {
		ssize_t length;

		size = sizeof(from);
		length = recvfrom(ready.fd, frame, sizeof(frame), 0, (void *)&from, &size);
		if (from.sll_pkttype == PACKET_OUTGOING ||
		    !is_for(frame, length, target4.sin_port))
			continue;
		printf("BREACH: heard who knocks at port %d\n", ntohs(target4.sin_port));
		return;
	}
	fprintf(stderr, "nobody was heard\n");
}
