// SPDX-License-Identifier: BSD-2-Clause
/* Ports of a shared network namespace that both sides would hold: who gets a packet there is then not
 * only for the wall to say. */
#include "wall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Datagrams of the bottle share no port, but by system calls of which no program of the cgroup is told. */
static int sharing_by_32bit_call(const char *address)
{
	struct sockaddr_storage at = sockaddr_of(AF_INET, address, CROWD_PORT);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int rc;

	*one = 1;
	rc = set_option32(fd, SOL_SOCKET, SO_REUSEADDR, one, sizeof(*one)) < 0 ||
			     bind(fd, (void *)&at, sizeof(struct sockaddr_in)) < 0
		     ? -1
		     : fd;
	munmap(one, 4096);
	return rc;
}

/* Its own receiver was there first, and is one of those that a broadcast goes to. */
static int broadcast(void *memory)
{
	volatile int *flags = memory;
	struct sockaddr_storage to = sockaddr_of(AF_INET, "127.255.255.255", CROWD_PORT);
	int one = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (sharing_by_32bit_call("127.255.255.255") < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)) < 0)
		return 1;
	flags[0] = 1;
	if (!wall_wait_for(&flags[1]))
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
	assert_int_equal(wall_wait_for(&flags[0]), 1);
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

	if (!takes_32bit_calls())
		skip();
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

/* Nobody asks about the port that the kernel picks by itself, and the bottle may narrow its choice down
 * to one (Linux 6.3; before, it takes some ten thousand tries): datagrams share none at all. */
#define PICKED_PORT 40445
#define IP_LOCAL_PORT_RANGE_ 51

static int share_picked_port(void *memory)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, "192.0.2.1", 9), at = {0};
	const int options[] = {SO_REUSEADDR, SO_REUSEPORT};
	unsigned range = PICKED_PORT << 16 | PICKED_PORT;
	socklen_t size = sizeof(at);
	int one = 1;

	(void)memory;
	for (int i = 0; i < 2; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		setsockopt(fd, SOL_SOCKET, options[i], &one, sizeof(one));
		if (setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE_, &range, sizeof(range)) < 0)
			return 2; /* an older kernel */
		sendto(fd, "", 1, 0, (void *)&to, sizeof(struct sockaddr_in)); /* refused, by then bound */
		if (getsockname(fd, (void *)&at, &size) < 0)
			return errno;
		if (((struct sockaddr_in *)&at)->sin_port == htons(PICKED_PORT))
			return 1;
	}
	return 0;
}

static void test_picked_port(void **state)
{
	struct sockaddr_storage at = sockaddr_of(AF_INET, "0.0.0.0", PICKED_PORT);
	struct wall *wall = *state;
	int fd, one = 1, result;

	wall_enter(wall);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(fd, (void *)&at, sizeof(struct sockaddr_in)), 0);
	wall_leave(wall);
	result = wall_run_outside(wall, share_picked_port);
	if (result != 2) {
		assert_int_equal(result, 1);
		assert_int_equal(wall_run(wall, share_picked_port), 0);
	}
	close(fd);
}

/* The bottle was there first, and a service of the same user joins it: a program on the group would say
 * 'the second' where the wall's look-up sees the bottle's. */
static int lead_group(void *memory)
{
	static struct sock_filter second[] = {{BPF_RET | BPF_K, 0, 0, 1}};
	struct sock_fprog program = {1, second};
	int tcp = sharing(SOCK_STREAM, SO_REUSEPORT, "127.0.0.1");
	int udp = sharing(SOCK_DGRAM, SO_REUSEPORT, "127.0.0.1");
	volatile int *flags = memory;

	if (tcp < 0 || udp < 0)
		return 1;
	setsockopt(udp, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program));
	setsockopt(tcp, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program));
	flags[0] = 1;
	if (!wall_wait_for(&flags[1]))
		return 2;
	for (int i = 0; i < 32; i++) {
		int fd = try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", CROWD_PORT);

		if (fd >= 0)
			close(fd);
		try_send(AF_INET, "127.0.0.1", CROWD_PORT);
	}
	return 0;
}

/* How many of the two sockets that come later hear something: -1 for one that may not come. */
static int follow_group(struct wall *wall, bool inside, int ret_joined[2])
{
	struct pollfd polled[2] = {{.events = POLLIN}, {.events = POLLIN}};
	volatile int *flags = wall->memory;
	int pid, heard;

	flags[0] = flags[1] = 0;
	pid = wall_start(wall, inside, lead_group);
	assert_int_equal(wall_wait_for(&flags[0]), 1);
	wall_enter(wall);
	ret_joined[0] = polled[0].fd = sharing(SOCK_STREAM, SO_REUSEPORT, "127.0.0.1");
	ret_joined[1] = polled[1].fd = sharing(SOCK_DGRAM, SO_REUSEPORT, "127.0.0.1");
	wall_leave(wall);
	flags[1] = 1;
	assert_int_equal(wall_wait(pid), 0);
	heard = poll(polled, 2, 50);
	for (int i = 0; i < 2; i++)
		if (polled[i].fd >= 0)
			close(polled[i].fd);
	return heard;
}

static void test_group_that_is_joined(void **state)
{
	int joined[2];

	assert_int_equal(follow_group(*state, false, joined), 2);
	assert_int_equal(follow_group(*state, true, joined), 0);
	assert_true(joined[0] >= 0);
	assert_int_equal(joined[1], -EADDRINUSE);
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

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_broadcast, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_reuseport_group, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_picked_port, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_group_that_is_joined, wall_setup_shared, wall_teardown),
		cmocka_unit_test_setup_teardown(test_ended_connection, wall_setup_shared, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: shared ports", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
