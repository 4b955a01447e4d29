/* SPDX-License-Identifier: BSD-2-Clause */
/* One more entry of `routes` in a policy's text and file. All else stays as it was written, to the
 * byte. */
#ifndef CONFIG_EDIT_H
#define CONFIG_EDIT_H

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

struct config_place {
	size_t offset; /* in bytes */
	int line;
	bool flow;     /* the list is in brackets: the entry has to be, too */
	bool empty;    /* it has no entry yet */
	bool crlf;     /* lines end so */
	bool break_before; /* the text's last line has no end */
	char indent[64];   /* of the entries' "-"; not in flow style */
};
/* Where another entry goes: behind the last. -1 with `error` set. */
int config_find_place(struct span text, struct config_place *ret, struct error *error) WARN_UNUSED;
/* Appends the text with the entry (whole lines, or one value in flow style) in that place. False when
 * out of memory. */
bool config_insert(struct span text, const struct config_place *place, const char *entry,
		   struct bytes *ret) WARN_UNUSED;

/* Replaces a file whose content is `old` by one with `text`, of the same owner, mode and extended
 * attributes, in one step. 1: it has another content, or somebody is writing it, and it is as it was;
 * -1 with `error` set: it cannot be replaced, and is as it was. An edit of somebody else is never
 * lost. */
int config_replace_file(const char *path, struct span old, struct span text, struct error *error)
	WARN_UNUSED;

#endif
