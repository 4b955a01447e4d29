/* SPDX-License-Identifier: BSD-2-Clause */
/* What a run did: the lines of its access log, read back and added up. Every text in it was
 * chosen by the bottle or by an origin. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "diag.h"
#include "reason.h"

/* Decisions that are alike in all that is here. */
struct journal_entry {
	char *key;	      /* of all that follows up to `count` */
	const char *source;   /* "proxy", "dns", "kernel" */
	const char *host;     /* or "" */
	const char *address;  /* or "" */
	const char *protocol; /* "https", "http", "h2", "tls", "tcp", ...; or "" */
	const char *method, *path; /* or "" */
	uint16_t port;
	enum egress_reason reason, audited;
	uint64_t count, bytes_up, bytes_down;
};
struct journal {
	struct journal_entry *entries; /* as they first came; journal_sort() for another order */
	size_t entry_count;
	uint64_t lost; /* decisions that are not in it: lines that could not be written or read,
			  and more different ones than are kept */
	struct json_t *index;
	char **names; /* of hosts that were given another: owned */
	size_t name_count;
};

/* An anonymous file for the lines. The caller's; -1 with `error` set. */
int journal_file(struct error *error) WARN_UNUSED;
/* The same file for writing at its end and nothing else: give it to the supervisor. The caller's; -1
 * with `error` set. */
int journal_writer(int fd, struct error *error) WARN_UNUSED;
/* Reads what was written there, from its beginning. -1 with `error` set. */
int journal_read(int fd, struct journal *ret, struct error *error) WARN_UNUSED;
/* By host, port, path, method. */
void journal_sort(struct journal *journal);
void journal_release(struct journal *journal);

#endif
