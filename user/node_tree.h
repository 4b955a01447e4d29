/* SPDX-License-Identifier: BSD-2-Clause */
/* The kubelet's tree of cgroups: which pods there are on this node, as the directories say. Both
 * drivers, systemd's and cgroupfs', at any depth (kind and k3d nest the tree). */
#ifndef NODE_TREE_H
#define NODE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "diag.h"

#define NODE_UID_SIZE 37 /* RFC 4122 text, or a static pod's 32 digits */

/* A uid as the API server and the kubelet make them: 8-4-4-4-12 or 32 lower case hexadecimal
 * digits. Nothing else, so that it is safe in a path and in a wall's name. */
bool node_uid_valid(const char *uid);
/* Whether a directory `name` in one called `parent` is a pod's, and whose. The parent has to be one
 * that only the kubelet fills, and with systemd's driver the name has to repeat it. */
bool node_tree_uid(const char *parent, const char *name, char ret_uid[NODE_UID_SIZE]);
/* The name of a directory that holds the pods of one class (burstable, besteffort) below `parent`. */
bool node_tree_class(const char *parent, const char *name);

struct node_place {
	const char *uid, *path; /* borrowed for the call */
	uint64_t id;		/* of the cgroup, which no other ever has */
};

struct node_tree;
/* `roots`: the kubelet's topmost cgroups, NULL-terminated; NULL: the usual ones below the cgroup v2
 * mount. -1 when none of them is there. */
int node_tree_open(const char *const *roots, struct node_tree **ret, struct error *error)
	WARN_UNUSED;
void node_tree_free(struct node_tree *tree);
/* Readable when a directory came or went: then node_tree_drain() and scan anew. */
int node_tree_fd(const struct node_tree *tree);
void node_tree_drain(struct node_tree *tree);
/* Calls back for every pod there is. Never looks into a pod's own cgroup, whose processes may make
 * directories of any name there. -1 with `error` set when some directory could not be looked at or
 * watched: then a pod that was not called back for may be there, and no news come of it. */
int node_tree_scan(struct node_tree *tree,
		   void (*each)(void *context, const struct node_place *place), void *context,
		   struct error *error) WARN_UNUSED;
/* True only when it is known that the cgroup of this id is no longer at `path`. */
bool node_tree_gone(const char *path, uint64_t id);

/* The process of a pod that is there longest: the sandbox's own, which no process of the pod can
 * pretend to be. 0: there is none yet. */
int node_tree_first_process(const char *path);
/* Whether `pid` is in the cgroup or below it. */
bool node_tree_holds(const char *path, int pid);
/* Where the wall of a sidecar goes: the cgroup of the pod, and in it the one that our own process is
 * in. `roots` as above; the paths are the caller's. -1 with `error` set: no such pod, or not ours. */
int node_tree_own_pod(const char *const *roots, const char *uid, char **ret_pod, char **ret_own,
		      struct error *error) WARN_UNUSED;

#endif
