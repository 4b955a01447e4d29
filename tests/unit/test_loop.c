// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "loop.h"

/* libevent asks for 32 at first, then for twice as many whenever it got so many. */
#define FIRST 32
#define COUNT 80

static int told;

static void on_ready(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what, (void)context;
	told++;
}

/* How many it was told of in one turn. */
static int told_in_turn(struct event_base *base)
{
	unsigned before = loop_turn();

	told = 0;
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	assert_int_equal(loop_turn(), before + 1);
	return told;
}

static void knows_when_there_may_be_more(void **state)
{
	struct event_base *base = event_base_new();
	struct event *events[COUNT];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		events[i] = event_new(base, eventfd(1, EFD_CLOEXEC), EV_READ | EV_PERSIST, on_ready, NULL);
		assert_int_equal(event_add(events[i], NULL), 0);
		/* As many as were asked for: it may be all, nobody knows. */
		if (i + 1 == FIRST - 1 || i + 1 == FIRST) {
			assert_int_equal(told_in_turn(base), i + 1);
			assert_int_equal(loop_was_told_all(), i + 1 < FIRST);
		}
	}
	for (int asks = 2 * FIRST; asks < COUNT; asks *= 2) {
		assert_int_equal(told_in_turn(base), asks);
		assert_false(loop_was_told_all());
	}
	assert_int_equal(told_in_turn(base), COUNT);
	assert_true(loop_was_told_all());
	for (int i = 0; i < COUNT; i++) {
		close(event_get_fd(events[i]));
		event_free(events[i]);
	}
	event_base_free(base);
}

static void knows_nothing_of_what_failed(void **state)
{
	struct epoll_event event;

	(void)state;
	assert_int_equal(epoll_wait(-1, &event, 1, 0), -1);
	assert_false(loop_was_told_all());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_when_there_may_be_more),
		cmocka_unit_test(knows_nothing_of_what_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
