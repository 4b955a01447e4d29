/* SPDX-License-Identifier: BSD-2-Clause */
/* Work that would hold up an event loop, on one thread beside it. */
#ifndef BACKGROUND_H
#define BACKGROUND_H

#include <event2/event.h>

#include "attributes.h"

struct background;
typedef void (*background_fn)(void *job);

/* Starts the thread, with all signals blocked. It keeps the credentials and the seccomp filter of
 * this moment: call it after privileges were dropped. NULL when there is no memory, no descriptor
 * or no thread to be had. */
struct background *background_new(struct event_base *base) WARN_UNUSED;
/* Calls `work` on the thread, one job after the other, then `done` from the event loop. `job` stays
 * the caller's; until `done` only `work` may touch it, and without one (NULL) nobody else at all. -1
 * when out of memory: nothing is called. */
int background_run(struct background *background, background_fn work, background_fn done, void *job)
	WARN_UNUSED;
/* Waits until all jobs are worked off, calls their `done`, and frees. Accepts NULL. */
void background_free(struct background *background);

#endif
