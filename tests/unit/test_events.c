// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "events.h"

static void since(void **state)
{
	uint64_t now = (uint64_t)time(NULL) * 1000, found;

	(void)state;
	assert_int_equal(events_parse_since("2026-01-02T03:04:05Z"), 1767323045000ull);
	assert_int_equal(events_parse_since("2026-01-02T03:04:05.250Z"), 1767323045000ull);
	found = events_parse_since("10m");
	assert_in_range(found, now - 601000, now - 599000 + 2000);
	assert_in_range(events_parse_since("1d"), now - 86401000, now - 86399000 + 2000);
	for (const char *const *bad = (const char *const[]){"", "10", "m", "-1h", "10 m", "10mm", "10y",
							    "2026-01-02T03:04:05", "yesterday",
							    "99999999999999999999s", NULL};
	     *bad; bad++)
		assert_int_equal(events_parse_since(*bad), 0);
}

static json_t *parse(const char *text)
{
	json_t *event = json_loads(text, 0, NULL);

	assert_non_null(event);
	return event;
}

static void hosts(void **state)
{
	json_t *event = parse("{\"host\":\"a.b.test\"}"), *bare = parse("{\"address\":\"192.0.2.1\"}");

	(void)state;
	assert_true(events_has_host(event, NULL));
	assert_true(events_has_host(event, "A.b.test"));
	assert_true(events_has_host(event, "*.b.test"));
	assert_true(events_has_host(event, "*.test"));
	assert_false(events_has_host(event, "*.a.b.test"));
	assert_false(events_has_host(event, "b.test"));
	assert_true(events_has_host(bare, "192.0.2.1"));
	assert_false(events_has_host(bare, "a.b.test"));
	json_decref(event);
	json_decref(bare);
}

static char *printed(const char *text, bool colour)
{
	json_t *event = parse(text);
	char *out = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&out, &size);

	events_print(to, event, colour);
	fclose(to);
	json_decref(event);
	return out;
}

static void columns(void **state)
{
	char *text = printed("{\"time\":\"2026-01-02T03:04:05.678Z\",\"id\":\"7f3a-9\",\"source\":\"proxy\","
			     "\"pid\":7,\"command\":\"curl\",\"host\":\"a.test\",\"port\":443,\"method\":"
			     "\"GET\",\"path\":\"/x\\u001b[2J\\u009bm\",\"verdict\":\"refused\",\"reason\":"
			     "\"path_not_allowed\",\"status\":403,\"ms\":1.25}", false);

	(void)state;
	assert_string_equal(text, "03:04:05.678  7f3a-9      path_not_allowed        proxy   GET      "
				  "a.test:443/x?[2J?m 403  1.2 ms  curl[7]\n");
	free(text);
	text = printed("{\"reason\":\"allowed\",\"audit\":\"host_not_allowed\",\"host\":\"b\"}", true);
	assert_non_null(strstr(text, "\033[33mhost_not_allowed"));
	assert_non_null(strstr(text, "(audit: let through)"));
	free(text);
	text = printed("{\"reason\":\"allowed\",\"host\":\"b\"}", true);
	assert_non_null(strstr(text, "\033[32mallowed"));
	free(text);
	text = printed("{\"lost\":12}", false);
	assert_non_null(strstr(text, "12 events were lost"));
	free(text);
}

/* In a taken worker's line no text is what the worker would have written. */
static void hostile_columns(void **state)
{
	static const char *const keys[] = {"time", "id", "source", "reason", "audit", "method", "protocol",
					   "host", "path", "detail", "command"};
	char line[256], *text;

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		snprintf(line, sizeof(line), "{%s\"%s\":\"T\\u001b[2J\\u009bm\\r\\u202ex\"}",
			 strcmp(keys[i], "reason") == 0 ? "" : "\"reason\":\"allowed\",", keys[i]);
		text = printed(line, false);
		if (strcspn(text, "\x1b\r\xc2\xe2") != strlen(text) || !strstr(text, "?[2J?"))
			fail_msg("%s: \"%s\"", keys[i], text);
		free(text);
	}
	text = printed("{\"reason\":\"allowed\",\"id\":\"7f3a-1234567890-1234567890-1234567890\"}", false);
	assert_non_null(strstr(text, "  7f3a-1234567890-1234  allowed     "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(since),
		cmocka_unit_test(hosts),
		cmocka_unit_test(columns),
		cmocka_unit_test(hostile_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
