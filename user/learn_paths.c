// SPDX-License-Identifier: BSD-2-Clause
/* Paths as rules: a directory with enough different names below it becomes a prefix, anything else
 * stays exact. Widening is the dangerous direction, so it needs LEARN_SIBLINGS names, and more at
 * the root. */
#include "learn_paths.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"

/* The recursion's, too: paths are the bottle's. */
#define MAX_DEPTH 32

/* A path that cannot be copied is an error, not a rule for everything. */
static bool add_rule(struct learn_rules *rules, struct span path, bool prefix, size_t first,
		     size_t end)
{
	size_t count = rules->count;

	if ((count & (count - 1)) == 0) {
		void *grown = reallocarray(rules->list, count ? 2 * count : 1, sizeof(*rules->list));

		if (!grown)
			return false;
		rules->list = grown;
	}
	rules->list[count] = (struct learn_rule){
		.path = path.length > 0 ? span_copy(path) : NULL,
		.prefix = prefix,
		.first = first,
		.end = end,
	};
	rules->count++;
	return path.length == 0 || rules->list[count].path;
}

/* Where the segment that begins at `from` ends. */
static size_t segment_end(const char *path, size_t from)
{
	return from + strcspn(path + from, "/");
}

/* The entries from `first` on whose paths have the first's segment [0, end) as a whole. */
static size_t same_segment(const struct journal_entry *entries, size_t first, size_t last, size_t end)
{
	const char *path = entries[first].path;

	while (first < last && strncmp(entries[first].path, path, end) == 0 &&
	       (entries[first].path[end] == '/' || entries[first].path[end] == '\0'))
		first++;
	return first;
}

/* How many different segments follow the directory, which ends at `from`. Sorted paths of one
 * segment need not stand together ("/a", "/a-b", "/a/c"): counting one twice only widens sooner, so
 * each is compared with those before. */
static size_t count_segments(const struct journal_entry *entries, size_t first, size_t last,
			     size_t from, size_t enough)
{
	size_t count = 0;

	for (size_t i = first; i < last && count < enough; i++) {
		size_t length = segment_end(entries[i].path, from) - from;
		bool seen = false;

		for (size_t j = i; j > first && !seen; j--) {
			const char *other = entries[j - 1].path;

			seen = segment_end(other, from) - from == length &&
			       strncmp(other + from, entries[i].path + from, length) == 0;
		}
		count += !seen;
	}
	return count;
}

static bool walk(const struct journal_entry *entries, size_t first, size_t last, size_t from,
		 unsigned depth, struct learn_rules *rules);

/* One path as it is, however many methods it was asked for with, and what lies below it. */
static bool take_group(const struct journal_entry *entries, size_t first, size_t last, size_t end,
		       unsigned depth, struct learn_rules *rules)
{
	size_t leaf = first;

	while (leaf < last && entries[leaf].path[end] == '\0')
		leaf++;
	if (leaf > first && !add_rule(rules, span_from(entries[first].path), false, first, leaf))
		return false;
	return leaf == last || walk(entries, leaf, last, end + 1, depth + 1, rules);
}

/* All paths in [first, last) have the same bytes up to `from`, the last of which is a slash. */
static bool walk(const struct journal_entry *entries, size_t first, size_t last, size_t from,
		 unsigned depth, struct learn_rules *rules)
{
	const struct span directory = {entries[first].path, from};
	size_t enough = depth == 0 ? LEARN_ROOT_SIBLINGS : LEARN_SIBLINGS;

	if (depth >= MAX_DEPTH ||
	    count_segments(entries, first, last, from, enough) >= enough) {
		struct span none = {NULL, 0};

		return add_rule(rules, depth == 0 ? none : directory, true, first, last);
	}
	while (first < last) {
		size_t end = segment_end(entries[first].path, from);
		size_t next = same_segment(entries, first, last, end);

		if (!take_group(entries, first, next, end, depth, rules))
			return false;
		first = next;
	}
	return true;
}

bool learn_paths(const struct journal_entry *entries, size_t count, struct learn_rules *ret)
{
	*ret = (struct learn_rules){0};
	for (size_t i = 0; i < count; i++) {
		/* "*", of OPTIONS, is no path. */
		if (entries[i].path[0] != '/')
			return add_rule(ret, (struct span){NULL, 0}, true, 0, count);
	}
	return count == 0 || walk(entries, 0, count, 1, 0, ret);
}

void learn_rules_release(struct learn_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		free(rules->list[i].path);
	free(rules->list);
	*rules = (struct learn_rules){0};
}
