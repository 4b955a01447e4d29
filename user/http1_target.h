/* SPDX-License-Identifier: BSD-2-Clause */
/* Whom a request is for: the request target, the Host field and what the connection is known to be
 * for must all say the same. */
#ifndef HTTP1_TARGET_H
#define HTTP1_TARGET_H

#include "address.h"
#include "http1_head.h"
#include "reason.h"

/* What is known before the request is read. */
struct http1_context {
	const char *host;  /* of a steered or CONNECTed connection; "" when unknown */
	uint16_t port;
	bool tls;
	bool explicit;	   /* a proxy connection before CONNECT */
	const char *proxy_name;
};

enum http1_asked_kind {
	HTTP1_ASKED_HOST,    /* a request to forward */
	HTTP1_ASKED_LOCAL,   /* a page of the proxy itself */
	HTTP1_ASKED_CONNECT, /* a tunnel, to `host` or, by_address, to `address` */
};
struct http1_asked {
	enum http1_asked_kind kind;
	char host[EGRESS_NAME_SIZE];
	uint16_t port;
	bool tls;
	struct span target;    /* origin-form */
	struct span authority; /* as the Host field has it; data NULL: host and port */
	bool by_address; /* of a refusal, too: the record names whom it was for */
	struct egress_address address;
};

/* EGRESS_ALLOWED and `ret`, or why not; `ret_hint` then says what would be right, or is NULL.
 * Judges form and agreement only, no policy. */
enum egress_reason http1_target(const struct http1_context *context, const struct http1_head *head,
				struct http1_asked *ret, const char **ret_hint) WARN_UNUSED;

/* The target without its query. */
struct span http1_path(struct span target);

#endif
