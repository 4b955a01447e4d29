// SPDX-License-Identifier: BSD-2-Clause
/* `enforcement: audit`: what would be refused by name, path, method or header passes and is said.
 * It passes by a route of its own that injects nothing, never by the one that refused it: a
 * credential goes only where a rule sends it. */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>

/* Where HTTP is spoken, for names that no route gives ports to. As many as a host may have
 * (EGRESS_MAX_PORTS); the usual ones first. */
static const uint16_t other_ports[] = {443,  80,   8443, 8080, 8000, 8888, 3000, 5000,
				       9000, 9443, 8081, 8008, 4443, 5001, 8082, 4000};

/* Without auth and with one match that takes everything. `file` is the policy's or a literal. */
static struct policy_route *audit_route(struct policy *policy, struct policy_host *host,
					const char *file, int line)
{
	struct policy_route *route = arena_alloc(&policy->arena, sizeof(*route));

	if (!route)
		return NULL;
	route->matches = arena_alloc(&policy->arena, sizeof(*route->matches));
	if (!route->matches)
		return NULL;
	route->match_count = 1;
	route->file = file;
	route->host = host;
	route->mode = POLICY_INTERCEPT;
	route->audit = true;
	route->line = line;
	return route;
}

/* The first of the host's routes that says so, or the policy. */
static bool finish_host(struct policy *policy, struct policy_host *host)
{
	const struct policy_route *said = NULL;

	for (size_t i = 0; i < host->route_count && !said; i++) {
		if (policy->audit || host->routes[i]->audit)
			said = host->routes[i];
	}
	if (said)
		host->audit = audit_route(policy, host, said->file, said->line);
	return !said || host->audit;
}

/* A host like any other, so that nothing else has to know of audit. */
static struct policy_host *others_new(struct policy *policy)
{
	struct policy_host *others = arena_alloc(&policy->arena, sizeof(*others));

	if (!others)
		return NULL;
	others->name = "*";
	others->routes = arena_alloc(&policy->arena, sizeof(void *));
	others->ports = arena_alloc(&policy->arena, sizeof(other_ports) / sizeof(other_ports[0]) *
							    sizeof(*others->ports));
	others->audit = audit_route(policy, others, "enforcement: audit", 0);
	if (!others->routes || !others->ports || !others->audit)
		return NULL;
	others->routes[others->route_count++] = others->audit;
	for (size_t i = 0; i < sizeof(other_ports) / sizeof(other_ports[0]); i++)
		others->ports[others->port_count++] =
			(struct policy_host_port){other_ports[i], false, others->audit};
	return others;
}

bool policy_audit_finish(struct policy *policy)
{
	for (size_t i = 0; i < policy->host_count; i++) {
		if (!finish_host(policy, policy->hosts[i]))
			return false;
	}
	if (policy->audit)
		policy->others = others_new(policy);
	return !policy->audit || policy->others;
}

void policy_set_audit(struct policy *policy)
{
	policy->audit = true;
}

bool policy_is_audit(const struct policy *policy)
{
	return policy->audit;
}

/* Only what a rule of HTTP refused: an address, a protocol or a fault of the request stays refused
 * in audit, too. `audited` is what is said about it. */
void policy_audit(const struct policy *policy, const struct policy_host *host,
		  struct policy_verdict *verdict)
{
	if (!host || !host->audit)
		return;
	switch (verdict->reason) {
	case EGRESS_PATH_NOT_ALLOWED:
	case EGRESS_METHOD_NOT_ALLOWED:
	case EGRESS_HEADER_NOT_ALLOWED:
	case EGRESS_AMBIGUOUS_PATH:
	case EGRESS_PLAINTEXT_AUTH:
		verdict->audited = host == policy->others ? EGRESS_HOST_NOT_ALLOWED
							  : verdict->reason;
		verdict->reason = EGRESS_ALLOWED;
		verdict->route = host->audit;
		break;
	default:
		break;
	}
}
