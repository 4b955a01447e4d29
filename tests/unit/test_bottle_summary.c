// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "bottle_summary.h"

static void test_nothing(void **state)
{
	struct kernel_status status = {0};
	char line[256];

	(void)state;
	bottle_summary(&status, line, sizeof(line));
	assert_string_equal(line, "0 allowed, 0 refused");
}

static void test_hosts_and_reasons(void **state)
{
	struct kernel_host_status hosts[] = {
		{.host.name = "one.example", .verdicts = {.allowed = 12}},
		{.host.name = "idle.example"},
		{.host.name = "two.example",
		 .counters = {.refused = 1},
		 .verdicts = {.allowed = 2, .refused = 2}},
	};
	struct kernel_status status = {.hosts = hosts, .host_count = 3};
	char line[256];

	(void)state;
	status.verdicts[EGRESS_ALLOWED] = 14;
	status.verdicts[EGRESS_PATH_NOT_ALLOWED] = 2;
	status.counters[EGRESS_ALLOWED] = 99; /* connections, not requests */
	status.counters[EGRESS_PORT_NOT_ALLOWED] = 1;
	status.counters[EGRESS_ADDRESS_NOT_ALLOWED] = 4;
	status.counters[EGRESS_COUNTER_STEERED] = 7;
	bottle_summary(&status, line, sizeof(line));
	assert_string_equal(line, "14 allowed, 7 refused: one.example (12), two.example (2), "
				  "two.example refused (3), address_not_allowed (4)");
}

/* What no line of `exec` names otherwise. */
static void test_failures(void **state)
{
	struct kernel_host_status host = {.host.name = "one.example", .verdicts = {.refused = 4}};
	struct kernel_status status = {.hosts = &host, .host_count = 1};
	char line[256];

	(void)state;
	status.verdicts[EGRESS_BAD_REQUEST] = 2;
	status.verdicts[EGRESS_UPSTREAM_CERTIFICATE] = 1;
	status.verdicts[EGRESS_PATH_NOT_ALLOWED] = 1;
	bottle_summary(&status, line, sizeof(line));
	assert_string_equal(line, "0 allowed, 4 refused: one.example refused (4); of these "
				  "bad_request (2), upstream_certificate (1)");
}

static void test_many_hosts_stay_one_line(void **state)
{
	static struct kernel_host_status hosts[20];
	struct kernel_status status = {.hosts = hosts, .host_count = 20};
	char line[1024], tiny[24];

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		snprintf(hosts[i].host.name, sizeof(hosts[i].host.name), "h%zu.example", i);
		hosts[i].verdicts.allowed = 1;
	}
	bottle_summary(&status, line, sizeof(line));
	assert_non_null(strstr(line, "h7.example (1), other hosts (12)"));
	assert_null(strchr(line, '\n'));
	assert_null(strstr(line, "h8.example"));
	bottle_summary(&status, tiny, sizeof(tiny));
	assert_int_equal(strlen(tiny), sizeof(tiny) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_hosts_and_reasons),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_many_hosts_stay_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
