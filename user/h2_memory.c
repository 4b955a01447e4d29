// SPDX-License-Identifier: BSD-2-Clause
/* What nghttp2 holds for a session: counted, since a peer decides how much that is. */
#include <malloc.h>
#include <stdlib.h>

#include "h2_private.h"

/* Of a stream, and wanted again by the next one; what is larger is a session's, and stays. */
#define STREAMS_MAX 1024

/* Frames wait in nghttp2, heads of 64 KiB among them: a peer that reads nothing makes it hold them. */
static void note_memory(struct h2 *h2, void *block, int sign)
{
	ptrdiff_t size = sign * (ptrdiff_t)malloc_usable_size(block);

	h2->memory += (size_t)size;
	bytes_count(size);
}

static void *count_malloc(size_t size, void *h2)
{
	void *block = size <= STREAMS_MAX ? bytes_block(size) : malloc(size);

	note_memory(h2, block, 1);
	return block;
}

static void count_free(void *block, void *h2)
{
	note_memory(h2, block, -1);
	bytes_block_free(block);
}

static void *count_calloc(size_t count, size_t size, void *h2)
{
	size_t all;
	void *block = NULL;

	if (!__builtin_mul_overflow(count, size, &all))
		block = all <= STREAMS_MAX ? bytes_block_zeroed(all) : calloc(1, all);
	note_memory(h2, block, 1);
	return block;
}

static void *count_realloc(void *block, size_t size, void *h2)
{
	void *grown;

	note_memory(h2, block, -1);
	/* Counted off first: the old block's size cannot be asked for afterwards. */
	grown = realloc(block, size);
	note_memory(h2, grown ? grown : block, 1);
	return grown;
}

nghttp2_mem h2_memory(struct h2 *h2)
{
	return (nghttp2_mem){h2, count_malloc, count_free, count_calloc, count_realloc};
}
