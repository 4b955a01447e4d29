// SPDX-License-Identifier: BSD-2-Clause
/* bench_wall [ROUNDS]: what the wall costs a program: connect() steered and recorded as a ratio to
 * connect() to the same listener from outside of the wall, in turns; the CPU of a refused connect();
 * a packet on the egress hook, as the kernel's own statistics have it, what these cost included. Exit
 * status 1: a limit is not met. */
#include "wall.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECTS 1500
#define REFUSALS 1000
#define PACKETS 20000
#define PACKET_ROUNDS 3
#define ROUNDS_MAX 99

static struct wall *the_wall;
static uint64_t samples[CONNECTS];

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return values[count / 2];
}

/* ---- connect() ------------------------------------------------------------------------------- */

static int connect_once(const struct sockaddr_storage *to, uint64_t *ret_time)
{
	const struct linger reset = {.l_onoff = 1}; /* no TIME_WAIT: ports would run out */
	int fd = socket(AF_INET, SOCK_STREAM, 0), accepted;
	struct egress_flow flow;
	uint64_t began = now();

	if (connect(fd, (const void *)to, sizeof(struct sockaddr_in)) < 0)
		return errno;
	*ret_time = now() - began;
	accepted = accept(the_wall->proxy4, NULL, NULL);
	if (accepted < 0)
		return errno;
	(void)!take_flow_of(the_wall, accepted, &flow);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	close(accepted);
	return 0;
}

static int connect_often(uint64_t *ret_median, const char *address, uint16_t port)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, address, port);
	int result = 0;

	for (int i = 0; i < CONNECTS && result == 0; i++)
		result = connect_once(&to, &samples[i]);
	*ret_median = median(samples, CONNECTS);
	return result;
}

static int connect_steered(void *memory)
{
	return connect_often(memory, HOST_ONE, 443);
}

static int connect_freely(void *memory)
{
	return connect_often(memory, "127.0.0.1", PROXY_PORT);
}

/* CPU time of a loop that does nothing else: others on the machine do not count. */
static int connect_refused(void *memory)
{
	struct sockaddr_storage to = sockaddr_of(AF_INET, "192.0.2.1", 443);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t began = read_clock(CLOCK_PROCESS_CPUTIME_ID);

	for (int i = 0; i < REFUSALS; i++)
		if (connect(fd, (void *)&to, sizeof(struct sockaddr_in)) == 0 || errno != EPERM)
			return 1;
	*(uint64_t *)memory = (read_clock(CLOCK_PROCESS_CPUTIME_ID) - began) / REFUSALS;
	return 0;
}

/* ---- packets ---------------------------------------------------------------------------------- */

static int send_stream(void *memory)
{
	int server = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", 7);
	int one = 1, client = try_connect(AF_INET, SOCK_STREAM, "127.0.0.1", 7);
	int peer = accept(server, NULL, NULL);
	char octet;

	(void)memory;
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (int i = 0; i < PACKETS; i++)
		if (write(client, "x", 1) != 1 || read(peer, &octet, 1) != 1)
			return 1;
	return 0;
}

static int send_datagrams(void *memory)
{
	int server = open_listener(AF_INET, SOCK_DGRAM, "127.0.0.1", 7);
	int client = try_connect(AF_INET, SOCK_DGRAM, "127.0.0.1", 7);
	char octet;

	(void)memory;
	for (int i = 0; i < PACKETS; i++)
		if (write(client, "x", 1) != 1 || read(server, &octet, 1) != 1)
			return 1;
	return 0;
}

/* Time and runs of the program behind a pinned link since it was loaded. */
static void program_statistics(const char *name, uint64_t *ret_time, uint64_t *ret_runs)
{
	struct bpf_link_info link = {0};
	struct bpf_prog_info program = {0};
	__u32 link_length = sizeof(link), program_length = sizeof(program);
	char path[200];
	int fd, program_fd;

	snprintf(path, sizeof(path), KERNEL_PIN_ROOT "/%s/link-%s", the_wall->name, name);
	for (char *dot = path; (dot = strchr(dot, '.'));)
		*dot = '+';
	fd = bpf_obj_get(path);
	assert_return_code(fd, errno);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &link, &link_length), 0);
	program_fd = bpf_prog_get_fd_by_id(link.prog_id);
	assert_return_code(program_fd, errno);
	assert_int_equal(bpf_obj_get_info_by_fd(program_fd, &program, &program_length), 0);
	*ret_time = program.run_time_ns;
	*ret_runs = program.run_cnt;
	close(program_fd);
	close(fd);
}

static uint64_t one_time_per_packet(int (*body)(void *memory))
{
	uint64_t times[2], runs[2];

	program_statistics("egress", &times[0], &runs[0]);
	assert_int_equal(wall_run(the_wall, body), 0);
	program_statistics("egress", &times[1], &runs[1]);
	assert_true(runs[1] - runs[0] >= PACKETS);
	return (times[1] - times[0]) / (runs[1] - runs[0]);
}

/* The best of several: whoever interrupts a program makes it slower, and nothing makes it faster. */
static uint64_t time_per_packet(int (*body)(void *memory))
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < PACKET_ROUNDS; i++) {
		uint64_t one = one_time_per_packet(body);

		best = one < best ? one : best;
	}
	return best;
}

/* ---- rounds ------------------------------------------------------------------------------------ */

static void see_denial(void *context, const struct egress_denial *denial)
{
	(void)denial;
	++*(int *)context;
}

static uint64_t measure(int (*body)(void *memory), bool inside)
{
	assert_int_equal(inside ? wall_run(the_wall, body) : wall_run_outside(the_wall, body), 0);
	return *(uint64_t *)the_wall->memory;
}

static bool tell(const char *what, double value, const char *unit, double limit)
{
	printf("%-44s %8.2f %-7s limit %.2f: %s\n", what, value, unit, limit,
	       value <= limit ? "met" : "NOT met");
	return value <= limit;
}

static bool connects(int rounds)
{
	uint64_t ratios[ROUNDS_MAX], refused = UINT64_MAX, once;
	int seen = 0;

	(void)measure(connect_freely, false); /* what is slow the first time */
	for (int i = 0; i < rounds; i++) {
		uint64_t freely = measure(connect_freely, false);

		ratios[i] = measure(connect_steered, true) * 1000 / freely;
		once = measure(connect_refused, true);
		refused = once < refused ? once : refused;
		while (kernel_read_denials(the_wall->kernel, see_denial, &seen) > 0)
			;
	}
	assert_true(seen >= rounds * REFUSALS);
	return tell("connect(), steered and recorded", (double)median(ratios, (size_t)rounds) / 1000,
		    "x none", 1.20) &
	       tell("connect(), refused, counted and recorded",
		    (double)refused / 1000, "us", 1.5);
}

static bool packets(void)
{
	int statistics = bpf_enable_stats(BPF_STATS_RUN_TIME);
	bool met;

	assert_return_code(statistics, errno);
	met = tell("egress hook, a packet of a TCP connection", (double)time_per_packet(send_stream),
		   "ns", 250) &
	      tell("egress hook, a datagram", (double)time_per_packet(send_datagrams), "ns", 250);
	close(statistics);
	return met;
}

static int rounds_wanted = 9;

static void bench(void **state)
{
	bool met;

	the_wall = *state;
	met = connects(rounds_wanted) & packets();
	assert_true(met);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bench, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("bench: wall", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds_wanted = atoi(argv[1]);
	if (rounds_wanted < 1 || rounds_wanted > ROUNDS_MAX)
		rounds_wanted = 9;
	setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
	return wall_main(run);
}
