/* SPDX-License-Identifier: BSD-2-Clause */
/* Idle connections that may serve another request. Part of upstream. */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"
#include "stream.h"

/* What must agree before a connection is used again. A connection dialled where private addresses
 * are allowed must not serve a route where they are not. */
struct pool_key {
	const char *host; /* or an address as text */
	uint16_t port;
	bool tls, allow_private;
	uint64_t client; /* client_cert_id() of whom the host took us for */
};

bool pool_key_equal(const struct pool_key *a, const struct pool_key *b);
uint64_t pool_key_hash(const struct pool_key *key); /* agrees with equality; keyed */

struct pool;
struct pool *pool_new(struct event_base *base, unsigned idle_ms) WARN_UNUSED;
void pool_free(struct pool *pool); /* closes all */

/* Takes over the stream; closes it at once when it has something to say. Too many: the oldest goes. */
void pool_put(struct pool *pool, const struct pool_key *key, const struct egress_address *address,
	      struct stream *stream);
/* The one used last, the caller's from now on; NULL when there is none. */
struct stream *pool_take(struct pool *pool, const struct pool_key *key,
			 struct egress_address *ret_address) WARN_UNUSED;
/* NULL: all. None is handed out any more; they are closed by the loop, some at a time. */
void pool_forget(struct pool *pool, const char *host);

#endif
