// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "shares.h"

static void numbers_of_others(void **state)
{
	int fd, reading;
	struct shares *all, *first, *third;

	(void)state;
	assert_int_equal(shares_memory(&fd, &reading), 0);
	all = shares_open_all(fd);
	first = shares_open(fd, reading, 0);
	third = shares_open(fd, reading, 2);
	assert_non_null(all);
	assert_non_null(first);
	assert_non_null(third);
	assert_int_equal(shares_workers(first), 1);
	*shares_held(third, 2) = 700;
	*shares_connections(third, 2) = 7;
	/* Not one of the workers yet. */
	assert_int_equal(shares_others_held(first, 0), 0);
	shares_set_workers(all, 3);
	*shares_held(first, 0) = 5;
	assert_int_equal(shares_workers(first), 3);
	assert_int_equal(shares_others_held(first, 0), 700);
	assert_int_equal(shares_others_connections(first, 0, 16384), 7);
	assert_int_equal(shares_others_held(third, 2), 5);
	assert_int_equal(*shares_held(all, 2), 700);
	/* A claim of everything does not come out as little. */
	*shares_held(all, 1) = UINT64_MAX;
	assert_true(shares_others_held(first, 0) == UINT64_MAX);
	/* Nor does one of connections take another's third. */
	*shares_connections(all, 1) = UINT64_MAX;
	assert_int_equal(shares_others_connections(first, 0, 16384), 16384 - 16384 / 3);
	shares_clear(all, 1);
	shares_clear(all, 2);
	assert_int_equal(shares_others_held(first, 0), 0);
	assert_int_equal(shares_others_connections(first, 0, 16384), 0);
	shares_set_workers(all, 100000);
	assert_int_equal(shares_workers(first), SHARES_MAX);
	assert_null(shares_open(fd, reading, SHARES_MAX));
	shares_free(all);
	shares_free(first);
	shares_free(third);
	shares_free(NULL);
	close(fd);
	close(reading);
}

/* A worker that was taken over has the mappings, and no descriptor. */
static void nobody_writes_for_others(void **state)
{
	int fd, reading;
	struct shares *one;
	char path[32];
	uintptr_t other;

	(void)state;
	assert_int_equal(shares_memory(&fd, &reading), 0);
	one = shares_open(fd, reading, 0);
	assert_non_null(one);
	other = (uintptr_t)shares_held(one, 1) & ~(uintptr_t)65535;
	assert_int_equal(mprotect((void *)other, 65536, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_true(mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, reading, 0) == MAP_FAILED);
	if (geteuid() == 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", reading);
		assert_int_equal(seteuid(65534), 0);
		assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
		assert_int_equal(seteuid(0), 0);
	}
	shares_free(one);
	close(fd);
	close(reading);
}

static uint64_t claimed;
static uint64_t held_by_others(void *context, unsigned *ret_sharers)
{
	(void)context;
	*ret_sharers = 3;
	return claimed;
}

/* Asked for now and then: after so many looks they are there. */
static size_t held_at_last(void)
{
	for (int i = 0; i < 32; i++)
		(void)bytes_held();
	return bytes_held();
}

static void part_of_the_limit(void **state)
{
	(void)state;
	bytes_set_limit(4000, NULL, NULL);
	assert_int_equal(bytes_part(), 4000);
	bytes_count_others(held_by_others, NULL);
	claimed = 1000;
	bytes_count(500);
	assert_int_equal(held_at_last(), 1500);
	assert_int_equal(bytes_part(), 1000);
	assert_int_equal(bytes_room(), 2500);
	/* Whatever they claim, a fourth is ours. */
	claimed = UINT64_MAX;
	assert_int_equal(held_at_last(), 3500);
	assert_int_equal(bytes_room(), 500);
	bytes_count(-500);
	bytes_count_others(NULL, NULL);
	assert_int_equal(bytes_held(), 0);
	bytes_set_limit(0, NULL, NULL);
	assert_int_equal(held_at_last(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_others),
		cmocka_unit_test(nobody_writes_for_others),
		cmocka_unit_test(part_of_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
