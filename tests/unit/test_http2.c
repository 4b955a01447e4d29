// SPDX-License-Identifier: BSD-2-Clause
/* HTTP/2 with a client that is h2.c's other half, over exchanges and a connection of ours that do
 * nothing but note what becomes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "h2.h"
#include "http1.h"
#include "http2.h"

static uint64_t now_ms;
static struct {
	enum egress_reason reason;
	unsigned count;
} ended;

/* ---- what stands in for http1.c and connection.c --------------------------------------------- */

struct http1 *http1_new_framed(struct connection *connection, struct stream *stream,
			       stream_ready_fn wake, void *context)
{
	struct http1 *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	(void)wake, (void)context;
	h->connection = connection;
	h->client = stream;
	return h;
}

enum protocol_next http1_run(void *session)
{
	struct http1 *h = session;
	char buffer[4096];

	h->moved_ms = now_ms;
	while (stream_read(h->client, buffer, sizeof(buffer)) > 0)
		continue;
	return PROTOCOL_WAIT;
}

void http1_end(void *session, enum egress_reason reason, const char *detail)
{
	(void)detail;
	ended.reason = reason;
	ended.count++;
	free(session);
}

bool http1_allowed(void *session)
{
	return session != NULL;
}

size_t http1_held(const void *session, uint64_t before_ms)
{
	(void)session, (void)before_ms;
	return 0;
}

void connection_deadline(struct connection *connection, unsigned seconds)
{
	(void)connection, (void)seconds;
}

void connection_wake(void *connection)
{
	struct connection *c = connection;

	if (c->session)
		(void)c->protocol->run(c->session);
}

void connection_log(const struct connection *connection, struct access_record *record)
{
	(void)connection, (void)record;
	fail();
}

enum protocol_next connection_fault(struct connection *connection, enum egress_reason reason,
				    const char *detail)
{
	(void)connection, (void)reason, (void)detail;
	return PROTOCOL_CLOSE;
}

void connection_shed(struct connection *connection)
{
	(void)connection;
	fail();
}

void connection_abort_client(struct connection *connection)
{
	(void)connection;
	fail();
}

void connection_close(struct connection *connection, enum egress_reason reason, const char *detail)
{
	(void)connection, (void)reason, (void)detail;
	fail();
}

/* ---- the tests ------------------------------------------------------------------------------- */

struct pair {
	struct event_base *base;
	struct proxy proxy;
	struct connection connection;
	struct stream *transport;
	struct h2 *client;
};

static void run_client(void *context)
{
	struct pair *p = context;

	if (p->client)
		(void)!h2_run(p->client);
}

static void turn(struct pair *p)
{
	for (int i = 0; i < 30; i++)
		event_base_loop(p->base, EVLOOP_NONBLOCK);
}

static void open_pair(struct pair *p)
{
	static const struct h2_owner owner = {.kick = run_client};
	struct connection *c = &p->connection;
	int fds[2];

	p->base = p->proxy.base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	c->proxy = &p->proxy;
	c->client = stream_new(p->base, fds[0]);
	c->protocol = &http2_protocol;
	c->session = c->protocol->start(c);
	p->transport = stream_new(p->base, fds[1]);
	p->client = h2_new(p->base, p->transport, false, &owner, p);
	assert_true(c->session && p->client);
	stream_set_ready(c->client, connection_wake, c);
	stream_set_ready(p->transport, run_client, p);
	run_client(p);
	turn(p);
}

static void close_pair(struct pair *p)
{
	p->connection.protocol->end(p->connection.session, EGRESS_ALLOWED, NULL);
	p->connection.session = NULL;
	h2_free(p->client);
	stream_free(p->transport);
	stream_free(p->connection.client);
	event_base_free(p->base);
}

static void say(struct pair *p, struct stream *stream, const char *text)
{
	assert_int_equal(stream_write(stream, text, strlen(text)), strlen(text));
	turn(p);
}

/* One stream is busy for days, the other one silent. */
static void silent_beside_others(void **state)
{
	static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct pair p = {0};
	struct stream *silent, *busy;

	(void)state;
	now_ms = 1000;
	open_pair(&p);
	silent = h2_open(p.client);
	busy = h2_open(p.client);
	say(&p, silent, head);
	say(&p, busy, head);
	for (int hour = 0; hour < 24; hour++) {
		now_ms += 3600 * 1000;
		say(&p, busy, "x");
	}
	assert_int_equal(ended.count, 0);
	for (int hour = 0; hour < 3; hour++) {
		now_ms += 3600 * 1000;
		say(&p, busy, "x");
	}
	assert_int_equal(ended.count, 1);
	assert_int_equal(ended.reason, EGRESS_UPSTREAM_TIMEOUT);
	assert_true(h2_was_reset(silent));
	assert_false(h2_was_reset(busy));
	stream_free(silent);
	stream_free(busy);
	turn(&p);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silent_beside_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
