/* SPDX-License-Identifier: BSD-2-Clause */
/* Who waits for a connection, in order, for each key: one that becomes idle is given to whoever has
 * waited longest, and new ones are begun at a measured pace, so that a burst does not pay for as many
 * handshakes as it has requests. Part of upstream. */
#ifndef UPSTREAM_LINE_H
#define UPSTREAM_LINE_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "attributes.h"
#include "upstream_pool.h"

/* Part of who waits, zeroed at first. */
struct line_wait {
	struct line *line; /* NULL: in none */
	bool begun;
	TAILQ_ENTRY(line_wait) entry;
};

struct line_ops {
	/* Serves it by what is idle, and takes it out of the line; false when nothing is. */
	bool (*serve)(struct line_wait *wait);
	/* Begins a connection of its own; may take it out of the line. */
	void (*begin)(struct line_wait *wait);
};

struct lines;
/* `ops` must last. NULL when out of memory. */
struct lines *lines_new(struct event_base *base, const struct line_ops *ops) WARN_UNUSED;
void lines_free(struct lines *lines); /* all have left by then; accepts NULL */

/* True when nobody waits for this key, so that what is idle may be taken. */
bool lines_empty(const struct lines *lines, const struct pool_key *key);
/* To the end of the line. True when it may begin now (then it is on the caller to do so); else ops
 * are called from the event loop, never from within a call. */
bool lines_join(struct lines *lines, const struct pool_key *key, struct line_wait *wait);
/* It is served, has failed or wants no other connection any more; in no line: nothing happens. */
void line_leave(struct line_wait *wait);
/* Something became idle: whoever waits is served by the event loop, soon. */
void lines_offer(struct lines *lines, const struct pool_key *key);

#endif
