// SPDX-License-Identifier: BSD-2-Clause
/* The head of a message as a table: what passes, what is refused, and with which status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http1_head.h"

static struct policy_header fields[HTTP1_FIELDS_MAX];

#define H "Host: a.test\r\n"
#define LINE "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" H

struct row {
	const char *what;
	struct span text;
	int status;
	enum http1_framing framing;
	uint64_t length;
};
#define ROW(name, bytes, ...)                                                                       \
	{.what = (name), .text = {bytes, sizeof(bytes) - 1}, .status = __VA_ARGS__}

static const struct row requests[] = {
	ROW("plain", LINE H "\r\n", 0),
	ROW("1.0", "GET / HTTP/1.0\r\n\r\n", 0),
	ROW("empty value", LINE H "A:\r\n\r\n", 0),
	ROW("obs-text in a value", LINE H "A: \xc3\xa9\r\n\r\n", 0),
	ROW("tab in a value", LINE H "A: b\tc\r\n\r\n", 0),
	ROW("blanks around a value", LINE H "A: \t b \t\r\n\r\n", 0),
	ROW("authority-form", "CONNECT a.test:443 HTTP/1.1\r\n" H "\r\n", 0),
	ROW("absolute-form", "GET http://a.test/x HTTP/1.1\r\n" H "\r\n", 0),
	ROW("asterisk-form", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0),
	ROW("length", POST "Content-Length: 5\r\n\r\n", 0, HTTP1_LENGTH, 5),
	ROW("length zero", POST "Content-Length: 0\r\n\r\n", 0, HTTP1_LENGTH, 0),
	ROW("length, leading zeros", POST "Content-Length: 005\r\n\r\n", 0, HTTP1_LENGTH, 5),
	ROW("chunked", POST "Transfer-Encoding: chunked\r\n\r\n", 0, HTTP1_CHUNKED),
	ROW("chunked, case", POST "transfer-encoding: CHUNKED\r\n\r\n", 0, HTTP1_CHUNKED),
	ROW("upgrade", LINE H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 0),

	/* request line */
	ROW("empty line first", "\r\n" LINE H "\r\n", 400),
	ROW("nothing", "\r\n", 400),
	ROW("no version", "GET /\r\n" H "\r\n", 400),
	ROW("two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 400),
	ROW("two spaces before version", "GET /  HTTP/1.1\r\n" H "\r\n", 400),
	ROW("tab", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400),
	ROW("space in target", "GET /a b HTTP/1.1\r\n" H "\r\n", 400),
	ROW("space after version", "GET / HTTP/1.1 \r\n" H "\r\n", 400),
	ROW("space before method", " GET / HTTP/1.1\r\n" H "\r\n", 400),
	ROW("version 2.0", "GET / HTTP/2.0\r\n" H "\r\n", 400),
	ROW("version 1.2", "GET / HTTP/1.2\r\n" H "\r\n", 400),
	ROW("version 0.9", "GET / HTTP/0.9\r\n" H "\r\n", 400),
	ROW("version 1.10", "GET / HTTP/1.10\r\n" H "\r\n", 400),
	ROW("version in lower case", "GET / http/1.1\r\n" H "\r\n", 400),
	ROW("method with a colon", "GE:T / HTTP/1.1\r\n" H "\r\n", 400),
	ROW("method in lower case", "get / HTTP/1.1\r\n" H "\r\n", 400),
	ROW("method unknown", "FROBNICATE / HTTP/1.1\r\n" H "\r\n", 400),
	ROW("fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 400),
	ROW("non-ASCII target", "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 400),
	ROW("control in target", "GET /\x01 HTTP/1.1\r\n" H "\r\n", 400),
	ROW("DEL in target", "GET /\x7f HTTP/1.1\r\n" H "\r\n", 400),
	ROW("NUL in target", "GET /\0 HTTP/1.1\r\n" H "\r\n", 400),
	ROW("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", 400),

	/* lines */
	ROW("bare LF after request line", "GET / HTTP/1.1\n" H "\r\n", 400),
	ROW("bare LF after field", LINE "Host: a.test\nA: b\r\n\r\n", 400),
	ROW("bare LF at the end", LINE H "\n", 400),
	ROW("bare CR in value", LINE H "A: b\rc\r\n\r\n", 400),
	ROW("bare CR as end", LINE H "A: b\rB: c\r\n\r\n", 400),
	ROW("CR CR LF", LINE H "A: b\r\r\n\r\n", 400),
	ROW("NUL in value", LINE H "A: b\0c\r\n\r\n", 400),
	ROW("NUL in name", LINE H "A\0: b\r\n\r\n", 400),
	ROW("control in value", LINE H "A: \x08\r\n\r\n", 400),
	ROW("DEL in value", LINE H "A: \x7f\r\n\r\n", 400),
	ROW("vertical tab", LINE H "A:\x0b b\r\n\r\n", 400),
	ROW("obs-fold", LINE H "A: b\r\n c\r\n\r\n", 400),
	ROW("obs-fold with tab", LINE H "A: b\r\n\tc\r\n\r\n", 400),
	ROW("obs-fold first", LINE " A: b\r\n" H "\r\n", 400),
	ROW("obs-fold of framing", POST "Transfer-Encoding:\r\n chunked\r\n\r\n", 400),
	ROW("space before colon", LINE "Host : a.test\r\n\r\n", 400),
	ROW("tab before colon", LINE H "A\t: b\r\n\r\n", 400),
	ROW("no colon", LINE H "A\r\n\r\n", 400),
	ROW("no name", LINE H ": b\r\n\r\n", 400),
	ROW("space in name", LINE H "A B: c\r\n\r\n", 400),
	ROW("non-ASCII name", LINE H "\xc3\xa9: c\r\n\r\n", 400),
	ROW("bracket in name", LINE H "A[0]: c\r\n\r\n", 400),
	ROW("something after the end", LINE H "\r\nX", 400),
	ROW("unfinished", LINE H, 400),

	/* framing */
	ROW("CL.TE", POST "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
	ROW("TE.CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n", 400),
	ROW("TE.TE", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 400),
	ROW("TE twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	    400),
	ROW("TE x", POST "Transfer-Encoding: x\r\n\r\n", 400),
	ROW("TE identity", POST "Transfer-Encoding: identity\r\n\r\n", 400),
	ROW("TE gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
	ROW("TE chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n", 400),
	ROW("TE chunked, chunked", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
	ROW("TE xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", 400),
	ROW("TE quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400),
	ROW("TE with parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n", 400),
	ROW("TE empty", POST "Transfer-Encoding:\r\n\r\n", 400),
	ROW("TE with comma", POST "Transfer-Encoding: ,chunked\r\n\r\n", 400),
	ROW("TE with vertical tab", POST "Transfer-Encoding:\x0b" "chunked\r\n\r\n", 400),
	ROW("TE, space before colon", POST "Transfer-Encoding : chunked\r\n\r\n", 400),
	ROW("TE on 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
	ROW("two CL", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
	ROW("two equal CL", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
	ROW("CL list", POST "Content-Length: 5, 5\r\n\r\n", 400),
	ROW("CL negative", POST "Content-Length: -1\r\n\r\n", 400),
	ROW("CL plus", POST "Content-Length: +5\r\n\r\n", 400),
	ROW("CL hex", POST "Content-Length: 0x5\r\n\r\n", 400),
	ROW("CL empty", POST "Content-Length:\r\n\r\n", 400),
	ROW("CL with space", POST "Content-Length: 5 5\r\n\r\n", 400),
	ROW("CL with fraction", POST "Content-Length: 5.0\r\n\r\n", 400),
	ROW("CL too long", POST "Content-Length: 99999999999999999999\r\n\r\n", 400),
	ROW("CL 2^64 + 5", POST "Content-Length: 18446744073709551621\r\n\r\n", 400),

	/* Host */
	ROW("two Hosts", LINE H H "\r\n", 400),
	ROW("two Hosts, one empty", LINE H "Host:\r\n\r\n", 400),
	ROW("two Hosts, case", LINE H "hOST: b.test\r\n\r\n", 400),
};

static const struct row responses[] = {
	ROW("plain", "HTTP/1.1 200 OK\r\n\r\n", 0),
	ROW("no phrase", "HTTP/1.1 200 \r\n\r\n", 0),
	ROW("no phrase, no space", "HTTP/1.1 200\r\n\r\n", 0),
	ROW("phrase of words", "HTTP/1.1 404 Not Found at all\r\n\r\n", 0),
	ROW("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", 0, HTTP1_LENGTH, 3),
	ROW("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, HTTP1_CHUNKED),
	ROW("interim", "HTTP/1.1 100 Continue\r\n\r\n", 0),
	ROW("switching",
	    "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 0),
	ROW("status of two digits", "HTTP/1.1 20 OK\r\n\r\n", 400),
	ROW("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", 400),
	ROW("status below 100", "HTTP/1.1 099 OK\r\n\r\n", 400),
	ROW("status in letters", "HTTP/1.1 abc OK\r\n\r\n", 400),
	ROW("2.0", "HTTP/2.0 200 OK\r\n\r\n", 400),
	ROW("not HTTP", "ICY 200 OK\r\n\r\n", 400),
	ROW("control in phrase", "HTTP/1.1 200 O\x01K\r\n\r\n", 400),
	ROW("bare LF", "HTTP/1.1 200 OK\nA: b\r\n\r\n", 400),
	ROW("TE and CL",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
	ROW("two CL", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
	ROW("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
	ROW("obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 400),
	ROW("space before colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", 400),
	ROW("TE on 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
};

static void check(const struct row *row, bool response)
{
	struct http1_head head = {.fields = fields};
	llhttp_t parser;
	int status = response ? http1_response_parse(row->text, &parser, &head)
			      : http1_request_parse(row->text, &parser, &head);

	if (status != row->status)
		fail_msg("%s: %d, not %d", row->what, status, row->status);
	if (status == 0 && (head.framing != row->framing ||
			    (head.framing == HTTP1_LENGTH && head.length != row->length)))
		fail_msg("%s: framing %d", row->what, (int)head.framing);
}

static void request_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		check(&requests[i], false);
}

static void response_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++)
		check(&responses[i], true);
}

static void what_is_parsed(void **state)
{
	struct span text = SPAN("PUT /a?b HTTP/1.1\r\nHost: h:1\r\nX:  y z \r\n"
				"Connection: close, TE\r\nTE: gzip, trailers\r\n\r\n");
	struct http1_head head = {.fields = fields};
	llhttp_t parser;

	(void)state;
	assert_int_equal(http1_request_parse(text, &parser, &head), 0);
	assert_true(span_equal(head.method, SPAN("PUT")));
	assert_true(span_equal(head.target, SPAN("/a?b")));
	assert_true(span_equal(head.host, SPAN("h:1")));
	assert_int_equal(head.count, 4);
	assert_true(span_equal(head.fields[1].name, SPAN("X")));
	assert_true(span_equal(head.fields[1].value, SPAN("y z")));
	assert_false(head.keep_alive);
	assert_int_equal(head.nominations, 1);
	assert_true(head.te_trailers);
	assert_null(head.upgrade.data);
}

/* 256 fields pass, 257 do not; a target of 16 KiB passes, one byte more does not. */
static void limits(void **state)
{
	struct bytes text = {NULL, 0, 0, 0};
	struct http1_head head = {.fields = fields};
	llhttp_t parser;

	(void)state;
	for (size_t count = HTTP1_FIELDS_MAX; count <= HTTP1_FIELDS_MAX + 1; count++) {
		bytes_free(&text);
		assert_true(bytes_append_text(&text, LINE));
		for (size_t i = 0; i < count; i++)
			assert_true(bytes_printf(&text, "A%zu: b\r\n", i));
		assert_true(bytes_append_text(&text, "\r\n"));
		assert_int_equal(http1_request_parse(bytes_span(&text), &parser, &head),
				 count == HTTP1_FIELDS_MAX ? 0 : 431);
	}
	for (int length = HTTP1_TARGET_MAX; length <= HTTP1_TARGET_MAX + 1; length++) {
		bytes_free(&text);
		assert_true(bytes_printf(&text, "GET /%0*d HTTP/1.1\r\n\r\n", length - 1, 0));
		assert_int_equal(http1_request_parse(bytes_span(&text), &parser, &head),
				 length == HTTP1_TARGET_MAX ? 0 : 414);
	}
	bytes_free(&text);
	assert_true(bytes_printf(&text, LINE "A: %0*d\r\n\r\n", HTTP1_HEAD_MAX, 0));
	assert_int_equal(http1_request_parse(bytes_span(&text), &parser, &head), 431);
	bytes_free(&text);
}

/* Each field is looked for in each of these lists: how much that is, is bounded, from both sides. */
static void nominations(void **state)
{
	static const struct {
		size_t fields, length; /* of each list */
		int status;
	} cases[] = {{1, 512, 0}, {1, 513, 400}, {2, 256, 0}, {2, 257, 400}, {8, 1, 0}, {9, 1, 400}};
	struct bytes text = {NULL, 0, 0, 0};
	struct http1_head head = {.fields = fields};
	char list[600];
	llhttp_t parser;

	(void)state;
	memset(list, ',', sizeof(list));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int response = 0; response < 2; response++) {
			bytes_free(&text);
			assert_true(bytes_append_text(&text, response ? "HTTP/1.1 200 OK\r\n" : LINE));
			for (size_t n = 0; n < cases[i].fields; n++)
				assert_true(bytes_printf(&text, "Connection: %.*s\r\n",
							 (int)cases[i].length, list));
			assert_true(bytes_append_text(&text, "\r\n"));
			assert_int_equal((response ? http1_response_parse : http1_request_parse)(
						 bytes_span(&text), &parser, &head), cases[i].status);
		}
	}
	bytes_free(&text);
}

/* The end is found whatever the pieces; a bare LF is seen before the end is. */
static void end_in_pieces(void **state)
{
	static const char text[] = LINE H "A: b\r\n\r\nrest";
	const long end = (long)(sizeof(text) - 1 - 4);
	size_t scanned = 0;

	(void)state;
	for (size_t n = 0; n < (size_t)end; n++)
		assert_int_equal(http1_head_end((struct span){text, n}, &scanned), 0);
	assert_int_equal(http1_head_end((struct span){text, sizeof(text) - 1}, &scanned), end);
	scanned = 0;
	assert_int_equal(http1_head_end(SPAN("GET / HTTP/1.1\nHo"), &scanned), -1);
	scanned = 0;
	assert_int_equal(http1_head_end(SPAN("\n"), &scanned), -1);
	scanned = 0;
	assert_int_equal(http1_head_end(SPAN(LINE H "\n"), &scanned), -1);
	scanned = 0;
	assert_int_equal(http1_head_end(SPAN(LINE "\r"), &scanned), 0);
}

/* Of a head that has not ended: what its first bytes already tell. */
static void what_is_no_request(void **state)
{
	static const char *const fine[] = {"",
					   "G",
					   "GET",
					   "GET / HTTP/1.1",
					   "GET / HTTP/1.1\r\nA: b\r\n",
					   "PRI * HTTP/2.0\r\n",
					   "!#$ / HTTP/1.0\r\n",
					   "\r\nGET",
					   "\nGET"};
	static const char *const other[] = {"SSH-2.0-x\r\n",
					    "EHLO x\r\n",
					    "*1\r\n$4\r\n",
					    "GET /\r\n",
					    "\5\1",
					    "\x10",
					    "\x80",
					    " ",
					    "{\"a\"",
					    "[",
					    "x\r\n HTTP/1.1\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_true(http1_may_be_request(span_from(fine[i])));
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		assert_false(http1_may_be_request(span_from(other[i])));
	assert_false(http1_may_be_request((struct span){"\0\0\0\10", 4}));
}

static void lists(void **state)
{
	(void)state;
	assert_true(http1_list_has(SPAN("a, b ,C"), SPAN("c")));
	assert_true(http1_list_has(SPAN("a, b ,C"), SPAN("b")));
	assert_false(http1_list_has(SPAN("a, bc"), SPAN("b")));
	assert_false(http1_list_has(SPAN(""), SPAN("b")));
	assert_false(http1_list_has(SPAN("a b"), SPAN("b")));
}

/* Values are looked at eight bytes at a time: each byte at each place of each length. */
static void values_everywhere(void **state)
{
	char text[40];

	(void)state;
	for (size_t length = 1; length <= sizeof(text); length++) {
		for (size_t at = 0; at < length; at++) {
			for (unsigned byte = 0; byte < 256; byte++) {
				bool fine = byte == '\t' || (byte >= ' ' && byte != 0x7f);

				memset(text, at % 2 ? 0xff : 'v', sizeof(text));
				text[at] = (char)byte;
				assert_int_equal(http1_is_value((struct span){text, length}), fine);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_table),
		cmocka_unit_test(response_table),
		cmocka_unit_test(what_is_parsed),
		cmocka_unit_test(limits),
		cmocka_unit_test(nominations),
		cmocka_unit_test(values_everywhere),
		cmocka_unit_test(end_in_pieces),
		cmocka_unit_test(lists),
		cmocka_unit_test(what_is_no_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
