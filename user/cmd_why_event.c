// SPDX-License-Identifier: BSD-2-Clause
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "control.h"
#include "diag.h"
#include "events.h"
#include "reason.h"

struct search {
	const char *id;
	json_t *found; /* owned */
};

static bool look(void *context, const char *line)
{
	struct search *search = context;
	json_t *event = line ? json_loads(line, 0, NULL) : NULL;
	const char *id = json_string_value(json_object_get(event, "id"));

	if (id && strcmp(id, search->id) == 0)
		search->found = event;
	else
		json_decref(event);
	return !search->found;
}

static int find_event(const char *name, struct search *search, struct error *error)
{
	struct events_query query = {.name = name, .denied = true};

	/* Those that were refused are kept longer. */
	if (events_query(&query, look, search, error) < 0)
		return -1;
	query.denied = false;
	if (!search->found && events_query(&query, look, search, error) < 0)
		return -1;
	if (search->found)
		return 0;
	return error_set(error, "no event %s is there: it was written over, or is of another sidecar; "
			 "the log of --log may have it", search->id);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* What the same request would be asked as; false where it was none. */
static bool make_url(const json_t *event, char *url, size_t size)
{
	const char *host = text_of(event, "host"), *path = text_of(event, "path");
	const char *protocol = text_of(event, "protocol");
	bool plain = protocol && (strcmp(protocol, "http") == 0 || strcmp(protocol, "tcp") == 0);
	json_int_t port = json_integer_value(json_object_get(event, "port"));
	int length;

	if (!host)
		host = text_of(event, "address");
	if (!host || (protocol && (strcmp(protocol, "udp") == 0 || strcmp(protocol, "unix") == 0)))
		return false;
	/* A name that was asked for has port 53 or none; what would have followed is most likely
	 * HTTPS. */
	if (port <= 0 || (protocol && strcmp(protocol, "dns") == 0))
		port = 443;
	if (port == 80)
		plain = true;
	length = snprintf(url, size, strchr(host, ':') ? "%s://[%s]:%d%s" : "%s://%s:%d%s",
			  plain ? "http" : "https", host, (int)port, path && *path == '/' ? path : "/");
	return length > 0 && (size_t)length < size;
}

/* What the policy in force answers to it; NULL where it cannot be asked so. */
static json_t *ask_now(const char *name, const json_t *event, struct error *error)
{
	const char *method = text_of(event, "method");
	char url[FEED_LINE_MAX];
	json_t *request;
	int fd;

	if (!make_url(event, url, sizeof(url)))
		return NULL;
	request = json_pack("{s:s, s:s, s:s}", "command", "why", "method",
			    method && *method ? method : "GET", "url", url);
	fd = control_ask(name, request, error);
	return fd < 0 ? NULL : control_answer(fd, error);
}

static enum egress_reason reason_of(const json_t *event)
{
	const char *name = text_of(event, "audit") ? text_of(event, "audit") : text_of(event, "reason");

	for (int i = 0; name && i < EGRESS_REASON_COUNT; i++)
		if (strcmp(name, reason_name(i)) == 0)
			return i;
	return EGRESS_INTERNAL;
}

/* Nothing of what an event says, or is answered with, reaches the terminal as it is. */
static void print_line(const char *heading, const char *text)
{
	fputs(heading, stdout);
	events_print_safe(stdout, text);
	putchar('\n');
}

static void print_text(const json_t *event, const json_t *now)
{
	const char *hint = text_of(now, "hint"), *route = text_of(now, "route");

	events_print(stdout, event, events_wants_colour(stdout));
	if (text_of(event, "route"))
		print_line("route: ", text_of(event, "route"));
	if (reason_of(event) != EGRESS_ALLOWED)
		printf("cure: %s\n", reason_cure(reason_of(event)));
	if (!now)
		return;
	printf("the same now: %s%s%s%s\n", json_is_true(json_object_get(now, "allowed")) ? "" : "refused, ",
	       text_of(now, "reason"), route && *route ? ", by " : "", route && *route ? route : "");
	if (hint)
		print_line("would allow it: ", hint);
}

static void print_json(const json_t *event, json_t *now)
{
	json_t *object = json_pack("{s:O, s:s}", "event", event, "cure", reason_cure(reason_of(event)));

	if (now)
		(void)json_object_set(object, "now", now);
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

int cmd_why_event(const char *name, const char *id, bool json)
{
	struct search search = {.id = id};
	struct error error = {0};
	char *bottle = NULL;
	json_t *now = NULL;
	int status = cmd_bottle("why", name, &bottle);

	if (status != EXIT_OK)
		return status;
	if (find_event(bottle, &search, &error) < 0) {
		diag_error("why: %s", error.text);
		free(bottle);
		return EXIT_FAILED;
	}
	now = ask_now(bottle, search.found, &error);
	if (json)
		print_json(search.found, now);
	else
		print_text(search.found, now);
	/* As for a request that is asked about: the policy in force now gives the status, not what
	 * was decided then. */
	status = json_is_true(json_object_get(now, "allowed")) ? EXIT_OK : EXIT_FAILED;
	json_decref(now);
	json_decref(search.found);
	free(bottle);
	return status;
}
