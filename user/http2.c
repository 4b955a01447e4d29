// SPDX-License-Identifier: BSD-2-Clause
#include "http2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "h2.h"
#include "http1.h"

/* Of all connections: each stream may hold as much memory as a connection of HTTP/1, and of those
 * there may be no more. */
#define REQUEST_LIMIT 16384
#define SWEEP_MS (3600 * UINT64_C(1000)) /* between looks for streams that are silent for too long */

/* One request: its stream, and the exchange that moves it. */
struct request {
	struct http2 *http2;
	struct request *next, **at;
	struct stream *stream;
	struct http1 *http1;
};

struct http2 {
	struct connection *connection;
	struct h2 *session;
	struct request *requests;
	uint64_t sweep_ms; /* when the next look is due */
};

static void end_request(struct request *r, enum egress_reason reason, const char *detail)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	http1_end(r->http1, reason, detail);
	stream_free(r->stream);
	bytes_block_free(r);
}

/* The connection's deadline is put off by each stream that moves: one that does not, beside others that
 * do, is found here. */
static void sweep(struct http2 *h, uint64_t now_ms)
{
	struct request *next;

	h->sweep_ms = now_ms + SWEEP_MS;
	for (struct request *r = h->requests; r; r = next) {
		next = r->next;
		if (r->http1->moved_ms + EXCHANGE_SECONDS * UINT64_C(1000) <= now_ms)
			end_request(r, EGRESS_UPSTREAM_TIMEOUT, "silent for too long");
	}
}

/* The stream has something for its exchange. */
static void on_ready(void *context)
{
	struct request *r = context;
	struct http2 *h = r->http2;
	uint64_t now_ms;
	bool over;

	/* Not for the exchange to find out: one whose upstream takes nothing reads nothing, either,
	 * and would outlive its client by as long as that lasts (RFC 9113, 5.4.2). */
	if (h2_was_reset(r->stream)) {
		end_request(r, EGRESS_ALLOWED, "client closed");
	} else {
		over = http1_run(r->http1) == PROTOCOL_CLOSE;
		now_ms = r->http1->moved_ms; /* just noted: the clock is not asked twice */
		if (over)
			end_request(r, r->http1->reason,
				    r->http1->detail[0] ? r->http1->detail : NULL);
		if (now_ms >= h->sweep_ms)
			sweep(h, now_ms);
	}
	connection_deadline(h->connection, h->requests ? EXCHANGE_SECONDS : IDLE_SECONDS);
}

static void on_kick(void *context)
{
	connection_wake(((struct http2 *)context)->connection);
}

/* The upstream has. The session runs at the end of this turn of the loop, when the other upstreams
 * have had their say: what all of them answered is one record and one send(2). */
static void on_wake(void *context)
{
	h2_mark(((struct request *)context)->stream);
}

static void on_opened(void *context, struct stream *stream)
{
	struct http2 *h = context;
	struct proxy *proxy = h->connection->proxy;
	struct request *r = NULL;

	/* Refused ones are counted, too: on_gone() is told of each that was opened. */
	if (++proxy->request_count <= REQUEST_LIMIT)
		r = bytes_block_zeroed(sizeof(*r));
	if (r)
		r->http1 = http1_new_framed(h->connection, stream, on_wake, r);
	if (!r || !r->http1) {
		/* RFC 9113, 8.7: so the client knows that it may try again, whatever the method. */
		h2_set_reset_code(stream, NGHTTP2_REFUSED_STREAM);
		stream_free(stream);
		bytes_block_free(r);
		return;
	}
	stream_set_ready(stream, on_ready, r);
	r->http2 = h;
	r->stream = stream;
	r->next = h->requests;
	if (r->next)
		r->next->at = &r->next;
	r->at = &h->requests;
	h->requests = r;
	on_ready(r);
}

/* Only now: an answer that the client does not read is held when its exchange is long over. */
static void on_gone(void *context)
{
	((struct http2 *)context)->connection->proxy->request_count--;
}

static void on_malformed(void *context)
{
	struct http2 *h = context;
	struct access_record record = {
		.reason = EGRESS_BAD_REQUEST,
		.protocol = "h2",
		.detail = "malformed HTTP/2 request",
	};

	connection_log(h->connection, &record);
}

/* ---- the protocol --------------------------------------------------------------------------- */

static void *http2_start(struct connection *c)
{
	static const struct h2_owner owner = {
		.kick = on_kick,
		.opened = on_opened,
		.gone = on_gone,
		.malformed = on_malformed,
	};
	struct http2 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->connection = c;
	h->session = h2_new(c->proxy->base, c->client, true, &owner, h);
	if (!h->session) {
		free(h);
		return NULL;
	}
	connection_deadline(c, IDLE_SECONDS);
	return h;
}

static enum protocol_next http2_run(void *session)
{
	struct http2 *h = session;

	if (h2_run(h->session))
		return PROTOCOL_WAIT;
	return connection_fault(h->connection, EGRESS_ALLOWED, "client closed");
}

/* What a new policy does not allow is reset; the others go on. */
static bool http2_allowed(void *session)
{
	struct http2 *h = session;
	struct request *next;

	for (struct request *r = h->requests; r; r = next) {
		next = r->next;
		if (!http1_allowed(r->http1))
			end_request(r, EGRESS_ROUTE_REMOVED, NULL);
	}
	return true;
}

static bool http2_idle(void *session)
{
	const struct http2 *h = session;

	return !h->requests && h2_is_idle(h->session);
}

static void http2_drain(void *session)
{
	h2_drain(((struct http2 *)session)->session);
}

/* What nghttp2 holds for a connection that has nothing to send. */
#define SESSION_MEMORY (48 * 1024)

static size_t session_held(const struct http2 *h)
{
	size_t held = h2_held(h->session);

	return held > SESSION_MEMORY ? held - SESSION_MEMORY : 0;
}

static size_t request_held(const struct request *r, uint64_t before_ms)
{
	return r->http1->moved_ms > before_ms ? 0 : http1_held(r->http1, before_ms) +
						    stream_held(r->stream);
}

static size_t http2_held(const void *session, uint64_t before_ms)
{
	const struct http2 *h = session;
	size_t most = session_held(h), held;

	for (const struct request *r = h->requests; r; r = r->next) {
		held = request_held(r, before_ms);
		most = held > most ? held : most;
	}
	return most;
}

static size_t http2_total(const void *session)
{
	const struct http2 *h = session;
	size_t total = h2_held(h->session);

	for (const struct request *r = h->requests; r; r = r->next)
		total += request_held(r, UINT64_MAX);
	return total;
}

/* One request after the other; the whole connection only when what its client does not read of
 * everything else is the most there is. */
static void http2_shed(void *session, size_t at_least, uint64_t before_ms)
{
	struct http2 *h = session;
	struct connection *c = h->connection;
	struct request *next;

	for (struct request *r = h->requests; r; r = next) {
		next = r->next;
		if (request_held(r, before_ms) < at_least)
			continue;
		connection_shed(c);
		h2_set_reset_code(r->stream, NGHTTP2_ENHANCE_YOUR_CALM);
		end_request(r, EGRESS_LIMIT, CONNECTION_SHED);
	}
	if (!h->requests)
		connection_deadline(c, IDLE_SECONDS);
	for (size_t count = h2_shed(h->session, at_least / 4); count > 0; count--)
		connection_shed(c);
	if (session_held(h) >= at_least) {
		connection_shed(c);
		connection_abort_client(c);
		connection_close(c, EGRESS_LIMIT, CONNECTION_SHED);
	}
}

static void http2_end(void *session, enum egress_reason reason, const char *detail)
{
	struct http2 *h = session;
	struct request *next;

	for (struct request *r = h->requests; r; r = next) {
		next = r->next;
		end_request(r, reason, detail);
	}
	h2_free(h->session);
	free(h);
}

const struct protocol http2_protocol = {
	.name = "h2",
	.start = http2_start,
	.run = http2_run,
	.allowed = http2_allowed,
	.idle = http2_idle,
	.held = http2_held,
	.shed = http2_shed,
	.total = http2_total,
	.drain = http2_drain,
	.end = http2_end,
};
