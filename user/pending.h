/* SPDX-License-Identifier: BSD-2-Clause */
/* What was refused lately, grouped, in a table that a bottle cannot make grow: when it is full the
 * group that was seen least lately goes, and is counted. Pure: no I/O, no clock. */
#ifndef PENDING_H
#define PENDING_H

#include "attributes.h"
#include "refusal.h"

#define PENDING_GROUPS 512
#define PENDING_DENIED 256 /* of these at most are kept because an operator silenced them */
#define PENDING_SAMPLES 5  /* of one group, each with a path of its own; the newest */

struct pending_sample {
	uint64_t id;
	uint64_t time_ms;
	char *path;  /* NULL: there was no request yet */
	bool kernel; /* whose id it is: the kernel's feed, or the worker's */
	bool path_cut;
};
/* One host (or address), port, method, reason, and beginning of the path. */
struct pending_group {
	uint64_t hash, place; /* `place` is the hash without the reason */
	uint64_t seen;	      /* orders groups by when they were seen last */
	char *host, *address, *method, *prefix; /* NULL: unknown */
	char protocol[12];
	enum egress_reason reason;
	uint16_t port;
	bool denied;   /* silenced */
	bool one_path; /* so far, and `prefix` is it */
	uint64_t count, first_ms, last_ms;
	struct pending_sample samples[PENDING_SAMPLES];
	size_t sample_count;
};

struct pending;
struct pending *pending_new(void) WARN_UNUSED; /* NULL when out of memory */
void pending_free(struct pending *pending); /* accepts NULL */
/* Enters one. False when out of memory: it is then counted as lost. */
bool pending_add(struct pending *pending, const struct refusal *refusal, uint64_t time_ms, bool kernel);
/* Refusals that never came here: written over before they were read, or no records. */
void pending_lost(struct pending *pending, uint64_t count);

/* Fills `ret`, the newest first. Returns how many; valid until the next call that is not const. */
size_t pending_list(const struct pending *pending, struct pending_group *ret[PENDING_GROUPS]);
/* By the id of one of its samples; NULL: there is none. */
struct pending_group *pending_find(const struct pending *pending, uint64_t id, bool kernel,
				   const struct pending_sample **ret_sample);
/* The group of a refusal whose record is elsewhere; NULL: it was evicted. */
struct pending_group *pending_group_of(const struct pending *pending, const struct refusal *refusal);
/* Silences it, and what comes of the same place for other reasons; false: PENDING_DENIED are. */
bool pending_deny(struct pending *pending, struct pending_group *group) WARN_UNUSED;
void pending_undeny(struct pending *pending, struct pending_group *group);
uint64_t pending_evicted(const struct pending *pending); /* groups */
uint64_t pending_lost_count(const struct pending *pending);

#endif
