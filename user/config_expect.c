// SPDX-License-Identifier: BSD-2-Clause
/* Expectations, read by the same tables as the policy, so that a typing error is an error and not a
 * test that never runs. */
#include "config_expect.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_keys.h"
#include "reason.h"

#define VERDICTS "allow, refuse, or a reason such as path_not_allowed"

struct draft_file {
	struct config_text policy;
	const struct config_node *expect;
};
struct draft_wish {
	struct config_text verdict, credential;
	const struct config_node *headers;
};

#define KEY(type, name, parser) {#name, parser, offsetof(struct type, name)}

static void parse_node(struct config_context *context, const struct config_node *node, void *ret)
{
	(void)context;
	*(const struct config_node **)ret = node;
}

/* Reasons are the names of egress_abi.h, so a new one needs nothing here. */
static void read_verdict(struct config_context *context, const struct config_text *text,
			 struct expectation *ret)
{
	if (strcmp(text->value, "allow") == 0 || strcmp(text->value, "allowed") == 0) {
		ret->reason = EGRESS_ALLOWED;
		return;
	}
	if (strcmp(text->value, "refuse") == 0 || strcmp(text->value, "refused") == 0) {
		ret->any_refusal = true;
		return;
	}
	for (unsigned i = EGRESS_ALLOWED + 1; i < EGRESS_REASON_COUNT; i++) {
		if (strcmp(text->value, reason_name((enum egress_reason)i)) == 0) {
			ret->reason = (enum egress_reason)i;
			return;
		}
	}
	config_fault(context, text->line, VERDICTS, "\"%.80s\" is no verdict", text->value);
}

static void read_headers(struct config_context *context, const struct config_node *node,
			 struct expectation *ret)
{
	size_t mark = config_enter(context, "headers");
	const char **headers;

	if (node->kind != CONFIG_MAPPING) {
		config_fault(context, node->line, "{NAME: VALUE}", "is not a mapping");
		config_leave(context, mark);
		return;
	}
	headers = config_alloc(context->arena, (node->count + 1) * sizeof(*headers));
	for (const struct config_node *child = node->first; headers && child; child = child->next) {
		struct config_text value = {0};
		char *line;
		size_t size;

		config_parse_text(context, child, &value);
		if (!value.value)
			continue;
		size = strlen(child->key) + strlen(": ") + strlen(value.value) + 1;
		line = config_alloc(context->arena, size);
		if (line)
			snprintf(line, size, "%s: %s", child->key, value.value);
		headers[ret->header_count++] = line;
	}
	ret->headers = headers;
	config_leave(context, mark);
}

/* Either the verdict alone, or a mapping with more to check. */
static void read_wish(struct config_context *context, const struct config_node *node,
		      struct expectation *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_wish, verdict, config_parse_text),
		KEY(draft_wish, credential, config_parse_text),
		KEY(draft_wish, headers, parse_node),
	};
	struct draft_wish draft = {0};

	if (node->kind == CONFIG_SCALAR)
		config_parse_text(context, node, &draft.verdict);
	else
		config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), &draft);
	if (draft.verdict.value)
		read_verdict(context, &draft.verdict, ret);
	/* One that is there but is no text has been reported by its parser. */
	else if (!draft.verdict.line && node->kind == CONFIG_MAPPING)
		config_fault(context, node->line, "verdict: " VERDICTS, "has no verdict");
	if (draft.headers)
		read_headers(context, draft.headers, ret);
	if (draft.credential.value)
		ret->credential = strcmp(draft.credential.value, "none") == 0
					  ? ""
					  : draft.credential.value;
	if (draft.credential.value && (ret->any_refusal || ret->reason != EGRESS_ALLOWED))
		config_fault(context, draft.credential.line, "verdict: allow, or no credential",
			     "a refused request gets no credential");
}

/* "METHOD URL" */
static void read_request(struct config_context *context, const struct config_node *node,
			 struct expectation *ret)
{
	const char *space = strchr(node->key, ' ');

	ret->line = node->key_line;
	if (!space || space == node->key || strchr(space + 1, ' ') || !space[1]) {
		config_fault(context, node->key_line, "METHOD URL: VERDICT",
			     "\"%.80s\" is not a method, one space and a URL", node->key);
		return;
	}
	ret->method = config_strdup(context->arena,
				    (struct span){node->key, (size_t)(space - node->key)});
	/* The node's text, which the arena keeps as long as `ret` lives. */
	ret->url = space + 1;
}

/* Each entry is one mapping of one key: as YAML keys, requests could not repeat. */
static void read_expect(struct config_context *context, const struct config_node *node,
			struct expectations *ret)
{
	const size_t mark = config_enter(context, "expect");
	struct expectation *list;

	if (!config_is_list(context, node, "[{GET https://api.example.com/v1/x: allow}]")) {
		config_leave(context, mark);
		return;
	}
	list = config_alloc(context->arena, node->count * sizeof(*list));
	for (const struct config_node *child = node->first; list && child; child = child->next) {
		size_t inner = config_enter_index(context, ret->count);

		if (child->kind != CONFIG_MAPPING || child->count != 1) {
			config_fault(context, child->line, "METHOD URL: VERDICT",
				     "is not one request with its verdict");
		} else {
			read_request(context, child->first, &list[ret->count]);
			read_wish(context, child->first, &list[ret->count]);
		}
		ret->count++;
		config_leave(context, inner);
	}
	ret->list = list;
	config_leave(context, mark);
}

/* Beside the file that names it, unless absolute; NULL when out of memory. */
static char *policy_path(const char *file, const char *policy)
{
	char *copy, *path;

	if (policy[0] == '/')
		return strdup(policy);
	copy = strdup(file);
	if (!copy || asprintf(&path, "%s/%s", dirname(copy), policy) < 0)
		path = NULL;
	free(copy);
	return path;
}

static void read_file(struct config_context *context, const struct config_node *root,
		      struct expectations *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_file, policy, config_parse_text),
		KEY(draft_file, expect, parse_node),
	};
	struct draft_file draft = {0};

	config_mapping(context, root, keys, sizeof(keys) / sizeof(keys[0]), &draft);
	if (draft.policy.value) {
		ret->policy = policy_path(context->source, draft.policy.value);
		context->arena->failed |= !ret->policy;
	}
	if (draft.expect)
		read_expect(context, draft.expect, ret);
	else if (root->kind == CONFIG_MAPPING)
		config_fault(context, 0, "expect: [{GET https://api.example.com/v1/x: allow}]",
			     "expect: is missing");
}

struct expectations *expectations_open(const char *path, struct diag_list *errors)
{
	struct expectations *ret = calloc(1, sizeof(*ret));
	struct config_arena *arena = calloc(1, sizeof(*arena));
	struct config_context context = {.arena = arena, .errors = errors, .source = path};
	const size_t before = errors->count;
	const struct config_node *root = NULL;
	struct bytes content = {0};
	struct error error = {0};

	if (!ret || !arena) {
		free(ret);
		free(arena);
		diag_list_no_memory(errors);
		return NULL;
	}
	ret->arena = arena;
	if (config_read_file(path, &content, &error) < 0)
		/* The list says the name itself. */
		diag_list_add(errors, path, 0, "%s", error.text + strlen(path) + 2);
	else
		root = config_tree_parse(arena, path, bytes_span(&content), errors);
	if (root)
		read_file(&context, root, ret);
	bytes_free(&content);
	/* A list that lost a request would pass by not asking it. */
	if (arena->failed)
		diag_list_no_memory(errors);
	if (errors->count == before)
		return ret;
	expectations_free(ret);
	return NULL;
}

void expectations_free(struct expectations *expectations)
{
	if (!expectations)
		return;
	free(expectations->policy);
	config_arena_free(expectations->arena);
	free(expectations->arena);
	free(expectations);
}
