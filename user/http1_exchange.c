// SPDX-License-Identifier: BSD-2-Clause
/* One request across: the upstream's connection, the two directions, the end. */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2.h"
#include "http1.h"
#include "http1_upgrade.h"

#define INTERIM_MAX 32
#define READ_AHEAD_MAX (16 * 1024) /* of pipelined requests, while one is under way */

/* ---- record and release --------------------------------------------------------------------- */

void http1_exchange_log(struct http1_exchange *x, enum egress_reason reason, const char *detail)
{
	struct access_record record = {
		.id = x->id,
		.host = x->asked.host[0] ? x->asked.host : NULL,
		.address = x->asked.by_address ? &x->asked.address : NULL,
		.port = x->asked.port,
		.method = x->method,
		.target = x->asked.target.length > 0 ? x->asked.target : x->target,
		/* The first one: what ends it later is a consequence. */
		.reason = x->reason != EGRESS_ALLOWED ? x->reason : reason,
		.audited = x->audited,
		.detail = x->detail[0] ? x->detail : detail,
		.status = (int)x->status,
		.bytes_up = x->up.bytes,
		.bytes_down = x->down.bytes,
		.microseconds = connection_now_us() - x->started_us,
		.added_us = x->added_us,
		.reused = x->reused,
		.protocol = x->http1->framed ? "h2" : NULL,
	};

	if (x->route) {
		record.route = policy_route_host(x->route);
		record.route_file = policy_route_file(x->route);
		record.route_line = (unsigned)policy_route_line(x->route);
	}
	connection_log(x->connection, &record);
}

void http1_exchange_free(struct http1_exchange *x)
{
	if (!x)
		return;
	upstream_cancel(x->dial);
	stream_free(x->upstream);
	/* The client's own secrets are in `head`, the route's in `request`. */
	bytes_wipe(&x->head);
	bytes_wipe(&x->request);
	bytes_free(&x->received);
	http1_body_free(&x->up);
	http1_body_free(&x->down);
	if (x->policy)
		policy_unref(x->policy);
	bytes_block_free(x);
}

/* ---- the way to the upstream ---------------------------------------------------------------- */

static struct upstream_target target_of(const struct http1_exchange *x)
{
	return (struct upstream_target){
		.host = x->asked.host,
		.port = x->asked.port,
		.tls = x->asked.tls,
		.http1 = x->needs_http1,
		.anyhow = x->anyhow,
		.client = x->client,
		.allow_private = x->host && policy_host_allows_private(x->host, x->asked.port),
	};
}

static void on_dialled(void *context, const struct upstream_result *result)
{
	struct http1_exchange *x = context;

	x->dial = NULL;
	if (x->dialled_us)
		x->waited_us += connection_now_us() - x->dialled_us;
	if (result->reason == EGRESS_ALLOWED) {
		x->upstream = result->stream;
		x->reused = result->reused;
		stream_set_ready(x->upstream, x->http1->wake, x->http1->wake_context);
	} else {
		x->reason = result->reason;
		x->not_http1 = result->not_http1;
		snprintf(x->detail, sizeof(x->detail), "%s", result->detail ? result->detail : "");
	}
	/* Within upstream_get() it is http1_dial()'s caller who goes on: another turn finds nothing. */
	if (x->dialled_us)
		x->http1->wake(x->http1->wake_context);
}

enum http1_step http1_dial(struct http1 *h, bool fresh)
{
	struct http1_exchange *x = h->exchange;
	struct upstream_target target;

	if (!policy_route_client(x->route, &x->client))
		return http1_refuse(h, EGRESS_INTERNAL, 0, NULL, NULL, false);
	target = target_of(x);
	h->state = HTTP1_DIALLING;
	/* From the pool it comes before this returns, and nobody has waited. */
	x->dialled_us = 0;
	x->dial = upstream_get(h->connection->proxy->upstream, &target, fresh, on_dialled, x);
	if (x->dial)
		x->dialled_us = connection_now_us();
	return HTTP1_STEP_NEXT;
}

static void drop_upstream(struct http1_exchange *x)
{
	stream_free(x->upstream);
	x->upstream = NULL;
	bytes_free(&x->received);
	x->scanned = 0;
}

/* The policy changed since the request was composed: judges and composes it by the new one, so that
 * a credential that was replaced is not sent any more. */
static enum egress_reason renew(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	struct connection *c = h->connection;
	struct http1_head head = {.fields = c->proxy->shared->fields};
	struct policy_verdict verdict;
	enum egress_reason reason;
	llhttp_t parser;

	if (http1_request_parse(bytes_span(&x->head), &parser, &head) != 0)
		return EGRESS_INTERNAL;
	reason = http1_judge(c, &head, &x->asked, &verdict);
	policy_unref(x->policy);
	x->policy = policy_ref(c->proxy->config->policy);
	x->host = verdict.host;
	x->route = x->up.route = verdict.route;
	x->client = NULL;
	x->audited = verdict.audited;
	if (reason != EGRESS_ALLOWED)
		return reason;
	if (!policy_route_client(x->route, &x->client))
		return EGRESS_INTERNAL;
	if (!connection_may_keep(c->proxy, x->asked.host, x->asked.port, x->upstream))
		return EGRESS_PRIVATE_ADDRESS;
	bytes_wipe(&x->request);
	return http1_compose_request(&head, &x->asked, x->route, x->upgrade, &x->request)
		       ? EGRESS_ALLOWED : EGRESS_INTERNAL;
}

/* An upgrade is asked for over HTTP/1.1, as everybody does; where that is not to be had, by HTTP/2's
 * extended CONNECT (RFC 8441), and where that is not, either, there is no more to try. */
static enum http1_step dial_failed(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;

	if (x->not_http1 && !x->settled) {
		x->needs_http1 = x->not_http1 = false;
		x->reason = EGRESS_ALLOWED;
		x->detail[0] = '\0';
		return http1_dial(h, false);
	}
	if (x->not_http1 && x->upgrade)
		snprintf(x->detail, sizeof(x->detail),
			 "the host speaks HTTP/2 alone, and offers no WebSocket by it (RFC 8441)");
	return http1_refuse(h, x->reason ? x->reason : EGRESS_INTERNAL, 0, x->detail, NULL, false);
}

enum http1_step http1_dialling(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	enum egress_reason reason = EGRESS_ALLOWED;
	uint64_t shown = client_cert_id(x->client);
	struct span request;

	if (x->dial)
		return HTTP1_STEP_WAIT;
	if (!x->upstream)
		return dial_failed(h);
	if (x->policy != h->connection->proxy->config->policy)
		reason = renew(h);
	if (reason != EGRESS_ALLOWED)
		return http1_refuse(h, reason, 0, NULL, NULL, false);
	/* renew() found another certificate: this connection was opened as somebody else. */
	if (client_cert_id(x->client) != shown) {
		drop_upstream(x);
		return http1_dial(h, false);
	}
	request = bytes_span(&x->request);
	/* What an HTTP/2 upstream gets is framed by its stream; a second try may meet the other. */
	x->up.chunk = !stream_is_framed(x->upstream) &&
		      (x->up.framing == HTTP1_CHUNKED || x->up.framing == HTTP1_UNTIL_EOF);
	/* Room for the first part of the body too, so that the credential is never moved. */
	if (!bytes_reserve(&x->up.pending,
			   request.length + (x->up.complete ? 0 : sizeof(struct http1_scratch))) ||
	    !bytes_append(&x->up.pending, request.data, request.length))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	x->up.corked = true;
	x->added_us = connection_now_us() - x->started_us - x->waited_us;
	h->state = HTTP1_RELAYING;
	return HTTP1_STEP_NEXT;
}

/* RFC 9110, 9.2.2: of others nobody knows whether they have been acted on. */
static bool is_idempotent(struct span method)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (span_equal(method, span_from(methods[i])))
			return true;
	return false;
}

/* The upstream failed before a response. A connection from the pool may have been dead all along:
 * then one more try on a fresh one, when nothing of a body is gone with it. */
static enum http1_step upstream_failed(struct http1 *h, const char *detail)
{
	struct http1_exchange *x = h->exchange;

	/* RFC 9113, 7: HTTP_1_1_REQUIRED, which is also what h2_stream.c says to a WebSocket that the
	 * peer's SETTINGS have no room for. */
	if (h2_reset_code(x->upstream) == NGHTTP2_HTTP_1_1_REQUIRED && !x->settled) {
		x->needs_http1 = x->settled = true;
		x->anyhow = x->upgrade;
		x->retried = false;
	}
	if (!x->retried && x->received.length == 0 && x->interim == 0 && !x->up.touched &&
	    (x->untouched || (x->reused && is_idempotent(x->method)))) {
		x->retried = true;
		x->sent = x->unsendable = x->up.finished = x->untouched = x->not_http1 = false;
		bytes_wipe(&x->up.pending);
		drop_upstream(x);
		return http1_dial(h, true);
	}
	drop_upstream(x);
	return http1_refuse(h, EGRESS_UPSTREAM_PROTOCOL, 0, detail, NULL, x->up.touched);
}

/* The response broke off or is wrong in its body: the client must not take it for whole. */
static enum http1_step abort_response(struct http1 *h, enum egress_reason reason,
				      const char *detail)
{
	if (h->framed) {
		/* Freed unfinished, it is reset: as the upstream was, so that gRPC sees its code. */
		uint32_t code = h2_reset_code(h->exchange->upstream);

		h2_set_reset_behind(h->client, code ? code : NGHTTP2_INTERNAL_ERROR);
		return http1_fault(h, reason, detail);
	}
	/* Chunks and lengths show that something is missing. A body that ends with its
	 * connection shows it only by an RST, or by TLS without close_notify. */
	if (!h->exchange->down.chunk && h->exchange->down.framing != HTTP1_LENGTH)
		connection_abort_client(h->connection);
	else if (stream_ssl(h->client))
		SSL_set_quiet_shutdown(stream_ssl(h->client), 1);
	return http1_fault(h, reason, detail);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* While nothing more of this request is to come: what the client pipelines, or that it left. */
static enum http1_step watch_client(struct http1 *h)
{
	struct connection *c = h->connection;
	ssize_t n;

	/* Of a framed stream http2.c is told. */
	if (h->framed || h->client_eof || h->in.length >= READ_AHEAD_MAX)
		return HTTP1_STEP_NEXT;
	n = http1_read(c, h->client, &h->in);
	if (n == 0) {
		h->client_eof = true;
		/* After HALF_CLOSED_SECONDS it is known: nobody else need meet a session that hangs. */
		if (h->exchange->upstream)
			h2_doubt(h->exchange->upstream);
	} else if (n < 0 && n != -EAGAIN) {
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	}
	return HTTP1_STEP_NEXT;
}

/* A client of HTTP/1 may write all before it reads, and an origin that has said all need not take any
 * more: neither would end what the other waits for, once the answer is more than the client's sockets
 * hold. A client of HTTP/2 reads as it writes. */
static void discard_rest(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;

	if (x->responded && !h->framed && !x->up.discards && h2_has_ended(x->upstream))
		http1_body_discard(&x->up);
}

static enum http1_step send_request(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	struct connection *c = h->connection;

	if (x->sent)
		return watch_client(h);
	discard_rest(h);
	if (x->unsendable && !x->up.discards)
		return HTTP1_STEP_NEXT;
	switch (http1_body_pump(&x->up, h->client, &h->in, x->upstream,
				&c->proxy->shared->scratch)) {
	case HTTP1_FLOW_WAIT:
		break;
	case HTTP1_FLOW_DONE:
		x->sent = true;
		if (x->switched)
			stream_shutdown(x->upstream);
		return watch_client(h);
	case HTTP1_FLOW_SINK_GONE:
		x->unsendable = true;
		break;
	case HTTP1_FLOW_CUT:
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	case HTTP1_FLOW_MALFORMED:
		/* A head is out already; a second one would stand in the middle of the body. */
		if (x->responded || x->interim > 0)
			return abort_response(h, EGRESS_BAD_REQUEST, "malformed chunks");
		drop_upstream(x);
		return http1_refuse(h, EGRESS_BAD_REQUEST, 0, "malformed chunks", NULL, true);
	case HTTP1_FLOW_NO_MEMORY:
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	}
	return HTTP1_STEP_NEXT;
}

/* ---- the response --------------------------------------------------------------------------- */

static bool append_response(struct http1_exchange *x, struct http1_head *head, bool chunk,
			    bool say_length, enum http1_connection_field say)
{
	return http1_drop_hop_fields(head) &&
	       http1_compose_response(head, chunk, say_length, say, &x->down.pending);
}

static enum http1_step take_interim(struct http1 *h, struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;

	if (head->status == 100)
		x->asks_first = false;
	/* Each one restarts the clock: an upstream could keep this open for ever. */
	if (++x->interim > INTERIM_MAX)
		return upstream_failed(h, "too many interim responses");
	/* RFC 9110, 15.2: HTTP/1.0 knows none. */
	if (x->old_client)
		return HTTP1_STEP_NEXT;
	if (!append_response(x, head, false, false, HTTP1_SAY_NOTHING))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	if (http1_flush(&x->down.pending, h->client) == HTTP1_FLOW_SINK_GONE)
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	return HTTP1_STEP_NEXT;
}

/* A WebSocket on a stream of its own (RFC 8441): both bodies begin, bare and without end. */
static enum http1_step switch_framed(struct http1_exchange *x)
{
	http1_body_start(&x->up, HTTP1_UNTIL_EOF, 0, false);
	http1_body_start(&x->down, HTTP1_UNTIL_EOF, 0, false);
	x->sent = x->upstream_keeps = false;
	x->switched = x->responded = true;
	return HTTP1_STEP_NEXT;
}

/* Of several Upgrade fields the last one was sent on, and is the one that a second parse finds. */
static bool was_asked_for(const struct http1_exchange *x, const struct http1_head *response)
{
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	llhttp_t parser;

	return http1_request_parse(bytes_span(&x->head), &parser, &head) == 0 &&
	       http1_did_upgrade(&head, response);
}

static enum http1_step take_switch(struct http1 *h, struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;
	struct connection *c = h->connection;
	struct span early;

	if (!x->upgrade || !x->sent || !was_asked_for(x, head))
		return upstream_failed(h, "switches protocols without being asked");
	x->status = head->status;
	if (!append_response(x, head, false, false, HTTP1_SAY_UPGRADE))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	if (h->framed)
		return switch_framed(x);
	early = bytes_span(&x->received);
	if (!bytes_append(&x->down.pending, early.data, early.length))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	c->upstream = x->upstream;
	c->sent = h->in;
	c->received = x->down.pending;
	c->request_head = x->head;
	x->upstream = NULL;
	h->in = x->down.pending = (struct bytes){NULL, 0, 0, 0};
	/* The record that http1_end() writes needs the request line, which has moved: the same
	 * memory, now the connection's, outlives it. */
	x->head = (struct bytes){NULL, 0, 0, 0};
	return HTTP1_STEP_RELAY;
}

static enum http1_framing response_framing(const struct http1_exchange *x,
					   const struct http1_head *head)
{
	/* RFC 9112, 6.3: whatever the fields say. */
	if (span_equal(x->method, SPAN("HEAD")) || head->status == 204 || head->status == 304)
		return HTTP1_NO_BODY;
	if (head->framing == HTTP1_NO_BODY)
		return HTTP1_UNTIL_EOF;
	/* With a length, too, trailers may follow from one framed stream to another, where nghttp2 has seen
	 * to it that the body is as long as that: it has not for CONNECT, which asks for a WebSocket. */
	if (x->http1->framed && stream_is_framed(x->upstream) && !x->upgrade)
		return HTTP1_UNTIL_EOF;
	return http1_source_framing(x->upstream, head->framing);
}

/* On a stream of HTTP/2: a text of it would be parsed again only to become fields. */
static enum http1_step respond(struct http1 *h, struct http1_head *head, bool say_length)
{
	int error = http1_drop_hop_fields(head)
			    ? h2_respond(h->client, head, say_length, h->exchange->down.complete)
			    : -ENOMEM;

	if (error == -EPIPE)
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	return error ? http1_fault(h, EGRESS_INTERNAL, "out of memory") : HTTP1_STEP_NEXT;
}

static enum http1_step take_final(struct http1 *h, struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;
	enum http1_framing framing = response_framing(x, head);
	bool open_ended = framing == HTTP1_CHUNKED || framing == HTTP1_UNTIL_EOF;
	bool chunk = open_ended && !x->old_client && !h->framed;
	/* No length with 204; with HEAD and 304 it describes what would have come. */
	bool say_length = head->framing == HTTP1_LENGTH && head->status != 204;
	enum http1_connection_field say = HTTP1_SAY_NOTHING;

	/* On a stream any 2xx would say that the WebSocket is open (RFC 8441, 5): here only 101 is. */
	if (h->framed && x->upgrade && head->status / 100 == 2)
		return upstream_failed(h, "answers a WebSocket's handshake without switching");
	x->status = head->status;
	x->upstream_keeps = head->keep_alive && framing != HTTP1_UNTIL_EOF &&
			    !stream_is_framed(x->upstream);
	/* HTTP/1.0 knows no chunks: the connection's end is the body's. */
	if (open_ended && !chunk && !h->framed)
		x->client_keeps = false;
	if (!x->client_keeps)
		say = HTTP1_SAY_CLOSE;
	else if (x->old_client)
		say = HTTP1_SAY_KEEP_ALIVE;
	http1_body_start(&x->down, framing, head->length, chunk);
	x->down.final = !x->client_keeps;
	x->responded = true;
	/* Of a framed upstream's response only its end tells whether a body follows. */
	if (h->framed && !stream_is_framed(x->upstream))
		return respond(h, head, say_length);
	if (!append_response(x, head, chunk, say_length, say))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	x->down.corked = true;
	return HTTP1_STEP_NEXT;
}

static enum http1_step take_response_head(struct http1 *h, size_t length)
{
	struct http1_exchange *x = h->exchange;
	struct http1_head head = {.fields = h->connection->proxy->shared->fields};
	struct span text = {bytes_span(&x->received).data, length};
	enum http1_step step;

	if (http1_response_parse(text, &x->down.parser, &head) != 0)
		return upstream_failed(h, "malformed response");
	/* The spans of `head` point into what is consumed: that only moves the start. */
	bytes_consume(&x->received, length);
	x->scanned = 0;
	if (head.status == 101)
		step = take_switch(h, &head);
	else if (head.status < 200)
		step = take_interim(h, &head);
	else
		step = take_final(h, &head);
	return step;
}

/* With TLS 1.3 a server refuses our certificate, or the lack of one, only now. */
static const char *why_closed(const struct http1_exchange *x, char *text, size_t size)
{
	const char *fault = stream_tls_fault(x->upstream);

	if (h2_tell_end(x->upstream, text, size))
		return text;
	if (!fault)
		return "the upstream closed before it answered";
	snprintf(text, size, "the upstream ended TLS before it answered: %s", fault);
	return text;
}

static enum http1_step await_response(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	long end = http1_head_end(bytes_span(&x->received), &x->scanned);
	char text[128];
	ssize_t n;

	/* What came with a head that ends in time is body, and may be any amount. */
	if (end < 0 || (end == 0 && x->received.length > HTTP1_HEAD_MAX))
		return upstream_failed(h, "malformed response");
	if (end > 0)
		return take_response_head(h, (size_t)end);
	n = http1_read(h->connection, x->upstream, &x->received);
	if (n > 0)
		return HTTP1_STEP_NEXT;
	if (n == -EAGAIN)
		return HTTP1_STEP_WAIT;
	if (n == -ENOMEM)
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	x->untouched = n == -ESTALE;
	return upstream_failed(h, why_closed(x, text, sizeof(text)));
}

/* Answered before the body's end. Once the rest is passed on, too, the client's connection is where the
 * next request begins (RFC 9112, 9.3). It is waited for where it must come, which it need not from a
 * client that asked first and was not told to go on (RFC 9110, 10.1.1). A stream of HTTP/2 that has
 * answered needs none of it (RFC 9113, 8.1), and may say so or open its window no more: the rest is read
 * and thrown away then. */
static bool rest_follows(const struct http1 *h)
{
	const struct http1_exchange *x = h->exchange;
	bool goes_on = x->up.discards || stream_is_framed(x->upstream) ||
		       (!x->unsendable && x->upstream_keeps && x->received.length == 0);

	return goes_on && (x->up.touched || !x->asks_first) && x->client_keeps && !h->framed &&
	       !h->connection->proxy->draining;
}

/* The response is through. */
static enum http1_step complete(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	struct upstream_target target = target_of(x);

	/* Bytes behind the response would be the next request's answer. So would what an upstream
	 * says to the rest of a body that it answered without, and takes for a request. */
	if (x->sent && !x->answered && x->upstream_keeps && x->received.length == 0) {
		stream_set_ready(x->upstream, NULL, NULL);
		upstream_put(h->connection->proxy->upstream, &target, x->upstream);
		x->upstream = NULL;
	}
	return http1_finish(h, !x->client_keeps || !x->sent);
}

static enum http1_step await_rest(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;

	x->answered = true;
	if (x->sent || !rest_follows(h))
		return complete(h);
	if (x->upstream && stream_is_framed(x->upstream)) {
		http1_body_discard(&x->up);
		drop_upstream(x);
		return HTTP1_STEP_NEXT;
	}
	if (x->up.discards)
		return HTTP1_STEP_WAIT;
	if (http1_read(h->connection, x->upstream, &x->received) == -EAGAIN)
		return HTTP1_STEP_WAIT;
	/* It closes, or says what nobody asked for. */
	x->upstream_keeps = false;
	return complete(h);
}

/* The head, and what came of the body, are the client's before it sees the end: a 413 that is
 * followed by a reset says why. */
static enum http1_step pass_cut(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	char text[128] = "the upstream closed in the middle of its response";

	x->cut = true;
	if (http1_flush(&x->down.pending, h->client) == HTTP1_FLOW_WAIT)
		return HTTP1_STEP_WAIT;
	(void)!h2_tell_end(x->upstream, text, sizeof(text));
	return abort_response(h, EGRESS_UPSTREAM_PROTOCOL, text);
}

static enum http1_step receive_response(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	struct connection *c = h->connection;

	if (!x->responded)
		return await_response(h);
	if (x->answered)
		return await_rest(h);
	if (x->cut)
		return pass_cut(h);
	switch (http1_body_pump(&x->down, x->upstream, &x->received, h->client,
				&c->proxy->shared->scratch)) {
	case HTTP1_FLOW_DONE:
		return x->sent ? complete(h) : await_rest(h);
	case HTTP1_FLOW_CUT:
		return pass_cut(h);
	case HTTP1_FLOW_MALFORMED:
		return abort_response(h, EGRESS_UPSTREAM_PROTOCOL, "malformed chunks");
	case HTTP1_FLOW_SINK_GONE:
		return http1_fault(h, EGRESS_ALLOWED, "client closed");
	case HTTP1_FLOW_NO_MEMORY:
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	case HTTP1_FLOW_WAIT:
		break;
	}
	return HTTP1_STEP_WAIT;
}

enum http1_step http1_relay(struct http1 *h)
{
	enum http1_step step = send_request(h);

	if (step == HTTP1_STEP_NEXT && h->state == HTTP1_RELAYING)
		step = receive_response(h);
	if (step == HTTP1_STEP_WAIT)
		http1_deadline(h, h->exchange->answered ? LINGER_SECONDS
				  : h->client_eof ? HALF_CLOSED_SECONDS : EXCHANGE_SECONDS);
	return step;
}
