/* SPDX-License-Identifier: BSD-2-Clause */
/* A user id of its own for each bottle's worker: one that was taken over can then neither signal nor
 * trace another bottle's, nor read what belongs to it. */
#ifndef WORKER_UID_H
#define WORKER_UID_H

#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

/* Above what accounts, packages and systemd's dynamic users have (below 65536), below where
 * subordinate ids begin (100000); see useradd(8), subuid(5) and systemd's UIDS-GIDS. */
#define WORKER_UID_FIRST 90112
#define WORKER_UID_COUNT 4096
/* In a user namespace that has no such ids: among Debian's own, 60000 to 64999. */
#define WORKER_UID_SMALL_FIRST 64086
#define WORKER_UID_SMALL_COUNT 256
/* In BOTTLE_RUN_DIRECTORY, where exec would put a bottle's directory. It keeps its name: two versions
 * side by side, with a file each, would give one id to two workers. */
#define WORKER_UID_LOCKS "worker-uids"

/* Takes an id that no other worker on this machine has, the same one for a name where that is free.
 * It is taken for as long as the descriptor returned is open (the caller's). -1 with `error` set. */
int worker_uid_claim(const char *bottle, uid_t *ret_uid, struct error *error) WARN_UNUSED;

#endif
