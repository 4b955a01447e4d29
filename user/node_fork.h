/* SPDX-License-Identifier: BSD-2-Clause */
/* The agent's way to a child. */
#ifndef NODE_FORK_H
#define NODE_FORK_H

#include <sys/types.h>

#include "attributes.h"

/* fork(2) for a process whose signals go to libevent. The child has none of the loop's handlers from its
 * first instruction on, and no signal blocked. */
pid_t node_fork(void) WARN_UNUSED;

#endif
