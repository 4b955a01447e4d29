/* SPDX-License-Identifier: BSD-2-Clause */
/* What libevent does not say of its loop: when it asked the kernel, and whether it was told all. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>

/* How often the event loop of this thread has asked the kernel what is ready; for one loop to a thread.
 * Of two calls that give the same number the kernel may not have been asked in between. */
unsigned loop_turn(void);
/* Whether the last answer was all that was ready then. False when the loop had asked for no more events
 * than it got, when asking failed, and where it does not ask by epoll_wait(2). */
bool loop_was_told_all(void);

#endif
