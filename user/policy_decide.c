// SPDX-License-Identifier: BSD-2-Clause
/* One request against the rules of one host. */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>

/* Longer paths are rare, and cost an allocation. */
#define SMALL_PATH 1024

/* What is looked for, and how near the nearest rule came. */
struct search {
	const struct policy *policy;
	const struct policy_request *request;
	struct span path; /* normalised */
	bool encoded_slash;
	enum { FAR, ENCODED_SLASH, PATH, METHOD, CHOSEN } nearest;
	const struct policy_rule *rule; /* the nearest */
};

static bool route_has_port(const struct policy_route *route, uint16_t port)
{
	for (size_t i = 0; i < route->port_count; i++) {
		if (route->ports[i] == port)
			return true;
	}
	return false;
}

/* Case counts (RFC 9110, 9.1): an upstream may take "get" for something else. */
static bool method_matches(const struct policy_match *match, struct span method)
{
	for (size_t i = 0; i < match->method_count; i++) {
		if (span_equal(span_from(match->methods[i]), method))
			return true;
	}
	return false;
}

static bool methods_match(const struct policy_match *match, const struct policy_request *request)
{
	struct span other;
	size_t at = 0;

	if (match->method_count == 0)
		return true;
	if (!method_matches(match, request->method))
		return false;
	while ((other = policy_overriding_method(request, &at)).data)
		if (!method_matches(match, other))
			return false;
	return true;
}

/* Exactly one header of that name, however it is written: of two, the upstream might believe the
 * other. */
static bool header_matches(const struct policy_rule_header *rule,
			   const struct policy_request *request)
{
	struct span name = span_from(rule->name), value = span_from(rule->value);
	bool matches = false;
	size_t seen = 0;

	for (size_t i = 0; i < request->header_count; i++) {
		if (!span_equal_field(request->headers[i].name, name))
			continue;
		seen++;
		matches = span_equal_nocase(request->headers[i].name, name) &&
			  span_equal(span_trim(request->headers[i].value), value);
	}
	return seen == 1 && matches;
}

static bool headers_match(const struct policy_match *match, const struct policy_request *request)
{
	for (size_t i = 0; i < match->header_count; i++) {
		if (!header_matches(&match->headers[i], request))
			return false;
	}
	return true;
}

/* How far a rule whose path matches goes with the rest of the request. The nearest miss is kept for
 * the hint; CHOSEN ends the search. */
static void try_rule(struct search *s, const struct policy_rule *rule)
{
	int reached = PATH;

	if (!route_has_port(rule->route, s->request->port))
		return;
	if (s->encoded_slash && !rule->route->allow_encoded_slash)
		reached = ENCODED_SLASH;
	else if (methods_match(rule->match, s->request))
		reached = headers_match(rule->match, s->request) ? CHOSEN : METHOD;
	if (reached > (int)s->nearest) {
		s->nearest = reached;
		s->rule = rule;
	}
}

/* The rules of one path stand together; `first` is NULL when there are none. */
static void try_path(struct search *s, const struct policy_host *host,
		     const struct policy_rule *first)
{
	const struct policy_rule *end = host->rules + host->first_regex;

	for (const struct policy_rule *rule = first; rule && rule < end; rule++) {
		if (rule->path->type != first->path->type ||
		    rule->path->length != first->path->length ||
		    memcmp(rule->path->text, first->path->text, first->path->length) != 0)
			return;
		try_rule(s, rule);
		if (s->nearest == CHOSEN)
			return;
	}
}

/* A prefix ends where a segment does: at the path's end, before a slash, or with one. From the
 * longest on, so the first that takes the request is the most specific; one table look-up for each
 * boundary, however many rules there are. */
static void try_prefixes(struct search *s, const struct policy_host *host)
{
	size_t end = s->path.length < host->longest_prefix ? s->path.length : host->longest_prefix;

	for (; end > 0 && s->nearest != CHOSEN; end--) {
		bool boundary = end == s->path.length || s->path.data[end] == '/' ||
				s->path.data[end - 1] == '/';

		if (boundary)
			try_path(s, host,
				 policy_table_get(&host->prefixes,
						  (struct span){s->path.data, end}));
	}
}

/* False when a regex could not be evaluated. A pattern that gave up could have matched: the request
 * is refused, not tried on later rules. */
static bool try_regexes(struct search *s, const struct policy_host *host)
{
	for (size_t i = host->first_regex; i < host->first_any && s->nearest != CHOSEN; i++) {
		const struct policy_rule *rule = &host->rules[i];
		int matches;

		if (!route_has_port(rule->route, s->request->port))
			continue;
		matches = policy_path_regex(rule->path, s->path, s->policy->limits);
		if (matches < 0)
			return false;
		if (matches)
			try_rule(s, rule);
	}
	return true;
}

/* The order of Gateway API: exact, longest prefix, regex, any. */
static bool search(struct search *s, const struct policy_host *host)
{
	try_path(s, host, policy_table_get(&host->exact, s->path));
	try_prefixes(s, host);
	if (!try_regexes(s, host))
		return false;
	for (size_t i = host->first_any; i < host->rule_count && s->nearest != CHOSEN; i++)
		try_rule(s, &host->rules[i]);
	return true;
}

/* What the chosen route itself has against the request. */
static enum egress_reason check_route(const struct policy_route *route,
				      const struct policy_request *request)
{
	if (!route->has_auth)
		return EGRESS_ALLOWED;
	if (!request->tls && !route->allow_plaintext)
		return EGRESS_PLAINTEXT_AUTH;
	return policy_asks_for_trace(request) ? EGRESS_METHOD_NOT_ALLOWED : EGRESS_ALLOWED;
}

/* How near the nearest rule came is what the bottle is told. */
static enum egress_reason reason_of(const struct search *s, const struct policy_host *host)
{
	if (!s->rule)
		return s->encoded_slash && !policy_host_takes_encoded_slash(host) ? EGRESS_AMBIGUOUS_PATH
									: EGRESS_PATH_NOT_ALLOWED;
	switch (s->nearest) {
	case CHOSEN:
		return check_route(s->rule->route, s->request);
	case METHOD:
		return EGRESS_HEADER_NOT_ALLOWED;
	case PATH:
		return EGRESS_METHOD_NOT_ALLOWED;
	case ENCODED_SLASH:
		return EGRESS_AMBIGUOUS_PATH;
	default:
		return EGRESS_PATH_NOT_ALLOWED;
	}
}

/* Splits off the query. False for anything but origin-form, and "*" for OPTIONS (RFC 9112, 3.2),
 * and for bytes that no target may hold. */
static bool split_target(const struct policy_request *request, struct span *ret_path)
{
	struct span target = request->target;
	const char *query;

	for (size_t i = 0; i < target.length; i++) {
		if ((unsigned char)target.data[i] <= 0x20 || target.data[i] == 0x7f)
			return false;
	}
	if (target.length == 0)
		return false;
	query = memchr(target.data, '?', target.length);
	*ret_path = target;
	if (query)
		ret_path->length = (size_t)(query - target.data);
	if (span_equal(target, SPAN("*")))
		return span_equal(request->method, SPAN("OPTIONS"));
	return target.data[0] == '/';
}

/* Judges the path; `normal` has room for it. `ret_why` says what is ambiguous about it. Hosts
 * without path rules and credentials take any path: nothing hangs on how it is read. A fragment
 * never reaches a server by itself (RFC 3986, 3.5), so servers disagree about one. */
static enum egress_reason judge_path(struct search *s, const struct policy_host *host,
				     struct policy_verdict *verdict, char *normal,
				     const char **ret_why)
{
	enum policy_path_state state = POLICY_PATH_PLAIN;

	s->path = verdict->path;
	if (host->strict && verdict->path.data[0] == '/') {
		size_t length;

		state = policy_path_normalise(verdict->path, normal, &length, ret_why);
		if (state == POLICY_PATH_AMBIGUOUS)
			return EGRESS_AMBIGUOUS_PATH;
		if (memchr(s->request->target.data, '#', s->request->target.length)) {
			*ret_why = "a fragment (#)";
			return EGRESS_AMBIGUOUS_PATH;
		}
		s->path = (struct span){normal, length};
	}
	s->encoded_slash = state == POLICY_PATH_ENCODED_SLASH;
	if (!search(s, host))
		return EGRESS_PATH_NOT_ALLOWED;
	if (s->rule)
		verdict->route = s->rule->route;
	return reason_of(s, host);
}

/* Sets verdict->route as it goes, so that a refusal names the route that came closest. */
static enum egress_reason decide(const struct policy *policy, const struct policy_request *request,
				 struct policy_verdict *verdict, const char **ret_why)
{
	struct search s = {.policy = policy, .request = request};
	const struct policy_host *host = verdict->host;
	const struct policy_host_port *port;
	char small[SMALL_PATH], *normal = small;
	enum egress_reason reason;

	if (!host)
		return EGRESS_HOST_NOT_ALLOWED;
	verdict->route = host->routes[0];
	port = policy_host_port(host, request->port);
	if (!port)
		return EGRESS_PORT_NOT_ALLOWED;
	verdict->route = port->first;
	if (port->first->mode != POLICY_INTERCEPT)
		return EGRESS_PROTOCOL_NOT_ALLOWED;
	if (!split_target(request, &verdict->path))
		return EGRESS_BAD_REQUEST;
	if (verdict->path.length >= sizeof(small))
		normal = malloc(verdict->path.length + 1);
	if (!normal)
		return EGRESS_INTERNAL;
	reason = judge_path(&s, host, verdict, normal, ret_why);
	if (normal != small)
		free(normal);
	return reason;
}

/* Where to something is moved or copied, a rule has to allow it, too, where there is one for paths. */
static void decide_destination(const struct policy *policy, const struct policy_request *request,
			       struct policy_verdict *verdict, const char **ret_why)
{
	struct policy_request there = *request;
	size_t at = 0;

	while (verdict->reason == EGRESS_ALLOWED && verdict->host->first_any > 0 &&
	       (there.target = policy_destination(request, &at)).data) {
		struct policy_verdict other = *verdict;

		if (!policy_asks_for_move(request))
			return;
		other.reason = decide(policy, &there, &other, ret_why);
		/* A request by itself is fine; what it asks for there is no path of ours. */
		if (other.reason == EGRESS_BAD_REQUEST) {
			other.reason = EGRESS_PATH_NOT_ALLOWED;
			other.path = there.target;
		}
		if (other.reason != EGRESS_ALLOWED)
			*verdict = other;
	}
}

/* Internal until proven otherwise: a fault on the way cannot be an allowance. */
void policy_decide(const struct policy *policy, const struct policy_request *request,
		   struct policy_verdict *ret_verdict)
{
	const char *why = NULL;

	*ret_verdict = (struct policy_verdict){.reason = EGRESS_INTERNAL, .path = {"", 0}};
	ret_verdict->host = policy_find_host(policy, request->host);
	ret_verdict->reason = decide(policy, request, ret_verdict, &why);
	if (ret_verdict->reason == EGRESS_ALLOWED)
		decide_destination(policy, request, ret_verdict, &why);
	policy_audit(policy, ret_verdict->host, ret_verdict);
	policy_hint(request, why, ret_verdict);
}

const char *policy_route_host(const struct policy_route *route)
{
	return route->host->name;
}

const char *policy_route_file(const struct policy_route *route)
{
	return route->file;
}

int policy_route_line(const struct policy_route *route)
{
	return route->line;
}
