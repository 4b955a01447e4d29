/* SPDX-License-Identifier: BSD-2-Clause */
/* A certificate and key that we show to an origin as TLS client. Calls nothing of ours. */
#ifndef CLIENT_CERT_H
#define CLIENT_CERT_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

/* Counted references, from any thread: a reload frees the old policy, which holds one, beside the
 * loop, where connections hold others. */
struct client_cert;
/* From PEM: the certificate with its chain behind it, and an unencrypted key that fits. -1 with
 * `error` set; the message tells what is wrong and holds nothing of either. */
int client_cert_new(struct span certificate, struct span key, struct client_cert **ret,
		    struct error *error) WARN_UNUSED;
struct client_cert *client_cert_ref(struct client_cert *cert);
void client_cert_unref(struct client_cert *cert); /* accepts NULL; wipes the key with the last */
/* The two texts as they were given, borrowed. */
struct span client_cert_certificate(const struct client_cert *cert);
struct span client_cert_key(const struct client_cert *cert);
/* Tells identities apart: a hash over both texts; 0 for NULL. */
uint64_t client_cert_id(const struct client_cert *cert);
/* Has the connection show it when it is asked to. False when out of memory. */
bool client_cert_use(const struct client_cert *cert, SSL *ssl) WARN_UNUSED;

#endif
