/* SPDX-License-Identifier: BSD-2-Clause */
/* What the agent has to know again after its own death: which policy a pod was given, and of which
 * cgroup. A file a pod, UID.json, beside the policy in force, UID.yaml. */
#ifndef NODE_STATE_H
#define NODE_STATE_H

#include <stdint.h>
#include <stdio.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"
#include "node_pods.h"

struct node_state {
	struct node_record record;
	uint64_t cgroup_id;
	char denied[256]; /* why everything is refused; "": the policy is in force */
	char note[256];	  /* what is to be looked at although the policy is in force; "" */
	bool passing;	  /* not noted: either may pass without any news of it */
};

/* DIRECTORY/UID.SUFFIX */
int node_state_path(const char *directory, const char *uid, const char *suffix, char *ret,
		    size_t size, struct error *error) WARN_UNUSED;
/* Whole or not at all, 0600. */
int node_state_write_file(const char *path, struct span text, struct error *error) WARN_UNUSED;
int node_state_write(const char *directory, const struct node_state *state, struct error *error)
	WARN_UNUSED;
/* 1 read, 0 there is none, -1 it is damaged. */
int node_state_read(const char *directory, const char *uid, struct node_state *ret,
		    struct error *error) WARN_UNUSED;
/* Removes both files, and what an agent that was killed left of them; none is fine. */
void node_state_forget(const char *directory, const char *uid);
/* Calls back with the uid of each pod there is a state of. */
int node_state_each(const char *directory, void (*each)(void *context, const char *uid),
		    void *context, struct error *error) WARN_UNUSED;

#endif
