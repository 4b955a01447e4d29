// SPDX-License-Identifier: BSD-2-Clause
/* A request as people write it, put to a policy by the functions that the proxy uses. */
#include "question.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The name, or the address without brackets. */
static bool parse_host(struct question *q, struct span host)
{
	char text[EGRESS_NAME_SIZE];
	bool bracketed = host.length > 2 && host.data[0] == '[' &&
			 host.data[host.length - 1] == ']';

	if (bracketed)
		host = (struct span){host.data + 1, host.length - 2};
	if (host.length >= sizeof(text))
		return false;
	memcpy(text, host.data, host.length);
	text[host.length] = '\0';
	q->is_address = address_parse(text, &q->address);
	if (q->is_address)
		memcpy(q->host, text, host.length + 1);
	return q->is_address || (!bracketed && policy_normalise_host(host, q->host));
}

/* From the right, and not past a bracket: an IPv6 address has colons, too. */
static bool parse_authority(struct question *q, struct span authority)
{
	size_t colon = authority.length;

	while (colon > 0 && authority.data[colon - 1] != ':' && authority.data[colon - 1] != ']')
		colon--;
	if (colon > 0 && authority.data[colon - 1] == ':') {
		struct span port = {authority.data + colon, authority.length - colon};

		if (!span_port(port, &q->port))
			return false;
		authority.length = colon - 1;
	}
	return parse_host(q, authority);
}

/* Only what a client would send is taken apart: no user, no fragment, and a path of "/" where there is
 * none (RFC 9110, 4.2.3). */
bool question_set_url(struct question *q, const char *url)
{
	struct span authority;
	size_t length;

	if (strncasecmp(url, "https://", 8) == 0)
		q->tls = true;
	errno = 0;
	if (!q->tls && strncasecmp(url, "http://", 7) != 0)
		return false;
	url += q->tls ? 8 : 7;
	q->port = q->tls ? 443 : 80;
	length = strcspn(url, "/?#");
	authority = (struct span){url, length};
	url += length;
	length = strcspn(url, "#"); /* a client sends no fragment */
	if (asprintf(&q->target, "%s%.*s", url[0] == '/' ? "" : "/", (int)length, url) < 0)
		return false;
	return parse_authority(q, authority);
}

bool question_add_header(struct question *q, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text || q->header_count == QUESTION_HEADERS)
		return false;
	q->headers[q->header_count++] = (struct policy_header){
		{text, (size_t)(colon - text)}, span_trim(span_from(colon + 1))};
	return true;
}

/* As the kernel wall and the proxy treat an address that was reached without a name. */
static void ask_address(const struct policy *policy, const struct question *q, struct answer *ret)
{
	const struct policy_cidr *cidr = policy_find_cidr(policy, &q->address, q->port);

	if (!cidr) {
		ret->verdict.reason = EGRESS_ADDRESS_NOT_ALLOWED;
		snprintf(ret->verdict.hint, sizeof(ret->verdict.hint),
			 "use the host's name, or add \"- {cidr: %.64s, ports: [%u]%s}\" to routes",
			 q->host, q->port,
			 address_is_private(&q->address) ? ", allow_private: true" : "");
		return;
	}
	ret->verdict.reason = EGRESS_ALLOWED;
	ret->note = cidr->direct ? "let out directly, bytes are not looked at"
				 : "spliced, bytes are not looked at";
	snprintf(ret->place, sizeof(ret->place), "cidr (%s:%d)", cidr->file, cidr->line);
}

/* What http1_target() refuses before any rule is asked: whom the wall and the DNS responder keep away
 * does not come so far. */
static void ask_method(const struct question *q, struct policy_verdict *verdict)
{
	if (verdict->reason == EGRESS_HOST_NOT_ALLOWED || verdict->reason == EGRESS_PORT_NOT_ALLOWED ||
	    (!span_equal(q->method, SPAN("TRACE")) && !span_equal(q->method, SPAN("CONNECT"))))
		return;
	verdict->reason = EGRESS_METHOD_NOT_ALLOWED;
	verdict->audited = EGRESS_ALLOWED;
	snprintf(verdict->hint, sizeof(verdict->hint), "nothing: the proxy passes no %.*s",
		 (int)q->method.length, q->method.data);
}

static void note_left_out(const struct question *q, const struct policy_route *route,
			  struct answer *ret)
{
	for (size_t i = 0; i < q->header_count; i++)
		if (policy_route_strips(route, q->headers[i].name))
			ret->left_out[ret->left_out_count++] = q->headers[i].name;
}

/* The credential is named only where the request would be allowed to carry it. */
static void ask_name(const struct policy *policy, const struct question *q, struct answer *ret)
{
	const struct policy_host *host = policy_find_host(policy, q->host);
	const struct policy_request request = {
		.host = q->host,
		.port = q->port,
		.tls = q->tls,
		.method = q->method,
		.target = q->target ? span_from(q->target) : SPAN("/"),
		.headers = q->headers,
		.header_count = q->header_count,
	};
	const bool splices = host && policy_host_splices(host, q->port, q->tls);
	const struct policy_route *route;

	policy_decide(policy, &request, &ret->verdict);
	ask_method(q, &ret->verdict);
	route = ret->verdict.route;
	if (splices) {
		ret->verdict.reason = EGRESS_ALLOWED;
		ret->verdict.hint[0] = '\0';
		ret->note = "spliced, requests are not looked at";
	}
	if (!route)
		return;
	if (ret->verdict.audited != EGRESS_ALLOWED)
		ret->note = "by audit, which refuses nothing of this host";
	snprintf(ret->place, sizeof(ret->place), "%s (%s:%d)", policy_route_host(route),
		 policy_route_file(route), policy_route_line(route));
	if (ret->verdict.reason != EGRESS_ALLOWED)
		return;
	ret->secret = policy_route_secret(route, &ret->header);
	if (!splices)
		note_left_out(q, route, ret);
}

void question_ask(const struct question *q, const struct policy *policy, struct answer *ret)
{
	*ret = (struct answer){0};
	(q->is_address ? ask_address : ask_name)(policy, q, ret);
}

void question_release(struct question *q)
{
	free(q->target);
	q->target = NULL;
}
