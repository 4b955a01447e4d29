/* SPDX-License-Identifier: BSD-2-Clause */
/* A bottle's state as JSON: what `status --json` prints and what the page of `ui` shows. */
#ifndef STATUS_H
#define STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "kernel.h"

/* Counters that are no reasons; `enum egress_counter` from EGRESS_REASON_COUNT on. */
extern const char *const status_counter_names[EGRESS_COUNTER_COUNT - EGRESS_REASON_COUNT];

size_t status_attached_links(const struct kernel_status *status);
/* Every link is attached. No links at all is not whole. */
bool status_is_whole(const struct kernel_status *status);
/* Wires that are not walled from outside. */
size_t status_open_wires(const struct kernel_status *status);

/* What only a living sidecar knows, asked over its control socket; NULL when it does not say. Waits
 * at most some seconds. Caller frees. */
json_t *status_ask_sidecar(const char *name) WARN_UNUSED;
/* `sidecar` is borrowed, and may be NULL. NULL when out of memory; caller frees. */
json_t *status_json(const struct kernel_status *status, json_t *sidecar) WARN_UNUSED;

#endif
