/* SPDX-License-Identifier: BSD-2-Clause */
/* clock_gettime(2) as one number. The COARSE clocks are some milliseconds behind, and cost nothing: good
 * for deadlines in seconds that are looked at with each request. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* For deadlines and what is left of them, which may be less than none: hence signed. */
static inline int64_t clock_monotonic_ms(void)
{
	return (int64_t)clock_ms(CLOCK_MONOTONIC);
}

/* For what lasts seconds and is asked with each request or frame; within one process. */
static inline int64_t clock_coarse_seconds(void)
{
	return (int64_t)(clock_ms(CLOCK_MONOTONIC_COARSE) / 1000);
}

#endif
