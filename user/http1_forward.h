/* SPDX-License-Identifier: BSD-2-Clause */
/* Heads as we send them on: written anew from what was parsed, never copied through. */
#ifndef HTTP1_FORWARD_H
#define HTTP1_FORWARD_H

#include "http1_head.h"
#include "http1_target.h"

/* Drops what is for one hop only, Connection's nominations included, and what we write ourselves
 * (Host, framing). False when there are too many Connection fields to be honest. */
bool http1_drop_hop_fields(struct http1_head *head) WARN_UNUSED;

/* Appends the head for the upstream, with the route's credential. False when memory is out or the
 * credential is missing. `head` has been through http1_drop_hop_fields(). */
bool http1_compose_request(const struct http1_head *head, const struct http1_asked *asked,
			   const struct policy_route *route, bool upgrade, struct bytes *ret)
	WARN_UNUSED;

enum http1_connection_field { HTTP1_SAY_NOTHING, HTTP1_SAY_CLOSE, HTTP1_SAY_KEEP_ALIVE,
			      HTTP1_SAY_UPGRADE };
/* Appends the head for the client. `chunk`: the body goes out in chunks; else a length that is
 * known is said when `say_length`. */
bool http1_compose_response(const struct http1_head *head, bool chunk, bool say_length,
			    enum http1_connection_field say, struct bytes *ret) WARN_UNUSED;

#endif
