// SPDX-License-Identifier: BSD-2-Clause
/* Which host's rules are asked, at which ports; the sorted order of its rules. */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LABEL 63

/* ---- names -------------------------------------------------------------------------------- */

/* One character of a label, lower-cased; 0 when a name cannot hold it. */
static char label_char(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
		return c;
	return 0;
}

/* Into a buffer of its own first, since `ret` is untouched on failure. Underscores are in use (SRV
 * names, containers) although RFC 1123 has none. */
bool policy_normalise_host(struct span host, char *ret)
{
	char name[EGRESS_NAME_SIZE];
	size_t label = 0;

	if (host.length > 0 && host.data[host.length - 1] == '.')
		host.length--;
	if (host.length == 0 || host.length > 253)
		return false;
	for (size_t i = 0; i < host.length; i++) {
		if (host.data[i] == '.') {
			if (label == 0 || host.data[i - 1] == '-')
				return false;
			name[i] = '.';
			label = 0;
			continue;
		}
		name[i] = label_char(host.data[i]);
		if (!name[i] || (label == 0 && name[i] == '-') || ++label > MAX_LABEL)
			return false;
	}
	if (label == 0 || name[host.length - 1] == '-')
		return false;
	memcpy(ret, name, host.length);
	ret[host.length] = '\0';
	return true;
}

bool policy_is_local(const char *name)
{
	return strcmp(name, POLICY_LOCAL_HOST) == 0;
}

/* Suffixes from the longest on, so the first wildcard found is the most specific. The name itself
 * is not below its own wildcard. */
const struct policy_host *policy_find_host(const struct policy *policy, const char *name)
{
	const struct policy_host *host = policy_table_get(&policy->names, span_from(name));
	const char *dot = name;

	while (!host && (dot = strchr(dot, '.'))) {
		dot++;
		host = policy_table_get(&policy->suffixes, span_from(dot));
	}
	return host ? host : policy->others;
}

bool policy_host_takes_encoded_slash(const struct policy_host *host)
{
	for (size_t i = 0; i < host->route_count; i++) {
		if (host->routes[i]->allow_encoded_slash)
			return true;
	}
	return false;
}

size_t policy_host_count(const struct policy *policy)
{
	return policy->host_count;
}

/* ---- ports -------------------------------------------------------------------------------- */

const struct policy_host_port *policy_host_port(const struct policy_host *host, uint16_t port)
{
	for (size_t i = 0; i < host->port_count; i++) {
		if (host->ports[i].port == port)
			return &host->ports[i];
	}
	return NULL;
}

enum policy_mode policy_host_mode(const struct policy_host *host, uint16_t port)
{
	const struct policy_host_port *entry = policy_host_port(host, port);

	return entry ? entry->first->mode : POLICY_INTERCEPT;
}

bool policy_host_allows_port(const struct policy_host *host, uint16_t port)
{
	return policy_host_port(host, port) != NULL;
}

bool policy_host_splices(const struct policy_host *host, uint16_t port, bool tls)
{
	const struct policy_host_port *entry = policy_host_port(host, port);

	return entry && (entry->first->mode == POLICY_TCP ||
			 (entry->first->mode == POLICY_PASSTHROUGH && tls));
}

/* No more than EGRESS_MAX_PORTS: check_host_ports() saw to it. */
size_t policy_host_ports(const struct policy_host *host, uint16_t ports[EGRESS_MAX_PORTS])
{
	for (size_t i = 0; i < host->port_count; i++)
		ports[i] = host->ports[i].port;
	return host->port_count;
}

bool policy_host_allows_private(const struct policy_host *host, uint16_t port)
{
	const struct policy_host_port *entry = policy_host_port(host, port);

	return entry && entry->allow_private;
}

/* ---- addresses ---------------------------------------------------------------------------- */

size_t policy_cidr_count(const struct policy *policy)
{
	return policy->cidr_count;
}

const struct policy_cidr *policy_cidr_at(const struct policy *policy, size_t index)
{
	return &policy->cidrs[index];
}

const struct policy_cidr *policy_find_cidr(const struct policy *policy,
					   const struct egress_address *address, uint16_t port)
{
	for (size_t i = 0; i < policy->cidr_count; i++) {
		/* Longest prefix first (policy_finish()): as in the kernel's trie, the first
		 * block that holds the address decides, by its ports as well. */
		const struct policy_cidr *cidr = &policy->cidrs[i];

		if (!cidr_contains(&cidr->cidr, address))
			continue;
		for (size_t j = 0; j < cidr->port_count; j++) {
			if (cidr->ports[j] == port)
				return cidr;
		}
		return NULL;
	}
	return NULL;
}

static int by_prefix_length(const void *a, const void *b)
{
	const struct policy_cidr *x = a, *y = b;

	if (x->cidr.prefix_length != y->cidr.prefix_length)
		return x->cidr.prefix_length < y->cidr.prefix_length ? 1 : -1;
	return memcmp(&x->cidr.address, &y->cidr.address, sizeof(x->cidr.address));
}

/* ---- the order of rules -------------------------------------------------------------------- */

/* By the order of enum policy_path_type; a rule without a path comes last. */
static int rule_class(const struct policy_rule *rule)
{
	if (!rule->path)
		return POLICY_PATH_REGEX + 1;
	return (int)rule->path->type;
}

/* Equal paths stand together, in the order of the file: try_path() walks them. qsort() is not
 * stable, hence `order`. */
static int by_specificity(const void *a, const void *b)
{
	const struct policy_rule *x = a, *y = b;
	int class = rule_class(x), order;

	if (class != rule_class(y))
		return class - rule_class(y);
	if (class == POLICY_PATH_EXACT || class == POLICY_PATH_PREFIX) {
		if (x->path->length != y->path->length)
			return x->path->length < y->path->length ? 1 : -1;
		order = memcmp(x->path->text, y->path->text, x->path->length);
		if (order != 0)
			return order;
	}
	return (x->order > y->order) - (x->order < y->order);
}

/* An alternative without paths is one rule that takes any. */
static bool collect_rules(struct policy *policy, struct policy_host *host)
{
	size_t count = 0;

	for (size_t i = 0; i < host->route_count; i++) {
		for (size_t j = 0; j < host->routes[i]->match_count; j++) {
			size_t paths = host->routes[i]->matches[j].path_count;

			count += paths ? paths : 1;
		}
	}
	host->rules = arena_alloc(&policy->arena, count * sizeof(*host->rules));
	if (!host->rules)
		return false;
	for (size_t i = 0; i < host->route_count; i++) {
		const struct policy_route *route = host->routes[i];

		for (size_t j = 0; j < route->match_count; j++) {
			const struct policy_match *match = &route->matches[j];
			size_t k = 0;

			do {
				host->rules[host->rule_count] = (struct policy_rule){
					.route = route,
					.match = match,
					.path = match->path_count ? &match->paths[k] : NULL,
					.order = host->rule_count,
				};
				host->rule_count++;
			} while (++k < match->path_count);
		}
	}
	if (count > 1)
		qsort(host->rules, count, sizeof(*host->rules), by_specificity);
	return true;
}

/* Enters the first rule of each path; the others of the same path follow it. */
static bool index_rules(struct policy *policy, struct policy_host *host)
{
	host->exact.arena = host->prefixes.arena = &policy->arena;
	host->first_regex = host->first_any = host->rule_count;
	for (size_t i = host->rule_count; i-- > 0;) {
		const struct policy_rule *rule = &host->rules[i];

		if (!rule->path)
			host->first_any = i;
		if (!rule->path || rule->path->type == POLICY_PATH_REGEX)
			host->first_regex = i;
	}
	for (size_t i = 0; i < host->first_regex; i++) {
		struct policy_rule *rule = &host->rules[i];
		bool exact = rule->path->type == POLICY_PATH_EXACT;
		struct policy_table *table = exact ? &host->exact : &host->prefixes;
		struct span key = {rule->path->text, rule->path->length};

		if (!exact && key.length > host->longest_prefix)
			host->longest_prefix = key.length;
		if (!policy_table_get(table, key) && !policy_table_put(table, key, rule))
			return false;
	}
	return true;
}

static bool is_injected(const struct policy_host *host, const char *name)
{
	for (size_t i = 0; i < host->injected_count; i++) {
		if (span_equal_nocase(span_from(host->injected[i]), span_from(name)))
			return true;
	}
	return false;
}

/* `injected` is of all routes: what one of them injects the bottle may not send on another. */
static bool finish_host(struct policy *policy, struct policy_host *host)
{
	if (!collect_rules(policy, host) || !index_rules(policy, host))
		return false;
	host->strict = host->first_any > 0;
	for (size_t i = 0; i < host->route_count; i++) {
		const struct policy_route *route = host->routes[i];
		void *injected;

		if (!route->has_auth)
			continue;
		host->strict = true;
		if (is_injected(host, route->auth.header))
			continue;
		injected = arena_grow(&policy->arena, host->injected, host->injected_count,
				      sizeof(char *));
		if (!injected)
			return false;
		host->injected = injected;
		host->injected[host->injected_count++] = route->auth.header;
	}
	return true;
}

int policy_finish(struct policy *policy, struct error *error)
{
	for (size_t i = 0; i < policy->host_count; i++) {
		if (!finish_host(policy, policy->hosts[i]))
			return error_set(error, "out of memory");
	}
	if (!policy_audit_finish(policy))
		return error_set(error, "out of memory");
	if (policy->cidr_count > 1)
		qsort(policy->cidrs, policy->cidr_count, sizeof(*policy->cidrs), by_prefix_length);
	return 0;
}

bool policy_host_is_wildcard(const struct policy_host *host)
{
	return host->name[0] == '*';
}
