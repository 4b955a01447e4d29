/* SPDX-License-Identifier: BSD-2-Clause */
/* Names to addresses as the host would: hosts(5), then DNS by resolv.conf or `resolvers`. Part of
 * upstream; nothing else includes it. */
#ifndef UPSTREAM_RESOLVER_H
#define UPSTREAM_RESOLVER_H

#include <event2/event.h>

#include "address.h"
#include "attributes.h"
#include "config.h"
#include "diag.h"

#define RESOLVER_MAX_ADDRESSES 16

/* ---- hosts(5) ------------------------------------------------------------------------------- */

struct hosts;
/* NULL when out of memory; a file that cannot be read is an empty one. */
struct hosts *hosts_load(const char *path) WARN_UNUSED;
void hosts_free(struct hosts *hosts);
/* Adds up to RESOLVER_MAX_ADDRESSES and returns how many. */
size_t hosts_find(const struct hosts *hosts, const char *name, struct egress_address *addresses);

/* ---- the resolver --------------------------------------------------------------------------- */

struct resolver;
struct resolver_paths {
	const char *hosts, *resolv_conf;
};
extern const struct resolver_paths resolver_system_paths;

int resolver_new(struct event_base *base, const struct config *config,
		 const struct resolver_paths *paths, struct resolver **ret, struct error *error)
	WARN_UNUSED;
/* On failure the old settings stay. Look-ups under way are asked again of the new servers. */
int resolver_reconfigure(struct resolver *resolver, const struct config *config,
			 const struct resolver_paths *paths, struct error *error) WARN_UNUSED;
/* No callback comes any more. Not from inside one. */
void resolver_free(struct resolver *resolver);

/* Addresses in the order to try them (RFC 8305: families interleaved, IPv6 first); when there is
 * none, `problem` says why. */
typedef void (*resolver_done_fn)(void *context, const struct egress_address *addresses,
				 size_t count, uint32_t ttl, const char *problem);
/* NULL when `done` was called already. */
struct resolver_wait;
struct resolver_wait *resolver_get(struct resolver *resolver, const char *name,
				   resolver_done_fn done, void *context);
void resolver_cancel(struct resolver_wait *wait); /* accepts NULL */

#endif
