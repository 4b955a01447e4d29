/* SPDX-License-Identifier: BSD-2-Clause */
/* What a run is to leave behind: a learned policy, a report, a summary. */
#ifndef RECORD_H
#define RECORD_H

#include "report.h"

struct record_options {
	const char *learn_path;	  /* the policy goes there; NULL: nothing is learned */
	const char *report_path;  /* JSON, replaced */
	const char *summary_path; /* Markdown, appended */
	bool wildcards;		  /* of the learned policy */
};
/* Opens all files, so that what cannot be written is known before the run. `ret` is NULL when
 * nothing is wanted. -1 with `error` set. */
struct record;
int record_open(const struct record_options *options, struct record **ret, struct error *error)
	WARN_UNUSED;
/* What the supervisor is to write decisions to (borrowed); -1 for NULL. */
int record_fd(const struct record *record);
/* Writes everything, once all who write to record_fd() have ended, and while the wall still stands.
 * `facts` needs no journal and no status. `what` is named in the learned policy's head. Errors are
 * printed. Accepts NULL. */
void record_write(struct record *record, const struct report *facts, const char *what);
void record_free(struct record *record);

/* The source that makes a policy learn: nothing that has a name is refused. */
#define RECORD_LEARN_SOURCE "routes: []\nenforcement: audit\n"

#endif
