// SPDX-License-Identifier: BSD-2-Clause
/* Log lines in, a policy out; and what a hostile bottle can put into such lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "learn.h"

static struct journal read_lines(const char *lines)
{
	struct journal journal;
	struct error error = {0};
	int fd = journal_file(&error);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
	assert_int_equal(journal_read(fd, &journal, &error), 0);
	close(fd);
	return journal;
}

static char *request(const char *host, const char *method, const char *path)
{
	static char line[1024];

	snprintf(line, sizeof(line),
		 "{\"source\":\"proxy\",\"host\":\"%s\",\"port\":443,\"protocol\":\"https\","
		 "\"method\":\"%s\",\"path\":\"%s\",\"verdict\":\"allowed\",\"reason\":\"allowed\","
		 "\"bytes_up\":1,\"bytes_down\":2,\"ms\":1.000}\n",
		 host, method, path);
	return line;
}

/* The learned text, which must be a policy. */
static char *learn(const char *lines, bool wildcards)
{
	const struct learn_options options = {.what = "a\nb: *c\xff", .wildcards = wildcards};
	struct journal journal = read_lines(lines);
	struct diag_list errors = {0};
	struct config *config;
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	assert_true(learn_write(to, &journal, &options));
	fclose(to);
	config = config_parse(&(struct config_source){"learned", {text, length}}, 1, &errors);
	if (!config)
		fail_msg("line %d: %s\n%s", errors.items[0].line, errors.items[0].text, text);
	config_free(config);
	journal_release(&journal);
	return text;
}

/* The learned text without its head. */
static void check(const char *lines, bool wildcards, const char *want)
{
	char *text = learn(lines, wildcards), *routes = strstr(text, "routes:");

	assert_non_null(routes);
	assert_string_equal(routes, want);
	free(text);
}

static void add(char *lines, const char *host, const char *method, const char *path)
{
	strcat(lines, request(host, method, path));
}

static void adding_up(void **state)
{
	char lines[4096] = "";
	struct journal journal;

	(void)state;
	add(lines, "a.test", "GET", "/x");
	add(lines, "a.test", "GET", "/x");
	add(lines, "a.test", "PUT", "/x");
	strcat(lines, "{\"source\":\"kernel\",\"address\":\"192.0.2.1\",\"port\":80,\"protocol\":\"tcp\","
		      "\"reason\":\"address_not_allowed\",\"lost\":3}\nnot json\n{\"cut\":\n");
	journal = read_lines(lines);
	assert_int_equal(journal.entry_count, 3);
	assert_int_equal(journal.entries[0].count, 2);
	assert_int_equal(journal.entries[0].bytes_down, 4);
	assert_string_equal(journal.entries[2].address, "192.0.2.1");
	assert_int_equal(journal.entries[2].reason, EGRESS_ADDRESS_NOT_ALLOWED);
	assert_int_equal(journal.lost, 5);
	journal_release(&journal);
}

static void siblings(void **state)
{
	char lines[8192] = "";

	(void)state;
	add(lines, "a.test", "GET", "/v1/one");
	add(lines, "a.test", "GET", "/v1/two");
	check(lines, false,
	      "routes:\n  # 2 requests, 2 bytes up, 4 down\n  - host: \"a.test\"\n    ports: [443]\n"
	      "    matches:\n      - methods: [GET]\n        paths:\n"
	      "          - {type: exact, value: \"/v1/one\"} # 1 request\n"
	      "          - {type: exact, value: \"/v1/two\"} # 1 request\n");
	add(lines, "a.test", "POST", "/v1/three/deep");
	add(lines, "a.test", "GET", "/v1-beta");
	add(lines, "a.test", "GET", "/v1");
	check(lines, false,
	      "routes:\n  # 5 requests, 5 bytes up, 10 down\n  - host: \"a.test\"\n    ports: [443]\n"
	      "    matches:\n      - methods: [GET]\n        paths:\n"
	      "          - {type: exact, value: \"/v1\"} # 1 request\n"
	      "          - {type: exact, value: \"/v1-beta\"} # 1 request\n"
	      "      - methods: [GET, POST]\n        paths:\n"
	      "          - {type: prefix, value: \"/v1/\"} # 3 requests for 3 paths\n");
}

static void root(void **state)
{
	char lines[8192] = "", path[8] = "/a", *text;

	(void)state;
	for (; path[1] < 'a' + 11; path[1]++)
		add(lines, "a.test", "GET", path);
	add(lines, "a.test", "GET", "/a"); /* no twelfth */
	text = learn(lines, false);
	assert_non_null(strstr(text, "exact, value: \"/k\""));
	free(text);
	add(lines, "a.test", "GET", "/");
	check(lines, false,
	      "routes:\n  # 13 requests, 13 bytes up, 26 down\n  - host: \"a.test\"\n    ports: [443]\n"
	      "    methods: [GET]\n");
}

static void paths_that_rules_cannot_name(void **state)
{
	char lines[4096] = "";
	char *text;

	(void)state;
	add(lines, "a.test", "GET", "/x/..%2f..");
	add(lines, "a.test", "get", "/y");
	add(lines, "b.test", "GET", "/@scope%2fname");
	text = learn(lines, false);
	assert_non_null(strstr(text, "- host: \"a.test\"\n    ports: [443]\n    # a path was asked for "
				     "that no rule can name, so that there are none\n  # 1 req"));
	assert_non_null(strstr(text, "\"/@scope%2fname\"} # 1 request\n    allow_encoded_slash: true"));
	free(text);
}

static void wildcards(void **state)
{
	char lines[8192] = "";
	char *text;

	(void)state;
	add(lines, "a.cdn.example.com", "GET", "/x");
	add(lines, "b.cdn.example.com", "GET", "/x");
	add(lines, "one.github.io", "GET", "/");
	add(lines, "two.github.io", "GET", "/");
	add(lines, "three.github.io", "GET", "/"); /* anybody's: a public suffix */
	add(lines, "a.co.uk", "GET", "/");
	add(lines, "b.co.uk", "GET", "/");
	add(lines, "c.co.uk", "GET", "/");
	text = learn(lines, true);
	assert_null(strstr(text, "\"*."));
	free(text);
	add(lines, "c.cdn.example.com", "GET", "/x");
	text = learn(lines, true);
	assert_non_null(strstr(text, "# 3 requests, 3 bytes up, 6 down\n  - host: "
				     "\"*.cdn.example.com\"\n"));
	assert_null(strstr(text, "*.github.io"));
	assert_null(strstr(text, "*.co.uk"));
	free(text);
	text = learn(lines, false);
	assert_null(strstr(text, "\"*."));
	free(text);
}

/* Nothing that the bottle says may become a line, a key or a comment's end. */
static void hostile_texts(void **state)
{
	char *text;

	(void)state;
	text = learn("{\"source\":\"proxy\",\"host\":\"a.test\",\"port\":443,\"protocol\":\"https\","
		     "\"method\":\"GET\",\"path\":\"/\\u000a  - host: evil\\\"\\u0009\",\"reason\":"
		     "\"allowed\"}\n"
		     "{\"source\":\"dns\",\"host\":\"x\\u000aroutes: [{host: evil}]\",\"reason\":"
		     "\"host_not_allowed\"}\n",
		     false);
	assert_null(strstr(text, "\n  - host: evil"));
	assert_null(strstr(text, "\nroutes: [{host"));
	assert_null(strstr(text, "\nb: *c"));
	free(text);
	/* YAML's other ends of lines; a taken worker writes them as it likes, and a host that is none. */
	text = learn("{\"source\":\"dns\",\"host\":\"x\\u0085  - host: a.test\",\"method\":\"\\u2028b\",\"protocol\":"
		     "\"\\u2029c\",\"reason\":\"host_not_allowed\"}\n"
		     "{\"source\":\"proxy\",\"host\":\"a\\u2028test\",\"port\":443,\"protocol\":\"https\",\"method\":"
		     "\"GET\",\"path\":\"/\",\"reason\":\"allowed\"}\n",
		     false);
	assert_non_null(strstr(text, "routes: []\n"));
	assert_non_null(strstr(text, "# 1x host_not_allowed: ???b x??  - host: a.test (???c)\n"));
	free(text);
}

static void refused_is_comment(void **state)
{
	(void)state;
	check("{\"source\":\"proxy\",\"host\":\"a.test\",\"port\":443,\"protocol\":\"https\",\"method\":"
	      "\"GET\",\"path\":\"/\",\"reason\":\"upstream_unresolved\"}\n"
	      "{\"source\":\"proxy\",\"host\":\"a.test\",\"port\":443,\"method\":\"CONNECT\",\"reason\":"
	      "\"allowed\"}\n",
	      false,
	      "routes: []\n\n# What did not get out, and is not in this policy:\n"
	      "# 1x upstream_unresolved: GET a.test:443 (https)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adding_up),
		cmocka_unit_test(siblings),
		cmocka_unit_test(root),
		cmocka_unit_test(paths_that_rules_cannot_name),
		cmocka_unit_test(wildcards),
		cmocka_unit_test(hostile_texts),
		cmocka_unit_test(refused_is_comment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
