// SPDX-License-Identifier: BSD-2-Clause
/* Relaxed throughout: each number is true by itself, and nothing is concluded from the order of two. */
#include "tally.h"

/* Before anybody has said where: so that nobody has to ask whether somebody has. */
static uint64_t unseen[TALLY_COUNT];
static uint64_t *counters = unseen;

void tally_count_at(uint64_t *at)
{
	counters = at ? at : unseen;
	tally_forget(counters);
}

void tally_forget(uint64_t *of)
{
	__atomic_store_n(&of[TALLY_POOL_IDLE], 0, __ATOMIC_RELAXED);
}

void tally_add(enum tally which, int64_t amount)
{
	__atomic_fetch_add(&counters[which], (uint64_t)amount, __ATOMIC_RELAXED);
}
