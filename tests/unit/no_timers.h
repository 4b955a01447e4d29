/* SPDX-License-Identifier: BSD-2-Clause */
/* No memory for timers, or for any event: libevent's own refusal to grow its heap, at will. */
#ifndef NO_TIMERS_H
#define NO_TIMERS_H

#include <dlfcn.h>
#include <event2/event.h>
#include <stdbool.h>

static bool no_timers, no_events;

/* Stands before libevent's. What is pending has its place and is only moved. */
int event_add(struct event *event, const struct timeval *timeout)
{
	int (*add)(struct event *, const struct timeval *) =
		(int (*)(struct event *, const struct timeval *))dlsym(RTLD_NEXT, "event_add");

	if (no_events)
		return -1;
	return no_timers && timeout && !event_pending(event, EV_TIMEOUT, NULL) ? -1 : add(event, timeout);
}

#endif
