/* SPDX-License-Identifier: BSD-2-Clause */
/* Which bottle a command speaks of. */
#ifndef CMD_BOTTLE_H
#define CMD_BOTTLE_H

#include <stdbool.h>

#include "attributes.h"
#include "diag.h"

/* `name` when it is one; the only bottle with a sidecar when it is NULL. Else an error is printed
 * and the exit status returned; 0: `ret` is the caller's to free. */
int cmd_bottle(const char *command, const char *name, char **ret) WARN_UNUSED;

/* All bottles that have a wall, into `ret` (NULL: none has), NULL-terminated; the caller frees each and the
 * array. -1 with `error` set when one cannot look: 'no bottle' would be reassuring and wrong. */
int cmd_bottles(char ***ret, struct error *error) WARN_UNUSED;

/* `why ID`: prints what became of an event, and what the policy in force answers now. Returns the
 * exit status: 0 allowed now, 1 refused or no such event. */
int cmd_why_event(const char *name, const char *id, bool json) WARN_UNUSED;

#endif
