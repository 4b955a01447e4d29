/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers that are many and have the same time to run. libevent keeps them in a queue for that time, not
 * in its heap, where of a thousand timers each that is deleted moves a dozen others. */
#ifndef TIMEOUT_H
#define TIMEOUT_H

#include <event2/event.h>

/* As event_add(). For the few durations that the program knows: each is a queue of the base for ever, and
 * libevent has room for 256 of them. */
static inline int timeout_add(struct event *timer, unsigned milliseconds)
{
	struct timeval duration = {milliseconds / 1000, milliseconds % 1000 * 1000};
	const struct timeval *queue =
		event_base_init_common_timeout(event_get_base(timer), &duration);

	return event_add(timer, queue ? queue : &duration);
}

/* In the loop's next turn, behind what the kernel has to tell by then: what is activated alone has its
 * turn before that. Needs no memory. */
static inline void timeout_soon(struct event *timer)
{
	if (event_add(timer, &(struct timeval){0}) == 0)
		return;
	event_active(timer, EV_TIMEOUT, 0);
	(void)event_base_loopcontinue(event_get_base(timer));
}

#endif
