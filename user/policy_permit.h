/* SPDX-License-Identifier: BSD-2-Clause */
/* One permission more than a policy gives, as the route that would give it and nothing else. */
#ifndef POLICY_PERMIT_H
#define POLICY_PERMIT_H

#include "policy.h"

struct policy_permit {
	const char *host;   /* normalised */
	uint16_t port;
	bool tls;	    /* false: by plain HTTP, and never with a credential */
	const char *method; /* NULL: any */
	const char *path;   /* NULL: any */
	enum policy_path_type path_type;
	bool credential; /* what the host's own routes add is added here, too */
};

struct policy_permit_style {
	const char *indent;  /* of the entry's "-"; NULL: an entry in flow style, which is JSON as well */
	const char *comment; /* one line, or NULL */
};

/* Whether some route of the policy would have the permission add what it adds: "" when none does,
 * else "HOST (FILE:LINE)". `ret` is untouched on failure. */
void policy_permit_credential(const struct policy *policy, const struct policy_permit *permit,
			      char ret[512]);
/* The entries of `routes` that have to be added to the policy. Of a host that only a wildcard names
 * these are the wildcard's routes, too: a route of its own would take their place. NULL with `error`
 * set; caller frees. */
char *policy_permit_route(const struct policy *policy, const struct policy_permit *permit,
			  const struct policy_permit_style *style, struct error *error) WARN_UNUSED;
/* Whether the policy lets the permission's request pass as it is. */
bool policy_permit_allowed(const struct policy *policy, const struct policy_permit *permit);
/* Whether the host took any path by now, and with the permission will not any more: ambiguous ones are
 * then refused, which policy_permit_check() has no question for. */
bool policy_permit_makes_strict(const struct policy *before, const struct policy_permit *permit);
/* Whether `after` allows the permission's request, and differs from `before` in nothing else. -1 with
 * `error` set when not. */
int policy_permit_check(const struct policy *before, const struct policy *after,
			const struct policy_permit *permit, struct error *error) WARN_UNUSED;

#endif
