/* SPDX-License-Identifier: BSD-2-Clause */
/* Time that passes when a test says so, and nobody sleeps: a busy machine would be late for a deadline that
 * must not have come yet. */
#ifndef LATER_H
#define LATER_H

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long later_ms;

/* As time(7) says it, and so much later: libevent's clock as well. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	long result = syscall(SYS_clock_gettime, clock, ret);

	ret->tv_nsec += later_ms % 1000 * 1000000;
	ret->tv_sec += later_ms / 1000 + ret->tv_nsec / 1000000000;
	ret->tv_nsec %= 1000000000;
	return (int)result;
}

#endif
