// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "http1.h"

static void set_hint(struct policy_verdict *verdict, const char *hint)
{
	verdict->hint[0] = '\0';
	if (hint)
		snprintf(verdict->hint, sizeof(verdict->hint), "%s", hint);
}

static enum egress_reason judge_connect(const struct connection *c, const struct http1_head *head,
					const struct http1_asked *asked,
					struct policy_verdict *ret_verdict)
{
	const struct policy *policy = c->proxy->config->policy;
	enum policy_mode mode;

	/* RFC 9110, 9.3.6: with one, it would be open where the tunnel's bytes begin. */
	if (head->framing != HTTP1_NO_BODY) {
		set_hint(ret_verdict, "CONNECT has no body");
		return EGRESS_BAD_REQUEST;
	}
	/* What is asked for inside is judged when it comes; now there are a host and a port
	 * alone. */
	if (!asked->by_address)
		return connection_judge(c->proxy, asked->host, asked->port, &mode);
	return policy_find_cidr(policy, &asked->address, asked->port) ? EGRESS_ALLOWED
								      : EGRESS_ADDRESS_NOT_ALLOWED;
}

static enum egress_reason judge_request(const struct connection *c, const struct http1_head *head,
					const struct http1_asked *asked,
					struct policy_verdict *ret_verdict)
{
	struct policy_request request = {
		.host = asked->host,
		.port = asked->port,
		.tls = asked->tls,
		.method = head->method,
		.target = asked->target,
		.headers = head->fields,
		.header_count = head->count,
	};
	const struct policy_host *host;

	policy_decide(c->proxy->config->policy, &request, ret_verdict);
	if (ret_verdict->reason != EGRESS_ALLOWED)
		return ret_verdict->reason;
	/* Belt and braces: no HTTP to a host whose bytes are not ours to read. */
	host = ret_verdict->host;
	if (!host || !policy_host_allows_port(host, asked->port) ||
	    policy_host_mode(host, asked->port) != POLICY_INTERCEPT)
		return EGRESS_PROTOCOL_NOT_ALLOWED;
	return ret_verdict->route ? EGRESS_ALLOWED : EGRESS_INTERNAL;
}

enum egress_reason http1_judge(const struct connection *c, struct http1_head *head,
			       struct http1_asked *ret_asked, struct policy_verdict *ret_verdict)
{
	const char *proxy_name = c->proxy->config->dns.proxy_name;
	struct http1_context context = {
		.host = c->host,
		.port = c->port,
		.tls = c->tls,
		.explicit = c->explicit,
		.proxy_name = proxy_name ? proxy_name : "egress",
	};
	enum egress_reason reason;
	const char *hint;

	/* Fail closed: who says nothing refuses. */
	*ret_verdict = (struct policy_verdict){.reason = EGRESS_INTERNAL};
	reason = http1_target(&context, head, ret_asked, &hint);
	set_hint(ret_verdict, hint);
	if (reason != EGRESS_ALLOWED || ret_asked->kind == HTTP1_ASKED_LOCAL)
		return reason;
	/* First, so that policy sees no field that does not pass. */
	if (!http1_drop_hop_fields(head))
		return EGRESS_BAD_REQUEST;
	if (ret_asked->kind == HTTP1_ASKED_CONNECT)
		return judge_connect(c, head, ret_asked, ret_verdict);
	return judge_request(c, head, ret_asked, ret_verdict);
}

bool http1_head_allowed(const struct connection *c, struct span text,
			const struct stream *upstream)
{
	struct http1_head head = {.fields = c->proxy->shared->fields};
	struct policy_verdict verdict;
	struct http1_asked asked;
	llhttp_t parser;

	/* From the raw head: hosts and routes of the first verdict are the old policy's. What was for a
	 * host is not for a page of ours, though dns.name may be that host's name now. */
	return http1_request_parse(text, &parser, &head) == 0 &&
	       http1_judge(c, &head, &asked, &verdict) == EGRESS_ALLOWED &&
	       asked.kind == HTTP1_ASKED_HOST &&
	       (!upstream || connection_may_keep(c->proxy, asked.host, asked.port, upstream));
}
