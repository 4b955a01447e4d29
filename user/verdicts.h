/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker's counters, in maps that outlive it: see `verdicts` in bpf/egress_abi.h. */
#ifndef VERDICTS_H
#define VERDICTS_H

#include <stdint.h>

#include "attributes.h"
#include "reason.h"

struct verdicts;
/* Maps both into memory; -1 for a descriptor counts nothing there. NULL with errno set. Caller
 * frees; the descriptors may be closed after. */
struct verdicts *verdicts_new(int verdicts_fd, int host_verdicts_fd) WARN_UNUSED;
/* Adds one decision and the bytes it moved. `host_id` 0: no host, or one without an id. */
void verdicts_count(struct verdicts *verdicts, enum egress_reason reason, uint32_t host_id,
		    uint64_t bytes_up, uint64_t bytes_down);
void verdicts_free(struct verdicts *verdicts);

#endif
