/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits that hold for all workers of a bottle together: how much of them each has taken, in memory
 * where each writes its own number and reads the others'. None of them can write another's, and what
 * one that was taken over claims leaves the others their part. */
#ifndef SHARES_H
#define SHARES_H

#include <stdint.h>

#include "attributes.h"

#define SHARES_MAX 64 /* workers */

struct shares;

/* New memory, all zero, of a size that nobody can change; and the same for reading only, whatever is
 * done with it. Both are the caller's. 0 or -errno. */
int shares_memory(int *ret_fd, int *ret_reading) WARN_UNUSED;
/* The supervisor's: every number can be written. NULL with errno set. Caller frees. */
struct shares *shares_open_all(int fd) WARN_UNUSED;
/* A worker's: its own numbers can be written, `slot` of SHARES_MAX, for as long as it lives. The
 * descriptors are to be closed before anybody's bytes are read. */
struct shares *shares_open(int fd, int reading, unsigned slot) WARN_UNUSED;
void shares_free(struct shares *shares); /* accepts NULL */

/* The supervisor's: so many share from now on; nobody has this slot any more. */
void shares_set_workers(struct shares *shares, unsigned count);
void shares_clear(struct shares *shares, unsigned slot);

/* 1 to SHARES_MAX. */
unsigned shares_workers(const struct shares *shares);
/* A slot's own numbers: bytes that buffers hold, and connections. */
uint64_t *shares_held(struct shares *shares, unsigned slot);
uint64_t *shares_connections(struct shares *shares, unsigned slot);
/* What all but one have taken; UINT64_MAX when it is more than that. */
uint64_t shares_others_held(const struct shares *shares, unsigned slot);
/* Of connections at most what leaves `slot` its part of `limit`: else one that was taken over would end
 * all accepting but its own by its claim alone. */
uint64_t shares_others_connections(const struct shares *shares, unsigned slot, uint64_t limit);

#endif
