// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <getopt.h>
#include <string.h>

#include <cmocka.h>

#include "worker.h"

static void arguments_there_and_back(void **state)
{
	struct server_handover before = {
		.calls_fd = 3, .control_fd = 4, .flows_fd = -1, .log_fd = 1, .ca_fd = -1, .verdicts_fd = 17,
		.host_verdicts_fd = 18, .proxy_fds = {10, 11, 12, -1, -1, -1, -1, -1},
		.host_fds = {30, 31, 32, 33, 34, 35, 36, 37},
		.host_ports = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}, {11, 12}, {13, 14},
			       {65535, 65534}},
		.dns_udp_fds = {20, -1, -1, -1, -1, -1, -1, -1},
		.dns_tcp_fds = {21, 22, 23, 24, 25, 26, 27, 28}, .bottle = "ci-1", .uid = 90112,
		.gid = 7, .log_query = true, .any_call = true,
	};
	struct server_handover after = {0};
	char text[WORKER_ARGS_SIZE], *argv[WORKER_MAX_ARGS];
	int argc = worker_args(&before, text, argv);

	(void)state;
	assert_true(argc > 0 && argc < WORKER_MAX_ARGS);
	assert_null(argv[argc]);
	assert_int_equal(worker_parse_args(argc - 1, argv + 1, &after), 0);
	assert_int_equal(after.flows_fd, -1);
	assert_int_equal(after.uid, 90112);
	assert_true(after.log_query);
	assert_true(after.any_call);
	assert_string_equal(after.bottle, "ci-1");
	assert_memory_equal(after.proxy_fds, before.proxy_fds, sizeof(before.proxy_fds));
	assert_memory_equal(after.host_fds, before.host_fds, sizeof(before.host_fds));
	assert_memory_equal(after.host_ports, before.host_ports, sizeof(before.host_ports));
	assert_memory_equal(after.dns_udp_fds, before.dns_udp_fds, sizeof(before.dns_udp_fds));
	assert_memory_equal(after.dns_tcp_fds, before.dns_tcp_fds, sizeof(before.dns_tcp_fds));
}

static void strange_arguments(void **state)
{
	char command[] = "worker", option[] = "--what=1";
	char *argv[] = {command, option, NULL};
	struct server_handover handover;

	(void)state;
	optind = 0;
	opterr = 0;
	assert_int_equal(worker_parse_args(2, argv, &handover), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments_there_and_back),
		cmocka_unit_test(strange_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
