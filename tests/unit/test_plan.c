// SPDX-License-Identifier: BSD-2-Clause
/* What the reader of a plan takes, and what it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan.h"

#define ROUTES "routes: []\n"

static char directory[] = "/tmp/egress-plan-XXXXXX";

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

/* A plan in which `from` is replaced by `to`. */
static void write_plan(const char *from, const char *to)
{
	char digest[65], text[2048], changed[4096];
	const char *at;

	plan_digest(SPAN(ROUTES), digest);
	snprintf(text, sizeof(text),
		 "{\"version\": 1, \"bottle\": \"My agent\", \"slug\": \"my-agent\", \"tokens\": "
		 "[{\"token_env\": \"EGRESS_TOKEN_0\", \"token_ref\": \"GH\"}, {\"token_env\": "
		 "\"EGRESS_TOKEN_1\", \"token_ref\": \"NPM\"}], \"networks\": {\"bottle\": \"none\", "
		 "\"sidecar\": \"bridge\"}, \"upstream_proxy\": null, \"routes_sha256\": \"%s\"}",
		 digest);
	at = from ? strstr(text, from) : text;
	assert_non_null(at);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, from ? to : "",
		 at + (from ? strlen(from) : 0));
	write_file(PLAN_FILE, changed, 0644);
	write_file(PLAN_ROUTES, ROUTES, 0600);
}

static void refuses(const char *message)
{
	struct error error = {0};
	struct plan *plan = NULL;

	assert_int_equal(plan_read(directory, &plan, &error), -1);
	assert_null(plan);
	if (!strstr(error.text, message))
		fail_msg("\"%s\" does not say \"%s\"", error.text, message);
}

static void reads(void **state)
{
	struct error error = {0};
	struct plan *plan = NULL;
	char want[128];

	(void)state;
	write_plan(NULL, NULL);
	if (plan_read(directory, &plan, &error) < 0)
		fail_msg("%s", error.text);
	assert_string_equal(plan->bottle, "My agent");
	assert_string_equal(plan->slug, "my-agent");
	assert_int_equal(plan->token_count, 2);
	assert_string_equal(plan->tokens[1].token_env, "EGRESS_TOKEN_1");
	assert_string_equal(plan->tokens[1].token_ref, "NPM");
	assert_string_equal(plan->networks.bottle, "none");
	assert_string_equal(plan->networks.sidecar, "bridge");
	assert_null(plan->upstream_proxy);
	assert_true(span_equal(bytes_span(&plan->routes), SPAN(ROUTES)));
	snprintf(want, sizeof(want), "%s/ca-cert.pem", directory);
	assert_string_equal(plan->ca_cert_file, want);
	plan_free(plan);
	plan_free(NULL);
}

static void names_what_is_wrong(void **state)
{
	static const struct {
		const char *from, *to, *message;
	} cases[] = {
		{"{\"version\"", "[\"version\"", "not JSON"},
		{"\"version\": 1", "\"version\": 2", "\"version\" is not 1"},
		{"\"slug\": \"my-agent\"", "\"slug\": \"../x\"", "\"slug\""},
		{"\"slug\": \"my-agent\"", "\"slug\": \"-rm\"", "\"slug\""},
		{"My agent", "", "\"bottle\""},
		{"EGRESS_TOKEN_1", "EGRESS_TOKEN_0", "\"tokens\""},
		{"EGRESS_TOKEN_1", "LD_PRELOAD", "\"tokens\""},
		{"\"NPM\"", "\"A=B\"", "\"tokens\""},
		{"\"NPM\"", "1", "\"tokens\""},
		{"\"sidecar\"", "\"other\"", "\"networks\""},
		{"null", "7", "\"upstream_proxy\""},
		{"routes_sha256\": \"", "routes_sha256\": \"0", "\"routes_sha256\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_plan(cases[i].from, cases[i].to);
		refuses(cases[i].message);
	}
}

static void routes_of_another_plan(void **state)
{
	(void)state;
	write_plan(NULL, NULL);
	write_file(PLAN_ROUTES, "routes: [{host: a.example}]\n", 0600);
	refuses("is not what plan.json was made with");
}

static void files_of_others(void **state)
{
	char path[128];

	(void)state;
	write_plan(NULL, NULL);
	snprintf(path, sizeof(path), "%s/" PLAN_FILE, directory);
	assert_int_equal(chmod(path, 0666), 0);
	refuses("can be written by others");
	unlink(path);
	refuses("egress-bpf prepare");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	refuses("Too many levels of symbolic links");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	refuses("not a regular file");
	unlink(path);
}

static int make(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int clean(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/" PLAN_ROUTES, directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/" PLAN_FILE, directory);
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads),
		cmocka_unit_test(names_what_is_wrong),
		cmocka_unit_test(routes_of_another_plan),
		cmocka_unit_test(files_of_others),
	};

	return cmocka_run_group_tests_name("plan", tests, make, clean);
}
