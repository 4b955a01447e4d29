// SPDX-License-Identifier: BSD-2-Clause
#include "shares.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The largest page of any machine: what one may write begins at one, and nobody else's is in it. */
#define STRIDE ((size_t)64 * 1024)
#define SIZE ((1 + SHARES_MAX) * STRIDE)

/* The first place is the supervisor's and has their number. */
struct place {
	uint64_t workers;
	uint64_t held, connections;
};

struct shares {
	char *all; /* of a worker: for reading */
	char *own; /* a worker's; NULL: `all` can be written */
	unsigned slot;
};

static struct place *place_of(const struct shares *shares, unsigned slot)
{
	if (shares->own && slot == shares->slot)
		return (struct place *)shares->own;
	return (struct place *)(shares->all + (1 + (slot < SHARES_MAX ? slot : 0)) * STRIDE);
}

/* Each number stands for itself, so no order among them is needed; only that none is read half. */
static uint64_t load(const uint64_t *from)
{
	return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static void store(uint64_t *to, uint64_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELAXED);
}

/* Opened anew, a file for reading cannot be mapped for writing later; a duplicate could. With no
 * rights for others, who has no descriptor for writing gets none. Sealed, for a worker that made it
 * shorter would end all others by SIGBUS. */
int shares_memory(int *ret_fd, int *ret_reading)
{
	int fd = memfd_create("egress-bpf-shares", MFD_CLOEXEC | MFD_ALLOW_SEALING), reading = -1;
	char path[32];
	int saved;

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fchmod(fd, 0600) == 0 && ftruncate(fd, (off_t)SIZE) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		reading = open(path, O_RDONLY | O_CLOEXEC);
	if (reading < 0) {
		saved = errno;
		close(fd);
		return -saved;
	}
	*ret_fd = fd;
	*ret_reading = reading;
	return 0;
}

static char *map(int fd, int protection, size_t length, size_t offset)
{
	void *memory = mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)offset);

	return memory == MAP_FAILED ? NULL : memory;
}

struct shares *shares_open_all(int fd)
{
	struct shares *shares = calloc(1, sizeof(*shares));

	if (!shares)
		return NULL;
	shares->all = map(fd, PROT_READ | PROT_WRITE, SIZE, 0);
	if (shares->all)
		return shares;
	free(shares);
	return NULL;
}

struct shares *shares_open(int fd, int reading, unsigned slot)
{
	struct shares *shares = slot < SHARES_MAX ? calloc(1, sizeof(*shares)) : NULL;

	if (!shares)
		return NULL;
	shares->slot = slot;
	shares->all = map(reading, PROT_READ, SIZE, 0);
	shares->own = map(fd, PROT_READ | PROT_WRITE, STRIDE, (1 + slot) * STRIDE);
	if (shares->all && shares->own)
		return shares;
	shares_free(shares);
	return NULL;
}

void shares_free(struct shares *shares)
{
	if (!shares)
		return;
	if (shares->all)
		munmap(shares->all, SIZE);
	if (shares->own)
		munmap(shares->own, STRIDE);
	free(shares);
}

void shares_set_workers(struct shares *shares, unsigned count)
{
	store(&((struct place *)shares->all)->workers, count);
}

void shares_clear(struct shares *shares, unsigned slot)
{
	store(shares_held(shares, slot), 0);
	store(shares_connections(shares, slot), 0);
}

unsigned shares_workers(const struct shares *shares)
{
	uint64_t count = load(&((const struct place *)shares->all)->workers);

	return count < 1 ? 1 : count > SHARES_MAX ? SHARES_MAX : (unsigned)count;
}

uint64_t *shares_held(struct shares *shares, unsigned slot)
{
	return &place_of(shares, slot)->held;
}

uint64_t *shares_connections(struct shares *shares, unsigned slot)
{
	return &place_of(shares, slot)->connections;
}

/* What a taken worker claims may be any number: a sum that wraps round would be a small one. */
static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Places beyond the number of workers are not looked at, which would give them memory. */
uint64_t shares_others_held(const struct shares *shares, unsigned slot)
{
	const unsigned count = shares_workers(shares);
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		if (i != slot)
			sum = add(sum, load(&place_of(shares, i)->held));
	return sum;
}

uint64_t shares_others_connections(const struct shares *shares, unsigned slot, uint64_t limit)
{
	const unsigned count = shares_workers(shares);
	const uint64_t most = limit - limit / count;
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		if (i != slot)
			sum = add(sum, load(&place_of(shares, i)->connections));
	return sum < most ? sum : most;
}
