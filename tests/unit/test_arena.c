// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "arena.h"

static bool is_zero(const char *memory, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (memory[i])
			return false;
	return true;
}

/* Past every size of a block; what was given stays as it was written, and is nobody else's. */
static void pieces_are_zeroed_aligned_and_apart(void **state)
{
	enum { COUNT = 20000 };
	struct arena arena = {0};
	uint64_t **objects = calloc(COUNT, sizeof(*objects));
	char **texts = calloc(COUNT, sizeof(*texts)), text[32];

	(void)state;
	assert_non_null(objects);
	assert_non_null(texts);
	for (size_t i = 0; i < COUNT; i++) {
		size_t size = 8 * (1 + i % 40);

		objects[i] = arena_alloc(&arena, size);
		assert_non_null(objects[i]);
		assert_int_equal((uintptr_t)objects[i] % sizeof(uint64_t), 0);
		assert_true(is_zero((const char *)objects[i], size));
		memset(objects[i], (int)(i % 255 + 1), size);
		snprintf(text, sizeof(text), "text %zu", i);
		texts[i] = arena_text(&arena, span_from(text));
		assert_non_null(texts[i]);
	}
	for (size_t i = 0; i < COUNT; i++) {
		const unsigned char *bytes = (const unsigned char *)objects[i];

		for (size_t k = 0; k < 8 * (1 + i % 40); k++)
			assert_int_equal(bytes[k], i % 255 + 1);
		snprintf(text, sizeof(text), "text %zu", i);
		assert_string_equal(texts[i], text);
	}
	arena_free(&arena);
	assert_null(arena.blocks);
	free(objects);
	free(texts);
}

static void sizes_at_the_ends(void **state)
{
	struct arena arena = {0};
	char *large, *empty;

	(void)state;
	assert_non_null(arena_alloc(&arena, 0));
	empty = arena_text(&arena, (struct span){NULL, 0});
	assert_non_null(empty);
	assert_string_equal(empty, "");
	large = arena_alloc(&arena, (size_t)5 << 20);
	assert_non_null(large);
	assert_true(is_zero(large, (size_t)5 << 20));
	large[((size_t)5 << 20) - 1] = 1;
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 8));
	assert_null(arena_grow(&arena, large, (size_t)1 << 60, 64));
	assert_string_equal(empty, "");
	arena_free(&arena);
	arena_free(&arena);
}

static void arrays_grow(void **state)
{
	struct arena arena = {0};
	unsigned *array = NULL;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		array = arena_grow(&arena, array, i, sizeof(*array));
		assert_non_null(array);
		array[i] = i;
	}
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(array[i], i);
	arena_free(&arena);
}

/* Little or much, and what was written is zero again. */
static void cleared(void **state)
{
	static const size_t sizes[] = {8, 100, 1500, 3000, 16, (size_t)3 << 20, 24};
	struct arena arena = {0};

	(void)state;
	arena_clear(&arena);
	for (size_t i = 0; i < 3 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
		char *memory = arena_alloc(&arena, size), *text;

		assert_non_null(memory);
		assert_true(is_zero(memory, size));
		memset(memory, 'x', size);
		text = arena_text(&arena, span_from("a text"));
		assert_string_equal(text, "a text");
		memory = arena_alloc(&arena, 64);
		assert_true(is_zero(memory, 64));
		memset(memory, 'y', 64);
		assert_string_equal(text, "a text");
		arena_clear(&arena);
	}
	arena_free(&arena);
	assert_null(arena.blocks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(sizes_at_the_ends),
		cmocka_unit_test(arrays_grow),
		cmocka_unit_test(cleared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
