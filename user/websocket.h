/* SPDX-License-Identifier: BSD-2-Clause */
/* What answers the key of a WebSocket's handshake (RFC 6455, 4.2.2). */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "policy.h"

#define WEBSOCKET_ACCEPT_SIZE 29 /* of Sec-WebSocket-Accept, with its NUL */

/* For the one Sec-WebSocket-Key among these fields. False when there is none, or several. */
bool websocket_accept(const struct policy_header *fields, size_t count,
		      char ret[WEBSOCKET_ACCEPT_SIZE]) WARN_UNUSED;
/* The value of the only field of that name; data is NULL when there is none, or several. */
struct span websocket_field(const struct policy_header *fields, size_t count, struct span name);

#endif
