/* SPDX-License-Identifier: BSD-2-Clause */
/* One request in words, METHOD and URL, put to a policy: what `why` and `test` ask. */
#ifndef QUESTION_H
#define QUESTION_H

#include "policy.h"

#define QUESTION_HEADERS 64

struct question {
	struct policy_header headers[QUESTION_HEADERS];
	size_t header_count;
	struct span method;
	bool tls;
	uint16_t port;
	char host[EGRESS_NAME_SIZE]; /* a name, or the text of an address */
	bool is_address;
	struct egress_address address;
	char *target; /* owned: question_release() */
};

struct answer {
	struct policy_verdict verdict;
	const char *note; /* how an allowed connection is treated, or NULL */
	char place[512];  /* "api.github.com (routes.yaml:3)" or "" */
	const char *header; /* of the credential */
	const struct policy_secret *secret; /* whose, or NULL */
	struct span left_out[QUESTION_HEADERS]; /* headers that do not pass with an allowed request */
	size_t left_out_count;
};

/* False when it is no http:// or https:// URL; with errno ENOMEM: when memory is out. Call it once. */
bool question_set_url(struct question *q, const char *url) WARN_UNUSED;
/* "Name: value", borrowed; false when it is no header, or too many. */
bool question_add_header(struct question *q, const char *text) WARN_UNUSED;
/* As kernel wall and proxy together would decide. Pure, as policy_decide(). */
void question_ask(const struct question *q, const struct policy *policy, struct answer *ret);
void question_release(struct question *q);

#endif
