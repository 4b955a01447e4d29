/* SPDX-License-Identifier: BSD-2-Clause */
/* The one line that exec says at its end. */
#ifndef BOTTLE_SUMMARY_H
#define BOTTLE_SUMMARY_H

#include <stddef.h>

#include "kernel.h"

/* "N allowed, M refused: HOST (12), HOST refused (3), address_not_allowed (1); of these bad_request
 * (2)", cut at `size`. */
void bottle_summary(const struct kernel_status *status, char *ret_line, size_t size);

#endif
