// SPDX-License-Identifier: BSD-2-Clause
/* The way from a manifest to a plan's texts. Nothing is written here, and the result is parsed
 * again and compared before anybody may write it. */
#include "plan_make.h"

#include <stdlib.h>
#include <string.h>

#include "config_keys.h"

void plan_draft_free(struct plan_draft *draft)
{
	config_free(draft->config);
	config_arena_free(&draft->arena);
	free(draft->routes);
	plan_slots_free(draft);
	bytes_free(&draft->routes_text);
	bytes_free(&draft->plan_text);
	diag_list_free(&draft->notices);
	*draft = (struct plan_draft){.bottle = NULL};
}

void plan_no_memory(void)
{
	diag_error("out of memory");
	exit(EXIT_FAILURE);
}

void *plan_alloc(struct config_arena *arena, size_t size)
{
	void *memory = config_alloc(arena, size);

	if (!memory)
		plan_no_memory();
	return memory;
}

/* A copy, since a node is linked into one list only. */
static void add_child(struct config_arena *arena, struct config_node *parent, const char *key,
		      const struct config_node *child)
{
	struct config_node *copy, **end = &parent->first;

	if (!child)
		return;
	copy = plan_alloc(arena, sizeof(*copy));
	*copy = *child;
	copy->key = key;
	copy->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = copy;
	parent->count++;
}

/* As if the file had been a routes.yaml with these routes. */
static struct config_node *add_document(struct plan_draft *draft, const char *source,
					const char *path, const struct config_node *routes)
{
	struct config_node *root = plan_alloc(&draft->arena, sizeof(*root));

	root->kind = CONFIG_MAPPING;
	root->line = routes->line;
	add_child(&draft->arena, root, "routes", routes);
	draft->documents[draft->document_count++] = (struct config_document){source, path, root};
	return root;
}

static void add_provider(struct plan_draft *draft, const struct config_source *file,
			 struct diag_list *errors)
{
	const struct config_node *list = plan_find_provider(draft, file, errors);

	if (list)
		add_document(draft, file->name, "",
			     plan_add_routes(draft, file->name, "", list, PLAN_FROM_PROVIDER,
					     errors));
}

static void check_networks(struct plan_draft *draft, const char *source,
			   const struct plan_bottle *bottle, struct diag_list *errors)
{
	const char *problem = plan_networks_problem(draft->network_bottle, draft->network_sidecar);

	if (problem)
		diag_list_add(errors, source, bottle->networks_line, "%s.networks: %s", bottle->path,
			      problem);
	else if (plan_wire_open(draft->network_bottle, draft->network_sidecar))
		diag_list_add(&draft->notices, source, bottle->networks_line,
			      "%s.networks: the tc wall does not reach the bottle's wire from %s, so the "
			      "kernel programs alone hold it; with sidecar: host it does",
			      bottle->path, draft->network_sidecar);
}

/* "none" is wall 0; a network for the bottle has to be asked for. */
static void add_manifest(struct plan_draft *draft, const struct config_source *manifest,
			 const struct plan_bottle *bottle, struct diag_list *errors)
{
	struct config_node *root;
	char *path = config_strdup(&draft->arena, span_from(bottle->path));

	if (!path)
		plan_no_memory();
	root = add_document(draft, manifest->name, path,
			    plan_add_routes(draft, manifest->name, path, bottle->routes,
					    PLAN_FROM_MANIFEST, errors));
	add_child(&draft->arena, root, "upstream",
		  plan_lift_upstream(draft, manifest->name, path, bottle->upstream, errors));
	add_child(&draft->arena, root, "dns", bottle->dns);
	add_child(&draft->arena, root, "hints", bottle->hints);
	draft->network_bottle = bottle->network_bottle ? bottle->network_bottle : "none";
	draft->network_sidecar = bottle->network_sidecar ? bottle->network_sidecar : "bridge";
	check_networks(draft, manifest->name, bottle, errors);
}

/* Whether two policies allow the same with the same credentials. */
static bool same_policy(const struct policy *a, const struct policy *b)
{
	char *text_a = policy_describe(a), *text_b = policy_describe(b);
	bool same = text_a && text_b && strcmp(text_a, text_b) == 0 &&
		    policy_secret_count(a) == policy_secret_count(b);

	for (size_t i = 0; same && i < policy_secret_count(a); i++)
		same = strcmp(policy_secret_at(a, i)->source, policy_secret_at(b, i)->source) == 0;
	free(text_a);
	free(text_b);
	return same;
}

/* What we wrote has to say what the manifest said; where it does not, that is our fault, and no
 * reason to let something else through. */
static bool verify(struct plan_draft *draft, struct diag_list *errors)
{
	struct config_source source = {PLAN_ROUTES, bytes_span(&draft->routes_text)};
	struct config *config = config_parse(&source, 1, errors);
	bool same = config && same_policy(config->policy, draft->config->policy);

	if (config && !same)
		diag_list_add(errors, PLAN_ROUTES, 0,
			      "what was rendered is not what the manifest says: a fault of "
			      "egress-bpf, please report it");
	config_free(config);
	return same;
}

static bool render(struct plan_draft *draft, const char *directory, struct diag_list *errors)
{
	if (!plan_render_routes(draft, &draft->routes_text)) {
		diag_list_add(errors, PLAN_ROUTES, 0, "cannot be rendered: out of memory");
		return false;
	}
	if (!verify(draft, errors))
		return false;
	if (!plan_render_json(draft, directory, &draft->plan_text)) {
		diag_list_add(errors, PLAN_FILE, 0,
			      "cannot be rendered: a path that is not UTF-8, or out of memory");
		return false;
	}
	return true;
}

bool plan_make(struct plan_draft *draft, const struct config_source *manifest, const char *name,
	       const struct config_source *providers, size_t provider_count, const char *directory,
	       struct diag_list *errors)
{
	struct plan_bottle bottle;
	size_t before = errors->count;

	draft->documents = plan_alloc(&draft->arena,
					(provider_count + 1) * sizeof(*draft->documents));
	if (!plan_find_bottle(draft, manifest, name, &bottle, errors))
		return false;
	/* Providers' routes come first and own their hosts; slots are numbered in this order. */
	for (size_t i = 0; i < provider_count; i++)
		add_provider(draft, &providers[i], errors);
	add_manifest(draft, manifest, &bottle, errors);
	draft->config = config_from_documents(draft->documents, draft->document_count, errors);
	/* An owner that was not noted leaves a host to the manifest. */
	if (draft->arena.failed)
		diag_list_no_memory(errors);
	return draft->config && errors->count == before && render(draft, directory, errors);
}
