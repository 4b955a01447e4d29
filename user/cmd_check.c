// SPDX-License-Identifier: BSD-2-Clause
/* check: what a policy file means, or what is wrong with it. Reads no secret and asks no network,
 * so that it can run anywhere. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "config.h"
#include "diag.h"
#include "json_text.h"
#include "policy_advice.h"

static const char help_text[] =
	"usage: egress-bpf check [--json] FILE...\n"
	"       egress-bpf check --effective FILE\n"
	"\n"
	"Validates policy files (YAML or JSON), each on its own. Prints every error of a file at\n"
	"once (it stops at some 200), with its line and what would be right. Secrets are\n"
	"not looked up. What is valid and hardly meant gets a warning, and stays valid: a route that waits\n"
	"for HTTP or TLS on a port where the server speaks first (SMTP, FTP, MySQL and the like).\n"
	"\n"
	"  --json       one JSON object per file: file, ok, routes, hosts, errors, warnings\n"
	"  --effective  prints the compiled policy, every default written out, as YAML that means\n"
	"               the same\n"
	"  --help       this text\n"
	"\n"
	"Exit status: 0 all files are valid, 2 one is not, or usage error.\n";

struct choices {
	bool json, effective;
};

/* Half of it that looks like the whole is worse than nothing. Takes over `text`. */
static bool print_whole(char *text, const char *end)
{
	bool fine = text != NULL;

	if (fine)
		printf("%s%s", text, end);
	else
		diag_error("out of memory");
	free(text);
	return fine;
}

/* Not json_dumps(3), which leaves out a key that it has no memory for. */
static char *dump(const json_t *object)
{
	size_t size = json_dumpb(object, NULL, 0, JSON_COMPACT);
	char *text = size > 0 ? malloc(size + 1) : NULL;

	if (!text || json_dumpb(object, text, size, JSON_COMPACT) != size) {
		free(text);
		return NULL;
	}
	text[size] = '\0';
	return text;
}

/* NULL when out of memory: half of a list would look like the whole. */
static json_t *list_json(const struct diag_list *found)
{
	json_t *list = json_array();

	if (found->no_memory)
		json_array_append_new(list, json_pack("{s:i, s:s}", "line", 0, "message",
						      "out of memory"));
	for (size_t i = 0; i < found->kept; i++)
		json_array_append_new(list, json_pack("{s:i, s:s}", "line", found->items[i].line,
						      "message", found->items[i].text));
	if (json_array_size(list) == found->kept + found->no_memory)
		return list;
	json_decref(list);
	return NULL;
}

/* The same object for a good file and a bad one, so that a script looks at `ok` and nothing else. */
static bool print_json(const char *path, const struct config *config,
		       const struct diag_list *errors, const struct diag_list *warnings)
{
	json_t *object;
	char *text;

	object = json_pack("{s:o, s:b, s:I, s:I, s:o, s:o}", "file", json_text(path), "ok",
			   config != NULL, "routes",
			   config ? (json_int_t)policy_route_count(config->policy) : (json_int_t)0,
			   "hosts",
			   config ? (json_int_t)policy_host_count(config->policy) : (json_int_t)0,
			   "errors", list_json(errors), "warnings", list_json(warnings));
	text = object ? dump(object) : NULL;
	json_decref(object);
	return print_whole(text, "\n");
}

static bool print_effective(const struct config *config)
{
	return print_whole(config_effective(config), "");
}

static void print_counts(const char *path, const struct policy *policy)
{
	size_t routes = policy_route_count(policy), hosts = policy_host_count(policy);

	printf("%s: ok, %zu route%s, %zu host%s\n", path, routes, routes == 1 ? "" : "s", hosts,
	       hosts == 1 ? "" : "s");
}

/* Errors go to standard error, findings to standard output: scripts read the one, people both. */
static bool check_file(const char *path, const struct choices *choices)
{
	struct diag_list errors = {0}, warnings = {0};
	struct config *config = config_open(path, &errors);
	bool valid = config != NULL;

	if (config)
		policy_advise(config->policy, &warnings);
	if (choices->json)
		valid &= print_json(path, config, &errors, &warnings);
	else if (config && choices->effective)
		valid = print_effective(config);
	else if (config)
		print_counts(path, config->policy);
	else
		diag_list_print(&errors);
	if (!choices->json)
		diag_list_warn(&warnings);
	config_free(config);
	valid &= !warnings.no_memory;
	diag_list_free(&errors);
	diag_list_free(&warnings);
	return valid;
}

int cmd_check(int argc, char **argv)
{
	struct choices choices = {0};
	const struct cmd_option options[] = {
		{"json", .flag = &choices.json}, {"effective", .flag = &choices.effective}, {0}};
	int status = cmd_options("check", help_text, options, argc, argv);
	bool valid = true;

	if (status >= 0)
		return status;
	if (optind == argc)
		return cmd_usage("check", "say which FILE");
	if (choices.effective && (choices.json || argc - optind > 1))
		return cmd_usage("check", "--effective goes with one FILE and without --json");
	/* All of them, also behind a bad one: who mends a file wants to know of the next as well. */
	for (int i = optind; i < argc; i++)
		valid &= check_file(argv[i], &choices);
	return valid ? EXIT_OK : EXIT_USAGE;
}
