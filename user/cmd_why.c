// SPDX-License-Identifier: BSD-2-Clause
/* why: one request, one answer, by the very functions that the proxy asks. */
#include <jansson.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "config.h"
#include "diag.h"
#include "json_text.h"
#include "question.h"

#define DEFAULT_POLICY "routes.yaml"

static const char help_text[] =
	"usage: egress-bpf why [OPTIONS] METHOD URL\n"
	"       egress-bpf why [--name NAME] ID\n"
	"\n"
	"Says what a policy answers to one request: the verdict, its reason, the route with its\n"
	"line, the header and the source of the credential that would be injected (never a value),\n"
	"headers that would be left out, and what would allow a refused request. Asks no network and\n"
	"looks up no secret.\n"
	"With the id of an event: what was decided, and what the sidecar's policy answers now.\n"
	"\n"
	"  --policy FILE    the policy; default routes.yaml in the current directory\n"
	"  --header 'N: V'  a header of the request; may be repeated\n"
	"  --name NAME      with ID: the bottle; default the only one there is\n"
	"  --json           one JSON object\n"
	"  --help           this text\n"
	"\n"
	"Exit status: 0 allowed, 1 refused, 2 usage or policy error.\n";

struct why {
	const char *policy_path, *name, *id;
	bool json;
	struct question question;
};

static int take_header(void *context, const char *text)
{
	struct why *why = context;

	if (!question_add_header(&why->question, text))
		return cmd_usage("why", "'%s' is not a header, 'Name: value'", text);
	return EXIT_OK;
}

/* -1 to go on, else the exit status. */
static int parse_options(struct why *why, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"policy", .text = &why->policy_path},
		{"header", 'H', .take = take_header, .context = why},
		{"name", .text = &why->name},
		{"json", .flag = &why->json},
		{0},
	};
	int status = cmd_options("why", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	/* One word is the id of a decision that was made, unless something says that a request is asked
	 * about: then the URL is missing, and an id would only confuse. */
	if (argc - optind == 1 && !why->policy_path && why->question.header_count == 0) {
		why->id = argv[optind];
		return -1;
	}
	if (why->name)
		return cmd_usage("why", "--name goes with the ID of an event");
	if (argc - optind != 2)
		return cmd_usage("why", "say METHOD and URL, or the ID of an event");
	if (!why->policy_path && access(DEFAULT_POLICY, F_OK) < 0)
		return cmd_usage("why", "say --policy FILE: there is no " DEFAULT_POLICY " here");
	why->question.method = span_from(argv[optind]);
	if (question_set_url(&why->question, argv[optind + 1]))
		return -1;
	if (errno != ENOMEM)
		return cmd_usage("why", "'%s' is not an http:// or https:// URL", argv[optind + 1]);
	diag_error("out of memory");
	return EXIT_USAGE;
}

/* ---- the answer ------------------------------------------------------------------------------- */

static const char *secret_kind(const struct policy_secret *secret)
{
	return secret->kind == POLICY_SECRET_ENV ? "variable" : "file";
}

/* The source of a credential is for the operator; the bottle never sees this text. */
static void print_text(const struct answer *answer)
{
	const struct policy_verdict *verdict = &answer->verdict;

	if (verdict->reason != EGRESS_ALLOWED)
		printf("refused: %s\n", reason_name(verdict->reason));
	else if (answer->note)
		printf("allowed: %s\n", answer->note);
	else
		puts("allowed");
	if (verdict->audited != EGRESS_ALLOWED)
		printf("would be refused: %s\n", reason_name(verdict->audited));
	if (answer->place[0])
		printf("route: %s\n", answer->place);
	if (answer->secret)
		printf("credential: %s, from the %s %s\n", answer->header,
		       secret_kind(answer->secret), answer->secret->source);
	for (size_t i = 0; i < answer->left_out_count; i++)
		printf("%s%.*s%s", i ? ", " : "left out: ", (int)answer->left_out[i].length,
		       answer->left_out[i].data, i + 1 == answer->left_out_count ? "\n" : "");
	if (verdict->reason != EGRESS_ALLOWED)
		printf("would allow it: %s\n",
		       verdict->hint[0] ? verdict->hint : reason_cure(verdict->reason));
}

static json_t *json_left_out(const struct answer *answer)
{
	json_t *names = json_array();

	for (size_t i = 0; i < answer->left_out_count; i++)
		json_array_append_new(names, json_stringn(answer->left_out[i].data,
							  answer->left_out[i].length));
	return names;
}

/* What is not there has no key, so that a script can test for the key alone. */
static void print_json(const struct answer *answer)
{
	const struct policy_verdict *verdict = &answer->verdict;
	bool allowed = verdict->reason == EGRESS_ALLOWED;
	json_t *object = json_pack("{s:b, s:s}", "allowed", allowed, "reason",
				   reason_name(verdict->reason));

	if (verdict->audited != EGRESS_ALLOWED)
		json_object_set_new(object, "audit", json_string(reason_name(verdict->audited)));
	if (answer->note && allowed)
		json_object_set_new(object, "note", json_string(answer->note));
	if (answer->place[0])
		json_object_set_new(object, "route", json_text(answer->place));
	if (answer->secret)
		json_object_set_new(object, "credential",
				    json_pack("{s:s, s:s}", "header", answer->header,
					      secret_kind(answer->secret), answer->secret->source));
	if (answer->left_out_count > 0)
		json_object_set_new(object, "left_out", json_left_out(answer));
	if (!allowed)
		json_object_set_new(object, "hint",
				    json_string(verdict->hint[0] ? verdict->hint
								 : reason_cure(verdict->reason)));
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

/* The policy is read without its secrets: whoever asks need not be who may read them. */
static int answer_question(const struct why *why)
{
	struct diag_list errors = {0};
	const char *path = why->policy_path ? why->policy_path : DEFAULT_POLICY;
	struct config *config = config_open(path, &errors);
	struct answer answer;
	int status = EXIT_USAGE;

	if (config) {
		question_ask(&why->question, config->policy, &answer);
		(why->json ? print_json : print_text)(&answer);
		status = answer.verdict.reason == EGRESS_ALLOWED ? EXIT_OK : EXIT_FAILED;
	} else {
		diag_list_print(&errors);
	}
	config_free(config);
	diag_list_free(&errors);
	return status;
}

int cmd_why(int argc, char **argv)
{
	struct why why = {0};
	int status = parse_options(&why, argc, argv);

	if (status < 0)
		status = why.id ? cmd_why_event(why.name, why.id, why.json) : answer_question(&why);
	/* Also after an error in the options, which may come when half a question is there. */
	question_release(&why.question);
	return status;
}
