/* SPDX-License-Identifier: BSD-2-Clause */
/* Paths that were seen, made fewer: for learn.c. */
#ifndef LEARN_PATHS_H
#define LEARN_PATHS_H

#include "journal.h"

/* So many paths below one directory stand for it; more at the root, which stands for everything. */
#define LEARN_SIBLINGS 3
#define LEARN_ROOT_SIBLINGS 12

/* One rule, and the entries of the journal that it stands for: [first, end). */
struct learn_rule {
	char *path;  /* "/v1/"; NULL: every path */
	bool prefix; /* else exact */
	size_t first, end;
};
struct learn_rules {
	struct learn_rule *list;
	size_t count;
};

/* Rules for entries that journal_sort() put in order and that differ in path and method only. False
 * when memory is out. Caller releases in any case. */
bool learn_paths(const struct journal_entry *entries, size_t count, struct learn_rules *ret)
	WARN_UNUSED;
void learn_rules_release(struct learn_rules *rules);

#endif
