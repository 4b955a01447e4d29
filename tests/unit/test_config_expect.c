// SPDX-License-Identifier: BSD-2-Clause
/* Files of expectations: what they say, and each error with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_expect.h"

static struct expectations *open_text(const char *text, struct diag_list *errors)
{
	char path[] = "/tmp/egress-expect-XXXXXX";
	int fd = mkstemp(path);
	struct expectations *ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	ret = expectations_open(path, errors);
	unlink(path);
	return ret;
}

static void good(void **state)
{
	struct diag_list errors = {0};
	struct expectations *wishes = open_text(
		"policy: routes.yaml\n"
		"expect:\n"
		"  - GET https://a.test/x?y=1: allow\n"
		"  - \"POST https://a.test/#x\": path_not_allowed\n"
		"  - GET http://[2001:db8::1]:80/: refuse\n"
		"  - GET https://b.test/: {verdict: allow, headers: {a: b, c: d}, credential: none}\n",
		&errors);

	(void)state;
	assert_non_null(wishes);
	assert_int_equal(wishes->count, 4);
	assert_string_equal(wishes->policy, "/tmp/routes.yaml");
	assert_string_equal(wishes->list[0].method, "GET");
	assert_string_equal(wishes->list[0].url, "https://a.test/x?y=1");
	assert_int_equal(wishes->list[0].reason, EGRESS_ALLOWED);
	assert_null(wishes->list[0].credential);
	assert_int_equal(wishes->list[1].reason, EGRESS_PATH_NOT_ALLOWED);
	assert_int_equal(wishes->list[1].line, 4);
	assert_true(wishes->list[2].any_refusal);
	assert_string_equal(wishes->list[3].credential, "");
	assert_int_equal(wishes->list[3].header_count, 2);
	assert_string_equal(wishes->list[3].headers[1], "c: d");
	expectations_free(wishes);
}

static void check_broken(const char *text, int line, const char *word)
{
	struct diag_list errors = {0};

	assert_null(open_text(text, &errors));
	assert_int_equal(errors.count, 1);
	assert_int_equal(errors.items[0].line, line);
	if (!strstr(errors.items[0].text, word) || !strstr(errors.items[0].text, "would be right"))
		fail_msg("%s", errors.items[0].text);
	diag_list_free(&errors);
}

static void broken(void **state)
{
	(void)state;
	check_broken("policy: x\n", 0, "expect: is missing");
	check_broken("expect: []\n", 1, "empty");
	check_broken("expect:\n  - GET https://a.test/: maybe\n", 2, "is no verdict");
	check_broken("expect:\n  - https://a.test/: allow\n", 2, "not a method");
	check_broken("expect:\n  - GET  https://a.test/: allow\n", 2, "not a method");
	check_broken("expect:\n  - GET https://a.test/:\n", 2, "no value");
	check_broken("expect:\n  - GET https://a.test/: {headers: {a: b}}\n", 2, "verdict");
	check_broken("expect:\n  - GET https://a.test/: {verdict: refuse, credential: A}\n", 2,
		     "credential");
	check_broken("expect:\n  - GET https://a.test/: allow\n    GET https://b.test/: allow\n", 2,
		     "one request");
	check_broken("expect:\n  - allow\n", 2, "one request");
	check_broken("expects: [{GET https://a.test/: allow}]\nexpect: [{GET https://a.test/: allow}]\n",
		     1, "expect");
}

static void missing_file(void **state)
{
	struct diag_list errors = {0};

	(void)state;
	assert_null(expectations_open("/nonexistent/x", &errors));
	assert_int_equal(errors.count, 1);
	assert_string_equal(errors.items[0].text, "No such file or directory");
	diag_list_free(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(broken),
		cmocka_unit_test(missing_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
