/* SPDX-License-Identifier: BSD-2-Clause */
/* The way to the real host: resolve, check the address, dial, verify, pool; or through upstream.proxy,
 * which then resolves and dials: the stream has STREAM_RELAYED in its mark. */
#ifndef UPSTREAM_H
#define UPSTREAM_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "attributes.h"
#include "config.h"
#include "diag.h"
#include "reason.h"
#include "stream.h"

struct upstream;

/* Loads the system's roots, `ca_file`, resolv.conf and hosts(5). -1 with `error` set. */
int upstream_new(struct event_base *base, const struct config *config, struct upstream **ret,
		 struct error *error) WARN_UNUSED;
/* What a new configuration asks for: roots, certificates, the next proxy. Reads files and takes its
 * time; touches no `upstream`, so any thread may do it. -1 with `error` set. */
struct upstream_change;
int upstream_prepare(const struct config *config, struct upstream_change **ret,
		     struct error *error) WARN_UNUSED;
void upstream_change_free(struct upstream_change *change); /* accepts NULL */
/* Takes over `change`, made from the same `config`; reads resolvers; idle connections are closed.
 * On failure the old settings stay, and `change` is still the caller's. */
int upstream_apply(struct upstream *upstream, struct upstream_change *change,
		   const struct config *config, struct error *error) WARN_UNUSED;
/* No callback comes after it; requests under way are cancelled. Not from inside a callback. Run
 * the event loop once more before freeing it, so that evdns can let go of its queries. */
void upstream_free(struct upstream *upstream);
void upstream_set_timeout(struct upstream *upstream, unsigned milliseconds); /* default 10 s */

struct upstream_target {
	const char *host;		      /* name to resolve, verify and send as SNI; or */
	const struct egress_address *address; /* the address itself (cidr routes): no TLS */
	uint16_t port;
	bool tls;	    /* verified TLS, ALPN h2 and http/1.1; else plain bytes */
	bool http1;	    /* ALPN http/1.1 alone: for what HTTP/2 may not be able to carry */
	bool anyhow;	    /* with http1: also from a host that does not say that it speaks it */
	struct client_cert *client; /* to show to the host in TLS, or NULL */
	bool allow_private; /* else private addresses are refused, on the very address dialled */
};

struct upstream_result {
	enum egress_reason reason; /* EGRESS_ALLOWED, or why there is no stream */
	const char *detail;	   /* "certificate has expired", ...; valid during the callback */
	struct stream *stream;	   /* the caller's from now on; handshake done; ready unset; framed,
				      for one request, where the host speaks HTTP/2 */
	bool reused;		   /* from the pool: may turn out to be dead */
	bool not_http1;		   /* no stream: asked for http1, the host did not agree to it */
	struct egress_address address; /* dialled: the host's, or the proxy's */
};
typedef void (*upstream_done_fn)(void *context, const struct upstream_result *result);

/* Gets a connection: an idle one of the same host, port and TLS, a new one (Happy Eyeballs, RFC 8305),
 * or whichever becomes idle before TLS begins; in the order of asking. `fresh` forbids all but a new
 * one. `done` is called once, maybe before this returns; then the handle is NULL. Otherwise the handle
 * may be given to upstream_cancel() until `done` was called. Times out after 10 s (UPSTREAM_TIMEOUT).
 * `target` and what it points to are copied. */
struct upstream_request;
struct upstream_request *upstream_get(struct upstream *upstream,
				      const struct upstream_target *target, bool fresh,
				      upstream_done_fn done, void *context);
void upstream_cancel(struct upstream_request *request); /* accepts NULL */

/* What the host agreed on when it was last dialled by TLS, as far as it is remembered. */
enum upstream_protocol { UPSTREAM_UNKNOWN, UPSTREAM_HTTP1, UPSTREAM_HTTP2 };
enum upstream_protocol upstream_protocol(const struct upstream *upstream, const char *host,
					 uint16_t port);

/* Gives back a connection whose exchange is complete and that may serve another; `target` as it
 * was given to upstream_get(). A framed stream is freed: its connection is kept anyway. */
void upstream_put(struct upstream *upstream, const struct upstream_target *target,
		  struct stream *stream);
/* The most that a session of HTTP/2 holds whose host takes nothing at the moment: requests, also those
 * that were given up meanwhile, for they are nobody else's by then. */
size_t upstream_stuck(const struct upstream *upstream);
/* Ends the sessions that hold so much, and their requests. Not from within a stream's callback. */
void upstream_shed(struct upstream *upstream, size_t at_least);
/* Closes idle connections to a host (its route is gone); NULL: all. */
void upstream_forget(struct upstream *upstream, const char *host);

/* Addresses of a name as the host would resolve it, for dns.mode real. Called once, maybe before
 * this returns; count 0 means it does not resolve. */
typedef void (*upstream_resolved_fn)(void *context, const struct egress_address *addresses,
				     size_t count, uint32_t ttl);
void upstream_resolve(struct upstream *upstream, const char *name, upstream_resolved_fn done,
		      void *context);

#endif
