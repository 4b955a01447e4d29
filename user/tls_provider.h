/* SPDX-License-Identifier: BSD-2-Clause */
/* What OpenSSL 3.0 does slowly on the way of a connection, done by others through its own interface
 * for that, provider(7): AES-GCM by libipsec-mb where the processor has VAES (OpenSSL uses it
 * from 3.1 on), the keys of X25519 by libsodium, and the key schedule of TLS 1.3 without some
 * hundred look-ups by name. */
#ifndef TLS_PROVIDER_H
#define TLS_PROVIDER_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* Loads it into the default library context, once, before the process gives up its privileges:
 * libraries are opened. What cannot be had is left to OpenSSL. False: OpenSSL itself did not start, which
 * it does not try a second time, and there is no TLS in this process. */
bool tls_provider_load(void);
/* For SSL_CTX_new_ex(3): prefers what was loaded; NULL when nothing was. */
const char *tls_provider_query(void);
/* A context for connections of clients, with what was loaded. NULL: no memory; the caller frees it.
 */
SSL_CTX *tls_provider_new_server(void);
/* Whose AES-GCM and X25519 connections have, in words. */
const char *tls_provider_describe(void);
const char *tls_provider_describe_x25519(void);

#endif
