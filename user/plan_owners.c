// SPDX-License-Identifier: BSD-2-Clause
/* Who owns a host: a provider owns its hosts outright, for a manifest's route beside it could reach
 * them with another credential, or none. Sorted and searched: there may be ten thousand of either. */
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "config_values.h"
#include "plan_make.h"

/* Without complaints: those are config_route()'s. A wrong target owns nothing and is owned by
 * nobody; the route itself is reported later. */
static struct plan_target read_target(struct config_arena *arena, const struct plan_route *route)
{
	struct diag_list ignored = {0};
	struct config_context context = {.arena = arena, .errors = &ignored, .source = ""};
	struct config_text text = {route->host ? route->host : route->cidr, 1};
	struct plan_target target = {.host = NULL};

	if (route->host && !config_host(&context, &text, &target.host))
		target.host = NULL;
	else if (!route->host && route->cidr)
		target.has_cidr = cidr_parse(route->cidr, &target.cidr);
	diag_list_free(&ignored);
	return target;
}

static int compare(const void *a, const void *b)
{
	const struct plan_target *x = a, *y = b;

	if (x->has_cidr != y->has_cidr)
		return x->has_cidr ? 1 : -1;
	if (!x->has_cidr)
		return strcmp(x->host, y->host);
	if (x->cidr.prefix_length != y->cidr.prefix_length)
		return x->cidr.prefix_length < y->cidr.prefix_length ? -1 : 1;
	return memcmp(&x->cidr.address, &y->cidr.address, sizeof(x->cidr.address));
}

/* The providers' routes come first, so they are all there by now. */
struct plan_owners plan_list_owners(struct plan_draft *draft)
{
	struct plan_owners owners = {0};

	owners.list = plan_alloc(&draft->arena, (draft->route_count + 1) * sizeof(*owners.list));
	for (size_t i = 0; i < draft->route_count; i++) {
		struct plan_target target;

		if (draft->routes[i].origin != PLAN_FROM_PROVIDER)
			continue;
		target = read_target(&draft->arena, &draft->routes[i]);
		if (target.has_cidr)
			owners.has_prefix[target.cidr.prefix_length] = true;
		if (target.host || target.has_cidr)
			owners.list[owners.count++] = target;
	}
	qsort(owners.list, owners.count, sizeof(*owners.list), compare);
	return owners;
}

static bool has(const struct plan_owners *owners, const struct plan_target *target)
{
	return bsearch(target, owners->list, owners->count, sizeof(*target), compare) != NULL;
}

/* "*.x" owns all names below x, and so "*.a.x", but not x. */
static bool owns_host(const struct plan_owners *owners, struct config_arena *arena,
		      const char *host)
{
	size_t length = strlen(host);
	char *above = plan_alloc(arena, length + 2);

	if (has(owners, &(struct plan_target){.host = host}))
		return true;
	for (const char *dot = strchr(host, '.'); dot; dot = strchr(dot + 1, '.')) {
		above[0] = '*';
		memcpy(above + 1, dot, strlen(dot) + 1);
		if (has(owners, &(struct plan_target){.host = above}))
			return true;
	}
	return false;
}

/* The block of `prefix` bits around `cidr`. */
static struct cidr around(const struct cidr *cidr, unsigned prefix)
{
	struct cidr wider = {.address = cidr->address, .prefix_length = prefix};

	for (unsigned bit = prefix; bit < 128; bit++)
		wider.address.bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
	return wider;
}

/* A block is owned by every block around it. */
static bool owns_cidr(const struct plan_owners *owners, const struct cidr *cidr)
{
	for (unsigned prefix = 0; prefix <= cidr->prefix_length; prefix++) {
		if (owners->has_prefix[prefix] &&
		    has(owners, &(struct plan_target){.has_cidr = true, .cidr = around(cidr, prefix)}))
			return true;
	}
	return false;
}

bool plan_is_owned(const struct plan_owners *owners, struct config_arena *arena,
		   const struct plan_route *route)
{
	struct plan_target target;

	if (owners->count == 0)
		return false;
	target = read_target(arena, route);
	if (target.has_cidr)
		return owns_cidr(owners, &target.cidr);
	return target.host && owns_host(owners, arena, target.host);
}
