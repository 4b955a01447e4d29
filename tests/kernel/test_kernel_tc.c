// SPDX-License-Identifier: BSD-2-Clause
/* The tc wall, judged by what a sniffer sees beyond it. Each attack must leak without the wall. */
#include "tc_wire.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_private.h"

static struct wire wire;
static struct tc_wall *tc;

static void raise_wall(struct wall *wall)
{
	struct error error = {0};

	if (tc_wall_open(wall->kernel, wall->netns, &tc, &error) < 0)
		fail_msg("%s", error.text);
	(void)wire_sniffed(&wire);
}

static int setup(void **state, bool without_links)
{
	struct egress_target target = {
		.port_count = 1, .ports = {DIRECT_PORT}, .flags = EGRESS_TARGET_DIRECT};
	struct egress_target targets[2] = {target, target};
	struct egress_cidr_key keys[2] = {{.prefix_length = 120}, {.prefix_length = 64}};
	struct wall *wall;

	kernel_tc_without_links = without_links;
	tc = NULL;
	if (wall_setup(state) < 0)
		return -1;
	wall = *state;
	assert_true(address_parse(DIRECT_NET, &keys[0].address));
	assert_true(address_parse(BOTTLE_DIRECT6, &keys[1].address));
	memset(&keys[1].address.bytes[8], 0, 8);
	assert_int_equal(kernel_set_cidrs(wall->kernel, keys, targets, 2, NULL), 0);
	wire_up(wall, &wire);
	return 0;
}

static int setup_links(void **state)
{
	return setup(state, false);
}

static int setup_filters(void **state)
{
	return setup(state, true);
}

static int teardown(void **state)
{
	tc_wall_free(tc);
	wire_down(&wire);
	return wall_teardown(state);
}

static struct kernel_status status_of(const struct wall *wall)
{
	struct kernel_status status = {0};

	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	free(status.hosts);
	return status;
}

static void forget_neighbours(struct wall *wall)
{
	wire_shell(wall, "ip neigh flush all");
	wire_shell(&wire.far, "ip neigh flush all");
}

/* ---- attacks ----------------------------------------------------------------------------------- */

static int run_attack(struct wall *wall, const struct attack *attack)
{
	void *memory = wall->memory;
	int result;

	wall->memory = wall->cgroup;
	result = wall_run_outside(wall, attack->body);
	wall->memory = memory;
	return result;
}

static bool leaks(struct wall *wall)
{
	(void)wire_sniffed(&wire);
	assert_int_equal(wall_run_outside(wall, attack_frame), 0);
	return wire_sniffed(&wire).any > 0;
}

static void test_attacks(void **state)
{
	struct wall *wall = *state;
	struct sniffed sniffed;
	bool possible[32] = {0};
	uint64_t dropped;
	int failed = 0, tried = 0;

	for (size_t i = 0; i < attack_count; i++) {
		(void)wire_sniffed(&wire);
		possible[i] = run_attack(wall, &attacks[i]) == 0 && wire_sniffed(&wire).marked > 0;
		tried += possible[i];
		if (!possible[i])
			printf("# %s: does not get out without a wall either\n", attacks[i].name);
		wire_shell(wall, "ip neigh flush all");
	}
	assert_true(tried >= 14);
	/* else the other side asks after direct neighbours it has met, and may be answered */
	forget_neighbours(wall);
	raise_wall(wall);
	for (size_t i = 0; i < attack_count; i++) {
		dropped = wall_counter(wall, EGRESS_COUNTER_WIRE);
		(void)run_attack(wall, &attacks[i]);
		sniffed = wire_sniffed(&wire);
		if (sniffed.any > 0) {
			printf("# %s: GETS OUT: %d, %d marked\n", attacks[i].name, sniffed.any,
			       sniffed.marked);
			failed++;
		} else if (possible[i] && wall_counter(wall, EGRESS_COUNTER_WIRE) == dropped) {
			printf("# %s: not counted\n", attacks[i].name);
			failed++;
		}
	}
	assert_int_equal(failed, 0);
	assert_int_equal(status_of(wall).walled_ends, 1);
}

static int from_another_namespace(void *memory)
{
	volatile int *stage = memory;

	if (unshare(CLONE_NEWNET) < 0)
		return 1;
	*stage = 1;
	for (int i = 0; i < 500 && if_nametoindex("eth0") == 0; i++)
		wire_pause(10);
	if (system("ip link set eth0 up") != 0)
		return 2;
	wire_pause(100);
	if (attack_frame(NULL) != 0)
		return 3;
	*stage = 2;
	pause(); /* the namespace lives as long, and the wire with it */
	return 4;
}

/* The bottle's root moves its end to where the supervisor cannot see it. */
static void test_hidden(void **state)
{
	struct wall *wall = *state;
	volatile int *stage = wall->memory;
	int pid;

	assert_true(leaks(wall));
	raise_wall(wall);
	*stage = 0;
	pid = wall_start(wall, false, from_another_namespace);
	for (int i = 0; i < 500 && *stage < 1; i++)
		wire_pause(10);
	wire_shell(wall, "ip link set eth0 netns %d", pid);
	for (int i = 0; i < 500 && *stage < 2; i++)
		wire_pause(10);
	assert_int_equal(*stage, 2);
	assert_int_equal(wire_sniffed(&wire).any, 0);
	assert_int_equal(status_of(wall).walled_ends, 1);
	wall_kill(pid);
}

/* ---- what may pass ------------------------------------------------------------------------------- */

/* Sends one byte back for each that comes, until killed. */
static int serve(uint16_t port, uint16_t other, int *ready)
{
	struct pollfd polls[3] = {{open_listener(AF_INET6, SOCK_STREAM, "::", port), POLLIN, 0},
				  {open_listener(AF_INET6, SOCK_DGRAM, "::", port), POLLIN, 0},
				  {open_listener(AF_INET6, SOCK_STREAM, "::", other), POLLIN, 0}};
	struct sockaddr_storage from;
	socklen_t length;
	char byte;

	if (polls[0].fd < 0 || polls[1].fd < 0 || polls[2].fd < 0)
		return 1;
	*(volatile int *)ready = 1;
	while (poll(polls, 3, -1) > 0) {
		for (int i = 0; i < 3; i += 2) {
			int fd = polls[i].revents ? accept(polls[i].fd, NULL, NULL) : -1;

			if (fd >= 0 && recv(fd, &byte, 1, 0) == 1)
				send(fd, &byte, 1, 0);
			if (fd >= 0)
				close(fd);
		}
		length = sizeof(from);
		if (polls[1].revents &&
		    recvfrom(polls[1].fd, &byte, 1, 0, (void *)&from, &length) == 1)
			sendto(polls[1].fd, &byte, 1, 0, (void *)&from, length);
	}
	return 2;
}

static int serve_direct(void *memory)
{
	return serve(DIRECT_PORT, DIRECT_PORT + 1, memory);
}

static int serve_published(void *memory)
{
	return serve(PUBLISHED_PORT, PUBLISHED_PORT + 1, memory);
}

static void start_server(struct wall *at, bool inside, int (*body)(void *memory), int *ret_pid)
{
	volatile int *ready = at->memory;

	*ready = 0;
	*ret_pid = wall_start(at, inside, body);
	for (int i = 0; i < 500 && !*ready; i++)
		wire_pause(10);
	assert_int_equal(*ready, 1);
}

/* True when a byte went there and back. */
static bool exchange(int family, int type, const char *address, uint16_t port)
{
	struct timeval patience = {.tv_sec = 2};
	int fd = try_connect(family, type, address, port);
	char byte = 'x';
	bool done;

	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	done = send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1;
	close(fd);
	return done;
}

static int use_direct(void *unused)
{
	(void)unused;
	if (!exchange(AF_INET, SOCK_STREAM, FAR_DIRECT, DIRECT_PORT))
		return 1;
	if (!exchange(AF_INET, SOCK_DGRAM, FAR_DIRECT, DIRECT_PORT))
		return 2;
	if (!exchange(AF_INET6, SOCK_STREAM, FAR_DIRECT6, DIRECT_PORT))
		return 3;
	if (!exchange(AF_INET6, SOCK_DGRAM, FAR_DIRECT6, DIRECT_PORT))
		return 4;
	return 0;
}

static int use_others(void *unused)
{
	(void)unused;
	if (exchange(AF_INET, SOCK_STREAM, FAR_DIRECT, DIRECT_PORT + 1))
		return 1;
	return exchange(AF_INET, SOCK_STREAM, FAR_STRANGE, DIRECT_PORT) ? 2 : 0;
}

/* Neighbours are found anew: by the bottle, and by the other side, which answers it. From another
 * cgroup, so that only the tc wall stands in the way, and from the bottle's. */
static void test_direct(void **state)
{
	struct wall *wall = *state;
	int pid;

	raise_wall(wall);
	start_server(&wire.far, false, serve_direct, &pid);
	forget_neighbours(wall);
	assert_int_equal(wall_run_outside(wall, use_direct), 0);
	wire_shell(&wire.far, "ip neigh flush all");
	assert_int_equal(wall_run(wall, use_direct), 0);
	(void)wire_sniffed(&wire);
	assert_int_equal(wall_run_outside(wall, use_others), 0);
	assert_int_equal(wire_sniffed(&wire).any, 0);
	/* the routes go: the same map, nothing to tell the programs */
	assert_int_equal(kernel_set_cidrs(wall->kernel, NULL, NULL, 0, NULL), 0);
	assert_int_equal(wall_run_outside(wall, use_direct), 1);
	assert_int_equal(wire_sniffed(&wire).any, 0);
	wall_kill(pid);
}

static int use_published(void *unused)
{
	(void)unused;
	if (!exchange(AF_INET, SOCK_STREAM, BOTTLE_STRANGE, PUBLISHED_PORT))
		return 1;
	if (!exchange(AF_INET6, SOCK_STREAM, BOTTLE_DIRECT6, PUBLISHED_PORT))
		return 2;
	return exchange(AF_INET, SOCK_STREAM, BOTTLE_STRANGE, PUBLISHED_PORT + 1) ? 3 : 0;
}

static void test_published(void **state)
{
	struct wall *wall = *state;
	int pid;

	raise_wall(wall);
	start_server(wall, false, serve_published, &pid);
	forget_neighbours(wall);
	assert_int_equal(wall_run_outside(&wire.far, use_published), 0);
	wall_kill(pid);
	start_server(wall, true, serve_published, &pid);
	assert_int_equal(wall_run_outside(&wire.far, use_published), 0);
	wall_kill(pid);
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void test_added_later(void **state)
{
	struct wall *wall = *state;
	struct event_base *base = event_base_new();

	raise_wall(wall);
	assert_int_equal(tc_wall_watch(tc, base, NULL), 0);
	wire_shell(wall, "ip link set eth0 down");
	wire_shell(wall, "ip link set eth0 name old0");
	wire_add(&wire, "eth0", 1);
	assert_true(leaks(wall));
	for (int i = 0; i < 100 && status_of(wall).walled_ends < 2; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		wire_pause(10);
	}
	assert_int_equal(status_of(wall).walled_ends, 2);
	assert_false(leaks(wall));
	wire_shell(NULL, "ip link del tcb1");
	for (int i = 0; i < 100 && status_of(wall).wire_count > 1; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		wire_pause(10);
	}
	assert_int_equal(status_of(wall).walled_ends, 1);
	/* without anybody who looks: what is gone is no open wire */
	wire_shell(NULL, "ip link del tcb0");
	assert_int_equal(status_of(wall).walled_ends + status_of(wall).wire_count, 0);
	tc_wall_free(tc);
	tc = NULL;
	event_base_free(base);
}

/* Ends that nobody can wall from here are named, and do not count as walled. */
static void test_foreign(void **state)
{
	struct wall *wall = *state;
	struct kernel_status status;

	wire_shell(&wire.far, "ip link add tcf0 type veth peer name tcf1");
	wire_shell(&wire.far, "ip link set tcf1 netns /proc/%d/fd/%d", getpid(), wall->netns);
	wire_shell(wall, "ip tuntap add tctun mode tun && ip link add tcin0 type veth peer name tcin1 &&"
		   " ip link add tcbr type bridge");
	raise_wall(wall);
	status = status_of(wall);
	assert_int_equal(status.walled_ends, 1);
	assert_int_equal(status.wire_count, 3); /* not lo, not what stays inside */
	assert_string_equal(status.wires[0].wire.name, "eth0");
	assert_true(status.wires[0].walled);
	for (int i = 1; i < 3; i++) {
		const struct egress_wire *foreign = &status.wires[i].wire;

		assert_int_equal(foreign->state, EGRESS_WIRE_FOREIGN);
		assert_false(status.wires[i].walled);
		assert_string_equal(foreign->name,
				    strcmp(foreign->kind, "tun") == 0 ? "tctun" : "tcf1");
	}
}

static int hammer(void *memory)
{
	volatile int *count = memory;

	for (;;) {
		if (attack_frame(NULL) != 0)
			return 1;
		(*count)++;
		usleep(1000);
	}
}

static void adopt(struct wall *wall)
{
	struct error error = {0};

	if (wall_open(wall, &error) < 0 ||
	    tc_wall_open(wall->kernel, wall->netns, &tc, &error) < 0)
		fail_msg("%s", error.text);
	tc_wall_free(tc);
	tc = NULL;
	kernel_close(wall->kernel);
	wall->kernel = NULL;
}

static int supervise(void *memory)
{
	struct wall *wall = wire.wall;

	setns(wall->home, CLONE_NEWNET);
	adopt(wall);
	*(volatile int *)memory = 1;
	pause();
	return 1;
}

/* As the kernel tells it, not as we remember it. */
static uint32_t program_in_force(void)
{
	int ifindex = (int)if_nametoindex("tcb0");
	struct bpf_tc_opts options;
	struct bpf_tc_hook hook;
	uint32_t id = 0, count = 1;

	if (!kernel_tc_without_links &&
	    bpf_prog_query(ifindex, (enum bpf_attach_type)KERNEL_TCX_INGRESS, 0, NULL, &id,
			   &count) == 0)
		return count ? id : 0;
	memset(&hook, 0, sizeof(hook));
	memset(&options, 0, sizeof(options));
	hook.sz = sizeof(hook);
	hook.ifindex = ifindex;
	hook.attach_point = BPF_TC_INGRESS;
	options.sz = sizeof(options);
	options.handle = KERNEL_TC_HANDLE;
	options.priority = KERNEL_TC_PRIORITY;
	return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

static void test_outlives(void **state)
{
	struct wall *wall = *state;
	int pid, *count = wall->memory;

	assert_true(leaks(wall));
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	start_server(wall, false, supervise, &pid);
	wall_kill(pid); /* by SIGKILL */
	assert_false(leaks(wall));
	assert_int_equal(status_of(wall).walled_ends, 1);
	*count = 0;
	pid = wall_start(wall, false, hammer);
	for (int i = 0; i < 12; i++) {
		uint32_t before = program_in_force();

		adopt(wall);
		assert_int_not_equal(before, 0);
		assert_int_not_equal(program_in_force(), before);
	}
	wall_kill(pid);
	assert_true(*count > 50);
	assert_int_equal(wire_sniffed(&wire).any, 0);
	assert_int_equal(status_of(wall).walled_ends, 1);
	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	assert_int_equal(program_in_force(), 0);
	assert_true(leaks(wall));
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_attacks, setup_links, teardown),
		{"test_attacks_clsact", test_attacks, setup_filters, teardown, NULL},
		cmocka_unit_test_setup_teardown(test_direct, setup_links, teardown),
		{"test_direct_clsact", test_direct, setup_filters, teardown, NULL},
		cmocka_unit_test_setup_teardown(test_published, setup_links, teardown),
		cmocka_unit_test_setup_teardown(test_hidden, setup_links, teardown),
		cmocka_unit_test_setup_teardown(test_added_later, setup_links, teardown),
		cmocka_unit_test_setup_teardown(test_foreign, setup_links, teardown),
		cmocka_unit_test_setup_teardown(test_outlives, setup_links, teardown),
		{"test_outlives_clsact", test_outlives, setup_filters, teardown, NULL},
	};

	/* the "host" is ours alone */
	if (unshare(CLONE_NEWNET) < 0)
		return 1;
	address_up("lo");
	return cmocka_run_group_tests_name("kernel: tc", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
