/* SPDX-License-Identifier: BSD-2-Clause */
/* The last decisions as lines of JSON, in memory that one writer shares with any number of readers.
 * They cost it nothing, not even a system call: who reads too slowly loses what is written over, and
 * is told how much. Readers trust no byte of it, since the writer may have been taken over; nor does
 * a writer that follows another. */
#ifndef FEED_H
#define FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "tally.h"

/* A flood of what is allowed does not push out what was refused: that is kept a second time. */
/* Pending are the refusals once more, as refusal_pack() writes them: for the supervisor. */
enum feed_ring { FEED_ALL, FEED_REFUSED, FEED_PENDING, FEED_RINGS };

#define FEED_LINE_MAX 4096
#define FEED_ID_SIZE 32 /* of an id as text */

struct feed;

/* New memory for feed_open(), all zero, of a size that nobody can change. The caller's; -errno. */
int feed_memory(void) WARN_UNUSED;
/* Maps it; the descriptor may be closed after. `mark` begins the text of each id, and is at most 7
 * characters; NULL: the one that is there already. NULL with errno set. Caller frees. */
struct feed *feed_open(int fd, const char *mark) WARN_UNUSED;
void feed_free(struct feed *feed); /* accepts NULL */

/* Whose memory it is, for both sides and before the first id: of 0 to 255. */
void feed_set_writer(struct feed *feed, unsigned writer);
unsigned feed_id_writer(uint64_t id);
uint64_t feed_id_number(uint64_t id); /* among those of its writer */
uint64_t feed_id(unsigned writer, uint64_t number);
/* An id for a decision that is written later, never 0: unique for the memory's life, and among those of
 * other writers. */
uint64_t feed_take_id(struct feed *feed);
/* The next one's number is greater: a writer that was taken over may have set it back. */
void feed_raise_ids(struct feed *feed, uint64_t number);
/* MARK and number; of a second writer and so on with ".2" behind. */
void feed_id_text(const struct feed *feed, uint64_t id, char ret[FEED_ID_SIZE]);
/* One line, without a line break; one longer than FEED_LINE_MAX is dropped. `time_ms` is of
 * CLOCK_REALTIME. Only ever one writer at a time. */
void feed_write(struct feed *feed, enum feed_ring ring, uint64_t time_ms, struct span line);

/* Latencies, by host id and (host 0) of all; the last bucket has no upper end. Any number of workers
 * may add. */
#define FEED_BUCKETS 24
void feed_add_latency(struct feed *feed, uint32_t host_id, uint64_t microseconds);
void feed_latencies(const struct feed *feed, uint32_t host_id, uint64_t ret[FEED_BUCKETS]);
/* Of all hosts, added up. */
uint64_t feed_latency_sum(const struct feed *feed);
/* Up to this many microseconds a bucket reaches: 16, 32, 64, ... */
uint64_t feed_bucket_end(unsigned bucket);
/* The end of the bucket that holds this share (0.5, 0.99) of all, in microseconds; 0: there are none. */
uint64_t feed_quantile(const uint64_t counts[FEED_BUCKETS], double share);

/* How much buffers may hold, and how many exchanges were ended for it. */
struct feed_buffers {
	uint64_t limit, ended;
};
/* TALLY_COUNT numbers, for tally_count_at(); and as a reader has them. */
uint64_t *feed_tallies(struct feed *feed);
uint64_t feed_tally(const struct feed *feed, enum tally which);
void feed_buffers_limit(struct feed *feed, uint64_t limit);
void feed_buffers_ended(struct feed *feed); /* one more */
struct feed_buffers feed_buffers(const struct feed *feed);

/* A reader's place. Zero-initialised it is before the oldest line there is. */
struct feed_cursor {
	uint64_t at, sequence;
};
struct feed_event {
	uint64_t time_ms;
	uint64_t lost; /* lines between the one before and this that were written over */
	size_t length;
	char line[FEED_LINE_MAX]; /* not NUL-terminated; whatever the writer wrote */
};
/* Copies the next line and moves on; false when there is none, `ret` is then untouched. */
bool feed_next(const struct feed *feed, enum feed_ring ring, struct feed_cursor *cursor,
	       struct feed_event *ret);
/* Behind the newest line. */
struct feed_cursor feed_end(const struct feed *feed, enum feed_ring ring);

/* How far the lines of FEED_ALL are in the log as well: the writer's word, which may be anything. */
void feed_set_logged(struct feed *feed, struct feed_cursor cursor);
struct feed_cursor feed_logged(const struct feed *feed);

#endif
