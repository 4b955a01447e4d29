/* SPDX-License-Identifier: BSD-2-Clause */
/* A policy out of what a run was seen to do. */
#ifndef LEARN_H
#define LEARN_H

#include <stdio.h>

#include "journal.h"

struct learn_options {
	const char *what; /* name of the command or the bottle, for the first line */
	bool wildcards;	  /* "*.example.com" where at least three names below it were seen */
};
/* Writes YAML that allows what the journal saw allowed: hosts, ports, methods, and paths, a prefix in
 * the place of a directory that at least three paths lie in. Each route has a comment of what was
 * seen; what was refused follows as a comment. Sorts the journal, and with wildcards changes its
 * hosts. False when memory is out. */
bool learn_write(FILE *to, struct journal *journal, const struct learn_options *options) WARN_UNUSED;

#endif
