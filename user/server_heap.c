// SPDX-License-Identifier: BSD-2-Clause
#include "server_heap.h"

#include <malloc.h>
#include <time.h>

#include "bytes.h"

/* Of fewer than PEAK it is no more than a few MiB that the next ones want again, and the same goes for
 * a peak of which a quarter is still there. */
#define PEAK 64
#define LITTLE 4
/* Between two pulses: one hundredth of the time, or less. */
#define QUIET_US 20000

bool heap_should_trim(struct heap *heap, size_t streams, size_t *most, uint64_t cpu_us)
{
	bool quiet = cpu_us - heap->cpu_us <= QUIET_US;

	heap->cpu_us = cpu_us;
	if (!quiet || *most < PEAK || streams > *most / LITTLE)
		return false;
	*most = streams;
	return true;
}

void heap_pulse(struct heap *heap, size_t streams, size_t *most)
{
	struct timespec cpu;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	if (heap_should_trim(heap, streams, most,
			     (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000)) {
		bytes_block_trim();
		(void)malloc_trim(0);
	}
}
