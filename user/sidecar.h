/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bottle's sidecar on Docker, by its plan. Three containers, named after the plan's slug:
 *
 *   egress-bpf-SLUG-net     holds the bottle's network namespace and its cgroup: `egress-bpf pause`
 *   egress-bpf-SLUG         the sidecar; sees of the machine the plan, the pins, the cgroups, and
 *                           of its processes the holder
 *   egress-bpf-SLUG-bottle  only where `start` was given an image
 *
 * Whatever joins the holder's network and its cgroup parent is in the bottle, from its first
 * instruction on, and may restart as it likes: the wall is round the parent.
 */
#ifndef SIDECAR_H
#define SIDECAR_H

#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "diag.h"
#include "engine.h"
#include "plan.h"

#define SIDECAR_PREFIX "egress-bpf-"
#define SIDECAR_NAME_SIZE 80

struct sidecar_options {
	const struct plan *plan;
	const char *image;	  /* of egress-bpf */
	const char *bottle_image; /* NULL: somebody else starts the bottle */
	char *const *command;	  /* of the bottle, NULL-terminated; none: the image's own */
	unsigned seconds;	  /* how long the sidecar may take to be ready */
};
struct sidecar_names {
	char holder[SIDECAR_NAME_SIZE], sidecar[SIDECAR_NAME_SIZE], bottle[SIDECAR_NAME_SIZE];
	char network[SIDECAR_NAME_SIZE + 16]; /* "container:HOLDER" */
	char parent[SIDECAR_NAME_SIZE];	      /* for --cgroup-parent */
};

/* Starts it all and waits until the sidecar serves. Every unset or empty token is told, and then
 * nothing was begun; else what was begun is undone. A holder that still runs, with its bottle, is
 * taken over; a sidecar that still runs is given the plan's routes and tokens, together, and goes on
 * with its old ones when it refuses them. A bottle that runs is left alone. */
int sidecar_start(struct engine *engine, const struct sidecar_options *options,
		  struct sidecar_names *ret_names, struct error *error) WARN_UNUSED;
/* Ends and removes all of it, the wall last. 0 also when nothing was there. The wall stays, and -1
 * is returned, when somebody else's processes are still in the bottle. */
int sidecar_stop(struct engine *engine, const char *slug, struct error *error) WARN_UNUSED;
/* For the engine's cgroup driver. */
int sidecar_names(struct engine *engine, const char *slug, struct sidecar_names *ret,
		  struct error *error) WARN_UNUSED;

/* ---- sidecar_files.c: what it is given without a trace on disk --------------------------------- */

struct sidecar_files {
	char *directory; /* on a tmpfs, root's alone */
	char *plan;	 /* below it: the plan's files and its tokens, one directory for each generation,
			  * and a link `current`: a slot's name must never meet another plan's token */
	char *state;
	char *bundle; /* the host's roots and the bottle's CA, for the bottle */
};
#define SIDECAR_TOKENS "tokens" /* in a generation */

/* One start of a bottle at a time, for which the next waits (`wait`) or not: two would fill one generation
 * with the routes of the one and the tokens of the other. The descriptor is for sidecar_files_unlock(),
 * which accepts -1. */
int sidecar_files_lock(const char *slug, bool wait, struct error *error) WARN_UNUSED;
void sidecar_files_unlock(const char *slug, int fd);
/* Makes the directory anew, with every token of the plan from our environment. */
int sidecar_files_make(const struct plan *plan, struct sidecar_files *ret, struct error *error)
	WARN_UNUSED;
/* Those of a sidecar that was started. */
int sidecar_files_find(const char *slug, struct sidecar_files *ret, struct error *error)
	WARN_UNUSED;
void sidecar_files_free(struct sidecar_files *files); /* the files stay */
/* The next generation, which is not the current one yet; sidecar_files_switch() makes it that. */
int sidecar_files_put(const struct sidecar_files *files, const struct plan *plan,
		      unsigned *ret_generation, struct error *error) WARN_UNUSED;
int sidecar_files_switch(const struct sidecar_files *files, unsigned generation,
			 struct error *error) WARN_UNUSED;
/* Its number and its directory, which the caller frees; 0 when there is none. */
unsigned sidecar_files_current(const struct sidecar_files *files, char **ret_path) WARN_UNUSED;
/* Removes the generations beside the current one, with their tokens. */
void sidecar_files_sweep(const struct sidecar_files *files);
/* The start has come to its end: until then sidecar_files_unfinished() is true, also when it was
 * killed, and then the engine may still be at what it was asked for last. */
void sidecar_files_finish(const struct sidecar_files *files);
bool sidecar_files_unfinished(const char *slug);
/* 0 also when there are none. */
int sidecar_files_remove(const char *slug, struct error *error) WARN_UNUSED;
/* Every variable that is unset, and every one that is empty. */
bool sidecar_tokens_check(const struct plan *plan, struct diag_list *errors);

/* ---- sidecar_spec.c: the containers as the engine's API has them; NULL: out of memory ---------- */

json_t *sidecar_spec_holder(const struct sidecar_options *options,
			    const struct sidecar_names *names) WARN_UNUSED;
/* `cgroup_root`: where cgroup v2 is mounted; `cgroup`: the bottle's. */
json_t *sidecar_spec_sidecar(const struct sidecar_options *options,
			     const struct sidecar_names *names, const struct sidecar_files *files,
			     const char *cgroup_root, const char *cgroup) WARN_UNUSED;
json_t *sidecar_spec_bottle(const struct sidecar_options *options,
			    const struct sidecar_names *names, const struct sidecar_files *files)
	WARN_UNUSED;

#endif
