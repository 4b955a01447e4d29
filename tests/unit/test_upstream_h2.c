// SPDX-License-Identifier: BSD-2-Clause
/* The pool of sessions over sessions of ours, which do as a test says: no byte is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "h2.h"
#include "upstream_h2.h"

#define IDLE_MS 20

static struct event_base *base;
static bool open_fails, no_memory;
static unsigned alive, drained;
static int far_end; /* of the session's connection: it stays open */

/* ---- what stands in for h2.c ------------------------------------------------------------------ */

struct h2 *h2_new(struct event_base *loop, struct stream *transport, bool server,
		  const struct h2_owner *owner, void *context)
{
	(void)loop, (void)transport, (void)server, (void)owner, (void)context;
	alive++;
	return malloc(1);
}

void h2_free(struct h2 *h2)
{
	alive -= h2 != NULL;
	free(h2);
}

bool h2_run(struct h2 *h2)
{
	return h2 != NULL;
}

bool h2_is_idle(const struct h2 *h2)
{
	return h2 != NULL;
}

bool h2_has_room(const struct h2 *h2)
{
	return h2 != NULL;
}

struct stream *h2_open(struct h2 *h2)
{
	int fds[2];

	(void)h2;
	if (open_fails)
		return NULL;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	close(fds[1]);
	return stream_new(base, fds[0]);
}

void h2_drain(struct h2 *h2)
{
	drained += h2 != NULL;
}

void h2_abort(struct h2 *h2)
{
	(void)h2;
}

size_t h2_stuck(const struct h2 *h2)
{
	(void)h2;
	return 0;
}

/* ---- the tests -------------------------------------------------------------------------------- */

/* libevent's, for its timers, say. */
static void *allocate(void *memory, size_t size)
{
	return no_memory ? NULL : realloc(memory, size);
}

static void *allocate_new(size_t size)
{
	return allocate(NULL, size);
}

/* With one session, whose peer has said nothing yet. */
static struct h2_pool *make_new(const struct pool_key *key)
{
	static const struct egress_address address = {{0xfd, 1, 2}};
	struct h2_pool *pool;
	int fds[2];

	base = event_base_new();
	pool = h2_pool_new(base, IDLE_MS);
	alive = drained = 0;
	open_fails = false;
	assert_non_null(pool);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	stream_free(h2_pool_add(pool, key, &address, stream_new(base, fds[0]), true));
	far_end = fds[1];
	return pool;
}

/* It says something, as SETTINGS do, and the session sees that it is idle. */
static void peer_speaks(void)
{
	assert_int_equal(write(far_end, "x", 1), 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct h2_pool *make(const struct pool_key *key)
{
	struct h2_pool *pool = make_new(key);

	peer_speaks();
	assert_int_equal(alive, 1);
	return pool;
}

/* Nothing else than the session's own timer is left to end the loop. */
static void ends_by_itself(struct h2_pool *pool)
{
	const struct timeval patience = {5, 0};

	event_base_loopexit(base, &patience);
	while (alive > 0 && !event_base_got_exit(base))
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(alive, 0);
	assert_int_equal(drained, 1);
	h2_pool_free(pool);
	event_base_free(base);
	close(far_end);
}

static void taken_in_vain(void **state)
{
	const struct pool_key key = {"a.test", 443, true, false, 0};
	struct h2_pool *pool = make(&key);
	struct egress_address address;

	(void)state;
	open_fails = true;
	assert_null(h2_pool_take(pool, &key, &address));
	ends_by_itself(pool);
}

/* It would stay for ever. */
static void no_memory_for_its_timer(void **state)
{
	const struct pool_key key = {"a.test", 443, true, false, 0};
	struct h2_pool *pool = make_new(&key);

	(void)state;
	no_memory = true;
	peer_speaks();
	no_memory = false;
	assert_int_equal(alive, 0);
	h2_pool_free(pool);
	event_base_free(base);
	close(far_end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_in_vain),
		cmocka_unit_test(no_memory_for_its_timer),
	};

	/* Before it has allocated anything. */
	event_set_mem_functions(allocate_new, allocate, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
