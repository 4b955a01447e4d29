/* SPDX-License-Identifier: BSD-2-Clause */
/* For a process that answers another one until it is asked to stop. */
#ifndef STOP_SIGNALS_H
#define STOP_SIGNALS_H

#include <stdbool.h>

#include "attributes.h"

/* From here on SIGTERM and SIGINT, and SIGHUP where the terminal's end is ours, stop the process in
 * order: they are blocked but in stop_signals_wait(), as in every child that is forked from now on. */
void stop_signals_catch(bool hangup);
/* Waits for input, or the end of it, at `fd`: true. False: a signal has come. */
bool stop_signals_wait(int fd) WARN_UNUSED;
bool stop_signals_came(void) WARN_UNUSED;

#endif
