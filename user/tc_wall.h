/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds the interfaces that lead out of a bottle's network namespace, has their outer ends walled,
 * and goes on watching: a container may be connected to another network while it runs. */
#ifndef TC_WALL_H
#define TC_WALL_H

#include "attributes.h"
#include "diag.h"
#include "kernel.h"

struct event_base;
struct tc_wall;

/* Looks once, and walls what is there; reports what could not be. `kernel` is borrowed, for life.
 * Fails only when the namespace cannot be looked into. */
int tc_wall_open(struct kernel *kernel, int netns_fd, struct tc_wall **ret, struct error *error)
	WARN_UNUSED;
/* Keeps looking whenever a link changes, in the bottle's namespace or in ours. */
int tc_wall_watch(struct tc_wall *wall, struct event_base *base, struct error *error) WARN_UNUSED;
void tc_wall_free(struct tc_wall *wall); /* the walls stay */

#endif
