/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP/2 with the client: a session, and an exchange for each of its streams. */
#ifndef HTTP2_H
#define HTTP2_H

#include "connection_private.h"

/* Each stream is judged by itself, and answered as on HTTP/1; a name that is not the connection's
 * gets 421. */
extern const struct protocol http2_protocol;

#endif
