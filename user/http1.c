// SPDX-License-Identifier: BSD-2-Clause
#include "http1.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2.h"
#include "http1_upgrade.h"

/* What a client sends that was answered is thrown away for so long, or until it is silent; there are
 * clients that read nothing before all is sent. As on HTTP/2: h2_rest.c. */
#define DRAIN_MS (240 * UINT64_C(1000))
#define STEP_BUDGET 64 /* steps before other connections have their turn */

void http1_deadline(struct http1 *h, unsigned seconds)
{
	if (!h->framed)
		connection_deadline(h->connection, seconds);
}

ssize_t http1_read(struct connection *c, struct stream *from, struct bytes *to)
{
	char *buffer = http1_payload(&c->proxy->shared->scratch);
	ssize_t n;

	/* At the limit of all buffers nothing is read from anywhere: peers' windows fill instead
	 * of our memory. */
	if (stream_must_wait(from))
		return -EAGAIN;
	n = stream_read(from, buffer, HTTP1_PAYLOAD_MAX);
	if (n > 0 && !bytes_append(to, buffer, (size_t)n))
		return -ENOMEM;
	return n;
}

/* ---- ends ----------------------------------------------------------------------------------- */

enum http1_step http1_fault(struct http1 *h, enum egress_reason reason, const char *detail)
{
	h->reason = reason;
	snprintf(h->detail, sizeof(h->detail), "%s", detail ? detail : "");
	return HTTP1_STEP_CLOSE;
}

static enum http1_step linger(struct http1 *h)
{
	stream_shutdown(h->client);
	/* A stream ends by a frame, which no RST of the socket overtakes. */
	if (h->framed)
		return http1_fault(h, EGRESS_ALLOWED, NULL);
	http1_deadline(h, LINGER_SECONDS);
	h->drains_until_ms = h->moved_ms + DRAIN_MS;
	bytes_free(&h->in);
	h->state = HTTP1_LINGERING;
	return HTTP1_STEP_NEXT;
}

enum http1_step http1_finish(struct http1 *h, bool close)
{
	http1_exchange_log(h->exchange, h->exchange->reason, NULL);
	http1_exchange_free(h->exchange);
	h->exchange = NULL;
	if (close || h->framed || h->connection->proxy->draining)
		return linger(h);
	h->state = HTTP1_AWAIT_HEAD;
	http1_deadline(h, IDLE_SECONDS);
	return HTTP1_STEP_NEXT;
}

static enum http1_step lingering(struct http1 *h)
{
	struct connection *c = h->connection;
	ssize_t n = stream_read(h->client, http1_payload(&c->proxy->shared->scratch),
				HTTP1_PAYLOAD_MAX);

	if (n == -EAGAIN)
		return HTTP1_STEP_WAIT;
	if (n <= 0 || h->moved_ms > h->drains_until_ms)
		return http1_fault(h, EGRESS_ALLOWED, NULL);
	http1_deadline(h, LINGER_SECONDS);
	return HTTP1_STEP_NEXT;
}

/* ---- answers of our own --------------------------------------------------------------------- */

static bool is_head_request(const struct http1_exchange *x)
{
	return span_equal(x->method, SPAN("HEAD"));
}

enum http1_step http1_refuse(struct http1 *h, enum egress_reason reason, unsigned status,
			     const char *detail, const char *hint, bool close)
{
	struct http1_exchange *x = h->exchange;
	const struct proxy *proxy = h->connection->proxy;
	bool hints = proxy->config->hints;
	char id[FEED_ID_SIZE];
	struct http1_refusal refusal = {
		.reason = reason,
		/* Told so, a client that put two hosts on one connection opens another. */
		.status = h->framed && reason == EGRESS_NAME_MISMATCH ? 421 : status,
		.host = x->asked.host,
		.method = x->method,
		.path = http1_path(x->asked.target),
		.detail = detail && detail[0] ? detail : NULL,
		.hint = hints && hint && hint[0] ? hint : NULL,
		.id = id,
		.head = is_head_request(x),
		/* A body that nobody will read makes the next request impossible to find. */
		.close = close || !x->client_keeps || !x->up.complete,
	};

	/* Now, though the record is written when the exchange ends: the answer names it. */
	x->id = access_log_take_id(proxy->log);
	access_log_id_text(proxy->log, x->id, id);
	x->reason = reason;
	x->status = http1_refusal_status(&refusal);
	if (detail && detail != x->detail)
		snprintf(x->detail, sizeof(x->detail), "%s", detail);
	h->close_after = refusal.close;
	/* What is left of an interim response goes first. */
	h->answer = x->down.pending;
	x->down.pending = (struct bytes){NULL, 0, 0, 0};
	if (!http1_refusal_compose(&refusal, &h->answer))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->state = HTTP1_ANSWERING;
	return HTTP1_STEP_NEXT;
}

static enum http1_step answering(struct http1 *h)
{
	switch (http1_flush(&h->answer, h->client)) {
	case HTTP1_FLOW_WAIT:
		return HTTP1_STEP_WAIT;
	case HTTP1_FLOW_DONE:
		break;
	default:
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	}
	return h->connect_after ? HTTP1_STEP_CONNECT : http1_finish(h, h->close_after);
}

/* ---- a request's head ----------------------------------------------------------------------- */

static enum http1_step grant_connect(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	struct connection *c = h->connection;
	enum policy_mode mode = POLICY_TCP;

	/* Sent ahead of the answer, they would be the tunnel's if we grant it and a request to
	 * us if we do not: what they are must not hang on our verdict. */
	if (h->in.length > 0)
		return http1_refuse(h, EGRESS_BAD_REQUEST, 0, NULL,
				    "wait for the answer to CONNECT before sending", true);
	/* http1_judge() has allowed it already; here it is asked for the mode. */
	if (!x->asked.by_address &&
	    connection_judge(c->proxy, x->asked.host, x->asked.port, &mode) != EGRESS_ALLOWED)
		return http1_refuse(h, EGRESS_INTERNAL, 0, NULL, NULL, true);
	memcpy(c->host, x->asked.host, sizeof(c->host));
	c->port = x->asked.port;
	c->mode = mode;
	c->by_address = x->asked.by_address;
	if (c->by_address)
		c->identity.address = x->asked.address;
	/* A tunnel can still fail to be dialled; where we are the other end, nothing can. */
	c->connecting = mode == POLICY_TCP;
	if (!c->connecting && !bytes_append_text(&h->answer, HTTP1_CONNECTED))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->connect_after = true;
	h->state = HTTP1_ANSWERING;
	return HTTP1_STEP_NEXT;
}

static enum http1_step forward(struct http1 *h, const struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;

	x->upgrade = x->needs_http1 = http1_may_upgrade(head);
	x->up.route = x->route;
	if (!http1_compose_request(head, &x->asked, x->route, x->upgrade, &x->request))
		return http1_refuse(h, EGRESS_INTERNAL, 0, "the request could not be composed",
				    NULL, true);
	return http1_dial(h, false);
}

static enum http1_step judge(struct http1 *h, struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;
	struct policy_verdict verdict;
	enum egress_reason reason = http1_judge(h->connection, head, &x->asked, &verdict);

	x->policy = policy_ref(h->connection->proxy->config->policy);
	x->host = verdict.host;
	x->route = verdict.route;
	x->audited = verdict.audited;
	if (reason != EGRESS_ALLOWED)
		/* Where a request is not understood, its end is not certain, either. */
		return http1_refuse(h, reason, 0, NULL, verdict.hint, reason == EGRESS_BAD_REQUEST);
	switch (x->asked.kind) {
	case HTTP1_ASKED_LOCAL:
		return http1_local_page(h, head);
	case HTTP1_ASKED_CONNECT:
		return grant_connect(h);
	case HTTP1_ASKED_HOST:
		break;
	}
	return forward(h, head);
}

/* Moves the head out of `in`: it stays with the exchange. */
static bool take_head(struct http1 *h, size_t length)
{
	struct span rest = bytes_span(&h->in);
	struct bytes after = {NULL, 0, 0, 0};

	rest.data += length;
	rest.length -= length;
	if (rest.length > 0 && !bytes_append(&after, rest.data, rest.length))
		return false;
	/* The exchange's spans point into it, while `in` takes what comes next. */
	h->exchange->head = h->in;
	h->exchange->head.length = length;
	h->in = after;
	h->scanned = 0;
	return true;
}

/* HTTP/2 by prior knowledge (RFC 9113, 3.3), which has no name to check in a certificate: told so in
 * its own words, SETTINGS and GOAWAY with HTTP_1_1_REQUIRED. */
static enum http1_step refuse_preface(struct http1 *h)
{
	static const char frames[] = "\0\0\0\4\0\0\0\0\0"
				     "\0\0\x08\7\0\0\0\0\0" "\0\0\0\0\0\0\0\x0d";
	struct http1_exchange *x = h->exchange;

	x->reason = EGRESS_BAD_REQUEST;
	snprintf(x->detail, sizeof(x->detail), "HTTP/2 without TLS is not supported");
	h->close_after = true;
	if (!bytes_append(&h->answer, frames, sizeof(frames) - 1))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->state = HTTP1_ANSWERING;
	return HTTP1_STEP_NEXT;
}

static enum http1_step begin_exchange(struct http1 *h, size_t length)
{
	struct connection *c = h->connection;
	struct http1_head head = {.fields = c->proxy->shared->fields};
	struct http1_exchange *x = bytes_block_zeroed(sizeof(*x));
	int status;

	if (!x)
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->exchange = x;
	x->http1 = h;
	x->connection = c;
	x->started_us = connection_now_us();
	if (!take_head(h, length))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	http1_deadline(h, EXCHANGE_SECONDS);
	if (span_equal(bytes_span(&x->head), SPAN("PRI * HTTP/2.0\r\n\r\n")) && !h->framed)
		return refuse_preface(h);
	status = http1_request_parse(bytes_span(&x->head), &x->up.parser, &head);
	if (status != 0)
		return http1_refuse(h, status == 400 ? EGRESS_BAD_REQUEST : EGRESS_TOO_LARGE,
				    (unsigned)status, NULL, NULL, true);
	x->method = head.method;
	x->target = head.target;
	x->old_client = head.minor == 0;
	x->client_keeps = head.keep_alive;
	x->asks_first = head.expects;
	/* Before it is judged: a refusal, too, has to know whether a body comes. */
	http1_body_start(&x->up, http1_source_framing(h->client, head.framing), head.length,
			 head.framing == HTTP1_CHUNKED);
	return judge(h, &head);
}

/* A head that cannot become a good one: the answer needs an exchange to be logged with. */
static enum http1_step bad_head(struct http1 *h, enum egress_reason reason, unsigned status,
				const char *detail)
{
	h->exchange = bytes_block_zeroed(sizeof(*h->exchange));
	if (!h->exchange)
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->exchange->http1 = h;
	h->exchange->connection = h->connection;
	h->exchange->started_us = connection_now_us();
	return http1_refuse(h, reason, status, detail, NULL, true);
}

/* What has come of it; false when there is no more to say than that the rest has to come. */
static bool look_at_head(struct http1 *h, enum http1_step *ret_step)
{
	long end = http1_head_end(bytes_span(&h->in), &h->scanned);

	if (end > 0)
		*ret_step = begin_exchange(h, (size_t)end);
	else if (end < 0)
		*ret_step = bad_head(h, EGRESS_BAD_REQUEST, 400, NULL);
	else if (h->in.length > HTTP1_HEAD_MAX)
		*ret_step = bad_head(h, EGRESS_TOO_LARGE, 431, NULL);
	/* Its first line has not ended yet: for a method and a version 256 bytes are plenty. */
	else if (h->in.length > HTTP1_TARGET_MAX + 256 && h->scanned == 0)
		*ret_step = bad_head(h, EGRESS_TOO_LARGE, 414, NULL);
	/* SSH or SOCKS, say, whose client waits for us as we would for the rest of its head. */
	else if (!http1_may_be_request(bytes_span(&h->in)))
		*ret_step = bad_head(h, EGRESS_PROTOCOL_NOT_ALLOWED, 400,
				     "not HTTP: another protocol needs a route with protocol: tcp "
				     "or tls: passthrough");
	else
		return false;
	return true;
}

static enum http1_step await_head(struct http1 *h)
{
	bool first = h->in.length == 0;
	enum http1_step step;
	ssize_t n;

	if (!first && look_at_head(h, &step))
		return step;
	n = first && h->framed && h2_move_head(h->client, &h->in)
		    ? (ssize_t)h->in.length : http1_read(h->connection, h->client, &h->in);
	if (n > 0) {
		h->connection->spoke = true;
		if (look_at_head(h, &step))
			return step;
		/* Only what comes in pieces gets, and pays for, a deadline of its own. */
		if (first)
			http1_deadline(h, HEAD_SECONDS);
		return HTTP1_STEP_NEXT;
	}
	/* That it left may have been seen already: watch_client() reads ahead. */
	if (n == -EAGAIN && !h->client_eof)
		return HTTP1_STEP_WAIT;
	return http1_fault(h, n == -ENOMEM ? EGRESS_INTERNAL : EGRESS_ALLOWED, NULL);
}

/* ---- the protocol --------------------------------------------------------------------------- */

static enum http1_step step(struct http1 *h)
{
	switch (h->state) {
	case HTTP1_AWAIT_HEAD:
		return await_head(h);
	case HTTP1_GATHERING:
		return http1_gather(h);
	case HTTP1_DIALLING:
		return http1_dialling(h);
	case HTTP1_RELAYING:
		return http1_relay(h);
	case HTTP1_ANSWERING:
		return answering(h);
	case HTTP1_LINGERING:
		return lingering(h);
	}
	return http1_fault(h, EGRESS_INTERNAL, NULL);
}

enum protocol_next http1_run(void *session)
{
	struct http1 *h = session;

	h->moved_ms = connection_now_ms();
	for (int turn = 0; turn < STEP_BUDGET; turn++) {
		switch (step(h)) {
		case HTTP1_STEP_NEXT:
			break;
		case HTTP1_STEP_WAIT:
			return PROTOCOL_WAIT;
		case HTTP1_STEP_CLOSE:
			return h->framed ? PROTOCOL_CLOSE
					 : connection_fault(h->connection, h->reason, h->detail);
		case HTTP1_STEP_RELAY:
			return PROTOCOL_RELAY;
		/* No record of the CONNECT itself: what comes through it has its own. */
		case HTTP1_STEP_CONNECT:
			http1_exchange_free(h->exchange);
			h->exchange = NULL;
			return PROTOCOL_CONNECT;
		}
	}
	/* Events are edges: nothing else would wake us for what has come already. */
	stream_again(h->client);
	return PROTOCOL_WAIT;
}

static void *http1_start(struct connection *c)
{
	struct http1 *h = bytes_block_zeroed(sizeof(*h));

	if (!h)
		return NULL;
	h->connection = c;
	h->client = c->client;
	h->wake = connection_wake;
	h->wake_context = c;
	h->state = HTTP1_AWAIT_HEAD;
	http1_deadline(h, connection_patience(c));
	return h;
}

struct http1 *http1_new_framed(struct connection *c, struct stream *stream, stream_ready_fn wake,
			       void *context)
{
	struct http1 *h = bytes_block_zeroed(sizeof(*h));

	if (!h)
		return NULL;
	h->connection = c;
	h->client = stream;
	h->framed = true;
	h->wake = wake;
	h->wake_context = context;
	h->state = HTTP1_AWAIT_HEAD;
	return h;
}

bool http1_allowed(void *session)
{
	const struct http1 *h = session;

	/* Nothing of the bottle's is on its way; its next request meets the new policy. */
	if (h->state != HTTP1_DIALLING && h->state != HTTP1_RELAYING)
		return true;
	return http1_head_allowed(h->connection, bytes_span(&h->exchange->head),
				  h->exchange->upstream);
}

static bool http1_idle(void *session)
{
	const struct http1 *h = session;

	return h->state == HTTP1_AWAIT_HEAD && h->in.length == 0;
}

size_t http1_held(const void *session, uint64_t before_ms)
{
	const struct http1 *h = session;
	const struct http1_exchange *x = h->exchange;
	size_t held = h->in.capacity + h->answer.capacity;

	/* connection_pressure.c ends what stalls before what moves. */
	if (h->moved_ms > before_ms)
		return 0;
	if (x)
		held += x->head.capacity + x->request.capacity + x->received.capacity +
			x->up.pending.capacity + x->up.trailers.capacity + x->down.pending.capacity +
			x->down.trailers.capacity + stream_held(x->upstream);
	return held;
}

static size_t http1_total(const void *session)
{
	return http1_held(session, UINT64_MAX);
}

static void http1_shed(void *session, size_t at_least, uint64_t before_ms)
{
	struct connection *c = ((struct http1 *)session)->connection;

	(void)at_least, (void)before_ms;
	connection_shed(c);
	connection_abort_client(c);
	connection_close(c, EGRESS_LIMIT, CONNECTION_SHED);
}

void http1_end(void *session, enum egress_reason reason, const char *detail)
{
	struct http1 *h = session;

	if (h->exchange) {
		/* HALF_CLOSED_SECONDS or LINGER_SECONDS are over: that is not the upstream's fault. */
		if ((h->client_eof || h->exchange->answered) && reason == EGRESS_UPSTREAM_TIMEOUT) {
			reason = EGRESS_ALLOWED;
			detail = "client closed";
		}
		http1_exchange_log(h->exchange, reason, detail);
		http1_exchange_free(h->exchange);
	}
	bytes_free(&h->in);
	bytes_free(&h->answer);
	bytes_block_free(h);
}

const struct protocol http1_protocol = {
	.name = "http/1.1",
	.start = http1_start,
	.run = http1_run,
	.allowed = http1_allowed,
	.idle = http1_idle,
	.held = http1_held,
	.shed = http1_shed,
	.total = http1_total,
	.end = http1_end,
};
