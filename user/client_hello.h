/* SPDX-License-Identifier: BSD-2-Clause */
/* The server name of a ClientHello, parsed by OpenSSL. */
#ifndef CLIENT_HELLO_H
#define CLIENT_HELLO_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "bytes.h"

#define CLIENT_HELLO_MAX (64 * 1024) /* the message; post-quantum shares and tickets make it grow */
#define CLIENT_HELLO_RECORDS 32	     /* that it may be spread over */
/* As it comes: with the headers of records (5 bytes) and of the last record's rest. */
#define CLIENT_HELLO_BYTES (CLIENT_HELLO_MAX + 16384 + 5 * CLIENT_HELLO_RECORDS)

/* Looks at the first bytes of a connection, all of them each time, as MSG_PEEK shows them. 1 when the
 * name is known (normalised, EGRESS_NAME_SIZE bytes; "" when the client sent none or a bad one), 0
 * when it takes at least `ret_need` bytes in all to say more, -1 when this is no ClientHello, or one
 * past the limits. OpenSSL sees whole messages only, so that waiting costs one look per record. */
int client_hello_parse(struct span bytes, size_t *ret_need, char *ret_name) WARN_UNUSED;

/* For use within a client_hello_cb: the name as above; false when there is none. */
bool client_hello_name(SSL *ssl, char *ret_name);

#endif
