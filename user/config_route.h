/* SPDX-License-Identifier: BSD-2-Clause */
/* One entry of `routes`; only config*.c includes it. */
#ifndef CONFIG_ROUTE_H
#define CONFIG_ROUTE_H

#include "config_keys.h"

/* Adds the route to the policy, or its errors to the context. */
void config_route(struct config_context *context, const struct config_node *node,
		  struct policy *policy);

#endif
