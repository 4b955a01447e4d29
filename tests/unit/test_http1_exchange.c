// SPDX-License-Identifier: BSD-2-Clause
/* Exchanges over socket pairs: the real connection, HTTP/1 and stream code between a client and an
 * upstream that the test plays. Faked at link time: upstream, identify, leaves and log. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "connection.h"
#include "fake_proxy.h"
#include "http1.h"

static const char get[] = "GET /v1/x?q=1 HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\n\r\n";

static void one_get(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, get);
	assert_string_equal(fake_upstream_got(f), "GET /v1/x?q=1 HTTP/1.1\r\n"
						  "Host: api.test\r\n"
						  "Accept: */*\r\n"
						  "Authorization: Bearer s3cret\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nX-A: b\r\n"
						"Content-Length: 5\r\n\r\nhello");
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.status, 200);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	assert_int_equal(f->last.bytes_down, 5);
	assert_int_equal(f->put_count, 1);
	assert_false(fake_client_closed(f));
}

static void refused_path_keeps_connection(void **state)
{
	struct fake *f = *state;
	const char *answer;

	fake_connect(f);
	fake_client_sends(f, "GET /other HTTP/1.1\r\nHost: api.test\r\n\r\n");
	answer = fake_client_got(f);
	assert_non_null(strstr(answer, "HTTP/1.1 403 Forbidden\r\n"));
	assert_non_null(strstr(answer, "X-Egress-Reason: path_not_allowed\r\n"));
	assert_non_null(strstr(answer, "\"reason\":\"path_not_allowed\""));
	assert_null(strstr(answer, "Connection: close"));
	assert_int_equal(f->get_count, 0);
	fake_client_sends(f, get);
	assert_int_equal(f->get_count, 1);
}

static const char v1[] = "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n";

/* ---- what is forwarded ---------------------------------------------------------------------- */

static void headers_are_rewritten(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nhost: API.test:80\r\n"
			     "Connection: keep-alive, X-Drop, Authorization\r\nX-Drop: 1\r\n"
			     "Keep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\n"
			     "Proxy-Connection: keep-alive\r\nTE: gzip, trailers\r\n"
			     "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-Keep: 2\r\n"
			     "AUTHORIZATION: Bearer stolen\r\nContent-Length: 2\r\n\r\nhi");
	assert_string_equal(fake_upstream_got(f), "POST /v1/x HTTP/1.1\r\nHost: API.test:80\r\n"
						  "X-Keep: 2\r\nContent-Length: 2\r\n"
						  "Connection: TE\r\nTE: trailers\r\n"
						  "Authorization: Bearer s3cret\r\n\r\nhi");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
			       "X-Egress-Reason: allowed\r\nKeep-Alive: 9\r\nB: c\r\n"
			       "Content-Length: 0\r\n\r\n");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 200 OK\r\nB: c\r\nContent-Length: 0\r\n\r\n");
}

/* CGI and what came after it read "_" as "-": what may not pass may not pass so either. */
static void underscores_are_no_disguise(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\nTransfer_Encoding: chunked\r\n"
			     "Content_Length: 9\r\nProxy_Authorization: x\r\nX_Keep: 1\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n"
			     "0\r\nContent_Length: 9\r\nProxy_Foo: x\r\nX_Sum: 1\r\n\r\n");
	assert_string_equal(fake_upstream_got(f), "POST /v1/x HTTP/1.1\r\nHost: api.test\r\nX_Keep: 1\r\n"
						  "Transfer-Encoding: chunked\r\n"
						  "Authorization: Bearer s3cret\r\n\r\n"
						  "0\r\nX_Sum: 1\r\n\r\n");
}

/* `name` with its letters in upper case where `upper`, and "_" for "-" where `twin`. */
static void spell(char *to, const char *name, bool upper, bool twin)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		to[i] = name[i] == '-' && twin ? '_' : name[i];
		if (upper && to[i] >= 'a' && to[i] <= 'z')
			to[i] = (char)(to[i] - 0x20);
	}
	to[i] = '\0';
}

static const char *const hop_fields[] = {
	"keep-alive", "te", "upgrade", "http2-settings", "x-egress-reason",
	"x-egress-request-id", "proxy-authorization", "proxy-authenticate", "proxy-connection",
	"proxy-authentication-info", "proxy-x",
};

/* Each of them, however it is spelled, in both directions; and a name that differs in one letter goes. */
static void each_hop_field_is_dropped(void **state)
{
	struct fake *f = *state;
	char text[256], name[64];
	size_t length;

	for (size_t i = 0; i < 4 * sizeof(hop_fields) / sizeof(hop_fields[0]); i++) {
		spell(name, hop_fields[i / 4], i & 1, i & 2);
		fake_connect(f);
		snprintf(text, sizeof(text), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n%s: 1\r\n\r\n", name);
		fake_client_sends(f, text);
		assert_string_equal(fake_upstream_got(f), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n"
							  "Authorization: Bearer s3cret\r\n\r\n");
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s: 1\r\nContent-Length: 0\r\n\r\n", name);
		fake_upstream_sends(f, text);
		assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		length = strlen(name);
		name[length - 1] = 'q';
		if (strncasecmp(name, "proxy", 5) == 0)
			name[4] = 'q';
		fake_connect(f);
		snprintf(text, sizeof(text), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n%s: 1\r\n", name);
		length = strlen(text);
		snprintf(text + length, sizeof(text) - length, "\r\n");
		fake_client_sends(f, text);
		assert_memory_equal(fake_upstream_got(f), text, length);
	}
}

/* A client may put a trailer with the fields of the head. */
static void each_hop_field_is_dropped_from_trailers(void **state)
{
	struct fake *f = *state;
	char text[256], name[64];

	for (size_t i = 0; i < 4 * sizeof(hop_fields) / sizeof(hop_fields[0]); i++) {
		spell(name, hop_fields[i / 4], i & 1, i & 2);
		fake_connect(f);
		fake_client_sends(f, "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
		fake_upstream_got(f);
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
					     "0\r\n%s: 1\r\nX-Sum: 1\r\n\r\n", name);
		fake_upstream_sends(f, text);
		assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
							"0\r\nX-Sum: 1\r\n\r\n");
	}
}

/* The origin's own reading of "api.test." may be another than ours: it sees the name we judged. */
static void host_goes_in_its_plain_form(void **state)
{
	static const struct {
		const char *sent, *passed;
	} cases[] = {
		{"API.test.", "api.test"}, {"api.test.:80", "api.test:80"},
		{"api.test:0080", "api.test:80"}, {"API.test:80", "API.test:80"},
	};
	struct fake *f = *state;
	char line[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_connect(f);
		snprintf(line, sizeof(line), "GET /v1/x HTTP/1.1\r\nHost: %s\r\n\r\n", cases[i].sent);
		fake_client_sends(f, line);
		snprintf(line, sizeof(line), "GET /v1/x HTTP/1.1\r\nHost: %s\r\n", cases[i].passed);
		assert_memory_equal(fake_upstream_got(f), line, strlen(line));
	}
}

static void absolute_form_of_this_host(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET http://api.test/v1/x?q HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f),
			       "GET /v1/x?q HTTP/1.1\r\nHost: api.test\r\n"));
}

static void bad_requests(void **state)
{
	static const struct {
		const char *text, *reason;
		int status;
	} rows[] = {
		{"GET /v1/ HTTP/1.1\r\n\r\n", "bad_request", 400},
		{"GET /v1/ HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n", "bad_request",
		 400},
		{"GET /v1/ HTTP/1.1\r\nHost: open.test\r\n\r\n", "name_mismatch", 403},
		{"GET /v1/ HTTP/1.1\r\nHost: api.test:81\r\n\r\n", "name_mismatch", 403},
		{"GET /v1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "name_mismatch", 403},
		{"GET /v1/ HTTP/1.1\r\nHost: api.test@x\r\n\r\n", "bad_request", 400},
		{"GET http://open.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "name_mismatch",
		 403},
		{"GET http://api.test/v1/ HTTP/1.1\r\nHost: open.test\r\n\r\n", "name_mismatch",
		 403},
		{"GET http://api.test:81/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "name_mismatch",
		 403},
		{"GET https://api.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request",
		 400},
		{"GET http://u@api.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request",
		 400},
		{"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", "method_not_allowed",
		 403},
		{"TRACE /v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "method_not_allowed", 403},
		{"GET /v1/../x HTTP/1.1\r\nHost: api.test\r\n\r\n", "ambiguous_path", 403},
		{"GET /v1/%2e%2e/x HTTP/1.1\r\nHost: api.test\r\n\r\n", "ambiguous_path", 403},
		{"GET /v1/ HTTP/1.1\r\nHost: api.test\r\nA: b\r\n c\r\n\r\n", "bad_request", 400},
		{"POST /v1/ HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_request", 400},
		{"GET / HTTP/1.1\nHost: api.test\n\n", "bad_request", 400},
	};
	struct fake *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char status[32], reason[64];
		const char *answer;

		snprintf(status, sizeof(status), "HTTP/1.1 %d ", rows[i].status);
		snprintf(reason, sizeof(reason), "\"reason\":\"%s\"", rows[i].reason);
		fake_connect(f);
		fake_client_sends(f, rows[i].text);
		answer = fake_client_got(f);
		if (strncmp(answer, status, strlen(status)) != 0 || !strstr(answer, reason))
			fail_msg("%s\n-> %s", rows[i].text, answer);
		assert_int_equal(f->get_count, 0);
		assert_int_equal(f->log_count, i + 1);
		/* 400 ends the connection: what follows cannot be trusted to be a request. */
		if (rows[i].status == 400)
			assert_true(fake_client_closed(f));
		close(f->client);
		f->client = -1;
		fake_turn(f);
		assert_int_equal(f->proxy.connection_count, 0);
	}
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void chunked_both_ways(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n");
	fake_client_sends(f, "2\r\nde\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n"
			     "Authorization: x\r\nDestination: /y\r\n\r\n");
	assert_string_equal(strstr(fake_upstream_got(f), "\r\n\r\n"),
			    "\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	fake_upstream_sends(f, "5\r\nhe");
	fake_upstream_sends(f, "llo\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a\r\n\r\n");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			    "2\r\nhe\r\n3\r\nllo\r\n0\r\nGrpc-Status: 0\r\n\r\n");
	assert_int_equal(f->last.bytes_up, 5);
	assert_int_equal(f->last.bytes_down, 5);
	assert_int_equal(f->put_count, 1);
}

static void malformed_chunks_from_client(void **state)
{
	static const char *const bad[] = {
		"0x5\r\nhello\r\n", "5\nhello\r\n", "5\r\nhelloX", "-1\r\n", "5 \r\n",
		"0\r\n\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\nA: b\r\n c\r\nD: e\r\n\r\n", "fffffffffffffffff\r\n", "0\r\nA : b\r\n\r\n",
	};
	struct fake *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_connect(f);
		fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n");
		fake_client_sends(f, bad[i]);
		if (strncmp(fake_client_got(f), "HTTP/1.1 400 ", 13) != 0)
			fail_msg("%s -> %s", bad[i], f->text);
		assert_null(strstr(fake_upstream_got(f), "\r\n0\r\n"));
		assert_int_equal(f->last.reason, EGRESS_BAD_REQUEST);
		assert_int_equal(f->put_count, 0);
		close(f->client);
		f->client = -1;
		fake_turn(f);
	}
}

static void no_body_responses(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "HEAD /v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
	fake_client_sends(f, v1);
	fake_upstream_sends(f, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
	fake_client_sends(f, v1);
	fake_upstream_sends(f, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 204 No Content\r\n\r\n");
	assert_int_equal(f->put_count, 3);
	assert_int_equal(f->log_count, 3);
}

static void until_eof(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, v1);
	assert_string_equal(fake_upstream_got(f), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n"
						  "Authorization: Bearer s3cret\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\n\r\nabc");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\n"
						"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	close(f->upstream);
	f->upstream = -1;
	assert_string_equal(fake_client_got(f), "0\r\n\r\n");
	assert_int_equal(f->put_count, 0);
	fake_client_sends(f, v1); /* the client's connection goes on */
	assert_int_equal(f->get_count, 2);
}

static void old_client(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET /v1/x HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f), "Host: api.test\r\n"));
	fake_upstream_sends(f, "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"
			       "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
	assert_true(fake_client_closed(f));
}

static void expect_continue(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "PUT /v1/x HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\n"
			     "Content-Length: 3\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f), "Expect: 100-continue\r\n"));
	fake_upstream_sends(f, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 100 Continue\r\n\r\n");
	fake_client_sends(f, "abc");
	assert_string_equal(fake_upstream_got(f), "abc");
	fake_upstream_sends(f, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(f->last.status, 201);
	assert_int_equal(f->log_count, 1);
}

/* ---- order and reuse ------------------------------------------------------------------------ */

static void pipelined(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/1 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nab"
			     "GET /nope HTTP/1.1\r\nHost: api.test\r\n\r\n"
			     "GET /v1/2 HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_int_equal(f->get_count, 1);
	assert_string_equal(strstr(fake_upstream_got(f), "\r\n\r\n"), "\r\n\r\nab");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
	assert_int_equal(f->get_count, 2);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
	fake_client_got(f);
	assert_non_null(strstr(f->text, "\r\n\r\n1HTTP/1.1 403 "));
	assert_non_null(strstr(f->text, "}\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"));
	assert_int_equal(f->log_count, 3);
	assert_int_equal(f->reasons[1], EGRESS_PATH_NOT_ALLOWED);
}

static void client_close_is_honoured(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET /v1/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
						"Connection: close\r\n\r\nok");
	assert_true(fake_client_closed(f));
	assert_int_equal(f->put_count, 1); /* the other side goes on */
}

static void upstream_close_is_honoured(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, v1);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	assert_int_equal(f->put_count, 0);
	assert_false(fake_client_closed(f));
}

static void bytes_beyond_the_response_end_reuse(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, v1);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n");
	assert_non_null(strstr(fake_client_got(f), "\r\n\r\nok"));
	assert_int_equal(strlen(strstr(f->text, "\r\n\r\n")), 6);
	assert_int_equal(f->put_count, 0);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void stale_connection_is_tried_again(void **state)
{
	struct fake *f = *state;

	f->reused = true;
	fake_connect(f);
	fake_client_sends(f, v1);
	assert_int_equal(f->get_count, 1);
	shutdown(f->upstream, SHUT_RDWR);
	fake_turn(f);
	assert_int_equal(f->get_count, 2);
	assert_true(f->last_fresh);
	assert_non_null(strstr(fake_upstream_got(f), "Authorization: Bearer s3cret\r\n"));
	/* Once only. */
	shutdown(f->upstream, SHUT_RDWR);
	assert_non_null(strstr(fake_client_got(f), "HTTP/1.1 502 "));
	assert_int_equal(f->get_count, 2);
	assert_int_equal(f->last.reason, EGRESS_UPSTREAM_PROTOCOL);
}

static void body_sent_is_not_tried_again(void **state)
{
	struct fake *f = *state;

	f->reused = true;
	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nab");
	shutdown(f->upstream, SHUT_RDWR);
	assert_non_null(strstr(fake_client_got(f), "HTTP/1.1 502 "));
	assert_int_equal(f->get_count, 1);
}

/* Whoever had it may have acted on it: RFC 9110, 9.2.2. */
static void post_is_not_tried_again(void **state)
{
	struct fake *f = *state;

	f->reused = true;
	fake_connect(f);
	fake_client_sends(f, "POST /v1/pay HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n");
	shutdown(f->upstream, SHUT_RDWR);
	assert_non_null(strstr(fake_client_got(f), "HTTP/1.1 502 "));
	assert_int_equal(f->get_count, 1);
}

static void upstream_refused(void **state)
{
	struct fake *f = *state;

	f->refuse = EGRESS_UPSTREAM_CERTIFICATE;
	fake_connect(f);
	fake_client_sends(f, v1);
	fake_client_got(f);
	assert_non_null(strstr(f->text, "HTTP/1.1 502 Bad Gateway\r\n"));
	assert_non_null(strstr(f->text, "\"reason\":\"upstream_certificate\""));
	assert_non_null(strstr(f->text, "\"detail\":\"as the test wants it\""));
	assert_null(strstr(f->text, "s3cret"));
	assert_int_equal(f->last.reason, EGRESS_UPSTREAM_CERTIFICATE);
	f->refuse = EGRESS_ALLOWED;
	fake_client_sends(f, v1);
	assert_int_equal(f->get_count, 2);
}

static void malformed_responses(void **state)
{
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "SSH-2.0-x\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
	};
	struct fake *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_connect(f);
		fake_client_sends(f, v1);
		fake_upstream_sends(f, bad[i]);
		if (strncmp(fake_client_got(f), "HTTP/1.1 502 ", 13) != 0)
			fail_msg("%s -> %s", bad[i], f->text);
		assert_int_equal(f->last.reason, EGRESS_UPSTREAM_PROTOCOL);
		assert_int_equal(f->put_count, 0);
		close(f->client);
		f->client = -1;
		fake_turn(f);
	}
}

/* The read that brings the end of a head may bring more body than a head may have. */
static void long_head_with_body(void **state)
{
	enum { LINE = 1000, LINES = 40, BODY = 30000 };
	char *text = calloc(1, (LINES + 1) * (LINE + 16) + BODY), *end = text;
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, v1);
	end += sprintf(end, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", BODY);
	for (int i = 0; i < LINES; i++)
		end += sprintf(end, "X-%d: %0*d\r\n", i, LINE, 0);
	fake_upstream_sends(f, text);
	end = text + sprintf(text, "\r\n%0*d", BODY, 7);
	fake_upstream_sends(f, text);
	if (strncmp(fake_client_got(f), "HTTP/1.1 200 ", 13) != 0)
		fail_msg("%.200s", f->text);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	free(text);
}

/* A response that breaks off must not look whole, however it is framed. */
static void upstream_dies_in_body(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, v1);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe");
	shutdown(f->upstream, SHUT_RDWR);
	assert_null(strstr(fake_client_got(f), "0\r\n\r\n"));
	assert_true(fake_client_closed(f));
	assert_int_equal(f->last.reason, EGRESS_UPSTREAM_PROTOCOL);
	assert_int_equal(f->last.status, 200);
	assert_int_equal(f->put_count, 0);
}

static void early_response(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			     "Content-Length: 1000\r\n\r\nabc");
	fake_upstream_sends(f, "HTTP/1.1 413 Too Large\r\nConnection: close\r\n"
			       "Content-Length: 2\r\n\r\nno");
	assert_non_null(strstr(fake_client_got(f), "\r\n\r\nno"));
	assert_int_equal(f->put_count, 0);
	assert_int_equal(f->last.status, 413);
	assert_true(fake_client_closed(f));
	/* Lingering: what the client still sends is taken, so that no RST destroys the answer. */
	assert_int_equal(f->proxy.connection_count, 1);
	assert_int_equal(send(f->client, "def", 3, MSG_NOSIGNAL), 3);
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 1);
	close(f->client);
	f->client = -1;
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
}

/* However much the client still sends: it may read when that is done, and an RST would take the answer. */
static void refusal_with_body_lingers(void **state)
{
	static const char block[16 * 1024];
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "POST /no HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nabc");
	assert_non_null(strstr(fake_client_got(f), "Connection: close\r\n"));
	assert_non_null(strstr(f->text, ",\"id\":\"7f3a-42\"}\n"));
	assert_true(fake_client_closed(f));
	assert_int_equal(send(f->client, "def", 3, MSG_NOSIGNAL), 3);
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 1);
	for (size_t sent = 0; sent < 4 * 1024 * 1024; sent += sizeof(block)) {
		assert_int_equal(send(f->client, block, sizeof(block), MSG_NOSIGNAL), sizeof(block));
		fake_turn(f);
	}
	assert_int_equal(f->proxy.connection_count, 1);
	/* Nor for ever, and its record is not written twice. */
	((struct http1 *)f->proxy.connections->session)->drains_until_ms = 1;
	assert_int_equal(send(f->client, "g", 1, MSG_NOSIGNAL), 1);
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->log_count, 1);
}

/* What was answered has its record: neither a stop nor a policy without its route makes another. */
static void lingers_into_a_reload(void **state)
{
	struct fake *f = *state;
	struct config empty = f->config;
	struct error error = {""};

	empty.policy = policy_new();
	assert_int_equal(policy_finish(empty.policy, &error), 0);
	fake_connect(f);
	fake_client_sends(f, "POST /no HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nabc");
	assert_non_null(strstr(fake_client_got(f), "HTTP/1.1 403 "));
	assert_true(fake_client_closed(f));
	proxy_drain(&f->proxy);
	assert_int_equal(f->proxy.connection_count, 1);
	proxy_reconfigure(&f->proxy, &empty);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->log_count, 1);
	proxy_reconfigure(&f->proxy, &f->config);
	policy_unref(empty.policy);
}

static void head_refusal_has_no_body(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "HEAD /no HTTP/1.1\r\nHost: api.test\r\n\r\n");
	fake_client_got(f);
	assert_non_null(strstr(f->text, "X-Egress-Reason: path_not_allowed\r\n"));
	assert_non_null(strstr(f->text, "X-Egress-Request-Id: 7f3a-42\r\n"));
	assert_string_equal(strstr(f->text, "\r\n\r\n"), "\r\n\r\n");
}

static void hints_can_be_off(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET /no HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "\"hint\":"));
	f->config.hints = false;
	fake_client_sends(f, "GET /no HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_null(strstr(fake_client_got(f), "\"hint\":"));
}

/* ---- upgrade -------------------------------------------------------------------------------- */

static void websocket(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET /v1/ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\n"
			     "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f),
			       "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	fake_upstream_sends(f, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			       "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
			       "\r\nfirst");
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 101 Switching Protocols\r\n"
			    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nConnection: Upgrade\r\n"
			    "Upgrade: websocket\r\n\r\nfirst");
	fake_client_sends(f, "up");
	assert_string_equal(fake_upstream_got(f), "up");
	fake_upstream_sends(f, "down");
	assert_string_equal(fake_client_got(f), "down");
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.status, 101);
	close(f->upstream);
	f->upstream = -1;
	fake_turn(f);
	assert_true(fake_client_closed(f));
	close(f->client);
	f->client = -1;
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->log_count, 2);
}

static void other_http_is_no_upgrade(void **state)
{
	static const char *const names[] = {"h2c", "HTTP/2.0", "TLS/1.2", "websocket, h2c", "H2C"};
	struct fake *f = *state;

	fake_connect(f);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			 "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n", names[i]);
		fake_client_sends(f, text);
		assert_null(strstr(fake_upstream_got(f), "pgrade"));
		fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		assert_non_null(strstr(fake_client_got(f), "200 OK"));
	}
}

/* What nobody reads any more is what was asked for: RFC 9110, 7.8, and RFC 6455, 4.1, with its key. */
static void switches_to_what_was_asked_for(void **state)
{
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	static const struct {
		const char *asked, *answered;
		bool switches;
	} cases[] = {
		{"websocket\r\n" KEY, "WebSocket\r\n" ACCEPT, true},
		{"websocket\r\n" KEY, "h2c\r\n" ACCEPT, false},
		{"websocket\r\n" KEY, "websocket, h2c\r\n" ACCEPT, false},
		{"websocket\r\n" KEY, "websocket\r\n", false},
		{"websocket\r\n" KEY, "websocket\r\nSec-WebSocket-Accept: x\r\n", false},
		{"websocket\r\n" KEY, "websocket\r\n" ACCEPT ACCEPT, false},
		{"websocket\r\n" KEY KEY, "websocket\r\n" ACCEPT, false},
		{"websocket\r\n", "websocket\r\n", true},
		{"tcp\r\n", "tcp\r\n", true},
		{"tcp\r\n" KEY, "tcp\r\n", true},
		{"tcp\r\n", "websocket\r\n", false},
		{"SPDY/3.1\r\n", "spdy/3.1\r\n", true},
		{"SPDY/3.1\r\n", "SPDY\r\n", false},
	};
	struct fake *f = *state;
	char text[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_connect(f);
		snprintf(text, sizeof(text), "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			 "Connection: Upgrade\r\nUpgrade: %s\r\n", cases[i].asked);
		fake_client_sends(f, text);
		(void)fake_upstream_got(f);
		snprintf(text, sizeof(text), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: %s\r\n",
			 cases[i].answered);
		fake_upstream_sends(f, text);
		if (strncmp(fake_client_got(f), cases[i].switches ? "HTTP/1.1 101 " : "HTTP/1.1 502 ", 13) != 0)
			fail_msg("%s: %s", cases[i].asked, cases[i].answered);
		close(f->client);
		f->client = -1;
		fake_turn(f);
	}
}

/* ---- memory --------------------------------------------------------------------------------- */

static size_t heap_in_use(void)
{
	return mallinfo2().uordblks;
}

/* 32 MiB are pushed at a side that does not read: the sender is stopped, nothing piles up. */
static size_t push(struct fake *f, int fd)
{
	static char block[65536];
	size_t pushed = 0;

	for (int i = 0; i < 512; i++) {
		ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);

		fake_turn(f);
		if (n < 0)
			break;
		pushed += (size_t)n;
	}
	return pushed;
}

static void backpressure(void **state)
{
	struct fake *f = *state;
	size_t before, pushed;

	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			     "Content-Length: 1000000000\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
	before = heap_in_use();
	pushed = push(f, f->client);
	assert_in_range(pushed, 1, 4 << 20);
	pushed = push(f, f->upstream);
	assert_in_range(pushed, 1, 4 << 20);
	assert_in_range(heap_in_use() - before, 0, 256 * 1024);
	/* And it goes on when the other side reads. */
	assert_true(strlen(fake_client_got(f)) < FAKE_TEXT);
	assert_true(push(f, f->upstream) > 0);
}

/* ---- reload --------------------------------------------------------------------------------- */

static void reload_closes_what_is_gone(void **state)
{
	struct fake *f = *state;
	struct config empty = f->config;
	struct error error = {""};

	empty.policy = policy_new();
	assert_int_equal(policy_finish(empty.policy, &error), 0);
	fake_connect(f);
	fake_client_sends(f, v1);
	proxy_reconfigure(&f->proxy, &f->config);
	assert_int_equal(f->proxy.connection_count, 1);
	proxy_reconfigure(&f->proxy, &empty);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->last.reason, EGRESS_ROUTE_REMOVED);
	proxy_reconfigure(&f->proxy, &f->config);
	policy_unref(empty.policy);
}

/* The credential that goes is the one in force when it goes. */
static void reload_while_dialling(void **state)
{
	struct fake *f = *state;
	struct config renewed = f->config;
	struct error error = {""};
	const char *got;

	renewed.policy = fake_policy();
	assert_int_equal(policy_set_secret(renewed.policy, 0, SPAN("renewed"), &error), 0);
	f->hold = true;
	fake_connect(f);
	fake_client_sends(f, "POST /v1/x HTTP/1.1\r\nHost: api.test\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n2\r\n");
	proxy_reconfigure(&f->proxy, &renewed);
	assert_int_equal(f->proxy.connection_count, 1);
	fake_dialled(f);
	fake_client_sends(f, "hi\r\n0\r\n\r\n");
	got = fake_upstream_got(f);
	assert_null(strstr(got, "s3cret"));
	assert_non_null(strstr(got, "Authorization: Bearer renewed\r\n\r\n2\r\nhi\r\n0\r\n\r\n"));
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(f->put_count, 1);
	proxy_reconfigure(&f->proxy, &f->config);
	policy_unref(renewed.policy);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_get),
		TEST(refused_path_keeps_connection),
		TEST(headers_are_rewritten),
		TEST(underscores_are_no_disguise), TEST(each_hop_field_is_dropped),
		TEST(each_hop_field_is_dropped_from_trailers),
		TEST(host_goes_in_its_plain_form),
		TEST(absolute_form_of_this_host),
		TEST(bad_requests),
		TEST(chunked_both_ways),
		TEST(malformed_chunks_from_client),
		TEST(no_body_responses),
		TEST(until_eof),
		TEST(long_head_with_body),
		TEST(old_client),
		TEST(expect_continue),
		TEST(pipelined),
		TEST(client_close_is_honoured),
		TEST(upstream_close_is_honoured),
		TEST(bytes_beyond_the_response_end_reuse),
		TEST(stale_connection_is_tried_again),
		TEST(body_sent_is_not_tried_again),
		TEST(post_is_not_tried_again),
		TEST(upstream_refused),
		TEST(malformed_responses),
		TEST(upstream_dies_in_body),
		TEST(early_response),
		TEST(refusal_with_body_lingers),
		TEST(head_refusal_has_no_body),
		TEST(hints_can_be_off),
		TEST(websocket),
		TEST(other_http_is_no_upgrade),
		TEST(switches_to_what_was_asked_for),
		TEST(lingers_into_a_reload),
		TEST(backpressure),
		TEST(reload_closes_what_is_gone),
		TEST(reload_while_dialling),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
