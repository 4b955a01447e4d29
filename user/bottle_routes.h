/* SPDX-License-Identifier: BSD-2-Clause */
/* What --allow and --secret say, as the texts of routes that config.c reads. */
#ifndef BOTTLE_ROUTES_H
#define BOTTLE_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "diag.h"

struct bottle_routes;

struct bottle_routes *bottle_routes_new(void) WARN_UNUSED;
void bottle_routes_free(struct bottle_routes *routes);

/* [SCHEME://]HOST[:PORT][/PATH], where SCHEME is https, http, tls (passed through) or tcp. */
int bottle_routes_allow(struct bottle_routes *routes, const char *text, struct error *error)
	WARN_UNUSED;
/* ENV@HOST[:PORT][/PATH][,scheme=Bearer|token|Basic][,username=NAME][,header=NAME] */
int bottle_routes_secret(struct bottle_routes *routes, const char *text, struct error *error)
	WARN_UNUSED;

/* The two sources' texts; the caller frees both. Line N of a text holds what the Nth option of its
 * kind made, so that config's messages point at the option. A secret without a port and path of
 * its own goes with every route that --allow makes for its host. -1 when two such secrets name the
 * same host, or when memory is out. */
int bottle_routes_texts(const struct bottle_routes *routes, char **ret_allow, char **ret_secret,
			struct error *error) WARN_UNUSED;

#endif
