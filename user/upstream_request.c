// SPDX-License-Identifier: BSD-2-Clause
/* Who asked for a connection: served by what is idle, waiting in a line, following another to its
 * session, or on a way of its own (upstream_way.c); and the one end of each. */
#include "upstream_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"
#include "timeout.h"
#include "upstream_dial.h"
#include "upstream_h2.h"
#include "upstream_proxy.h"
#include "upstream_resolver.h"
#include "upstream_tls.h"

/* ---- the end of a request ------------------------------------------------------------------- */

static void link_at(struct upstream_request *request, struct upstream_request **at)
{
	request->next = *at;
	request->at = at;
	if (request->next)
		request->next->at = &request->next;
	*at = request;
}

static void unlink_request(struct upstream_request *request)
{
	*request->at = request->next;
	if (request->next)
		request->next->at = request->at;
}

/* Everything but the memory, so that nothing can call back any more. */
static void detach(struct upstream_request *request)
{
	unlink_request(request);
	request->upstream->followers -= request->follows;
	event_del(&request->timer);
	line_leave(&request->turn);
	resolver_cancel(request->wait);
	dial_cancel(request->dial);
	proxy_hop_cancel(request->hop);
	stream_free(request->stream);
	upstream_proxy_unref(request->proxy);
}

/* Apart from detach(), since `done` may still read the request's detail. */
static void release(struct upstream_request *request)
{
	client_cert_unref(request->client);
	free(request->host);
	bytes_block_free(request);
}

/* Without TLS nobody was shown a certificate. */
static struct pool_key key_of_request(const struct upstream_request *request)
{
	return (struct pool_key){request->host, request->port, request->tls, request->allow_private,
				 request->tls ? client_cert_id(request->client) : 0};
}

/* Another on the same way, that leads or that follows; NULL when there is none. */
static struct upstream_request *companion(const struct upstream_request *request, bool follows)
{
	struct pool_key key = key_of_request(request), other;

	if (follows && request->upstream->followers == 0)
		return NULL;
	for (struct upstream_request *r = request->upstream->requests; r; r = r->next) {
		other = key_of_request(r);
		if (r != request && r->follows == follows && !r->http1 &&
		    r->mark == request->mark && pool_key_equal(&key, &other))
			return r;
	}
	return NULL;
}

void upstream_cancel(struct upstream_request *request)
{
	struct upstream_request *heir;

	if (!request)
		return;
	detach(request);
	heir = request->follows ? NULL : companion(request, true);
	/* It leads from the loop: not within somebody else's end. */
	if (heir)
		timeout_soon(&heir->timer);
	release(request);
}

static void serve_followers(const struct upstream_request *leader, enum egress_reason reason);

static void note_failure(const struct upstream_request *request)
{
	struct h2_pool *sessions = request->upstream->sessions;

	if (request->tls && !request->http1 &&
	    h2_pool_protocol(sessions, request->host, request->port) == UPSTREAM_UNKNOWN)
		h2_pool_note(sessions, request->host, request->port, UPSTREAM_HTTP1,
			     H2_FAILED_SECONDS);
}

/* `done` comes after detach(): the callee may ask anew at once, or free the upstream's other
 * requests. */
void request_finish(struct upstream_request *request, enum egress_reason reason,
		    struct stream *stream)
{
	struct upstream_result result = {
		.reason = reason,
		.detail = reason == EGRESS_ALLOWED ? NULL : request->detail,
		.stream = stream,
		.reused = request->reused,
		.not_http1 = request->not_http1 && !stream,
		.address = request->address,
	};

	/* upstream_get() is still on the stack, and must not touch the request any more. */
	if (request->finished)
		*request->finished = true;
	detach(request);
	if (!request->fresh)
		tally_add(request->reused ? TALLY_UPSTREAM_REUSED : TALLY_UPSTREAM_DIALLED, 1);
	if (reason != EGRESS_ALLOWED)
		note_failure(request);
	request->done(request->context, &result);
	if (!request->follows)
		serve_followers(request, reason);
	release(request);
}

/* The connection agreed on HTTP/2: the request becomes the first on a new session. */
static void begin_session(struct upstream_request *request, struct stream *carrier)
{
	struct pool_key key = key_of_request(request);
	/* Dialled under settings that were replaced meanwhile, it serves this request and no
	 * other. */
	bool current = stream_mark(carrier) >> 2 == request->upstream->generation;
	struct stream *stream =
		h2_pool_add(request->upstream->sessions, &key, &request->address, carrier, current);

	/* Its other streams. */
	if (stream && current)
		lines_offer(request->upstream->lines, &key);
	snprintf(request->detail, sizeof(request->detail), "out of memory");
	request_finish(request, stream ? EGRESS_ALLOWED : EGRESS_INTERNAL, stream);
}

void request_fail(struct upstream_request *request, enum egress_reason reason, const char *format,
		  ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(request->detail, sizeof(request->detail), format, arguments);
	va_end(arguments);
	request_finish(request, reason, NULL);
}

/* Without an answer by ALPN a host that is offered HTTP/1.1 alone may still mean HTTP/2: only one
 * that had the choice and took none speaks HTTP/1.1 for sure. */
static bool agreed_to_http1(const struct upstream_request *request)
{
	return !request->tls || !request->http1 || request->anyhow ||
	       tls_client_chose(stream_ssl(request->stream)) ||
	       h2_pool_protocol(request->upstream->sessions, request->host, request->port) ==
		       UPSTREAM_HTTP1;
}

void request_succeed(struct upstream_request *request)
{
	struct stream *stream = request->stream;
	bool h2 = request->tls && tls_client_chose_h2(stream_ssl(stream));

	if (!agreed_to_http1(request)) {
		request->not_http1 = true;
		request_fail(request, EGRESS_UPSTREAM_PROTOCOL, "%s: does not agree to HTTP/1.1",
			     request->host);
		return;
	}
	/* So that detach() does not free it. */
	request->stream = NULL;
	stream_set_ready(stream, NULL, NULL);
	if (request->tls && !request->http1)
		h2_pool_note(request->upstream->sessions, request->host, request->port,
			     h2 ? UPSTREAM_HTTP2 : UPSTREAM_HTTP1, H2_KNOWN_SECONDS);
	if (h2)
		begin_session(request, stream);
	else
		request_finish(request, EGRESS_ALLOWED, stream);
}

static void lead(struct upstream_request *request);

static void on_timeout(evutil_socket_t fd, short what, void *argument)
{
	struct upstream_request *request = argument;
	const char *doing = request->wait     ? "resolving the name"
			    : request->dial   ? "connecting"
			    : request->hop    ? "the upstream proxy"
			    : request->stream ? "the TLS handshake"
					      : "waiting to connect";

	(void)fd, (void)what;
	if (request->follows) {
		lead(request);
		return;
	}
	request_fail(request, EGRESS_UPSTREAM_TIMEOUT, "%s: %s took more than %u s", request->host,
		     doing, (request->upstream->timeout_ms + 999) / 1000);
}

/* ---- requests that wait for one another's session -------------------------------------------- */

static bool arm(struct upstream_request *request)
{
	return timeout_add(&request->timer, request->upstream->timeout_ms) == 0;
}

static struct upstream_request *request_of(struct line_wait *turn)
{
	return (struct upstream_request *)((char *)turn - offsetof(struct upstream_request, turn));
}

/* A session of HTTP/2 before a connection of its own, which is for whoever is first in line. */
static struct stream *take_idle(struct upstream *upstream, const struct pool_key *key, bool http1,
				bool first, struct egress_address *ret_address)
{
	struct stream *stream = NULL;

	if (key->tls && !http1)
		stream = h2_pool_take(upstream->sessions, key, ret_address);
	if (!stream && first)
		stream = pool_take(upstream->pool, key, ret_address);
	return stream;
}

static bool serve_turn(struct line_wait *turn)
{
	struct upstream_request *request = request_of(turn);
	struct pool_key key = key_of_request(request);
	struct stream *stream =
		take_idle(request->upstream, &key, request->http1, true, &request->address);

	if (!stream)
		return false;
	request->reused = true;
	request_finish(request, EGRESS_ALLOWED, stream);
	return true;
}

/* Another in the line may have been passed over since it is for HTTP/1.1 alone. */
static void begin_turn(struct line_wait *turn)
{
	if (!serve_turn(turn))
		way_begin(request_of(turn));
}

/* May end the request. */
static void join(struct upstream_request *request)
{
	struct pool_key key = key_of_request(request);

	/* By then companions look for it. */
	request->mark = way_mark_of_request(request);
	if (request->fresh || lines_join(request->upstream->lines, &key, &request->turn))
		way_begin(request);
}

/* Dials for itself, and for who still follows. May end the request. */
static void lead(struct upstream_request *request)
{
	request->upstream->followers -= request->follows;
	request->follows = false;
	if (arm(request))
		join(request);
	else
		request_fail(request, EGRESS_INTERNAL, "out of memory");
}

/* A streak of requests to a host that speaks HTTP/2 makes one connection, not one for each: true when it
 * follows one that is on its way. Behind which it stands: thousands may follow, and each that comes looks
 * for the leader. */
static bool follow(struct upstream_request *request, const struct upstream_target *target)
{
	struct upstream_request *leader;

	if (!request->tls || request->http1 || !target->host ||
	    h2_pool_protocol(request->upstream->sessions, request->host, request->port) !=
		    UPSTREAM_HTTP2)
		return false;
	request->mark = way_mark(request->upstream, target);
	leader = companion(request, false);
	if (!leader)
		return false;
	request->follows = true;
	request->upstream->followers++;
	unlink_request(request);
	link_at(request, &leader->next);
	return true;
}

/* The leader is through: they share its session, as far as it has room, or its failure. */
static void serve_followers(const struct upstream_request *leader, enum egress_reason reason)
{
	struct upstream *upstream = leader->upstream;
	struct pool_key key = key_of_request(leader);
	struct upstream_request *request;

	while ((request = companion(leader, true))) {
		struct stream *stream = NULL;

		if (reason == EGRESS_ALLOWED)
			stream = h2_pool_take(upstream->sessions, &key, &request->address);
		else
			memcpy(request->detail, leader->detail, sizeof(request->detail));
		if (stream || reason != EGRESS_ALLOWED) {
			request_finish(request, reason, stream);
			continue;
		}
		lead(request);
		/* The others follow this one. Where it was HTTP/1.1 after all, each leads. */
		if (h2_pool_protocol(upstream->sessions, leader->host, leader->port) ==
		    UPSTREAM_HTTP2)
			break;
	}
}

const struct line_ops request_turns = {serve_turn, begin_turn};

/* ---- a request ------------------------------------------------------------------------------ */

static struct upstream_request *request_new(struct upstream *upstream, const struct pool_key *key,
					    upstream_done_fn done, void *context)
{
	struct upstream_request *request = bytes_block(sizeof(*request));

	if (!request)
		return NULL;
	memset(request, 0, offsetof(struct upstream_request, detail));
	request->detail[0] = '\0';
	request->host = strdup(key->host);
	if (!request->host) {
		bytes_block_free(request);
		return NULL;
	}
	request->upstream = upstream;
	request->port = key->port;
	request->tls = key->tls;
	request->allow_private = key->allow_private;
	request->done = done;
	request->context = context;
	link_at(request, &upstream->requests);
	evtimer_assign(&request->timer, upstream->base, on_timeout, request);
	if (arm(request))
		return request;
	detach(request);
	release(request);
	return NULL;
}

struct upstream_request *upstream_get(struct upstream *upstream,
				      const struct upstream_target *target, bool fresh,
				      upstream_done_fn done, void *context)
{
	char text[ADDRESS_TEXT_SIZE];
	struct pool_key key = upstream_key(target, text);
	struct upstream_result idle = {.reason = EGRESS_ALLOWED, .reused = true};
	struct upstream_request *request;
	bool finished = false;

	if (!fresh)
		idle.stream = take_idle(upstream, &key, target->http1,
					lines_empty(upstream->lines, &key), &idle.address);
	if (idle.stream) {
		tally_add(TALLY_UPSTREAM_REUSED, 1);
		done(context, &idle);
		return NULL;
	}
	/* Known not to agree to it: a handshake would be lost. */
	if (target->tls && target->http1 && !target->anyhow &&
	    h2_pool_alone(upstream->sessions, key.host, key.port)) {
		done(context, &(struct upstream_result){.reason = EGRESS_UPSTREAM_PROTOCOL,
							.detail = "speaks HTTP/2 alone",
							.not_http1 = true});
		return NULL;
	}
	request = request_new(upstream, &key, done, context);
	if (!request) {
		done(context, &(struct upstream_result){.reason = EGRESS_INTERNAL,
							.detail = "out of memory"});
		return NULL;
	}
	request->http1 = target->http1;
	request->anyhow = target->anyhow;
	request->client = target->client ? client_cert_ref(target->client) : NULL;
	request->finished = &finished;
	request->fresh = fresh;
	request->by_address = !target->host;
	if (request->by_address)
		request->address = *target->address;
	if (!follow(request, target))
		join(request);
	if (finished)
		return NULL;
	request->finished = NULL;
	return request;
}
