/* SPDX-License-Identifier: BSD-2-Clause */
/* The reasons of bpf/egress_abi.h as words. Calls nothing of ours. */
#ifndef REASON_H
#define REASON_H

#include "../bpf/egress_abi.h"

/* "allowed", "host_not_allowed", ...: what logs, bodies, counters and `why` print. */
const char *reason_name(enum egress_reason reason);
/* What an operator or a program can do about it: one sentence, no policy content, no NUL. */
const char *reason_cure(enum egress_reason reason);
/* The HTTP status of a refusal: 403 for policy, 400, 413/431, 502, 504, 500. */
int reason_status(enum egress_reason reason);

#endif
