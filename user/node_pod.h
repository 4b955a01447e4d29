/* SPDX-License-Identifier: BSD-2-Clause */
/* One pod of the node: its wall, its policy, its `run`. Internal to the agent. */
#ifndef NODE_POD_H
#define NODE_POD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attributes.h"
#include "diag.h"
#include "node.h"
#include "node_state.h"
#include "node_tree.h"

enum node_kind {
	NODE_UNKNOWN,  /* the kubelet has not told of it */
	NODE_PLAIN,    /* it has no label */
	NODE_LABELLED, /* it has one: for good, whatever its labels say later */
};

struct node_pod {
	struct node_pod *next;
	const struct node_options *options;
	enum node_kind kind;
	struct node_state state; /* the record, and why it is denied */
	char wall[64];		 /* the wall's name */
	char *path;
	bool early;    /* was there when the agent came: unknown, it is left alone */
	unsigned came; /* after how many questions to the kubelet */
	time_t appeared; /* CLOCK_MONOTONIC */
	bool asked;    /* the kubelet was asked since the pod appeared, and did not tell of it */
	bool seen;     /* by the scan that is under way */
	bool gone;     /* its cgroup is */
	bool walled;   /* its pins stand */
	bool held;     /* frozen, by us or by an earlier agent, until it has a wall */
	bool stays;    /* its wall could not be taken down; tried again from not_before on */
	unsigned removals; /* that failed */
	bool moved;    /* its label was changed, and that was said */
	int netns_fd;  /* of the sandbox; -1: not found yet */
	int first_fd;  /* a pidfd of the process it was found by; -1: it is our own namespace */
	pid_t child;   /* `run`; 0: none */
	bool stopping; /* the child was told to end */
	bool again;    /* its policy could not be read or written for now */
	bool unnoted;  /* its state could not be written, and that was said */
	time_t child_since, stop_since, not_before; /* CLOCK_MONOTONIC */
	unsigned delay_s;
	char said[256]; /* the last complaint, so that a tick does not repeat it */
};

/* With what an earlier agent noted of this very cgroup. NULL when out of memory. */
struct node_pod *node_pod_new(const struct node_options *options, const struct node_place *place)
	WARN_UNUSED;
/* Leaves the wall and the state as they are. Accepts NULL. */
void node_pod_free(struct node_pod *pod);
/* What the kubelet says of it. The first label is for life: a pod that may change its own labels
 * must not change its policy so. */
void node_pod_classify(struct node_pod *pod, const struct node_record *record);
/* Freezes a pod that is to have a wall and has none yet, so that it does not run on while those before
 * it get theirs; the step that puts it up lets it go. */
void node_pod_hold(struct node_pod *pod, time_t now);
/* Does what is to be done next, whatever happened. Never waits. True when nothing of the pod is left
 * and it can be freed. */
bool node_pod_step(struct node_pod *pod, time_t now);
/* Its child has ended with this wait status. */
void node_pod_child_ended(struct node_pod *pod, int status, time_t now);
/* The files of the policies or of the tokens have changed. */
void node_pod_reload(struct node_pod *pod, bool tokens);
/* Tells the child to end, the wall stays. */
void node_pod_stop(struct node_pod *pod);
/* Whether it is to be looked at soon although nothing happens. */
bool node_pod_waits(const struct node_pod *pod);

/* ---- node_policy.c ---------------------------------------------------------------------------- */

/* Brings UID.yaml of the state up to date with the policy of the pod's label, and state->denied and
 * state->note with why it is not that one. What is broken replaces nothing that was good; where there
 * was nothing, or the policy was taken away, it is one that refuses everything. 1 when UID.yaml is
 * another now, 0 when it stays, -1 with `error` set when it cannot be written. */
int node_policy_install(const struct node_options *options, struct node_state *state,
			struct error *error) WARN_UNUSED;

/* ---- node_child.c ----------------------------------------------------------------------------- */

/* Starts `egress-bpf run` for the pod; it ends with us. -1 with `error` set. */
pid_t node_child_start(const struct node_pod *pod, struct error *error) WARN_UNUSED;

#endif
