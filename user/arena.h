/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for what is made piece by piece and freed as one, such as a policy or a document's tree. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

#include "attributes.h"
#include "bytes.h"

/* All zeros: empty. Not for secrets: nothing of it is wiped. */
struct arena {
	struct arena_block *blocks;
	size_t next_size; /* of the next block */
};

/* Zeroed, aligned for pointers and 64-bit numbers, and valid until arena_free(); NULL when out of
 * memory. */
void *arena_alloc(struct arena *arena, size_t size) WARN_UNUSED;
/* A copy with a NUL behind it; NULL when out of memory. */
char *arena_text(struct arena *arena, struct span text) WARN_UNUSED;
/* The array with room for one more item than `count`; it doubles at powers of two, and the old one
 * stays in the arena. NULL when out of memory: the array is then as it was. */
void *arena_grow(struct arena *arena, void *array, size_t count, size_t item_size) WARN_UNUSED;
/* As arena_free(), for one that is filled again and again with little: its first block stays. */
void arena_clear(struct arena *arena);
/* Leaves it empty. */
void arena_free(struct arena *arena);

#endif
