/* SPDX-License-Identifier: BSD-2-Clause */
/* The supervisor's control socket, /run/egress-bpf/NAME.sock: for root outside of the bottle alone.
 * One request per connection, a line of JSON with "command"; the answer is one line of JSON, and for
 * "events" as many lines after it as there are. */
/*
 * What is asked for approvals (supervisor_pending.c, supervisor_approve.c); times are milliseconds of
 * CLOCK_REALTIME, what is unknown is left out, texts of the bottle's hold no control characters:
 *
 * {"command":"pending","all":BOOL}   `all`: also what is denied or allowed by now
 *   {"groups":[{"id","state","reason","host","address","port","protocol","method","path",
 *               "one_path","count","first","last","allowable","cure","samples":[S...]}],
 *    "asks":[{"id","state","host","port","tls","method","path","reason","time"}],
 *    "grants":[G...], "evicted":N, "lost":N, "unlisted":N}
 *   state is pending, denied or allowed; `path` of a group is the one path (`one_path`) or how its
 *   paths begin; `cure` says why no grant can allow it, and what would (`allowable` false). `id` is
 *   the newest sample's. An ask is what the bottle asks for; its `reason` is its own words. S is
 *   {"id","time","allowed","path"}. Newest first. `evicted` counts groups that had to make room,
 *   `lost` refusals that were never read, `unlisted` groups that the answer has no room for.
 *   G is {"id","host","port","tls","since","until","persist","in_force","credential","method",
 *   "path","path_type"}: no method or path is every one; `path_type` exact or prefix; `until` null is
 *   the end of the run; `credential` names the route whose credential it has, "" is none.
 * {"command":"allow","id":ID,"for":SECONDS,"persist":BOOL,"path":PREFIX,"method":M,"credential":BOOL}
 *   all but id may be left out; "*" is every method. Answered when it is in force, which may take
 *   seconds: G with "ok":true; with `persist` also "file" and "line"; "note" when there is one.
 * {"command":"deny","id":ID}         {"ok":true}, when a grant of the id has ended
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "attributes.h"
#include "diag.h"
#include "feed.h"

#define CONTROL_DIRECTORY "/run/egress-bpf"
#define CONTROL_SUFFIX ".sock" /* behind the bottle's name */
/* In the error about an id: the refusal tells its own a moment before it is recorded. */
#define CONTROL_UNKNOWN_ID "no refusal that is known"
#define CONTROL_SECONDS 5 /* for an answer that needs nothing but to be written */

/* ---- the supervisor's side ------------------------------------------------------------------- */

struct control_options {
	const char *name;	 /* of the bottle */
	const char *cgroup_path; /* whose processes are turned away; NULL: there is none */
	struct event_base *base;
	/* The answer to any command but "events", an object; {"error": TEXT} is a refusal. NULL: it
	 * comes later, if control_later() was called, or not at all. */
	json_t *(*answer)(void *context, const char *command, const json_t *request);
	void *context;
};
/* Everything of `options` is borrowed for life. -1 with `error` set; caller frees. */
struct control;
int control_new(const struct control_options *options, struct control **ret, struct error *error)
	WARN_UNUSED;
void control_free(struct control *control); /* accepts NULL; removes the socket */
/* To be called now and then: goes on accepting where there was no memory to do so, and makes the socket
 * again whose file was deleted: then it is 1, and -1 with `error` set where that failed. Accepts NULL. */
int control_pulse(struct control *control, struct error *error);
/* What "events" shows, borrowed for life; at most FEED_MERGE_MAX. Who follows already has its lines from
 * its first on. Does nothing without a control or a feed. */
void control_add_feed(struct control *control, const struct feed *feed);
/* Events of before now go to those who follow; call it before the loop ends. */
void control_flush(struct control *control);

/* From `answer`: a number for who is asking now, never 0. control_finish() gives him his answer (taken
 * over), if he is still there. */
uint64_t control_later(struct control *control);
void control_finish(struct control *control, uint64_t ticket, json_t *answer);

/* ---- the other side --------------------------------------------------------------------------- */

/* Connects and sends `request` (taken over). The descriptor is the caller's; -1 with `error` set. */
int control_ask(const char *name, json_t *request, struct error *error) WARN_UNUSED;
/* The same, of a sidecar that does not wait: -1 also of one whose queue is full, since it hangs. */
int control_ask_at_once(const char *name, json_t *request) WARN_UNUSED;
/* Reads one answer of at most 4 MiB, for which it waits so long, and closes `fd`. NULL with `error`
 * set, also when the answer is an error. Caller frees. */
json_t *control_answer_within(int fd, unsigned seconds, struct error *error) WARN_UNUSED;
json_t *control_answer(int fd, struct error *error) WARN_UNUSED; /* within CONTROL_SECONDS */
/* Names that have a socket, NULL-terminated and sorted; free each and the array. NULL: out of
 * memory. */
char **control_list(void) WARN_UNUSED;
/* Removes what a supervisor left that was killed; what answers stays. */
void control_forget(const char *name);

#endif
