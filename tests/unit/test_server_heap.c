// SPDX-License-Identifier: BSD-2-Clause
/* When the memory of a peak is given back: once, when it is over and nobody waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "server_heap.h"
#include "stream.h"

#define SECOND 1000000u

static void test_once_after_a_peak(void **state)
{
	struct heap heap = {0};
	size_t most = 1000;

	(void)state;
	assert_false(heap_should_trim(&heap, 0, &most, 5 * SECOND)); /* it is just over */
	assert_true(heap_should_trim(&heap, 0, &most, 5 * SECOND + 100));
	assert_int_equal(most, 0);
	assert_false(heap_should_trim(&heap, 0, &most, 5 * SECOND + 200));
	most = 300;
	assert_true(heap_should_trim(&heap, 3, &most, 5 * SECOND + 300));
	assert_int_equal(most, 3);
}

/* 300 clients, and what is left for half a minute: connections to origins that wait. */
static void test_again_when_the_rest_has_gone(void **state)
{
	struct heap heap = {0};
	size_t most = 600;

	(void)state;
	assert_true(heap_should_trim(&heap, 100, &most, 0));
	assert_false(heap_should_trim(&heap, 100, &most, 0));
	assert_true(heap_should_trim(&heap, 0, &most, 0));
}

static void test_not_while_it_works(void **state)
{
	struct heap heap = {0};
	size_t most = 1000;

	(void)state;
	for (unsigned i = 1; i < 10; i++)
		assert_false(heap_should_trim(&heap, 2, &most, i * SECOND / 10));
	assert_int_equal(most, 1000);
}

static void test_not_of_what_is_wanted_again(void **state)
{
	struct heap heap = {0};
	size_t most = 1000, few = 20;

	(void)state;
	assert_false(heap_should_trim(&heap, 500, &most, 0));
	assert_true(heap_should_trim(&heap, 250, &most, 0));
	assert_false(heap_should_trim(&heap, 0, &few, 0));
	assert_int_equal(few, 20);
}

static void free_object(void *object)
{
	free(object);
}

/* Sixteen clients that go away with a hundred requests each: few connections, and a peak. */
static void test_requests_of_few_connections(void **state)
{
	static const struct stream_ops ops = {.free = free_object};
	enum { CLIENTS = 16, REQUESTS = 100 };
	struct stream *clients[CLIENTS], *requests[CLIENTS * REQUESTS];
	struct event_base *base = event_base_new();
	struct stream_use *use = stream_use();
	struct heap heap = {0};

	(void)state;
	assert_non_null(base);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = stream_new(base, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
		assert_non_null(clients[i]);
	}
	for (size_t i = 0; i < CLIENTS * REQUESTS; i++) {
		requests[i] = stream_new_framed(&ops, malloc(1));
		assert_non_null(requests[i]);
	}
	assert_int_equal(use->now, CLIENTS * (1 + REQUESTS));
	assert_false(heap_should_trim(&heap, use->now, &use->most, 0));
	for (size_t i = 0; i < CLIENTS * REQUESTS; i++)
		stream_free(requests[i]);
	for (size_t i = 0; i < CLIENTS; i++)
		stream_free(clients[i]);
	assert_int_equal(use->now, 0);
	assert_true(heap_should_trim(&heap, use->now, &use->most, 0));
	assert_int_equal(use->most, 0);
	assert_int_equal(stream_count(), 0);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once_after_a_peak),
		cmocka_unit_test(test_again_when_the_rest_has_gone),
		cmocka_unit_test(test_not_while_it_works),
		cmocka_unit_test(test_not_of_what_is_wanted_again),
		cmocka_unit_test(test_requests_of_few_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
