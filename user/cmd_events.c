// SPDX-License-Identifier: BSD-2-Clause
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "diag.h"
#include "events.h"

static const char help_text[] =
	"usage: egress-bpf events [NAME] [OPTIONS]\n"
	"\n"
	"Shows what kernel and proxy decide, as the sidecar of a bottle has it: the last few thousand\n"
	"decisions (and refusals longer), or with --follow what comes. Reading slows nobody: who reads\n"
	"too slowly loses events, and is told how many. Without NAME: the only bottle there is.\n"
	"\n"
	"  --follow     also what comes, until the sidecar ends; without --since only that\n"
	"  --denied     only what was refused, or would be but for 'enforcement: audit'\n"
	"  --host HOST  only this host or address; '*.x' is every name below x\n"
	"  --since T    only from T on: 30s, 10m, 2h, 1d before now, or 2026-01-02T03:04:05Z\n"
	"  --json       the lines of the log as they are, without columns\n"
	"  --help       this text\n"
	"\n"
	"The id in each line is for 'egress-bpf why --name NAME ID'. On a terminal there are colours,\n"
	"but for NO_COLOR.\n"
	"\n"
	"Exit status: 0 ok, 1 there is no such sidecar, 2 usage error.\n";

struct events {
	struct events_query query;
	const char *host;
	bool json, colour, headed;
};

/* -1 to go on, else the exit status. */
static int parse_options(struct events *events, int argc, char **argv)
{
	const char *since = NULL;
	const struct cmd_option options[] = {
		{"follow", .flag = &events->query.follow}, {"denied", .flag = &events->query.denied},
		{"host", .text = &events->host}, {"since", .text = &since},
		{"json", .flag = &events->json}, {0}};
	int status = cmd_options("events", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (since && (events->query.since_ms = events_parse_since(since)) == 0)
		return cmd_usage("events", "--since %s: say 30s, 10m, 2h, 1d, or "
				 "2026-01-02T03:04:05Z", since);

	if (optind + 1 < argc)
		return cmd_usage("events", "say one NAME, or none");
	return -1;
}

static bool show(void *context, const char *line)
{
	struct events *events = context;
	json_t *event;

	if (!events->json && !events->headed)
		events_print_heading(stdout, events->colour);
	events->headed = true;
	if (!line)
		return fflush(stdout) == 0;
	if (events->json && !events->host)
		return puts(line) >= 0;
	event = json_loads(line, 0, NULL);
	/* Lines about lost events have no reason, and pass every filter: a gap must show. */
	if (event && (events_has_host(event, events->host) || !json_object_get(event, "reason"))) {
		if (events->json)
			puts(line);
		else
			events_print(stdout, event, events->colour);
	}
	json_decref(event);
	return !ferror(stdout);
}

int cmd_events(int argc, char **argv)
{
	struct events events = {0};
	struct error error = {0};
	char *name = NULL;
	int status = parse_options(&events, argc, argv);

	if (status >= 0)
		return status;
	status = cmd_bottle("events", argv[optind], &name);
	if (status != EXIT_OK)
		return status;
	events.query.name = name;
	events.colour = events_wants_colour(stdout);
	/* 'events --follow | head' is to end when its reader does. */
	signal(SIGPIPE, SIG_DFL);
	/* By the block that was read, not by the line: a flood would cost a system call for each;
	 * show() flushes where the block ends. */
	setvbuf(stdout, NULL, _IOFBF, 65536);
	/* Whoever looks must not take the processor from what is looked at. */
	(void)setpriority(PRIO_PROCESS, 0, 10);
	if (events_query(&events.query, show, &events, &error) < 0) {
		diag_error("events: %s", error.text);
		status = EXIT_FAILED;
	}
	free(name);
	return status;
}
