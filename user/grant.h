/* SPDX-License-Identifier: BSD-2-Clause */
/* What an operator allowed beside the policy's file: permissions with an id and an end. They live in
 * the supervisor, and are one source each of the policy that it puts in force. */
#ifndef GRANT_H
#define GRANT_H

#include "attributes.h"
#include "bytes.h"
#include "config.h"
#include "feed.h"
#include "policy_permit.h"

#define GRANTS_MAX 256
#define GRANT_SECONDS_MAX (31 * 86400)

enum grant_state {
	GRANT_NEW,	/* asked for, not in force yet */
	GRANT_IN_FORCE,
	GRANT_ENDING,	/* to be taken away, still in force */
};
struct grant {
	char id[FEED_ID_SIZE]; /* of the refusal or request that it answers */
	struct policy_permit permit; /* its texts are the grant's own */
	enum grant_state state;
	uint64_t since_ms, until_ms; /* CLOCK_REALTIME, to be shown; until 0: the run's end */
	uint64_t expires_ms;	     /* CLOCK_BOOTTIME; 0: never */
	bool persist;	   /* is in the file as well: the next reload has it from there */
	uint64_t ticket;   /* of who waits for it; control_finish() */
	char credential[512]; /* whose route's it has; "": none */
	bool makes_strict; /* policy_permit_makes_strict() of the policy before */
	int line; /* in the file, from which on its route stands; 0: it is not there, or was already */
};
/* Zero-initialised is empty. */
struct grants {
	struct grant *list;
	size_t count;
};

/* Copies the texts of `grant`; -1 with `error` set, also when there are GRANTS_MAX. */
int grants_add(struct grants *grants, const struct grant *grant, struct error *error) WARN_UNUSED;
void grants_remove(struct grants *grants, size_t index);
void grants_free(struct grants *grants); /* leaves it empty */
/* NULL: there is none. */
struct grant *grants_find(const struct grants *grants, const char *id);
/* A copy of those for which `wanted` is true; false when out of memory. */
bool grants_select(const struct grants *grants, bool (*wanted)(void *context, const struct grant *),
		   void *context, struct grants *ret) WARN_UNUSED;

/* Sources with those of the grants behind them, for config_pack(). */
struct grant_sources {
	struct config_source *list; /* the first are borrowed */
	size_t count, borrowed;
};
void grant_sources_free(struct grant_sources *sources); /* leaves it empty */

/* Parses the sources with a route for each of the grants. A grant for which the sources have no place
 * (another mode on its port, say) is removed from `grants`, and its error printed as a warning and,
 * the first, put into `dropped`: a policy that somebody wrote must not fail for it. Errors of the
 * sources go to `errors`; NULL when there was one. Each grant's `credential` is set. Caller frees
 * both. */
struct config *grants_parse(struct grants *grants, const struct config_source *sources, size_t count,
			    struct grant_sources *ret_sources, struct diag_list *errors,
			    struct error *dropped) WARN_UNUSED;

/* Adds the grant's route to the policy's file, and nothing else: the file that would be is read as a
 * policy, and differs from the one that is in that permission alone. Sets `line`, unless the file
 * allows it already. -1 with `error` set: the file is as it was. */
int grant_persist(const char *path, struct grant *grant, struct error *error) WARN_UNUSED;

#endif
