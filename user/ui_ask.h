/* SPDX-License-Identifier: BSD-2-Clause */
/* What the process that speaks HTTP may ask of the one with rights, over a SOCK_SEQPACKET pair: a
 * request is one JSON object as control.h has it, the answer a descriptor to read, or an error. The
 * one with rights reads no byte of an answer, and so none that a bottle chose. */
#ifndef UI_ASK_H
#define UI_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "attributes.h"
#include "diag.h"

/* The side without rights. Waits for the other, which answers at once or, where a sidecar hangs, in
 * some seconds. `request` is taken over; the descriptor is the caller's: a file to read from its
 * beginning, or a connection to the sidecar. -1 with `error` set. */
int ui_ask(int pair, json_t *request, struct error *error) WARN_UNUSED;

/* The side with rights: answers one request about the bottle `name`. False: the other side is gone. */
bool ui_answer(int pair, const char *name) WARN_UNUSED;

#endif
