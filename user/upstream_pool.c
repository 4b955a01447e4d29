// SPDX-License-Identifier: BSD-2-Clause
/* Connections between requests. A connection is kept only while it is silent, and handed out only
 * for the same key: what was verified for one host, certificate and kind of address serves no
 * other. */
#include "upstream_pool.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "clock.h"
#include "descriptor.h"
#include "loop.h"
#include "tally.h"
#include "timeout.h"

#define BUCKET_COUNT 256 /* a power of two */
/* Descriptors that nobody uses at the moment. There is no limit to each key: connections that were
 * in use at the same time are needed again at the same time, and each that was dropped would cost a
 * handshake for the next stream of an HTTP/2 client. Who is not used for longest goes. */
#define TOTAL_LIMIT 512
#define TOTAL_PART 8 /* of all descriptors, where they are few: others need them, too */
/* Closed in one pass of the loop, most of a millisecond with TLS: requests do not wait for all of them
 * together, 25 ms of it, when a reload or their age ends them. */
#define CLOSE_SLICE 16

/* In two lists: its bucket, newest first, and all by age, for the timer. */
struct idle {
	struct pool *pool;
	struct stream *stream;
	struct egress_address address;
	uint64_t hash; /* of the whole key */
	uint16_t port;
	bool tls, allow_private;
	uint64_t client;
	int64_t deadline; /* ms */
	unsigned turn; /* of the loop, in which it was put */
	struct idle *next, **at;
	struct idle *newer, *older;
	char host[];
};

struct pool {
	unsigned idle_ms;
	size_t count, most;
	struct event timer; /* for the oldest */
	struct event closing;
	struct idle *doomed; /* in no list but this one, by `next`: nobody's any more */
	struct idle *buckets[BUCKET_COUNT];
	struct idle *newest, *oldest;
};

static int64_t now_ms(void)
{
	/* For deadlines in seconds; asked for with each request. */
	return (int64_t)clock_ms(CLOCK_MONOTONIC_COARSE);
}

bool pool_key_equal(const struct pool_key *a, const struct pool_key *b)
{
	return a->port == b->port && a->tls == b->tls && a->allow_private == b->allow_private &&
	       a->client == b->client && strcmp(a->host, b->host) == 0;
}

/* The host's hash is keyed; the rest is spread by the golden ratio. */
uint64_t pool_key_hash(const struct pool_key *key)
{
	uint64_t rest = (uint64_t)key->port << 2 | (uint64_t)key->tls << 1 | key->allow_private;

	return bytes_hash(key->host, strlen(key->host)) +
	       (rest ^ key->client) * 0x9e3779b97f4a7c15u;
}

static bool matches(const struct idle *idle, const struct pool_key *key, uint64_t hash)
{
	return idle->hash == hash && idle->port == key->port && idle->tls == key->tls &&
	       idle->allow_private == key->allow_private && idle->client == key->client &&
	       strcmp(idle->host, key->host) == 0;
}

static void link_idle(struct pool *pool, struct idle *idle)
{
	idle->at = &pool->buckets[idle->hash & (BUCKET_COUNT - 1)];
	idle->next = *idle->at;
	if (idle->next)
		idle->next->at = &idle->next;
	*idle->at = idle;
	idle->older = pool->newest;
	*(idle->older ? &idle->older->newer : &pool->oldest) = idle;
	pool->newest = idle;
	pool->count++;
	tally_add(TALLY_POOL_IDLE, 1);
}

static void unlink_idle(struct pool *pool, struct idle *idle)
{
	*idle->at = idle->next;
	if (idle->next)
		idle->next->at = idle->at;
	*(idle->newer ? &idle->newer->older : &pool->newest) = idle->older;
	*(idle->older ? &idle->older->newer : &pool->oldest) = idle->newer;
	pool->count--;
	tally_add(TALLY_POOL_IDLE, -1);
}

static void drop(struct pool *pool, struct idle *idle)
{
	unlink_idle(pool, idle);
	stream_free(idle->stream);
	bytes_block_free(idle);
}

static void free_doomed(struct pool *pool, size_t most)
{
	struct idle *idle;

	for (; most > 0 && (idle = pool->doomed); most--) {
		pool->doomed = idle->next;
		stream_free(idle->stream);
		bytes_block_free(idle);
	}
}

static void on_closing(evutil_socket_t fd, short what, void *argument)
{
	struct pool *pool = argument;

	(void)fd, (void)what;
	free_doomed(pool, CLOSE_SLICE);
	if (pool->doomed)
		timeout_soon(&pool->closing);
}

/* As drop(), for one of many. */
static void doom(struct pool *pool, struct idle *idle)
{
	unlink_idle(pool, idle);
	stream_set_ready(idle->stream, NULL, NULL);
	idle->next = pool->doomed;
	pool->doomed = idle;
	timeout_soon(&pool->closing);
}

/* Nothing may come on an idle connection but what TLS keeps to itself, session tickets say. An
 * answer to no request, be it a part of its record, an end, an error: all mean that it must not be
 * used. */
static bool is_quiet(struct stream *stream)
{
	char byte;

	return stream_read(stream, &byte, 1) == -EAGAIN && !stream_has_more(stream);
}

/* What an origin sends behind its answer would be the answer of the next request, somebody else's
 * perhaps. When the loop has asked the kernel since it came back, and was told all, it knows whether
 * there is such; else the socket itself is asked. */
static bool is_still_quiet(const struct idle *idle)
{
	bool look = idle->turn == loop_turn() || !loop_was_told_all();

	return !stream_is_stirred(idle->stream, look) || is_quiet(idle->stream);
}

static void on_ready(void *context)
{
	struct idle *idle = context;

	if (!is_quiet(idle->stream))
		drop(idle->pool, idle);
}

/* One timer, for the oldest: all have the same time to live. */
static void arm(struct pool *pool, const struct idle *oldest)
{
	int64_t wait;

	if (!oldest)
		return;
	wait = oldest->deadline - now_ms();
	if (wait < 0)
		wait = 0;
	/* Nothing else would end them. */
	if (event_add(&pool->timer, &(struct timeval){wait / 1000, (wait % 1000) * 1000}) < 0)
		pool_forget(pool, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
	struct pool *pool = argument;
	struct idle *idle = pool->oldest, *newer;
	int64_t now = now_ms();

	(void)fd, (void)what;
	for (; idle && idle->deadline <= now; idle = newer) {
		newer = idle->newer;
		doom(pool, idle);
	}
	arm(pool, idle);
}

static size_t most_idle(void)
{
	const size_t part = descriptor_limit() / TOTAL_PART;

	return part < TOTAL_LIMIT ? part + 1 : TOTAL_LIMIT;
}

struct pool *pool_new(struct event_base *base, unsigned idle_ms)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->idle_ms = idle_ms;
	pool->most = most_idle();
	evtimer_assign(&pool->timer, base, on_timer, pool);
	evtimer_assign(&pool->closing, base, on_closing, pool);
	return pool;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pool_forget(pool, NULL);
	free_doomed(pool, SIZE_MAX);
	event_del(&pool->timer);
	event_del(&pool->closing);
	free(pool);
}

void pool_put(struct pool *pool, const struct pool_key *key, const struct egress_address *address,
	      struct stream *stream)
{
	uint64_t hash = pool_key_hash(key);
	size_t size = strlen(key->host) + 1;
	struct idle *idle = NULL;

	if (is_quiet(stream))
		idle = bytes_block(sizeof(*idle) + size);
	if (!idle) {
		stream_free(stream);
		return;
	}
	if (pool->count >= pool->most)
		drop(pool, pool->oldest);
	*idle = (struct idle){.pool = pool,
			      .stream = stream,
			      .address = *address,
			      .hash = hash,
			      .port = key->port,
			      .tls = key->tls,
			      .allow_private = key->allow_private,
			      .client = key->client,
			      .deadline = now_ms() + pool->idle_ms,
			      .turn = loop_turn()};
	memcpy(idle->host, key->host, size);
	link_idle(pool, idle);
	/* Watched while it rests: one that the origin has closed would cost the next request a
	 * try, and a POST its answer. */
	stream_set_ready(stream, on_ready, idle);
	/* When armed already, for an older one, it looks again by itself. */
	if (!event_pending(&pool->timer, EV_TIMEOUT, NULL))
		arm(pool, pool->oldest);
}

struct stream *pool_take(struct pool *pool, const struct pool_key *key,
			 struct egress_address *ret_address)
{
	uint64_t hash = pool_key_hash(key);
	struct idle *idle = pool->buckets[hash & (BUCKET_COUNT - 1)], *next;
	struct stream *stream;

	/* The newest comes first, which is the least likely to be closed by the other side. */
	for (; idle; idle = next) {
		next = idle->next;
		if (!matches(idle, key, hash))
			continue;
		if (is_still_quiet(idle))
			break;
		drop(pool, idle);
	}
	if (!idle)
		return NULL;
	unlink_idle(pool, idle);
	stream = idle->stream;
	*ret_address = idle->address;
	bytes_block_free(idle);
	stream_set_ready(stream, NULL, NULL);
	return stream;
}

void pool_forget(struct pool *pool, const char *host)
{
	struct idle *older;

	for (struct idle *idle = pool->newest; idle; idle = older) {
		older = idle->older;
		if (!host || strcmp(idle->host, host) == 0)
			doom(pool, idle);
	}
}
