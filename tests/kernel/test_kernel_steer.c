// SPDX-License-Identifier: BSD-2-Clause
/* Where connections end up, what the program sees, and what the proxy learns. */
#include "wall.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct steer_case {
	const char *name;
	int family, type;
	const char *address;
	uint16_t port;
	int expected;	  /* 0 or errno */
	const char *peer; /* that getpeername() tells; NULL: the address */
	bool flow;	  /* the proxy finds a record */
	uint32_t host_id;
};

static const struct steer_case cases[] = {
	{"bound address", AF_INET, SOCK_STREAM, HOST_ONE, 443, 0, NULL, true, 1},
	{"bound address, second port", AF_INET, SOCK_STREAM, HOST_ONE, 80, 0, NULL, true, 1},
	{"bound address, mapped", AF_INET6, SOCK_STREAM, "::ffff:" HOST_ONE, 443, 0, NULL, true, 1},
	{"cidr", AF_INET, SOCK_STREAM, "203.0.113.77", 6379, 0, NULL, true, 0},
	{"cidr, mapped", AF_INET6, SOCK_STREAM, "::ffff:203.0.113.77", 6379, 0, NULL, true, 0},
	{"cidr, IPv6", AF_INET6, SOCK_STREAM, "2001:db8:1::5", 6379, 0, NULL, true, 0},
	{"shared address", AF_INET, SOCK_STREAM, SHARED_ADDRESS, 443, 0, NULL, true,
	 EGRESS_HOST_MANY},
	{"shared address, port of its cidr", AF_INET, SOCK_STREAM, SHARED_ADDRESS, 6379, 0, NULL,
	 true, 0},
	{"shared address, port of neither", AF_INET, SOCK_STREAM, SHARED_ADDRESS, 8443, EPERM, NULL,
	 false, 0},
	{"explicit", AF_INET, SOCK_STREAM, "127.0.0.1", PROXY_PORT, 0, NULL, true,
	 EGRESS_HOST_EXPLICIT},
	{"explicit, other loopback", AF_INET, SOCK_STREAM, "127.8.9.1", PROXY_PORT, ECONNREFUSED,
	 NULL, false, 0},
	{"explicit, unspecified", AF_INET, SOCK_STREAM, "0.0.0.0", PROXY_PORT, 0, "127.0.0.1",
	 true, EGRESS_HOST_EXPLICIT},
	{"explicit, IPv6", AF_INET6, SOCK_STREAM, "::1", PROXY_PORT, 0, NULL, true,
	 EGRESS_HOST_EXPLICIT},
	{"DNS over TCP", AF_INET, SOCK_STREAM, "192.0.2.53", 53, 0, NULL, false, 0},
	{"DNS over TCP to loopback", AF_INET, SOCK_STREAM, "127.0.0.11", 53, 0, NULL, false, 0},
	{"DNS over TCP, mapped", AF_INET6, SOCK_STREAM, "::ffff:192.0.2.53", 53, 0, NULL, false, 0},
	{"DNS over UDP", AF_INET, SOCK_DGRAM, "192.0.2.53", 53, 0, NULL, false, 0},
	{"DNS over UDP, IPv6", AF_INET6, SOCK_DGRAM, "2001:db8::53", 53, 0, NULL, false, 0},
	{"DNS over UDP, mapped", AF_INET6, SOCK_DGRAM, "::ffff:192.0.2.53", 53, 0, NULL, false, 0},
	{"port not listed", AF_INET, SOCK_STREAM, HOST_ONE, 8443, EPERM, NULL, false, 0},
	{"removed", AF_INET, SOCK_STREAM, HOST_GONE, 443, EPERM, NULL, false, 0},
	{"unknown", AF_INET, SOCK_STREAM, "192.0.2.1", 443, EPERM, NULL, false, 0},
	{"unknown, mapped", AF_INET6, SOCK_STREAM, "::ffff:192.0.2.1", 443, EPERM, NULL, false, 0},
	{"unknown, IPv6", AF_INET6, SOCK_STREAM, "2001:db8:2::1", 443, EPERM, NULL, false, 0},
	{"cidr, other port", AF_INET, SOCK_STREAM, "203.0.113.77", 6380, EPERM, NULL, false, 0},
	{"just outside the cidr", AF_INET, SOCK_STREAM, "203.0.112.255", 6379, EPERM, NULL, false,
	 0},
	{"IPv4-compatible form of a bound address", AF_INET6, SOCK_STREAM, "::198.18.0.1", 443,
	 EPERM, NULL, false, 0},
	{"NAT64 form", AF_INET6, SOCK_STREAM, "64:ff9b::c612:1", 443, EPERM, NULL, false, 0},
};

struct seen {
	int result;
	char peer[64];
	uint16_t port;
	int pid;
	unsigned index;
};

static void read_peer(int fd, struct seen *seen)
{
	struct sockaddr_storage peer;
	struct sockaddr_in6 *in6 = (void *)&peer;
	struct sockaddr_in *in = (void *)&peer;
	socklen_t length = sizeof(peer);

	if (getpeername(fd, (void *)&peer, &length) < 0)
		return;
	if (peer.ss_family == AF_INET)
		inet_ntop(AF_INET, &in->sin_addr, seen->peer, sizeof(seen->peer));
	else
		inet_ntop(AF_INET6, &in6->sin6_addr, seen->peer, sizeof(seen->peer));
	seen->port = ntohs(peer.ss_family == AF_INET ? in->sin_port : in6->sin6_port);
}

static int connect_case(void *memory)
{
	struct seen *seen = memory;
	const struct steer_case *c = &cases[seen->index];
	int fd = try_connect(c->family, c->type, c->address, c->port);

	seen->pid = getpid();
	seen->result = fd < 0 ? -fd : 0;
	if (fd >= 0)
		read_peer(fd, seen);
	return 0;
}

/* The connection that the child made, whichever of our sockets it came to. */
static int accept_any(const struct wall *wall)
{
	int fds[] = {wall->proxy4, wall->proxy6, wall->dns_tcp4};

	for (size_t i = 0; i < 3; i++) {
		int fd;

		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		fd = accept4(fds[i], NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static void check_flow(const struct wall *wall, const struct steer_case *c, const struct seen *seen)
{
	struct egress_flow flow = {0};
	struct egress_address asked;
	int fd = accept_any(wall);

	assert_true(fd >= 0);
	assert_int_equal(take_flow_of(wall, fd, &flow), c->flow);
	close(fd);
	if (!c->flow)
		return;
	assert_true(address_parse(strncmp(c->address, "::ffff:", 7) ? c->address : c->address + 7,
				  &asked));
	assert_memory_equal(&flow.destination, &asked, sizeof(asked));
	assert_int_equal(flow.destination_port, c->port);
	assert_int_equal(flow.host_id, c->host_id);
	assert_int_equal(flow.process.tgid, seen->pid);
	assert_int_equal(flow.process.uid, 0);
	assert_memory_equal(flow.process.comm, "test_kernel_ste", 16);
}

static void test_table(void **state)
{
	struct wall *wall = *state;
	struct seen *seen = wall->memory;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct steer_case *c = &cases[i];

		memset(seen, 0, sizeof(*seen));
		seen->index = i;
		assert_int_equal(wall_run(wall, connect_case), 0);
		if (seen->result != c->expected)
			fail_msg("%s: %s, not %s", c->name, strerror(seen->result),
				 strerror(c->expected));
		if (c->expected != 0)
			continue;
		assert_string_equal(seen->peer, c->peer ? c->peer : c->address);
		assert_int_equal(seen->port, c->port);
		if (c->type == SOCK_STREAM)
			check_flow(wall, c, seen);
	}
	assert_int_equal(accept_any(wall), -1);
}

/* ---- DNS over UDP: replies seem to come from the server that was asked --------------------- */

static const struct {
	int family;
	const char *server;
	bool connected;
} dns_cases[] = {
	{AF_INET, "192.0.2.53", true},	   {AF_INET, "192.0.2.53", false},
	{AF_INET, "127.0.0.11", true},	   {AF_INET, "127.0.0.11", false},
	{AF_INET6, "2001:db8::53", true},  {AF_INET6, "2001:db8::53", false},
	{AF_INET6, "::ffff:192.0.2.53", true}, {AF_INET6, "::ffff:192.0.2.53", false},
	{AF_INET6, "::1", false},
};

static int dns_client(void *memory)
{
	struct seen *seen = memory;
	int family = dns_cases[seen->index].family;
	struct sockaddr_storage to = sockaddr_of(family, dns_cases[seen->index].server, 53), from;
	socklen_t length = sizeof(from);
	int fd = socket(family, SOCK_DGRAM, 0);
	char reply[16] = "";

	be_patient(fd);
	if (dns_cases[seen->index].connected) {
		if (connect(fd, (void *)&to, sizeof(to)) < 0 || send(fd, "query", 5, 0) != 5)
			return 1;
	} else if (sendto(fd, "query", 5, 0, (void *)&to, sizeof(to)) != 5) {
		return 2;
	}
	if (recvfrom(fd, reply, sizeof(reply), 0, (void *)&from, &length) != 5)
		return 3;
	if (memcmp(reply, "query", 5) != 0)
		return 4;
	return memcmp(&from, &to, family == AF_INET ? 8 : 24) == 0 ? 0 : 5;
}

static void echo_once(int fd)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	char query[16];
	ssize_t got;

	be_patient(fd);
	got = recvfrom(fd, query, sizeof(query), 0, (void *)&from, &length);
	assert_int_equal(got, 5);
	assert_int_equal(sendto(fd, query, 5, 0, (void *)&from, length), 5);
}

static void test_dns_replies(void **state)
{
	struct wall *wall = *state;
	struct seen *seen = wall->memory;

	for (unsigned i = 0; i < sizeof(dns_cases) / sizeof(dns_cases[0]); i++) {
		const char *server = dns_cases[i].server;
		bool six = strchr(server, ':') && strncmp(server, "::ffff:", 7) != 0;
		int pid;

		seen->index = i;
		pid = wall_start(wall, true, dns_client);
		echo_once(six ? wall->dns_udp6 : wall->dns_udp4);
		assert_int_equal(wall_wait(pid), 0);
	}
}

/* ---- identity ------------------------------------------------------------------------------- */

/* One socket, used again for another destination, must not keep the first one's identity. */
static int connect_twice(void *memory)
{
	struct sockaddr_storage one = sockaddr_of(AF_INET, HOST_ONE, 443);
	struct sockaddr_storage ours = sockaddr_of(AF_INET, "127.0.0.1", PROXY_PORT);
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)memory;
	if (connect(fd, (void *)&one, sizeof(one)) < 0 ||
	    connect(fd, &nobody, sizeof(nobody)) < 0 ||
	    connect(fd, (void *)&ours, sizeof(ours)) < 0)
		return 1;
	return 0;
}

static void test_reconnect(void **state)
{
	struct wall *wall = *state;
	struct egress_flow flow;
	int last = -1, fd;

	assert_int_equal(wall_run(wall, connect_twice), 0);
	while ((fd = accept_any(wall)) >= 0) {
		if (last >= 0)
			close(last);
		last = fd;
	}
	assert_true(last >= 0);
	assert_int_equal(take_flow_of(wall, last, &flow), 1);
	assert_int_equal(flow.host_id, EGRESS_HOST_EXPLICIT);
	close(last);
}

static int flow_count(const struct wall *wall)
{
	struct egress_flow_key key, next;
	const void *previous = NULL;
	int count = 0;

	while (bpf_map_get_next_key(kernel_flows_fd(wall->kernel), previous, &next) == 0) {
		key = next;
		previous = &key;
		count++;
	}
	return count;
}

/* The same source port again and again, as a stale record needs it. */
static int connect_from_port(const char *address, uint16_t port)
{
	struct sockaddr_storage from = sockaddr_of(AF_INET, "127.0.0.1", 40404);
	struct sockaddr_storage to = sockaddr_of(AF_INET, address, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct linger reset = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (bind(fd, (void *)&from, sizeof(from)) < 0 || connect(fd, (void *)&to, sizeof(to)) < 0)
		return -1;
	return fd;
}

static int leave_stale_record(void *memory)
{
	(void)memory;
	return close(connect_from_port(HOST_ONE, 443)) == 0 ? 0 : 1;
}

static int hold_explicit(void *memory)
{
	(void)memory;
	return connect_from_port("127.0.0.1", PROXY_PORT) < 0 ? 1 : pause();
}

static int hold_other(void *memory)
{
	(void)memory;
	return connect_from_port("203.0.113.7", 6379) < 0 ? 1 : pause();
}

static int accept_soon(const struct wall *wall)
{
	for (int i = 0; i < 300; i++) {
		int fd = accept_any(wall);

		if (fd >= 0)
			return fd;
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	}
	return -1;
}

/* Established, reset before it was accepted: its record stays, and nobody takes it. */
static void make_stale(struct wall *wall)
{
	assert_int_equal(wall_run(wall, leave_stale_record), 0);
	close(accept_soon(wall));
	assert_int_equal(flow_count(wall), 1);
}

static void test_stale_record(void **state)
{
	struct wall *wall = *state;
	struct egress_flow flow;
	int fd, pid;

	make_stale(wall);
	pid = wall_start(wall, true, hold_explicit);
	fd = accept_soon(wall);
	assert_int_equal(take_flow_of(wall, fd, &flow), 1);
	assert_int_equal(flow.host_id, EGRESS_HOST_EXPLICIT);
	close(fd);
	wall_kill(pid);
	make_stale(wall);
	pid = wall_start(wall, true, hold_other);
	fd = accept_soon(wall);
	assert_int_equal(take_flow_of(wall, fd, &flow), 1);
	assert_int_equal(flow.destination_port, 6379);
	assert_int_equal(flow.host_id, 0);
	close(fd);
	wall_kill(pid);
}

/* A connection that never was takes its record with it. */
static int refused_by_reset(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443) == -ECONNREFUSED ? 0 : 1;
}

static void test_record_released(void **state)
{
	struct wall *wall = *state;

	close(wall->proxy4);
	wall->proxy4 = -1;
	assert_int_equal(flow_count(wall), 0);
	assert_int_equal(wall_run(wall, refused_by_reset), 0);
	assert_int_equal(flow_count(wall), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_table, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_dns_replies, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_reconnect, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_stale_record, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_record_released, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: steering", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
