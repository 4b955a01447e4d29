// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "no_timers.h"
#include "upstream_line.h"

#define COUNT 300

static struct event_base *base;
static struct lines *lines;
static struct line_wait waits[COUNT];
static int begun[COUNT], served[COUNT]; /* the how manieth it was, from 1 */
static int begun_count, served_count, idle;
static bool give_up; /* the next one, when one is served or begins */

static const struct pool_key key = {"a.example", 443, true, false, 0},
			     other = {"a.example", 443, true, false, 7};

static void leave_next(const struct line_wait *wait)
{
	if (give_up && wait < &waits[COUNT - 1])
		line_leave(&waits[wait - waits + 1]);
}

static bool serve(struct line_wait *wait)
{
	if (idle == 0)
		return false;
	idle--;
	served[wait - waits] = ++served_count;
	line_leave(wait);
	leave_next(wait);
	return true;
}

static void begin(struct line_wait *wait)
{
	begun[wait - waits] = ++begun_count;
	leave_next(wait);
}

static const struct line_ops ops = {serve, begin};

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	lines = lines_new(base, &ops);
	for (int i = 0; i < COUNT; i++) {
		waits[i] = (struct line_wait){0};
		begun[i] = served[i] = 0;
	}
	begun_count = served_count = idle = 0;
	give_up = false;
	return lines ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < COUNT; i++)
		line_leave(&waits[i]);
	lines_free(lines);
	event_base_free(base);
	return 0;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static void join_all(void)
{
	for (int i = 0; i < COUNT; i++)
		if (lines_join(lines, &key, &waits[i]))
			begin(&waits[i]);
}

static void freed(int count)
{
	idle += count;
	lines_offer(lines, &key);
	turn();
}

/* The origin holds all answers: nothing comes free, and all have soon begun, in order. */
static void all_begin(void **state)
{
	int steps = 0;

	(void)state;
	assert_true(lines_empty(lines, &key));
	join_all();
	assert_false(lines_empty(lines, &key));
	assert_true(lines_empty(lines, &other));
	assert_in_range(begun_count, 1, 32);
	for (int before = begun_count; begun_count < COUNT; before = begun_count) {
		usleep(3000);
		turn();
		steps += begun_count > before;
		assert_in_range(steps, 0, 20);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(begun[i], i + 1);
	assert_int_equal(served_count, 0);
}

/* What comes free serves who waits longest, whether it has begun or not, and spares the others. */
static void longest_first(void **state)
{
	int at_once;

	(void)state;
	join_all();
	at_once = begun_count;
	/* Not from within the call. */
	idle = 1;
	lines_offer(lines, &key);
	assert_int_equal(served_count, 0);
	lines_offer(lines, &other);
	turn();
	assert_int_equal(served[0], 1);
	line_leave(&waits[1]); /* its own is there */
	freed(COUNT);
	assert_int_equal(served_count, COUNT - 1);
	assert_int_equal(served[1], 0);
	for (int i = 2; i < COUNT; i++)
		assert_int_equal(served[i], i);
	assert_int_equal(begun_count, at_once);
	assert_true(lines_empty(lines, &key));
}

/* Until one more step has begun some. */
static void step(void)
{
	for (int before = begun_count, i = 0; begun_count == before && i < 1000; i++) {
		usleep(1000);
		turn();
	}
}

/* While enough come free, one begins in each step; while too few do, not more than in the first. */
static void slow_while_served(void **state)
{
	int at_once, before;

	(void)state;
	join_all();
	at_once = begun_count;
	freed(1);
	step();
	assert_int_equal(begun_count, 2 * at_once);
	for (int i = 0; i < 5; i++) {
		before = begun_count;
		freed(30);
		step();
		assert_int_equal(begun_count, before + 1);
	}
	/* None any more: faster from step to step. */
	for (int i = 0, last = 1; i < 4; i++, last = begun_count - before) {
		before = begun_count;
		step();
		assert_true(begun_count - before > last);
	}
}

/* Callbacks end others, the next in the line for one. */
static void cancelled_meanwhile(void **state)
{
	(void)state;
	give_up = true;
	join_all();
	freed(10);
	for (int i = 0; i < 100 && !lines_empty(lines, &key); i++) {
		freed(20);
		usleep(2500);
	}
	assert_true(lines_empty(lines, &key));
	for (int i = 1; i < COUNT; i++)
		assert_false(served[i - 1] && served[i]);
	/* The next burst begins as the first did. */
	usleep(3000);
	turn();
	give_up = false;
	idle = begun_count = 0;
	join_all();
	assert_in_range(begun_count, 1, 32);
	lines_free(NULL);
}

/* Nobody would begin who waits for a step that does not come. */
static void without_memory_for_steps(void **state)
{
	(void)state;
	no_timers = true;
	join_all();
	assert_int_equal(begun_count, COUNT);
	idle = 1;
	lines_offer(lines, &key);
	assert_int_equal(served_count, 0);
	turn();
	assert_int_equal(served[0], 1);
	no_timers = false;
	freed(COUNT);
	assert_true(lines_empty(lines, &key));
	/* And from a step that did come. */
	begun_count = idle = 0;
	join_all();
	assert_in_range(begun_count, 1, 32);
	no_timers = true;
	step();
	no_timers = false;
	assert_int_equal(begun_count, COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_begin, setup, teardown),
		cmocka_unit_test_setup_teardown(longest_first, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_while_served, setup, teardown),
		cmocka_unit_test_setup_teardown(cancelled_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_for_steps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
