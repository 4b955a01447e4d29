/* SPDX-License-Identifier: BSD-2-Clause */
/* cgroup v2 and network namespaces of a bottle, found on any layout. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

/* Where cgroup v2 is mounted, from /proc/self/mountinfo (proc(5)); caller frees. */
int cgroup_root(char **ret_path, struct error *error) WARN_UNUSED;
/* The v2 cgroup directory of a process; caller frees. */
int cgroup_of_pid(pid_t pid, char **ret_path, struct error *error) WARN_UNUSED;
/* Any process in the cgroup or below it; 0 when it is empty. */
pid_t cgroup_any_pid(const char *path);
/* Id as bpf_get_current_cgroup_id() sees it, and the depth below the root. */
int cgroup_identity(const char *path, uint64_t *ret_id, uint32_t *ret_level, struct error *error)
	WARN_UNUSED;
/* False only when it is known that the cgroup of this id was removed. Its programs may be attached
 * for as long as one of its sockets lives. */
bool cgroup_exists(uint64_t id);
int cgroup_create(const char *path, struct error *error) WARN_UNUSED;
/* Kills everything in it (cgroup.kill, or signal by signal before 5.14), waits until it is empty,
 * removes it and its children. 0 also when it was not there. */
int cgroup_destroy(const char *path, struct error *error) WARN_UNUSED;

/* What the processes of the cgroup are to the rest of the machine. */
struct cgroup_rights {
	uint32_t pid_namespace; /* its inode; 0: it is ours, or nobody is there to ask */
	/* Some process may have CAP_NET_ADMIN or CAP_SYS_ADMIN over our namespaces: it is in our user
	 * namespace, and its bounding set has one of them. */
	bool administers_us;
};
/* As one process in it has them now; all zero when there is none. */
struct cgroup_rights cgroup_rights(const char *path);

/* An open network namespace of a process; -1 with `error` set. */
int netns_of_pid(pid_t pid, struct error *error) WARN_UNUSED;
/* True when both descriptors are the same namespace. */
bool netns_same(int a, int b);

#endif
