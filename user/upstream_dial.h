/* SPDX-License-Identifier: BSD-2-Clause */
/* Happy Eyeballs (RFC 8305): the first of several addresses that answers. Part of upstream. */
#ifndef UPSTREAM_DIAL_H
#define UPSTREAM_DIAL_H

#include <event2/event.h>

#include "address.h"
#include "attributes.h"
#include "stream.h"

struct dial_result {
	struct stream *stream; /* connected and the receiver's, ready unset; NULL when none answered */
	struct egress_address address; /* that answered, or the last that failed */
	int error;		       /* of the last that failed */
};
typedef void (*dial_done_fn)(void *context, const struct dial_result *result);

/* Tries the addresses in order, 250 ms apart or as soon as one fails; `addresses` (at least one)
 * are copied. NULL when `done` was called already. */
struct dial;
struct dial *dial_start(struct event_base *base, const struct egress_address *addresses,
			size_t count, uint16_t port, dial_done_fn done, void *context);
void dial_cancel(struct dial *dial); /* accepts NULL */

#endif
