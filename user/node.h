/* SPDX-License-Identifier: BSD-2-Clause */
/* The agent of a Kubernetes node: a wall, and an `egress-bpf run` behind it, for each pod whose
 * label names a policy. */
#ifndef NODE_H
#define NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "attributes.h"
#include "diag.h"
#include "node_kubelet.h"

#define NODE_WALL_PREFIX "pod-" /* before the uid: the name of a pod's wall */
#define NODE_STATE_DIRECTORY "/run/egress-bpf/node"
#define NODE_MORE_MAX 32

struct ready;

struct node_options {
	const char *policies;	     /* NAME.yaml for each label's value */
	const char *tokens;	     /* NAME/VARIABLE; NULL: no policy has a token */
	const char *ca_directory;
	const char *state_directory; /* outlives the agent, as the walls do, but not the machine */
	struct node_kubelet kubelet;
	const char *const *roots;    /* as node_tree_open() takes them */
	bool ignore_unknown;	     /* leave new pods alone that the kubelet does not tell of */
	bool publish;		     /* the ports that a pod's containers declare */
	unsigned interval_s;	     /* between questions to the kubelet when nothing happens */
	char *const *more;	     /* options for `run` */
	size_t more_count;
	struct ready *ready;	     /* told when the kubelet has answered; NULL: nobody is */
};
/* Makes the state's directory, and takes the one lock of its agent: two would freeze, wall and serve the
 * same pods against each other. A descriptor, to be kept open as long as the agent runs; -1 with
 * `error` set, also when another agent has it. */
int node_lock(const char *state_directory, struct error *error) WARN_UNUSED;
/* Runs until SIGTERM or SIGINT. Walls stay. Wants the lock. Everything in `options` is borrowed.
 * Returns the exit status; what is wrong is printed. */
int node_run(const struct node_options *options);
/* Takes down the walls of pods that ended while nobody looked. A cgroup that lives is not touched, nor
 * a pod that is `known` (NULL: none is). What fails is printed. False: some stay for now, as their
 * wires stand or the kernel does not say yet that they have ended. */
bool node_remove_leftovers(bool (*known)(void *context, const char *uid), void *context);
/* What an agent, living or dead, last noted of each pod: one line a pod, or with `json` an object.
 * -1 with `error` set. */
int node_list(const char *state_directory, bool json, FILE *to, struct error *error) WARN_UNUSED;

#endif
