// SPDX-License-Identifier: BSD-2-Clause
/* A bottle with a wire of its own: direct neighbours, published ports, and nobody else. */
#include "wall.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOTTLE "198.51.100.1" /* both ends are in DIRECT_NET */
#define NEIGHBOUR "198.51.100.2"
#define PUBLISHED_PORT 8088
#define PRIVATE_PORT 8089

struct wire {
	struct wall neighbour; /* as a place to run in only */
	int holder;
};
static struct wire wire;

static void hold_namespace(volatile int *ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET) < 0)
		_exit(1);
	address_up("lo");
	*ready = 1;
	pause();
	_exit(1);
}

static bool run_in(const struct wall *wall, const char *format, int pid)
{
	char command[256];
	int status;

	snprintf(command, sizeof(command), format, pid);
	wall_enter(wall);
	status = system(command);
	wall_leave(wall);
	return status == 0;
}

/* False where ip(8) cannot make a veth. */
static bool wire_up(struct wall *wall)
{
	volatile int *ready = wall->memory;
	char path[64];

	*ready = 0;
	wire.holder = fork();
	if (wire.holder == 0)
		hold_namespace(ready);
	assert_int_equal(wall_wait_for(ready), 1);
	*ready = 0;
	wire.neighbour = *wall;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", wire.holder);
	wire.neighbour.netns = open(path, O_RDONLY | O_CLOEXEC);
	return run_in(wall, "ip link add ktest0 type veth peer name ktest1 netns %d && "
			    "ip addr add " BOTTLE "/24 dev ktest0 && ip link set ktest0 up", wire.holder) &&
	       run_in(&wire.neighbour, "ip addr add " NEIGHBOUR "/24 dev ktest1 && "
				       "ip link set ktest1 up", 0);
}

static void wire_down(void)
{
	close(wire.neighbour.netns);
	wall_kill(wire.holder);
}

/* Sends one byte back for each that comes, on a stream and on datagrams, until killed. */
static int serve(uint16_t stream_port, uint16_t other_port, uint16_t datagram_port, int *ready)
{
	struct pollfd polls[3] = {
		{open_listener(AF_INET, SOCK_STREAM, "0.0.0.0", stream_port), POLLIN, 0},
		{open_listener(AF_INET, SOCK_STREAM, "0.0.0.0", other_port), POLLIN, 0},
		{open_listener(AF_INET, SOCK_DGRAM, "0.0.0.0", datagram_port), POLLIN, 0}};
	struct sockaddr_storage from;
	socklen_t length;
	char byte;

	if (polls[0].fd < 0 || polls[1].fd < 0 || polls[2].fd < 0)
		return 1;
	*(volatile int *)ready = 1;
	while (poll(polls, 3, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			int fd = polls[i].revents ? accept(polls[i].fd, NULL, NULL) : -1;

			if (fd >= 0 && recv(fd, &byte, 1, 0) == 1)
				send(fd, &byte, 1, 0);
			if (fd >= 0)
				close(fd);
		}
		length = sizeof(from);
		if (polls[2].revents &&
		    recvfrom(polls[2].fd, &byte, 1, 0, (void *)&from, &length) == 1) {
			ready[1]++;
			sendto(polls[2].fd, &byte, 1, 0, (void *)&from, length);
		}
	}
	return 2;
}

static int serve_neighbour(void *memory)
{
	return serve(7000, 7001, 7000, memory);
}

static int serve_bottle(void *memory)
{
	return serve(PUBLISHED_PORT, PRIVATE_PORT, PRIVATE_PORT, memory);
}

/* 0 when a byte went there and back, else an errno. */
static int exchange(int type, const char *address, uint16_t port)
{
	struct timeval patience = {.tv_sec = 2};
	int fd = try_connect(AF_INET, type, address, port), result;
	char byte = 'x';

	if (fd < 0)
		return -fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	result = send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1 ? 0 : errno;
	close(fd);
	return result;
}

static int from_inside(void *memory)
{
	(void)memory;
	if (exchange(SOCK_STREAM, NEIGHBOUR, 7000) != 0)
		return 1;
	if (exchange(SOCK_DGRAM, NEIGHBOUR, 7000) != 0)
		return 2;
	if (exchange(SOCK_STREAM, NEIGHBOUR, 7001) != EPERM)
		return 3;
	return exchange(SOCK_DGRAM, NEIGHBOUR, 7001) != 0 ? 0 : 4;
}

static void test_direct(void **state)
{
	struct wall *wall = *state;
	int pid;

	if (!wire_up(wall)) {
		wire_down();
		printf("no veth here: ip(8) failed\n");
		skip();
	}
	pid = wall_start(&wire.neighbour, false, serve_neighbour);
	assert_int_equal(wall_wait_for(wall->memory), 1);
	assert_int_equal(wall_run(wall, from_inside), 0);
	wall_kill(pid);
	wire_down();
}

static int from_outside(void *memory)
{
	(void)memory;
	if (exchange(SOCK_STREAM, BOTTLE, PUBLISHED_PORT) != 0)
		return 1;
	if (exchange(SOCK_STREAM, BOTTLE, PRIVATE_PORT) != EINPROGRESS)
		return 2;
	return exchange(SOCK_DGRAM, BOTTLE, PRIVATE_PORT) != 0 ? 0 : 3;
}

static void test_published(void **state)
{
	struct wall *wall = *state;
	int pid;

	if (!wire_up(wall)) {
		wire_down();
		printf("no veth here: ip(8) failed\n");
		skip();
	}
	pid = wall_start(wall, true, serve_bottle);
	assert_int_equal(wall_wait_for(wall->memory), 1);
	assert_int_equal(wall_run_outside(&wire.neighbour, from_outside), 0);
	assert_int_equal(((volatile int *)wall->memory)[1], 0); /* not only without a reply */
	assert_true(wall_counter(wall, EGRESS_ADDRESS_NOT_ALLOWED) > 0);
	wall_kill(pid);
	wire_down();
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_direct, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_published, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: wire", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
