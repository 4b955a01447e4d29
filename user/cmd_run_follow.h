/* SPDX-License-Identifier: BSD-2-Clause */
/* `run --container`: a bottle that an engine starts, ends and starts again. */
#ifndef CMD_RUN_FOLLOW_H
#define CMD_RUN_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "attributes.h"
#include "container.h"

struct supervisor;

struct run_follow {
	const char *container, *engine; /* NULL engine: the usual places */
	bool wait;			/* for its start, and after its end for the next */
	struct container found;
	uint64_t cgroup_id; /* of found.cgroup_path, which a restart may give to another */
	bool ended; /* the container that was served has */
};

/* Finds the container, calls serve(context) with follow->found set, and frees that; with `wait` again
 * and again, until SIGTERM or SIGINT. `serve` returns an exit status; the first that is not
 * EXIT_OK ends it. Returns the exit status. */
int run_follow(struct run_follow *follow, int (*serve)(void *context), void *context) WARN_UNUSED;
/* Follows one process instead, with its pidfd (taken over, on failure closed) and its cgroup. */
int run_follow_process(struct run_follow *follow, const char *cgroup_path, int pidfd,
		       struct error *error) WARN_UNUSED;
/* Serves until the container's first process has ended, too; then follow->ended is set. */
int run_follow_loop(struct run_follow *follow, struct supervisor *supervisor) WARN_UNUSED;
/* Whether its first process has ended. */
bool run_follow_over(const struct run_follow *follow);
/* Whether nobody is left in its cgroup, so that nothing needs the wall. Waits for an engine that is
 * still clearing up. */
bool run_follow_empty(const struct run_follow *follow);

#endif
