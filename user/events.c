// SPDX-License-Identifier: BSD-2-Clause
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "control.h"
#include "utf8.h"

#define READ_SIZE 65536
#define COLUMN_MAX 40 /* characters */

/* ---- asking -------------------------------------------------------------------------------------- */

static bool is_welcome(const char *line, struct error *error)
{
	json_t *first = json_loads(line, 0, NULL);
	const char *refusal = json_string_value(json_object_get(first, "error"));
	bool fine = json_is_true(json_object_get(first, "ok"));

	if (!fine)
		error_set(error, "%s", refusal ? refusal : "the sidecar's answer is none");
	json_decref(first);
	return fine;
}

/* Every whole line of `in`. False: enough. */
static bool hand_over(struct bytes *in, bool *welcomed,
		      bool (*each)(void *context, const char *line), void *context,
		      struct error *error)
{
	char *line, *end;

	while ((end = memchr(in->data + in->start, '\n', in->length))) {
		line = in->data + in->start;
		*end = '\0';
		if (!*welcomed && !is_welcome(line, error))
			return false;
		if (*welcomed && !each(context, line))
			return false;
		*welcomed = true;
		bytes_consume(in, (size_t)(end - line) + 1);
	}
	return true;
}

int events_query(const struct events_query *query, bool (*each)(void *context, const char *line),
		 void *context, struct error *error)
{
	json_t *request = json_pack("{s:s, s:b, s:b, s:I}", "command", "events", "follow",
				    query->follow, "denied", query->denied, "since",
				    (json_int_t)query->since_ms);
	int fd = control_ask(query->name, request, error);
	struct bytes in = {0};
	bool welcomed = false;

	while (fd >= 0) {
		char *to = bytes_reserve(&in, READ_SIZE);
		ssize_t count = to ? read(fd, to, READ_SIZE) : -1;

		if (count <= 0)
			break;
		bytes_added(&in, (size_t)count);
		/* NULL for each read: who prints flushes then, not for each line. */
		if (!hand_over(&in, &welcomed, each, context, error) || !each(context, NULL))
			break;
	}
	if (fd >= 0)
		close(fd);
	bytes_free(&in);
	/* Once welcomed, an end is the sidecar's end and no failure. */
	if (welcomed)
		return 0;
	return error_set(error, "%s: the sidecar does not let us ask", query->name);
}

static uint64_t before_now(uint64_t seconds)
{
	time_t now = time(NULL);

	/* Never 0, which means that no time was said. */
	return seconds < (uint64_t)now ? ((uint64_t)now - seconds) * 1000 : 1;
}

uint64_t events_parse_since(const char *text)
{
	static const char units[] = "smhd";
	static const uint64_t lengths[] = {1, 60, 3600, 86400};
	struct tm tm = {0};
	const char *unit;
	char *end;
	unsigned long number;
	time_t when;

	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	/* With the log's milliseconds or without, which are cut off: one event more rather than one
	 * less. */
	if (end && (strcmp(end, "Z") == 0 || (*end == '.' && end[strspn(end, ".0123456789")] == 'Z'))) {
		when = timegm(&tm);
		return when > 0 ? (uint64_t)when * 1000 : 0;
	}
	if (text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	number = strtoul(text, &end, 10);
	unit = end[0] && !end[1] ? strchr(units, end[0]) : NULL;
	if (errno || !unit || number > UINT32_MAX)
		return 0;
	return before_now(number * lengths[unit - units]);
}

bool events_has_host(const json_t *event, const char *pattern)
{
	const char *host = json_string_value(json_object_get(event, "host"));
	size_t length, suffix;

	if (!pattern)
		return true;
	if (!host)
		host = json_string_value(json_object_get(event, "address"));
	if (!host)
		return false;
	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(host, pattern) == 0;
	length = strlen(host);
	suffix = strlen(pattern) - 1;
	return length > suffix && strcasecmp(host + length - suffix, pattern + 1) == 0;
}

/* ---- printing ------------------------------------------------------------------------------------ */

#define RED "\033[31m"
#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define FAINT "\033[2m"
#define PLAIN "\033[0m"

/* jansson has seen to UTF-8. */
void events_print_safe(FILE *to, const char *text)
{
	while (*text) {
		size_t unsafe = utf8_unsafe(text);

		fputc(unsafe ? '?' : *text, to);
		text += unsafe ? unsafe : 1;
	}
}

static const char *text_of(const json_t *event, const char *key)
{
	const char *text = json_string_value(json_object_get(event, key));

	return text ? text : "";
}

/* Cut, and ASCII: all that the worker writes in these is, but a taken one's may hold anything, and be as
 * long as its line. */
static void print_column(FILE *to, const char *text, int width, size_t most)
{
	const size_t length = strnlen(text, most < COLUMN_MAX ? most : COLUMN_MAX);
	char safe[COLUMN_MAX + 1];

	for (size_t i = 0; i < length; i++)
		safe[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
	safe[length] = '\0';
	fprintf(to, "%-*s", width, safe);
}

/* `name:port`, and the path behind it; of a unix socket what the kernel says. */
static void print_target(FILE *to, const json_t *event)
{
	const char *name = text_of(event, "host"), *address = text_of(event, "address");
	json_int_t port = json_integer_value(json_object_get(event, "port"));

	events_print_safe(to, *name ? name : address);
	if (port > 0)
		fprintf(to, ":%d", (int)port);
	events_print_safe(to, text_of(event, "path"));
}

static void print_tail(FILE *to, const json_t *event, bool colour)
{
	json_int_t status = json_integer_value(json_object_get(event, "status"));
	double ms = json_number_value(json_object_get(event, "ms"));

	if (status > 0)
		fprintf(to, " %d", (int)status);
	if (*text_of(event, "detail")) {
		fputs("  ", to);
		events_print_safe(to, text_of(event, "detail"));
	}
	if (colour)
		fputs(FAINT, to);
	if (ms > 0)
		fprintf(to, "  %.1f ms", ms);
	if (*text_of(event, "command")) {
		fputs("  ", to);
		events_print_safe(to, text_of(event, "command"));
		fprintf(to, "[%d]", (int)json_integer_value(json_object_get(event, "pid")));
	}
	fputs(colour ? PLAIN "\n" : "\n", to);
}

void events_print_heading(FILE *to, bool colour)
{
	fprintf(to, "%s%-12s  %-10s  %-22s  %-6s  %-7s  %s%s\n", colour ? FAINT : "", "TIME (UTC)", "ID",
		"VERDICT", "BY", "METHOD", "WHERE TO", colour ? PLAIN : "");
}

void events_print(FILE *to, const json_t *event, bool colour)
{
	json_t *lost = json_object_get(event, "lost");
	const char *reason = text_of(event, "reason"), *audit = text_of(event, "audit");
	const char *time = strchr(text_of(event, "time"), 'T');
	const char *paint = strcmp(reason, "allowed") != 0 ? RED : *audit ? YELLOW : GREEN;

	if (!*reason) {
		if (json_is_integer(lost))
			fprintf(to, "%s(%lld events were lost: they came faster than they were read)%s\n",
				colour ? YELLOW : "", (long long)json_integer_value(lost),
				colour ? PLAIN : "");
		return;
	}
	print_column(to, time ? time + 1 : "", 12, 12);
	fputs("  ", to);
	print_column(to, text_of(event, "id"), 10, 20);
	fprintf(to, "  %s", colour ? paint : "");
	print_column(to, *audit ? audit : reason, 22, COLUMN_MAX);
	fprintf(to, "%s  ", colour ? PLAIN : "");
	print_column(to, text_of(event, "source"), 6, 10);
	fputs("  ", to);
	print_column(to, *text_of(event, "method") ? text_of(event, "method") : text_of(event, "protocol"),
		     7, 20);
	fputs("  ", to);
	print_target(to, event);
	if (*audit)
		fputs(" (audit: let through)", to);
	print_tail(to, event, colour);
}

bool events_wants_colour(FILE *to)
{
	/* no-color.org: present and not empty. */
	const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return isatty(fileno(to)) && !(no && *no) && !(terminal && strcmp(terminal, "dumb") == 0);
}
