// SPDX-License-Identifier: BSD-2-Clause
/* ICMP errors past the tc wall: inward, about what was let out; nothing else, and none outward. */
#include "tc_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VISITOR_PORT 5555

static struct wire wire;

static int setup(void **state)
{
	struct wall *wall;

	if (wire_setup_direct(state, &wire) < 0)
		return -1;
	wall = *state;
	assert_int_equal(tc_wall_open(wall->kernel, wall->netns, &wire.tc, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	return wire_teardown(state, &wire);
}

/* ---- as the kernel makes them -------------------------------------------------------------------- */

/* A datagram to where nobody listens. The error that comes back. */
static int error_from(int family, const char *address)
{
	int fd = try_connect(family, SOCK_DGRAM, address, DIRECT_PORT);
	char byte = 'x';

	if (fd < 0)
		return -fd;
	be_patient(fd);
	if (send(fd, &byte, 1, 0) != 1)
		return errno;
	return recv(fd, &byte, 1, 0) < 0 ? errno : 0;
}

static int is_refused(void *unused)
{
	(void)unused;
	if (error_from(AF_INET, FAR_DIRECT) != ECONNREFUSED)
		return 1;
	return error_from(AF_INET6, FAR_DIRECT6) != ECONNREFUSED ? 2 : 0;
}

static void test_refused(void **state)
{
	struct wall *wall = *state;

	assert_int_equal(wall_run_outside(wall, is_refused), 0);
	assert_int_equal(wall_run(wall, is_refused), 0);
}

/* ---- forged by a router, or by somebody who would be one ------------------------------------------- */

struct error_case {
	const char *what;
	const char *to;		  /* whom it is sent to */
	const char *from, *about; /* the addresses it quotes */
	uint16_t from_port, about_port;
	uint8_t protocol, type, code;
	uint16_t fragment; /* of the outer header */
	bool passes;
};

struct frame {
	size_t length;
	uint8_t bytes[256];
};

static void put(struct frame *f, const void *bytes, size_t length)
{
	memcpy(f->bytes + f->length, bytes, length);
	f->length += length;
}

static void put_ethernet(struct frame *f, uint16_t protocol)
{
	const uint8_t head[14] = {2, 0, 0, 0, 0, 0xb0, 2, 0, 0, 0, 0, 0xfa,
				  (uint8_t)(protocol >> 8), (uint8_t)protocol};

	put(f, head, sizeof(head));
}

static void put_ip4(struct frame *f, const char *from, const char *to, uint8_t protocol,
		    uint16_t fragment, size_t payload)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol,
			   .frag_off = htons(fragment),
			   .tot_len = htons((uint16_t)(sizeof(ip) + payload)),
			   .saddr = inet_addr(from), .daddr = inet_addr(to)};

	ip.check = wire_checksum(&ip, sizeof(ip)); /* else a bridge's filter may drop it */
	put(f, &ip, sizeof(ip));
}

static void put_ip6(struct frame *f, const char *from, const char *to, uint8_t protocol,
		    size_t payload)
{
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28), .ip6_plen = htons((uint16_t)payload),
			     .ip6_nxt = protocol, .ip6_hlim = 64};

	inet_pton(AF_INET6, from, &ip.ip6_src);
	inet_pton(AF_INET6, to, &ip.ip6_dst);
	put(f, &ip, sizeof(ip));
}

static void put_tail(struct frame *f, const struct error_case *c)
{
	const uint16_t ports[4] = {htons(c->from_port), htons(c->about_port)};

	put(f, ports, sizeof(ports));
}

static void put_error(struct frame *f, const struct error_case *c)
{
	const uint8_t icmp[8] = {c->type, c->code};

	if (strchr(c->to, ':')) {
		put_ethernet(f, ETH_P_IPV6);
		put_ip6(f, FAR_STRANGE6, c->to, IPPROTO_ICMPV6, 56);
		put(f, icmp, sizeof(icmp));
		put_ip6(f, c->from, c->about, c->protocol, 8);
	} else {
		put_ethernet(f, ETH_P_IP);
		put_ip4(f, FAR_STRANGE, c->to, IPPROTO_ICMP, c->fragment, 36);
		put(f, icmp, sizeof(icmp));
		put_ip4(f, c->from, c->about, c->protocol, 0, 8);
	}
	put_tail(f, c);
}

static void send_frame(const struct frame *f)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	int fd;

	wall_enter(&wire.far);
	to.sll_ifindex = (int)if_nametoindex("far0");
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	wall_leave(&wire.far);
	assert_return_code(fd, errno);
	assert_int_equal(sendto(fd, f->bytes, f->length, 0, (void *)&to, sizeof(to)), f->length);
	close(fd);
	wire_pause(5);
}

#define DIRECT_FLOW BOTTLE_DIRECT, FAR_DIRECT, 4711, DIRECT_PORT
#define DIRECT_FLOW6 BOTTLE_DIRECT6, FAR_DIRECT6, 4711, DIRECT_PORT
static const struct error_case cases[] = {
	{"too big, a direct flow", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_TCP, 3, 4, 0, true},
	{"unreachable, UDP", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 3, 3, 0, true},
	{"time exceeded", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 11, 0, 0, true},
	{"parameter problem", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 12, 0, 0, true},
	{"redirect", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 5, 1, 0, false},
	{"echo", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 8, 0, 0, false},
	{"a fragment", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDP, 3, 4, 0x2000, false},
	{"about another protocol", BOTTLE_DIRECT, DIRECT_FLOW, IPPROTO_UDPLITE, 3, 4, 0, false},
	{"about another's packet", BOTTLE_STRANGE, DIRECT_FLOW, IPPROTO_UDP, 3, 4, 0, false},
	{"about another port", BOTTLE_DIRECT, BOTTLE_DIRECT, FAR_DIRECT, 4711, DIRECT_PORT + 1,
	 IPPROTO_UDP, 3, 4, 0, false},
	{"about a stranger", BOTTLE_STRANGE, BOTTLE_STRANGE, FAR_STRANGE, 4711, DIRECT_PORT,
	 IPPROTO_UDP, 3, 4, 0, false},
	{"about an answer to a visitor", BOTTLE_STRANGE, BOTTLE_STRANGE, FAR_STRANGE,
	 PUBLISHED_PORT, VISITOR_PORT, IPPROTO_TCP, 3, 4, 0, true},
	{"about an answer to nobody", BOTTLE_STRANGE, BOTTLE_STRANGE, FAR_STRANGE, PUBLISHED_PORT,
	 VISITOR_PORT + 1, IPPROTO_TCP, 3, 4, 0, false},
	{"IPv6, too big", BOTTLE_DIRECT6, DIRECT_FLOW6, IPPROTO_TCP, 2, 0, 0, true},
	{"IPv6, unreachable", BOTTLE_DIRECT6, DIRECT_FLOW6, IPPROTO_UDP, 1, 4, 0, true},
	{"IPv6, parameter problem", BOTTLE_DIRECT6, DIRECT_FLOW6, IPPROTO_UDP, 4, 0, 0, true},
	{"IPv6, no such error", BOTTLE_DIRECT6, DIRECT_FLOW6, IPPROTO_UDP, 5, 0, 0, false},
	{"IPv6, echo", BOTTLE_DIRECT6, DIRECT_FLOW6, IPPROTO_UDP, 128, 0, 0, false},
	{"IPv6, about a stranger", BOTTLE_DIRECT6, BOTTLE_DIRECT6, FAR_STRANGE6, 4711, DIRECT_PORT,
	 IPPROTO_UDP, 2, 0, 0, false},
	{"IPv6, about another's packet", "2001:db8:6::1", DIRECT_FLOW6, IPPROTO_UDP, 2, 0, 0, false},
};

/* A SYN to the published port, from the stranger. */
static void visit(void)
{
	struct frame f = {0};
	uint16_t ports[2] = {htons(VISITOR_PORT), htons(PUBLISHED_PORT)};
	uint8_t rest[16] = {[8] = 0x50, [9] = 0x02};

	put_ethernet(&f, ETH_P_IP);
	put_ip4(&f, FAR_STRANGE, BOTTLE_STRANGE, IPPROTO_TCP, 0, 20);
	put(&f, ports, sizeof(ports));
	put(&f, rest, sizeof(rest));
	send_frame(&f);
}

/* What the bottle says by itself is dropped and counted, too: so many times, and once more if need be. */
#define TIMES 3

/* Waits for what is to be dropped for longer: a busy machine delivers late. */
static bool all_dropped(const struct wall *wall, const struct error_case *c)
{
	uint64_t before = wall_counter(wall, EGRESS_COUNTER_WIRE);
	struct frame f = {0};

	put_error(&f, c);
	for (int i = 0; i < TIMES; i++)
		send_frame(&f);
	for (int i = 0; i < (c->passes ? 5 : 200); i++) {
		if (wall_counter(wall, EGRESS_COUNTER_WIRE) - before >= TIMES)
			return true;
		wire_pause(10);
	}
	return false;
}

static bool passes(const struct wall *wall, const struct error_case *c)
{
	for (int i = 0; i < 3; i++)
		if (!all_dropped(wall, c))
			return true;
	return false;
}

static void test_forged(void **state)
{
	int failed = 0;

	visit();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (passes(*state, &cases[i]) != cases[i].passes) {
			printf("# %s: not as it should\n", cases[i].what);
			failed++;
		}
	}
	assert_int_equal(failed, 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_forged),
	};

	/* the "host" is ours alone */
	if (unshare(CLONE_NEWNET) < 0)
		return 1;
	address_up("lo");
	return cmocka_run_group_tests_name("kernel: ICMP", tests, setup, teardown);
}

int main(void)
{
	return wall_main(run);
}
