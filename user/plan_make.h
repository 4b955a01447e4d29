/* SPDX-License-Identifier: BSD-2-Clause */
/* From a manifest to a plan, step by step; plan_*.c and cmd_prepare.c include it. */
#ifndef PLAN_MAKE_H
#define PLAN_MAKE_H

#include "config.h"
#include "config_document.h"
#include "plan.h"

enum plan_origin { PLAN_FROM_PROVIDER, PLAN_FROM_MANIFEST };

/* One route of the merged list, in its order. Texts are the arena's or the nodes'. */
struct plan_route {
	const struct config_node *node; /* as routes.yaml has it, but for the short form of auth */
	const char *host;		/* as written; NULL for a cidr */
	const char *cidr;
	const char *token_env; /* NULL: nothing is injected */
	const char **roles;
	size_t role_count;
	enum plan_origin origin;
};
struct plan_slot {
	const char *token_env, *token_ref;
	const char *source; /* where it was first asked for, for messages */
	int line;
};

/* What is being made. Zero-initialised is empty; `routes_text` and `plan_text` are the files. */
struct plan_draft {
	struct config_arena arena;
	const char *bottle;
	char slug[49];
	const char *network_bottle, *network_sidecar;
	struct config_document *documents; /* those of the providers, then the manifest's */
	size_t document_count;
	struct plan_route *routes;
	size_t route_count;
	struct plan_slot *slots;
	size_t slot_count;
	void *slots_by_ref, *slots_by_env; /* tsearch(3) */
	struct config *config;
	struct bytes routes_text, plan_text;
	struct diag_list notices; /* no errors: routes left out because a provider owns the host */
};
void plan_draft_free(struct plan_draft *draft);

/* Where a bottle stands in its manifest, and what of it is ours. */
struct plan_bottle {
	char path[128]; /* "bottles.agent.egress", for messages */
	int line;
	const struct config_node *routes, *upstream, *dns, *hints; /* NULL: absent */
	const char *network_bottle, *network_sidecar;		   /* NULL: absent */
	int networks_line;
};
/* Finds `name` among the manifest's bottles and checks all keys down to `routes`. False when there
 * were errors. */
bool plan_find_bottle(struct plan_draft *draft, const struct config_source *manifest,
		      const char *name, struct plan_bottle *ret, struct diag_list *errors)
	WARN_UNUSED;
/* The routes of a provider's file: a mapping with `routes`, or the list alone. NULL when there were
 * errors. */
const struct config_node *plan_find_provider(struct plan_draft *draft,
					     const struct config_source *file,
					     struct diag_list *errors) WARN_UNUSED;

/* Adds a file's routes: gives slots to tokens, leaves out what an earlier provider owns. The result
 * is a `routes` node for config_from_documents(). */
const struct config_node *plan_add_routes(struct plan_draft *draft, const char *source,
					  const char *path, const struct config_node *list,
					  enum plan_origin origin, struct diag_list *errors)
	WARN_UNUSED;

/* `upstream` of the manifest, its proxy_auth lifted; called when all routes have their slots. NULL
 * stays NULL. */
const struct config_node *plan_lift_upstream(struct plan_draft *draft, const char *source,
					     const char *path, const struct config_node *node,
					     struct diag_list *errors) WARN_UNUSED;

/* The whole way, but for writing: `providers` come first. Every error is added to `errors`; false
 * when there was one. `directory` is where the plan will lie, or NULL. */
bool plan_make(struct plan_draft *draft, const struct config_source *manifest, const char *name,
	       const struct config_source *providers, size_t provider_count, const char *directory,
	       struct diag_list *errors) WARN_UNUSED;

/* routes.yaml out of the checked nodes, and plan.json; false when memory is out. */
bool plan_render_routes(const struct plan_draft *draft, struct bytes *ret) WARN_UNUSED;
bool plan_render_json(const struct plan_draft *draft, const char *directory, struct bytes *ret)
	WARN_UNUSED;

/* ---- between plan_routes.c, plan_auth.c and plan_owners.c -------------------------------------- */

struct config_context;

/* As config_alloc(), but without memory the process ends, which has written nothing yet. */
void *plan_alloc(struct config_arena *arena, size_t size);
/* Says so, and ends it. */
NORETURN void plan_no_memory(void);

/* {scheme or header, username, token_env} of a route, with its slot. NULL when there were errors. */
const struct config_node *plan_lift_auth(struct config_context *context, struct plan_draft *draft,
					 const struct config_node *node, const char **ret_token_env)
	WARN_UNUSED;
/* A copy, since a node is linked into one list only; `end` is where the list goes on. */
struct config_node *plan_append_copy(struct config_context *context, struct config_node *parent,
				     struct config_node ***end, const struct config_node *child);
void plan_slots_free(struct plan_draft *draft);

struct plan_target {
	const char *host; /* A-labels, lower case; NULL when it is none or wrong */
	bool has_cidr;
	struct cidr cidr;
};
/* The targets of the providers' routes, each read once; the arena's. */
struct plan_owners {
	struct plan_target *list; /* sorted */
	size_t count;
	bool has_prefix[129];
};
struct plan_owners plan_list_owners(struct plan_draft *draft);
bool plan_is_owned(const struct plan_owners *owners, struct config_arena *arena,
		   const struct plan_route *route) WARN_UNUSED;

/* The absolute path that a plan's directory will have: what is above it must be there. */
int plan_directory(const char *path, char **ret, struct error *error) WARN_UNUSED;
/* Writes the four files: a new directory appears whole; in one that is there each file is replaced
 * by rename, plan.json last. The CA is kept unless `new_ca`. Refuses what others may write to. */
int plan_write(const struct plan_draft *draft, const char *directory, bool new_ca,
	       struct error *error) WARN_UNUSED;

#endif
