// SPDX-License-Identifier: BSD-2-Clause
/* test: expectations put to a policy, as the proxy would put requests. Exit status 1 only when a
 * verdict is another; a file that cannot be read is 2. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "config.h"
#include "config_expect.h"
#include "diag.h"
#include "question.h"
#include "reason.h"

static const char help_text[] =
	"usage: egress-bpf test [--policy FILE] [-q] FILE...\n"
	"\n"
	"Puts the requests of each FILE to a policy and compares the verdicts. Asks no network and\n"
	"looks up no secret. A FILE is YAML:\n"
	"\n"
	"  policy: routes.yaml      # beside this file\n"
	"  expect:\n"
	"    - GET https://api.example.com/v1/x: allow\n"
	"    - POST https://api.example.com/v1/x: method_not_allowed\n"
	"    - GET https://api.example.com/v2/:\n"
	"        {verdict: allow, headers: {x-version: \"2\"}, credential: API_TOKEN}\n"
	"\n"
	"A verdict is allow, refuse (for any reason), or a reason. A credential is the variable or\n"
	"the file that it comes from, or none.\n"
	"\n"
	"  --policy FILE  this policy, whatever the files name\n"
	"  -q, --quiet    only what is not as expected\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0 all as expected, 1 something is not, 2 usage error or a file with errors.\n";

struct choices {
	const char *policy;
	bool quiet;
};

/* False when the URL or a header is none; that is said. */
static bool build_question(const struct expectation *wish, const char *file, struct question *ret)
{
	ret->method = span_from(wish->method);
	if (!question_set_url(ret, wish->url)) {
		if (errno == ENOMEM)
			diag_error("out of memory");
		else
			diag_error("%s:%d: '%s' is not an http:// or https:// URL", file,
				   wish->line, wish->url);
		return false;
	}
	for (size_t i = 0; i < wish->header_count; i++) {
		if (!question_add_header(ret, wish->headers[i])) {
			diag_error("%s:%d: '%s' is not a header, or one too many", file, wish->line,
				   wish->headers[i]);
			return false;
		}
	}
	return true;
}

/* Where the credential comes from is compared, for its value is not known here. */
static bool is_as_expected(const struct expectation *wish, const struct answer *answer)
{
	const char *source = answer->secret ? answer->secret->source : "";

	if (wish->any_refusal)
		return answer->verdict.reason != EGRESS_ALLOWED;
	if (answer->verdict.reason != wish->reason)
		return false;
	return !wish->credential || strcmp(wish->credential, source) == 0;
}

/* What was wanted first: the reader has written that, and knows where to look. */
static void print_miss(const struct expectation *wish, const struct answer *answer,
		       const char *file)
{
	const char *want = wish->any_refusal ? "refused" : reason_name(wish->reason);

	printf("%s:%d: %s %s: expected %s", file, wish->line, wish->method, wish->url, want);
	if (wish->credential)
		printf(" with %s", wish->credential[0] ? wish->credential : "no credential");
	printf(", is %s", reason_name(answer->verdict.reason));
	if (answer->verdict.reason == EGRESS_ALLOWED && wish->credential)
		printf(" with %s", answer->secret ? answer->secret->source : "no credential");
	printf("%s%s", answer->place[0] ? " by " : "", answer->place);
	if (answer->verdict.hint[0])
		printf("; would allow it: %s", answer->verdict.hint);
	putchar('\n');
}

/* How many are not as expected; -1 when the file has errors. Stops at the first mistake in the
 * file: a count of half of it would say nothing. */
static int run_file(const char *file, const struct expectations *wishes,
		    const struct config *config)
{
	int misses = 0;

	for (size_t i = 0; i < wishes->count; i++) {
		const struct expectation *wish = &wishes->list[i];
		struct question question = {0};
		struct answer answer;

		if (!build_question(wish, file, &question)) {
			question_release(&question);
			return -1;
		}
		question_ask(&question, config->policy, &answer);
		if (!is_as_expected(wish, &answer)) {
			print_miss(wish, &answer, file);
			misses++;
		}
		question_release(&question);
	}
	return misses;
}

/* --policy goes before what the file names, so that a proposed policy is held to the tests of the one in
 * force. */
static int test_file(const char *file, const struct choices *choices)
{
	struct diag_list errors = {0};
	struct expectations *wishes = expectations_open(file, &errors);
	const char *policy = choices->policy;
	struct config *config = NULL;
	int misses = -1;

	if (wishes && !policy)
		policy = wishes->policy;
	if (wishes && !policy)
		diag_list_add(&errors, file, 0,
			      "names no policy; would be right: policy: routes.yaml, or --policy FILE");
	if (wishes && policy)
		config = config_open(policy, &errors);
	diag_list_print(&errors);
	if (config)
		misses = run_file(file, wishes, config);
	if (misses >= 0 && !choices->quiet)
		printf("%s: %zu as expected, %d not\n", file, wishes->count - (size_t)misses,
		       misses);
	config_free(config);
	expectations_free(wishes);
	diag_list_free(&errors);
	if (misses < 0)
		return EXIT_USAGE;
	return misses > 0 ? EXIT_FAILED : EXIT_OK;
}

int cmd_test(int argc, char **argv)
{
	struct choices choices = {0};
	const struct cmd_option options[] = {
		{"policy", .text = &choices.policy}, {"quiet", 'q', .flag = &choices.quiet}, {0}};
	int worst = cmd_options("test", help_text, options, argc, argv);

	if (worst >= 0)
		return worst;
	worst = EXIT_OK;
	if (optind == argc)
		return cmd_usage("test", "say which FILE");
	for (int i = optind; i < argc; i++) {
		int status = test_file(argv[i], &choices);

		/* The statuses are ordered by how bad they are, and a file behind a bad one is asked, too. */
		worst = status > worst ? status : worst;
	}
	return worst;
}
