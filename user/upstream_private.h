/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of upstream share about a request; nobody else includes this. */
#ifndef UPSTREAM_PRIVATE_H
#define UPSTREAM_PRIVATE_H

#include <event2/event_struct.h>

#include "upstream.h"
#include "upstream_line.h"
#include "upstream_pool.h"

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
	/* Of them: hundreds may wait in a line, and the end of each asks for one. */
	size_t followers;
	struct look *looks;
};

/* At most one of wait, dial and stream is set: resolving, connecting, TLS handshake; with `hop`
 * beside `stream`: asking the proxy. */
struct upstream_request {
	struct upstream *upstream;
	struct upstream_request *next, **at;
	/* Until TLS begins: from then on only its own connection serves it. */
	struct line_wait turn;
	char *host; /* or the address as text */
	uint16_t port;
	bool tls, http1, anyhow, allow_private;
	bool by_address; /* `address`, as asked for */
	bool fresh, reused;
	bool not_http1; /* the host did not agree to it */
	bool follows;	/* another of the same kind is on its way: it may bring a session for both */
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

/* The key of what is kept for this target: points into both, `text` for an address. */
struct pool_key upstream_key(const struct upstream_target *target, char text[ADDRESS_TEXT_SIZE]);

/* ---- upstream_request.c: who asks, who waits for whom, and how it ends --------------------- */

/* Answers the request and frees it, and serves those that followed it. `stream`, NULL for a failure
 * whose words are in `detail`, is from here on whoever asked's. */
void request_finish(struct upstream_request *request, enum egress_reason reason,
		    struct stream *stream);
/* The words are for the log and the bottle's 502: no secret comes near them. */
void request_fail(struct upstream_request *request, enum egress_reason reason, const char *format,
		  ...) PRINTF(3, 4);
/* Its stream leads to the host, and is verified where it is TLS. */
void request_succeed(struct upstream_request *request);
/* Of requests in a line. */
extern const struct line_ops request_turns;

/* ---- upstream_way.c: resolve, dial, verify --------------------------------------------------- */

/* A connection of its own. May end the request. */
void way_begin(struct upstream_request *request);
/* How a stream to this target is made by the settings in force. */
unsigned way_mark(const struct upstream *upstream, const struct upstream_target *target);
unsigned way_mark_of_request(const struct upstream_request *request);

#endif
