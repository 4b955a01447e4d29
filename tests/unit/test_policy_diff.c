// SPDX-License-Identifier: BSD-2-Clause
/* Pairs of policies with the lines that tell their difference, and the round trip through
 * config_effective(): what it writes is read back as the same policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>

#include "config.h"
#include "policy_diff.h"

static struct config *parse(const char *name, const char *text)
{
	struct diag_list errors = {0};
	struct config_source source = {name, span_from(text)};
	struct config *config = config_parse(&source, 1, &errors);

	if (!config)
		fail_msg("%s:%d: %s", name, errors.items[0].line, errors.items[0].text);
	return config;
}

/* "+ target | methods | paths | ports | headers | before > after @file:line", one per line. */
static void seen(void *context, const struct policy_change *c)
{
	assert_true(bytes_printf(context, "%c %s|%s|%s|%s|%s|%s > %s @%s:%d\n", "+-!"[c->kind],
				 c->target, c->methods, c->paths, c->ports, c->headers, c->before,
				 c->after, c->file ? c->file : "", c->line));
}

static char *diff(const struct config *before, const struct config *after)
{
	struct bytes lines = {0};
	struct error error = {0};
	char *text;

	assert_int_equal(policy_diff(before->policy, after->policy, seen, &lines, &error), 0);
	text = span_copy(bytes_span(&lines));
	assert_non_null(text);
	bytes_free(&lines);
	return text;
}

static void check(const char *before, const char *after, const char *want)
{
	struct config *a = parse("old", before), *b = parse("new", after);
	char *got = diff(a, b);

	assert_string_equal(got, want);
	free(got);
	config_free(a);
	config_free(b);
}

static void hosts(void **state)
{
	(void)state;
	check("routes: [{host: a.test}]", "routes: [{host: b.test}]",
	      "- a.test|||||allowed > refused @old:1\n"
	      "+ b.test|||||refused > allowed @new:1\n");
	check("routes: [{host: a.test}, {host: b.test}]", "routes: [{host: b.test}, {host: a.test}]",
	      "");
	/* A name that was a wildcard's own is one no more. */
	check("routes: [{host: '*.a.test'}]", "routes: [{host: '*.a.test'}, {host: x.a.test, ports: [443]}]",
	      "- x.a.test|||80||allowed > refused @old:1\n");
	check("routes: [{host: x.a.test}]", "routes: [{host: '*.a.test'}]",
	      "+ *.a.test|||||refused > allowed @new:1\n");
}

static void paths_and_methods(void **state)
{
	(void)state;
	check("routes: [{host: a.test, path_allowlist: [/v1/]}]",
	      "routes: [{host: a.test, path_allowlist: [/v1/, /v2], methods: [GET, POST]}]",
	      "- a.test|other methods|/v1/ and below|||allowed > refused @old:1\n"
	      "+ a.test|GET, POST|/v2 and below|||refused > allowed @new:1\n");
	/* Written otherwise, but the same. */
	check("routes: [{host: a.test, path_allowlist: [/v1/], methods: [GET]}]",
	      "routes: [{host: a.test, matches: [{paths: [{type: prefix, value: /v1/}], methods: "
	      "[GET]}]}]",
	      "");
	/* A narrower rule inside of a wider one that allows it already. */
	check("routes: [{host: a.test, path_allowlist: [/v1/]}]",
	      "routes: [{host: a.test, path_allowlist: [/v1/, /v1/x]}]", "");
	check("routes: [{host: a.test, matches: [{paths: [{type: exact, value: /x}]}]}]",
	      "routes: [{host: a.test, path_allowlist: [/x]}]",
	      "+ a.test||below /x|||refused > allowed @new:1\n");
	check("routes: [{host: a.test, path_allowlist: [/x/]}]",
	      "routes: [{host: a.test, path_allowlist: [/x/], allow_encoded_slash: true}]",
	      "+ a.test||below /x/ with %2F|||refused > allowed @new:1\n");
}

static void ports_and_modes(void **state)
{
	(void)state;
	check("routes: [{host: a.test}]", "routes: [{host: a.test, ports: [443]}]",
	      "- a.test|||80||allowed > refused @old:1\n");
	check("routes: [{host: a.test, ports: [443]}]",
	      "routes: [{host: a.test, tls: passthrough}]",
	      "! a.test|||by https||allowed > allowed, as TLS passthrough @new:1\n"
	      "- a.test|||by http||allowed > refused @old:1\n");
	check("routes: []", "routes: [{host: d.test, protocol: tcp, ports: [5432]}]",
	      "+ d.test|||||refused > allowed, as raw TCP @new:1\n");
	check("routes: [{host: a.test}]", "routes: [{host: a.test, allow_private: true}]",
	      "! a.test|||||allowed > allowed, also at private addresses @new:1\n");
	check("routes: [{cidr: 8.0.0.0/6, ports: [9], protocol: tcp}]",
	      "routes: [{cidr: 8.0.0.0/6, ports: [9], protocol: tcp, allow_private: true}]",
	      "! 8.0.0.0/6|||9||allowed, as raw TCP > allowed, as raw TCP, also at private addresses "
	      "@new:1\n");
}

static void credentials(void **state)
{
	(void)state;
	check("routes: [{host: a.test, auth_scheme: Bearer, token_env: A}]",
	      "routes: [{host: a.test, auth_scheme: token, token_env: A}]",
	      "! a.test|||by https||allowed, Authorization (Bearer) from the variable A > allowed, "
	      "Authorization (token) from the variable A @new:1\n");
	check("routes: [{host: a.test, auth: {scheme: Basic, username: u, token_file: /f}}]",
	      "routes: [{host: a.test, keep_authorization: true}]",
	      "! a.test|||by https||allowed, Authorization (Basic, user u) from the file /f > "
	      "allowed, with the program's own Authorization @new:1\n"
	      "+ a.test|||by http||refused > allowed, with the program's own Authorization @new:1\n");
	check("routes: [{host: a.test}]",
	      "routes: [{host: a.test, client_cert: /c.pem, client_key: /k.pem}]",
	      "! a.test|||||allowed > allowed, client certificate from /c.pem and /k.pem @new:1\n");
}

static void headers_and_regexes(void **state)
{
	(void)state;
	check("routes: [{host: a.test}]",
	      "routes: [{host: a.test, matches: [{headers: [{name: v, value: '1'}]}]}]",
	      "- a.test||||no header|allowed > refused @old:1\n");
	check("routes: [{host: a.test, matches: [{paths: [{type: regex, value: '/[0-9]'}]}]}]",
	      "routes: [{host: a.test, matches: [{paths: [{type: regex, value: '/[0-8]'}], methods: "
	      "[GET]}]}]",
	      "- a.test||/[0-9], ports 443, 80: allowed|||a rule > no such rule @old:1\n"
	      "+ a.test||/[0-8], methods GET, ports 443, 80: allowed|||no such rule > a rule @new:1\n");
}

static void addresses(void **state)
{
	(void)state;
	check("routes: [{cidr: 203.0.113.0/24, ports: [1, 2]}]",
	      "routes: [{cidr: 203.0.113.0/24, ports: [2, 3]}]",
	      "- 203.0.113.0/24|||1||allowed, as raw TCP > refused @old:1\n"
	      "+ 203.0.113.0/24|||3||refused > allowed, as raw TCP @new:1\n");
	/* The narrower block decides alone: what the wider allows is lost there, and only there. */
	check("routes: [{cidr: 203.0.113.0/24, ports: [1]}]",
	      "routes: [{cidr: 203.0.113.0/24, ports: [1]}, {cidr: 203.0.113.0/25, ports: [2]}]",
	      "- 203.0.113.0/25|||1||allowed, as raw TCP > refused @old:1\n"
	      "+ 203.0.113.0/25|||2||refused > allowed, as raw TCP @new:1\n");
	/* Wholly covered by its halves, the wide one changes nothing. */
	check("routes: [{cidr: 203.0.113.0/25, ports: [1]}, {cidr: 203.0.113.128/25, ports: [1]}]",
	      "routes: [{cidr: 203.0.113.0/25, ports: [1]}, {cidr: 203.0.113.128/25, ports: [1]}, "
	      "{cidr: 203.0.113.0/24, ports: [2]}]",
	      "");
	check("routes: [{cidr: 2001:db8::/32, ports: [1]}]",
	      "routes: [{cidr: 2001:db8::/32, ports: [1], direct: true}]",
	      "! 2001:db8::/32|||1||allowed, as raw TCP > allowed, past the proxy @new:1\n");
	check("routes: [{cidr: 203.0.113.0/24, ports: [1], direct: true}]",
	      "routes: [{cidr: 203.0.113.0/24, ports: [1], direct: true, allow_private: true}]",
	      "! 203.0.113.0/24|||1||allowed, past the proxy > allowed, past the proxy, also at "
	      "private addresses @new:1\n");
}

/* Long paths that differ in their last byte alone. */
static void long_names(void **state)
{
	char before[4096], after[4096], *got, deep[301];
	struct config *a, *b;

	(void)state;
	memset(deep, 'd', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	for (unsigned kind = 0; kind < 3; kind++) {
		static const char *const forms[] = {
			"routes: [{host: a.test, auth: {scheme: Bearer, token_file: /%s%c}}]",
			"routes: [{host: a.test, client_cert: /c.pem, client_key: /%s%c}]",
			"routes: [{host: a.test, auth: {scheme: Basic, username: %s%c, token_env: A}}]",
		};

		snprintf(before, sizeof(before), forms[kind], deep, '1');
		snprintf(after, sizeof(after), forms[kind], deep, '2');
		a = parse("old", before);
		b = parse("new", after);
		got = diff(a, b);
		if (!strstr(got, "d1") || !strstr(got, "d2"))
			fail_msg("%u: '%s'", kind, got);
		free(got);
		config_free(a);
		config_free(b);
	}
}

/* ---- the compiled policy ---------------------------------------------------------------------- */

/* Without the comments, which say where a route stands. */
static void cut_comments(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		if (strncmp(from, " # ", 3) == 0)
			from += strcspn(from, "\n");
		*to++ = *from++;
	}
	*to = '\0';
}

static void round_trip(const char *path)
{
	struct diag_list errors = {0};
	struct config *config = config_open(path, &errors), *again;
	char *text, *second, *difference;

	assert_non_null(config);
	text = config_effective(config);
	assert_non_null(text);
	again = parse("effective", text);
	difference = diff(config, again);
	assert_string_equal(difference, "");
	assert_int_equal(policy_route_count(config->policy), policy_route_count(again->policy));
	second = config_effective(again);
	assert_non_null(second);
	cut_comments(text);
	cut_comments(second);
	assert_string_equal(text, second);
	free(text);
	free(second);
	free(difference);
	config_free(config);
	config_free(again);
}

static void effective_round_trip(void **state)
{
	glob_t found;

	(void)state;
	assert_int_equal(glob("tests/unit/policies/good/*", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		round_trip(found.gl_pathv[i]);
	assert_true(found.gl_pathc >= 5);
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),
		cmocka_unit_test(paths_and_methods),
		cmocka_unit_test(ports_and_modes),
		cmocka_unit_test(credentials),
		cmocka_unit_test(headers_and_regexes),
		cmocka_unit_test(addresses),
		cmocka_unit_test(long_names),
		cmocka_unit_test(effective_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
