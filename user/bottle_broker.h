/* SPDX-License-Identifier: BSD-2-Clause */
/* The process that makes the bottle's connections to unix sockets, where the kernel cannot tell the
 * bottle's own from others (bpf/unix_doors.bpf.c refuses them all to the bottle itself). It also binds:
 * what the bottle binds to a path is callable by nobody but through this process. */
#ifndef BOTTLE_BROKER_H
#define BOTTLE_BROKER_H

#include <sys/types.h>

#include "bottle.h"

/* Forks it, outside of the bottle's namespaces and cgroup, before the caller holds a secret. It waits
 * for bottle_broker_engage() at the other end of `socket`, ends when that end is closed without, when
 * no process of the bottle is left, or with its parent. Returns its pid, -1 with errno. */
pid_t bottle_broker_start(const struct bottle_options *options, pid_t init, int socket) WARN_UNUSED;
/* The init's side: hands `listener` (bottle_seccomp_load()) over and waits until it is served. Both
 * descriptors stay the caller's. */
int bottle_broker_engage(int socket, int listener, struct error *error) WARN_UNUSED;

#endif
