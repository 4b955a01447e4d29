// SPDX-License-Identifier: BSD-2-Clause
#include "ledger_shared.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define PAIR_LIMIT 16384
#define SLOTS (2 * PAIR_LIMIT) /* a power of two */

struct pair {
	char *name;
	struct egress_address address;
};

struct ledger_shared {
	struct pair *pairs;
	size_t count, capacity;
	uint32_t slots[SLOTS]; /* open addressing: 0 free, else an index + 1 */
};

struct ledger_shared *ledger_shared_new(void)
{
	return calloc(1, sizeof(struct ledger_shared));
}

void ledger_shared_clear(struct ledger_shared *shared)
{
	for (size_t i = 0; i < shared->count; i++)
		free(shared->pairs[i].name);
	shared->count = 0;
	memset(shared->slots, 0, sizeof(shared->slots));
}

void ledger_shared_free(struct ledger_shared *shared)
{
	if (!shared)
		return;
	ledger_shared_clear(shared);
	free(shared->pairs);
	free(shared);
}

/* Where the pair is, or is to go. Pairs only come one by one, and go all at once: no gap breaks a walk. */
static uint32_t *slot_of(struct ledger_shared *shared, const char *name,
			 const struct egress_address *address)
{
	size_t at = bytes_hash(name, strlen(name)) ^ bytes_hash(address, sizeof(*address));

	for (;; at++) {
		uint32_t *slot = &shared->slots[at & (SLOTS - 1)];
		const struct pair *pair = *slot ? &shared->pairs[*slot - 1] : NULL;

		if (!pair || (memcmp(&pair->address, address, sizeof(*address)) == 0 &&
			      strcmp(pair->name, name) == 0))
			return slot;
	}
}

/* The table of slots is twice as large as the pairs can become, so that a free one always ends the walk
 * of slot_of(); only the pairs themselves grow. */
static bool make_room(struct ledger_shared *shared)
{
	size_t capacity = shared->capacity ? 2 * shared->capacity : 64;
	struct pair *pairs;

	if (shared->count < shared->capacity)
		return true;
	if (shared->count >= PAIR_LIMIT)
		return false;
	pairs = reallocarray(shared->pairs, capacity, sizeof(*pairs));
	if (!pairs)
		return false;
	shared->pairs = pairs;
	shared->capacity = capacity;
	return true;
}

void ledger_shared_add(struct ledger_shared *shared, const char *name,
		       const struct egress_address *address)
{
	uint32_t *slot = slot_of(shared, name, address);
	char *copy;

	if (*slot || !make_room(shared))
		return;
	copy = strdup(name);
	if (!copy)
		return;
	shared->pairs[shared->count].name = copy;
	shared->pairs[shared->count].address = *address;
	*slot = (uint32_t)++shared->count;
}

static int by_address(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return memcmp(&x->address, &y->address, sizeof(x->address));
}

/* Over a sorted copy: the slots hold indices into the order in which pairs came, which has to stay. */
int ledger_shared_each(struct ledger_shared *shared,
		       int (*each)(void *context, const struct egress_address *address,
				   const char *const *names, size_t count),
		       void *context)
{
	struct pair *sorted = calloc(shared->count + 1, sizeof(*sorted));
	const char **names = calloc(shared->count + 1, sizeof(*names));
	int result = sorted && names ? 0 : -1;

	if (result == 0 && shared->count > 0)
		memcpy(sorted, shared->pairs, shared->count * sizeof(*sorted));
	if (result == 0)
		qsort(sorted, shared->count, sizeof(*sorted), by_address);
	for (size_t i = 0; i < shared->count && result == 0;) {
		size_t first = i;

		while (i < shared->count && by_address(&sorted[first], &sorted[i]) == 0) {
			names[i - first] = sorted[i].name;
			i++;
		}
		result = each(context, &sorted[first].address, names, i - first);
	}
	free(sorted);
	free(names);
	return result;
}
