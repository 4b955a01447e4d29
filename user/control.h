/* SPDX-License-Identifier: BSD-2-Clause */
/* The supervisor's control socket, /run/egress-bpf/NAME.sock: for root outside of the bottle alone.
 * One request per connection, a line of JSON with "command"; the answer is one line of JSON, and for
 * "events" as many lines after it as there are. */
#ifndef CONTROL_H
#define CONTROL_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "attributes.h"
#include "diag.h"
#include "feed.h"

#define CONTROL_DIRECTORY "/run/egress-bpf"

/* ---- the supervisor's side ------------------------------------------------------------------- */

#define CONTROL_FEEDS 2

struct control_options {
	const char *name;	 /* of the bottle */
	const char *cgroup_path; /* whose processes are turned away; NULL: there is none */
	struct event_base *base;
	const struct feed *feeds[CONTROL_FEEDS]; /* NULL: none */
	/* The answer to any command but "events", an object; {"error": TEXT} is a refusal. */
	json_t *(*answer)(void *context, const char *command, const json_t *request);
	void *context;
};
/* Everything of `options` is borrowed for life. -1 with `error` set; caller frees. */
struct control;
int control_new(const struct control_options *options, struct control **ret, struct error *error)
	WARN_UNUSED;
void control_free(struct control *control); /* accepts NULL; removes the socket */
/* Events of before now go to those who follow; call it before the loop ends. */
void control_flush(struct control *control);

/* ---- the other side --------------------------------------------------------------------------- */

/* Connects and sends `request` (taken over). The descriptor is the caller's; -1 with `error` set. */
int control_ask(const char *name, json_t *request, struct error *error) WARN_UNUSED;
/* Reads one answer of at most 4 MiB and closes `fd`. NULL with `error` set, also when the answer is
 * an error. Caller frees. */
json_t *control_answer(int fd, struct error *error) WARN_UNUSED;
/* Names that have a socket, NULL-terminated and sorted; free each and the array. NULL: out of
 * memory. */
char **control_list(void) WARN_UNUSED;
/* Removes what a supervisor left that was killed; what answers stays. */
void control_forget(const char *name);

#endif
