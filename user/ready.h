/* SPDX-License-Identifier: BSD-2-Clause */
/* Telling others that we are ready: systemd by sd_notify(3)'s protocol, and anybody by a file. */
#ifndef READY_H
#define READY_H

#include "attributes.h"
#include "diag.h"

struct ready;

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, and removes what an
 * earlier process left at `file` (NULL: none). Without either, everything below does nothing. */
int ready_open(const char *file, struct ready **ret, struct error *error) WARN_UNUSED;
/* Removes the file. Accepts NULL, as all of these do. */
void ready_free(struct ready *ready);

/* READY=1 with the status, for people; the file appears, whole, with our pid in it. Also at the
 * end of a reload. */
int ready_say(struct ready *ready, const char *status, struct error *error);
/* RELOADING=1 with the time, as sd_notify(3) has it; the file stays, since the old policy goes on
 * serving. */
void ready_reloading(struct ready *ready);
/* Not ready any more, but not at the end: the file is gone, and systemd has a status to show. */
void ready_waiting(struct ready *ready, const char *status);
/* STOPPING=1; the file is gone first. */
void ready_stopping(struct ready *ready);
/* How often the watchdog wants to hear of us, halved, in milliseconds; 0: there is none. */
unsigned ready_watchdog_ms(const struct ready *ready);
/* For the watchdog: only from where a loop that hangs would not come by. */
void ready_alive(struct ready *ready);

#endif
