/* SPDX-License-Identifier: BSD-2-Clause */
/* Verified TLS towards the real host, with sessions to resume. Part of upstream. */
#ifndef UPSTREAM_TLS_H
#define UPSTREAM_TLS_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "attributes.h"
#include "client_cert.h"
#include "config.h"
#include "diag.h"
#include "reason.h"

struct tls_client;

/* Reads the system's roots and `upstream.ca_file`: nothing is read from files later. The system's
 * are parsed by the first tls_client_connection(), unless one of the two below came before. */
int tls_client_new(const struct config *config, struct tls_client **ret, struct error *error)
	WARN_UNUSED;
/* For a https:// upstream.proxy: trusts `upstream.proxy_ca_file` alone, where there is one. */
int tls_client_new_for_proxy(const struct config *config, struct tls_client **ret,
			     struct error *error) WARN_UNUSED;
/* Begins to parse them on a thread beside the caller's; nothing happens when that is done. */
void tls_client_warm(struct tls_client *client);
void tls_client_ready(struct tls_client *client); /* waits until they are parsed, or does it */
/* Connections in use stay valid; their sessions are no longer kept. */
void tls_client_free(struct tls_client *client);

/* A connection's state: SNI, the name that the certificate must have, ALPN, the certificate to show
 * (or NULL), a session of the same host, port and certificate if there is one. NULL when out of
 * memory. Caller frees. */
SSL *tls_client_connection(struct tls_client *client, const char *host, uint16_t port,
			   const struct client_cert *cert) WARN_UNUSED;
/* Offers HTTP/2 before HTTP/1.1; and after the handshake: was it chosen? */
void tls_client_offer_h2(SSL *ssl);
bool tls_client_chose_h2(const SSL *ssl);
bool tls_client_chose(const SSL *ssl); /* any protocol at all */

/* After stream_handshake() returned `rc` (1 or an error): EGRESS_ALLOWED, or what is wrong, and a
 * text about it in `detail`. Empties OpenSSL's error queue. */
enum egress_reason tls_client_judge(SSL *ssl, const char *host, int rc, char *detail, size_t size);

#endif
