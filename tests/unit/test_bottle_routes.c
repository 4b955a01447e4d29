// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bottle_routes.h"

struct texts {
	char *allow, *secret;
};

/* Options as "a:..." for --allow and "s:..." for --secret, NULL-terminated. */
static int make(const char *const *options, struct texts *ret, struct error *error)
{
	struct bottle_routes *routes = bottle_routes_new();
	int rc = 0;

	assert_non_null(routes);
	for (; rc == 0 && *options; options++)
		rc = (*options)[0] == 'a' ? bottle_routes_allow(routes, *options + 2, error)
					  : bottle_routes_secret(routes, *options + 2, error);
	if (rc == 0)
		rc = bottle_routes_texts(routes, &ret->allow, &ret->secret, error);
	bottle_routes_free(routes);
	return rc;
}

#define MAKE(texts, ...)                                                                           \
	do {                                                                                       \
		struct error error_ = {0};                                                         \
		const char *const options_[] = {__VA_ARGS__, NULL};                                \
		if (make(options_, texts, &error_) < 0)                                            \
			fail_msg("%s", error_.text);                                               \
	} while (0)

static void free_texts(struct texts *texts)
{
	free(texts->allow);
	free(texts->secret);
}

/* The text's routes as compact JSON with sorted keys. */
static void assert_routes(const char *text, const char *expected)
{
	json_t *got = json_loads(text, 0, NULL);
	json_t *want = json_loads(expected, 0, NULL);

	assert_non_null(want);
	if (!got || !json_equal(json_object_get(got, "routes"), want))
		fail_msg("got %s, expected %s", text, expected);
	json_decref(got);
	json_decref(want);
}

static void test_allow_forms(void **state)
{
	struct texts texts;

	(void)state;
	MAKE(&texts, "a:pypi.org", "a:*.example.com:8443", "a:api.github.com/repos/acme/",
	     "a:h.example:81/x:y", "a:https://a.example/b", "a:http://b.example",
	     "a:tls://c.example", "a:tcp://db.example:5432", "a:d.example/");
	assert_routes(texts.allow,
		      "[{\"host\":\"pypi.org\"},"
		      "{\"host\":\"*.example.com\",\"ports\":[8443]},"
		      "{\"host\":\"api.github.com\",\"path_allowlist\":[\"/repos/acme/\"]},"
		      "{\"host\":\"h.example\",\"ports\":[81],\"path_allowlist\":[\"/x:y\"]},"
		      "{\"host\":\"a.example\",\"ports\":[443],\"path_allowlist\":[\"/b\"]},"
		      "{\"host\":\"b.example\",\"ports\":[80]},"
		      "{\"host\":\"c.example\",\"tls\":\"passthrough\"},"
		      "{\"host\":\"db.example\",\"ports\":[5432],\"protocol\":\"tcp\"},"
		      "{\"host\":\"d.example\"}]");
	assert_routes(texts.secret, "[]");
	free_texts(&texts);
}

static void test_secret_forms(void **state)
{
	struct texts texts;

	(void)state;
	MAKE(&texts, "s:TOKEN@api.example", "s:GH@github.com,scheme=Basic,username=x-access-token",
	     "s:U@u.example,username=me", "s:K@k.example:8443/v1,header=x-api-key");
	assert_routes(texts.secret,
		      "[{\"host\":\"api.example\",\"auth\":{\"scheme\":\"Bearer\","
		      "\"token_env\":\"TOKEN\"}},"
		      "{\"host\":\"github.com\",\"auth\":{\"scheme\":\"Basic\","
		      "\"username\":\"x-access-token\",\"token_env\":\"GH\"}},"
		      "{\"host\":\"u.example\",\"auth\":{\"scheme\":\"Basic\",\"username\":\"me\","
		      "\"token_env\":\"U\"}},"
		      "{\"host\":\"k.example\",\"ports\":[8443],\"path_allowlist\":[\"/v1\"],"
		      "\"auth\":{\"header\":\"x-api-key\",\"token_env\":\"K\"}}]");
	free_texts(&texts);
}

/* A variable that a service's own documents name for one header: as Bearer it would be refused there. */
static void test_secret_headers(void **state)
{
	struct texts texts;

	(void)state;
	MAKE(&texts, "s:ANTHROPIC_API_KEY@a.example", "s:GEMINI_API_KEY@g.example",
	     "s:ANTHROPIC_API_KEY@b.example,scheme=Bearer", "s:ANTHROPIC_API_KEY@h.example,header=x-key",
	     "s:ANTHROPIC_AUTH_TOKEN@t.example");
	assert_routes(texts.secret,
		      "[{\"host\":\"a.example\",\"auth\":{\"header\":\"x-api-key\","
		      "\"token_env\":\"ANTHROPIC_API_KEY\"}},"
		      "{\"host\":\"g.example\",\"auth\":{\"header\":\"x-goog-api-key\","
		      "\"token_env\":\"GEMINI_API_KEY\"}},"
		      "{\"host\":\"b.example\",\"auth\":{\"scheme\":\"Bearer\","
		      "\"token_env\":\"ANTHROPIC_API_KEY\"}},"
		      "{\"host\":\"h.example\",\"auth\":{\"header\":\"x-key\","
		      "\"token_env\":\"ANTHROPIC_API_KEY\"}},"
		      "{\"host\":\"t.example\",\"auth\":{\"scheme\":\"Bearer\","
		      "\"token_env\":\"ANTHROPIC_AUTH_TOKEN\"}}]");
	free_texts(&texts);
}

/* The credential goes nowhere that --allow does not: a bare secret takes on the host's routes. */
static void test_secret_inherits_paths(void **state)
{
	struct texts texts;

	(void)state;
	MAKE(&texts, "a:api.example/a", "a:other.example", "a:API.example:444/b",
	     "s:TOKEN@api.example");
	assert_routes(texts.allow, "[{\"host\":\"other.example\"}]");
	assert_routes(texts.secret,
		      "[{\"host\":\"api.example\",\"path_allowlist\":[\"/a\"],"
		      "\"auth\":{\"scheme\":\"Bearer\",\"token_env\":\"TOKEN\"}},"
		      "{\"host\":\"API.example\",\"ports\":[444],\"path_allowlist\":[\"/b\"],"
		      "\"auth\":{\"scheme\":\"Bearer\",\"token_env\":\"TOKEN\"}}]");
	free_texts(&texts);
	MAKE(&texts, "a:api.example", "s:TOKEN@api.example/private/");
	assert_routes(texts.allow, "[{\"host\":\"api.example\"}]");
	assert_routes(texts.secret, "[{\"host\":\"api.example\",\"path_allowlist\":[\"/private/\"],"
				    "\"auth\":{\"scheme\":\"Bearer\",\"token_env\":\"TOKEN\"}}]");
	free_texts(&texts);
}

static void test_bad_options(void **state)
{
	static const char *const bad[] = {
		"a:",		   "a:/path",	   "a:host:0",	      "a:host:65536",
		"a:host:8a",	   "a:host:",	   "a:ho st",	      "a:ftp://host",
		"a:user@host",	   "a:tls://h/p",  "s:host",	      "s:@host",
		"s:1A@host",	   "s:A-B@host",   "s:A@",	      "s:A@host,what=1",
		"s:A@host,scheme", "s:A@tls://host", "s:A@host,header=x,scheme=token",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *const options[] = {bad[i], NULL};
		struct error error = {0};
		struct texts texts;

		if (make(options, &texts, &error) == 0)
			fail_msg("accepted %s: %s %s", bad[i], texts.allow, texts.secret);
		assert_true(error.text[0] != '\0');
	}
}

static void test_two_secrets_for_one_host(void **state)
{
	const char *const clash[] = {"s:ONE@host.example", "s:TWO@HOST.example", NULL};
	struct error error = {0};
	struct texts texts;

	(void)state;
	assert_int_equal(make(clash, &texts, &error), -1);
	assert_non_null(strstr(error.text, "ONE"));
	assert_non_null(strstr(error.text, "TWO"));
	MAKE(&texts, "s:ONE@host.example/a", "s:TWO@host.example/b");
	free_texts(&texts);
}

/* Hostile text stays text: no key or route can be smuggled in. */
static void test_quoting(void **state)
{
	struct texts texts;

	(void)state;
	MAKE(&texts, "a:host/\"],\"auth\":{\"token_env\":\"X\"},\"y\":[\"", "a:h'#{x\\:1");
	assert_routes(texts.allow,
		      "[{\"host\":\"host\",\"path_allowlist\":"
		      "[\"/\\\"],\\\"auth\\\":{\\\"token_env\\\":\\\"X\\\"},\\\"y\\\":[\\\"\"]},"
		      "{\"host\":\"h'#{x\\\\\",\"ports\":[1]}]");
	free_texts(&texts);
}

static void test_line_is_option_number(void **state)
{
	struct texts texts;
	const char *line;

	(void)state;
	MAKE(&texts, "a:one.example/a", "a:two.example", "a:one.example/b", "a:four.example",
	     "s:T@one.example", "s:U@five.example");
	line = texts.allow;
	assert_null(memmem(line, (size_t)(strchr(line, '\n') - line), "example", 7));
	line = strchr(line, '\n') + 1;
	assert_non_null(memmem(line, (size_t)(strchr(line, '\n') - line), "two.example", 11));
	line = strchr(strchr(line, '\n') + 1, '\n') + 1;
	assert_non_null(memmem(line, (size_t)(strchr(line, '\n') - line), "four.example", 12));
	line = strchr(texts.secret, '\n') + 1;
	assert_non_null(memmem(line, (size_t)(strchr(line, '\n') - line), "five.example", 12));
	free_texts(&texts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allow_forms),
		cmocka_unit_test(test_secret_forms),
		cmocka_unit_test(test_secret_headers),
		cmocka_unit_test(test_secret_inherits_paths),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_two_secrets_for_one_host),
		cmocka_unit_test(test_quoting),
		cmocka_unit_test(test_line_is_option_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
