// SPDX-License-Identifier: BSD-2-Clause
#include "feed_merge.h"

#include <stdlib.h>

/* A place in a feed, and the line that comes next when it was looked at. */
struct source {
	struct feed_cursor cursor;
	bool held;
	unsigned taken; /* lines, since the turns began */
	struct feed_event event;
};

struct feed_merge {
	const struct feed_list *list;
	enum feed_ring ring;
	struct source sources[FEED_MERGE_MAX];
};

struct feed_merge *feed_merge_new(const struct feed_list *list, enum feed_ring ring, bool from_end)
{
	struct feed_merge *merge = calloc(1, sizeof(*merge));

	if (!merge)
		return NULL;
	merge->list = list;
	merge->ring = ring;
	for (size_t i = 0; from_end && i < list->count; i++)
		merge->sources[i].cursor = feed_end(list->feeds[i], ring);
	return merge;
}

void feed_merge_free(struct feed_merge *merge)
{
	free(merge);
}

/* Looked at once, then held: feed_next() moves its cursor on, and the newer of two lines has to wait in
 * hand. */
static void look(struct feed_merge *merge)
{
	for (size_t i = 0; i < merge->list->count; i++) {
		struct source *s = &merge->sources[i];

		if (!s->held)
			s->held = feed_next(merge->list->feeds[i], merge->ring, &s->cursor, &s->event);
	}
}

static struct source *oldest(struct feed_merge *merge)
{
	struct source *found = NULL;

	for (size_t i = 0; i < merge->list->count; i++) {
		struct source *s = &merge->sources[i];

		if (s->held && s->taken < FEED_MERGE_TURN &&
		    (!found || s->event.time_ms < found->event.time_ms))
			found = s;
	}
	return found;
}

const struct feed_event *feed_merge_next(struct feed_merge *merge)
{
	struct source *found;

	look(merge);
	found = oldest(merge);
	if (!found) {
		/* All have had their turn, or have nothing. */
		for (size_t i = 0; i < merge->list->count; i++)
			merge->sources[i].taken = 0;
		found = oldest(merge);
	}
	if (!found)
		return NULL;
	found->held = false;
	found->taken++;
	return &found->event;
}
