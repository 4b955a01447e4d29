/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters of bottles in Prometheus' text format (version 0.0.4), and a server for them. */
#ifndef METRICS_H
#define METRICS_H

#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

/* Hosts of one bottle that get a label of their own; the others are added up as host="". */
#define METRICS_HOSTS 256

/* Appends everything of one bottle, or of all when `name` is NULL; a bottle that cannot be read is
 * left out. False when out of memory. */
bool metrics_collect(const char *name, struct bytes *ret) WARN_UNUSED;

/* Serves GET /metrics at "ADDR:PORT", "[ADDR]:PORT", or the path of a unix socket, which is made with
 * mode 0600, until SIGTERM or SIGINT. What comes in is read by a process without any right; this one
 * reads the counters for it. Calls `ready` when it listens. Returns -1 with `error` set when it
 * cannot serve. */
int metrics_serve(const char *address, const char *name, void (*ready)(const char *address),
		  struct error *error) WARN_UNUSED;

#endif
