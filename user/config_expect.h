/* SPDX-License-Identifier: BSD-2-Clause */
/* Expectations of a policy, for `egress-bpf test`:
 *
 *	policy: routes.yaml                       # relative to this file; --policy goes before it
 *	expect:
 *	  - GET https://api.example.com/v1/x: allow
 *	  - POST https://api.example.com/v1/x: method_not_allowed
 *	  - GET https://api.example.com/v2: {verdict: refuse, headers: {x-version: "1"}}
 */
#ifndef CONFIG_EXPECT_H
#define CONFIG_EXPECT_H

#include "attributes.h"
#include "config.h"

struct expectation {
	const char *method, *url;
	int line;
	bool any_refusal; /* "refuse": whatever the reason */
	enum egress_reason reason;
	const char *credential; /* where it comes from, "" for none; NULL: not asked */
	const char *const *headers; /* "name: value" */
	size_t header_count;
};
struct expectations {
	char *policy; /* path, or NULL when the file names none */
	const struct expectation *list;
	size_t count;
	struct config_arena *arena; /* owns all the texts */
};

/* Reads the file. What is wrong is added to `errors`, all of it; NULL then. Caller frees. */
struct expectations *expectations_open(const char *path, struct diag_list *errors) WARN_UNUSED;
void expectations_free(struct expectations *expectations);

#endif
