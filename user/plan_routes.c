// SPDX-License-Identifier: BSD-2-Clause
/* The routes of all files as one list, and what of them is the policy's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "plan_make.h"

/* ---- one route ------------------------------------------------------------------------------ */

/* One role or a list; for scripts, nothing is decided by them. */
static void take_roles(struct config_context *context, const struct config_node *node,
		       struct plan_route *route)
{
	struct config_texts texts = {0};
	struct config_text text = {0};

	if (node->kind == CONFIG_SCALAR) {
		config_parse_text(context, node, &text);
		texts = (struct config_texts){&text, text.value ? 1 : 0, text.line};
	} else {
		config_parse_texts(context, node, &texts);
	}
	route->roles = plan_alloc(context->arena, (texts.count + 1) * sizeof(*route->roles));
	for (size_t i = 0; i < texts.count; i++)
		route->roles[route->role_count++] = texts.list[i].value;
}

/* In a manifest the short form would name a variable that may hold anything. */
static bool flat_auth(struct config_context *context, const struct config_node *child)
{
	if (strcmp(child->key, "auth_scheme") != 0 && strcmp(child->key, "token_env") != 0)
		return false;
	config_fault(context, child->key_line, "auth: {scheme: Bearer, token_ref: VARIABLE}",
		     "%s is for routes.yaml; a manifest names the host's variable", child->key);
	return true;
}

/* The keys that routes.yaml knows, and `route` filled with the others. */
static const struct config_node *lift_route(struct config_context *context,
					    struct plan_draft *draft,
					    const struct config_node *node, struct plan_route *route)
{
	struct config_node *copy = plan_alloc(context->arena, sizeof(*copy)), **end;

	*copy = *node;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	for (const struct config_node *child = node->first; child; child = child->next) {
		const struct config_node *kept = child;
		size_t mark = config_enter(context, child->key);

		if (strcmp(child->key, "role") == 0) {
			take_roles(context, child, route);
			kept = NULL;
		} else if (strcmp(child->key, "auth") == 0) {
			kept = plan_lift_auth(context, draft, child, &route->token_env);
		}
		config_leave(context, mark);
		if (kept && !flat_auth(context, kept))
			plan_append_copy(context, copy, &end, kept);
	}
	return copy;
}

static const char *text_of(const struct config_node *node, const char *key)
{
	for (const struct config_node *child = node->first; child; child = child->next) {
		if (strcmp(child->key, key) == 0 && child->kind == CONFIG_SCALAR)
			return child->text;
	}
	return NULL;
}

static void keep_route(struct plan_draft *draft, const struct plan_route *route)
{
	/* Grown by doubling: manifests of ten thousand routes exist. */
	if ((draft->route_count & (draft->route_count - 1)) == 0) {
		size_t size = draft->route_count ? 2 * draft->route_count : 1;
		struct plan_route *routes = reallocarray(draft->routes, size, sizeof(*routes));

		if (!routes)
			plan_no_memory();
		draft->routes = routes;
	}
	draft->routes[draft->route_count++] = *route;
}

/* Appends the route to `list` as config_from_documents() is to see it. */
static void add_route(struct config_context *context, struct plan_draft *draft,
		      const struct plan_owners *owners, const struct config_node *node,
		      enum plan_origin origin, struct config_node *list, struct config_node ***end)
{
	struct plan_route route = {.origin = origin};
	struct config_node *copy;

	if (node->kind != CONFIG_MAPPING) {
		plan_append_copy(context, list, end, node);
		return;
	}
	route.host = text_of(node, "host");
	route.cidr = text_of(node, "cidr");
	if (plan_is_owned(owners, context->arena, &route)) {
		copy = plan_append_copy(context, list, end, node);
		copy->kind = CONFIG_INVALID; /* passed over; the others keep their index */
		diag_list_add(&draft->notices, context->source, node->line,
			      "%s: the provider owns %s; this route is left out", context->path,
			      route.host ? route.host : route.cidr);
		return;
	}
	copy = plan_append_copy(context, list, end, lift_route(context, draft, node, &route));
	route.node = copy;
	keep_route(draft, &route);
}

const struct config_node *plan_add_routes(struct plan_draft *draft, const char *source,
					  const char *path, const struct config_node *list,
					  enum plan_origin origin, struct diag_list *errors)
{
	struct config_context context = {.arena = &draft->arena, .errors = errors, .source = source};
	struct config_node *copy = plan_alloc(&draft->arena, sizeof(*copy)), **end;
	/* Providers own; among themselves they do not. */
	struct plan_owners owners = {0};
	size_t index = 0;

	if (origin == PLAN_FROM_MANIFEST)
		owners = plan_list_owners(draft);
	*copy = list ? *list : (struct config_node){.kind = CONFIG_SEQUENCE, .line = 1};
	copy->key = "routes";
	copy->next = NULL;
	if (copy->kind != CONFIG_SEQUENCE)
		return copy;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	config_enter(&context, path);
	config_enter(&context, "routes");
	for (const struct config_node *node = list ? list->first : NULL; node; node = node->next) {
		size_t mark = config_enter_index(&context, index++);

		add_route(&context, draft, &owners, node, origin, copy, &end);
		config_leave(&context, mark);
	}
	return copy;
}
