/* SPDX-License-Identifier: BSD-2-Clause */
/* Events of a sidecar, asked for over its control socket, and as people read them. */
#ifndef EVENTS_H
#define EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "attributes.h"
#include "diag.h"

struct events_query {
	const char *name; /* of the bottle */
	bool follow;	  /* also what comes, until the sidecar ends */
	bool denied;	  /* only what was refused, or would be but for audit */
	uint64_t since_ms; /* of CLOCK_REALTIME; 0: all, or with `follow` from now on */
};
/* Calls `each` with each line, its line break taken off, and with NULL when no other has come yet,
 * until it returns false or the events end. -1 with `error` set. */
int events_query(const struct events_query *query, bool (*each)(void *context, const char *line),
		void *context, struct error *error) WARN_UNUSED;

/* "90s", "10m", "2h", "1d" before now, or a time of RFC 3339 in UTC; 0 when it is neither. */
uint64_t events_parse_since(const char *text);

/* "*.example.com" is any name below it, all else that name alone; NULL: every event. */
bool events_has_host(const json_t *event, const char *pattern);

/* One line in columns; what it holds was chosen by the bottle, and reaches the terminal without
 * control characters. */
void events_print_heading(FILE *to, bool colour);
void events_print(FILE *to, const json_t *event, bool colour);
/* Text of the bottle's, made harmless to a terminal: no controls, and nothing that turns the line
 * round or hides a part of it (UTR 36, 2.10.3). */
void events_print_safe(FILE *to, const char *text);
/* Whether `to` is a terminal that wants colour: isatty(3), and no NO_COLOR (no-color.org). */
bool events_wants_colour(FILE *to);

#endif
