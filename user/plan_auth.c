// SPDX-License-Identifier: BSD-2-Clause
/* Credentials in a manifest: they name variables of the host, and each of those gets one slot, the
 * only name that the sidecar and routes.yaml know it by. */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "config_values.h"
#include "plan_make.h"

#define MAX_SLOTS 10000
#define SLOT_CURE PLAN_SLOT "0 to " PLAN_SLOT "99999, or no such key"

/* ---- slots ---------------------------------------------------------------------------------- */

static int by_ref(const void *a, const void *b)
{
	return strcmp(((const struct plan_slot *)a)->token_ref,
		      ((const struct plan_slot *)b)->token_ref);
}

static int by_env(const void *a, const void *b)
{
	return strcmp(((const struct plan_slot *)a)->token_env,
		      ((const struct plan_slot *)b)->token_env);
}

static const struct plan_slot *slot_of_ref(const struct plan_draft *draft, const char *token_ref)
{
	const struct plan_slot key = {.token_ref = token_ref};
	void *found = tfind(&key, &draft->slots_by_ref, by_ref);

	return found ? *(const struct plan_slot **)found : NULL;
}

static const struct plan_slot *slot_of_env(const struct plan_draft *draft, const char *token_env)
{
	const struct plan_slot key = {.token_env = token_env};
	void *found = tfind(&key, &draft->slots_by_env, by_env);

	return found ? *(const struct plan_slot **)found : NULL;
}

/* The trees' entries are the arena's: the array moves when it grows. */
static void keep_in_nothing(void *entry)
{
	(void)entry;
}

void plan_slots_free(struct plan_draft *draft)
{
	tdestroy(draft->slots_by_ref, keep_in_nothing);
	tdestroy(draft->slots_by_env, keep_in_nothing);
	free(draft->slots);
}

/* In the order of first use over all files, so that the same manifest always gives the same
 * slots. */
static const char *add_slot(struct config_context *context, struct plan_draft *draft,
			    const char *token_env, const struct config_text *token_ref)
{
	struct plan_slot *slot = plan_alloc(context->arena, sizeof(*slot));

	*slot = (struct plan_slot){token_env, token_ref->value, context->source, token_ref->line};
	/* Doubled at each power of two: ten thousand slots are copied a few times, not each
	 * time. */
	if ((draft->slot_count & (draft->slot_count - 1)) == 0) {
		size_t size = draft->slot_count ? 2 * draft->slot_count : 1;

		draft->slots = reallocarray(draft->slots, size, sizeof(*slot));
		if (!draft->slots)
			plan_no_memory();
	}
	draft->slots[draft->slot_count++] = *slot;
	if (!tsearch(slot, &draft->slots_by_env, by_env) ||
	    (!slot_of_ref(draft, slot->token_ref) && !tsearch(slot, &draft->slots_by_ref, by_ref)))
		plan_no_memory();
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
		name = plan_alloc(context->arena, sizeof(PLAN_SLOT) + 20);
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
			     SLOT_CURE,
			     "token_env is not the name of a slot");
	return context->errors->count == before && auth->token_ref.value;
}

struct config_node *plan_append_copy(struct config_context *context, struct config_node *parent,
				     struct config_node ***end, const struct config_node *child)
{
	struct config_node *copy = plan_alloc(context->arena, sizeof(*copy));

	*copy = *child;
	copy->next = NULL;
	**end = copy;
	*end = &copy->next;
	parent->count++;
	return copy;
}

/* The mapping with these nodes, where there are any, and the slot: as routes.yaml has it. Only the
 * slot is named there: the host's variable is none of the sidecar's business. */
static const struct config_node *with_slot(struct config_context *context,
					   const struct config_node *node,
					   const struct config_node *const *kept, size_t count,
					   const char *token_env, int line)
{
	struct config_node *copy = plan_alloc(context->arena, sizeof(*copy)), **end, *slot;

	*copy = *node;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	for (size_t i = 0; i < count; i++) {
		if (kept[i])
			plan_append_copy(context, copy, &end, kept[i]);
	}
	slot = plan_append_copy(context, copy, &end,
				&(struct config_node){.kind = CONFIG_SCALAR, .plain = true});
	slot->line = slot->key_line = line;
	slot->key = "token_env";
	slot->text = token_env;
	return copy;
}

const struct config_node *plan_lift_auth(struct config_context *context, struct plan_draft *draft,
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
	const char *token_env;

	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), &auth);
	if (node->kind != CONFIG_MAPPING || !check_auth(context, node, &auth) ||
	    context->errors->count != before)
		return NULL;
	token_env = take_slot(context, draft, &auth.token_ref, &auth.token_env);
	if (!token_env)
		return NULL;
	*ret_token_env = token_env;
	return with_slot(context, node,
			 (const struct config_node *const[]){auth.scheme, auth.header, auth.username},
			 3, token_env, auth.token_ref.line);
}

/* ---- the upstream proxy's ------------------------------------------------------------------- */

/* As it stands in a policy, `token_env` alone names a variable, too: here it is the host's, as every
 * name in a manifest. Beside a token_ref it names the slot. */
static bool check_proxy_auth(struct config_context *context, const struct config_node *node,
			     struct draft_auth *auth)
{
	static const char cure[] = "proxy_auth: {username: NAME, token_ref: VARIABLE}";
	size_t before = context->errors->count;

	if (!auth->token_ref.line && auth->token_env.value && !plan_is_slot(auth->token_env.value)) {
		auth->token_ref = auth->token_env;
		auth->token_env = (struct config_text){0};
	}
	if (auth->token_file.line)
		config_fault(context, auth->token_file.line, cure,
			     "token_file is not for manifests: the host's variables hold tokens");
	if (!auth->token_ref.line)
		config_fault(context, node->line, cure,
			     "names no variable of the host for the password");
	if (!auth->username)
		config_fault(context, node->line, cure, "has no username");
	if (auth->token_ref.value && !config_variable(context, &auth->token_ref))
		return false;
	if (auth->token_env.value && !plan_is_slot(auth->token_env.value))
		config_fault(context, auth->token_env.line, SLOT_CURE,
			     "token_env is not the name of a slot");
	return context->errors->count == before && auth->token_ref.value;
}

static const struct config_node *lift_proxy_auth(struct config_context *context,
						 struct plan_draft *draft,
						 const struct config_node *node)
{
	static const struct config_key keys[] = {
		{"username", take_node, offsetof(struct draft_auth, username)},
		{"token_ref", config_parse_text, offsetof(struct draft_auth, token_ref)},
		{"token_env", config_parse_text, offsetof(struct draft_auth, token_env)},
		{"token_file", config_parse_text, offsetof(struct draft_auth, token_file)},
	};
	struct draft_auth auth = {0};
	size_t before = context->errors->count;
	const char *token_env = NULL;

	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), &auth);
	if (node->kind == CONFIG_MAPPING && check_proxy_auth(context, node, &auth) &&
	    context->errors->count == before)
		token_env = take_slot(context, draft, &auth.token_ref, &auth.token_env);
	return token_env ? with_slot(context, node,
				     (const struct config_node *const[]){auth.username}, 1,
				     token_env, auth.token_ref.line)
			 : NULL;
}

const struct config_node *plan_lift_upstream(struct plan_draft *draft, const char *source,
					     const char *path, const struct config_node *node,
					     struct diag_list *errors)
{
	struct config_context context = {
		.arena = &draft->arena, .errors = errors, .source = source};
	struct config_node *copy = plan_alloc(&draft->arena, sizeof(*copy)), **end;

	if (!node || node->kind != CONFIG_MAPPING)
		return node; /* config_from_documents() says what is wrong with it */
	config_enter(&context, path);
	config_enter(&context, "upstream");
	*copy = *node;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	for (const struct config_node *child = node->first; child; child = child->next) {
		const struct config_node *kept = child;

		if (strcmp(child->key, "proxy_auth") == 0) {
			config_enter(&context, child->key);
			kept = lift_proxy_auth(&context, draft, child);
		}
		if (kept)
			plan_append_copy(&context, copy, &end, kept);
	}
	return copy;
}
