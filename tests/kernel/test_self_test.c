// SPDX-License-Identifier: BSD-2-Clause
/* The self-test tells a wall that holds from one that does not, whichever program is missing. */
#include "wall.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "self_test.h"

static void detach(void *program, const char *name)
{
	char path[256];
	int link;

	snprintf(path, sizeof(path), "%s/%s/link-%s", KERNEL_PIN_ROOT, name, (char *)program);
	for (char *dot = path + strlen(KERNEL_PIN_ROOT); *dot; dot++)
		if (*dot == '.')
			*dot = '+';
	link = bpf_obj_get(path);
	assert_return_code(link, errno);
	assert_return_code(bpf_link_detach(link), errno);
	close(link);
}

/* ---- the long form -------------------------------------------------------------------------- */

static const struct self_test_item *item_of(const struct self_test_report *report, const char *name)
{
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->items[i].name, name) == 0)
			return &report->items[i];
	fail_msg("no item %s", name);
	return NULL;
}

static void scratch(void (*with_wall)(void *, const char *), void *context,
		    struct self_test_report *ret)
{
	struct error error = {0};

	if (self_test_scratch(with_wall, context, ret, &error) < 0)
		fail_msg("%s", error.text);
}

static void test_whole_wall_passes(void **state)
{
	struct self_test_report report;

	(void)state;
	scratch(NULL, NULL, &report);
	assert_int_equal(report.failed, 0);
	assert_int_equal(report.leaked_packets, 0);
	assert_true(report.control_packets >= 7);
	assert_true(report.count >= 20);
}

/* What each program alone stops. sock_release lets nothing out: it forgets. */
static void test_each_missing_program_turns_it_red(void **state)
{
	static const char *const expected[][2] = {
		{"egress", "ip-options"},   {"egress", "bind-device"}, {"egress", "wire"},
		{"ingress", "inbound"},	    {"sock_create", "raw4"},   {"sock_create", "raw6"},
		{"connect4", "tcp4"},	    {"connect6", "tcp6"},      {"connect6", "tcp-mapped"},
		{"sendmsg4", "dns4"},	    {"sendmsg6", "dns6"},      {"bind4", "bind-port4"},
		{"bind6", "bind-port6"},    {"recvmsg4", "dns4"},      {"recvmsg6", "dns6"},
		{"getpeername4", "dns4-peer"}, {"getpeername6", "dns6-peer"},
	};
	struct self_test_report report = {.count = 0};
	const char *before = "";

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		if (strcmp(before, expected[i][0]) != 0)
			scratch(detach, (void *)expected[i][0], &report);
		before = expected[i][0];
		if (item_of(&report, expected[i][1])->state != SELF_TEST_THROUGH)
			fail_msg("without %s: %s: %s", expected[i][0], expected[i][1],
				 item_of(&report, expected[i][1])->detail);
		assert_true(report.failed > 0);
	}
}

/* ---- the short form ------------------------------------------------------------------------- */

struct live {
	struct wall *wall;
	struct policy *policy;
	struct cidr pool;
	struct event_base *base;
	struct self_test *test;
	struct diag_list failures;
	int foreign; /* denials that were not the test's */
};

static void on_denial(void *context, const struct egress_denial *denial)
{
	struct live *live = context;

	if (live->test)
		live->foreign += !self_test_owns(live->test, denial);
}

static void live_init(struct live *live, struct wall *wall)
{
	*live = (struct live){.wall = wall, .policy = policy_new(), .base = event_base_new()};
	assert_non_null(live->policy);
	assert_int_equal(policy_finish(live->policy, NULL), 0);
	assert_true(cidr_parse("198.18.0.0/15", &live->pool));
	kernel_read_denials(wall->kernel, on_denial, live); /* of earlier tests */
}

static void live_run(struct live *live, const char *cgroup)
{
	const struct self_test_options options = {
		.cgroup_path = cgroup,
		.netns_fd = live->wall->netns,
		.policy = live->policy,
		.pool = &live->pool,
	};
	struct error error = {0};

	if (self_test_start(live->wall->kernel, &options, &live->test, &error) < 0)
		fail_msg("%s", error.text);
	self_test_run(live->test, live->base);
	kernel_read_denials(live->wall->kernel, on_denial, live);
	if (self_test_finish(live->test, &live->failures, &error) < 0)
		fail_msg("%s", error.text);
	self_test_free(live->test);
	live->test = NULL;
}

static void live_free(struct live *live)
{
	diag_list_free(&live->failures);
	policy_unref(live->policy);
	event_base_free(live->base);
}

static bool is_named(const struct live *live, const char *text)
{
	for (size_t i = 0; i < live->failures.count; i++)
		if (strncmp(live->failures.items[i].text, text, strlen(text)) == 0)
			return true;
	return false;
}

static void read_all(const struct wall *wall, uint64_t counters[EGRESS_COUNTER_COUNT])
{
	assert_int_equal(kernel_read_counters(wall->kernel, counters, NULL), 0);
}

static void live_passes(struct wall *wall)
{
	uint64_t before[EGRESS_COUNTER_COUNT], after[EGRESS_COUNTER_COUNT];
	struct live live;

	live_init(&live, wall);
	read_all(wall, before);
	live_run(&live, wall->cgroup);
	read_all(wall, after);
	for (size_t i = 0; i < live.failures.count; i++)
		print_message("%s\n", live.failures.items[i].text);
	assert_int_equal(live.failures.count, 0);
	assert_int_equal(live.foreign, 0);
	assert_memory_equal(before, after, sizeof(before));
	live_free(&live);
}

static void test_live_wall_passes_and_forgets(void **state)
{
	live_passes(*state);
	live_passes(*state);
}

static void test_cgroup_without_wall(void **state)
{
	static const char *const names[] = {"tcp4 ", "tcp6 ", "tcp-mapped ", "udp4 ", "udp6 ",
					    "raw4 ", "ip-options ", "bind-port4 "};
	struct wall *wall = *state;
	struct live live;
	char bare[400];

	snprintf(bare, sizeof(bare), "%s-bare", wall->cgroup);
	assert_int_equal(cgroup_create(bare, NULL), 0);
	live_init(&live, wall);
	live_run(&live, bare);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!is_named(&live, names[i]))
			fail_msg("%s is not named", names[i]);
	live_free(&live);
	assert_int_equal(cgroup_destroy(bare, NULL), 0);
}

static void test_live_with_one_program_missing(void **state)
{
	static const char *const expected[][2] = {
		{"bind4", "bind-port4 "},   {"sock_create", "raw4 "}, {"connect6", "tcp6 "},
		{"connect4", "tcp4 "},	    {"egress", "ip-options "}, {"sendmsg6", "udp6 "},
	};
	struct wall *wall = *state;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		struct live live;

		detach((void *)expected[i][0], wall->name);
		live_init(&live, wall);
		live_run(&live, wall->cgroup);
		if (!is_named(&live, expected[i][1]))
			fail_msg("without %s: %s is not named", expected[i][0], expected[i][1]);
		live_free(&live);
	}
}

/* ---- taking back ---------------------------------------------------------------------------- */

struct hammer {
	volatile unsigned long refused;
	volatile int stop;
};

static int hammer(void *memory)
{
	struct hammer *h = memory;

	while (!h->stop)
		h->refused += try_connect(AF_INET, SOCK_STREAM, "192.0.2.200", 81) == -EPERM;
	return 0;
}

static void test_nothing_is_lost_while_it_is_taken_back(void **state)
{
	struct wall *wall = *state;
	struct hammer *h = wall->memory;
	uint64_t counters[EGRESS_COUNTER_COUNT];
	int pid;

	*h = (struct hammer){.stop = 0};
	pid = wall_start(wall, true, hammer);
	while (h->refused < 100)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	for (int i = 0; i < 200; i++)
		assert_int_equal(kernel_uncount(wall->kernel, EGRESS_ADDRESS_NOT_ALLOWED, 1, NULL), 0);
	h->stop = 1;
	assert_int_equal(wall_wait(pid), 0);
	read_all(wall, counters);
	assert_int_equal(counters[EGRESS_ADDRESS_NOT_ALLOWED], h->refused - 200);
}

static void test_probe(void **state)
{
	struct kernel_probe probe;

	(void)state;
	kernel_probe(&probe);
	assert_true(probe.program_count >= 14);
	for (size_t i = 0; i < probe.program_count; i++)
		assert_int_equal(probe.programs[i].error, 0);
}

#define LIVE(test) cmocka_unit_test_setup_teardown(test, wall_setup, wall_teardown)

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_wall_passes),
		cmocka_unit_test(test_each_missing_program_turns_it_red),
		cmocka_unit_test(test_probe),
		LIVE(test_live_wall_passes_and_forgets),
		cmocka_unit_test_setup_teardown(test_live_wall_passes_and_forgets,
						wall_setup_shared, wall_teardown),
		LIVE(test_cgroup_without_wall),
		LIVE(test_live_with_one_program_missing),
		LIVE(test_nothing_is_lost_while_it_is_taken_back),
	};

	return cmocka_run_group_tests_name("self_test", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
