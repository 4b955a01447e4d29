// SPDX-License-Identifier: BSD-2-Clause
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_set_rand_method(3): a generator that fails */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "clients_context.h"

#define NUMBER 16

static void take_number(unsigned char ret[NUMBER])
{
	memset(ret, 0, NUMBER);
	assert_int_equal(RAND_bytes_ex(tls_provider_clients(), ret, NUMBER, 0), 1);
}

static void *take_numbers(void *numbers)
{
	for (int i = 0; i < 100; i++)
		take_number((unsigned char *)numbers + (size_t)i * NUMBER);
	return numbers;
}

static void assert_all_differ(const unsigned char *numbers, size_t count)
{
	static const unsigned char zeros[NUMBER];

	for (size_t i = 0; i < count; i++) {
		assert_memory_not_equal(numbers + i * NUMBER, zeros, NUMBER);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(numbers + i * NUMBER, numbers + j * NUMBER, NUMBER);
	}
}

static void take_private_numbers(unsigned char *numbers)
{
	for (size_t i = 0; i < 100; i++)
		assert_true(tls_provider_random_private(numbers + i * NUMBER, NUMBER));
}

/* Of this thread and another, before and after a fork, for everybody and for nobody to see. */
static void test_no_number_comes_twice(void **state)
{
	static unsigned char numbers[700 * NUMBER];
	const size_t hundred = 100 * NUMBER;
	pthread_t thread;
	int ends[2], status;
	pid_t child;

	(void)state;
	needs_context();
	take_numbers(numbers);
	take_private_numbers(numbers + hundred);
	assert_int_equal(pthread_create(&thread, NULL, take_numbers, numbers + 2 * hundred), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		take_numbers(numbers + 3 * hundred);
		take_private_numbers(numbers + 4 * hundred);
		_exit(write(ends[1], numbers + 3 * hundred, 2 * hundred) == (ssize_t)(2 * hundred)
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], numbers + 3 * hundred, 2 * hundred), 2 * hundred);
	close(ends[0]);
	close(ends[1]);
	take_numbers(numbers + 5 * hundred);
	take_private_numbers(numbers + 6 * hundred);
	assert_all_differ(numbers, 700);
}

static void test_numbers_of_any_length(void **state)
{
	static unsigned char bytes[100000];

	(void)state;
	needs_context();
	for (size_t length = 1; length < sizeof(bytes); length = length * 3 / 2 + 1) {
		size_t zeros = 0;

		memset(bytes, 0, sizeof(bytes));
		assert_int_equal(RAND_bytes_ex(tls_provider_clients(), bytes, length, 256), 1);
		for (size_t i = 0; i < length; i++)
			zeros += !bytes[i];
		assert_true(zeros <= 4 + length / 64);
		assert_int_equal(bytes[length], 0);
	}
	assert_int_not_equal(RAND_bytes_ex(tls_provider_clients(), bytes, 16, 257), 1);
	ERR_clear_error();
}

/* Where numbers wait: memory that a child finds wiped, and no core dump has (proc_pid_smaps(5)). */
static size_t find_store(const unsigned char **ret)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long begin = 0, end = 0, from, to;
	char line[600];
	bool found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			begin = from;
			end = to;
		}
		found = strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wf") &&
			strstr(line, " dd");
	}
	(void)fclose(maps);
	assert_true(found);
	*ret = (const unsigned char *)begin;
	return end - begin;
}

/* What was given is with who asked, and nowhere where it waited. */
static void test_numbers_are_wiped_as_they_are_taken(void **state)
{
	unsigned char number[NUMBER];
	const unsigned char *store;
	size_t size;

	(void)state;
	needs_context();
	size = find_store(&store);
	take_number(number); /* so that the next is one of many that wait */
	assert_true(tls_provider_random_private(number, NUMBER));
	take_number(number);
	assert_null(memmem(store, size, number, NUMBER));
	assert_true(tls_provider_random_private(number, NUMBER));
	assert_null(memmem(store, size, number, NUMBER));
}

/* ---- a generator that fails ----------------------------------------------------------------- */

/* What it leaves behind is no random number. */
static int give_nothing(unsigned char *ret, int length)
{
	memset(ret, 'x', (size_t)length);
	return 0;
}

/* RAND_bytes_ex(3) would ask it past the context that is tested. */
static bool take_public(unsigned char *ret, size_t length)
{
	return EVP_RAND_generate(RAND_get0_public(tls_provider_clients()), ret, length, 0, 0, NULL, 0) == 1;
}

static bool take_private(unsigned char *ret, size_t length)
{
	return tls_provider_random_private(ret, length);
}

/* What was there before is given still, once; then there is nothing, whatever is asked for, until the
 * generator does its work again. */
static void fails_with_the_generator(bool (*take)(unsigned char *ret, size_t length))
{
	static const RAND_METHOD failing = {.bytes = give_nothing};
	static const size_t lengths[] = {NUMBER, 500, 512, 513, 2000};
	static unsigned char numbers[100 * NUMBER], any[2000];
	size_t count = 2;

	assert_true(take(numbers, NUMBER));
	assert_int_equal(RAND_set_rand_method(&failing), 1);
	while (count < 99 && take(numbers + (count - 1) * NUMBER, NUMBER))
		count++;
	assert_in_range(count, 2, 1 + 512 / NUMBER);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (int again = 0; again < 2; again++)
			assert_false(take(any, lengths[i]));
	assert_int_equal(RAND_set_rand_method(NULL), 1);
	ERR_clear_error();
	assert_true(take(numbers + (count - 1) * NUMBER, NUMBER));
	assert_all_differ(numbers, count);
}

static void test_a_generator_that_fails(void **state)
{
	(void)state;
	needs_context();
	fails_with_the_generator(take_public);
	fails_with_the_generator(take_private);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_number_comes_twice),
		cmocka_unit_test(test_numbers_of_any_length),
		cmocka_unit_test(test_numbers_are_wiped_as_they_are_taken),
		cmocka_unit_test(test_a_generator_that_fails),
	};

	return cmocka_run_group_tests(tests, load_provider, NULL);
}
