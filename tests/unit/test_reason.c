// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reason.h"

static void every_reason_is_complete(void **state)
{
	(void)state;
	for (int i = 0; i < EGRESS_REASON_COUNT; i++) {
		const char *name = reason_name((enum egress_reason)i);
		const char *cure = reason_cure((enum egress_reason)i);

		assert_true(strlen(name) > 3);
		assert_int_equal(name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")], '\0');
		assert_true(strlen(cure) > 10);
		assert_null(strpbrk(cure, "\"\\\n<>"));
		assert_in_range(reason_status((enum egress_reason)i), 200, 599);
		assert_true((reason_status((enum egress_reason)i) < 300) == (i == EGRESS_ALLOWED));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(name, reason_name((enum egress_reason)j));
	}
}

static void words_and_statuses(void **state)
{
	(void)state;
	assert_string_equal(reason_name(EGRESS_HOST_NOT_ALLOWED), "host_not_allowed");
	assert_string_equal(reason_name(EGRESS_INTERNAL), "internal");
	assert_int_equal(reason_status(EGRESS_PATH_NOT_ALLOWED), 403);
	assert_int_equal(reason_status(EGRESS_BAD_REQUEST), 400);
	assert_int_equal(reason_status(EGRESS_UPSTREAM_TIMEOUT), 504);
	assert_int_equal(reason_status(EGRESS_UPSTREAM_CERTIFICATE), 502);
	assert_int_equal(reason_status(EGRESS_INTERNAL), 500);
}

/* Numbers come out of kernel maps: one that we do not know must not read past the tables. */
static void out_of_range(void **state)
{
	(void)state;
	assert_string_equal(reason_name((enum egress_reason)EGRESS_REASON_COUNT), "internal");
	assert_string_equal(reason_name((enum egress_reason)UINT32_MAX), "internal");
	assert_int_equal(reason_status((enum egress_reason)1000), 500);
	assert_string_equal(reason_cure((enum egress_reason)1000), reason_cure(EGRESS_INTERNAL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_is_complete),
		cmocka_unit_test(words_and_statuses),
		cmocka_unit_test(out_of_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
