/* SPDX-License-Identifier: BSD-2-Clause */
/* What an exec leaves on the machine, and its removal: by itself, by a process that outlives it,
 * or by the next exec. */
#ifndef BOTTLE_JANITOR_H
#define BOTTLE_JANITOR_H

#include "attributes.h"
#include "diag.h"

/* cgroup of the bottle NAME of an exec; caller frees. NULL when out of memory. */
char *janitor_cgroup_path(const char *cgroup_root, const char *name) WARN_UNUSED;

struct janitor;
/* Forks a process in a session of its own, which cleans up when this one has ended without
 * janitor_dismiss(). Call it before anything is created and before secrets are read. */
int janitor_start(const char *cgroup_root, const char *name, struct janitor **ret,
		  struct error *error) WARN_UNUSED;
/* Everything was removed: it ends without doing anything. Accepts NULL. */
void janitor_dismiss(struct janitor *janitor);

/* Kills what is in the bottle, then removes its cgroup, its wall and its directory, in this order:
 * the wall stands as long as a process does. */
int janitor_clean(const char *cgroup_root, const char *name, struct error *error) WARN_UNUSED;
/* Cleans up after execs of the name exec-PID whose process is gone, its janitor too. Reports. */
void janitor_sweep(const char *cgroup_root);
/* Makes sure that NAME is free: cleans up after a dead exec of that name; -1 with `error` set when
 * it is in use, or is the wall of a `run`. */
int janitor_claim(const char *cgroup_root, const char *name, struct error *error) WARN_UNUSED;

#endif
