/* SPDX-License-Identifier: BSD-2-Clause */
/* What changes between two policies, found by asking both the same questions: one request out of
 * each class that a rule of either can tell apart. Pure, as policy.h. */
#ifndef POLICY_DIFF_H
#define POLICY_DIFF_H

#include "policy.h"

enum policy_change_kind {
	POLICY_CHANGE_WIDER,	/* was refused, is allowed */
	POLICY_CHANGE_NARROWER, /* was allowed, is refused */
	POLICY_CHANGE_OTHER,	/* allowed before and after, but otherwise: another credential, say */
};
/* A set of requests to one host or block that all change in the same way. Texts live as long as
 * the call. */
struct policy_change {
	enum policy_change_kind kind;
	const char *target;  /* "api.github.com", "*.example.com", "10.0.0.0/8" */
	const char *methods; /* "GET, POST", "methods that no rule names"; "" for every one */
	const char *paths;   /* "/v1/ and below, /user"; "" for every one */
	const char *ports;   /* "443", "443 by https", "by https"; "" for all that a rule names */
	const char *headers; /* "x-version: 1"; "" with and without */
	const char *before, *after; /* "refused", "allowed with Authorization from ..." */
	enum egress_reason before_reason, after_reason;
	const char *file; /* of the route that allows it now or, when it is refused now, did before */
	int line;
};
typedef void policy_change_seen(void *context, const struct policy_change *change);

/* Calls `seen` for each set; hosts in the order of the files, wider and narrower as they come.
 * Rules with a regex are compared as text besides. -1 with `error` set when memory is out. */
int policy_diff(const struct policy *before, const struct policy *after, policy_change_seen *seen,
		void *context, struct error *error) WARN_UNUSED;

#endif
