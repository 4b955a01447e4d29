/* SPDX-License-Identifier: BSD-2-Clause */
/* A policy out of trees instead of texts: for routes that are lifted from another document. */
#ifndef CONFIG_DOCUMENT_H
#define CONFIG_DOCUMENT_H

#include "config.h"
#include "config_tree.h"

struct config_document {
	const char *source; /* the file, for messages */
	const char *path;   /* where `root` stands in it, "bottle.egress"; "" for the file's own root */
	const struct config_node *root;
};

/* As config_parse(), with the same errors; nodes of kind CONFIG_INVALID among the routes are passed
 * over, so that the others keep their index in messages. `hash` stays zero. */
struct config *config_from_documents(const struct config_document *documents, size_t count,
				     struct diag_list *errors) WARN_UNUSED;

#endif
