// SPDX-License-Identifier: BSD-2-Clause
/* What is refused: the errno, the counter, the event; and that no packet gets out. */
#include "wall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* ---- datagrams and streams ------------------------------------------------------------------ */

enum operation { CONNECT, SEND, CREATE, BIND };
struct refusal {
	const char *name;
	enum operation operation;
	int family, type, protocol;
	const char *address;
	uint16_t port;
	enum egress_reason reason; /* EGRESS_ALLOWED: quiet */
};

static const struct refusal refusals[] = {
	{"TCP", CONNECT, AF_INET, SOCK_STREAM, 0, "192.0.2.1", 443, EGRESS_ADDRESS_NOT_ALLOWED},
	{"TCP, IPv6", CONNECT, AF_INET6, SOCK_STREAM, 0, "2001:db8::1", 443,
	 EGRESS_ADDRESS_NOT_ALLOWED},
	{"TCP, port", CONNECT, AF_INET, SOCK_STREAM, 0, HOST_ONE, 22, EGRESS_PORT_NOT_ALLOWED},
	{"TCP, removed", CONNECT, AF_INET, SOCK_STREAM, 0, HOST_GONE, 443, EGRESS_ROUTE_REMOVED},
	{"UDP", CONNECT, AF_INET, SOCK_DGRAM, 0, "192.0.2.1", 123, EGRESS_ADDRESS_NOT_ALLOWED},
	{"QUIC", CONNECT, AF_INET, SOCK_DGRAM, 0, "192.0.2.1", 443, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"QUIC, IPv6", CONNECT, AF_INET6, SOCK_DGRAM, 0, "2001:db8::1", 443,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"getaddrinfo's probe", CONNECT, AF_INET, SOCK_DGRAM, 0, HOST_ONE, 443, EGRESS_ALLOWED},
	{"datagram", SEND, AF_INET, SOCK_DGRAM, 0, "192.0.2.1", 123, EGRESS_ADDRESS_NOT_ALLOWED},
	{"datagram, IPv6", SEND, AF_INET6, SOCK_DGRAM, 0, "2001:db8::1", 123,
	 EGRESS_ADDRESS_NOT_ALLOWED},
	{"datagram, mapped", SEND, AF_INET6, SOCK_DGRAM, 0, "::ffff:192.0.2.1", 123,
	 EGRESS_ADDRESS_NOT_ALLOWED},
	{"datagram, QUIC", SEND, AF_INET, SOCK_DGRAM, 0, "192.0.2.1", 443,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"datagram to a bound name", SEND, AF_INET, SOCK_DGRAM, 0, HOST_ONE, 443,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"datagram to a steered cidr", SEND, AF_INET, SOCK_DGRAM, 0, "203.0.113.5", 6379,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"broadcast", SEND, AF_INET, SOCK_DGRAM, 0, "255.255.255.255", 67,
	 EGRESS_ADDRESS_NOT_ALLOWED},
	{"multicast", SEND, AF_INET, SOCK_DGRAM, 0, "224.0.0.251", 5353,
	 EGRESS_ADDRESS_NOT_ALLOWED},
	{"raw", CREATE, AF_INET, SOCK_RAW, IPPROTO_RAW, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"raw ICMP", CREATE, AF_INET, SOCK_RAW, IPPROTO_ICMP, NULL, 0,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"raw TCP", CREATE, AF_INET, SOCK_RAW, IPPROTO_TCP, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"raw, IPv6", CREATE, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, NULL, 0,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"ping", CREATE, AF_INET, SOCK_DGRAM, IPPROTO_ICMP, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"ping, IPv6", CREATE, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, NULL, 0,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"UDP-Lite", CREATE, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, NULL, 0,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"MPTCP", CREATE, AF_INET, SOCK_STREAM, IPPROTO_MPTCP, NULL, 0,
	 EGRESS_PROTOCOL_NOT_ALLOWED},
	{"SCTP", CREATE, AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"DCCP", CREATE, AF_INET, SOCK_DCCP, IPPROTO_DCCP, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"L2TP", CREATE, AF_INET, SOCK_DGRAM, 115, NULL, 0, EGRESS_PROTOCOL_NOT_ALLOWED},
	{"bind to the proxy's port", BIND, AF_INET, SOCK_STREAM, 0, "127.0.0.1", PROXY_PORT,
	 EGRESS_PORT_NOT_ALLOWED},
	{"bind to the proxy's port, elsewhere", BIND, AF_INET, SOCK_STREAM, 0, "127.9.9.9",
	 PROXY_PORT, EGRESS_PORT_NOT_ALLOWED},
	{"bind to the proxy's port, IPv6", BIND, AF_INET6, SOCK_STREAM, 0, "::", PROXY_PORT,
	 EGRESS_PORT_NOT_ALLOWED},
	{"bind to the responder's port", BIND, AF_INET, SOCK_DGRAM, 0, "0.0.0.0", DNS_PORT,
	 EGRESS_PORT_NOT_ALLOWED},
};
#define REFUSAL_COUNT (sizeof(refusals) / sizeof(refusals[0]))

/* In memory: what each gave, and who asked. */
struct results {
	int errors[64];
	int pid;
};

static int perform(const struct refusal *r)
{
	int fd;

	switch (r->operation) {
	case CONNECT:
		fd = try_connect(r->family, r->type, r->address, r->port);
		break;
	case SEND:
		fd = try_send(r->family, r->address, r->port);
		break;
	case BIND:
		fd = open_listener(r->family, r->type, r->address, r->port);
		break;
	default:
		fd = socket(r->family, r->type, r->protocol);
		fd = fd < 0 ? -errno : fd;
	}
	return fd < 0 ? -fd : 0;
}

static int perform_all(void *memory)
{
	struct results *results = memory;

	results->pid = getpid();
	for (size_t i = 0; i < REFUSAL_COUNT; i++)
		results->errors[i] = perform(&refusals[i]);
	return 0;
}

struct events {
	struct egress_denial list[64];
	size_t count;
};

static void keep_event(void *context, const struct egress_denial *denial)
{
	struct events *events = context;

	if (events->count < 64)
		events->list[events->count] = *denial;
	events->count++;
}

static bool not_in_this_kernel(const struct refusal *r, int error)
{
	return r->operation == CREATE &&
	       (error == EPROTONOSUPPORT || error == ESOCKTNOSUPPORT || error == EINVAL);
}

static void check_event(const struct refusal *r, const struct egress_denial *event, int pid)
{
	struct egress_address asked = {0};
	const char *address = r->address;

	if (address && address[0] != ':' && !address_parse(address, &asked))
		fail();
	assert_int_equal(event->reason, r->reason);
	assert_int_equal(event->process.tgid, pid);
	assert_memory_equal(event->process.comm, "test_kernel_ref", 16);
	assert_int_equal(event->destination_port, r->port);
	if (address && address[0] != ':')
		assert_memory_equal(&event->destination, &asked, sizeof(asked));
	assert_true(event->time_ns > 0);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

static void test_refusals(void **state)
{
	struct wall *wall = *state;
	struct results *results = wall->memory;
	uint64_t expected[EGRESS_REASON_COUNT] = {0};
	struct events events = {0};
	size_t at = 0;

	wall_enter(wall);
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 1000");
	wall_leave(wall);
	assert_int_equal(wall_run(wall, perform_all), 0);
	assert_true(kernel_read_denials(wall->kernel, keep_event, &events) > 0);
	for (size_t i = 0; i < REFUSAL_COUNT; i++) {
		const struct refusal *r = &refusals[i];
		int error = results->errors[i];

		if (not_in_this_kernel(r, error)) {
			printf("# skipped: %s: this kernel has none (%s)\n", r->name, strerror(error));
			continue;
		}
		if (error != EPERM && !(error == ECONNREFUSED && r->type == SOCK_DGRAM))
			fail_msg("%s: %s", r->name, strerror(error));
		if (r->reason == EGRESS_ALLOWED)
			continue;
		expected[r->reason]++;
		assert_true(at < events.count);
		check_event(r, &events.list[at++], results->pid);
	}
	assert_int_equal(events.count, at);
	for (unsigned i = 0; i < EGRESS_REASON_COUNT; i++)
		assert_int_equal(wall_counter(wall, i), expected[i]);
	assert_int_equal(wall_counter(wall, EGRESS_COUNTER_PROBE), 1);
}

/* ---- the events that did not fit are counted ------------------------------------------------ */

#define FLOOD 10000

static int flood(void *memory)
{
	(void)memory;
	for (int i = 0; i < FLOOD; i++)
		if (try_send(AF_INET, "192.0.2.1", 9) == 0)
			return 1;
	return 0;
}

static void test_flood(void **state)
{
	struct wall *wall = *state;
	struct events events = {0};
	struct pollfd readable = {.fd = kernel_denials_fd(wall->kernel), .events = POLLIN};
	uint64_t lost;

	assert_int_equal(wall_run(wall, flood), 0);
	/* Read in portions, and what is left is told. */
	while (poll(&readable, 1, 0) == 1) {
		size_t before = events.count;

		assert_true(kernel_read_denials(wall->kernel, keep_event, &events) > 0);
		assert_true(events.count - before <= KERNEL_DENIALS_AT_ONCE);
	}
	assert_int_equal(kernel_read_denials(wall->kernel, keep_event, &events), 0);
	lost = wall_counter(wall, EGRESS_COUNTER_LOST);
	assert_true(lost > 0);
	assert_int_equal(events.count + lost, FLOOD);
	assert_int_equal(wall_counter(wall, EGRESS_ADDRESS_NOT_ALLOWED), FLOOD);
}

/* ---- a wire that must stay silent ----------------------------------------------------------- */

/* A veth between the bottle's namespace and one of ours, with a default route over it. */
static int wire_up(struct wall *wall)
{
	int listener;

	wall_enter(wall);
	if (system("ip link add ktest0 type veth peer name ktest1 && "
		   "ip addr add 192.0.2.2/24 dev ktest0 && ip addr add 192.0.2.3/24 dev ktest1 && "
		   "sysctl -qw net.ipv6.conf.ktest0.disable_ipv6=1 "
		   "net.ipv6.conf.ktest1.disable_ipv6=1 && "
		   "ip link set ktest0 up && ip link set ktest1 up && "
		   "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev ktest0 && "
		   "ip route add default via 192.0.2.9 dev ktest0") != 0) {
		wall_leave(wall);
		return -1;
	}
	listener = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP));
	wall_leave(wall);
	return listener;
}

#define LAST_PORT 7999

static int send_last(void *memory)
{
	(void)memory;
	return try_send(AF_INET, "198.51.100.7", LAST_PORT) == 0 ? 0 : 1;
}

static bool is_last(const unsigned char *packet, size_t length)
{
	size_t head = (size_t)(packet[0] & 0xf) * 4;

	return length >= head + 4 && packet[9] == IPPROTO_UDP &&
	       (packet[head + 2] << 8 | packet[head + 3]) == LAST_PORT;
}

/* IPv4 packets that came out of the far end before one that is sent now, from outside. Of one
 * processor they stay in order, however late they are. */
static int packets_seen(struct wall *wall, int listener)
{
	struct pollfd next = {.fd = listener, .events = POLLIN};
	struct sockaddr_ll from;
	unsigned char packet[2048];
	ssize_t size;
	int count = 0;

	assert_int_equal(wall_run_outside(wall, send_last), 0);
	for (;;) {
		socklen_t length = sizeof(from);

		assert_int_equal(poll(&next, 1, 30000), 1);
		size = recvfrom(listener, packet, sizeof(packet), 0, (void *)&from, &length);
		assert_true(size >= 20);
		if (from.sll_pkttype == PACKET_OUTGOING || from.sll_hatype != 1)
			continue;
		if (is_last(packet, (size_t)size))
			return count;
		count++;
	}
}

static void stay_on_one_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static int attack_by_device(void *memory)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.0.0.5", 9999);
	int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	(void)memory;
	if (setsockopt(udp, SOL_SOCKET, SO_BINDTODEVICE, "ktest0", 7) < 0 ||
	    setsockopt(tcp, SOL_SOCKET, SO_BINDTODEVICE, "ktest0", 7) < 0)
		return 1;
	if (sendto(udp, "leak", 4, 0, (void *)&to, sizeof(to)) >= 0)
		return 2;
	connect(tcp, (void *)&to, sizeof(to));
	return 0;
}

/* A source route between destinations that are allowed. Read as if there were no options, its bytes
 * 4 and 198 are the destination port 1222, which is allowed too. */
static int attack_by_options(void *memory)
{
	static const unsigned char route[] = {IPOPT_LSRR, 7, 4, 198, 51, 100, 9, IPOPT_END};
	struct sockaddr_storage to = sockaddr_of(AF_INET, "198.51.100.7", 1222);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)memory;
	if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)) < 0)
		return 1;
	return sendto(fd, "leak", 4, 0, (void *)&to, sizeof(to)) < 0 ? 0 : 2;
}

static int send_direct(void *memory)
{
	(void)memory;
	return try_send(AF_INET, "198.51.100.7", 7000) == 0 ? 0 : 1;
}

static int send_others(void *memory)
{
	(void)memory;
	if (try_send(AF_INET, "198.51.100.7", 7001) == 0)
		return 1;
	if (try_send(AF_INET, "192.0.2.1", 53) != 0) /* steered, so it must not be seen either */
		return 2;
	return perform_all(memory);
}

static void test_wire_stays_silent(void **state)
{
	struct wall *wall = *state;
	int listener = wire_up(wall);
	cpu_set_t all;

	if (listener < 0) {
		printf("no veth here: ip(8) failed\n");
		skip();
	}
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	stay_on_one_processor();
	assert_int_equal(wall_run_outside(wall, send_direct), 0);
	assert_int_equal(packets_seen(wall, listener), 1); /* the wire works */
	assert_int_equal(wall_run(wall, send_others), 0);
	assert_int_equal(wall_run(wall, attack_by_device), 0);
	assert_int_equal(wall_run(wall, attack_by_options), 0);
	assert_int_equal(packets_seen(wall, listener), 0);
	/* and a direct route does get out, to its port alone */
	assert_int_equal(wall_run(wall, send_direct), 0);
	assert_int_equal(packets_seen(wall, listener), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	close(listener);
}

/* ---- nobody takes our place ----------------------------------------------------------------- */

static void local_ports(int first, int last)
{
	char range[32];

	snprintf(range, sizeof(range), "%d %d", first, last);
	write_file("/proc/sys/net/ipv4/ip_local_port_range", range);
}

/* listen() on an unbound socket takes any free port, ours too: here there is no other. connect() needs
 * one of its own, so that the range must not be used up by then. */
static int squat(void *memory)
{
	int error, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {0};
	socklen_t length = sizeof(at);

	(void)memory;
	local_ports(PROXY_PORT, PROXY_PORT);
	if (listen(fd, 5) < 0 || getsockname(fd, (void *)&at, &length) < 0)
		return 1;
	if (ntohs(at.sin_port) != PROXY_PORT)
		return 3;
	local_ports(PROXY_PORT + 1, PROXY_PORT + 101);
	error = -try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443);
	return error == EINPROGRESS ? 0 : 2; /* its SYN is dropped */
}

static void test_squatter_gets_nothing(void **state)
{
	struct wall *wall = *state;

	close(wall->proxy4);
	close(wall->proxy6);
	wall->proxy4 = wall->proxy6 = -1;
	assert_int_equal(wall_run(wall, squat), 0);
}

/* ---- options -------------------------------------------------------------------------------- */

static int option_errno(int family, int level, int name, const void *value, socklen_t length)
{
	int fd = socket(family, SOCK_DGRAM, 0);
	int error = setsockopt(fd, level, name, value, length) < 0 ? errno : 0;

	close(fd);
	return error;
}

/* Each would make the kernel send a report with a group that the caller chose. */
static int join_groups(void *memory)
{
	struct ip_mreqn v4 = {.imr_ifindex = 1, .imr_multiaddr.s_addr = htonl(0xef010203)};
	struct ip_mreq_source from = {.imr_multiaddr = v4.imr_multiaddr};
	struct ipv6_mreq v6 = {.ipv6mr_interface = 1};
	struct group_req any = {.gr_interface = 1};
	struct sockaddr_in group = {.sin_family = AF_INET, .sin_addr = v4.imr_multiaddr};

	(void)memory;
	inet_pton(AF_INET6, "ff05::1:2:3", &v6.ipv6mr_multiaddr);
	memcpy(&any.gr_group, &group, sizeof(group));
	if (option_errno(AF_INET, IPPROTO_IP, IP_ADD_MEMBERSHIP, &v4, sizeof(v4)) != EPERM)
		return 1;
	if (option_errno(AF_INET, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &from, sizeof(from)) != EPERM)
		return 2;
	if (option_errno(AF_INET6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &v6, sizeof(v6)) != EPERM)
		return 3;
	if (option_errno(AF_INET6, IPPROTO_IPV6, IPV6_JOIN_ANYCAST, &v6, sizeof(v6)) != EPERM)
		return 4;
	if (option_errno(AF_INET, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof(any)) != EPERM)
		return 5;
	return 0;
}

/* The program must not stand in the way of any other option, nor of a long value. */
static int other_options(void *memory)
{
	static char longer[3 * 4096];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 65536, on = 1;

	(void)memory;
	if (option_errno(AF_INET, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    option_errno(AF_INET, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) != 0 ||
	    option_errno(AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
		return 1;
	memcpy(longer, &on, sizeof(on));
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, longer, sizeof(longer)) == 0 ? 0 : 2;
}

static void test_options(void **state)
{
	struct wall *wall = *state;
	uint64_t before = wall_counter(wall, EGRESS_PROTOCOL_NOT_ALLOWED);

	assert_int_equal(wall_run(wall, join_groups), 0);
	assert_int_equal(wall_counter(wall, EGRESS_PROTOCOL_NOT_ALLOWED), before + 5);
	assert_int_equal(wall_run(wall, other_options), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refusals, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_flood, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_wire_stays_silent, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_squatter_gets_nothing, wall_setup,
						wall_teardown),
		cmocka_unit_test_setup_teardown(test_options, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: refusals", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
