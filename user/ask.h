/* SPDX-License-Identifier: BSD-2-Clause */
/* What a bottle asks to be allowed, and what became of it: as it goes from the worker, which reads the
 * bottle's bytes, to the supervisor, which looks at each field once more. */
#ifndef ASK_H
#define ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "refusal.h"

#define ASK_REASON_SIZE 512
#define ASK_ID_SIZE 32

/* Texts end in NUL, and nothing but NUL is behind that. */
struct ask {
	uint16_t port;
	uint16_t tls; /* 0: plain HTTP */
	char host[EGRESS_NAME_SIZE];
	char method[REFUSAL_METHOD_MAX + 1]; /* "": any */
	char path[REFUSAL_PATH_MAX + 1];     /* "": any */
	char reason[ASK_REASON_SIZE];	     /* the bottle's own words */
};
enum ask_state { ASK_UNKNOWN, ASK_PENDING, ASK_ALLOWED, ASK_DENIED, ASK_BUSY, ASK_INVALID, ASK_STATES };
struct ask_answer {
	uint32_t state;
	char id[ASK_ID_SIZE]; /* "" without one */
};

const char *ask_state_name(enum ask_state state); /* "pending", ... */
/* What of `from` is harmless on a terminal, cut to fit: controls, and characters that turn the line
 * round or hide a part of it (UTR 36, 2.10.3), become "?". `from` is UTF-8. */
void ask_set_reason(struct ask *ask, struct span from);
/* Host, method and path by the rules of refusal.h; NULL: fine, else what is wrong. */
const char *ask_fault(const struct ask *ask);

#endif
