// SPDX-License-Identifier: BSD-2-Clause
/* Names to pointers, by open addressing. The hash is keyed (bytes_hash()): hosts come from the
 * bottle, and must not be made to collide. */
#include "policy_internal.h"

#define TABLE_MIN_CAPACITY 2 /* most hosts have one path */

/* The slot that holds the key, or the free one where it would go. At most half the slots are
 * taken, so the walk ends. */
static struct policy_slot *find_slot(const struct policy_table *table, struct span key,
				     uint64_t hash)
{
	size_t mask = table->capacity - 1;

	for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
		struct policy_slot *slot = &table->slots[i];

		if (!slot->value || (slot->hash == hash && span_equal(slot->key, key)))
			return slot;
	}
}

void *policy_table_get(const struct policy_table *table, struct span key)
{
	if (table->count == 0)
		return NULL;
	return find_slot(table, key, bytes_hash(key.data, key.length))->value;
}

/* The old table stays whole until the new one is filled. */
static bool table_resize(struct policy_table *table, size_t capacity)
{
	struct policy_table larger = *table;

	larger.capacity = capacity;
	larger.slots = arena_alloc(table->arena, capacity * sizeof(*larger.slots));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < table->capacity; i++) {
		const struct policy_slot *slot = &table->slots[i];

		if (slot->value)
			*find_slot(&larger, slot->key, slot->hash) = *slot;
	}
	*table = larger;
	return true;
}

bool policy_table_reserve(struct policy_table *table, size_t count)
{
	size_t capacity = TABLE_MIN_CAPACITY;

	while (capacity / 2 < count)
		capacity *= 2;
	return capacity <= table->capacity || table_resize(table, capacity);
}

bool policy_table_put(struct policy_table *table, struct span key, void *value)
{
	uint64_t hash = bytes_hash(key.data, key.length);

	if (!policy_table_reserve(table, table->count + 1))
		return false;
	*find_slot(table, key, hash) = (struct policy_slot){key, hash, value};
	table->count++;
	return true;
}
