/* SPDX-License-Identifier: BSD-2-Clause */
/* YAML text as a tree with line numbers; only config*.c and plan_*.c include it. What the policy
 * language has no use for (anchors, aliases, tags, merge keys, several documents) is an error. */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "attributes.h"
#include "bytes.h"
#include "diag.h"

enum config_kind {
	CONFIG_SCALAR,
	CONFIG_SEQUENCE,
	CONFIG_MAPPING,
	CONFIG_INVALID, /* its error is in the list already */
};
struct config_node {
	const char *text;	  /* of a scalar; holds no NUL */
	const char *key;	  /* when it is a mapping's value */
	struct config_node *first; /* of a sequence or mapping */
	struct config_node *next;
	unsigned count; /* of children */
	int line, key_line;
	enum config_kind kind : 8; /* a large policy has a million nodes: they are packed */
	bool plain;		   /* a scalar without quotes */
};

/* Memory that lives as long as one tree. */
struct config_arena {
	struct arena memory;
	bool failed; /* memory was out once: what was made of it is not whole, and must not be used */
};
/* Zeroed. NULL when memory is out: `failed` says so to whoever has the last word. */
void *config_alloc(struct config_arena *arena, size_t size) WARN_UNUSED;
char *config_strdup(struct config_arena *arena, struct span text) WARN_UNUSED;
void config_arena_free(struct config_arena *arena);

/* The root, or NULL when the text has no readable root; errors go to `errors`. */
struct config_node *config_tree_parse(struct config_arena *arena, const char *source,
				      struct span text, struct diag_list *errors) WARN_UNUSED;

#endif
