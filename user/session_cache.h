/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS sessions that a server keeps itself: the client's ticket is their id and nothing else (RFC
 * 8446, 4.6.1; in TLS 1.2 the session id of RFC 5246, 7.3). That takes less than to seal a session
 * into its ticket and to open it again, but no other process can resume it. */
#ifndef SESSION_CACHE_H
#define SESSION_CACHE_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "attributes.h"

struct session_cache;

/* Holds `capacity` sessions, 1 to 65,535; the oldest goes first. NULL when out of memory. */
struct session_cache *session_cache_new(size_t capacity) WARN_UNUSED;
/* Connections of this context that have SSL_OP_NO_TICKET keep and find sessions here; those of others
 * are sealed. Takes the context's app_data and its session cache mode. No handshake outlives the
 * cache. 1 or 0 as SSL_CTX_set_app_data(3). */
int session_cache_serve(struct session_cache *cache, SSL_CTX *context) WARN_UNUSED;
void session_cache_clear(struct session_cache *cache); /* none of them is resumed */
void session_cache_free(struct session_cache *cache); /* accepts NULL */

#endif
