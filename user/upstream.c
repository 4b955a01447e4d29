// SPDX-License-Identifier: BSD-2-Clause
/* The settings that requests share, what replaces them on a reload, and the connections that are
 * kept. */
#include "upstream_private.h"

#include <stdlib.h>

#include "upstream_h2.h"
#include "upstream_look.h"
#include "upstream_proxy.h"
#include "upstream_resolver.h"
#include "upstream_tls.h"

/* For all of it: resolving, connecting, the proxy, TLS. */
#define TIMEOUT_MS 10000
#define IDLE_MS 30000 /* below the 60 and 75 s of common servers: we close first */

/* ---- connections that are kept --------------------------------------------------------------- */

struct pool_key upstream_key(const struct upstream_target *target, char text[ADDRESS_TEXT_SIZE])
{
	const char *host = target->host ? target->host : address_format(target->address, text);

	return (struct pool_key){host, target->port, target->tls, target->allow_private,
				 target->tls ? client_cert_id(target->client) : 0};
}

/* A connection from before the last reconfiguration was verified by other roots, or made in another
 * way: not kept. */
void upstream_put(struct upstream *upstream, const struct upstream_target *target,
		  struct stream *stream)
{
	char text[ADDRESS_TEXT_SIZE];
	struct pool_key key = upstream_key(target, text);
	const struct egress_address *address = stream_peer(stream);

	if (!stream_is_framed(stream) && stream_mark(stream) == way_mark(upstream, target) &&
	    address)
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
	upstream->lines = lines_new(base, &request_turns);
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

int upstream_prepare(const struct config *config, struct upstream_change **ret, struct error *error)
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
