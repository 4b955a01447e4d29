// SPDX-License-Identifier: BSD-2-Clause
/* When all buffers together hold what they may. Before that, windows and queues have become small
 * (h2_stream.c); now nothing more is read (stream_must_wait()), not even that a client has left, so
 * that room has to be made here or there will never be any. It is made by ending what holds most: a
 * reader that stalls costs itself its answer, and not its neighbours theirs; and then who holds most
 * in many small parts. Nothing is refused for being new: who came first would keep all others out
 * for as long as it likes. */
#include "connection_private.h"
#include "feed.h"

#define STALLED_MS 2000 /* who moves nothing for so long goes first */
/* What a reader that stalls makes us hold, at the least: WINDOW_MIN in h2_private.h. A request that
 * waits for its answer holds its head alone, and is not ended for somebody else's heap of them. */
#define LEAST ((size_t)32 * 1024)
#define SESSION_LEAST (4 * LEAST) /* above what nghttp2 holds for a busy one */
#define ROUNDS_MAX 32

static bool is_full(void)
{
	return bytes_held() > bytes_limit() - bytes_part() / 8;
}

/* Of one request each. */
static size_t largest(const struct proxy *proxy, uint64_t before_ms)
{
	size_t most = 0, held;

	for (const struct connection *c = proxy->connections; c; c = c->next) {
		held = c->protocol ? c->protocol->held(c->session, before_ms) : 0;
		most = held > most ? held : most;
	}
	return most;
}

static void end_largest(struct proxy *proxy, size_t at_least, uint64_t before_ms)
{
	struct connection *next;

	for (struct connection *c = proxy->connections; c; c = next) {
		next = c->next;
		if (!is_full())
			return;
		if (!c->protocol || c->protocol->held(c->session, before_ms) < at_least)
			continue;
		c->inside++;
		c->protocol->shed(c->session, at_least, before_ms);
		connection_leave(c);
	}
}

/* Each round ends what holds at least half as much as the largest: a few walks, however many
 * connections there are. */
static void shed(struct proxy *proxy, uint64_t before_ms)
{
	for (int round = 0; round < ROUNDS_MAX && is_full(); round++) {
		size_t most = largest(proxy, before_ms);

		if (most < LEAST)
			return;
		end_largest(proxy, most / 2 > LEAST ? most / 2 : LEAST, before_ms);
	}
}

/* A host that takes nothing, and what clients wanted to send it and left behind. */
static void shed_upstream(struct proxy *proxy)
{
	for (int round = 0; round < ROUNDS_MAX && is_full(); round++) {
		size_t most = upstream_stuck(proxy->upstream);

		if (most < SESSION_LEAST)
			return;
		upstream_shed(proxy->upstream, most / 2 > SESSION_LEAST ? most / 2 : SESSION_LEAST);
	}
}

static size_t total_of(const struct connection *c)
{
	return c->protocol ? c->protocol->total(c->session) : 0;
}

static void end_heaviest(struct proxy *proxy, size_t at_least)
{
	struct connection *next;

	for (struct connection *c = proxy->connections; c && is_full(); c = next) {
		next = c->next;
		if (total_of(c) < at_least)
			continue;
		c->inside++;
		connection_shed(c);
		connection_abort_client(c);
		connection_close(c, EGRESS_LIMIT, CONNECTION_SHED);
		connection_leave(c);
	}
}

/* Nothing is large, and all is full: whole connections, and without a least. Closer to the heaviest
 * than above, since those who are ended here need not have stalled. */
static void shed_connections(struct proxy *proxy)
{
	for (int round = 0; round < ROUNDS_MAX && is_full(); round++) {
		size_t most = 0, total;

		for (const struct connection *c = proxy->connections; c; c = c->next) {
			total = total_of(c);
			most = total > most ? total : most;
		}
		if (most == 0)
			return;
		end_heaviest(proxy, most - most / 8);
	}
}

static void on_full(evutil_socket_t fd, short what, void *context)
{
	struct proxy *proxy = context;
	uint64_t now = connection_now_ms();

	(void)fd, (void)what;
	shed(proxy, now - STALLED_MS);
	shed_upstream(proxy);
	shed(proxy, now);
	if (bytes_held() >= bytes_limit())
		shed_connections(proxy);
}

/* From within somebody's reading: nobody can be ended here. */
static void full(void *context)
{
	struct proxy *proxy = context;

	event_active(&proxy->shared->full, EV_TIMEOUT, 0);
}

void connection_pressure(struct proxy *proxy)
{
	size_t limit = proxy->config->buffered_mib << 20;

	if (!proxy->shared)
		return;
	if (!event_initialized(&proxy->shared->full))
		evtimer_assign(&proxy->shared->full, proxy->base, on_full, proxy);
	bytes_set_limit(limit, full, proxy);
	if (proxy->feed)
		feed_buffers_limit(proxy->feed, limit);
}

void connection_pressure_end(struct proxy *proxy)
{
	if (proxy->shared && event_initialized(&proxy->shared->full))
		event_del(&proxy->shared->full);
	bytes_set_limit(0, NULL, NULL);
}

void connection_shed(struct connection *c)
{
	if (c->proxy->feed)
		feed_buffers_ended(c->proxy->feed);
}
