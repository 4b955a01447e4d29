// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tickets.h"

static time_t now = 1700000000;
time_t time(time_t *ret)
{
	if (ret)
		*ret = now;
	return now;
}

static void same_for_all_who_have_it(void **state)
{
	struct tickets first, second;
	unsigned char a[TICKETS_KEYS_SIZE], b[TICKETS_KEYS_SIZE], other[TICKETS_KEYS_SIZE];
	char text[TICKETS_TEXT_SIZE];

	(void)state;
	assert_true(tickets_new(&first));
	tickets_format(&first, text);
	assert_true(strlen(text) < TICKETS_TEXT_SIZE - 1);
	assert_true(tickets_parse(text, &second));
	assert_true(tickets_keys(&first, "a.example", a));
	assert_true(tickets_keys(&second, "a.example", b));
	assert_true(tickets_keys(&second, "b.example", other));
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, other, sizeof(a));
	/* The three parts that OpenSSL makes of it: name, HMAC key, AES key. */
	assert_memory_not_equal(a + 16, a + 48, 32);
}

/* One who was there all the time, and one who came later. */
static void in_step_without_a_word(void **state)
{
	struct tickets early, late;
	unsigned char a[TICKETS_KEYS_SIZE], b[TICKETS_KEYS_SIZE], before[TICKETS_KEYS_SIZE];
	char text[TICKETS_TEXT_SIZE];

	(void)state;
	assert_true(tickets_new(&early));
	late = early;
	assert_true(tickets_keys(&early, "a.example", before));
	now += TICKETS_SECONDS - 1;
	tickets_advance(&early);
	assert_true(tickets_keys(&early, "a.example", a));
	assert_memory_equal(a, before, sizeof(a));
	now += 1;
	tickets_advance(&early);
	now += 2 * TICKETS_SECONDS + 5;
	tickets_advance(&early);
	tickets_advance(&late);
	assert_true(tickets_keys(&early, "a.example", a));
	assert_memory_not_equal(a, before, sizeof(a));
	tickets_format(&late, text);
	assert_true(tickets_parse(text, &late));
	assert_true(tickets_keys(&late, "a.example", b));
	assert_memory_equal(a, b, sizeof(a));
	/* A clock that is set back changes nothing. */
	now -= 10 * TICKETS_SECONDS;
	tickets_advance(&late);
	assert_true(tickets_keys(&late, "a.example", b));
	assert_memory_equal(a, b, sizeof(a));
}

static void no_text_of_ours(void **state)
{
	static const char *const bad[] = {"", "5", "5 ", "5 abc", "x 00", " "};
	struct tickets tickets;
	char text[TICKETS_TEXT_SIZE], host[400];
	unsigned char keys[TICKETS_KEYS_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(tickets_parse(bad[i], &tickets));
	assert_true(tickets_new(&tickets));
	tickets_format(&tickets, text);
	text[strlen(text) - 1] = 'g';
	text[strlen(text) - 2] = 'g';
	assert_false(tickets_parse(text, &tickets));
	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	assert_false(tickets_keys(&tickets, host, keys));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_for_all_who_have_it),
		cmocka_unit_test(in_step_without_a_word),
		cmocka_unit_test(no_text_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
