/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP/2 sessions that requests share, and what hosts are known to speak. Part of upstream. */
#ifndef UPSTREAM_H2_H
#define UPSTREAM_H2_H

#include "upstream.h"
#include "upstream_pool.h"

struct h2_pool;
/* A session without requests is closed after `idle_ms`. NULL when out of memory. */
struct h2_pool *h2_pool_new(struct event_base *base, unsigned idle_ms) WARN_UNUSED;
void h2_pool_free(struct h2_pool *pool); /* closes all; accepts NULL */

/* A stream for one request on a session that has room; NULL when there is none. */
struct stream *h2_pool_take(struct h2_pool *pool, const struct pool_key *key,
			    struct egress_address *ret_address) WARN_UNUSED;
/* Begins a session on a connection that agreed on "h2", which it takes over, and returns its first
 * stream. `share`: it may serve others. NULL when out of memory. */
struct stream *h2_pool_add(struct h2_pool *pool, const struct pool_key *key,
			   const struct egress_address *address, struct stream *carrier,
			   bool share) WARN_UNUSED;
/* No new requests on a host's sessions; they end with those under way. NULL: all hosts. */
void h2_pool_forget(struct h2_pool *pool, const char *host);

/* See upstream_stuck() and upstream_shed(). */
size_t h2_pool_stuck(const struct h2_pool *pool);
void h2_pool_shed(struct h2_pool *pool, size_t at_least);

/* By ALPN, for so long. */
#define H2_KNOWN_SECONDS 600
#define H2_FAILED_SECONDS 20 /* a host that did not answer is not asked for each handshake anew */
void h2_pool_note(struct h2_pool *pool, const char *host, uint16_t port,
		  enum upstream_protocol protocol, unsigned seconds);
/* A host that has HTTP/2, and would not have HTTP/1.1: remembered as long as the former is. */
void h2_pool_note_alone(struct h2_pool *pool, const char *host, uint16_t port);
bool h2_pool_alone(const struct h2_pool *pool, const char *host, uint16_t port);
enum upstream_protocol h2_pool_protocol(const struct h2_pool *pool, const char *host, uint16_t port);

#endif
