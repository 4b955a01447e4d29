// SPDX-License-Identifier: BSD-2-Clause
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "no_timers.h"
#include "tally.h"
#include "upstream_pool.h"

static struct event_base *base;
static uint64_t counted[TALLY_COUNT]; /* as `metrics` shows it */
static const struct egress_address address = {{0xfd, 1, 2}};

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	tally_count_at(counted);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

/* By poll(2), which asks one socket. Stands before the C library's. */
static int looks;

int poll(struct pollfd *fds, nfds_t count, int milliseconds)
{
	looks++;
	return ppoll(fds, count, &(struct timespec){.tv_sec = milliseconds / 1000}, NULL);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* Puts a new connection; returns the other end of it. */
static int put(struct pool *pool, const struct pool_key *key)
{
	struct stream *stream;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	stream = stream_new(base, fds[0]);
	assert_non_null(stream);
	pool_put(pool, key, &address, stream);
	return fds[1];
}

/* The fd of the one taken, which is closed; -1 when there was none. */
static int take(struct pool *pool, const struct pool_key *key)
{
	struct egress_address from;
	struct stream *stream = pool_take(pool, key, &from);
	int fd = stream ? stream_fd(stream) : -1;

	if (stream)
		assert_memory_equal(&from, &address, sizeof(from));
	stream_free(stream);
	return fd;
}

static void keys_must_agree(void **state)
{
	const struct pool_key key = {"a.example", 443, true, false, 0};
	const struct pool_key others[] = {
		{"b.example", 443, true, false, 0},  {"a.example", 444, true, false, 0},
		{"a.example", 443, false, false, 0}, {"a.example", 443, true, true, 0},
		{"a.exampl", 443, true, false, 0},   {"a.example", 443, true, false, 7},
	};
	struct pool *pool = pool_new(base, 30000);
	int fd = put(pool, &key);

	(void)state;
	turn();
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_int_equal(take(pool, &others[i]), -1);
	assert_int_equal(counted[TALLY_POOL_IDLE], 1);
	assert_true(take(pool, &key) >= 0);
	assert_int_equal(take(pool, &key), -1);
	close(fd);
	pool_free(pool);
	pool_free(NULL);
}

static void last_used_first(void **state)
{
	const struct pool_key key = {"a.example", 80, false, false, 0};
	struct pool *pool = pool_new(base, 30000);
	struct egress_address from;
	int fds[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		fds[i] = put(pool, &key);
	for (int i = 2; i >= 0; i--) {
		struct stream *stream = pool_take(pool, &key, &from);
		char byte = 0;

		assert_int_equal(stream_write(stream, "x", 1), 1);
		assert_int_equal(read(fds[i], &byte, 1), 1);
		stream_free(stream);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	pool_free(pool);
}

static void dead_and_dirty_ones_go(void **state)
{
	const struct pool_key key = {"a.example", 80, false, false, 0};
	struct pool *pool = pool_new(base, 30000);
	struct stream *stream;
	int pair[2], fd;

	(void)state;
	close(put(pool, &key));
	turn();
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	fd = put(pool, &key);
	assert_int_equal(write(fd, "HTTP/1.1 408\r\n", 14), 14);
	turn();
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	close(fd);
	/* Something waits already when it is put back: not kept at all. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	stream = stream_new(base, pair[0]);
	turn();
	pool_put(pool, &key, &address, stream);
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	close(pair[1]);
	pool_free(pool);
}

/* In the pass of the loop in which it came back, or in which the loop has been told of it: nobody has
 * read yet what an origin sent behind its answer, and it would be the next request's. */
struct pass {
	struct pool *pool;
	struct stream *stream;
	int fd, taken;
};

static const struct pool_key kept = {"a.example", 80, false, false, 0};

static void put_and_take(evutil_socket_t fd, short what, void *context)
{
	struct pass *pass = context;

	(void)fd, (void)what;
	pool_put(pass->pool, &kept, &address, pass->stream);
	if (pass->fd >= 0)
		assert_int_equal(write(pass->fd, "HTTP/1.1 200 OK\r\n", 17), 17);
	pass->taken = take(pass->pool, &kept);
}

static void take_only(evutil_socket_t fd, short what, void *context)
{
	struct pass *pass = context;

	(void)fd, (void)what;
	pass->taken = take(pass->pool, &kept);
}

static void nothing_waits_in_one_taken_at_once(void **state)
{
	struct pool *pool = pool_new(base, 30000);
	struct pass pass = {.pool = pool};
	int pair[2];

	(void)state;
	for (int dirty = 0; dirty < 2; dirty++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		pass.stream = stream_new(base, pair[0]);
		turn(); /* that it can be written to */
		pass.fd = dirty ? pair[1] : -1;
		event_base_once(base, -1, EV_TIMEOUT, put_and_take, &pass, NULL);
		turn();
		assert_int_equal(pass.taken, dirty ? -1 : pair[0]);
		assert_int_equal(counted[TALLY_POOL_IDLE], 0);
		close(pair[1]);
	}
	pool_free(pool);
}

static void nothing_waits_in_one_that_the_loop_was_told_of(void **state)
{
	struct pool *pool = pool_new(base, 30000);
	struct pass pass = {.pool = pool};
	int older = put(pool, &kept), newer = put(pool, &kept), client[2];
	struct event *event;
	char byte;

	(void)state;
	assert_int_equal(pipe(client), 0);
	event = event_new(base, client[0], EV_READ, take_only, &pass);
	event_add(event, NULL);
	turn();
	/* epoll(7) tells of them in this order. */
	assert_int_equal(write(client[1], "x", 1), 1);
	assert_int_equal(write(newer, "HTTP/1.1 200 OK\r\n", 17), 17);
	turn();
	assert_true(pass.taken >= 0);
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	/* The other one: it was silent. */
	assert_int_equal(recv(older, &byte, 1, MSG_DONTWAIT), 0);
	event_free(event);
	for (int i = 0; i < 2; i++)
		close(client[i]);
	close(older);
	close(newer);
	pool_free(pool);
}

/* More are ready than the loop asks for at once, which are 32 with libevent at first, and then twice as
 * many: the idle one, which was ready last, is not among those it is told of. */
#define BUSY 40

static void take_first(evutil_socket_t fd, short what, void *context)
{
	eventfd_t count;

	(void)eventfd_read(fd, &count);
	if (((struct pass *)context)->taken < 0)
		take_only(fd, what, context);
}

static void make_ready(struct event **events)
{
	for (size_t i = 0; i < BUSY; i++)
		assert_int_equal(eventfd_write(event_get_fd(events[i]), 1), 0);
}

static void nothing_waits_in_one_that_was_not_told(void **state)
{
	struct event_base *old = base, *fresh = base = event_base_new();
	struct pool *pool = pool_new(fresh, 30000);
	struct pass pass = {.pool = pool, .taken = -1};
	struct event *events[BUSY];
	int other = put(pool, &kept);

	(void)state;
	for (size_t i = 0; i < BUSY; i++) {
		events[i] = event_new(fresh, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				      EV_READ | EV_PERSIST, take_first, &pass);
		assert_int_equal(event_add(events[i], NULL), 0);
	}
	turn();
	assert_int_equal(counted[TALLY_POOL_IDLE], 1);
	looks = 0;
	make_ready(events);
	assert_int_equal(write(other, "HTTP/1.1 200 OK\r\n", 17), 17);
	turn();
	assert_int_equal(pass.taken, -1);
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	assert_int_equal(looks, 1);
	close(other);
	/* As many again: all are told now, and no socket is asked. */
	turn();
	other = put(pool, &kept);
	turn();
	looks = 0;
	make_ready(events);
	turn();
	assert_true(pass.taken >= 0);
	assert_int_equal(looks, 0);
	for (size_t i = 0; i < BUSY; i++) {
		close(event_get_fd(events[i]));
		event_free(events[i]);
	}
	close(other);
	pool_free(pool);
	event_base_free(fresh);
	base = old;
}

static void limits(void **state)
{
	struct pool *pool = pool_new(base, 30000);
	struct pool_key key = {"a.example", 80, false, false, 0};
	char host[32];
	int fds[40], others[600];

	(void)state;
	for (int i = 0; i < 40; i++)
		fds[i] = put(pool, &key);
	assert_int_equal(counted[TALLY_POOL_IDLE], 40); /* all of them: none is dialled anew */
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	turn();
	turn(); /* libevent takes 32 events at once */
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	key.host = host;
	for (int i = 0; i < 600; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		others[i] = put(pool, &key);
	}
	assert_int_equal(counted[TALLY_POOL_IDLE], 512);
	strcpy(host, "h87.example");
	assert_int_equal(take(pool, &key), -1); /* the oldest went */
	strcpy(host, "h88.example");
	assert_true(take(pool, &key) >= 0);
	for (int i = 0; i < 600; i++)
		close(others[i]);
	pool_free(pool);
}

/* Sleeps for 400 ms and lets the loop look; false when the machine was busy and it became 600. */
static bool pass_400_ms(void)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	usleep(400000);
	turn();
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 550;
}

/* False when nothing can be said, as time went by faster than was meant. */
static bool idle_ones_go(void)
{
	const struct pool_key a = {"a.example", 80, false, false, 0},
			      b = {"b.example", 80, false, false, 0};
	struct pool *pool = pool_new(base, 600);
	int fd = put(pool, &a), other = -1;
	bool said = pass_400_ms();

	if (said) {
		assert_int_equal(counted[TALLY_POOL_IDLE], 1);
		other = put(pool, &b);
		said = pass_400_ms();
	}
	if (said) {
		assert_int_equal(counted[TALLY_POOL_IDLE], 1);
		assert_int_equal(take(pool, &a), -1);
		(void)pass_400_ms();
		assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	}
	close(fd);
	if (other >= 0)
		close(other);
	pool_free(pool);
	return said;
}

static void idle_timeout(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		if (idle_ones_go())
			return;
	fail_msg("ten times in a row 400 ms became 600");
}

/* What nothing would end does not stay, and what is to be closed is. */
static void no_memory_for_its_end(void **state)
{
	struct pool *pool = pool_new(base, 30000);
	char byte;
	int fd;

	(void)state;
	no_timers = true;
	fd = put(pool, &kept);
	no_timers = false;
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	turn();
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
	pool_free(pool);
}

static void forget(void **state)
{
	const struct pool_key a = {"a.example", 80, false, false, 0},
			      b = {"b.example", 80, false, false, 0};
	struct pool *pool = pool_new(base, 30000);
	int fds[] = {put(pool, &a), put(pool, &b), put(pool, &a)};

	(void)state;
	pool_forget(pool, "a.example");
	assert_int_equal(counted[TALLY_POOL_IDLE], 1);
	assert_int_equal(take(pool, &a), -1);
	pool_forget(pool, NULL);
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	pool_free(pool);
}

static size_t closed(const int *fds, size_t count)
{
	size_t sum = 0;
	char byte;

	for (size_t i = 0; i < count; i++)
		sum += recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;
	return sum;
}

/* Many that end at once leave the loop to others in between. */
static void closed_some_at_a_time(void **state)
{
	const struct pool_key a = {"a.example", 80, false, false, 0};
	struct pool *pool = pool_new(base, 30000);
	size_t before = 0, now, passes = 0;
	int fds[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		fds[i] = put(pool, &a);
	pool_forget(pool, NULL);
	assert_int_equal(take(pool, &a), -1);
	for (; before < 100; before = now, passes++) {
		turn();
		now = closed(fds, 100);
		assert_in_range(now - before, 1, 25);
	}
	assert_true(passes >= 4);
	/* What is still to be closed goes with the pool. */
	for (int i = 0; i < 100; i++) {
		close(fds[i]);
		fds[i] = put(pool, &a);
	}
	pool_forget(pool, NULL);
	pool_free(pool);
	assert_int_equal(closed(fds, 100), 100);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_must_agree),        cmocka_unit_test(last_used_first),
		cmocka_unit_test(dead_and_dirty_ones_go), cmocka_unit_test(limits),
		cmocka_unit_test(idle_timeout),           cmocka_unit_test(forget),
		cmocka_unit_test(closed_some_at_a_time),  cmocka_unit_test(no_memory_for_its_end),
		cmocka_unit_test(nothing_waits_in_one_taken_at_once),
		cmocka_unit_test(nothing_waits_in_one_that_the_loop_was_told_of),
		cmocka_unit_test(nothing_waits_in_one_that_was_not_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
