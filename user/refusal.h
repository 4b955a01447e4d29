/* SPDX-License-Identifier: BSD-2-Clause */
/* One refusal as the supervisor gets it from the worker, through a feed: fields with lengths, so that
 * it has no line of the bottle's to parse. */
#ifndef REFUSAL_H
#define REFUSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "reason.h"

#define REFUSAL_PATH_MAX 1024	/* what is longer is cut: no exact path can be granted then */
#define REFUSAL_METHOD_MAX 32
#define REFUSAL_PACKED_MAX 2048

/* Texts are borrowed; empty: unknown. */
struct refusal {
	uint64_t id; /* of the record, of its feed */
	enum egress_reason reason;
	uint16_t port; /* 0: unknown */
	struct span protocol; /* "https", "h2", "http", "dns", "tcp", ... */
	struct span host, address;
	struct span method, path; /* the path without its query */
	bool path_cut; /* or made readable: not the path that was asked for */
};

/* Whether an operator could do anything about it: what policy refused, not what failed. */
bool refusal_is_pending(enum egress_reason reason);
/* Cuts, and makes readable, what is too long or no text. Returns the length. */
size_t refusal_pack(const struct refusal *refusal, char ret[REFUSAL_PACKED_MAX]);
/* The texts point into `packed`. False for what refusal_pack() never writes: whoever wrote it may
 * have been taken over. */
bool refusal_unpack(struct span packed, struct refusal *ret) WARN_UNUSED;

/* The rules for each text, also for those that come another way. */
bool refusal_host_valid(struct span host);
bool refusal_method_valid(struct span method); /* a token: RFC 9110, 5.6.2 */
bool refusal_path_valid(struct span path);     /* "/" and what is printable in ASCII, without "?", "#" */

#endif
