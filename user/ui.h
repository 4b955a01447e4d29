/* SPDX-License-Identifier: BSD-2-Clause */
/* The page of one bottle: live verdicts, its policy, what waits for a decision. Two processes: ours,
 * which may ask the sidecar, and one without any right, which speaks HTTP and asks ours. */
#ifndef UI_H
#define UI_H

#include "attributes.h"
#include "diag.h"

struct ui_options {
	const char *name;   /* of the bottle */
	const char *listen; /* "ADDR:PORT" or "[ADDR]:PORT" of loopback; port 0: any that is free */
	unsigned idle_s;    /* ends when no page has been open for so long */
};

/* Serves until SIGTERM or SIGINT, or until nobody looks. Calls `ready` with the address of the page, the
 * one-time token in it, when it listens. -1 with `error` set; 0: a signal, or nobody looked. */
int ui_serve(const struct ui_options *options, void (*ready)(const char *url), struct error *error)
	WARN_UNUSED;

#endif
