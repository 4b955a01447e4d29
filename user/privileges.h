/* SPDX-License-Identifier: BSD-2-Clause */
/* How the worker becomes nobody. */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

/* Leaves root for good: other ids, no groups, no new privileges, not dumpable, and no capability
 * but CAP_BPF where the kernel wants it for look-ups in `map_fd` (before Linux 6.0, as a trial
 * look-up shows; -1: no map). Raises the limit of open files as far as it goes. Without root it
 * only gives up what there is. -1 with `error` set; then do not go on. */
int privileges_drop(uid_t uid, gid_t gid, int map_fd, struct error *error) WARN_UNUSED;
/* The soft limit of open files as far as it goes. */
void privileges_raise_file_limit(void);
/* From here on only the system calls that a worker needs, and of those on the descriptors in `shared`
 * (negative ones do not count) none that changes them for others who have them, nor reads but by recv(2)
 * and its like: any other one kills the process (SIGSYS). The numbers must stay what they are. For good,
 * and for every thread to come; wants no_new_privs. Does nothing in a build with AddressSanitizer. -1
 * with `error` set. */
int privileges_limit_calls(const int *shared, size_t count, struct error *error) WARN_UNUSED;

#endif
