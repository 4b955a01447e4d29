/* SPDX-License-Identifier: BSD-2-Clause */
/* The lines of several feeds as one list, the oldest first, for one reader. Their writers may have been
 * taken over: none of them keeps the reader, or the others' lines waiting, for ever. */
#ifndef FEED_MERGE_H
#define FEED_MERGE_H

#include "attributes.h"
#include "feed.h"

#define FEED_MERGE_MAX 65 /* of the kernel, and of so many workers */
/* One feed goes before all others for at most so many lines, more than it holds at once. */
#define FEED_MERGE_TURN 65536

/* Feeds that a reader reads; more may be added while he does. */
struct feed_list {
	const struct feed *feeds[FEED_MERGE_MAX]; /* borrowed */
	size_t count;
};

struct feed_merge;
/* `list` is borrowed for life. `from_end`: of what is there now nothing is read. NULL: out of memory.
 * Caller frees. */
struct feed_merge *feed_merge_new(const struct feed_list *list, enum feed_ring ring, bool from_end)
	WARN_UNUSED;
void feed_merge_free(struct feed_merge *merge); /* accepts NULL */
/* The next line, until the next call; NULL: there is none now. By its writer's time, which may be any: a
 * feed that has had FEED_MERGE_TURN lines waits until the others have none. */
const struct feed_event *feed_merge_next(struct feed_merge *merge);

#endif
