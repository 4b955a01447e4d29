/* SPDX-License-Identifier: BSD-2-Clause */
/* dns.mode real: which names were given which true addresses, so that a reload can tell what of them
 * the new policy allows. */
#ifndef LEDGER_SHARED_H
#define LEDGER_SHARED_H

#include <stddef.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"

struct ledger_shared;

struct ledger_shared *ledger_shared_new(void) WARN_UNUSED; /* NULL: out of memory */
void ledger_shared_free(struct ledger_shared *shared);
/* Remembers a pair. What there is no room for is not: a reload then closes it, and the program has to
 * ask again. */
void ledger_shared_add(struct ledger_shared *shared, const char *name,
		       const struct egress_address *address);
void ledger_shared_clear(struct ledger_shared *shared);
/* Calls back once for each address with all of its names; stops when that returns non-zero, and
 * returns that. -1 when out of memory. */
int ledger_shared_each(struct ledger_shared *shared,
		       int (*each)(void *context, const struct egress_address *address,
				   const char *const *names, size_t count),
		       void *context) WARN_UNUSED;

#endif
