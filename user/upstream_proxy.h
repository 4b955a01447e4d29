/* SPDX-License-Identifier: BSD-2-Clause */
/* The way through another HTTP proxy (upstream.proxy): CONNECT, RFC 9110 section 9.3.6. Part of
 * upstream. */
#ifndef UPSTREAM_PROXY_H
#define UPSTREAM_PROXY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "attributes.h"
#include "config.h"
#include "diag.h"
#include "reason.h"
#include "stream.h"

/* What the configuration says about it: counted references, since requests under way outlive a
 * reload. *ret is NULL when there is no proxy. Loads proxy_ca_file. */
struct upstream_proxy;
int upstream_proxy_new(const struct config *config, struct upstream_proxy **ret,
		       struct error *error) WARN_UNUSED;
struct upstream_proxy *upstream_proxy_ref(struct upstream_proxy *proxy);
void upstream_proxy_unref(struct upstream_proxy *proxy); /* accepts NULL; wipes the password */

/* Does the way to this name, or (`host` NULL) address, lead through the proxy? `proxy` may be NULL:
 * then no. */
bool upstream_proxy_serves(const struct upstream_proxy *proxy, const char *host,
			   const struct egress_address *address);
/* Whom to resolve and dial. Borrowed. */
const char *upstream_proxy_host(const struct upstream_proxy *proxy);
uint16_t upstream_proxy_port(const struct upstream_proxy *proxy);

/* EGRESS_ALLOWED: the stream is the far end's from its next byte on. Else `detail`, valid during
 * the call, says why not, in words without control characters. */
typedef void (*proxy_hop_fn)(void *context, enum egress_reason reason, const char *detail);

/* Speaks TLS if it is to, then CONNECT for `host` (a name or an address) and port, over a stream
 * that is connected to the proxy and stays the caller's: it must live until `done`, which is called
 * once, from the event loop, after which the hop is gone; or until proxy_hop_cancel(). NULL when
 * out of memory. The time it may take is the caller's to limit. */
struct proxy_hop;
struct proxy_hop *proxy_hop_start(struct event_base *base, struct upstream_proxy *proxy,
				  struct stream *stream, const char *host, uint16_t port,
				  proxy_hop_fn done, void *context) WARN_UNUSED;
void proxy_hop_cancel(struct proxy_hop *hop); /* accepts NULL */

#endif
