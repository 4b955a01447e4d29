/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a query comes to. A name that no route allows gets NXDOMAIN and not REFUSED: glibc takes
 * REFUSED for a server that is broken, asks the next one and ends on 'temporary failure', while
 * NXDOMAIN fails at once. Other types of an allowed name have no data, so nothing tunnels.
 */
#include "dns_message.h"

#include <string.h>
#include <strings.h>

/* The binding never changes; short, so that a route that is removed is noticed. */
#define ADDRESS_TTL 60

/* RFC 8914, section 4 */
enum { ERROR_OTHER = 0, ERROR_BLOCKED = 15, ERROR_NO_REACHABLE_AUTHORITY = 22 };

static const char blocked[] = "blocked by policy";

/* Where the explicit proxy listens inside: sockets.c. */
static const struct egress_address loopback[] = {
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}},
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
};

/* `domain` or anything below it. */
static bool is_within(const char *name, const char *domain)
{
	size_t length = strlen(name), domain_length = strlen(domain);

	if (length < domain_length || strcmp(name + length - domain_length, domain) != 0)
		return false;
	return length == domain_length || name[length - domain_length - 1] == '.';
}

static struct dns_reply refusal(enum egress_reason reason, uint16_t rcode, uint16_t code,
				const char *text)
{
	return (struct dns_reply){
		.reason = reason, .rcode = rcode, .error_code = code, .error_text = text};
}

/* Nothing extended: the query may not have had EDNS that we could read. */
static struct dns_reply error_reply(const struct dns_query *query)
{
	enum egress_reason reason = query->error == LDNS_RCODE_NOTIMPL ? EGRESS_PROTOCOL_NOT_ALLOWED
								       : EGRESS_BAD_REQUEST;

	return refusal(reason, query->error, 0, NULL);
}

/* In the order of what may be said about whom: a name is only looked up when nothing else settles
 * it. */
bool dns_judge(const struct dns_names *names, const struct dns_query *query,
	       enum dns_reading reading, struct dns_reply *ret)
{
	if (reading != DNS_READ_QUESTION)
		*ret = error_reply(query);
	else if (query->class != LDNS_RR_CLASS_IN)
		*ret = refusal(EGRESS_PROTOCOL_NOT_ALLOWED, LDNS_RCODE_REFUSED, ERROR_BLOCKED,
			       blocked);
	else if (query->name[0] == '.') /* NXDOMAIN of the root would deny every name */
		*ret = refusal(EGRESS_HOST_NOT_ALLOWED, LDNS_RCODE_REFUSED, ERROR_BLOCKED, blocked);
	else if (!query->plain_name || is_within(query->name, "arpa"))
		*ret = refusal(EGRESS_HOST_NOT_ALLOWED, LDNS_RCODE_NXDOMAIN, ERROR_BLOCKED,
			       blocked);
	else if (is_within(query->name, "localhost") || /* RFC 6761, section 6.3 */
		 (names->proxy_name && strcasecmp(query->name, names->proxy_name) == 0))
		*ret = (struct dns_reply){.addresses = loopback, .count = 2, .ttl = ADDRESS_TTL};
	else
		return false;
	return true;
}

/* AAAA, HTTPS and SVCB are asked by every client beside A, a web server's SRV by apt: no data is
 * the plain answer. */
static bool expected_type(const struct dns_query *query)
{
	return query->type == LDNS_RR_TYPE_A || query->type == LDNS_RR_TYPE_AAAA ||
	       query->type == LDNS_RR_TYPE_HTTPS || query->type == LDNS_RR_TYPE_SVCB ||
	       query->web_service;
}

void dns_settle(const struct dns_query *query, enum egress_reason reason,
		const struct egress_address *addresses, size_t count, uint32_t ttl,
		struct dns_reply *ret)
{
	switch (reason) {
	case EGRESS_ALLOWED:
		if (expected_type(query))
			*ret = (struct dns_reply){
				.addresses = addresses, .count = count, .ttl = ttl};
		else
			*ret = refusal(EGRESS_PROTOCOL_NOT_ALLOWED, LDNS_RCODE_NOERROR,
				       ERROR_BLOCKED, blocked);
		break;
	case EGRESS_LIMIT:
		*ret = refusal(reason, LDNS_RCODE_REFUSED, ERROR_OTHER, "limit reached");
		break;
	case EGRESS_UPSTREAM_UNRESOLVED:
	case EGRESS_UPSTREAM_TIMEOUT:
		*ret = refusal(reason, LDNS_RCODE_SERVFAIL, ERROR_NO_REACHABLE_AUTHORITY,
			       "allowed, but upstream does not resolve it");
		break;
	case EGRESS_INTERNAL:
		*ret = refusal(reason, LDNS_RCODE_SERVFAIL, ERROR_OTHER, "internal error");
		break;
	default:
		*ret = refusal(reason, LDNS_RCODE_NXDOMAIN, ERROR_BLOCKED, blocked);
		break;
	}
}

void dns_answer_fill(const struct dns_query *query, const struct dns_reply *reply,
		     struct dns_answer *ret)
{
	ret->reason = reply->reason;
	memcpy(ret->name, query->name, sizeof(ret->name));
	ret->type = query->type;
}

/* A refusal that says "allowed" is a fault, and stays a refusal. */
static enum egress_reason ask_names(const struct dns_names *names, const char *name,
				    struct egress_address *ret_address)
{
	enum egress_reason reason = EGRESS_INTERNAL;

	if (!names->bind)
		return EGRESS_INTERNAL;
	switch (names->bind(names->context, name, ret_address, &reason)) {
	case DNS_BOUND:
		return EGRESS_ALLOWED;
	case DNS_REFUSED:
		return reason == EGRESS_ALLOWED ? EGRESS_INTERNAL : reason;
	default:
		return EGRESS_INTERNAL;
	}
}

int dns_respond(const struct dns_names *names, struct span query, struct bytes *ret_response,
		size_t udp_limit, struct dns_answer *ret_answer)
{
	CLEANUP(dns_query_clear) struct dns_query parsed;
	enum dns_reading reading = dns_query_read(query, &parsed);
	struct egress_address address = {0};
	struct dns_reply reply = {.reason = EGRESS_BAD_REQUEST};

	if (reading == DNS_READ_NO_MEMORY)
		return -1;
	if (reading == DNS_READ_NOTHING) {
		dns_answer_fill(&parsed, &reply, ret_answer);
		return 0;
	}
	if (!dns_judge(names, &parsed, reading, &reply)) {
		enum egress_reason reason = ask_names(names, parsed.name, &address);
		dns_settle(&parsed, reason, &address, 1, ADDRESS_TTL, &reply);
	}
	dns_answer_fill(&parsed, &reply, ret_answer);
	return dns_reply_write(&parsed, &reply, udp_limit, ret_response);
}
