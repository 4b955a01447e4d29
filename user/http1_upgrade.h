/* SPDX-License-Identifier: BSD-2-Clause */
/* Leaving HTTP for another protocol on the same connection (RFC 9110, 7.8), whose bytes nobody judges. */
#ifndef HTTP1_UPGRADE_H
#define HTTP1_UPGRADE_H

#include "http1_head.h"

/* An upgrade that may pass: one protocol, not another HTTP, whose requests nobody would judge. */
bool http1_may_upgrade(const struct http1_head *head);

/* Whether this 101 is an answer to that request: the protocol that was asked for, and where the request
 * had a WebSocket's key, what answers it (RFC 6455, 4.1). */
bool http1_did_upgrade(const struct http1_head *request, const struct http1_head *response);

#endif
