/* SPDX-License-Identifier: BSD-2-Clause */
/* A container that some engine runs, found by name or ID: its cgroup v2 directory and its network
 * namespace, on every layout (v2 or hybrid, systemd's or cgroupfs' driver). */
#ifndef CONTAINER_H
#define CONTAINER_H

#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

struct container {
	pid_t pid;	   /* of its first process, as we see it */
	int pidfd;	   /* of the same; readable when it has ended */
	char *cgroup_path; /* of all of it, also where its init made cgroups below */
	int netns_fd;
};
#define CONTAINER_NONE ((struct container){.pidfd = -1, .netns_fd = -1})
void container_clear(struct container *container); /* also of CONTAINER_NONE */

struct container_finder;
/* `engine`: NULL (the usual sockets, then containerd's state, then the cgroups), a Docker or Podman
 * socket, or the state directory of a containerd ("/run/containerd"). `name` is a name the engine
 * knows, or an ID; of an ID, at least 12 digits where no engine is asked. Borrowed for life. */
int container_finder_new(const char *engine, const char *name, struct container_finder **ret,
			 struct error *error) WARN_UNUSED;
void container_finder_free(struct container_finder *finder);
/* 1 it runs, 0 it does not (yet, or is not known), -1 failed; also when two could be meant. */
int container_find(struct container_finder *finder, struct container *ret, struct error *error)
	WARN_UNUSED;
/* container_find() until it runs or `stop_fd` can be read (then 0). An engine that is away is
 * waited for as well. */
int container_await(struct container_finder *finder, int stop_fd, struct container *ret,
		    struct error *error) WARN_UNUSED;

/* ---- pieces, for tests ------------------------------------------------------------------------ */

/* Cuts the path of a process' cgroup behind the part that holds the ID, so that it is the
 * container's. Unchanged when no part does. */
void container_cut(char *cgroup_path, const char *id);
/* The one directory below `root` that is the cgroup of this ID: "ID", "ENGINE-ID.scope" or
 * "...:ID". 1 found (caller frees), 0 none, -1 two or more. */
int container_search(const char *root, const char *id, char **ret_path, struct error *error)
	WARN_UNUSED;

#endif
