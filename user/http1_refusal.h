/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers of our own: refusals, and the few pages of the proxy itself. */
#ifndef HTTP1_REFUSAL_H
#define HTTP1_REFUSAL_H

#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "reason.h"

#define HTTP1_CONNECTED "HTTP/1.1 200 Connection established\r\n\r\n"

struct http1_refusal {
	enum egress_reason reason;
	unsigned status; /* 0: the reason's own */
	const char *host;   /* NULL or "" when unknown */
	struct span method, path; /* empty when unknown; the path without its query */
	const char *detail; /* the upstream's fault in words, or NULL */
	const char *hint;   /* what would allow it, or NULL */
	const char *id;	    /* of its record; NULL or "": none */
	bool head;  /* the request was HEAD: no body */
	bool close; /* the connection ends with this answer */
};
unsigned http1_refusal_status(const struct http1_refusal *refusal);
/* Appends the whole response, one line of JSON as its body; false when out of memory. */
bool http1_refusal_compose(const struct http1_refusal *refusal, struct bytes *ret) WARN_UNUSED;

struct http1_answer {
	unsigned status;
	const char *type; /* of the body */
	const char *etag; /* quoted, or NULL */
	const char *reason; /* X-Egress-Reason, or NULL */
	const char *id;	    /* X-Egress-Request-Id, or NULL */
	struct span body;
	bool head, close;
};
bool http1_answer_compose(const struct http1_answer *answer, struct bytes *ret) WARN_UNUSED;

#endif
