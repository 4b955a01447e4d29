// SPDX-License-Identifier: BSD-2-Clause
/* Two sessions, a client's and a server's, on one pair of sockets; and heads that go both ways. */
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "h2.h"
#include "h2_private.h"
#include "later.h"
#include "no_timers.h"

struct side {
	struct stream *transport;
	struct h2 *h2;
	bool over;
};

struct pair {
	struct event_base *base;
	struct side client, server;
	struct stream *opened[8];
	size_t opened_count;
	int malformed, gone;
};

static void run_side(void *context)
{
	struct side *side = context;

	if (side->h2 && !side->over)
		side->over = !h2_run(side->h2);
}

static void kick_client(void *context)
{
	run_side(&((struct pair *)context)->client);
}

static void kick_server(void *context)
{
	run_side(&((struct pair *)context)->server);
}

static void on_opened(void *context, struct stream *stream)
{
	struct pair *p = context;

	p->opened[p->opened_count++] = stream;
}

static void on_gone(void *context)
{
	((struct pair *)context)->gone++;
}

static void on_malformed(void *context)
{
	((struct pair *)context)->malformed++;
}

static void turn(struct pair *p)
{
	for (int i = 0; i < 30; i++)
		event_base_loop(p->base, EVLOOP_NONBLOCK);
}

static int setup(void **state)
{
	static const struct h2_owner client = {.kick = kick_client};
	static const struct h2_owner server = {kick_server, on_opened, on_gone, on_malformed};
	struct pair *p = calloc(1, sizeof(*p));
	int fds[2];

	no_timers = false;
	signal(SIGPIPE, SIG_IGN);
	p->base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	p->client.transport = stream_new(p->base, fds[0]);
	p->server.transport = stream_new(p->base, fds[1]);
	p->client.h2 = h2_new(p->base, p->client.transport, false, &client, p);
	p->server.h2 = h2_new(p->base, p->server.transport, true, &server, p);
	stream_set_ready(p->client.transport, run_side, &p->client);
	stream_set_ready(p->server.transport, run_side, &p->server);
	run_side(&p->client);
	run_side(&p->server);
	turn(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	for (size_t i = 0; i < p->opened_count; i++)
		stream_free(p->opened[i]);
	h2_free(p->client.h2);
	h2_free(p->server.h2);
	stream_free(p->client.transport);
	stream_free(p->server.transport);
	event_base_free(p->base);
	free(p);
	return 0;
}

static void put(struct stream *stream, const char *text)
{
	assert_int_equal(stream_write(stream, text, strlen(text)), strlen(text));
}

/* What is there now, as text; the result of the last read is in *ret. */
static const char *get(struct stream *stream, ssize_t *ret)
{
	static char text[4096];
	size_t length = 0;
	ssize_t n;

	while ((n = stream_read(stream, text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = '\0';
	*ret = n;
	return text;
}

static struct stream *ask(struct pair *p, const char *head, bool end)
{
	struct stream *stream = h2_open(p->client.h2);

	put(stream, head);
	if (end)
		stream_shutdown(stream);
	turn(p);
	return stream;
}

#define GET "GET /x?y HTTP/1.1\r\nHost: a.test\r\nCookie: a=1\r\nConnection: TE\r\nTE: trailers\r\n\r\n"

static void there_and_back(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, GET, true);
	ssize_t n;

	assert_int_equal(p->opened_count, 1);
	/* The scheme is not that of a connection without TLS: who judges the head sees it. */
	assert_string_equal(get(p->opened[0], &n),
			    "GET https://a.test/x?y HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\ncookie: a=1\r\n\r\n");
	assert_int_equal(n, 0);
	put(p->opened[0], "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n"
			  "Content-Length: 2\r\nConnection: close\r\n\r\nhi");
	stream_finish(p->opened[0], SPAN("X-Sum: 1\r\n"));
	turn(p);
	assert_string_equal(get(client, &n), "HTTP/1.1 103 \r\nlink: a\r\n\r\nHTTP/1.1 200 \r\n"
					     "content-length: 2\r\n\r\nhi");
	assert_int_equal(n, 0);
	assert_true(span_equal(stream_trailers(client), SPAN("x-sum: 1\r\n")));
	stream_free(client);
}

/* "chunked" says that the length is not known; the bytes are bare. */
static void unknown_length(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	ssize_t n;

	assert_string_equal(get(p->opened[0], &n),
			    "POST https://a/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
	assert_int_equal(n, -EAGAIN);
	put(client, "abc");
	turn(p);
	assert_string_equal(get(p->opened[0], &n), "abc");
	assert_int_equal(n, -EAGAIN);
	stream_shutdown(client);
	turn(p);
	assert_string_equal(get(p->opened[0], &n), "");
	assert_int_equal(n, 0);
	stream_free(client);
	turn(p);
	assert_int_equal(stream_read(p->opened[0], (char[1]){0}, 1), -ECONNRESET);
	assert_int_equal(h2_reset_code(p->opened[0]), NGHTTP2_CANCEL);
}

#define SHARED_BODY (300 * 1000)

struct flow {
	struct pair *pair;
	struct stream *from, *to;
	unsigned char key; /* what the flow's bytes hang on beside their place */
	size_t written, got;
};

static unsigned char shared_byte(const struct flow *flow, size_t at)
{
	return (unsigned char)(at * 31 + (at >> 8) * 7 + flow->key);
}

/* Some more of it, in pieces that fit no frame; and whatever arrived is what was sent there. */
static void move_flow(struct flow *flow)
{
	static unsigned char block[30001];
	size_t length = SHARED_BODY - flow->written;
	ssize_t n;

	length = length < sizeof(block) ? length : sizeof(block);
	for (size_t i = 0; i < length; i++)
		block[i] = shared_byte(flow, flow->written + i);
	n = length ? stream_write(flow->from, block, length) : -EAGAIN;
	assert_true(n > 0 || n == -EAGAIN);
	flow->written += n > 0 ? (size_t)n : 0;
	n = stream_read(flow->to, block, sizeof(block));
	assert_true(n > 0 || n == -EAGAIN);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(block[i], shared_byte(flow, flow->got++));
}

/* All sessions gather frames in the same memory: what a socket takes in part is its session's own, and
 * goes on unharmed when others have written meanwhile. */
static void many_write_in_part(void **state)
{
	static const char post[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct pair *pairs[2] = {*state};
	struct flow flows[4];
	void *second;
	size_t left = 4, parts = 0;
	ssize_t n;

	assert_int_equal(setup(&second), 0);
	pairs[1] = second;
	for (size_t i = 0; i < 2; i++) {
		struct pair *p = pairs[i];
		struct stream *client = ask(p, post, false);

		put(p->opened[0], "HTTP/1.1 200 OK\r\n\r\n");
		turn(p);
		(void)get(client, &n);
		(void)get(p->opened[0], &n);
		flows[2 * i] = (struct flow){p, client, p->opened[0], (unsigned char)(50 * i + 1), 0, 0};
		flows[2 * i + 1] = (struct flow){p, p->opened[0], client, (unsigned char)(50 * i + 26), 0, 0};
		assert_int_equal(setsockopt(stream_fd(p->client.transport), SOL_SOCKET, SO_SNDBUF,
					    &(int){5000}, sizeof(int)), 0);
		assert_int_equal(setsockopt(stream_fd(p->server.transport), SOL_SOCKET, SO_SNDBUF,
					    &(int){5000}, sizeof(int)), 0);
	}
	for (int round = 0; round < 20000 && left > 0; round++) {
		left = 0;
		for (size_t i = 0; i < 4; i++) {
			move_flow(&flows[i]);
			left += flows[i].got < SHARED_BODY;
		}
		for (size_t i = 0; i < 2; i++) {
			event_base_loop(pairs[i]->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
			parts += pairs[i]->client.h2->pending.length > 0;
			parts += pairs[i]->server.h2->pending.length > 0;
		}
	}
	assert_int_equal(left, 0);
	assert_true(parts > 10);
	for (size_t i = 0; i < 2; i++)
		stream_free(flows[2 * i].from);
	teardown(&second);
}

/* And without a timer for the turns that a session asks for. */
static void many_write_without_timers(void **state)
{
	no_timers = true;
	many_write_in_part(state);
}

/* What is not read stops the writer, after the windows and our own buffer. */
static void backpressure(void **state)
{
	static char block[32 * 1024], buffer[64 * 1024];
	struct pair *p = *state;
	struct stream *client = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	struct stream *other;
	size_t written = 0, got = 0;
	ssize_t n;

	(void)!stream_read(p->opened[0], buffer, sizeof(buffer)); /* the head */
	for (int i = 0; i < 200; i++) {
		n = stream_write(client, block, sizeof(block));
		written += n > 0 ? (size_t)n : 0;
		turn(p);
	}
	assert_true(written >= 256 * 1024 && written <= 512 * 1024);
	/* Others pass all the same. */
	other = ask(p, GET, true);
	assert_int_equal(p->opened_count, 2);
	stream_free(other);
	for (int i = 0; i < 100; i++) {
		n = stream_read(p->opened[0], buffer, sizeof(buffer));
		got += n > 0 ? (size_t)n : 0;
		turn(p);
	}
	assert_int_equal(got, written);
	assert_true(stream_write(client, block, sizeof(block)) > 0);
	stream_free(client);
}

static void resets(void **state)
{
	struct pair *p = *state;
	struct stream *refused = ask(p, GET, true), *broken = ask(p, GET, true);

	h2_set_reset_code(p->opened[0], NGHTTP2_REFUSED_STREAM);
	stream_free(p->opened[0]);
	put(p->opened[1], "HTTP/1.1 200 OK\r\n\r\nsome");
	turn(p);
	h2_set_reset_code(p->opened[1], NGHTTP2_ENHANCE_YOUR_CALM);
	stream_free(p->opened[1]);
	p->opened_count = 0;
	turn(p);
	assert_int_equal(stream_read(refused, (char[1]){0}, 1), -ESTALE);
	assert_int_equal(h2_reset_code(broken), NGHTTP2_ENHANCE_YOUR_CALM);
	stream_free(refused);
	stream_free(broken);
}

/* An answer is whole although nobody reads the rest of the request, which goes on. */
static struct stream *answer_early(struct pair *p)
{
	struct stream *client = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	ssize_t n;

	put(p->opened[0], "HTTP/1.1 403 No\r\n\r\nno");
	stream_shutdown(p->opened[0]);
	stream_free(p->opened[0]);
	p->opened_count = 0;
	assert_int_equal(p->gone, 0); /* it has yet to be sent */
	turn(p);
	assert_string_equal(get(client, &n), "HTTP/1.1 403 \r\ntransfer-encoding: chunked\r\n\r\nno");
	assert_int_equal(n, 0);
	return client;
}

/* What the stream takes until it is reset, or `most`. */
static size_t pour(struct pair *p, struct stream *stream, size_t most)
{
	static char block[16000];
	size_t sent = 0;
	ssize_t n;

	while (sent < most) {
		n = stream_write(stream, block, sizeof(block));
		if (n < 0 && n != -EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		turn(p);
	}
	return sent;
}

static void pulse(struct pair *p)
{
	assert_true(event_pending(&p->server.h2->pulse, EV_TIMEOUT, NULL));
	event_active(&p->server.h2->pulse, EV_TIMEOUT, 0);
	turn(p);
}

/* The reset comes when the client is silent: there are some that drop what they read together with one. */
static void early_answer(void **state)
{
	struct pair *p = *state;
	struct stream *client = answer_early(p);

	assert_int_equal(p->gone, 0);
	for (int i = 0; i < 4; i++) {
		assert_true(pour(p, client, 4 * STREAM_WINDOW) >= 4 * STREAM_WINDOW);
		pulse(p);
		assert_int_equal(p->gone, 0);
	}
	pulse(p);
	assert_int_equal(p->gone, 1);
	assert_int_equal(stream_write(client, "x", 1), -EPIPE);
	assert_false(h2_was_reset(client)); /* its answer is whole */
	stream_free(client);
	assert_true(h2_is_idle(p->server.h2) && h2_is_idle(p->client.h2));
}

/* None is needed where the client ends; and who does not is not listened to for ever. */
static void early_answer_ends(void **state)
{
	struct pair *p = *state;
	struct stream *client = answer_early(p);
	size_t pulses = 0;

	stream_shutdown(client);
	turn(p);
	assert_int_equal(p->gone, 1);
	stream_free(client);
	p->gone = 0;
	client = answer_early(p);
	for (; p->gone == 0 && pulses < 1000; pulses++) {
		(void)pour(p, client, 1);
		pulse(p);
	}
	assert_in_range(pulses, 200, 256);
	stream_free(client);
	p->gone = 0;
	client = answer_early(p);
	p->server.h2->streams->rest = 4 * STREAM_WINDOW;
	assert_in_range(pour(p, client, 8 * STREAM_WINDOW), 3 * STREAM_WINDOW, 6 * STREAM_WINDOW);
	assert_int_equal(p->gone, 1);
	stream_free(client);
}

/* Where nothing would end it later, it ends at once. Its owner is here when the answer has gone. */
static void early_answer_without_timers(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);

	put(p->opened[0], "HTTP/1.1 403 No\r\n\r\nno");
	stream_shutdown(p->opened[0]);
	turn(p);
	no_timers = true;
	stream_free(p->opened[0]);
	p->opened_count = 0;
	turn(p);
	assert_int_equal(p->gone, 1);
	assert_false(p->server.over);
	stream_free(client);
}

/* A hundred at a time: what ends makes room whether it was sent or not, and before its owner lets go. */
static void room(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, GET, true), *open[99];

	for (size_t i = 0; i < 99; i++) {
		assert_true(h2_has_room(p->client.h2));
		open[i] = h2_open(p->client.h2);
	}
	assert_false(h2_has_room(p->client.h2));
	stream_free(open[0]);
	assert_true(h2_has_room(p->client.h2));
	open[0] = h2_open(p->client.h2);
	assert_false(h2_has_room(p->client.h2));
	put(p->opened[0], "HTTP/1.1 204 No Content\r\n\r\n");
	stream_shutdown(p->opened[0]);
	turn(p);
	assert_true(h2_has_room(p->client.h2));
	stream_free(client);
	client = h2_open(p->client.h2);
	assert_false(h2_has_room(p->client.h2));
	stream_free(client);
	for (size_t i = 0; i < 99; i++)
		stream_free(open[i]);
	assert_true(h2_has_room(p->client.h2) && h2_is_idle(p->client.h2));
}

static void draining(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, GET, true), *late = h2_open(p->client.h2);
	ssize_t n;

	h2_drain(p->server.h2);
	turn(p);
	assert_false(h2_has_room(p->client.h2));
	put(late, GET);
	stream_shutdown(late);
	turn(p);
	assert_int_equal(stream_read(late, (char[1]){0}, 1), -ESTALE);
	assert_int_equal(p->opened_count, 1);
	put(p->opened[0], "HTTP/1.1 200 OK\r\n\r\nlast");
	stream_shutdown(p->opened[0]);
	turn(p);
	assert_non_null(strstr(get(client, &n), "last"));
	assert_int_equal(n, 0);
	stream_free(late);
	stream_free(client);
	turn(p);
	assert_true(p->server.over);
}

static void the_carrier_dies(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, GET, true);

	shutdown(stream_fd(p->server.transport), SHUT_RDWR);
	turn(p);
	assert_true(p->client.over && p->server.over);
	assert_int_equal(stream_read(client, (char[1]){0}, 1), -ECONNRESET);
	h2_free(p->client.h2);
	p->client.h2 = NULL;
	assert_int_equal(stream_read(client, (char[1]){0}, 1), -ECONNRESET);
	assert_int_equal(stream_write(client, "x", 1), -EPIPE);
	assert_int_equal(stream_fd(client), -1);
	stream_free(client);
}

static const nghttp2_session *without_memory;

/* nghttp2's own; of `without_memory` as where it has no memory for what it was given. */
ssize_t nghttp2_session_mem_recv(nghttp2_session *session, const uint8_t *data, size_t length)
{
	ssize_t (*real)(nghttp2_session *, const uint8_t *, size_t) =
		(ssize_t(*)(nghttp2_session *, const uint8_t *, size_t))dlsym(
			RTLD_NEXT, "nghttp2_session_mem_recv");

	return session == without_memory ? NGHTTP2_ERR_NOMEM : real(session, data, length);
}

/* The peer has done nothing wrong, and neither has it left. */
static void no_memory(struct pair *p, const struct side *side, bool server)
{
	struct stream *client = ask(p, GET, false), *held = server ? p->opened[0] : client;
	char text[64];
	ssize_t n;

	(void)get(p->opened[0], &n);
	without_memory = side->h2->session;
	put(server ? client : p->opened[0], server ? "x" : "HTTP/1.1 200 OK\r\n\r\n");
	turn(p);
	without_memory = NULL;
	assert_true(side->over);
	assert_int_equal(stream_read(held, text, sizeof(text)), -ENOMEM);
	assert_false(h2_tell_end(held, text, sizeof(text)));
	assert_int_equal(p->malformed, 0);
	stream_free(client);
}

static void no_memory_for_a_response(void **state)
{
	struct pair *p = *state;

	no_memory(p, &p->client, false);
}

static void no_memory_for_a_request(void **state)
{
	struct pair *p = *state;

	no_memory(p, &p->server, true);
}

/* A request that waits for room in the socket, and whose owner leaves before it could be sent. */
static void given_up_before_it_was_sent(void **state)
{
	static char block[32 * 1024], buffer[64 * 1024];
	struct pair *p = *state;
	struct stream *client = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	struct stream *late;

	p->server.over = true; /* it reads no more */
	for (int i = 0; i < 50; i++) {
		(void)!stream_write(client, block, sizeof(block));
		turn(p);
	}
	late = ask(p, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
	stream_free(late);
	p->server.over = false;
	run_side(&p->server);
	for (int i = 0; i < 50; i++) {
		(void)!stream_read(p->opened[0], buffer, sizeof(buffer));
		turn(p);
	}
	assert_int_equal(p->opened_count, 1);
	stream_free(client);
	turn(p);
	assert_true(h2_is_idle(p->client.h2));
}

/* An answer's head without a text in between comes as it would by way of one. */
static void head_as_fields(void **state)
{
	static const char text[] = "HTTP/1.1 200 Fine\r\nX-One: a b\r\nServer: s\r\n\r\n";
	struct policy_header lines[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = lines};
	struct pair *p = *state;
	struct stream *whole = ask(p, GET, true), *bare = ask(p, GET, true);
	struct stream *open = ask(p, GET, false);
	ssize_t n;

	assert_int_equal(http1_response_parse(span_from(text), NULL, &head), 0);
	put(p->opened[0], "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
	head.length = 2;
	assert_int_equal(h2_respond(p->opened[0], &head, true, false), 0);
	put(p->opened[0], "hi");
	stream_finish(p->opened[0], SPAN("X-Sum: 1\r\n"));
	head.length = 0;
	assert_int_equal(h2_respond(p->opened[1], &head, true, true), 0);
	stream_shutdown(p->opened[1]);
	head.length = INT64_MAX;
	assert_int_equal(h2_respond(p->opened[2], &head, true, false), 0);
	turn(p);
	assert_string_equal(get(whole, &n), "HTTP/1.1 103 \r\nlink: a\r\n\r\nHTTP/1.1 200 \r\n"
					    "x-one: a b\r\nserver: s\r\ncontent-length: 2\r\n\r\nhi");
	assert_int_equal(n, 0);
	assert_true(span_equal(stream_trailers(whole), SPAN("x-sum: 1\r\n")));
	assert_string_equal(get(bare, &n), "HTTP/1.1 200 \r\nx-one: a b\r\nserver: s\r\n"
					   "content-length: 0\r\n\r\n");
	assert_int_equal(n, 0);
	assert_string_equal(get(open, &n), "HTTP/1.1 200 \r\nx-one: a b\r\nserver: s\r\n"
					   "content-length: 9223372036854775807\r\n\r\n");
	assert_int_equal(n, -EAGAIN);
	/* No second one, none from a client, and none where nobody is any more. */
	assert_int_equal(h2_respond(p->opened[2], &head, false, false), -EPROTO);
	assert_int_equal(h2_respond(open, &head, false, false), -EPROTO);
	stream_free(open);
	turn(p);
	assert_int_equal(h2_respond(p->opened[2], &head, false, false), -EPIPE);
	stream_free(whole);
	stream_free(bare);
}

/* A head of any size that HTTP/1 takes comes through, however many fields it is made of: nghttp2 counts twelve
 * bytes more for each, and drops without a word what is above its own limit. */
static void heads_of_any_size(void **state)
{
	static const size_t counts[] = {1, HTTP1_FIELDS_MAX};
	static char text[HTTP1_HEAD_MAX], room[2 * HTTP1_HEAD_MAX];
	struct policy_header lines[HTTP1_FIELDS_MAX];
	struct pair *p = *state;
	size_t length;

	memset(text, 'v', sizeof(text));
	for (size_t i = 0; i < 2; i++) {
		struct http1_head head = {.fields = lines, .status = 200, .count = counts[i]};
		size_t each = (HTTP1_HEAD_MAX - 64) / counts[i] - 5;
		struct stream *client = ask(p, GET, true);
		ssize_t n;

		for (size_t k = 0; k < counts[i]; k++)
			lines[k] = (struct policy_header){SPAN("x"), {text, each}};
		assert_int_equal(h2_respond(p->opened[i], &head, false, true), 0);
		stream_shutdown(p->opened[i]);
		turn(p);
		for (length = 0; (n = stream_read(client, room + length, sizeof(room) - length)) > 0;)
			length += (size_t)n;
		assert_int_equal(n, 0);
		assert_true(length >= counts[i] * (each + 5));
		stream_free(client);
	}
}

/* Freed unfinished it is reset; behind what was written, if so told. */
static void head_and_reset(void **state)
{
	struct http1_head head = {.status = 200};
	struct pair *p = *state;
	struct stream *at_once = ask(p, GET, true), *behind = ask(p, GET, true);
	ssize_t n;

	for (int i = 0; i < 2; i++)
		assert_int_equal(h2_respond(p->opened[i], &head, false, false), 0);
	put(p->opened[1], "some");
	h2_set_reset_behind(p->opened[1], NGHTTP2_ENHANCE_YOUR_CALM);
	stream_free(p->opened[0]);
	stream_free(p->opened[1]);
	p->opened_count = 0;
	turn(p);
	(void)get(at_once, &n);
	assert_int_equal(n, -ECONNRESET);
	assert_int_equal(h2_reset_code(at_once), NGHTTP2_INTERNAL_ERROR);
	assert_non_null(strstr(get(behind, &n), "\r\n\r\nsome"));
	assert_int_equal(h2_reset_code(behind), NGHTTP2_ENHANCE_YOUR_CALM);
	stream_free(at_once);
	stream_free(behind);
	assert_int_equal(p->gone, 2);
}

static void secrets_are_not_indexed(void **state)
{
	struct h2_fields fields;
	char accept[WEBSOCKET_ACCEPT_SIZE];

	(void)state;
	assert_true(h2_fields_request(SPAN("GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\nX-Api-Key: c\r\n"
					   "Authorization: d\r\nCookie: e\r\n\r\n"), false, &fields,
				      accept));
	assert_int_equal(fields.count, 8);
	for (size_t i = 0; i < fields.count; i++) {
		bool secret = i == 3 || i > 4; /* the path may hold one, too */

		assert_int_equal(fields.nv[i].flags,
				 secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
	}
}

/* As much as the peer takes; then as much as has come, unless `stall`. */
static void pass(struct pair *p, struct stream *reader, int turns, bool stall)
{
	static char block[16384];

	for (int i = 0; i < turns; i++) {
		while (stream_write(p->opened[0], block, sizeof(block)) > 0)
			continue;
		turn(p);
		while (!stall && stream_read(reader, block, sizeof(block)) > 0)
			continue;
		turn(p);
	}
}

static void windows_follow_their_readers(void **state)
{
	struct pair *p = *state;
	struct stream *client = ask(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
	const struct h2_stream *s = stream_object(client, &h2_stream_ops);
	struct bytes others = {NULL, 0, 0, 0};
	char head[512];

	put(p->opened[0], "HTTP/1.1 200 \r\n\r\n");
	turn(p);
	assert_true(stream_read(client, head, sizeof(head)) > 0);
	pass(p, client, 4, true);
	assert_int_equal(s->window, STREAM_WINDOW);
	pass(p, client, 400, false);
	assert_int_equal(s->window, WINDOW_MAX);
	/* A reader that stalls again gets no more than that; and when memory is short, less. */
	pass(p, client, 10, true);
	assert_int_equal(s->window, WINDOW_MAX);
	assert_non_null(bytes_reserve(&others, 16 << 20));
	bytes_set_limit(bytes_held() + 1, NULL, NULL);
	assert_true(bytes_pressed());
	pass(p, client, 4, false);
	bytes_set_limit(0, NULL, NULL);
	bytes_free(&others);
	assert_int_equal(s->window, WINDOW_MIN);
	stream_free(client);
	turn(p);
}

/* Uploads that their client gives up, unread by whom they were for: what they took of the connection's
 * window is given back, or the connection would take no more bodies for as long as it lives. */
static void uploads_given_up(void **state)
{
	static const char block[16 * 1024];
	struct pair *p = *state;
	struct stream *client;
	size_t written = 0;

	for (int round = 0; round < 12; round++) {
		client = ask(p, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
		for (written = 0; written < 8 * sizeof(block); written += sizeof(block)) {
			if (stream_write(client, block, sizeof(block)) != sizeof(block))
				break;
			turn(p);
		}
		assert_int_equal(written, 8 * sizeof(block));
		assert_int_equal(p->opened_count, 1);
		stream_free(client);
		turn(p);
		stream_free(p->opened[--p->opened_count]);
		turn(p);
	}
	assert_int_equal(nghttp2_session_get_effective_recv_data_length(p->server.h2->session), 0);
}

/* Everything that was counted is counted off again, nghttp2's memory included. */
static void nothing_is_left_in_the_count(void **state)
{
	size_t before = bytes_held();
	struct stream *client;
	void *inner = NULL;

	(void)state;
	assert_int_equal(setup(&inner), 0);
	client = ask(inner, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", false);
	pass(inner, client, 2, true);
	assert_true(bytes_held() > before);
	assert_int_equal(teardown(&inner), 0);
	stream_free(client); /* outlives its session: h2_free() */
	assert_int_equal(bytes_held(), before);
}

/* In steps, in seconds, below which nothing is given up; `reader` takes some in each. */
static void wait_for_long(struct pair *p, long step, struct stream *reader)
{
	static char buffer[32 * 1024];

	for (int i = 0; i < 27; i++) {
		later_ms += step * 1000;
		turn(p);
		if (reader)
			(void)!stream_read(reader, buffer, sizeof(buffer));
		turn(p);
	}
}

/* A body, as much as goes, whose writer is through with it and whose peer has not read it. */
static void leave_behind(struct pair *p, struct stream *writer)
{
	static const char block[16 * 1024];

	for (int i = 0; i < 40; i++) {
		(void)!stream_write(writer, block, sizeof(block));
		turn(p);
	}
	stream_shutdown(writer);
	stream_free(writer);
	turn(p);
}

#define POST "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

/* Nothing but the end of all would end it. */
static void nothing_lingers_without_timers(void **state)
{
	struct pair *p = *state;
	struct stream *never = ask(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);

	put(p->opened[0], "HTTP/1.1 200 \r\n\r\n");
	p->opened_count = 0;
	no_timers = true;
	leave_behind(p, p->opened[0]);
	assert_true(p->server.over);
	assert_int_equal(p->gone, 1);
	stream_free(never);
}

/* What nobody takes is given up, while the connection is busy with others; what is taken slowly is
 * not. From either side. */
static void nobody_takes_it(void **state)
{
	struct pair *p = *state;
	struct stream *slow = ask(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
	struct stream *never = ask(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
	struct stream *upload = ask(p, POST, false);
	ssize_t n;

	assert_int_equal(p->opened_count, 3);
	for (int i = 0; i < 2; i++) {
		put(p->opened[i], "HTTP/1.1 200 \r\n\r\n");
		leave_behind(p, p->opened[i]);
	}
	p->opened[0] = p->opened[2];
	p->opened_count = 1;
	leave_behind(p, upload);
	assert_int_equal(p->gone, 0);
	wait_for_long(p, 60, NULL);
	assert_true(h2_was_reset(p->opened[0]));
	assert_false(h2_was_reset(never));
	wait_for_long(p, 3600, slow);
	assert_true(h2_was_reset(never));
	assert_int_equal(h2_reset_code(never), NGHTTP2_CANCEL);
	assert_false(h2_was_reset(slow));
	stream_free(never);
	stream_free(slow);
	turn(p);
	/* And the connection is as good as new. */
	put(upload = ask(p, POST, false), "x");
	turn(p);
	assert_int_equal(p->opened_count, 2);
	(void)get(p->opened[1], &n);
	assert_int_equal(n, -EAGAIN);
	stream_free(upload);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(windows_follow_their_readers), TEST(nothing_is_left_in_the_count),
		TEST(uploads_given_up),
		TEST(nobody_takes_it), TEST(many_write_in_part),
		TEST(many_write_without_timers), TEST(nothing_lingers_without_timers),
		TEST(there_and_back), TEST(unknown_length), TEST(backpressure), TEST(resets),
		TEST(head_as_fields), TEST(heads_of_any_size), TEST(head_and_reset),
		TEST(early_answer),   TEST(draining),	    TEST(the_carrier_dies),
		TEST(no_memory_for_a_response), TEST(no_memory_for_a_request),
		TEST(early_answer_ends), TEST(early_answer_without_timers),
		TEST(room),
		TEST(given_up_before_it_was_sent),
		cmocka_unit_test(secrets_are_not_indexed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
