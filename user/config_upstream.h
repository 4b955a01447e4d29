/* SPDX-License-Identifier: BSD-2-Clause */
/* The key `upstream`; only config*.c includes it. */
#ifndef CONFIG_UPSTREAM_H
#define CONFIG_UPSTREAM_H

#include "config_keys.h"

/* Puts what the mapping says into the configuration, or its errors into the context. */
void config_upstream(struct config_context *context, const struct config_node *node,
		     struct config *config);
void config_upstream_free(struct config *config); /* wipes the password */

#endif
