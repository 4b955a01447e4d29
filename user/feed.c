// SPDX-License-Identifier: BSD-2-Clause
#include "feed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../bpf/egress_abi.h"

#define ALL_SIZE ((uint64_t)4 << 20)
#define REFUSED_SIZE ((uint64_t)1 << 20)
#define PENDING_SIZE ((uint64_t)1 << 19)
#define MARK_SIZE 8
#define NUMBER_BITS 56 /* of an id; the writer is above */
#define NUMBER_MASK (((uint64_t)1 << NUMBER_BITS) - 1)
#define LOST_MAX UINT32_MAX /* a number that nobody needs to add up with care */

/* Positions count bytes since the beginning; their remainder by the ring's size is the place. */
struct ring {
	uint64_t tail; /* the oldest record that is whole */
	uint64_t head; /* the end of the newest */
	uint64_t sequence;
	uint64_t padding[5]; /* a cache line of its own */
};

struct record {
	uint64_t sequence; /* from 1 */
	uint64_t time_ms;
	uint64_t length;
};

struct shared {
	uint64_t ids;
	char mark[MARK_SIZE];
	uint64_t latency_sum; /* microseconds */
	struct feed_cursor logged;
	uint64_t padding;
	struct feed_buffers buffers;
	uint64_t tallies[TALLY_COUNT];
	struct ring rings[FEED_RINGS];
	uint64_t latencies[EGRESS_MAX_COUNTED_HOSTS][FEED_BUCKETS];
	char bytes[ALL_SIZE + REFUSED_SIZE + PENDING_SIZE];
};

struct feed {
	struct shared *shared;
	char mark[MARK_SIZE]; /* as it was at first: the memory is not to be trusted */
	unsigned writer;
};

static const struct {
	uint64_t start, size;
} places[FEED_RINGS] = {
	[FEED_ALL] = {0, ALL_SIZE},
	[FEED_REFUSED] = {ALL_SIZE, REFUSED_SIZE},
	[FEED_PENDING] = {ALL_SIZE + REFUSED_SIZE, PENDING_SIZE},
};

static uint64_t load(const uint64_t *from)
{
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *to, uint64_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static uint64_t record_size(uint64_t length)
{
	return sizeof(struct record) + (length + 7) / 8 * 8;
}

/* ---- bytes of a ring ---------------------------------------------------------------------------- */

static void copy_in(struct feed *feed, enum feed_ring ring, uint64_t at, const void *from,
		    size_t length)
{
	char *base = feed->shared->bytes + places[ring].start;
	size_t place = at % places[ring].size, room = places[ring].size - place;
	size_t first = length < room ? length : room;

	memcpy(base + place, from, first);
	memcpy(base, (const char *)from + first, length - first);
}

static void copy_out(const struct feed *feed, enum feed_ring ring, uint64_t at, void *to,
		     size_t length)
{
	const char *base = feed->shared->bytes + places[ring].start;
	size_t place = at % places[ring].size, room = places[ring].size - place;
	size_t first = length < room ? length : room;

	memcpy(to, base + place, first);
	memcpy((char *)to + first, base, length - first);
}

/* ---- the writer --------------------------------------------------------------------------------- */

/* The tail, moved until `need` bytes are free. What was there before may be anything. */
static uint64_t make_room(struct feed *feed, enum feed_ring ring, uint64_t head, uint64_t need)
{
	uint64_t tail = load(&feed->shared->rings[ring].tail);
	struct record record;

	while (head - tail > places[ring].size - need) {
		if (head - tail > places[ring].size)
			return head;
		copy_out(feed, ring, tail, &record, sizeof(record));
		if (record.length > FEED_LINE_MAX)
			return head;
		tail += record_size(record.length);
	}
	return tail;
}

void feed_write(struct feed *feed, enum feed_ring ring, uint64_t time_ms, struct span line)
{
	struct ring *r = &feed->shared->rings[ring];
	const uint64_t head = load(&r->head), need = record_size(line.length);
	const struct record record = {
		.sequence = r->sequence + 1,
		.time_ms = time_ms,
		.length = line.length,
	};

	/* Readers and make_room() take a longer one for nonsense, and skip all that is there. */
	if (line.length > FEED_LINE_MAX)
		return;
	/* Readers must see the tail move before the bytes behind it change. */
	store(&r->tail, make_room(feed, ring, head, need));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	copy_in(feed, ring, head, &record, sizeof(record));
	copy_in(feed, ring, head + sizeof(record), line.data, line.length);
	r->sequence = record.sequence;
	/* Last: what the head has passed is whole. */
	store(&r->head, head + need);
}

void feed_set_writer(struct feed *feed, unsigned writer)
{
	feed->writer = writer;
}

unsigned feed_id_writer(uint64_t id)
{
	return (unsigned)(id >> NUMBER_BITS);
}

uint64_t feed_id_number(uint64_t id)
{
	return id & NUMBER_MASK;
}

uint64_t feed_id(unsigned writer, uint64_t number)
{
	return (uint64_t)writer << NUMBER_BITS | (number & NUMBER_MASK);
}

uint64_t feed_take_id(struct feed *feed)
{
	return feed_id(feed->writer,
		       __atomic_add_fetch(&feed->shared->ids, 1, __ATOMIC_RELAXED));
}

void feed_raise_ids(struct feed *feed, uint64_t number)
{
	uint64_t now = __atomic_load_n(&feed->shared->ids, __ATOMIC_RELAXED);

	if (now < number || now - number > UINT32_MAX)
		__atomic_store_n(&feed->shared->ids, number, __ATOMIC_RELAXED);
}

/* Returns how many digits there are. */
static size_t put_digits(char *to, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	memcpy(to, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

void feed_id_text(const struct feed *feed, uint64_t id, char ret[FEED_ID_SIZE])
{
	size_t length = strnlen(feed->mark, MARK_SIZE);

	memcpy(ret, feed->mark, length);
	length += put_digits(ret + length, feed_id_number(id));
	if (feed_id_writer(id) > 0) {
		ret[length++] = '.';
		length += put_digits(ret + length, feed_id_writer(id) + 1u);
	}
	ret[length] = '\0';
}

/* ---- buffers -------------------------------------------------------------------------------------- */

void feed_buffers_limit(struct feed *feed, uint64_t limit)
{
	store(&feed->shared->buffers.limit, limit);
}

void feed_buffers_ended(struct feed *feed)
{
	__atomic_fetch_add(&feed->shared->buffers.ended, 1, __ATOMIC_RELAXED);
}

struct feed_buffers feed_buffers(const struct feed *feed)
{
	const struct feed_buffers *shared = &feed->shared->buffers;

	return (struct feed_buffers){load(&shared->limit), load(&shared->ended)};
}

uint64_t *feed_tallies(struct feed *feed)
{
	return feed->shared->tallies;
}

uint64_t feed_tally(const struct feed *feed, enum tally which)
{
	return load(&feed->shared->tallies[which]);
}

/* ---- latencies ---------------------------------------------------------------------------------- */

uint64_t feed_bucket_end(unsigned bucket)
{
	return (uint64_t)16 << bucket;
}

static void count(struct feed *feed, uint32_t host_id, unsigned bucket)
{
	__atomic_fetch_add(&feed->shared->latencies[host_id][bucket], 1, __ATOMIC_RELAXED);
}

void feed_add_latency(struct feed *feed, uint32_t host_id, uint64_t microseconds)
{
	unsigned bucket = 0;

	while (bucket + 1 < FEED_BUCKETS && microseconds > feed_bucket_end(bucket))
		bucket++;
	/* Host 0 is all of them together. */
	count(feed, 0, bucket);
	__atomic_fetch_add(&feed->shared->latency_sum, microseconds, __ATOMIC_RELAXED);
	if (host_id > 0 && host_id < EGRESS_MAX_COUNTED_HOSTS)
		count(feed, host_id, bucket);
}

uint64_t feed_latency_sum(const struct feed *feed)
{
	return load(&feed->shared->latency_sum);
}

void feed_latencies(const struct feed *feed, uint32_t host_id, uint64_t ret[FEED_BUCKETS])
{
	for (unsigned i = 0; i < FEED_BUCKETS; i++)
		ret[i] = host_id < EGRESS_MAX_COUNTED_HOSTS
				 ? load(&feed->shared->latencies[host_id][i]) : 0;
}

uint64_t feed_quantile(const uint64_t counts[FEED_BUCKETS], double share)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < FEED_BUCKETS; i++)
		total += counts[i];
	for (unsigned i = 0; i < FEED_BUCKETS && total > 0; i++) {
		seen += counts[i];
		if ((double)seen >= share * (double)total)
			return feed_bucket_end(i);
	}
	return 0;
}

/* ---- readers ------------------------------------------------------------------------------------ */

struct feed_cursor feed_end(const struct feed *feed, enum feed_ring ring)
{
	const struct ring *r = &feed->shared->rings[ring];

	return (struct feed_cursor){.at = load(&r->head), .sequence = load(&r->sequence)};
}

static uint64_t lost_before(const struct feed_cursor *cursor, uint64_t sequence)
{
	if (cursor->sequence == 0 || sequence <= cursor->sequence + 1)
		return 0;
	sequence -= cursor->sequence + 1;
	return sequence < LOST_MAX ? sequence : LOST_MAX;
}

/* 1 a record, 0 none, -1 look again from cursor->at: it was written over, or is none. */
static int try_next(const struct feed *feed, enum feed_ring ring, struct feed_cursor *cursor,
		    struct feed_event *ret)
{
	const struct ring *r = &feed->shared->rings[ring];
	uint64_t head = load(&r->head), tail = load(&r->tail);
	struct record record;

	if (head - tail > places[ring].size)
		tail = head;
	if (cursor->at - tail > head - tail) /* behind the tail, or beyond the head */
		cursor->at = tail;
	if (cursor->at == head)
		return 0;
	copy_out(feed, ring, cursor->at, &record, sizeof(record));
	if (record.length > FEED_LINE_MAX || record_size(record.length) > head - cursor->at) {
		/* Overtaken just now; or nonsense, which ends at the head. */
		cursor->at = load(&r->tail) != tail ? load(&r->tail) : head;
		return -1;
	}
	copy_out(feed, ring, cursor->at + sizeof(record), ret->line, record.length);
	/* The tail is looked at after the copy was made, or a record that was written over
	 * meanwhile would pass for whole. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	tail = load(&r->tail);
	/* Unsigned: a cursor behind the tail is further away than any size. */
	if (cursor->at - tail > places[ring].size) {
		cursor->at = tail;
		return -1;
	}
	ret->time_ms = record.time_ms;
	ret->length = record.length;
	ret->lost = lost_before(cursor, record.sequence);
	cursor->at += record_size(record.length);
	cursor->sequence = record.sequence;
	return 1;
}

bool feed_next(const struct feed *feed, enum feed_ring ring, struct feed_cursor *cursor,
	       struct feed_event *ret)
{
	int result = -1;

	/* A writer that always overtakes us is one to come back to later. */
	for (int tries = 0; result < 0 && tries < 8; tries++)
		result = try_next(feed, ring, cursor, ret);
	return result > 0;
}

void feed_set_logged(struct feed *feed, struct feed_cursor cursor)
{
	store(&feed->shared->logged.at, cursor.at);
	store(&feed->shared->logged.sequence, cursor.sequence);
}

struct feed_cursor feed_logged(const struct feed *feed)
{
	const struct feed_cursor *shared = &feed->shared->logged;

	return (struct feed_cursor){load(&shared->at), load(&shared->sequence)};
}

/* ---- life --------------------------------------------------------------------------------------- */

int feed_memory(void)
{
	int fd = memfd_create("egress-bpf-feed", MFD_CLOEXEC | MFD_ALLOW_SEALING), saved;

	if (fd < 0)
		return -errno;
	/* Nobody makes it shorter under a reader. */
	if (ftruncate(fd, (off_t)sizeof(struct shared)) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

struct feed *feed_open(int fd, const char *mark)
{
	struct feed *feed = calloc(1, sizeof(*feed));
	void *memory;

	if (!feed)
		return NULL;
	memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		free(feed);
		return NULL;
	}
	feed->shared = memory;
	if (mark)
		snprintf(feed->shared->mark, MARK_SIZE, "%s", mark);
	/* The last byte stays NUL, whatever the memory holds. */
	memcpy(feed->mark, feed->shared->mark, MARK_SIZE - 1);
	return feed;
}

void feed_free(struct feed *feed)
{
	if (!feed)
		return;
	munmap(feed->shared, sizeof(struct shared));
	free(feed);
}
