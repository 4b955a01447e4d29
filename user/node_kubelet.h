/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking the kubelet of this node for its pods (GET /pods), from a process of its own that is nobody
 * and ends with its answer: neither TLS nor JSON is parsed by the agent, which is root. */
#ifndef NODE_KUBELET_H
#define NODE_KUBELET_H

#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

struct node_kubelet {
	const char *url;	/* "https://NAME:10250"; the name is what its certificate has to prove */
	const char *address;	/* where it listens; NULL: where its name leads */
	const char *ca_file;	/* PEM; NULL: the system's roots */
	const char *token_file; /* read anew each time, since the API server rotates it; NULL: none */
};
/* What is wrong with the options, known before anything is asked. */
int node_kubelet_check(const struct node_kubelet *kubelet, struct error *error) WARN_UNUSED;
/* Starts asking. `ret_fd` is the caller's, gives the lines of node_pods.h, or "error TEXT", and ends;
 * the process is the caller's child. At most NODE_KUBELET_SECONDS. */
#define NODE_KUBELET_SECONDS 10
pid_t node_kubelet_ask(const struct node_kubelet *kubelet, int *ret_fd, struct error *error)
	WARN_UNUSED;

#endif
