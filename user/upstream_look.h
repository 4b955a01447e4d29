/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-ups for dns.mode real, each of which is answered once. Part of upstream. */
#ifndef UPSTREAM_LOOK_H
#define UPSTREAM_LOOK_H

#include "upstream.h"
#include "upstream_resolver.h"

struct look;
/* As upstream_resolve(); under way it is in `list`. */
void look_begin(struct look **list, struct resolver *resolver, const char *name,
		upstream_resolved_fn done, void *context);
/* None of them is answered any more. */
void look_end_all(struct look *list);

#endif
