/* SPDX-License-Identifier: BSD-2-Clause */
/* The requests to one host that the rules of two policies can tell apart; for policy_diff.c. */
#ifndef POLICY_SPACE_H
#define POLICY_SPACE_H

#include "policy_diff.h"
#include "policy_internal.h"

/* One value on an axis: a path, a method, a port with or without TLS, or headers. */
struct policy_point {
	char *key;   /* path, method or headers as text; each once on an axis */
	char *shown; /* for people */
	bool below;  /* stands for the paths below the point before it */
	uint16_t port;
	bool tls;
	const struct policy_match *match; /* whose headers the request has; NULL: none */
};
struct policy_axis {
	struct policy_point *points;
	size_t count;
	bool *selected; /* a set of points, for whoever walks the space */
};
enum { POLICY_AXIS_PATH, POLICY_AXIS_METHOD, POLICY_AXIS_PORT, POLICY_AXIS_HEADERS, POLICY_AXES };
struct policy_space {
	struct policy_axis axes[POLICY_AXES];
};

/* The space of both hosts' rules; either may be NULL. False when out of memory: the space is then
 * only good for policy_space_free(). */
bool policy_space_init(struct policy_space *space, const struct policy_host *a,
		       const struct policy_host *b) WARN_UNUSED;
void policy_space_free(struct policy_space *space);
/* The selected points of one axis in words; "" when all are. NULL when out of memory; caller frees. */
char *policy_space_words(const struct policy_space *space, unsigned axis) WARN_UNUSED;

/* policy_diff_cidr.c: policy_diff() for the cidr routes. */
void policy_diff_cidrs(const struct policy *before, const struct policy *after,
		       policy_change_seen *seen, void *context);

#endif
