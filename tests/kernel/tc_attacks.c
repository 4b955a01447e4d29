// SPDX-License-Identifier: BSD-2-Clause
/* Ways out past a cgroup's programs for who is root over the bottle's network namespace. */
#include "tc_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const unsigned char far_link[6] = {2, 0, 0, 0, 0, 0xfa}, bottle_link[6] = {2, 0, 0, 0, 0, 0xb0},
			   everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct frame {
	size_t length;
	unsigned char bytes[256];
};

static void put(struct frame *f, const void *bytes, size_t length)
{
	memcpy(f->bytes + f->length, bytes, length);
	f->length += length;
}

static void put16(struct frame *f, unsigned value)
{
	put(f, &(uint16_t){htons((uint16_t)value)}, 2);
}

static void put_ethernet(struct frame *f, const unsigned char *to, unsigned type)
{
	put(f, to, 6);
	put(f, bottle_link, 6);
	put16(f, type);
}

static void put_mark(struct frame *f)
{
	put(f, MARK, sizeof(MARK));
}

/* A datagram, or the head of a TCP segment, with the mark. */
struct ip_parts {
	const char *to;
	uint16_t source_port, port;
	unsigned protocol, fragment, options;
};

static void put_ip(struct frame *f, const struct ip_parts *p)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5 + (p->options != 0),
			   .ttl = 64,
			   .protocol = (uint8_t)p->protocol,
			   .frag_off = htons((uint16_t)p->fragment)};
	uint8_t tail[16] = {[4 + 4] = 0x50, [4 + 5] = 0x10}; /* of a TCP header: ACK, no SYN */
	struct {
		struct iphdr ip;
		uint32_t option;
	} head = {.option = p->options};
	size_t size = ip.ihl * 4u, body = (p->protocol == IPPROTO_TCP ? 20 : 8) + sizeof(MARK);

	ip.tot_len = htons((uint16_t)(size + body));
	inet_pton(AF_INET, BOTTLE_STRANGE, &ip.saddr);
	inet_pton(AF_INET, p->to, &ip.daddr);
	head.ip = ip;
	head.ip.check = wire_checksum(&head, size);
	put(f, &head, size);
	put16(f, p->source_port);
	put16(f, p->port);
	if (p->protocol == IPPROTO_TCP) {
		put(f, tail, sizeof(tail));
	} else {
		put16(f, (unsigned)body);
		put16(f, 0);
	}
	put_mark(f);
}

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static int send_by(int fd, const char *interface, const struct frame *f)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};

	return fd >= 0 && sendto(fd, f->bytes, f->length, 0, (void *)&to, sizeof(to)) ==
				  (ssize_t)f->length ? 0 : 1;
}

static int send_frame(const struct frame *f)
{
	return send_by(packet_socket(), "eth0", f);
}

static int send_ip(const unsigned char *to, const struct ip_parts *parts)
{
	struct frame f = {0};

	put_ethernet(&f, to, ETH_P_IP);
	put_ip(&f, parts);
	return send_frame(&f);
}

/* ---- the attacks ------------------------------------------------------------------------------- */

int attack_frame(void *unused)
{
	struct frame f = {0};

	(void)unused;
	put_ethernet(&f, everybody, 0x88b5);
	put_mark(&f);
	return send_frame(&f);
}

static int frame_of_ip(void *unused)
{
	(void)unused;
	return send_ip(far_link, &(struct ip_parts){FAR_STRANGE, 9, 9, IPPROTO_UDP, 0, 0});
}

static int wrong_port(void *unused)
{
	(void)unused;
	return send_ip(far_link, &(struct ip_parts){FAR_DIRECT, 9, 9, IPPROTO_UDP, 0, 0});
}

static int wrong_protocol(void *unused)
{
	(void)unused;
	return send_ip(far_link,
		       &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDPLITE, 0, 0});
}

static int direct_fragment(void *unused)
{
	(void)unused;
	return send_ip(far_link,
		       &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDP, 0x2000, 0});
}

static int direct_options(void *unused)
{
	(void)unused;
	return send_ip(far_link, &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDP, 0,
						    htonl(0x01010100)});
}

static int direct_to_everybody(void *unused)
{
	(void)unused;
	return send_ip(everybody,
		       &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDP, 0, 0});
}

/* As if it answered somebody who came to the published port. */
static int unasked_answer(void *unused)
{
	(void)unused;
	return send_ip(far_link,
		       &(struct ip_parts){FAR_STRANGE, PUBLISHED_PORT, 4711, IPPROTO_TCP, 0, 0});
}

static int tagged(void *unused)
{
	struct frame f = {0};

	(void)unused;
	put_ethernet(&f, far_link, 0x8100);
	put16(&f, 7);
	put16(&f, ETH_P_IP);
	put_ip(&f, &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDP, 0, 0});
	return send_frame(&f);
}

/* What it quotes may be anything. */
static int icmp_error(void *unused)
{
	struct frame f = {0};

	(void)unused;
	put_ethernet(&f, far_link, ETH_P_IP);
	put_ip(&f, &(struct ip_parts){FAR_DIRECT, 0x0303, 0, IPPROTO_ICMP, 0, 0});
	put_ip(&f, &(struct ip_parts){FAR_DIRECT, 9, DIRECT_PORT, IPPROTO_UDP, 0, 0});
	return send_frame(&f);
}

static void put_arp(struct frame *f, const char *target)
{
	struct in_addr to, from;

	inet_pton(AF_INET, target, &to);
	inet_pton(AF_INET, BOTTLE_DIRECT, &from);
	put_ethernet(f, everybody, ETH_P_ARP);
	put16(f, 1);
	put16(f, ETH_P_IP);
	put(f, (const char[]){6, 4, 0, 1}, 4);
	put(f, bottle_link, 6);
	put(f, &from, 4);
	put(f, everybody, 6);
	put(f, &to, 4);
}

static int arp_stranger(void *unused)
{
	struct frame f = {0};

	(void)unused;
	put_arp(&f, FAR_STRANGE);
	return send_frame(&f);
}

static int arp_stuffed(void *unused)
{
	struct frame f = {0};

	(void)unused;
	put_arp(&f, FAR_DIRECT);
	put_mark(&f);
	return send_frame(&f);
}

static int nd_stuffed(void *unused)
{
	struct frame f = {0};
	unsigned char address[16];

	(void)unused;
	put_ethernet(&f, far_link, ETH_P_IPV6);
	put(&f, (const char[]){0x60, 0, 0, 0}, 4);
	put16(&f, 24 + 16);
	put(&f, (const unsigned char[]){IPPROTO_ICMPV6, 255}, 2);
	inet_pton(AF_INET6, BOTTLE_DIRECT6, address);
	put(&f, address, 16);
	inet_pton(AF_INET6, FAR_DIRECT6, address);
	put(&f, address, 16);
	put(&f, (const unsigned char[]){135, 0, 0, 0, 0, 0, 0, 0}, 8);
	put(&f, address, 16);
	put(&f, "\x01\x02" MARK, 16);
	return send_frame(&f);
}

static int plain_socket(void *unused)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, FAR_STRANGE, 9);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)unused;
	return sendto(fd, MARK, sizeof(MARK), 0, (void *)&to, sizeof(struct sockaddr_in)) < 0;
}

static int plain_socket6(void *unused)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET6, FAR_STRANGE6, 9);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)unused;
	return sendto(fd, MARK, sizeof(MARK), 0, (void *)&to, sizeof(struct sockaddr_in6)) < 0;
}

static void write_file(const char *directory, const char *file, const char *text)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(90);
	close(fd);
}

/* Made outside of the bottle's cgroup, used in it. */
static int made_before(void *cgroup)
{
	struct frame f = {0};
	int fd = packet_socket();

	write_file(cgroup, "cgroup.procs", "0");
	put_ethernet(&f, everybody, 0x88b5);
	put_mark(&f);
	return send_by(fd, "eth0", &f);
}

/* What comes in by a TUN device is forwarded, and belongs to no socket. */
static int forwarded(void *unused)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "tctun"};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct frame f = {0};

	(void)unused;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		return 1;
	write_file("/proc/sys/net/ipv4", "ip_forward", "1");
	write_file("/proc/sys/net/ipv4/conf/all", "rp_filter", "0");
	write_file("/proc/sys/net/ipv4/conf/all", "accept_local", "1");
	write_file("/proc/sys/net/ipv4/conf/tctun", "accept_local", "1");
	if (system("ip link set tctun up && ip addr add 192.0.2.1/24 dev tctun && ip neigh replace "
		   FAR_STRANGE " lladdr 02:00:00:00:00:fa dev eth0 nud permanent") != 0)
		return 2;
	put_ip(&f, &(struct ip_parts){FAR_STRANGE, 9, 9, IPPROTO_UDP, 0, 0});
	return write(fd, f.bytes, f.length) != (ssize_t)f.length;
}

static int by_macvlan(void *unused)
{
	struct frame f = {0};
	int result;

	(void)unused;
	if (system("ip link add tcmac link eth0 type macvlan mode bridge 2>&-") != 0 &&
	    system("ip link add tcmac link eth0 type vlan id 7") != 0)
		return 1;
	put_ethernet(&f, everybody, 0x88b5);
	put_mark(&f);
	result = system("ip link set tcmac addrgenmode none up") != 0 ||
		 send_by(packet_socket(), "tcmac", &f);
	return system("ip link del tcmac") != 0 || result;
}

const struct attack attacks[] = {
	{"frame", attack_frame},
	{"datagram in a frame", frame_of_ip},
	{"another port of a direct address", wrong_port},
	{"another protocol to it", wrong_protocol},
	{"fragment to it", direct_fragment},
	{"IP options to it", direct_options},
	{"link broadcast of what is for it", direct_to_everybody},
	{"answer to nobody from a published port", unasked_answer},
	{"ICMP error outward", icmp_error},
	{"802.1Q", tagged},
	{"ARP for a stranger", arp_stranger},
	{"ARP with a payload", arp_stuffed},
	{"neighbour solicitation with a payload", nd_stuffed},
	{"datagram socket in another cgroup", plain_socket},
	{"IPv6 datagram socket in another cgroup", plain_socket6},
	{"packet socket made before joining", made_before},
	{"TUN and forwarding", forwarded},
	{"a device on top", by_macvlan},
};
const size_t attack_count = sizeof(attacks) / sizeof(attacks[0]);
