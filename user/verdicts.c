// SPDX-License-Identifier: BSD-2-Clause
/* Counts in shared memory, without a system call for each decision. The worker is untrusted with
 * it: the numbers are shown to people and decide nothing. */
#include "verdicts.h"

#include <stdlib.h>
#include <sys/mman.h>

struct verdicts {
	uint64_t *reasons;
	struct egress_host_verdicts *hosts;
};

#define REASONS_SIZE (EGRESS_REASON_COUNT * sizeof(uint64_t))
#define HOSTS_SIZE (EGRESS_MAX_COUNTED_HOSTS * sizeof(struct egress_host_verdicts))

/* 0, or -1 when there is a descriptor that cannot be mapped. */
static int map_counters(int fd, size_t size, void **ret_memory)
{
	void *memory;

	if (fd < 0)
		return 0;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -1;
	*ret_memory = memory;
	return 0;
}

struct verdicts *verdicts_new(int verdicts_fd, int host_verdicts_fd)
{
	struct verdicts *verdicts = calloc(1, sizeof(*verdicts));

	if (!verdicts)
		return NULL;
	if (map_counters(verdicts_fd, REASONS_SIZE, (void **)&verdicts->reasons) < 0 ||
	    map_counters(host_verdicts_fd, HOSTS_SIZE, (void **)&verdicts->hosts) < 0) {
		verdicts_free(verdicts);
		return NULL;
	}
	return verdicts;
}

/* Several workers may share the memory. */
static void add(uint64_t *counter, uint64_t amount)
{
	__atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

void verdicts_count(struct verdicts *verdicts, enum egress_reason reason, uint32_t host_id,
		    uint64_t bytes_up, uint64_t bytes_down)
{
	struct egress_host_verdicts *host;

	if (verdicts->reasons && reason < EGRESS_REASON_COUNT)
		add(&verdicts->reasons[reason], 1);
	if (!verdicts->hosts || host_id == 0 || host_id >= EGRESS_MAX_COUNTED_HOSTS)
		return;
	host = &verdicts->hosts[host_id];
	add(reason == EGRESS_ALLOWED ? (uint64_t *)&host->allowed : (uint64_t *)&host->refused, 1);
	add((uint64_t *)&host->bytes_up, bytes_up);
	add((uint64_t *)&host->bytes_down, bytes_down);
}

void verdicts_free(struct verdicts *verdicts)
{
	if (!verdicts)
		return;
	if (verdicts->reasons)
		munmap(verdicts->reasons, REASONS_SIZE);
	if (verdicts->hosts)
		munmap(verdicts->hosts, HOSTS_SIZE);
	free(verdicts);
}
