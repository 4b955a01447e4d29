/* SPDX-License-Identifier: BSD-2-Clause */
/* The supervisor's book of names: which synthetic address belongs to which host, kept in the
 * pinned maps, so that a restarted sidecar keeps every address it gave out. The one place that
 * opens anything in the kernel wall. */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdint.h>

#include "attributes.h"
#include "config.h"
#include "diag.h"
#include "kernel.h"
#include "rpc.h"

struct ledger;

/* Reads back what the maps hold and brings it in line with the policy: first what is no longer
 * allowed is closed, then the rest is opened. `kernel` is borrowed. -1 with `error` set. */
int ledger_new(struct kernel *kernel, const struct config *config, struct ledger **ret,
	       struct error *error) WARN_UNUSED;
void ledger_free(struct ledger *ledger);

/* A reload in two steps: close what the new policy does not allow; later, when the worker has it,
 * open what it does. Between the two, what only one of them allows is refused. A failure in the
 * first may leave less open than before: ledger_open() with the old policy undoes that. */
int ledger_restrict(struct ledger *ledger, const struct config *next, struct error *error)
	WARN_UNUSED;
int ledger_open(struct ledger *ledger, const struct config *config, struct error *error)
	WARN_UNUSED;

/* The answers to the worker's calls; see rpc.h. Every name is judged by the policy in force. */
void ledger_bind_name(struct ledger *ledger, const char *name, struct rpc_host *ret);
void ledger_bind_addresses(struct ledger *ledger, const char *name,
			   const struct egress_address *addresses, size_t count,
			   struct rpc_host *ret);
void ledger_host_by_id(struct ledger *ledger, uint32_t id, struct rpc_host *ret);
/* The name of a host id, or NULL. Valid until the ledger is freed. */
const char *ledger_name(const struct ledger *ledger, uint32_t id);

#endif
