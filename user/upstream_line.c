// SPDX-License-Identifier: BSD-2-Clause
/* Nobody waits for another's response: each step begins some, at least one, and how many follows from
 * what came free in the last one alone. While enough does, they soon serve all who wait. While
 * nothing does (the origin is far, or holds its answers) each step begins more than the one before,
 * so that a thousand have begun after thirty of them. */
#include "upstream_line.h"

#include <event2/event_struct.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "timeout.h"

#define STEP_FIRST 8 /* begun at once */
#define STEP_MORE 2
/* One at a time is enough when all who wait are served in so many steps like the last. */
#define STEPS_AHEAD 16
/* A busy loop takes longer than this for a pass, and its steps with it. */
#define STEP_USEC 2000
#define BUCKET_COUNT 64 /* a power of two */

TAILQ_HEAD(waits, line_wait);

/* Lives while somebody waits, or until the step is over in which the last one came. */
struct line {
	struct lines *lines;
	struct line *next, **at; /* of its bucket */
	struct waits begun, queued; /* all of the former came before the latter */
	size_t queued_count;
	size_t step, left, served;  /* to begin in this step, of them to come, and served by others */
	bool inside;		    /* its callbacks run */
	struct event pace, offer;
	struct pool_key key; /* `host` is below */
	char host[];
};

struct lines {
	struct event_base *base;
	const struct line_ops *ops;
	size_t count;
	struct line *buckets[BUCKET_COUNT];
};

static bool is_empty(const struct line *line)
{
	return TAILQ_EMPTY(&line->begun) && TAILQ_EMPTY(&line->queued);
}

static void line_free(struct line *line)
{
	event_del(&line->pace);
	event_del(&line->offer);
	*line->at = line->next;
	if (line->next)
		line->next->at = line->at;
	line->lines->count--;
	free(line);
}

/* What was begun in a step still counts when its line is empty: hence no sooner. */
static void free_unused(struct line *line)
{
	if (is_empty(line) && !line->inside && !event_pending(&line->pace, EV_TIMEOUT, NULL))
		line_free(line);
}

static void arm(struct line *line)
{
	line->left = line->step;
	line->served = 0;
	/* Without a next step all begin in this one. */
	if (event_add(&line->pace, &(struct timeval){.tv_usec = STEP_USEC}) < 0)
		line->left = SIZE_MAX;
}

/* The callbacks may join, leave or cancel whomever they like: each time from the head anew. */
static void advance(struct line *line)
{
	const struct line_ops *ops = line->lines->ops;
	struct line_wait *wait;

	line->inside = true;
	while (!is_empty(line)) {
		wait = TAILQ_FIRST(&line->begun);
		if (!ops->serve(wait ? wait : TAILQ_FIRST(&line->queued)))
			break;
		line->served++;
	}
	while (line->left > 0 && (wait = TAILQ_FIRST(&line->queued))) {
		line->left--;
		TAILQ_REMOVE(&line->queued, wait, entry);
		line->queued_count--;
		TAILQ_INSERT_TAIL(&line->begun, wait, entry);
		wait->begun = true;
		ops->begin(wait);
	}
	line->inside = false;
	free_unused(line);
}

static void on_offer(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	advance(argument);
}

/* Who has begun needs no step: only those behind do. */
static void on_pace(evutil_socket_t fd, short what, void *argument)
{
	struct line *line = argument;

	(void)fd, (void)what;
	if (line->served * STEPS_AHEAD >= line->queued_count)
		line->step = 1;
	else if (line->served > 0)
		line->step = STEP_FIRST;
	else
		line->step += STEP_MORE;
	if (TAILQ_EMPTY(&line->queued)) {
		free_unused(line);
		return;
	}
	arm(line);
	advance(line);
}

static uint64_t bucket_of(const struct pool_key *key)
{
	return pool_key_hash(key) & (BUCKET_COUNT - 1);
}

static struct line *find(const struct lines *lines, const struct pool_key *key)
{
	struct line *line;

	/* As with each request that finds a connection. */
	if (lines->count == 0)
		return NULL;
	line = lines->buckets[bucket_of(key)];
	while (line && !pool_key_equal(&line->key, key))
		line = line->next;
	return line;
}

static struct line *line_new(struct lines *lines, const struct pool_key *key)
{
	size_t size = strlen(key->host) + 1;
	struct line *line = calloc(1, sizeof(*line) + size);

	if (!line)
		return NULL;
	line->lines = lines;
	memcpy(line->host, key->host, size);
	line->key = *key;
	line->key.host = line->host;
	TAILQ_INIT(&line->begun);
	TAILQ_INIT(&line->queued);
	evtimer_assign(&line->pace, lines->base, on_pace, line);
	evtimer_assign(&line->offer, lines->base, on_offer, line);
	line->at = &lines->buckets[bucket_of(key)];
	line->next = *line->at;
	if (line->next)
		line->next->at = &line->next;
	*line->at = line;
	lines->count++;
	return line;
}

struct lines *lines_new(struct event_base *base, const struct line_ops *ops)
{
	struct lines *lines = calloc(1, sizeof(*lines));

	if (!lines)
		return NULL;
	lines->base = base;
	lines->ops = ops;
	return lines;
}

void lines_free(struct lines *lines)
{
	struct line *next;

	if (!lines)
		return;
	for (size_t i = 0; i < BUCKET_COUNT; i++)
		for (struct line *line = lines->buckets[i]; line; line = next) {
			next = line->next;
			line_free(line);
		}
	free(lines);
}

bool lines_empty(const struct lines *lines, const struct pool_key *key)
{
	const struct line *line = find(lines, key);

	return !line || is_empty(line);
}

bool lines_join(struct lines *lines, const struct pool_key *key, struct line_wait *wait)
{
	struct line *line = find(lines, key);

	if (!line)
		line = line_new(lines, key);
	/* Out of memory: on its own. */
	if (!line)
		return true;
	if (!event_pending(&line->pace, EV_TIMEOUT, NULL)) {
		line->step = STEP_FIRST;
		arm(line);
	}
	wait->line = line;
	wait->begun = line->left > 0 && TAILQ_EMPTY(&line->queued);
	if (wait->begun)
		line->left--;
	else
		line->queued_count++;
	TAILQ_INSERT_TAIL(wait->begun ? &line->begun : &line->queued, wait, entry);
	return wait->begun;
}

void line_leave(struct line_wait *wait)
{
	struct line *line = wait->line;

	if (!line)
		return;
	TAILQ_REMOVE(wait->begun ? &line->begun : &line->queued, wait, entry);
	line->queued_count -= !wait->begun;
	wait->line = NULL;
	free_unused(line);
}

void lines_offer(struct lines *lines, const struct pool_key *key)
{
	struct line *line = find(lines, key);

	if (line && !is_empty(line))
		timeout_soon(&line->offer);
}
