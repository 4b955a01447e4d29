/* SPDX-License-Identifier: BSD-2-Clause */
/* How the process that speaks HTTP gives up what it was forked with. */
#ifndef UI_CONFINE_H
#define UI_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "attributes.h"

/* Nobody, without capabilities, the terminal, the environment's values, files, and sockets but those
 * that are open; it ends with `parent`. False: then do not go on. */
bool ui_confine(pid_t parent) WARN_UNUSED;

#endif
