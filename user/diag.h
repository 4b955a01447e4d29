/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages for people: one line each, on standard error. Calls nothing of ours.
 * A function either reports or returns an error, never both. No secret is ever passed here. */
#ifndef DIAG_H
#define DIAG_H

#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"

void diag_error(const char *format, ...) PRINTF(1, 2);	 /* "egress-bpf: ..." */
void diag_warning(const char *format, ...) PRINTF(1, 2); /* "egress-bpf: warning: ..." */
void diag_notice(const char *format, ...) PRINTF(1, 2);	 /* "egress-bpf: ...", off with quiet */
void diag_set_quiet(bool quiet);

/* An error on its way up: one line, filled once (later calls keep the first). Zero-init. */
struct error {
	char text[512];
};
/* Always returns -1, so that a caller can `return error_set(...)`. `error` may be NULL. */
int error_set(struct error *error, const char *format, ...) PRINTF(2, 3);
int error_no_memory(struct error *error);
/* Whether it is the one that error_no_memory() sets. */
bool error_is_no_memory(const struct error *error);

/* All the errors of a file at once. Zero-initialised is empty; diag_list_free() empties it. */
struct diag_item {
	char *source; /* file name, or the option that the text came from */
	int line;     /* from 1; 0 when there is none */
	char *text;
};
struct diag_list {
	struct diag_item *items;
	size_t count; /* of all that were added: none is taken for none because there is no room */
	size_t kept;  /* of `items`: the first DIAG_KEPT, and one that says how many more there are */
	bool no_memory; /* counted like the others; these may only follow from it, and are not shown */
};
#define DIAG_KEPT 250
void diag_list_add(struct diag_list *list, const char *source, int line, const char *format, ...)
	PRINTF(4, 5);
/* The same of an error that came up; diag_list_no_memory() for what error_no_memory() sets. */
void diag_list_add_error(struct diag_list *list, const char *source, int line,
			 const struct error *error);
/* Needs none itself. diag_list_add() calls it when an error cannot be kept. */
void diag_list_no_memory(struct diag_list *list);
/* "FILE:LINE: text" of the first, where there is one. */
void diag_list_first(const struct diag_list *list, struct error *ret);
void diag_list_print(const struct diag_list *list); /* "egress-bpf: FILE:LINE: text", sorted */
void diag_list_warn(const struct diag_list *list);  /* the same, each as a warning */
void diag_list_free(struct diag_list *list);

#endif
