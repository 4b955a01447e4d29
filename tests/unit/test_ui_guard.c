// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ui_guard.h"

static void make(struct ui_session *session)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(4711)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(ui_session_new((struct sockaddr *)&address, session));
}

static void test_new(void **state)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(80),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct ui_session a, b;

	(void)state;
	make(&a);
	assert_string_equal(a.host, "127.0.0.1:4711");
	assert_string_equal(a.origin, "http://127.0.0.1:4711");
	assert_string_equal(a.cookie_name, "egress_ui_4711");
	assert_int_equal(strlen(a.token), UI_SECRET_SIZE - 1);
	assert_int_equal(strspn(a.key, "0123456789abcdef"), UI_SECRET_SIZE - 1);
	make(&b);
	assert_string_not_equal(a.token, b.token);
	assert_string_not_equal(a.cookie, a.key);
	assert_true(ui_session_new((struct sockaddr *)&six, &b));
	assert_string_equal(b.host, "[::1]:80");
}

static void test_exchange_once(void **state)
{
	struct ui_session session;
	char token[UI_SECRET_SIZE];

	(void)state;
	make(&session);
	memcpy(token, session.token, sizeof(token));
	assert_false(ui_session_exchange(&session, ""));
	token[31] ^= 1;
	assert_false(ui_session_exchange(&session, token));
	token[31] ^= 1;
	token[31] = '\0';
	assert_false(ui_session_exchange(&session, token));
	assert_true(ui_session_exchange(&session, session.token));
	assert_string_equal(session.token, "");
	/* What is used up equals nothing, the empty text neither. */
	assert_false(ui_session_exchange(&session, ""));
	assert_false(ui_session_exchange(&session, token));
}

static bool with_cookie(const struct ui_session *session, const char *format)
{
	struct ui_headers headers = {.key = session->key};
	char cookie[256];

	snprintf(cookie, sizeof(cookie), format, session->cookie_name, session->cookie);
	headers.cookie = cookie;
	return ui_guard_session(session, &headers);
}

static void test_session(void **state)
{
	struct ui_headers headers = {.cookie = "egress_ui_4711=", .key = ""};
	struct ui_session session;

	(void)state;
	make(&session);
	assert_false(with_cookie(&session, "%s=%s")); /* the token was not used */
	assert_false(ui_guard_session(&session, &headers));
	session.token[0] = '\0';
	assert_true(with_cookie(&session, "%s=%s"));
	assert_true(with_cookie(&session, "a=1; %s=%s;"));
	assert_true(with_cookie(&session, "; ;  %s=%s; b=2"));
	assert_false(with_cookie(&session, "%s=%s0"));
	assert_false(with_cookie(&session, "x%s=%s"));
	assert_false(with_cookie(&session, "%s==%s"));
	assert_false(with_cookie(&session, "%.13s=%s"));
	assert_false(with_cookie(&session, "egress_ui_4711=0; %s=%s")); /* the first counts */
	assert_false(with_cookie(&session, "%s"));
	assert_false(with_cookie(&session, ""));
	assert_false(ui_guard_session(&session, &headers));
	headers.cookie = NULL;
	headers.key = session.key;
	assert_false(ui_guard_session(&session, &headers));
}

static void test_site(void **state)
{
	static const struct {
		struct ui_headers headers;
		bool read, change;
	} cases[] = {
		{{.origin = NULL}, true, false},
		{{.origin = "http://127.0.0.1:4711"}, true, true},
		{{.origin = "http://127.0.0.1:4711", .fetch_site = "same-origin"}, true, true},
		{{.origin = "http://127.0.0.1:4711", .fetch_site = "cross-site"}, false, false},
		{{.origin = "http://127.0.0.1:4711", .fetch_site = ""}, false, false},
		{{.fetch_site = "same-site"}, false, false},
		{{.fetch_site = "none"}, false, false},
		{{.origin = "null"}, false, false},
		{{.origin = "https://127.0.0.1:4711"}, false, false},
		{{.origin = "http://127.0.0.1"}, false, false},
		{{.origin = ""}, false, false},
	};
	struct ui_session session;

	(void)state;
	make(&session);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ui_guard_site(&session, &cases[i].headers, false), cases[i].read);
		assert_int_equal(ui_guard_site(&session, &cases[i].headers, true), cases[i].change);
	}
}

static void test_host(void **state)
{
	static const char *const bad[] = {"127.0.0.1", "localhost:4711", "127.0.0.1:4711 ", "evil.test",
					  "127.0.0.1:471", "127.0.0.1:47110", "", NULL};
	struct ui_headers headers = {.host = "127.0.0.1:4711"};
	struct ui_session session;

	(void)state;
	make(&session);
	assert_true(ui_guard_host(&session, &headers));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		headers.host = bad[i];
		assert_false(ui_guard_host(&session, &headers));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),	cmocka_unit_test(test_exchange_once),
		cmocka_unit_test(test_session), cmocka_unit_test(test_site),
		cmocka_unit_test(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
