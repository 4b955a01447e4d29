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

static void raise_wall(struct wall *wall)
{
	struct error error = {0};

	if (tc_wall_open(wall->kernel, wall->netns, &wire.tc, &error) < 0)
		fail_msg("%s", error.text);
	(void)wire_sniffed(&wire);
}

static int setup(void **state)
{
	return wire_setup_direct(state, &wire);
}

static int teardown(void **state)
{
	return wire_teardown(state, &wire);
}

static struct kernel_status status_of(const struct wall *wall)
{
	struct kernel_status status = {0};

	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	free(status.hosts);
	return status;
}

/* As the kernel tells it, not as we remember it. */
static uint32_t program_in_force(void)
{
	int ifindex = (int)if_nametoindex("tcb0");
	struct bpf_tc_opts options;
	struct bpf_tc_hook hook;

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

static struct sniffed let_out(struct wall *wall, int times)
{
	(void)wire_sniffed(&wire);
	assert_int_equal(wall_run_outside(wall, attack_frame), 0);
	return wire_sniffed_soon(&wire, times);
}

static void assert_leaks(struct wall *wall)
{
	assert_true(let_out(wall, 30).any > 0);
}

static void assert_holds(struct wall *wall)
{
	assert_int_equal(let_out(wall, 1).any, 0);
}

/* It counts what it drops where that arrives: on a busy machine later. */
static bool is_counted(struct wall *wall, uint64_t before)
{
	for (int i = 0; i < 200 && wall_counter(wall, EGRESS_COUNTER_WIRE) == before; i++)
		wire_pause(10);
	return wall_counter(wall, EGRESS_COUNTER_WIRE) != before;
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
		possible[i] = run_attack(wall, &attacks[i]) == 0 &&
			      wire_sniffed_soon(&wire, 5).marked > 0;
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
		} else if (possible[i] && !is_counted(wall, dropped)) {
			printf("# %s: not counted\n", attacks[i].name);
			failed++;
		}
	}
	assert_int_equal(failed, 0);
	assert_int_equal(status_of(wall).walled_ends, 1);
}

/* ---- by id, with the host's CAP_SYS_ADMIN ---------------------------------------------------------- */

#define INSN(c, d, s, o, i) ((struct bpf_insn){.code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i})

/* A program of the attacker's that deletes an entry, run once. 0 when it could. */
static int delete_by_program(int map, const uint32_t *key, uint32_t size)
{
	struct bpf_insn insns[40];
	unsigned char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	size_t n = 0;
	int program, result;

	for (uint32_t i = 0; i < size / 4; i++)
		insns[n++] = INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, (int16_t)(4 * i - size),
				  (int)key[i]);
	insns[n++] = INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -(int)size);
	insns[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_delete_elem);
	insns[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "writer", "GPL", insns, n, NULL);
	if (program < 0)
		return -1;
	result = bpf_prog_test_run_opts(program, &run) < 0 || run.retval != 0 ? -1 : 0;
	close(program);
	return result;
}

/* How many ways there were to write the map. */
static int write_map(int map, const struct bpf_map_info *info)
{
	uint32_t key[16] = {0};
	unsigned char value[4096];
	int ways = 0;

	memset(value, 1, sizeof(value));
	if (bpf_map_get_next_key(map, NULL, key) == 0) {
		if (info->type == BPF_MAP_TYPE_LPM_TRIE)
			ways += delete_by_program(map, key, info->key_size) == 0;
		ways += bpf_map_delete_elem(map, key) == 0;
	}
	return ways + (bpf_map_update_elem(map, key, value, 0) == 0);
}

/* Writes to whatever the program in force reads, but counters. Returns how much could be written, or
 * 100 when there was nothing to try. */
static int write_maps_by_id(void *memory)
{
	uint32_t ids[16], program_id = *(uint32_t *)memory, size = sizeof(struct bpf_prog_info);
	struct bpf_prog_info program = {.nr_map_ids = 16, .map_ids = (uintptr_t)ids};
	int written = 0, tried = 0, fd = bpf_prog_get_fd_by_id(program_id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &program, &size) < 0)
		return 101;
	for (uint32_t i = 0; i < program.nr_map_ids; i++) {
		struct bpf_map_info info = {0};
		uint32_t length = sizeof(info);
		int map = bpf_map_get_fd_by_id(ids[i]);

		if (map < 0 || bpf_obj_get_info_by_fd(map, &info, &length) < 0)
			return 102;
		if (strcmp(info.name, "counters") != 0) {
			written += write_map(map, &info);
			tried++;
		}
		close(map);
	}
	return tried < 3 ? 100 : written;
}

static int detach_links(void *ifindex)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		struct bpf_link_info info = {0};
		uint32_t length = sizeof(info);
		int link = bpf_link_get_fd_by_id(id);

		if (link >= 0 && bpf_obj_get_info_by_fd(link, &info, &length) == 0 &&
		    info.type == 11 /* TCX */ && info.xdp.ifindex == *(uint32_t *)ifindex)
			(void)bpf_link_detach(link);
		if (link >= 0)
			close(link);
	}
	return 0;
}

static void test_by_id(void **state)
{
	struct wall *wall = *state;

	raise_wall(wall);
	*(uint32_t *)wall->memory = program_in_force();
	assert_int_equal(wall_run_outside(wall, write_maps_by_id), 0);
	*(uint32_t *)wall->memory = if_nametoindex("tcb0");
	assert_int_equal(wall_run_outside(wall, detach_links), 0);
	for (size_t i = 0; i < attack_count; i++)
		(void)run_attack(wall, &attacks[i]);
	assert_int_equal(wire_sniffed(&wire).any, 0);
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

	assert_leaks(wall);
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
	int fd = try_connect(family, type, address, port);
	char byte = 'x';
	bool done;

	if (fd < 0)
		return false;
	be_patient(fd);
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
	/* the routes go */
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
	assert_int_equal(tc_wall_watch(wire.tc, base, NULL), 0);
	wire_shell(wall, "ip link set eth0 down");
	wire_shell(wall, "ip link set eth0 name old0");
	wire_add(&wire, "eth0", 1);
	assert_leaks(wall);
	for (int i = 0; i < 100 && status_of(wall).walled_ends < 2; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		wire_pause(10);
	}
	assert_int_equal(status_of(wall).walled_ends, 2);
	assert_holds(wall);
	wire_shell(NULL, "ip link del tcb1");
	for (int i = 0; i < 100 && status_of(wall).wire_count > 1; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		wire_pause(10);
	}
	assert_int_equal(status_of(wall).walled_ends, 1);
	/* without anybody who looks: what is gone is no open wire */
	wire_shell(NULL, "ip link del tcb0");
	assert_int_equal(status_of(wall).walled_ends + status_of(wall).wire_count, 0);
	tc_wall_free(wire.tc);
	wire.tc = NULL;
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

static bool has_link(const struct wall *at, const char *name)
{
	bool found;

	if (at)
		wall_enter(at);
	found = if_nametoindex(name) != 0;
	if (at)
		wall_leave(at);
	return found;
}

/* True when it is gone within a second. */
static bool taken_away(struct event_base *base, const struct wall *at, const char *name)
{
	for (int i = 0; i < 100 && has_link(at, name); i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		wire_pause(10);
	}
	return !has_link(at, name);
}

/* What root in the bottle that holds our capabilities can make by the ids that namespaces have in each
 * other: a link in there on a device of ours, and the other way round. What was there before stays. */
#define ID_OF(link) "$(ip -o link show " link " | sed 's/.*link-netnsid \\([0-9]*\\).*/\\1/')"
static void test_intruders(void **state)
{
	struct wall *wall = *state;
	struct event_base *base = event_base_new();
	unsigned uplink = if_nametoindex("tcbr"), inner;

	wall_enter(wall);
	inner = if_nametoindex("eth0");
	wall_leave(wall);
	wire_shell(wall, "ip link add link if%u link-netnsid " ID_OF("eth0") " name tcold type macvlan",
		   uplink);
	raise_wall(wall);
	assert_int_equal(tc_wall_watch(wire.tc, base, NULL), 0);
	wire_shell(wall, "ip link set tcold up");
	wire_shell(wall, "ip link add link if%u link-netnsid " ID_OF("eth0") " name tcnew type macvlan",
		   uplink);
	assert_true(taken_away(base, wall, "tcnew"));
	wire_shell(NULL, "ip link add link if%u link-netnsid " ID_OF("tcb0") " name tchere type macvlan",
		   inner);
	assert_true(taken_away(base, NULL, "tchere"));
	assert_true(has_link(wall, "tcold"));
	assert_int_equal(status_of(wall).walled_ends, 1);
	tc_wall_free(wire.tc);
	wire.tc = NULL;
	event_base_free(base);
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
	    tc_wall_open(wall->kernel, wall->netns, &wire.tc, &error) < 0)
		fail_msg("%s", error.text);
	wire_allow_direct(wall);
	tc_wall_free(wire.tc);
	wire.tc = NULL;
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

static void test_outlives(void **state)
{
	struct wall *wall = *state;
	int pid, *count = wall->memory;

	assert_leaks(wall);
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	start_server(wall, false, supervise, &pid);
	wall_kill(pid); /* by SIGKILL */
	assert_holds(wall);
	assert_int_equal(status_of(wall).walled_ends, 1);
	*count = 0;
	pid = wall_start(wall, false, hammer);
	for (int i = 0; i < 12; i++) {
		uint32_t before = program_in_force();

		adopt(wall);
		assert_int_not_equal(before, 0);
		assert_int_not_equal(program_in_force(), before);
	}
	for (int i = 0; i < 1000 && *(volatile int *)count <= 50; i++)
		wire_pause(10);
	wall_kill(pid);
	assert_true(*count > 50);
	assert_int_equal(wire_sniffed(&wire).any, 0);
	assert_int_equal(status_of(wall).walled_ends, 1);
	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	assert_int_equal(program_in_force(), 0);
	assert_leaks(wall);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_attacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_direct, setup, teardown),
		cmocka_unit_test_setup_teardown(test_published, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hidden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_added_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intruders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_by_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outlives, setup, teardown),
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
