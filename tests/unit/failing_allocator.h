/* SPDX-License-Identifier: BSD-2-Clause */
/* OpenSSL's allocator, one of whose allocations fails. For CRYPTO_set_mem_functions(3), before OpenSSL's first. */
#ifndef FAILING_ALLOCATOR_H
#define FAILING_ALLOCATOR_H

#include <stdbool.h>
#include <stdlib.h>

static struct {
	long at, count; /* which one fails, from 1 on; 0: none */
} heap;

static bool fails(void)
{
	return heap.at != 0 && ++heap.count == heap.at;
}

static void *allocate(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fails() ? NULL : malloc(size);
}

static void *reallocate(void *old, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return fails() ? NULL : realloc(old, size);
}

static void release(void *memory, const char *file, int line)
{
	(void)file, (void)line;
	free(memory);
}

static void fail_at(long at)
{
	heap.at = at;
	heap.count = 0;
}

#endif
