// SPDX-License-Identifier: BSD-2-Clause
/* One request for a connection, from a name to verified TLS. Two checks hold the wall: the
 * addresses that are dialled are those that were judged (no second look-up), and the certificate is
 * checked against the name that the policy allowed. Whatever fails is a refusal with its own
 * reason, and the stream is gone. */
#include "upstream.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"
#include "timeout.h"
#include "upstream_dial.h"
#include "upstream_h2.h"
#include "upstream_line.h"
#include "upstream_look.h"
#include "upstream_pool.h"
#include "upstream_proxy.h"
#include "upstream_resolver.h"
#include "upstream_tls.h"

/* For all of it: resolving, connecting, the proxy, TLS. */
#define TIMEOUT_MS 10000
#define IDLE_MS 30000 /* below the 60 and 75 s of common servers: we close first */

struct upstream {
	struct event_base *base;
	struct tls_client *tls;
	struct resolver *resolver;
	struct pool *pool;
	struct upstream_proxy *proxy; /* NULL: all is dialled directly */
	unsigned generation;	      /* of the settings; in the marks of streams */
	struct h2_pool *sessions;
	struct lines *lines;
	struct cidr synthetic; /* dns.pool: our own inventions, never dialled */
	unsigned timeout_ms;
	struct upstream_request *requests;
	size_t followers; /* of them: hundreds may wait in a line, and the end of each asks for one */
	struct look *looks;
};

/* At most one of wait, dial and stream is set: resolving, connecting, TLS handshake; with `hop`
 * beside `stream`: asking the proxy. */
struct upstream_request {
	struct upstream *upstream;
	struct upstream_request *next, **at;
	struct line_wait turn; /* until TLS begins: from then on only its own connection serves it */
	char *host; /* or the address as text */
	uint16_t port;
	bool tls, http1, anyhow, allow_private;
	bool by_address; /* `address`, as asked for */
	bool fresh, reused;
	bool not_http1; /* the host did not agree to it */
	bool follows; /* another of the same kind is on its way: it may bring a session for both */
	struct client_cert *client; /* may be NULL */
	struct resolver_wait *wait;
	struct dial *dial;
	struct stream *stream;
	struct upstream_proxy *proxy; /* on the way; NULL: none */
	struct proxy_hop *hop;
	unsigned mark; /* of its stream */
	struct egress_address address; /* connected to, or to connect to */
	struct event timer;
	bool *finished; /* set while upstream_get() runs */
	upstream_done_fn done;
	void *context;
	char detail[512]; /* the last: of most requests nothing of it is written */
};

/* ---- the end of a request ------------------------------------------------------------------- */

/* Everything but the memory, so that nothing can call back any more. */
static void detach(struct upstream_request *request)
{
	*request->at = request->next;
	if (request->next)
		request->next->at = request->at;
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
		if (r != request && r->follows == follows && !r->http1 && r->mark == request->mark &&
		    pool_key_equal(&key, &other))
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
		event_add(&heir->timer, &(struct timeval){0});
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
static void finish(struct upstream_request *request, enum egress_reason reason,
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
	struct stream *stream = h2_pool_add(request->upstream->sessions, &key, &request->address,
					    carrier, current);

	/* Its other streams. */
	if (stream && current)
		lines_offer(request->upstream->lines, &key);
	snprintf(request->detail, sizeof(request->detail), "out of memory");
	finish(request, stream ? EGRESS_ALLOWED : EGRESS_INTERNAL, stream);
}

/* The words are for the log and the bottle's 502: no secret comes near them. */
static void PRINTF(3, 4) fail(struct upstream_request *request, enum egress_reason reason,
			      const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(request->detail, sizeof(request->detail), format, arguments);
	va_end(arguments);
	finish(request, reason, NULL);
}

/* Without an answer by ALPN a host that is offered HTTP/1.1 alone may still mean HTTP/2: only one that
 * had the choice and took none speaks HTTP/1.1 for sure. */
static bool agreed_to_http1(const struct upstream_request *request)
{
	return !request->tls || !request->http1 || request->anyhow ||
	       tls_client_chose(stream_ssl(request->stream)) ||
	       h2_pool_protocol(request->upstream->sessions, request->host, request->port) ==
		       UPSTREAM_HTTP1;
}

static void succeed(struct upstream_request *request)
{
	struct stream *stream = request->stream;
	bool h2 = request->tls && tls_client_chose_h2(stream_ssl(stream));

	if (!agreed_to_http1(request)) {
		request->not_http1 = true;
		fail(request, EGRESS_UPSTREAM_PROTOCOL, "%s: does not agree to HTTP/1.1",
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
		finish(request, EGRESS_ALLOWED, stream);
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
	fail(request, EGRESS_UPSTREAM_TIMEOUT, "%s: %s took more than %u s", request->host, doing,
	     (request->upstream->timeout_ms + 999) / 1000);
}

/* ---- resolve, dial, verify ------------------------------------------------------------------ */

/* At each readiness until it is through; rc and the verdict are tls_client_judge()'s to read. */
static void on_handshake(void *context)
{
	struct upstream_request *request = context;
	SSL *ssl = stream_ssl(request->stream);
	int rc = stream_handshake(request->stream);
	enum egress_reason reason;

	if (rc == -EAGAIN)
		return;
	/* RFC 7301, 3.2: it speaks nothing of what was offered. */
	if (rc < 0 && request->http1 &&
	    ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) {
		request->not_http1 = true;
		h2_pool_note_alone(request->upstream->sessions, request->host, request->port);
	}
	reason = tls_client_judge(ssl, request->host, rc, request->detail, sizeof(request->detail));
	if (reason == EGRESS_ALLOWED)
		succeed(request);
	else
		finish(request, reason, NULL);
}

/* The stream leads to the host. */
static void begin_tls(struct upstream_request *request)
{
	SSL *ssl;

	line_leave(&request->turn);
	if (!request->tls) {
		succeed(request);
		return;
	}
	ssl = tls_client_connection(request->upstream->tls, request->host, request->port,
				    request->client);
	if (ssl && !request->http1)
		tls_client_offer_h2(ssl);
	if (!ssl || stream_set_tls(request->stream, ssl) < 0) {
		ERR_clear_error();
		fail(request, EGRESS_INTERNAL, "%s: cannot set up TLS", request->host);
		return;
	}
	stream_set_ready(request->stream, on_handshake, request);
	on_handshake(request);
}

/* From here on the proxy's stream is the far end's. */
static void on_hop(void *context, enum egress_reason reason, const char *detail)
{
	struct upstream_request *request = context;

	request->hop = NULL;
	if (reason == EGRESS_ALLOWED)
		begin_tls(request);
	else
		fail(request, reason, "%s: %s", request->host, detail);
}

/* Through a proxy this is the proxy's address; the host's own is never known. */
static void on_dialled(void *context, const struct dial_result *result)
{
	struct upstream_request *request = context;
	char text[ADDRESS_TEXT_SIZE];

	request->dial = NULL;
	request->address = result->address;
	request->stream = result->stream;
	if (!result->stream) {
		fail(request, EGRESS_UPSTREAM_UNREACHABLE, "%s%s (%s) port %u: %s", request->host,
		     request->proxy ? ": the upstream proxy" : "",
		     address_format(&result->address, text),
		     request->proxy ? upstream_proxy_port(request->proxy) : request->port,
		     strerror(result->error));
		return;
	}
	stream_set_mark(request->stream, request->mark);
	stream_set_peer(request->stream, &result->address);
	if (!request->proxy) {
		begin_tls(request);
		return;
	}
	request->hop = proxy_hop_start(request->upstream->base, request->proxy, request->stream,
				       request->host, request->port, on_hop, request);
	if (!request->hop)
		fail(request, EGRESS_INTERNAL, "%s: cannot ask the upstream proxy", request->host);
}

/* The wall against rebinding: judged on the very addresses that are dialled. Where the proxy is, is
 * the operator's to say; what is behind it, only an address as target tells: may_ask(). */
static bool may_dial(const struct upstream_request *request, const struct egress_address *address)
{
	return !cidr_contains(&request->upstream->synthetic, address) &&
	       (request->proxy || request->allow_private || !address_is_private(address));
}

/* A name is the proxy's to resolve, and to judge; only a literal can be judged here. */
static bool may_ask(const struct upstream_request *request, const struct egress_address *address)
{
	return request->allow_private || !(address_is_private(address) ||
					   cidr_contains(&request->upstream->synthetic, address));
}

/* May end the request. */
static void dial(struct upstream_request *request, const struct egress_address *addresses,
		 size_t count)
{
	struct egress_address chosen[RESOLVER_MAX_ADDRESSES];
	size_t chosen_count = 0;
	struct dial *started;

	for (size_t i = 0; i < count && chosen_count < RESOLVER_MAX_ADDRESSES; i++)
		if (may_dial(request, &addresses[i]))
			chosen[chosen_count++] = addresses[i];
	if (chosen_count == 0) {
		request->address = addresses[0];
		fail(request, EGRESS_PRIVATE_ADDRESS,
		     "%s is at a private or reserved address, which its route does not allow",
		     request->host);
		return;
	}
	started = dial_start(request->upstream->base, chosen, chosen_count,
			     request->proxy ? upstream_proxy_port(request->proxy) : request->port,
			     on_dialled, request);
	if (started)
		request->dial = started;
}

/* Also for the proxy's own name. */
static void on_resolved(void *context, const struct egress_address *addresses, size_t count,
			uint32_t ttl, const char *problem)
{
	struct upstream_request *request = context;

	(void)ttl;
	request->wait = NULL;
	if (count > 0)
		dial(request, addresses, count);
	else
		fail(request, EGRESS_UPSTREAM_UNRESOLVED, "%s: %s%s", request->host,
		     request->proxy ? "the upstream proxy: " : "", problem);
}

/* How a stream to this target is made by the settings in force. */
static unsigned mark_of(const struct upstream *upstream, const struct upstream_target *target)
{
	bool relayed = upstream_proxy_serves(upstream->proxy, target->host, target->address);

	return upstream->generation << 2 | (target->tls ? 2u : 0) | (relayed ? STREAM_RELAYED : 0);
}

static unsigned mark_of_request(const struct upstream_request *request)
{
	bool named = !request->by_address;

	return mark_of(request->upstream, &(struct upstream_target){
						  .host = named ? request->host : NULL,
						  .address = named ? NULL : &request->address,
						  .tls = request->tls,
					  });
}

/* May end the request. */
static void begin(struct upstream_request *request)
{
	struct upstream *upstream = request->upstream;
	const char *name = request->host;
	struct resolver_wait *wait;

	/* While the name is looked up and TCP connects. */
	if (request->tls)
		tls_client_warm(upstream->tls);
	request->mark = mark_of_request(request);
	if (request->mark & STREAM_RELAYED) {
		request->proxy = upstream_proxy_ref(upstream->proxy);
		name = upstream_proxy_host(request->proxy);
		if (request->by_address && !may_ask(request, &request->address)) {
			fail(request, EGRESS_PRIVATE_ADDRESS,
			     "%s is a private or reserved address, which its route does not allow",
			     request->host);
			return;
		}
	} else if (request->by_address) {
		dial(request, &request->address, 1);
		return;
	}
	wait = resolver_get(upstream->resolver, name, on_resolved, request);
	if (wait)
		request->wait = wait;
}

/* ---- requests that wait for one another's session -------------------------------------------- */

static void arm(struct upstream_request *request)
{
	timeout_add(&request->timer, request->upstream->timeout_ms);
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
	finish(request, EGRESS_ALLOWED, stream);
	return true;
}

/* Another in the line may have been passed over since it is for HTTP/1.1 alone. */
static void begin_turn(struct line_wait *turn)
{
	if (!serve_turn(turn))
		begin(request_of(turn));
}

/* May end the request. */
static void join(struct upstream_request *request)
{
	struct pool_key key = key_of_request(request);

	/* By then companions look for it. */
	request->mark = mark_of_request(request);
	if (request->fresh || lines_join(request->upstream->lines, &key, &request->turn))
		begin(request);
}

/* Dials for itself, and for who still follows. May end the request. */
static void lead(struct upstream_request *request)
{
	request->upstream->followers -= request->follows;
	request->follows = false;
	arm(request);
	join(request);
}

/* A streak of requests to a host that speaks HTTP/2 makes one connection, not one for each. */
static bool may_follow(struct upstream_request *request, const struct upstream_target *target)
{
	if (!request->tls || request->http1 || !target->host ||
	    h2_pool_protocol(request->upstream->sessions, request->host, request->port) !=
		    UPSTREAM_HTTP2)
		return false;
	request->mark = mark_of(request->upstream, target);
	return companion(request, false);
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
			finish(request, reason, stream);
			continue;
		}
		lead(request);
		/* The others follow this one. Where it was HTTP/1.1 after all, each leads. */
		if (h2_pool_protocol(upstream->sessions, leader->host, leader->port) ==
		    UPSTREAM_HTTP2)
			break;
	}
}

/* ---- a request ------------------------------------------------------------------------------ */

static struct pool_key key_of(const struct upstream_target *target, char text[ADDRESS_TEXT_SIZE])
{
	const char *host = target->host ? target->host : address_format(target->address, text);

	return (struct pool_key){host, target->port, target->tls, target->allow_private,
				 target->tls ? client_cert_id(target->client) : 0};
}

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
	request->next = upstream->requests;
	request->at = &upstream->requests;
	if (request->next)
		request->next->at = &request->next;
	upstream->requests = request;
	evtimer_assign(&request->timer, upstream->base, on_timeout, request);
	arm(request);
	return request;
}

struct upstream_request *upstream_get(struct upstream *upstream,
				      const struct upstream_target *target, bool fresh,
				      upstream_done_fn done, void *context)
{
	char text[ADDRESS_TEXT_SIZE];
	struct pool_key key = key_of(target, text);
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
	request->follows = may_follow(request, target);
	upstream->followers += request->follows;
	if (!request->follows)
		join(request);
	if (finished)
		return NULL;
	request->finished = NULL;
	return request;
}

/* A connection from before the last reconfiguration was verified by other roots, or made in another
 * way: not kept. */
void upstream_put(struct upstream *upstream, const struct upstream_target *target,
		  struct stream *stream)
{
	char text[ADDRESS_TEXT_SIZE];
	struct pool_key key = key_of(target, text);
	const struct egress_address *address = stream_peer(stream);

	if (!stream_is_framed(stream) && stream_mark(stream) == mark_of(upstream, target) && address)
		pool_put(upstream->pool, &key, address, stream);
	else
		stream_free(stream);
	lines_offer(upstream->lines, &key);
}

void upstream_forget(struct upstream *upstream, const char *host)
{
	pool_forget(upstream->pool, host);
	h2_pool_forget(upstream->sessions, host);
}

size_t upstream_idle(const struct upstream *upstream)
{
	return pool_count(upstream->pool);
}

size_t upstream_stuck(const struct upstream *upstream)
{
	return h2_pool_stuck(upstream->sessions);
}

void upstream_shed(struct upstream *upstream, size_t at_least)
{
	h2_pool_shed(upstream->sessions, at_least);
}

enum upstream_protocol upstream_protocol(const struct upstream *upstream, const char *host,
					 uint16_t port)
{
	return h2_pool_protocol(upstream->sessions, host, port);
}

void upstream_resolve(struct upstream *upstream, const char *name, upstream_resolved_fn done,
		      void *context)
{
	look_begin(&upstream->looks, upstream->resolver, name, done, context);
}

/* ---- set up --------------------------------------------------------------------------------- */

static const struct line_ops turns = {serve_turn, begin_turn};

int upstream_new(struct event_base *base, const struct config *config, struct upstream **ret,
		 struct error *error)
{
	struct upstream *upstream = calloc(1, sizeof(*upstream));

	if (!upstream)
		return error_set(error, "out of memory");
	upstream->base = base;
	upstream->synthetic = config->dns.pool;
	upstream->timeout_ms = TIMEOUT_MS;
	upstream->pool = pool_new(base, IDLE_MS);
	upstream->sessions = h2_pool_new(base, IDLE_MS);
	upstream->lines = lines_new(base, &turns);
	if (!upstream->pool || !upstream->sessions || !upstream->lines) {
		error_set(error, "out of memory");
	} else if (upstream_proxy_new(config, &upstream->proxy, error) == 0 &&
		   tls_client_new(config, &upstream->tls, error) == 0 &&
		   resolver_new(base, config, &resolver_system_paths, &upstream->resolver, error) ==
			   0) {
		*ret = upstream;
		return 0;
	}
	upstream_free(upstream);
	return -1;
}

struct upstream_change {
	struct tls_client *tls;
	struct upstream_proxy *proxy;
};

int upstream_prepare(const struct config *config, struct upstream_change **ret,
		     struct error *error)
{
	struct upstream_change *change = calloc(1, sizeof(*change));

	if (!change)
		return error_set(error, "out of memory");
	if (upstream_proxy_new(config, &change->proxy, error) < 0 ||
	    tls_client_new(config, &change->tls, error) < 0) {
		upstream_change_free(change);
		return -1;
	}
	/* We are beside the event loop here. */
	tls_client_ready(change->tls);
	*ret = change;
	return 0;
}

void upstream_change_free(struct upstream_change *change)
{
	if (!change)
		return;
	tls_client_free(change->tls);
	upstream_proxy_unref(change->proxy);
	free(change);
}

/* All that can fail is the resolver's files; they are read first. */
int upstream_apply(struct upstream *upstream, struct upstream_change *change,
		   const struct config *config, struct error *error)
{
	struct upstream_change old = {upstream->tls, upstream->proxy};

	if (resolver_reconfigure(upstream->resolver, config, &resolver_system_paths, error) < 0)
		return -1;
	upstream_forget(upstream, NULL);
	upstream->tls = change->tls;
	upstream->proxy = change->proxy;
	*change = old;
	upstream_change_free(change);
	upstream->generation++;
	upstream->synthetic = config->dns.pool;
	return 0;
}

void upstream_set_timeout(struct upstream *upstream, unsigned milliseconds)
{
	upstream->timeout_ms = milliseconds;
}

void upstream_free(struct upstream *upstream)
{
	struct upstream_request *next_request;

	if (!upstream)
		return;
	for (struct upstream_request *request = upstream->requests; request;
	     request = next_request) {
		next_request = request->next;
		upstream_cancel(request);
	}
	look_end_all(upstream->looks);
	lines_free(upstream->lines);
	pool_free(upstream->pool);
	h2_pool_free(upstream->sessions);
	resolver_free(upstream->resolver);
	tls_client_free(upstream->tls);
	upstream_proxy_unref(upstream->proxy);
	free(upstream);
}
