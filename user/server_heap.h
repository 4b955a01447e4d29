/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory that a peak of streams left with malloc(3). What is freed lies between what stays
 * (sessions, the pool of connections to origins), so that none of it goes back to the kernel by itself:
 * of 5,000 idle connections 80 MiB stayed for good, of 16 clients that went away in the middle of 100
 * requests each 10. */
#ifndef SERVER_HEAP_H
#define SERVER_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap {
	uint64_t cpu_us; /* of the process, when it was looked at last */
};

/* Called at each pulse, which come some seconds apart, with the streams that there are (connections on
 * both sides, idle ones too, and requests of HTTP/2) and the CPU time that the process has had. `most`:
 * the most at a time since the heap was given back. Whether it is time to: little is left of a peak, and
 * since the last pulse nearly nothing was done that would have to wait. `most` begins anew then, with
 * those that are left: when they have gone, too, what lay between them can go back. */
bool heap_should_trim(struct heap *heap, size_t streams, size_t *most, uint64_t cpu_us);
/* The same by this process's clock, and does it: the loop waits for milliseconds, after thousands of
 * connections for tens of them. */
void heap_pulse(struct heap *heap, size_t streams, size_t *most);

#endif
