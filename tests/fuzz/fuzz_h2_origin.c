// SPDX-License-Identifier: BSD-2-Clause
/* Any frames of an HTTP/2 origin to four requests on one session of upstream_h2.c. What these are answered
 * with in order does not hang on how the bytes were cut; 101 comes to nobody but who asked for a
 * WebSocket, with the answer to its key; and an answer that ended in order is as long as it said. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_main.h"
#include "http1_upgrade.h"
#include "upstream_h2.h"

enum { HEAD, UPLOAD, SOCKET, PLAIN, REQUESTS };
#define BEGIN(method) method " / HTTP/1.1\r\nHost: a\r\n"

static const char *const asked[REQUESTS] = {
	[HEAD] = BEGIN("HEAD") "\r\n",
	[UPLOAD] = BEGIN("POST") "Content-Length: 70000\r\n\r\n",
	[SOCKET] = BEGIN("GET") "Connection: Upgrade\r\nUpgrade: websocket\r\n"
		   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	[PLAIN] = BEGIN("GET") "\r\n",
};

struct answer {
	struct stream *stream;
	struct bytes text, trailers;
	ssize_t end;
};

static void on_ready(void *context)
{
	static char buffer[65536];
	struct answer *answer = context;
	ssize_t n;

	while (answer->end == -EAGAIN &&
	       (n = stream_read(answer->stream, buffer, sizeof(buffer))) != -EAGAIN) {
		if (n <= 0)
			answer->end = n;
		else
			REQUIRE(bytes_append(&answer->text, buffer, (size_t)n));
	}
}

/* How long the heads are, which come whole; `ret` is the last of them. */
static size_t read_heads(struct span text, struct http1_head *ret)
{
	size_t total = 0;
	llhttp_t parser;

	while (total < text.length && ret->status < 200 && ret->status != 101) {
		size_t scanned = 0;
		long end = http1_head_end((struct span){text.data + total, text.length - total}, &scanned);

		REQUIRE(end > 0);
		if (http1_response_parse((struct span){text.data + total, (size_t)end}, &parser, ret) != 0)
			ret->status = 999; /* nobody goes on behind it */
		total += (size_t)end;
	}
	return total;
}

static void check(const struct answer *answer, size_t which)
{
	struct policy_header fields[2][HTTP1_FIELDS_MAX];
	struct http1_head request = {.fields = fields[0]}, head = {.fields = fields[1]};
	size_t body = answer->text.length - read_heads(bytes_span(&answer->text), &head);

	REQUIRE(http1_request_parse(span_from(asked[which]), NULL, &request) == 0);
	REQUIRE(head.status != 101 || http1_did_upgrade(&request, &head));
	if (answer->end != 0 || head.status == 999)
		return;
	REQUIRE(head.status == 101 || head.status >= 200);
	if (which == HEAD || head.status == 204 || head.status == 304)
		REQUIRE(body == 0);
	else if (head.framing == HTTP1_LENGTH && which != SOCKET)
		/* nghttp2 holds no answer to CONNECT to its length: response_framing() does. */
		REQUIRE(body == head.length);
}

static void ask(struct h2_pool *pool, struct stream *carrier, struct answer *answers)
{
	static const struct pool_key key = {.host = "a", .port = 443, .tls = true};
	struct egress_address address = {{0}};

	for (size_t i = 0; i < REQUESTS; i++) {
		struct stream *stream = i ? h2_pool_take(pool, &key, &address)
					  : h2_pool_add(pool, &key, &address, carrier, true);

		answers[i] = (struct answer){.stream = stream, .end = -EAGAIN};
		stream_set_ready(stream, on_ready, &answers[i]);
		REQUIRE(stream_write(stream, asked[i], strlen(asked[i])) > 0);
		if (i == UPLOAD)
			REQUIRE(stream_write(stream, "and so on", 9) > 0);
		else
			stream_finish(stream, (struct span){NULL, 0});
	}
}

static void say(struct event_base *base, int fd, const void *data, size_t size)
{
	(void)!send(fd, data, size, MSG_NOSIGNAL);
	for (int i = 0; i < 4; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The first piece, and the others twice as long each. */
static void run(struct event_base *base, const uint8_t *data, size_t size, size_t piece,
		struct answer *answers)
{
	static const char settings[] = "\0\0\6\4\0\0\0\0\0\0\x8\0\0\0\1"; /* RFC 8441: it takes WebSockets */
	struct h2_pool *pool = h2_pool_new(base, 1000);
	int pair[2];

	REQUIRE(pool && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	ask(pool, stream_new(base, pair[0]), answers);
	say(base, pair[1], settings, sizeof(settings) - 1);
	for (; size > piece; data += piece, size -= piece, piece *= 2)
		say(base, pair[1], data, piece);
	say(base, pair[1], data, size);
	shutdown(pair[1], SHUT_WR);
	say(base, pair[1], "", 0);
	close(pair[1]);
	for (size_t i = 0; i < REQUESTS; i++) {
		struct span trailers = stream_trailers(answers[i].stream);

		on_ready(&answers[i]);
		REQUIRE(answers[i].end != -EAGAIN);
		REQUIRE(bytes_append(&answers[i].trailers, trailers.data, trailers.length));
		check(&answers[i], i);
		stream_free(answers[i].stream);
	}
	h2_pool_free(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct answer whole[REQUESTS], cut[REQUESTS];

	if (!base)
		base = event_base_new();
	if (size < 2 || size > 4096)
		return 0;
	run(base, data + 1, size - 1, size, whole);
	run(base, data + 1, size - 1, data[0] + 1u, cut);
	for (size_t i = 0; i < REQUESTS; i++) {
		struct span a = bytes_span(&whole[i].text), b = bytes_span(&cut[i].text);
		size_t shorter = a.length < b.length ? a.length : b.length;

		/* Frames behind an error are seen by nghttp2 or not as its RST_STREAM has gone or not, and
		 * may end the session. */
		REQUIRE(memcmp(a.data, b.data, shorter) == 0);
		REQUIRE(whole[i].end != 0 || cut[i].end != 0 || (a.length == b.length &&
			span_equal(bytes_span(&whole[i].trailers), bytes_span(&cut[i].trailers))));
		bytes_free(&whole[i].text);
		bytes_free(&whole[i].trailers);
		bytes_free(&cut[i].text);
		bytes_free(&cut[i].trailers);
	}
	return 0;
}
