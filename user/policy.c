// SPDX-License-Identifier: BSD-2-Clause
/* Building and freeing a policy, and the small questions about its parts. */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>

/* A regex that has not answered after so many steps refuses: the path is the bottle's. */
#define REGEX_MATCH_LIMIT 100000
#define REGEX_DEPTH_LIMIT 1000
#define REGEX_HEAP_LIMIT_KIB 1024

/* Doubling only where the count is a power of two needs no capacity beside it. */
void *policy_grow(void *array, size_t count, size_t item_size)
{
	if ((count & (count - 1)) != 0)
		return array;
	return reallocarray(array, count ? count * 2 : 1, item_size);
}

struct policy *policy_new(void)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->references = 1;
	policy->names.arena = policy->suffixes.arena = policy->secret_index.arena = &policy->arena;
	policy->limits = pcre2_match_context_create(NULL);
	if (!policy->limits) {
		policy_unref(policy);
		return NULL;
	}
	pcre2_set_match_limit(policy->limits, REGEX_MATCH_LIMIT);
	pcre2_set_depth_limit(policy->limits, REGEX_DEPTH_LIMIT);
	pcre2_set_heap_limit(policy->limits, REGEX_HEAP_LIMIT_KIB);
	return policy;
}

bool policy_expect(struct policy *policy, size_t hosts)
{
	return policy_table_reserve(&policy->names, policy->names.count + hosts);
}

/* Relaxed: who takes a reference has one already. */
struct policy *policy_ref(struct policy *policy)
{
	__atomic_add_fetch(&policy->references, 1, __ATOMIC_RELAXED);
	return policy;
}

/* Acquire: who frees it next must see all that the others did with it. */
bool policy_is_shared(const struct policy *policy)
{
	return __atomic_load_n(&policy->references, __ATOMIC_ACQUIRE) > 1;
}

/* ---- freeing ------------------------------------------------------------------------------ */

void policy_unref(struct policy *policy)
{
	/* Acquire and release: who frees it must see all that the others did with it. */
	if (!policy || __atomic_sub_fetch(&policy->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	while (policy->regexes) {
		struct policy_path *path = policy->regexes;

		policy->regexes = path->next_regex;
		policy_path_release(path);
	}
	for (size_t i = 0; i < policy->secret_count; i++)
		policy_secret_free(policy->secrets[i]);
	for (size_t i = 0; i < policy->client_count; i++)
		policy_client_free(policy->clients[i]);
	pcre2_match_context_free(policy->limits);
	arena_free(&policy->arena);
	free(policy);
}

/* ---- building ----------------------------------------------------------------------------- */

static int out_of_memory(struct error *error)
{
	return error_set(error, "out of memory");
}

static int copy_text(struct policy *policy, const char *text, const char **ret_copy,
		     struct error *error)
{
	*ret_copy = arena_text(&policy->arena, span_from(text));
	return *ret_copy ? 0 : out_of_memory(error);
}

/* One copy for all routes of a file. */
static int copy_file(struct policy *policy, const char *file, const char **ret_file,
		     struct error *error)
{
	if (!file)
		file = "policy";
	if ((!policy->file || strcmp(policy->file, file) != 0) &&
	    copy_text(policy, file, &policy->file, error) < 0)
		return -1;
	*ret_file = policy->file;
	return 0;
}

/* A path with a regex is the policy's to free, whatever comes of the route. */
static int copy_path(struct policy *policy, struct policy_path *path,
		     const struct policy_path_spec *spec, struct error *error)
{
	if (policy_path_init(path, spec, &policy->arena, error) < 0) {
		policy_path_release(path);
		return -1;
	}
	if (path->regex) {
		path->next_regex = policy->regexes;
		policy->regexes = path;
	}
	return 0;
}

static int copy_match(struct policy *policy, struct policy_match *match,
		      const struct policy_match_spec *spec, struct error *error)
{
	struct arena *arena = &policy->arena;

	match->paths = arena_alloc(arena, spec->path_count * sizeof(*match->paths));
	match->methods = arena_alloc(arena, spec->method_count * sizeof(*match->methods));
	match->headers = arena_alloc(arena, spec->header_count * sizeof(*match->headers));
	if (!match->paths || !match->methods || !match->headers)
		return out_of_memory(error);
	match->path_count = spec->path_count;
	match->method_count = spec->method_count;
	match->header_count = spec->header_count;
	for (size_t i = 0; i < spec->path_count; i++)
		if (copy_path(policy, &match->paths[i], &spec->paths[i], error) < 0)
			return -1;
	for (size_t i = 0; i < spec->method_count; i++)
		if (copy_text(policy, spec->methods[i], &match->methods[i], error) < 0)
			return -1;
	for (size_t i = 0; i < spec->header_count; i++)
		if (copy_text(policy, spec->headers[i].name, &match->headers[i].name, error) < 0 ||
		    copy_text(policy, spec->headers[i].value, &match->headers[i].value, error) < 0)
			return -1;
	return 0;
}

/* No match at all becomes one that takes everything: what follows has one case less. */
static int copy_matches(struct policy *policy, struct policy_route *route,
			const struct policy_route_spec *spec, struct error *error)
{
	static const struct policy_match_spec everything;
	const struct policy_match_spec *matches = spec->match_count ? spec->matches : &everything;
	size_t count = spec->match_count ? spec->match_count : 1;

	route->matches = arena_alloc(&policy->arena, count * sizeof(*route->matches));
	if (!route->matches)
		return out_of_memory(error);
	route->match_count = count;
	for (size_t i = 0; i < count; i++)
		if (copy_match(policy, &route->matches[i], &matches[i], error) < 0)
			return -1;
	return 0;
}

/* 443 and 80 are where HTTP is; raw TCP has no port that could be meant. */
static int copy_ports(const struct policy_route_spec *spec, uint16_t ports[EGRESS_MAX_PORTS],
		      size_t *ret_count, struct error *error)
{
	if (spec->port_count > EGRESS_MAX_PORTS)
		return error_set(error, "more than %d ports", EGRESS_MAX_PORTS);
	if (spec->port_count == 0 && spec->mode == POLICY_TCP)
		return error_set(error, "raw TCP needs ports");
	if (spec->port_count == 0) {
		ports[0] = 443;
		ports[1] = 80;
		*ret_count = spec->mode == POLICY_PASSTHROUGH ? 1 : 2;
		return 0;
	}
	for (size_t i = 0; i < spec->port_count; i++)
		ports[i] = spec->ports[i];
	*ret_count = spec->port_count;
	return 0;
}

/* ---- routes to hosts ---------------------------------------------------------------------- */

/* Names and wildcards are in tables of their own: a name is looked up whole, then by its
 * suffixes. */
static struct policy_host *host_new(struct policy *policy, const char *name, struct error *error)
{
	bool wildcard = strncmp(name, "*.", 2) == 0;
	struct policy_table *table = wildcard ? &policy->suffixes : &policy->names;
	struct policy_host *host = arena_alloc(&policy->arena, sizeof(*host));
	void *hosts = arena_grow(&policy->arena, policy->hosts, policy->host_count, sizeof(void *));

	if (hosts)
		policy->hosts = hosts;
	if (!host || !hosts || copy_text(policy, name, &host->name, error) < 0 ||
	    !policy_table_put(table, span_from(host->name + (wildcard ? 2 : 0)), host)) {
		out_of_memory(error);
		return NULL;
	}
	policy->hosts[policy->host_count++] = host;
	return host;
}

static struct policy_host *host_by_name(const struct policy *policy, const char *name)
{
	if (strncmp(name, "*.", 2) == 0)
		return policy_table_get(&policy->suffixes, span_from(name + 2));
	return policy_table_get(&policy->names, span_from(name));
}

static const char *mode_name(enum policy_mode mode)
{
	static const char *const names[] = {
		[POLICY_INTERCEPT] = "http",
		[POLICY_PASSTHROUGH] = "tls: passthrough",
		[POLICY_TCP] = "protocol: tcp",
	};

	return names[mode];
}

/* One mode for a port: the first bytes of a connection decide whether it is intercepted, before any
 * path is known. */
static int check_host_ports(const struct policy_host *host, const struct policy_route *route,
			    struct error *error)
{
	size_t count = host->port_count;

	for (size_t i = 0; i < route->port_count; i++) {
		const struct policy_host_port *port = policy_host_port(host, route->ports[i]);

		if (port && port->first->mode != route->mode)
			return error_set(error,
					 "port %u of %s is \"%s\" here and \"%s\" at line %d",
					 route->ports[i], host->name, mode_name(route->mode),
					 mode_name(port->first->mode), port->first->line);
		if (!port && ++count > EGRESS_MAX_PORTS)
			return error_set(error, "the routes of %s name more than %d ports",
					 host->name, EGRESS_MAX_PORTS);
	}
	return 0;
}

/* allow_private of one route holds for the port, whatever the path: an address is dialled for a
 * connection, before there is a request to judge. */
static int enter_ports(struct policy *policy, struct policy_host *host,
		       const struct policy_route *route, struct error *error)
{
	for (size_t i = 0; i < route->port_count; i++) {
		struct policy_host_port *port =
			(struct policy_host_port *)policy_host_port(host, route->ports[i]);

		if (!port) {
			port = arena_grow(&policy->arena, host->ports, host->port_count,
					  sizeof(*port));
			if (!port)
				return out_of_memory(error);
			host->ports = port;
			port = &host->ports[host->port_count++];
			port->port = route->ports[i];
			port->first = route;
		}
		port->allow_private |= route->allow_private;
	}
	return 0;
}

/* What config_route() has refused with better words already; here for whoever else builds a
 * policy. */
static int check_spec(const struct policy_route_spec *spec, struct error *error)
{
	if (!spec->host == !spec->cidr)
		return error_set(error, "a route has either a host or a cidr");
	if (spec->mode != POLICY_INTERCEPT &&
	    (spec->match_count > 0 || spec->auth || spec->client_cert))
		return error_set(error, "only intercepted HTTP takes path rules, auth and client_cert");
	if (!spec->client_cert != !spec->client_key)
		return error_set(error, "client_cert and client_key go together");
	if (spec->cidr && spec->mode != POLICY_TCP)
		return error_set(error, "a cidr route is raw TCP");
	return 0;
}

/* The auth comes last: after it the secret points to the route. */
static int route_init(struct policy *policy, struct policy_route *route,
		      const struct policy_route_spec *spec, struct error *error)
{
	route->mode = spec->mode;
	route->allow_private = spec->allow_private;
	route->allow_plaintext = spec->allow_plaintext;
	route->allow_encoded_slash = spec->allow_encoded_slash;
	route->keep_authorization = spec->keep_authorization;
	route->uses_matches = spec->uses_matches;
	route->audit = spec->audit;
	route->line = spec->line;
	if (copy_file(policy, spec->file, &route->file, error) < 0 ||
	    copy_ports(spec, route->ports, &route->port_count, error) < 0 ||
	    copy_matches(policy, route, spec, error) < 0 ||
	    check_host_ports(route->host, route, error) < 0)
		return -1;
	if (spec->client_cert && policy_client_init(policy, route, spec, error) < 0)
		return -1;
	return spec->auth ? policy_auth_init(policy, route, spec->auth, error) : 0;
}

/* After a failure the host may be without routes; the policy is then only good for
 * policy_unref(). */
static int add_host_route(struct policy *policy, const struct policy_route_spec *spec,
			  struct error *error)
{
	struct policy_host *host = host_by_name(policy, spec->host);
	struct policy_route *route = arena_alloc(&policy->arena, sizeof(*route));
	void *routes = NULL;

	if (!route)
		return out_of_memory(error);
	if (!host)
		host = host_new(policy, spec->host, error);
	if (host)
		routes = arena_grow(&policy->arena, host->routes, host->route_count,
				    sizeof(void *));
	if (routes)
		host->routes = routes;
	route->host = host;
	if (!routes || route_init(policy, route, spec, error) < 0 ||
	    enter_ports(policy, host, route, error) < 0)
		return out_of_memory(error); /* an error that was set before stays */
	host->routes[host->route_count++] = route;
	return 0;
}

/* ---- routes to addresses ------------------------------------------------------------------- */

static bool cidr_has_port(const struct policy_cidr *cidr, uint16_t port)
{
	for (size_t i = 0; i < cidr->port_count; i++) {
		if (cidr->ports[i] == port)
			return true;
	}
	return false;
}

/* The kernel has one entry for a block, so routes for the same block become one. */
static int merge_cidr(struct policy_cidr *cidr, const struct policy_route_spec *spec,
		      struct error *error)
{
	if (cidr->direct != spec->direct || cidr->allow_private != spec->allow_private)
		return error_set(error, "the same cidr has another direct or allow_private at line %d",
				 cidr->line);
	for (size_t i = 0; i < spec->port_count; i++) {
		if (cidr_has_port(cidr, spec->ports[i]))
			continue;
		if (cidr->port_count == EGRESS_MAX_PORTS)
			return error_set(error, "the routes of the cidr name more than %d ports",
					 EGRESS_MAX_PORTS);
		cidr->ports[cidr->port_count++] = spec->ports[i];
	}
	return 0;
}

static int add_cidr_route(struct policy *policy, const struct policy_route_spec *spec,
			  struct error *error)
{
	struct policy_cidr *cidr;
	const char *file;
	void *cidrs;

	for (size_t i = 0; i < policy->cidr_count; i++) {
		cidr = &policy->cidrs[i];
		if (memcmp(&cidr->cidr, spec->cidr, sizeof(cidr->cidr)) == 0)
			return merge_cidr(cidr, spec, error);
	}
	if (policy->cidr_count == EGRESS_MAX_CIDRS)
		return error_set(error, "more than %d cidr routes", EGRESS_MAX_CIDRS);
	cidrs = arena_grow(&policy->arena, policy->cidrs, policy->cidr_count, sizeof(*cidr));
	if (cidrs)
		policy->cidrs = cidrs;
	if (!cidrs || copy_file(policy, spec->file, &file, error) < 0)
		return out_of_memory(error);
	cidr = &policy->cidrs[policy->cidr_count];
	*cidr = (struct policy_cidr){
		.cidr = *spec->cidr,
		.direct = spec->direct,
		.allow_private = spec->allow_private,
		.file = file,
		.line = spec->line,
	};
	if (copy_ports(spec, cidr->ports, &cidr->port_count, error) < 0)
		return -1;
	policy->cidr_count++;
	return 0;
}

int policy_add(struct policy *policy, const struct policy_route_spec *spec, struct error *error)
{
	if (check_spec(spec, error) < 0)
		return -1;
	policy->route_count++;
	return spec->cidr ? add_cidr_route(policy, spec, error)
			  : add_host_route(policy, spec, error);
}

size_t policy_route_count(const struct policy *policy)
{
	return policy->route_count;
}
