// SPDX-License-Identifier: BSD-2-Clause
/* pending: what was refused, for who may allow it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "control.h"
#include "diag.h"
#include "events.h"

static const char help_text[] =
	"usage: egress-bpf pending [NAME] [OPTIONS]\n"
	"\n"
	"Lists what the sidecar of a bottle refused since it began, grouped by host, method, beginning\n"
	"of the path and reason, the newest first; what the bottle asks for, with its own words; and the\n"
	"grants in force. Each line has an id for 'allow' and 'deny'. Not listed is what was denied, and\n"
	"what the policy lets pass by now. Without NAME: the only bottle there is.\n"
	"\n"
	"  --all   also what was denied or is allowed by now\n"
	"  --json  one JSON object, as user/control.h describes it\n"
	"  --help  this text\n"
	"\n"
	"Exit status: 0 ok, 1 there is no such sidecar, 2 usage error.\n";

struct choices {
	bool all, json;
};

/* -1 to go on, else the exit status. */
static int parse_options(struct choices *choices, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"all", .flag = &choices->all}, {"json", .flag = &choices->json}, {0}};
	int status = cmd_options("pending", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (optind + 1 < argc)
		return cmd_usage("pending", "say one NAME, or none");
	return -1;
}

/* ---- as text ------------------------------------------------------------------------------------ */

/* A key that an older sidecar does not send is empty text: a row with a gap, not an error. */
static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

static void print_clock(long long ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	char text[16];

	strftime(text, sizeof(text), "%H:%M:%S", gmtime_r(&seconds, &tm));
	printf("%-8s  ", text);
}

/* What the bottle chose reaches the terminal without control characters. */
static void print_place(const json_t *object)
{
	const char *host = *text_of(object, "host") ? text_of(object, "host") : text_of(object, "address");

	events_print_safe(stdout, host);
	if (number_of(object, "port") > 0)
		printf(":%lld", number_of(object, "port"));
	events_print_safe(stdout, text_of(object, "path"));
}

/* One line stands for many refusals; its paths are listed below it only where they differ. */
static void print_group(const json_t *group)
{
	const json_t *samples = json_object_get(group, "samples");
	bool one_path = json_is_true(json_object_get(group, "one_path"));

	printf("%-10s  ", text_of(group, "id"));
	print_clock(number_of(group, "last"));
	printf("%6lld  %-20s  ", number_of(group, "count"), text_of(group, "reason"));
	printf("%-7s  ", *text_of(group, "method") ? text_of(group, "method") : text_of(group, "protocol"));
	print_place(group);
	if (strcmp(text_of(group, "state"), "pending") != 0)
		printf("  [%s]", text_of(group, "state"));
	putchar('\n');
	for (size_t i = 0; !one_path && i < json_array_size(samples); i++) {
		const json_t *sample = json_array_get(samples, i);

		printf("  %-10s  ", text_of(sample, "id"));
		print_clock(number_of(sample, "time"));
		events_print_safe(stdout, text_of(sample, "path"));
		puts(json_is_true(json_object_get(sample, "allowed")) ? "  [allowed]" : "");
	}
	if (*text_of(group, "cure")) {
		fputs("            not by a grant: ", stdout);
		events_print_safe(stdout, text_of(group, "cure"));
		putchar('\n');
	}
}

#define SAYS_COLUMNS 56 /* with what is before it, less than any terminal has */

/* A terminal would break the line itself, at its left edge, where the bottle's words could look like
 * another line of ours, with an id. What is not ASCII may be two columns wide. */
static void print_words(const char *text)
{
	char part[4 * SAYS_COLUMNS + 1];

	while (*text) {
		size_t length = 0, columns = 0;

		do {
			columns += (unsigned char)text[length] < 0x80 ? 1 : 2;
			do
				length++;
			while (length < sizeof(part) - 1 && ((unsigned char)text[length] & 0xc0) == 0x80);
		} while (text[length] && columns < SAYS_COLUMNS - 1 && length < sizeof(part) - 4);
		snprintf(part, sizeof(part), "%.*s", (int)length, text);
		events_print_safe(stdout, part);
		text += length;
		if (*text)
			printf("\n%21s", "");
	}
}

static void print_ask(const json_t *ask)
{
	printf("%-10s  ", text_of(ask, "id"));
	print_clock(number_of(ask, "time"));
	printf("%-7s  ", *text_of(ask, "method") ? text_of(ask, "method") : "any");
	print_place(ask);
	if (strcmp(text_of(ask, "state"), "pending") != 0)
		printf("  [%s]", text_of(ask, "state"));
	fputs("\n            it says: ", stdout);
	print_words(text_of(ask, "reason"));
	putchar('\n');
}

/* The credential is named with what it goes to: a grant that carries one is another thing to forget. */
static void print_grant(const json_t *grant)
{
	const json_t *until = json_object_get(grant, "until");

	printf("%-10s  ", text_of(grant, "id"));
	if (json_is_integer(until)) {
		fputs("until ", stdout);
		print_clock((long long)json_integer_value(until));
	} else {
		fputs(json_is_true(json_object_get(grant, "persist")) ? "in the file     "
								      : "while it runs   ", stdout);
	}
	printf("%-7s  ", *text_of(grant, "method") ? text_of(grant, "method") : "any");
	print_place(grant);
	if (strcmp(text_of(grant, "path_type"), "prefix") == 0)
		fputs(" and below", stdout);
	else if (!*text_of(grant, "path"))
		fputs(" (any path)", stdout);
	if (*text_of(grant, "credential")) {
		fputs("  with the credential of ", stdout);
		events_print_safe(stdout, text_of(grant, "credential"));
	}
	putchar('\n');
}

static void print_list(const json_t *list, const char *heading, void (*print)(const json_t *))
{
	if (json_array_size(list) == 0)
		return;
	puts(heading);
	for (size_t i = 0; i < json_array_size(list); i++)
		print(json_array_get(list, i));
	putchar('\n');
}

static void print_text(const json_t *answer)
{
	print_list(json_object_get(answer, "asks"), "ASKED FOR   AT (UTC)  METHOD   WHAT", print_ask);
	print_list(json_object_get(answer, "groups"),
		   "REFUSED     LAST (UTC)  TIMES  REASON                METHOD   WHERE TO", print_group);
	print_list(json_object_get(answer, "grants"), "GRANTED     HOW LONG        METHOD   WHAT",
		   print_grant);
	if (json_array_size(json_object_get(answer, "groups")) == 0 &&
	    json_array_size(json_object_get(answer, "asks")) == 0)
		puts("nothing that was refused waits for a decision");
	/* What is not shown is said: an operator who sees no line has to know whether there was one. */
	if (number_of(answer, "evicted") > 0)
		printf("(%lld older lines had to make room, and are not listed)\n",
		       number_of(answer, "evicted"));
	if (number_of(answer, "unlisted") > 0)
		printf("(%lld more lines, with long paths, have no room here)\n",
		       number_of(answer, "unlisted"));
	if (number_of(answer, "lost") > 0)
		printf("(%lld refusals came faster than they were read, and are not counted)\n",
		       number_of(answer, "lost"));
}

int cmd_pending(int argc, char **argv)
{
	struct choices choices = {0};
	struct error error = {0};
	json_t *answer = NULL;
	char *name = NULL;
	int status = parse_options(&choices, argc, argv), fd;

	if (status >= 0)
		return status;
	status = cmd_bottle("pending", argv[optind], &name);
	if (status != EXIT_OK)
		return status;
	fd = control_ask(name, json_pack("{s:s, s:b}", "command", "pending", "all", choices.all), &error);
	if (fd >= 0)
		answer = control_answer(fd, &error);
	if (!answer) {
		diag_error("pending: %s", error.text);
		status = EXIT_FAILED;
	} else if (choices.json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_text(answer);
	}
	json_decref(answer);
	free(name);
	return status;
}
