// SPDX-License-Identifier: BSD-2-Clause
/* allow and deny: an operator's word about one refusal. What it means is the sidecar's business; here
 * are options and words. */
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

/* A worker that has to be replaced first takes a while. */
#define PATIENCE_S 45
#define TRIES 20

static const char allow_help[] =
	"usage: egress-bpf allow [NAME] ID [--for TIME | --persist] [OPTIONS]\n"
	"\n"
	"Lets pass what was refused under ID: that host, port, method and exact path, or the whole host\n"
	"on that port where only its name was refused. At once, without a restart; other connections\n"
	"go on. The ID is in the refusal, in 'events' and in 'pending'. Without NAME: the only bottle.\n"
	"\n"
	"  --for TIME       until then: 90s, 15m, 1h, 7d. Without --for and --persist: until the\n"
	"                   sidecar ends. A reload of the policy keeps it; a restart does not\n"
	"  --persist        for good: a route is added to the policy's file as well, and nothing else\n"
	"                   in the file changes\n"
	"  --path PREFIX    this path and what is below, instead of the exact path\n"
	"  --method METHOD  this method instead; '*' is every one\n"
	"  --no-credential  do not add what the host's other routes add\n"
	"  --json           one JSON object\n"
	"  --help           this text\n"
	"\n"
	"Never opened: raw addresses and UDP, and what no route may have (ambiguous paths, ...).\n"
	"\n"
	"Exit status: 0 it is in force, 1 it is not (and nothing changed), 2 usage error.\n";

static const char deny_help[] =
	"usage: egress-bpf deny [NAME] ID [OPTIONS]\n"
	"\n"
	"Silences what was refused under ID: it stays refused, and 'pending' lists its line no longer,\n"
	"until the sidecar ends. A grant of this ID ends at once (but a route that --persist wrote\n"
	"stays in the file). Without NAME: the only bottle there is.\n"
	"\n"
	"  --json  one JSON object\n"
	"  --help  this text\n"
	"\n"
	"Exit status: 0 ok, 1 there is no such refusal or sidecar, 2 usage error.\n";

struct order {
	const char *command; /* "allow" or "deny" */
	const char *name, *id, *path, *method;
	json_int_t seconds;
	bool persist, no_credential, json;
	json_t *request;
};

/* "90s", "15m", "1h", "7d"; 0: none of these. */
static json_int_t parse_time(const char *text)
{
	static const char units[] = "smhd";
	static const json_int_t lengths[] = {1, 60, 3600, 86400};
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;

	/* Eight digits of days fit json_int_t; what is too long for a grant the sidecar says. */
	if (digits == 0 || digits > 8 || !unit || text[digits + 1])
		return 0;
	return (json_int_t)strtol(text, NULL, 10) * lengths[unit - units];
}

static int take_time(void *context, const char *text)
{
	struct order *order = context;

	order->seconds = parse_time(text);
	if (order->seconds == 0)
		return cmd_usage(order->command, "--for %s: say 90s, 15m, 1h or 7d", text);
	return EXIT_OK;
}

static void fill_request(const struct order *order)
{
	json_t *request = order->request;

	(void)json_object_set_new(request, "id", json_string(order->id));
	if (order->seconds)
		(void)json_object_set_new(request, "for", json_integer(order->seconds));
	if (order->persist)
		(void)json_object_set_new(request, "persist", json_true());
	if (order->path)
		(void)json_object_set_new(request, "path", json_string(order->path));
	if (order->method)
		(void)json_object_set_new(request, "method", json_string(order->method));
	if (order->no_credential)
		(void)json_object_set_new(request, "credential", json_false());
}

/* -1 to go on, else the exit status. */
static int parse_options(struct order *order, const char *help, const struct cmd_option *options, int argc,
			 char **argv)
{
	int status = cmd_options(order->command, help, options, argc, argv);

	if (status >= 0)
		return status;
	if (argc - optind != 1 && argc - optind != 2)
		return cmd_usage(order->command, "say NAME and ID, or ID alone");
	if (order->seconds && order->persist)
		return cmd_usage(order->command, "--for or --persist, not both");
	order->id = argv[argc - 1];
	order->name = argc - optind == 2 ? argv[optind] : NULL;
	return -1;
}

/* ---- words --------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static void print_until(const json_t *answer)
{
	const json_t *until = json_object_get(answer, "until");
	time_t seconds = (time_t)(json_integer_value(until) / 1000);
	char text[32];
	struct tm tm;

	if (json_is_integer(until)) {
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
		printf("until: %s\n", text);
	} else if (text_of(answer, "file") && json_integer_value(json_object_get(answer, "line")) > 0) {
		printf("written: %s, from line %d\n", text_of(answer, "file"),
		       (int)json_integer_value(json_object_get(answer, "line")));
	} else if (text_of(answer, "file")) {
		printf("written: nothing, %s allows it already\n", text_of(answer, "file"));
	} else {
		puts("until: the sidecar ends");
	}
}

static void print_allowed(const json_t *answer)
{
	const char *path = text_of(answer, "path"), *credential = text_of(answer, "credential");
	const char *method = text_of(answer, "method"), *type = text_of(answer, "path_type");

	printf("allowed: %s ", method ? method : "any method,");
	events_print_safe(stdout, text_of(answer, "host"));
	printf(":%d", (int)json_integer_value(json_object_get(answer, "port")));
	events_print_safe(stdout, path ? path : "");
	puts(!path ? ", any path" : type && strcmp(type, "prefix") == 0 ? " and below" : "");
	fputs("credential: ", stdout);
	events_print_safe(stdout, credential && *credential ? credential : "none");
	putchar('\n');
	print_until(answer);
	if (text_of(answer, "note"))
		printf("note: %s\n", text_of(answer, "note"));
}

/* Who read an id out of a refusal may be here before the proxy has recorded it. */
static json_t *ask(const char *name, json_t *request, struct error *ret_error)
{
	const struct timespec moment = {0, 50000000};
	json_t *answer = NULL;
	int fd;

	for (int i = 0; !answer && i < TRIES; i++) {
		*ret_error = (struct error){0};
		/* control_ask() takes the reference over, and there may be a next time. */
		fd = control_ask(name, json_incref(request), ret_error);
		if (fd >= 0)
			answer = control_answer_within(fd, PATIENCE_S, ret_error);
		if (answer || !strstr(ret_error->text, CONTROL_UNKNOWN_ID))
			break;
		nanosleep(&moment, NULL);
	}
	return answer;
}

static int run(struct order *order)
{
	struct error error = {0};
	json_t *answer;
	char *name = NULL;
	int status = cmd_bottle(order->command, order->name, &name);

	if (status != EXIT_OK)
		return status;
	answer = ask(name, order->request, &error);
	if (!answer) {
		diag_error("%s: %s", order->command, error.text);
		status = EXIT_FAILED;
	} else if (order->json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (strcmp(order->command, "allow") == 0) {
		print_allowed(answer);
	}
	json_decref(answer);
	free(name);
	return status;
}

static int give(struct order *order, const char *help, const struct cmd_option *options, int argc,
		char **argv)
{
	int status = parse_options(order, help, options, argc, argv);

	if (status >= 0)
		return status;
	order->request = json_pack("{s:s}", "command", order->command);
	fill_request(order);
	status = run(order);
	json_decref(order->request);
	return status;
}

int cmd_allow(int argc, char **argv)
{
	struct order order = {.command = "allow"};
	const struct cmd_option options[] = {
		{"for", .take = take_time, .context = &order},
		{"persist", .flag = &order.persist},
		{"path", .text = &order.path},
		{"method", .text = &order.method},
		{"no-credential", .flag = &order.no_credential},
		{"json", .flag = &order.json},
		{0},
	};

	return give(&order, allow_help, options, argc, argv);
}

int cmd_deny(int argc, char **argv)
{
	struct order order = {.command = "deny"};
	const struct cmd_option options[] = {{"json", .flag = &order.json}, {0}};

	return give(&order, deny_help, options, argc, argv);
}
