/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kubelet says of its pods, reduced to what the agent needs. */
#ifndef NODE_PODS_H
#define NODE_PODS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"
#include "node_tree.h"

#define NODE_LABEL "egress-bpf/policy"
#define NODE_POLICY_SIZE 64	/* a label's value has at most 63 characters */
#define NODE_POD_NAME_SIZE 320	/* "NAMESPACE/NAME" */
#define NODE_PORTS_MAX 16	/* EGRESS_MAX_PUBLISHED */
#define NODE_POLICY_INVALID "!" /* a label that names no policy: the pod is refused everything */

struct node_record {
	char uid[NODE_UID_SIZE];
	char policy[NODE_POLICY_SIZE]; /* "": no label */
	char name[NODE_POD_NAME_SIZE];
	bool host_network;
	uint16_t ports[NODE_PORTS_MAX]; /* TCP, that its containers declare */
	size_t port_count;
};
struct node_records {
	struct node_record *items;
	size_t count;
};
void node_records_free(struct node_records *records);

/* Whether a label's value may be a policy's name: the API's own rule, which keeps it in the
 * directory of the policies. */
bool node_policy_valid(const char *name);

/* A PodList (Kubernetes API v1). Labels, names and ports are chosen by whoever made the pod; uids by
 * the API server. A pod without a usable uid is left out; of two with one uid, both are refused
 * everything. -1 with `error` set when it is no PodList. */
int node_pods_parse(struct span json, struct node_records *ret, struct error *error) WARN_UNUSED;

/* One line a pod, and back: what the process that spoke to the kubelet may tell the agent. Reading
 * checks everything again; any line that is not right fails it all. */
int node_pods_write(const struct node_records *records, struct bytes *ret) WARN_UNUSED;
int node_pods_read(struct span lines, struct node_records *ret, struct error *error) WARN_UNUSED;

#endif
