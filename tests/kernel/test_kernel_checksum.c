// SPDX-License-Identifier: BSD-2-Clause
/* Packets whose checksum is still to be filled in: they pass the tc wall only when that changes nothing of
 * what was judged. */
#include "tc_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static struct wire wire;

static int setup(void **state)
{
	return wire_setup_direct(state, &wire);
}

static int teardown(void **state)
{
	return wire_teardown(state, &wire);
}

/* A packet as its sender leaves it to the network card. */
struct unfinished {
	const char *what;
	uint16_t protocol; /* ETH_P_* */
	uint16_t start, offset;
	bool passes;
};

/* The kernel itself wants `start` behind the smallest IPv4 header. */
static const struct unfinished cases[] = {
	{"the checksum of UDP", ETH_P_IP, 34, 6, true},
	{"the checksum of UDP over IPv6", ETH_P_IPV6, 54, 6, true},
	{"the port", ETH_P_IP, 34, 2, false},
	{"the address", ETH_P_IP, 20, 12, false},
	{"the port, IPv6", ETH_P_IPV6, 54, 2, false},
	{"the checksum's place, but of less", ETH_P_IP, 36, 4, false},
	{"the checksum of TCP, of UDP's", ETH_P_IP, 34, 16, false},
	{"an address in ARP", ETH_P_ARP, 20, 18, false},
};

static size_t put_udp(uint8_t *at)
{
	struct udphdr udp = {.source = htons(4711), .dest = htons(DIRECT_PORT),
			     .len = htons(sizeof(udp) + sizeof(MARK))};

	memcpy(at, &udp, sizeof(udp));
	memcpy(at + sizeof(udp), MARK, sizeof(MARK));
	return sizeof(udp) + sizeof(MARK);
}

static size_t put_ip4(uint8_t *at)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
			   .tot_len = htons(sizeof(ip) + sizeof(struct udphdr) + sizeof(MARK)),
			   .saddr = inet_addr(BOTTLE_DIRECT), .daddr = inet_addr(FAR_DIRECT)};

	ip.check = wire_checksum(&ip, sizeof(ip));
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip) + put_udp(at + sizeof(ip));
}

static size_t put_ip6(uint8_t *at)
{
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28), .ip6_nxt = IPPROTO_UDP, .ip6_hlim = 64,
			     .ip6_plen = htons(sizeof(struct udphdr) + sizeof(MARK))};

	inet_pton(AF_INET6, BOTTLE_DIRECT6, &ip.ip6_src);
	inet_pton(AF_INET6, FAR_DIRECT6, &ip.ip6_dst);
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip) + put_udp(at + sizeof(ip));
}

static size_t put_arp(uint8_t *at)
{
	static const uint8_t arp[28] = {0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xb0, 198, 51, 100, 1,
					0, 0, 0, 0, 0, 0, 198, 51, 100, 2};

	memcpy(at, arp, sizeof(arp));
	return sizeof(arp);
}

/* From the bottle's namespace, in no bottle: the tc wall alone is asked. `memory`: which case. */
static int send_unfinished(void *memory)
{
	const struct unfinished *c = &cases[*(int *)memory];
	struct virtio_net_hdr head = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = c->start,
				      .csum_offset = c->offset};
	uint8_t frame[256] = {2, 0, 0, 0, 0, 0xfa, 2, 0, 0, 0, 0, 0xb0, (uint8_t)(c->protocol >> 8),
			      (uint8_t)c->protocol};
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0")};
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);
	size_t size = c->protocol == ETH_P_IP ? put_ip4(frame + 14)
		      : c->protocol == ETH_P_IPV6 ? put_ip6(frame + 14) : put_arp(frame + 14);
	struct iovec parts[2] = {{&head, sizeof(head)}, {frame, 14 + size}};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = parts,
				 .msg_iovlen = 2};

	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0)
		return errno;
	return sendmsg(fd, &message, 0) < 0 ? errno : 0;
}

static void test_unfinished(void **state)
{
	struct wall *wall = *state;
	int failed = 0;

	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		printf("this kernel does not describe its structures (CONFIG_DEBUG_INFO_BTF)\n");
		skip();
	}
	assert_int_equal(tc_wall_open(wall->kernel, wall->netns, &wire.tc, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		*(int *)wall->memory = (int)i;
		(void)wire_sniffed(&wire);
		assert_int_equal(wall_run_outside(wall, send_unfinished), 0);
		if ((wire_sniffed_soon(&wire, cases[i].passes ? 30 : 1).any > 0) == cases[i].passes)
			continue;
		printf("# %s: %s\n", cases[i].what, cases[i].passes ? "is refused" : "GETS OUT");
		failed++;
	}
	assert_int_equal(failed, 0);
}

/* Without the wall each gets out: else the test above shows nothing. */
static void test_without(void **state)
{
	struct wall *wall = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		*(int *)wall->memory = (int)i;
		(void)wire_sniffed(&wire);
		assert_int_equal(wall_run_outside(wall, send_unfinished), 0);
		if (wire_sniffed_soon(&wire, 30).any == 0)
			fail_msg("%s: does not get out without a wall either", cases[i].what);
	}
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unfinished, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without, setup, teardown),
	};

	/* the "host" is ours alone */
	if (unshare(CLONE_NEWNET) < 0)
		return 1;
	address_up("lo");
	return cmocka_run_group_tests_name("kernel: checksums", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
