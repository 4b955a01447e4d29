/* SPDX-License-Identifier: BSD-2-Clause */
/* The bottle's CA: its files, the leaves it signs, and the worker's cache of them. The CA's key
 * stays in the supervisor; the worker has a leaf key and asks for signatures. */
#ifndef CERT_AUTHORITY_H
#define CERT_AUTHORITY_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

/* ---- the authority: supervisor and `ca init` ------------------------------------------------ */

struct cert_authority;

/* A new CA in memory: P-256, ten years, notBefore an hour back, pathlen 0. */
int cert_authority_new(const char *common_name, struct cert_authority **ret, struct error *error)
	WARN_UNUSED;
/* Reads DIR/ca.pem; an error names the file and what is wrong (mode, key does not match, ...). */
int cert_authority_load(const char *directory, struct cert_authority **ret, struct error *error)
	WARN_UNUSED;
/* Writes DIR/ca.pem (certificate and key, 0600) and DIR/ca-cert.pem (0644), each by rename.
 * Refuses to replace a CA that is there, unless `replace`. */
int cert_authority_save(const struct cert_authority *ca, const char *directory, bool replace,
			struct error *error) WARN_UNUSED;
void cert_authority_free(struct cert_authority *ca); /* wipes the key */
/* Whether the files of trusted roots of a policy's `upstream` can be used: readable, and certificates in
 * PEM form. NULL: there is none. The error names the key. */
int cert_authority_check_roots(const char *ca_file, const char *proxy_ca_file, struct error *error)
	WARN_UNUSED;
/* The CA certificate as PEM and as DER; appended to `ret`. */
int cert_authority_pem(const struct cert_authority *ca, struct bytes *ret) WARN_UNUSED;
int cert_authority_der(const struct cert_authority *ca, struct bytes *ret) WARN_UNUSED;
/* Signs a leaf for one host name (SAN dNSName; iPAddress for a literal) over the public key given
 * as SubjectPublicKeyInfo DER. Appends the certificate's DER. Seven days, notBefore an hour back. */
int cert_authority_sign(struct cert_authority *ca, const char *host, struct span public_key,
			struct bytes *ret_der, struct error *error) WARN_UNUSED;

/* ---- the leaves: worker --------------------------------------------------------------------- */

/* Asks the authority for a leaf; see cert_authority_sign(). 0 or -1. */
typedef int (*leaf_sign_fn)(void *context, const char *host, struct span public_key,
			    struct bytes *ret_der);

struct leaf_cache;
/* One P-256 key for the process; at most `capacity` hosts, the least recently used goes first.
 * `ca_der` is the issuer: leaves of another are refused. Only the leaf is sent: what trusts the
 * bottle's CA has it. NULL when out of memory or when `ca_der` is no certificate. */
struct leaf_cache *leaf_cache_new(leaf_sign_fn sign, void *context, struct span ca_der,
				  size_t capacity) WARN_UNUSED;
struct tickets;
/* Seals sessions as others do who have it, too; before the first leaf. */
void leaf_cache_set_tickets(struct leaf_cache *cache, const struct tickets *tickets);
/* While `alone` says that there are no others, sessions are kept here instead (session_cache.h). It is
 * asked for each connection; without it they are sealed. */
void leaf_cache_set_alone(struct leaf_cache *cache, bool (*alone)(void *context), void *context);
/* A server context for the host, minted at the first call: TLS 1.2 and 1.3, tickets, ALPN
 * http/1.1. Renewed before it expires. Borrowed until the next call; SSL_new() takes its own
 * reference. NULL when the authority refused. No handshake outlives the cache. */
SSL_CTX *leaf_cache_get(struct leaf_cache *cache, const char *host);
void leaf_cache_free(struct leaf_cache *cache);

#endif
