// SPDX-License-Identifier: BSD-2-Clause
/* The routes of all files as one list: who owns a host, and which slot a token gets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "config_values.h"
#include "plan_make.h"

#define MAX_SLOTS 10000

/* ---- slots ---------------------------------------------------------------------------------- */

static struct plan_slot *slot_of_ref(struct plan_draft *draft, const char *token_ref)
{
	for (size_t i = 0; i < draft->slot_count; i++) {
		if (strcmp(draft->slots[i].token_ref, token_ref) == 0)
			return &draft->slots[i];
	}
	return NULL;
}

static struct plan_slot *slot_of_env(struct plan_draft *draft, const char *token_env)
{
	for (size_t i = 0; i < draft->slot_count; i++) {
		if (strcmp(draft->slots[i].token_env, token_env) == 0)
			return &draft->slots[i];
	}
	return NULL;
}

/* In the order of first use over all files, so that the same manifest always gives the same
 * slots. */
static const char *add_slot(struct config_context *context, struct plan_draft *draft,
			    const char *token_env, const struct config_text *token_ref)
{
	struct plan_slot *slots =
		reallocarray(draft->slots, draft->slot_count + 1, sizeof(*slots));

	if (!slots)
		abort();
	draft->slots = slots;
	slots[draft->slot_count++] = (struct plan_slot){token_env, token_ref->value,
							context->source, token_ref->line};
	return token_env;
}

/* The slot of a reference: the one it has, the one that is asked for, or the next. NULL when that
 * was reported as an error. */
static const char *take_slot(struct config_context *context, struct plan_draft *draft,
			     const struct config_text *token_ref,
			     const struct config_text *token_env)
{
	const struct plan_slot *slot = slot_of_ref(draft, token_ref->value);
	char *name;

	if (!token_env->value && slot)
		return slot->token_env;
	if (token_env->value) {
		name = (char *)token_env->value;
	} else {
		name = config_alloc(context->arena, sizeof(PLAN_SLOT) + 20);
		snprintf(name, sizeof(PLAN_SLOT) + 20, PLAN_SLOT "%zu", draft->slot_count);
	}
	slot = slot_of_env(draft, name);
	if (slot && strcmp(slot->token_ref, token_ref->value) == 0)
		return slot->token_env;
	if (slot) {
		config_fault(context, token_ref->line, "one reference for each token_env",
			     "%s is for token_ref %s already (%s:%d), and cannot be for %s too", name,
			     slot->token_ref, slot->source, slot->line, token_ref->value);
		return NULL;
	}
	if (draft->slot_count >= MAX_SLOTS) {
		config_fault(context, token_ref->line, "fewer credentials",
			     "is the %dth token_ref that differs", MAX_SLOTS + 1);
		return NULL;
	}
	return add_slot(context, draft, name, token_ref);
}

/* ---- auth ----------------------------------------------------------------------------------- */

struct draft_auth {
	const struct config_node *scheme, *header, *username;
	struct config_text token_ref, token_env, token_file;
};

static void take_node(struct config_context *context, const struct config_node *node, void *ret)
{
	(void)context;
	*(const struct config_node **)ret = node;
}

/* A secret's value never is in a manifest: it names a variable of the host. */
static bool check_auth(struct config_context *context, const struct config_node *node,
		       const struct draft_auth *auth)
{
	static const char cure[] = "auth: {scheme: Bearer, token_ref: VARIABLE}, or no auth";
	size_t before = context->errors->count;

	if (auth->token_file.line)
		config_fault(context, auth->token_file.line, cure,
			     "token_file is not for manifests: the host's variables hold tokens");
	if (node->count == 0)
		config_fault(context, node->line, cure, "is empty");
	else if (!auth->token_ref.line)
		config_fault(context, node->line, cure, "half an auth: has no token_ref");
	else if (!auth->scheme && !auth->header)
		config_fault(context, node->line, cure,
			     "half an auth: has neither scheme nor header");
	if (auth->token_ref.value && !config_variable(context, &auth->token_ref))
		return false;
	if (auth->token_env.value && !plan_is_slot(auth->token_env.value))
		config_fault(context, auth->token_env.line,
			     PLAN_SLOT "0 to " PLAN_SLOT "99999, or no such key",
			     "token_env is not the name of a slot");
	return context->errors->count == before && auth->token_ref.value;
}

static struct config_node *append_copy(struct config_context *context, struct config_node *parent,
				       struct config_node ***end, const struct config_node *child)
{
	struct config_node *copy = config_alloc(context->arena, sizeof(*copy));

	*copy = *child;
	copy->next = NULL;
	**end = copy;
	*end = &copy->next;
	parent->count++;
	return copy;
}

/* {scheme or header, username, token_env}: as routes.yaml has it. Only the slot is named there: the
 * host's variable is none of the sidecar's business. NULL when there were errors. */
static const struct config_node *lift_auth(struct config_context *context,
					   struct plan_draft *draft,
					   const struct config_node *node, const char **ret_token_env)
{
	static const struct config_key keys[] = {
		{"scheme", take_node, offsetof(struct draft_auth, scheme)},
		{"header", take_node, offsetof(struct draft_auth, header)},
		{"username", take_node, offsetof(struct draft_auth, username)},
		{"token_ref", config_parse_text, offsetof(struct draft_auth, token_ref)},
		{"token_env", config_parse_text, offsetof(struct draft_auth, token_env)},
		{"token_file", config_parse_text, offsetof(struct draft_auth, token_file)},
	};
	struct draft_auth auth = {0};
	size_t before = context->errors->count;
	struct config_node *copy, **end, *slot;
	const char *token_env;

	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), &auth);
	if (node->kind != CONFIG_MAPPING || !check_auth(context, node, &auth) ||
	    context->errors->count != before)
		return NULL;
	token_env = take_slot(context, draft, &auth.token_ref, &auth.token_env);
	if (!token_env)
		return NULL;
	copy = config_alloc(context->arena, sizeof(*copy));
	*copy = *node;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	if (auth.scheme)
		append_copy(context, copy, &end, auth.scheme);
	if (auth.header)
		append_copy(context, copy, &end, auth.header);
	if (auth.username)
		append_copy(context, copy, &end, auth.username);
	slot = append_copy(context, copy, &end,
			   &(struct config_node){.kind = CONFIG_SCALAR, .plain = true});
	slot->line = slot->key_line = auth.token_ref.line;
	slot->key = "token_env";
	slot->text = token_env;
	*ret_token_env = token_env;
	return copy;
}

/* ---- ownership ------------------------------------------------------------------------------ */

/* "*.x" owns all names below x, and so "*.a.x", but not x. */
static bool host_covers(const char *owner, const char *host)
{
	size_t owner_length = strlen(owner), length = strlen(host);

	if (strcmp(owner, host) == 0)
		return true;
	return owner[0] == '*' && length > owner_length - 1 &&
	       strcmp(host + length - (owner_length - 1), owner + 1) == 0;
}

struct target {
	const char *host; /* A-labels, lower case; NULL when it is none or wrong */
	bool has_cidr;
	struct cidr cidr;
};

/* Without complaints: those are config_route()'s. A wrong target owns nothing and is owned by
 * nobody; the route itself is reported later. */
static struct target read_target(struct config_arena *arena, const struct plan_route *route)
{
	struct diag_list ignored = {0};
	struct config_context context = {.arena = arena, .errors = &ignored, .source = ""};
	struct config_text text = {route->host ? route->host : route->cidr, 1};
	struct target target = {.host = NULL};

	if (route->host && !config_host(&context, &text, &target.host))
		target.host = NULL;
	else if (!route->host && route->cidr)
		target.has_cidr = cidr_parse(route->cidr, &target.cidr);
	diag_list_free(&ignored);
	return target;
}

/* The targets of the providers' routes, each read once. */
struct owners {
	struct target *list;
	size_t count;
};

/* The providers' routes come first, so they are all there by now. */
static struct owners list_owners(struct plan_draft *draft)
{
	struct owners owners = {0};

	owners.list = config_alloc(&draft->arena, (draft->route_count + 1) * sizeof(*owners.list));
	for (size_t i = 0; i < draft->route_count; i++) {
		if (draft->routes[i].origin == PLAN_FROM_PROVIDER)
			owners.list[owners.count++] = read_target(&draft->arena, &draft->routes[i]);
	}
	return owners;
}

/* A provider owns its hosts outright: a manifest's route beside it could reach them with another
 * credential, or none. */
static bool is_owned(const struct owners *owners, struct config_arena *arena,
		     const struct plan_route *route)
{
	struct target target = read_target(arena, route);

	for (size_t i = 0; i < owners->count; i++) {
		const struct target *owner = &owners->list[i];

		if (target.host && owner->host && host_covers(owner->host, target.host))
			return true;
		if (target.has_cidr && owner->has_cidr &&
		    owner->cidr.prefix_length <= target.cidr.prefix_length &&
		    cidr_contains(&owner->cidr, &target.cidr.address))
			return true;
	}
	return false;
}

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
	route->roles = config_alloc(context->arena, (texts.count + 1) * sizeof(*route->roles));
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
	struct config_node *copy = config_alloc(context->arena, sizeof(*copy)), **end;

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
			kept = lift_auth(context, draft, child, &route->token_env);
		}
		config_leave(context, mark);
		if (kept && !flat_auth(context, kept))
			append_copy(context, copy, &end, kept);
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
			abort();
		draft->routes = routes;
	}
	draft->routes[draft->route_count++] = *route;
}

/* Appends the route to `list` as config_from_documents() is to see it. */
static void add_route(struct config_context *context, struct plan_draft *draft,
		      const struct owners *owners, const struct config_node *node,
		      enum plan_origin origin, struct config_node *list, struct config_node ***end)
{
	struct plan_route route = {.origin = origin};
	struct config_node *copy;

	if (node->kind != CONFIG_MAPPING) {
		append_copy(context, list, end, node);
		return;
	}
	route.host = text_of(node, "host");
	route.cidr = text_of(node, "cidr");
	if (is_owned(owners, context->arena, &route)) {
		copy = append_copy(context, list, end, node);
		copy->kind = CONFIG_INVALID; /* passed over; the others keep their index */
		diag_list_add(&draft->notices, context->source, node->line,
			      "%s: the provider owns %s; this route is left out", context->path,
			      route.host ? route.host : route.cidr);
		return;
	}
	copy = append_copy(context, list, end, lift_route(context, draft, node, &route));
	route.node = copy;
	keep_route(draft, &route);
}

const struct config_node *plan_add_routes(struct plan_draft *draft, const char *source,
					  const char *path, const struct config_node *list,
					  enum plan_origin origin, struct diag_list *errors)
{
	struct config_context context = {.arena = &draft->arena, .errors = errors, .source = source};
	struct config_node *copy = config_alloc(&draft->arena, sizeof(*copy)), **end;
	/* Providers own; among themselves they do not. */
	struct owners owners = {0};
	size_t index = 0;

	if (origin == PLAN_FROM_MANIFEST)
		owners = list_owners(draft);
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
