// SPDX-License-Identifier: BSD-2-Clause
/* In a shared network namespace loopback is the host's: it must not carry the bottle's data out,
 * nor other people's connections in. */
#include "wall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RELAY_PORT 4444
#define PUBLISHED_PORT 8088
#define PRIVATE_PORT 8089

/* ---- a relay of another cgroup -------------------------------------------------------------- */

static int relay_fds[4];

static void open_relay(struct wall *wall)
{
	wall_enter(wall);
	relay_fds[0] = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", RELAY_PORT);
	relay_fds[1] = open_listener(AF_INET6, SOCK_STREAM, "::1", RELAY_PORT);
	relay_fds[2] = open_listener(AF_INET, SOCK_DGRAM, "127.0.0.1", RELAY_PORT);
	relay_fds[3] = open_listener(AF_INET6, SOCK_DGRAM, "::1", RELAY_PORT);
	wall_leave(wall);
	for (int i = 0; i < 4; i++)
		assert_true(relay_fds[i] >= 0);
}

static int use_relay(void *memory)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.0.0.1", RELAY_PORT);
	int fd;

	(void)memory;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", RELAY_PORT) >= 0 ||
	    try_connect(AF_INET6, SOCK_STREAM, "::1", RELAY_PORT) >= 0 ||
	    try_connect(AF_INET6, SOCK_STREAM, "::ffff:127.0.0.1", RELAY_PORT) >= 0 ||
	    try_connect(AF_INET, SOCK_STREAM, "0.0.0.0", RELAY_PORT) >= 0)
		return 1;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", RELAY_PORT) != -EPERM)
		return 2; /* not a time-out */
	if (try_send(AF_INET, "127.0.0.1", RELAY_PORT) == 0 ||
	    try_send(AF_INET6, "::1", RELAY_PORT) == 0 ||
	    try_send(AF_INET6, "::ffff:127.0.0.1", RELAY_PORT) == 0)
		return 3;
	fd = try_connect(AF_INET, SOCK_DGRAM, "127.0.0.1", RELAY_PORT);
	if (fd >= 0 && send(fd, "leak", 4, 0) >= 0)
		return 4;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (sendto(fd, "leak", 4, MSG_FASTOPEN, (void *)&to, sizeof(struct sockaddr_in)) >= 0)
		return 5;
	return 0;
}

static int use_relay_outside(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", RELAY_PORT) >= 0 &&
			       try_send(AF_INET, "127.0.0.1", RELAY_PORT) == 0
		       ? 0
		       : 1;
}

static void test_relay(void **state)
{
	struct wall *wall = *state;
	struct pollfd polls[4];

	open_relay(wall);
	assert_int_equal(wall_run(wall, use_relay), 0);
	for (int i = 0; i < 4; i++)
		polls[i] = (struct pollfd){.fd = relay_fds[i], .events = POLLIN};
	assert_int_equal(poll(polls, 4, 50), 0);
	assert_int_equal(wall_run_outside(wall, use_relay_outside), 0); /* others may */
	for (int i = 0; i < 300 && poll(polls, 4, 0) < 2; i++) /* poll(2) returns with the first of them */
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	assert_int_equal(poll(polls, 4, 0), 2);
	for (int i = 0; i < 4; i++)
		close(relay_fds[i]);
}

/* A listener of the relay's that the connect hook has not seen yet: the packet hook decides. */
static int late_connect(void *memory)
{
	volatile int *flags = memory;
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.0.0.1", RELAY_PORT);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, (void *)&to, sizeof(to)) < 0) /* nobody there: lets it pass */
		return 1;
	flags[0] = 1;
	if (!wall_wait_for(&flags[1]))
		return 2;
	return send(fd, "leak", 4, 0) < 0 ? 0 : 3;
}

static void test_late_relay(void **state)
{
	struct wall *wall = *state;
	volatile int *flags = wall->memory;
	int pid = wall_start(wall, true, late_connect);

	assert_int_equal(wall_wait_for(&flags[0]), 1);
	open_relay(wall);
	flags[1] = 1;
	assert_int_equal(wall_wait(pid), 0);
	for (int i = 0; i < 4; i++)
		close(relay_fds[i]);
}

/* ---- the bottle's own ------------------------------------------------------------------------ */

static int talk_to_self(void *memory)
{
	int tcp = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", PRIVATE_PORT);
	int tcp6 = open_listener(AF_INET6, SOCK_STREAM, "::1", PRIVATE_PORT);
	int udp = open_listener(AF_INET, SOCK_DGRAM, "127.0.0.1", PRIVATE_PORT);
	char byte;

	(void)memory;
	if (tcp < 0 || tcp6 < 0 || udp < 0)
		return 1;
	be_patient(udp);
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", PRIVATE_PORT) < 0)
		return 2;
	if (try_connect(AF_INET6, SOCK_STREAM, "::1", PRIVATE_PORT) < 0)
		return 3;
	if (try_connect(AF_INET6, SOCK_STREAM, "::ffff:127.0.0.1", PRIVATE_PORT) < 0)
		return 4;
	if (try_send(AF_INET, "127.0.0.1", PRIVATE_PORT) != 0)
		return 5;
	if (recv(udp, &byte, 1, 0) != 1)
		return 6;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", PRIVATE_PORT + 1) != -ECONNREFUSED)
		return 7;
	if (try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443) < 0)
		return 8;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", PROXY_PORT) < 0)
		return 9;
	return try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) == -EPERM ? 0 : 10;
}

static void test_own_servers(void **state)
{
	assert_int_equal(wall_run(*state, talk_to_self), 0);
}

static int ask_dns(void *memory)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, "192.0.2.53", 53), from;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t length = sizeof(from);
	char reply[8];

	(void)memory;
	be_patient(fd);
	if (sendto(fd, "query", 5, 0, (void *)&to, sizeof(struct sockaddr_in)) != 5)
		return 1;
	if (recvfrom(fd, reply, sizeof(reply), 0, (void *)&from, &length) != 5)
		return 2;
	return memcmp(&from, &to, 8) == 0 ? 0 : 3;
}

static void test_dns(void **state)
{
	struct wall *wall = *state;
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	char query[8];
	int pid = wall_start(wall, true, ask_dns);

	be_patient(wall->dns_udp4);
	assert_int_equal(recvfrom(wall->dns_udp4, query, 8, 0, (void *)&from, &length), 5);
	assert_int_equal(sendto(wall->dns_udp4, query, 5, 0, (void *)&from, length), 5);
	assert_int_equal(wall_wait(pid), 0);
}

/* ---- connections into the bottle ------------------------------------------------------------- */

static int serve_ports(void *memory)
{
	volatile int *flags = memory;
	int published = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", PUBLISHED_PORT);
	int private = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", PRIVATE_PORT);
	int datagrams = open_listener(AF_INET, SOCK_DGRAM, "127.0.0.1", PRIVATE_PORT);
	char byte;

	if (published < 0 || private < 0 || datagrams < 0)
		return 1;
	flags[0] = 1;
	if (!wall_wait_for(&flags[1]))
		return 2;
	return recv(datagrams, &byte, 1, MSG_DONTWAIT) < 0 ? 0 : 3;
}

static int reach_in(void *memory)
{
	(void)memory;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", PUBLISHED_PORT) < 0)
		return 1;
	if (try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", PRIVATE_PORT) >= 0)
		return 2;
	try_send(AF_INET, "127.0.0.1", PRIVATE_PORT);
	return 0;
}

static void test_ingress(void **state)
{
	struct wall *wall = *state;
	volatile int *flags = wall->memory;
	int pid = wall_start(wall, true, serve_ports);

	assert_int_equal(wall_wait_for(&flags[0]), 1);
	assert_int_equal(wall_run_outside(wall, reach_in), 0);
	flags[1] = 1;
	assert_int_equal(wall_wait(pid), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_relay, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_late_relay, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_own_servers, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_dns, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_ingress, wall_setup_shared, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: shared namespace", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
