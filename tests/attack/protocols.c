// SPDX-License-Identifier: BSD-2-Clause
/* Other transports, raw and packet sockets, and families with a way of their own to the wire. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip_icmp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define IPPROTO_SMC_ 256
#define IPPROTO_L2TP_ 115

ATTACK(udplite4, "", "UDP-Lite over IPv4")
{
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), target4);
}
ATTACK(udplite6, "", "UDP-Lite over IPv6")
{
	SEND_TO(open_socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE), target6);
}
ATTACK(udplite_mapped, "", "UDP-Lite to ::ffff:a.b.c.d, connected")
{
	int fd = open_socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE);

	if (connect(fd, (void *)&mapped, sizeof(mapped)) < 0)
		perror("connect");
	try_send(fd, NULL, 0);
}
ATTACK(mptcp4, "", "MPTCP over IPv4: subflows are made by the kernel")
{
	STREAM_TO(open_socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), target4);
}
ATTACK(mptcp6, "", "MPTCP over IPv6")
{
	STREAM_TO(open_socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP), target6);
}
ATTACK(mptcp_mapped, "", "MPTCP to ::ffff:a.b.c.d")
{
	STREAM_TO(open_socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP), mapped);
}
ATTACK(sctp4, "", "SCTP, one to one") { STREAM_TO(open_socket(AF_INET, SOCK_STREAM, 132), target4); }
ATTACK(sctp4_many, "", "SCTP, one to many, by sendto()")
{
	SEND_TO(open_socket(AF_INET, SOCK_SEQPACKET, 132), target4);
}
ATTACK(dccp4, "", "DCCP")
{
	int fd = open_socket(AF_INET, 6 /* SOCK_DCCP */, 33);

	set_int(fd, 269 /* SOL_DCCP */, 2 /* DCCP_SOCKOPT_SERVICE */, htonl(42));
	STREAM_TO(fd, target4);
}
ATTACK(smc4, "", "AF_SMC: falls back to a TCP socket of the kernel's own")
{
	STREAM_TO(open_socket(43, SOCK_STREAM, 0), target4);
}
ATTACK(smc_inet, "", "IPPROTO_SMC over IPv4")
{
	STREAM_TO(open_socket(AF_INET, SOCK_STREAM, IPPROTO_SMC_), target4);
}
ATTACK(l2tp_ip, "", "L2TP over IP")
{
	struct {
		struct sockaddr_in in;
	} address = {.in = target4};

	memcpy(&address.in.sin_zero, &target4.sin_port, 2);
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, IPPROTO_L2TP_), address.in);
}

/* ---- ICMP ----------------------------------------------------------------------------------- */

static size_t echo_request(uint8_t *data, bool six)
{
	struct icmphdr header = {.type = six ? 128 : ICMP_ECHO, .un.echo.sequence = htons(1)};
	size_t size = sizeof(header) + strlen(mark);

	memcpy(data, &header, sizeof(header));
	memcpy(data + sizeof(header), mark, strlen(mark));
	header.checksum = six ? 0 : checksum(data, size, 0);
	memcpy(data, &header, sizeof(header));
	return size;
}

static void ping(int fd, const void *address, socklen_t address_size, bool six)
{
	uint8_t data[128];
	size_t size = echo_request(data, six);

	if (sendto(fd, data, size, 0, address, address_size) < 0)
		perror("sendto");
}

ATTACK(ping4, "", "ICMP echo by a ping socket")
{
	ping(open_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), &target4, sizeof(target4), false);
}
ATTACK(ping6, "", "ICMPv6 echo by a ping socket")
{
	ping(open_socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6), &target6, sizeof(target6), true);
}
ATTACK(ping4_connected, "", "ICMP echo by a connected ping socket")
{
	int fd = open_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);

	if (connect(fd, (void *)&target4, sizeof(target4)) < 0)
		perror("connect");
	ping(fd, NULL, 0, false);
}
ATTACK(icmp4_raw, "", "ICMP echo by a raw socket")
{
	ping(open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), &target4, sizeof(target4), false);
}
ATTACK(icmp6_raw, "", "ICMPv6 echo by a raw socket")
{
	struct sockaddr_in6 address = target6;

	address.sin6_port = 0;
	ping(open_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), &address, sizeof(address), true);
}

/* ---- raw ------------------------------------------------------------------------------------ */

static void raw_plain4(int protocol)
{
	SEND_TO(open_socket(AF_INET, SOCK_RAW, protocol), target4);
}

static void raw_header4(int fd, const struct sockaddr_in *address)
{
	uint8_t packet[256];
	size_t size = forge_udp4(packet);

	set_int(fd, IPPROTO_IP, IP_HDRINCL, 1);
	if (sendto(fd, packet, size, 0, (const void *)address, sizeof(*address)) < 0)
		perror("sendto");
}

ATTACK(raw4_udp, "", "raw IPv4 socket of protocol UDP") { raw_plain4(IPPROTO_UDP); }
ATTACK(raw4_tcp, "", "raw IPv4 socket of protocol TCP") { raw_plain4(IPPROTO_TCP); }
ATTACK(raw4_gre, "", "raw IPv4 socket of protocol GRE") { raw_plain4(IPPROTO_GRE); }
ATTACK(raw4_253, "", "raw IPv4 socket of an experimental protocol") { raw_plain4(253); }
ATTACK(raw4_hdrincl, "", "raw IPv4 socket with IP_HDRINCL: a UDP datagram")
{
	raw_header4(open_socket(AF_INET, SOCK_RAW, IPPROTO_UDP), &target4);
}
ATTACK(raw4_ipproto_raw, "", "raw IPv4 socket of IPPROTO_RAW")
{
	raw_header4(open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW), &target4);
}
ATTACK(raw4_header_lies, "", "IP_HDRINCL: loopback in the address, outside in the header")
{
	raw_header4(open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW), &home4);
}
ATTACK(raw6_udp, "", "raw IPv6 socket of protocol UDP")
{
	struct sockaddr_in6 address = target6;

	address.sin6_port = 0;
	SEND_TO(open_socket(AF_INET6, SOCK_RAW, IPPROTO_UDP), address);
}
ATTACK(raw6_hdrincl, "", "raw IPv6 socket of IPPROTO_RAW: a whole datagram")
{
	struct sockaddr_in6 address = target6;
	uint8_t packet[256];
	size_t size = forge_udp6(packet);

	address.sin6_port = 0;
	if (sendto(open_socket(AF_INET6, SOCK_RAW, IPPROTO_RAW), packet, size, 0, (void *)&address,
		   sizeof(address)) < 0)
		perror("sendto");
}

/* ---- packet sockets ------------------------------------------------------------------------- */

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static size_t forge_frame(uint8_t *frame)
{
	struct ethhdr header = {.h_proto = htons(ETH_P_IP)};

	memcpy(header.h_dest, broadcast, 6);
	header.h_source[0] = 2;
	memcpy(frame, &header, sizeof(header));
	return sizeof(header) + forge_udp4(frame + sizeof(header));
}

static struct sockaddr_ll wire_address(uint16_t protocol)
{
	char name[16];
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol),
				      .sll_halen = 6, .sll_ifindex = (int)wire_index(name)};

	memcpy(address.sll_addr, broadcast, 6);
	return address;
}

ATTACK(packet_raw, "", "AF_PACKET, SOCK_RAW: a frame")
{
	struct sockaddr_ll address = wire_address(ETH_P_IP);
	uint8_t frame[256];
	size_t size = forge_frame(frame);

	if (sendto(open_socket(AF_PACKET, SOCK_RAW, 0), frame, size, 0, (void *)&address,
		   sizeof(address)) < 0)
		perror("sendto");
}
ATTACK(packet_dgram, "", "AF_PACKET, SOCK_DGRAM: a packet")
{
	struct sockaddr_ll address = wire_address(ETH_P_IP);
	uint8_t packet[256];
	size_t size = forge_udp4(packet);

	if (sendto(open_socket(AF_PACKET, SOCK_DGRAM, 0), packet, size, 0, (void *)&address,
		   sizeof(address)) < 0)
		perror("sendto");
}
ATTACK(packet_sock_packet, "", "AF_INET, SOCK_PACKET: the packet socket of Linux 2.0")
{
	struct sockaddr address = {.sa_family = AF_INET};
	uint8_t frame[256];
	size_t size = forge_frame(frame);
	char name[16];

	wire_index(name);
	snprintf(address.sa_data, sizeof(address.sa_data), "%.13s", name);
	if (sendto(open_socket(AF_INET, SOCK_PACKET, htons(ETH_P_ALL)), frame, size, 0, &address,
		   sizeof(address)) < 0)
		perror("sendto");
}
ATTACK(packet_ring, "", "AF_PACKET with a transmit ring in shared memory")
{
	struct tpacket_req ring = {.tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048,
				   .tp_frame_nr = 2};
	struct sockaddr_ll address = wire_address(ETH_P_IP);
	int fd = open_socket(AF_PACKET, SOCK_RAW, 0);
	struct tpacket_hdr *slot;

	set_option(fd, SOL_PACKET, PACKET_TX_RING, &ring, sizeof(ring));
	need(bind(fd, (void *)&address, sizeof(address)), "bind");
	slot = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (slot == MAP_FAILED)
		give_up("mmap");
	slot->tp_len = (unsigned)forge_frame((uint8_t *)slot + TPACKET_HDRLEN -
					     sizeof(struct sockaddr_ll));
	slot->tp_status = TP_STATUS_SEND_REQUEST;
	if (send(fd, NULL, 0, 0) < 0)
		perror("send");
}

/* ---- AF_XDP --------------------------------------------------------------------------------- */

#define XDP_SLOTS 8


ATTACK(xdp_transmit, "serial", "AF_XDP: a frame by its transmit ring, in copy mode")
{
	char name[16], *area;
	struct sockaddr_xdp address = {.sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY,
				       .sxdp_ifindex = wire_index(name)};
	int fd = open_socket(AF_XDP, SOCK_RAW, 0);
	struct xdp_mmap_offsets at;
	struct xdp_umem_reg memory = {.len = 16384, .chunk_size = 4096};
	socklen_t size = sizeof(at);
	struct xdp_desc *slots;
	uint8_t *ring;

	area = mmap(NULL, memory.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory.addr = (uintptr_t)area;
	set_option(fd, SOL_XDP, XDP_UMEM_REG, &memory, sizeof(memory));
	set_int(fd, SOL_XDP, XDP_UMEM_FILL_RING, XDP_SLOTS);
	set_int(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, XDP_SLOTS);
	set_int(fd, SOL_XDP, XDP_TX_RING, XDP_SLOTS);
	need(getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &size), "XDP_MMAP_OFFSETS");
	ring = mmap(NULL, at.tx.desc + XDP_SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, fd, XDP_PGOFF_TX_RING);
	if (ring == MAP_FAILED)
		give_up("mmap");
	need(bind(fd, (void *)&address, sizeof(address)), "bind");
	slots = (struct xdp_desc *)(ring + at.tx.desc);
	slots[0] = (struct xdp_desc){.addr = 0, .len = (uint32_t)forge_frame((uint8_t *)area)};
	__atomic_store_n((uint32_t *)(ring + at.tx.producer), 1, __ATOMIC_RELEASE);
	if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0)
		perror("sendto");
	usleep(50000);
}

/* The only transport here may be the hypervisor's: a context of 1 is this machine itself, and
 * nothing of it can reach the wire that is watched. */
ATTACK(vsock, "", "AF_VSOCK: a stream to this machine's own context")
{
	struct {
		unsigned short family, zero;
		unsigned port, context;
		char rest[4];
	} address = {.family = 40, .port = 4711, .context = 1};

	STREAM_TO(open_socket(40, SOCK_STREAM, 0), address);
}
