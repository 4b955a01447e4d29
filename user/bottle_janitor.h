/* SPDX-License-Identifier: BSD-2-Clause */
/* What an exec leaves on the machine, and its removal: by itself, by a process that outlives it,
 * or by the next exec. */
#ifndef BOTTLE_JANITOR_H
#define BOTTLE_JANITOR_H

#include "attributes.h"
#include "diag.h"

struct janitor;
/* Makes the cgroup of the bottle NAME, and forks a process in a session of its own that removes it
 * with all that belongs to it when this process ends without janitor_finish(). Before that it
 * cleans up after execs that were killed together with their janitors. -1 with `error` set when
 * NAME is in use, or is the wall of a `run`. Call it before secrets are read. */
int janitor_start(const char *cgroup_root, const char *name, struct janitor **ret,
		  struct error *error) WARN_UNUSED;
const char *janitor_cgroup(const struct janitor *janitor); /* path, borrowed */
/* Kills what is in the bottle, then removes its cgroup, its wall and its directory, in this order:
 * the wall stands as long as a process does. Frees. When it fails the other process goes on
 * trying. Accepts NULL. */
int janitor_finish(struct janitor *janitor, struct error *error);

#endif
