// SPDX-License-Identifier: BSD-2-Clause
/* When the memory of a peak is given back: once, when it is over and nobody waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server_heap.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once_after_a_peak),
		cmocka_unit_test(test_not_while_it_works),
		cmocka_unit_test(test_not_of_what_is_wanted_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
