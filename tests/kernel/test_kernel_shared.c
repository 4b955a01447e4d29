// SPDX-License-Identifier: BSD-2-Clause
/* In a shared network namespace loopback is the host's: it must not carry the bottle's data out,
 * nor other people's connections in. */
#include "wall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RELAY_PORT 4444
#define PUBLISHED_PORT 8088
#define PRIVATE_PORT 8089

static int wait_for(volatile int *flag)
{
	for (int i = 0; i < 500; i++) {
		if (*flag)
			return *flag;
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	}
	return 0;
}

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
	if (!wait_for(&flags[1]))
		return 2;
	return send(fd, "leak", 4, 0) < 0 ? 0 : 3;
}

static void test_late_relay(void **state)
{
	struct wall *wall = *state;
	volatile int *flags = wall->memory;
	int pid = wall_start(wall, true, late_connect);

	assert_int_equal(wait_for(&flags[0]), 1);
	open_relay(wall);
	flags[1] = 1;
	assert_int_equal(wall_wait(pid), 0);
	for (int i = 0; i < 4; i++)
		close(relay_fds[i]);
}

/* ---- ports that both sides hold ---------------------------------------------------------------- */

#define CROWD_PORT 4445

/* A socket that takes others beside it on its port: SO_REUSEADDR for datagrams, SO_REUSEPORT (of the
 * same user's) for both. */
static int sharing(int type, int option, const char *address)
{
	struct sockaddr_storage at = sockaddr_of(AF_INET, address, CROWD_PORT);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, option, &one, sizeof(one));
	if (bind(fd, (void *)&at, sizeof(struct sockaddr_in)) == 0 &&
	    (type != SOCK_STREAM || listen(fd, 64) == 0))
		return fd;
	close(fd);
	return -errno;
}

static int sharing_outside(const struct wall *wall, int type, int option, const char *address)
{
	int fd;

	wall_enter(wall);
	fd = sharing(type, option, address);
	wall_leave(wall);
	assert_true(fd >= 0);
	return fd;
}

/* Its own receiver was there first, and is one of those that a broadcast goes to. */
static int broadcast(void *memory)
{
	volatile int *flags = memory;
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.255.255.255", CROWD_PORT);
	int one = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (sharing(SOCK_DGRAM, SO_REUSEADDR, "127.255.255.255") < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) < 0)
		return 1;
	flags[0] = 1;
	if (!wait_for(&flags[1]))
		return 2;
	return sendto(fd, "leak", 4, 0, (void *)&to, sizeof(struct sockaddr_in)) == 4 ? 0 : errno;
}

/* How many of those outside hear a broadcast, and what its sender is told. */
static int hear_broadcast(struct wall *wall, bool inside, int *ret_result)
{
	volatile int *flags = wall->memory;
	int pid, heard;
	struct pollfd polled = {.events = POLLIN};

	flags[0] = flags[1] = 0;
	pid = wall_start(wall, inside, broadcast);
	assert_int_equal(wait_for(&flags[0]), 1);
	polled.fd = sharing_outside(wall, SOCK_DGRAM, SO_REUSEADDR, "0.0.0.0");
	flags[1] = 1;
	*ret_result = wall_wait(pid);
	heard = poll(&polled, 1, inside ? 50 : 20000);
	close(polled.fd);
	return heard;
}

static void test_broadcast(void **state)
{
	int result;

	assert_int_equal(hear_broadcast(*state, true, &result), 0);
	assert_int_equal(result, EPERM);
	assert_int_equal(hear_broadcast(*state, false, &result), 1);
	assert_int_equal(result, 0);
}

/* The kernel asks a group's program who gets a packet, and the wall's look-up does not: with one that
 * always says 'the first', the two see different sockets. */
static int join_group(void *memory)
{
	static struct sock_filter first[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog program = {1, first};
	int types[] = {SOCK_STREAM, SOCK_DGRAM}, in_use = 0;

	(void)memory;
	for (int i = 0; i < 2; i++) {
		int fd = sharing(types[i], SO_REUSEPORT, "127.0.0.1");

		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
				   sizeof(program));
		in_use += fd == -EADDRINUSE;
	}
	for (int i = 0; i < 32; i++) {
		int fd = try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", CROWD_PORT);

		if (fd >= 0)
			close(fd);
		try_send(AF_INET, "127.0.0.1", CROWD_PORT);
	}
	return in_use;
}

static void test_reuseport_group(void **state)
{
	struct wall *wall = *state;
	struct pollfd polled[2] = {{.events = POLLIN}, {.events = POLLIN}};

	polled[0].fd = sharing_outside(wall, SOCK_STREAM, SO_REUSEPORT, "127.0.0.1");
	polled[1].fd = sharing_outside(wall, SOCK_DGRAM, SO_REUSEPORT, "127.0.0.1");
	assert_int_equal(wall_run(wall, join_group), 2);
	assert_int_equal(poll(polled, 2, 50), 0);
	assert_int_equal(wall_run_outside(wall, join_group), 0);
	assert_true(poll(polled, 2, 20000) > 0);
	close(polled[0].fd);
	close(polled[1].fd);
}

/* A connection of others that ended, its last state at the listener: a SYN with its addresses is given
 * to that listener. It is bound to the interface, so that connect() does not see it. */
#define OLD_PORT 4446

static int from_old_port(void *memory)
{
	struct sockaddr_storage at = sockaddr_of(AF_INET, "127.0.0.1", OLD_PORT);
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.0.0.1", CROWD_PORT);
	struct timeval patience = {.tv_sec = 1}, longer = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, saved;

	(void)memory;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longer, sizeof(longer));
	if (bind(fd, (void *)&at, sizeof(struct sockaddr_in)) < 0)
		return errno;
	saved = connect(fd, (void *)&to, sizeof(struct sockaddr_in)) < 0 ? errno : 0;
	if (saved == 0) /* the other's end first: that is what stays, and leaves the port to us */
		(void)!read(fd, &one, 1);
	close(fd);
	return saved;
}

static void accept_and_end(int listener)
{
	struct pollfd polled = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&polled, 1, 20000), 1);
	close(accept(listener, NULL, NULL));
}

static void test_ended_connection(void **state)
{
	struct sockaddr_storage at = sockaddr_of(AF_INET, "127.0.0.1", CROWD_PORT);
	struct wall *wall = *state;
	int listener, pid;

	wall_enter(wall);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
	assert_int_equal(bind(listener, (void *)&at, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(listener, 8), 0);
	wall_leave(wall);
	assert_int_not_equal(wall_run(wall, from_old_port), 0);
	for (int i = 0; i < 2; i++) { /* the second meets what the first has left */
		pid = wall_start(wall, false, from_old_port);
		accept_and_end(listener);
		assert_int_equal(wall_wait(pid), 0);
	}
	assert_int_not_equal(wall_run(wall, from_old_port), 0);
	close(listener);
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
	if (!wait_for(&flags[1]))
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

	assert_int_equal(wait_for(&flags[0]), 1);
	assert_int_equal(wall_run_outside(wall, reach_in), 0);
	flags[1] = 1;
	assert_int_equal(wall_wait(pid), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_relay, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_late_relay, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_broadcast, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_reuseport_group, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_ended_connection, wall_setup_shared, wall_teardown),
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
