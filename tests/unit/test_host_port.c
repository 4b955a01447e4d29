// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host_port.h"

static void test_good(void **state)
{
	static const struct {
		const char *text, *formatted;
	} rows[] = {{"5432", "5432:5432"}, {"1:65535", "1:65535"}, {"80:8080", "80:8080"}};
	struct host_port port;
	char text[HOST_PORT_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(host_port_parse(rows[i].text, &port, NULL), 0);
		host_port_format(&port, text);
		assert_string_equal(text, rows[i].formatted);
	}
}

static void test_bad(void **state)
{
	static const char *const texts[] = {"",	   "0",	    "65536", "80:",    ":80", "80:0", "80x",
					    "-80", "+80",   " 80",   "80:70:60", "a",   "80:65536",
					    "99999999999999999999"};
	struct host_port port = {7, 8};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct error error = {0};

		assert_int_equal(host_port_parse(texts[i], &port, &error), -1);
		assert_true(error.text[0] != '\0');
	}
	assert_int_equal(port.inside, 7);
	assert_int_equal(port.outside, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
