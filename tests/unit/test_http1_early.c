// SPDX-License-Identifier: BSD-2-Clause
/* An upstream that answers before it has the whole body (RFC 9112, 9.3): when the client's connection
 * serves another request, and when it must not. The upstream's never does. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "connection.h"
#include "fake_proxy.h"

#define GET "GET /v1/y HTTP/1.1\r\nHost: api.test\r\n\r\n"
#define ANSWER "HTTP/1.1 401 Who\r\nContent-Length: 2\r\n\r\nno"

/* Head and first part of a body, then an answer to them. */
static void answered_early(struct fake *f, const char *fields, const char *part, const char *answer)
{
	char text[512];

	fake_connect(f);
	snprintf(text, sizeof(text), "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n%s\r\n%s", fields, part);
	fake_client_sends(f, text);
	assert_non_null(strstr(fake_upstream_got(f), "\r\n\r\n"));
	fake_upstream_sends(f, answer);
	if (*answer)
		assert_non_null(strstr(fake_client_got(f), "\r\n\r\nno"));
}

static void the_rest_follows(void **state)
{
	static const struct {
		const char *fields, *part, *rest;
	} rows[] = {
		{"Content-Length: 6\r\n", "abc", "def"},
		{"Content-Length: 3\r\n", "", "abc"},
		{"Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "1\r\nd\r\n0\r\n\r\n"},
		/* Who sends some of it has made up its mind. */
		{"Content-Length: 6\r\nExpect: 100-continue\r\n", "abc", "def"},
	};
	struct fake *f = *state;

	for (int i = 0; i < (int)(sizeof(rows) / sizeof(rows[0])); i++) {
		answered_early(f, rows[i].fields, rows[i].part, ANSWER);
		assert_false(fake_client_closed(f));
		assert_int_equal(f->log_count, 2 * i);
		fake_client_sends(f, rows[i].rest);
		assert_string_equal(fake_upstream_got(f), rows[i].rest);
		assert_int_equal(f->put_count, i);
		assert_int_equal(f->log_count, 2 * i + 1);
		assert_int_equal(f->last.status, 401);
		assert_int_equal(f->last.reason, EGRESS_ALLOWED);
		assert_null(f->last.detail);
		fake_client_sends(f, GET);
		assert_int_equal(f->get_count, 2 * i + 2);
		assert_memory_equal(fake_upstream_got(f), "GET /v1/y ", 10);
		fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		assert_string_equal(fake_client_got(f),
				    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		assert_int_equal(f->put_count, i + 1);
		assert_int_equal(f->log_count, 2 * i + 2);
		close(f->client);
		fake_turn(f);
	}
	f->client = -1;
}

static void told_to_go_on(void **state)
{
	struct fake *f = *state;

	answered_early(f, "Content-Length: 3\r\nExpect: 100-continue\r\n", "",
		       "HTTP/1.1 100 Continue\r\n\r\n" ANSWER);
	assert_false(fake_client_closed(f));
	fake_client_sends(f, "abc" GET);
	assert_int_equal(f->get_count, 2);
	assert_int_equal(f->put_count, 0);
}

/* Whether the body comes is the client's choice then (RFC 9110, 10.1.1): what it sends next may be
 * either. And a side that says it closes is taken at its word. */
static void neither_is_kept(void **state)
{
	static const struct {
		const char *fields, *part, *answer;
	} rows[] = {
		{"Content-Length: 3\r\nExpect: 100-continue\r\n", "", ANSWER},
		{"Transfer-Encoding: chunked\r\nexpect: x\r\n", "", ANSWER},
		{"Content-Length: 3\r\nExpect: 100-continue\r\n", "",
		 "HTTP/1.1 103 Early Hints\r\n\r\n" ANSWER},
		{"Content-Length: 6\r\nConnection: close\r\n", "abc", ANSWER},
		{"Content-Length: 6\r\n", "abc", "HTTP/1.1 413 No\r\nConnection: close\r\n"
						  "Content-Length: 2\r\n\r\nno"},
		{"Content-Length: 6\r\n", "abc", ANSWER "HTTP/1.1 200 OK\r\n"},
	};
	struct fake *f = *state;

	for (int i = 0; i < (int)(sizeof(rows) / sizeof(rows[0])); i++) {
		answered_early(f, rows[i].fields, rows[i].part, rows[i].answer);
		assert_true(fake_client_closed(f));
		assert_int_equal(f->log_count, i + 1);
		fake_client_sends(f, "def" GET);
		assert_int_equal(f->put_count, 0);
		assert_int_equal(f->get_count, i + 1);
		close(f->client);
		fake_turn(f);
	}
	f->client = -1;
}

/* While the rest is awaited, or together with the answer: the upstream leaves, or says what nobody
 * asked for. */
static void upstream_ends_it(void **state)
{
	struct fake *f = *state;

	for (int i = 0; i < 4; i++) {
		answered_early(f, "Content-Length: 6\r\n", "abc", i & 1 ? "" : ANSWER);
		if (i & 1)
			assert_int_equal(send(f->upstream, ANSWER, strlen(ANSWER), MSG_NOSIGNAL),
					 strlen(ANSWER));
		else
			assert_false(fake_client_closed(f));
		if (i & 2)
			shutdown(f->upstream, SHUT_RDWR);
		else
			fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		assert_string_equal(fake_client_got(f), i & 1 ? ANSWER : "");
		assert_true(fake_client_closed(f));
		assert_int_equal(f->put_count, 0);
		assert_int_equal(f->last.status, 401);
		assert_int_equal(f->last.reason, EGRESS_ALLOWED);
		close(f->client);
		fake_turn(f);
	}
	f->client = -1;
}

static void until_it_ends(struct fake *f)
{
	for (int i = 0; i < 400 && f->proxy.connection_count > 0; i++) {
		usleep(20000);
		fake_turn(f);
	}
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->put_count, 0);
	assert_int_equal(f->last.status, 401);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
}

/* An upstream that is slow to read the rest is waited for, one that does not is given up. */
static void upstream_reads_late(void **state)
{
	static char block[4096];
	struct fake *f = *state;
	size_t passed = 0, sent = 0;

	answered_early(f, "Content-Length: 100000000\r\n", "abc", ANSWER);
	for (int round = 0; round < 3; round++) {
		for (ssize_t n = 1; n > 0; sent += n > 0 ? (size_t)n : 0) {
			n = send(f->client, block, sizeof(block), MSG_NOSIGNAL);
			fake_turn(f);
		}
		assert_false(fake_client_closed(f));
		if (round < 2)
			for (ssize_t n; (n = recv(f->upstream, f->text, FAKE_TEXT, 0)) > 0; fake_turn(f))
				passed += (size_t)n;
	}
	assert_true(passed > 65536 && sent > passed);
	until_it_ends(f);
}

static void client_leaves(void **state)
{
	struct fake *f = *state;

	answered_early(f, "Content-Length: 6\r\n", "abc", ANSWER);
	close(f->client);
	f->client = -1;
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->put_count, 0);
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.status, 401);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
}

/* The rest never comes: no more is waited for it than for a client that was shown the end. */
static void client_is_silent(void **state)
{
	struct fake *f = *state;

	answered_early(f, "Content-Length: 6\r\n", "abc", ANSWER);
	until_it_ends(f);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_rest_follows),
		TEST(told_to_go_on),
		TEST(neither_is_kept),
		TEST(upstream_ends_it),
		TEST(upstream_reads_late),
		TEST(client_leaves),
		TEST(client_is_silent),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
