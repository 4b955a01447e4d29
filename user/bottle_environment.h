/* SPDX-License-Identifier: BSD-2-Clause */
/* The environment of the command in the bottle: no secret, and our CA wherever one is named. */
#ifndef BOTTLE_ENVIRONMENT_H
#define BOTTLE_ENVIRONMENT_H

#include <stddef.h>

#include "attributes.h"

#define BOTTLE_PLACEHOLDER "egress-bpf-placeholder"

struct environment_options {
	const char *const *secrets; /* names of variables that hold secrets */
	size_t secret_count;
	const char *ca_bundle;	 /* path of the merged bundle, as the command sees it */
	const char *proxy_name;	 /* a proxy variable that names it stays; others are the host's */
	const char *user, *home; /* NULL: as inherited */
	const char *shell;
};

/* A new environment made from `inherited`; NULL when out of memory. Secrets that were set become
 * BOTTLE_PLACEHOLDER, and so does every variable that contains the value of one. */
char **environment_build(char *const *inherited, const struct environment_options *options)
	WARN_UNUSED;
void environment_free(char **environment);

/* Overwrites the values in place, so that /proc/PID/environ of this process shows none. */
void environment_wipe(char **environment);

#endif
