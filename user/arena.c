// SPDX-License-Identifier: BSD-2-Clause
/* Blocks that double, so that a small policy takes little and a large one few blocks. The large
 * ones are mappings of their own: malloc(3) in a thread grows its heap by a page at a time
 * (mprotect(2)), and keeps what was freed. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature) /* clang, which the fuzzers are made by */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#define LARGEST_BLOCK ((size_t)1 << 20)
#if defined(__SANITIZE_ADDRESS__)
/* Each piece by itself and malloc(3)'s, so that what is written or read beside it is found. */
#define FIRST_BLOCK ((size_t)0)
#define LEAST_MAPPED SIZE_MAX
#else
#define FIRST_BLOCK ((size_t)2 << 10)
#define LEAST_MAPPED ((size_t)128 << 10)
#endif

/* Objects from the front and texts, which need no alignment, from the back. */
struct arena_block {
	struct arena_block *next;
	size_t size, low, high; /* of the whole; what is free is between the two */
};

static bool is_mapped(size_t size)
{
	return size >= LEAST_MAPPED;
}

/* Zeroed. */
static struct arena_block *block_new(size_t size)
{
	struct arena_block *block;

	if (is_mapped(size)) {
		/* Whoever has filled so much will fill this, too: a fault for each page would take
		 * longer than what is written to it. Not what is larger than a block: the lock of the
		 * process's memory is held for as long. */
		int populate = size == LARGEST_BLOCK ? MAP_POPULATE : 0;

		block = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | populate, -1, 0);
		if (block == MAP_FAILED)
			return NULL;
	} else {
		block = calloc(1, size);
		if (!block)
			return NULL;
	}
	block->size = block->high = size;
	block->low = sizeof(*block);
	return block;
}

/* Of the next block; the one behind it is twice as large. */
static size_t block_size(struct arena *arena, size_t wanted)
{
	size_t size = arena->next_size ? arena->next_size : FIRST_BLOCK;

	arena->next_size = size < LARGEST_BLOCK ? size * 2 : size;
	return wanted > size ? wanted : size;
}

/* A block with so much left. */
static struct arena_block *find_room(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;

	if (block && block->high - block->low >= size)
		return block;
	if (size > SIZE_MAX / 2)
		return NULL;
	block = block_new(block_size(arena, sizeof(*block) + size));
	if (!block)
		return NULL;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t rounded = (size + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
	struct arena_block *block = rounded >= size ? find_room(arena, rounded) : NULL;
	char *memory;

	if (!block)
		return NULL;
	memory = (char *)block + block->low;
	block->low += rounded;
	return memory;
}

char *arena_text(struct arena *arena, struct span text)
{
	struct arena_block *block = find_room(arena, text.length + 1);
	char *copy;

	if (!block)
		return NULL;
	block->high -= text.length + 1;
	copy = (char *)block + block->high;
	if (text.length > 0)
		memcpy(copy, text.data, text.length);
	return copy;
}

void *arena_grow(struct arena *arena, void *array, size_t count, size_t item_size)
{
	void *larger;

	if ((count & (count - 1)) != 0)
		return array;
	if (count > SIZE_MAX / 2 / item_size)
		return NULL;
	larger = arena_alloc(arena, (count ? count * 2 : 1) * item_size);
	if (larger && count > 0)
		memcpy(larger, array, count * item_size);
	return larger;
}

/* Zeroed again, as who allocates next expects. */
void arena_clear(struct arena *arena)
{
	struct arena_block *block = arena->blocks;

	if (!block || block->next || block->size > FIRST_BLOCK) {
		arena_free(arena);
		return;
	}
	memset(block + 1, 0, block->low - sizeof(*block));
	memset((char *)block + block->high, 0, block->size - block->high);
	block->low = sizeof(*block);
	block->high = block->size;
}

void arena_free(struct arena *arena)
{
	struct arena_block *block;

	while ((block = arena->blocks)) {
		arena->blocks = block->next;
		if (is_mapped(block->size))
			munmap(block, block->size);
		else
			free(block);
	}
	*arena = (struct arena){0};
}
