// SPDX-License-Identifier: BSD-2-Clause
#include "loop.h"

#include <stddef.h>
#include <sys/epoll.h>

static _Thread_local unsigned turn;
static _Thread_local bool told_all;

/* Stands before the C library's in the order of symbols, so that libevent calls this one. It asks for 32
 * events at first, and for twice as many whenever it got so many, and has no call that tells of either.
 * Without a mask of signals epoll_pwait(2) is the same. */
int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
	int count = epoll_pwait(fd, events, most, timeout, NULL);

	turn++;
	told_all = count >= 0 && count < most;
	return count;
}

unsigned loop_turn(void)
{
	return turn;
}

bool loop_was_told_all(void)
{
	return told_all;
}
