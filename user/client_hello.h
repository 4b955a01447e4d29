/* SPDX-License-Identifier: BSD-2-Clause */
/* The server name of a ClientHello, parsed by OpenSSL. */
#ifndef CLIENT_HELLO_H
#define CLIENT_HELLO_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "bytes.h"

#define CLIENT_HELLO_MAX (64 * 1024)

struct client_hello;
struct client_hello *client_hello_new(void) WARN_UNUSED;
void client_hello_free(struct client_hello *hello);
/* Feeds the first bytes of a connection, all of them each time, as MSG_PEEK shows them. 1 when the
 * name is known (normalised, EGRESS_NAME_SIZE bytes; "" when the client sent none or a bad one),
 * 0 when more is needed, -1 when this is no ClientHello. */
int client_hello_feed(struct client_hello *hello, struct span bytes, char *ret_name) WARN_UNUSED;

/* For use within a client_hello_cb: the name as above; false when there is none. */
bool client_hello_name(SSL *ssl, char *ret_name);

#endif
