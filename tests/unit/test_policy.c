// SPDX-License-Identifier: BSD-2-Clause
/* Policies are built by hand here: the tests link no parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- building ----------------------------------------------------------------------------- */

struct rule {
	const char *host;
	enum policy_path_type type;
	const char *path;   /* NULL: every path */
	const char *method; /* NULL: every method */
	const char *header, *header_value;
	const char *secret; /* variable; NULL: no auth */
	uint16_t port;	    /* 0: the default */
	enum policy_mode mode;
	bool encoded_slash, plaintext, keep, private;
	const char *file; /* NULL: routes.yaml */
};

static int add(struct policy *policy, const struct rule *rule, int line, struct error *error)
{
	const struct policy_path_spec path = {rule->type, rule->path};
	const char *const methods[] = {rule->method};
	const struct policy_header_spec header = {rule->header, rule->header_value};
	const struct policy_match_spec match = {
		.paths = &path,
		.path_count = rule->path ? 1 : 0,
		.methods = methods,
		.method_count = rule->method ? 1 : 0,
		.headers = &header,
		.header_count = rule->header ? 1 : 0,
	};
	const struct policy_auth_spec auth = {
		.scheme = POLICY_AUTH_BEARER,
		.kind = POLICY_SECRET_ENV,
		.source = rule->secret,
	};
	const struct policy_route_spec spec = {
		.host = rule->host,
		.ports = &rule->port,
		.port_count = rule->port ? 1 : 0,
		.mode = rule->mode,
		.matches = &match,
		.match_count = rule->path || rule->method || rule->header ? 1 : 0,
		.auth = rule->secret ? &auth : NULL,
		.allow_private = rule->private,
		.allow_plaintext = rule->plaintext,
		.allow_encoded_slash = rule->encoded_slash,
		.keep_authorization = rule->keep,
		.file = rule->file ? rule->file : "/etc/egress/routes.yaml",
		.line = line,
	};

	return policy_add(policy, &spec, error);
}

/* Rule i stands at line i + 1. */
static struct policy *build(const struct rule *rules, size_t count)
{
	struct policy *policy = policy_new();
	struct error error = {0};

	assert_non_null(policy);
	for (size_t i = 0; i < count; i++) {
		if (add(policy, &rules[i], (int)i + 1, &error) < 0)
			fail_msg("rule %zu: %s", i, error.text);
	}
	assert_int_equal(policy_finish(policy, &error), 0);
	return policy;
}

static struct policy_verdict ask(const struct policy *policy, const char *host, const char *method,
				 const char *target)
{
	struct policy_verdict verdict;

	policy_decide(policy,
		      &(struct policy_request){
			      .host = host,
			      .port = 443,
			      .tls = true,
			      .method = span_from(method),
			      .target = span_from(target),
		      },
		      &verdict);
	return verdict;
}

/* ---- paths -------------------------------------------------------------------------------- */

static void prefixes_end_at_segments(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/repos/acme"},
		{.host = "b.test", .type = POLICY_PATH_PREFIX, .path = "/repos/acme/"},
		{.host = "c.test", .type = POLICY_PATH_PREFIX, .path = "/"},
		{.host = "d.test", .type = POLICY_PATH_EXACT, .path = "/user"},
		{.host = "e.test", .type = POLICY_PATH_REGEX, .path = "/v[12]|/v[12]/x.*"},
	};
	static const struct {
		const char *host, *target;
		bool allowed;
	} cases[] = {
		{"a.test", "/repos/acme", true},
		{"a.test", "/repos/acme/", true},
		{"a.test", "/repos/acme/x", true},
		{"a.test", "/repos/acme?x=/../y", true},
		{"a.test", "/repos/acme-evil", false},
		{"a.test", "/repos/acm", false},
		{"a.test", "/repos/ACME", false},
		{"a.test", "/x/repos/acme", false},
		{"a.test", "/repos%2Facme", false},
		{"a.test", "/?/repos/acme", false},
		{"a.test", "/repos/%61cme/x", true},
		{"a.test", "/repos/acme%20", false},
		{"b.test", "/repos/acme/", true},
		{"b.test", "/repos/acme/x/y", true},
		{"b.test", "/repos/acme", false},
		{"b.test", "/repos/acme-evil/", false},
		{"c.test", "/", true},
		{"c.test", "/anything/at/all?q", true},
		{"d.test", "/user", true},
		{"d.test", "/user?x", true},
		{"d.test", "/user/", false},
		{"d.test", "/users", false},
		{"d.test", "/%75ser", true},
		{"e.test", "/v1", true},
		{"e.test", "/v2/xyz", true},
		{"e.test", "/v3", false},
		{"e.test", "/v1/", false},
		{"e.test", "/a/v1", false},
		{"e.test", "/v1\n", false},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		bool allowed = ask(policy, cases[i].host, "GET", cases[i].target).reason ==
			       EGRESS_ALLOWED;

		if (allowed != cases[i].allowed)
			fail_msg("%s%s", cases[i].host, cases[i].target);
	}
	policy_unref(policy);
}

static void ambiguous_paths(void **state)
{
	static const struct rule rules[] = {
		{.host = "strict.test", .type = POLICY_PATH_PREFIX, .path = "/"},
		{.host = "auth.test", .secret = "TOKEN"},
		{.host = "slash.test", .type = POLICY_PATH_PREFIX, .path = "/", .encoded_slash = true},
		{.host = "free.test"},
	};
	static const char *const ambiguous[] = {
		"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/%2e/b",
		"/a/%2E%2e/b", "/a/.%2e/b", "/a/%2e./b", "/a/..;/b", "/a/..;x=y/b", "/a/.;/b",
		"/a/..%3f/b", "/a/.%23/b", "/a/%2e%2e%3F",
		"/a/%2e%2e;/b", "/a/..%3b/b", "/a/..%3Bx/b", "/..%20/b", "//", "/a//b", "/a//",
		"//evil.test/a", "/a\\b", "/a%5cb", "/a%5Cb", "/a/..%5c..%5cb", "/a%00b", "/a%0ab",
		"/a%0d", "/a%1f", "/a%7f", "/a%", "/a%2", "/a%zz", "/a%u002e", "/a%%32%65", "/a#b",
		"/a?b#c", "/a\xc3\xa9", "/a\x80", "/%252e%252e/b", "/a%252fb", "/a%255cb",
		"/a%25252e", "/%25%32%65/b", "/a%2500", "/%c0%ae%c0%ae/b", "/%e0%80%ae/b", "/a%c3",
		"/a%ff", "/%f5%80%80%80", "/%ed%a0%80", "/%C3/x",
		/* an encoded slash joins them to a dot segment for who decodes it */
		"/a%2f..%2fb", "/a/..%2fb", "/a%2f.", "/a%2f%2fb", "/%2fb", "/a/%2fb", "/a%2f/b",
	};
	static const char *const plain[] = {
		"/", "/a", "/a/", "/a.b", "/.a", "/..a", "/a..", "/...", "/a/.git/x", "/a;x=y",
		"/a%20b", "/%C3%A9", "/%e2%82%ac", "/%F0%9F%98%80", "/a%25b", "/a%252a", "/100%25",
		"/@scope/x", "/a:b", "/a?x=//y/../z%2f%5c\\", "/a%3fb", "/a%41", "/~x", "/%7ex",
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(ambiguous); i++) {
		static const char *const hosts[] = {"strict.test", "auth.test", "slash.test"};

		for (size_t j = 0; j < COUNT(hosts); j++) {
			struct policy_verdict verdict = ask(policy, hosts[j], "GET", ambiguous[i]);

			if (verdict.reason != EGRESS_AMBIGUOUS_PATH)
				fail_msg("%s%s: %d", hosts[j], ambiguous[i], (int)verdict.reason);
			assert_non_null(strstr(verdict.hint, "the path holds "));
		}
		assert_int_equal(ask(policy, "free.test", "GET", ambiguous[i]).reason,
				 EGRESS_ALLOWED);
	}
	for (size_t i = 0; i < COUNT(plain); i++) {
		if (ask(policy, "strict.test", "GET", plain[i]).reason != EGRESS_ALLOWED)
			fail_msg("%s", plain[i]);
		assert_int_equal(ask(policy, "auth.test", "GET", plain[i]).reason, EGRESS_ALLOWED);
	}
	policy_unref(policy);
}

static void encoded_slashes(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/p", .encoded_slash = true},
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/p/closed"},
		{.host = "a.test", .type = POLICY_PATH_EXACT, .path = "/x%2fy", .encoded_slash = true},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct policy_verdict verdict;

	(void)state;
	verdict = ask(policy, "a.test", "GET", "/p/@scope%2fname");
	assert_int_equal(verdict.reason, EGRESS_ALLOWED);
	assert_int_equal(policy_route_line(verdict.route), 1);
	/* A literal: it ends no segment, so "/p" is no prefix of this. */
	assert_int_equal(ask(policy, "a.test", "GET", "/p%2fx").reason, EGRESS_PATH_NOT_ALLOWED);
	assert_int_equal(ask(policy, "a.test", "GET", "/x%2Fy").reason, EGRESS_ALLOWED);
	assert_int_equal(ask(policy, "a.test", "GET", "/x/y").reason, EGRESS_PATH_NOT_ALLOWED);
	/* The nearer rule does not take it, the wider one does. */
	verdict = ask(policy, "a.test", "GET", "/p/closed/a%2fb");
	assert_int_equal(verdict.reason, EGRESS_ALLOWED);
	assert_int_equal(policy_route_line(verdict.route), 1);
	policy_unref(policy);
}

static void encoded_slash_hint(void **state)
{
	static const struct rule rule = {.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/p"};
	struct policy *policy = build(&rule, 1);
	struct policy_verdict verdict = ask(policy, "a.test", "GET", "/p/a%2fb");

	(void)state;
	assert_int_equal(verdict.reason, EGRESS_AMBIGUOUS_PATH);
	assert_non_null(strstr(verdict.hint, "allow_encoded_slash: true on a.test (routes.yaml:1)"));
	/* also where no rule is near: the path itself is what is wrong with it */
	assert_int_equal(ask(policy, "a.test", "GET", "/p%2fb").reason, EGRESS_AMBIGUOUS_PATH);
	policy_unref(policy);
}

static void targets(void **state)
{
	static const struct rule rules[] = {
		{.host = "strict.test", .type = POLICY_PATH_PREFIX, .path = "/"},
		{.host = "free.test"},
	};
	static const char *const bad[] = {
		"", "?x", "a", "http://free.test/", "/a b", "/a\r\nb", "/a?b c", "/a\tb", "/\x7f", "*x",
		"free.test:443",
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(ask(policy, "free.test", "GET", bad[i]).reason, EGRESS_BAD_REQUEST);
		assert_int_equal(ask(policy, "strict.test", "GET", bad[i]).reason,
				 EGRESS_BAD_REQUEST);
	}
	assert_int_equal(ask(policy, "free.test", "OPTIONS", "*").reason, EGRESS_ALLOWED);
	assert_int_equal(ask(policy, "free.test", "GET", "*").reason, EGRESS_BAD_REQUEST);
	assert_int_equal(ask(policy, "strict.test", "OPTIONS", "*").reason, EGRESS_PATH_NOT_ALLOWED);
	assert_int_equal(ask(policy, "free.test", "GET", "/caf\xc3\xa9").reason, EGRESS_ALLOWED);
	policy_unref(policy);
}

static void long_path(void **state)
{
	static const struct rule rule = {.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/p"};
	struct policy *policy = build(&rule, 1);
	char *target = malloc(200001);

	(void)state;
	memset(target, 'x', 200000);
	target[200000] = '\0';
	memcpy(target, "/p/", 3);
	assert_int_equal(ask(policy, "a.test", "GET", target).reason, EGRESS_ALLOWED);
	memcpy(target + 199990, "/../", 4);
	assert_int_equal(ask(policy, "a.test", "GET", target).reason, EGRESS_AMBIGUOUS_PATH);
	for (size_t i = 2; i < 200000; i += 2)
		memcpy(target + i, "/y", 2);
	assert_int_equal(ask(policy, "a.test", "GET", target).reason, EGRESS_ALLOWED);
	free(target);
	policy_unref(policy);
}

/* A pattern that backtracks for ever must refuse soon, also when a wider rule would allow. */
static void regex_limit(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_REGEX, .path = "/(a+)+b"},
		{.host = "a.test"},
	};
	struct policy *policy = build(rules, COUNT(rules));
	char target[64];

	(void)state;
	assert_int_equal(ask(policy, "a.test", "GET", "/aaab").reason, EGRESS_ALLOWED);
	memset(target, 'a', sizeof(target));
	target[0] = '/';
	target[sizeof(target) - 1] = '\0';
	strcpy(target + sizeof(target) - 3, "cb");
	assert_int_equal(ask(policy, "a.test", "GET", target).reason, EGRESS_PATH_NOT_ALLOWED);
	policy_unref(policy);
}

/* ---- which rule --------------------------------------------------------------------------- */

static void most_specific_wins(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test"},							   /* 1 */
		{.host = "a.test", .type = POLICY_PATH_REGEX, .path = "/r.*"},		   /* 2 */
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/repos"},	   /* 3 */
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/repos/acme"},	   /* 4 */
		{.host = "a.test", .type = POLICY_PATH_EXACT, .path = "/repos/acme/x"},	   /* 5 */
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/repos/acme"},	   /* 6 */
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/repos/acme/",
		 .method = "POST"},							   /* 7 */
		{.host = "a.test", .type = POLICY_PATH_EXACT, .path = "/only", .port = 8443}, /* 8 */
	};
	static const struct {
		const char *method, *target;
		int line;
	} cases[] = {
		{"GET", "/", 1},	       {"GET", "/x", 1},
		{"GET", "/rest", 2},	       {"GET", "/repos", 3},
		{"GET", "/repos-x", 2},	       {"GET", "/repos/other", 3},
		{"GET", "/repos/acme", 4},     {"GET", "/repos/acme/y", 4},
		{"POST", "/repos/acme/y", 7},  {"GET", "/repos/acme/x", 5},
		{"POST", "/repos/acme/x", 5},  {"GET", "/only", 1},
		{"GET", "/repos/acme/x/", 4},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy_verdict verdict =
			ask(policy, "a.test", cases[i].method, cases[i].target);

		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
		if (policy_route_line(verdict.route) != cases[i].line)
			fail_msg("%s %s: line %d", cases[i].method, cases[i].target,
				 policy_route_line(verdict.route));
	}
	policy_unref(policy);
}

static void hosts(void **state)
{
	static const struct rule rules[] = {
		{.host = "example.com", .type = POLICY_PATH_EXACT, .path = "/apex"},
		{.host = "*.example.com", .type = POLICY_PATH_EXACT, .path = "/wild"},
		{.host = "*.deep.example.com", .type = POLICY_PATH_EXACT, .path = "/deep"},
		{.host = "api.deep.example.com", .type = POLICY_PATH_EXACT, .path = "/api"},
		{.host = "*.only.test"},
	};
	static const struct {
		const char *host, *target;
		enum egress_reason reason;
	} cases[] = {
		{"example.com", "/apex", EGRESS_ALLOWED},
		{"example.com", "/wild", EGRESS_PATH_NOT_ALLOWED},
		{"x.example.com", "/wild", EGRESS_ALLOWED},
		{"x.y.example.com", "/wild", EGRESS_ALLOWED},
		{"x.deep.example.com", "/deep", EGRESS_ALLOWED},
		{"x.deep.example.com", "/wild", EGRESS_PATH_NOT_ALLOWED},
		{"deep.example.com", "/wild", EGRESS_ALLOWED},
		{"api.deep.example.com", "/api", EGRESS_ALLOWED},
		{"api.deep.example.com", "/deep", EGRESS_PATH_NOT_ALLOWED},
		{"x.api.deep.example.com", "/deep", EGRESS_ALLOWED},
		{"evilexample.com", "/wild", EGRESS_HOST_NOT_ALLOWED},
		{"example.com.evil.test", "/wild", EGRESS_HOST_NOT_ALLOWED},
		{"only.test", "/", EGRESS_HOST_NOT_ALLOWED},
		{"a.only.test", "/", EGRESS_ALLOWED},
		{"com", "/", EGRESS_HOST_NOT_ALLOWED},
		{"", "/", EGRESS_HOST_NOT_ALLOWED},
		{".", "/", EGRESS_HOST_NOT_ALLOWED},
		{".only.test", "/", EGRESS_ALLOWED}, /* cannot come out of policy_normalise_host() */
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy_verdict verdict = ask(policy, cases[i].host, "GET", cases[i].target);

		if (verdict.reason != cases[i].reason)
			fail_msg("%s%s: %d", cases[i].host, cases[i].target, (int)verdict.reason);
	}
	assert_true(policy_host_is_wildcard(policy_find_host(policy, "a.only.test")));
	assert_false(policy_host_is_wildcard(policy_find_host(policy, "example.com")));
	policy_unref(policy);
}

static void host_names(void **state)
{
	static const struct {
		const char *text, *normal; /* NULL: refused */
	} cases[] = {
		{"Api.GitHub.COM", "api.github.com"},
		{"a.test.", "a.test"},
		{"_dmarc.a_b.test", "_dmarc.a_b.test"},
		{"xn--bcher-kva.test", "xn--bcher-kva.test"},
		{"a", "a"},
		{"1.2.3.4", "1.2.3.4"},
		{"a--b.c", "a--b.c"},
		{"", NULL},
		{".", NULL},
		{"..", NULL},
		{"a..b", NULL},
		{".a", NULL},
		{"a.b..", NULL},
		{"-a.b", NULL},
		{"a-.b", NULL},
		{"a.b-", NULL},
		{"a b", NULL},
		{"a/b", NULL},
		{"a:80", NULL},
		{"[::1]", NULL},
		{"*.a", NULL},
		{"b\xc3\xbc.test", NULL},
		{"a\n", NULL},
		{"a%2eb", NULL},
	};
	char name[EGRESS_NAME_SIZE], label[300];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		bool fine = policy_normalise_host(span_from(cases[i].text), name);

		if (fine != (cases[i].normal != NULL) || (fine && strcmp(name, cases[i].normal) != 0))
			fail_msg("\"%s\"", cases[i].text);
	}
	assert_false(policy_normalise_host((struct span){"a\0b", 3}, name));
	memset(label, 'a', sizeof(label));
	assert_true(policy_normalise_host((struct span){label, 63}, name));
	assert_false(policy_normalise_host((struct span){label, 64}, name));
	for (size_t i = 63; i < sizeof(label); i += 64)
		label[i] = '.';
	assert_true(policy_normalise_host((struct span){label, 253}, name));
	assert_int_equal(strlen(name), 253);
	assert_false(policy_normalise_host((struct span){label, 254}, name));
}

static void ports_belong_to_routes(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/secure", .secret = "TOKEN"},
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/other", .port = 8443},
		{.host = "a.test", .port = 5432, .mode = POLICY_TCP},
		{.host = "a.test", .port = 9443, .mode = POLICY_PASSTHROUGH, .private = true},
	};
	static const struct {
		uint16_t port;
		const char *target;
		enum egress_reason reason;
	} cases[] = {
		{443, "/secure/x", EGRESS_ALLOWED},	{443, "/other/x", EGRESS_PATH_NOT_ALLOWED},
		{8443, "/other/x", EGRESS_ALLOWED},	{8443, "/secure/x", EGRESS_PATH_NOT_ALLOWED},
		{22, "/secure", EGRESS_PORT_NOT_ALLOWED}, {5432, "/", EGRESS_PROTOCOL_NOT_ALLOWED},
		{9443, "/", EGRESS_PROTOCOL_NOT_ALLOWED}, {0, "/", EGRESS_PORT_NOT_ALLOWED},
	};
	struct policy *policy = build(rules, COUNT(rules));
	const struct policy_host *host = policy_find_host(policy, "a.test");
	uint16_t ports[EGRESS_MAX_PORTS];
	struct policy_verdict verdict;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		policy_decide(policy,
			      &(struct policy_request){.host = "a.test",
						       .port = cases[i].port,
						       .tls = true,
						       .method = SPAN("GET"),
						       .target = span_from(cases[i].target)},
			      &verdict);
		if (verdict.reason != cases[i].reason)
			fail_msg("%u%s: %d", cases[i].port, cases[i].target, (int)verdict.reason);
	}
	assert_int_equal(policy_host_ports(host, ports), 5);
	assert_int_equal(policy_host_mode(host, 443), POLICY_INTERCEPT);
	assert_int_equal(policy_host_mode(host, 5432), POLICY_TCP);
	assert_int_equal(policy_host_mode(host, 9443), POLICY_PASSTHROUGH);
	assert_true(policy_host_allows_port(host, 80));
	assert_false(policy_host_allows_port(host, 81));
	assert_true(policy_host_allows_private(host, 9443));
	assert_false(policy_host_allows_private(host, 443));
	assert_false(policy_host_allows_private(host, 1));
	policy_unref(policy);
}

/* ---- methods and headers -------------------------------------------------------------------- */

static void methods(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .method = "GET"},
		{.host = "b.test", .method = "POST"},
		{.host = "c.test", .secret = "TOKEN"},
		{.host = "d.test"},
	};
	static const struct {
		const char *host, *method, *target;
		enum egress_reason reason;
	} cases[] = {
		{"a.test", "GET", "/x", EGRESS_ALLOWED},
		{"a.test", "get", "/x", EGRESS_METHOD_NOT_ALLOWED},
		{"a.test", "GETX", "/x", EGRESS_METHOD_NOT_ALLOWED},
		{"a.test", "", "/x", EGRESS_METHOD_NOT_ALLOWED},
		{"a.test", "POST", "/y", EGRESS_PATH_NOT_ALLOWED},
		{"b.test", "POST", "/any", EGRESS_ALLOWED},
		{"b.test", "GET", "/any", EGRESS_METHOD_NOT_ALLOWED},
		{"c.test", "TRACE", "/", EGRESS_METHOD_NOT_ALLOWED},
		{"c.test", "TRACK", "/", EGRESS_METHOD_NOT_ALLOWED},
		{"c.test", "PROPFIND", "/", EGRESS_ALLOWED},
		{"d.test", "TRACE", "/", EGRESS_ALLOWED},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy_verdict verdict =
			ask(policy, cases[i].host, cases[i].method, cases[i].target);

		if (verdict.reason != cases[i].reason)
			fail_msg("%s %s: %d", cases[i].host, cases[i].method, (int)verdict.reason);
	}
	policy_unref(policy);
}

/* Frameworks let a field say what the method is; both have to be allowed then. */
static void overridden_methods(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .method = "POST"},
		{.host = "b.test", .type = POLICY_PATH_PREFIX, .path = "/x", .secret = "TOKEN"},
	};
	static const struct {
		const char *name, *value;
		bool allowed;
	} cases[] = {
		{"X-HTTP-Method-Override", "DELETE", false}, {"x_http_method_override", "DELETE", false},
		{"x-http-method", "delete", false},	     {"X-METHOD-OVERRIDE", " PATCH ", false},
		{"X-HTTP-Method-Override", "POST, DELETE", false},
		{"X-HTTP-Method-Override", "", false},	     {"X-HTTP-Method-Override", "post", false},
		{"X.HTTP.Method+Override", "DELETE", false}, /* lighttpd's CGI */
		{"X-HTTP-Method-Override", " POST", true},   {"X-HTTP-Method-Overrides", "DELETE", true},
		{"X-HTTP-Methods", "DELETE", true},	     {"X-Http", "DELETE", true},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct policy_header fields[] = {
			{SPAN("X-HTTP-Method"), SPAN("POST")},
			{span_from(cases[i].name), span_from(cases[i].value)}};
		struct policy_request request = {
			.host = "a.test", .port = 443, .tls = true, .method = SPAN("POST"),
			.target = SPAN("/x"), .headers = fields, .header_count = 2};
		struct policy_verdict verdict;

		policy_decide(policy, &request, &verdict);
		if (verdict.reason != (cases[i].allowed ? EGRESS_ALLOWED : EGRESS_METHOD_NOT_ALLOWED))
			fail_msg("%s: %s: %d", cases[i].name, cases[i].value, (int)verdict.reason);
		if (i == 0)
			assert_string_equal(verdict.hint,
					    "a header asks for DELETE: leave it out, or add it and POST to "
					    "methods of a.test (routes.yaml:1)");
		/* Where no rule is for methods, it says nothing that we judge. */
		request.host = "b.test";
		policy_decide(policy, &request, &verdict);
		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
	}
	policy_unref(policy);
}

/* The same of a query's parameters, in whatever way their names are written. */
static void overriding_parameters(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .method = "POST"},
		{.host = "b.test", .secret = "TOKEN"},
	};
	static const struct {
		const char *target;
		bool allowed, untraced;
	} cases[] = {
		{"/x?_method=DELETE", false, true},	{"/x?a=b&_method=PUT&c=d", false, true},
		{"/x?_METHOD=DELETE", false, true},	{"/x?a;_method=DELETE", false, true},
		{"/x?%5Fmeth%6fd=DELETE", false, true}, {"/x?.method=DELETE", false, true},
		{"/x?%5bmethod=DELETE", false, true},	{"/x?_method[]=DELETE", false, true},
		{"/x?_method%00z=DELETE", false, true}, {"/x?_HttpMethod=PATCH", false, true},
		{"/x?X-HTTP-Method-Override=PUT", false, true}, {"/x?x_http_method=PUT", false, true},
		{"/x?_method_override=PUT", false, true}, {"/x?_method=POST&_method=PUT", false, true},
		{"/x?%u005fmethod=DELETE", false, true}, {"/x?%U0058-http-method=PUT", false, true},
		{"/x?%u0058-HTTP-Method-Override=PUT", false, true}, {"/x?%u00_method=PUT", true, true},
		{"/x?%u015fmethod=DELETE", true, true},
		{"/x?_method", false, true},		{"/x?_method=P%4fST", false, false},
		{"/x?_method=TRACE", false, false},	{"/x?_method=track", false, false},
		{"/x?_method=TR%41CE", false, false},	{"/x?_method=POST&_method=TRACE", false, false},
		{"/x?+_method=DELETE", false, true},	{"/x?a&%20%20_method=DELETE", false, true},
		{"/x?_method=POST", true, true},	{"/x?method=DELETE", true, true},
		{"/x?_methods=DELETE", true, true},	{"/x?a=_method=DELETE", true, true},
		{"/x?q=100%&a%=b%4", true, true},	{"/x?&&;=&=DELETE", true, true},
		{"/x?a-name-that-is-longer-than-all-we-know=TRACE", true, true},
		{"/x_method=DELETE", false, true},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct policy_verdict verdict;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		verdict = ask(policy, "a.test", "POST", cases[i].target);
		if ((verdict.reason == EGRESS_ALLOWED) != cases[i].allowed)
			fail_msg("%s: %d", cases[i].target, (int)verdict.reason);
		if (i == 0)
			assert_string_equal(verdict.hint,
					    "the query asks for DELETE: leave it out, or add it and POST to "
					    "methods of a.test (routes.yaml:1)");
		verdict = ask(policy, "b.test", "POST", cases[i].target);
		if ((verdict.reason == EGRESS_ALLOWED) != cases[i].untraced)
			fail_msg("with a credential, %s: %d", cases[i].target, (int)verdict.reason);
	}
	policy_unref(policy);
}

/* WebDAV has a second path, for which there has to be a rule as well. */
static void destinations(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x"}, {.host = "b.test"},
		{.host = "c.test", .secret = "TOKEN"}};
	static const struct {
		const char *method, *name, *value;
		bool allowed;
	} cases[] = {
		{"MOVE", "Destination", "/y", false},
		{"COPY", "destination", "https://a.test/y", false},
		{"MOVE", "Destination", "https://a.test/x/../y", false},
		{"MOVE", "Destination", "https://a.test/x/%2e%2e/y", false},
		{"MOVE", "Destination", "https://b.test/x", false},
		{"MOVE", "Destination", "https://a.test.b.test/x", false},
		{"MOVE", "Destination", "https://a.test@b.test/x", false},
		{"MOVE", "Destination", "https://a.test", false},
		{"MOVE", "Destination", "x/a", false},
		{"MOVE", "Destination", "", false},
		{"move", "Destination", "/y", false},
		{"MOVE", "Destination", "/x/b", true},
		{"MOVE", "Destination", " HTTPS://A.test:443/x/b", true},
		{"MOVE", "X-Destination", "/y", true},
		{"PUT", "Destination", "Rome", true},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy_header fields[] = {
			{span_from(cases[i].name), span_from(cases[i].value)},
			{SPAN("X-HTTP-Method-Override"), SPAN("MOVE")}};
		struct policy_request request = {
			.host = "a.test", .port = 443, .tls = true,
			.method = span_from(cases[i].method), .target = SPAN("/x/a"),
			.headers = fields, .header_count = 1};
		struct policy_verdict verdict;

		policy_decide(policy, &request, &verdict);
		if ((verdict.reason == EGRESS_ALLOWED) != cases[i].allowed)
			fail_msg("%s %s: %d", cases[i].method, cases[i].value, (int)verdict.reason);
		if (i == 0)
			assert_string_equal(verdict.hint, "add \"/y\" to path_allowlist of a.test (routes.yaml:1)");
		/* Asked for in another way. */
		request.method = SPAN("POST");
		request.header_count = 2;
		policy_decide(policy, &request, &verdict);
		if (strcmp(cases[i].value, "Rome") != 0)
			assert_int_equal(verdict.reason == EGRESS_ALLOWED, cases[i].allowed);
		/* Where any path is allowed there is nothing to judge, with a credential neither: OpenStack
		 * copies to "container/object". */
		request.host = i % 2 ? "b.test" : "c.test";
		policy_decide(policy, &request, &verdict);
		if (verdict.reason != EGRESS_ALLOWED)
			fail_msg("%s, %s: %d", request.host, cases[i].value, (int)verdict.reason);
	}
	policy_unref(policy);
}

/* Where no rule is for methods, too: what answers a TRACE repeats the credential. */
static void overriding_traces(void **state)
{
	static const struct rule rules[] = {{.host = "a.test"}, {.host = "b.test", .secret = "TOKEN"}};
	static const struct {
		const char *name, *value;
		bool allowed;
	} cases[] = {
		{"X-HTTP-Method-Override", "TRACE", false}, {"x_http_method", "trace", false},
		{"X-Method-Override", "Track", false},	    {"X-HTTP-Method-Override", "TRACE, GET", false},
		{"X-HTTP-Method-Override", "GET,\tTRACE", false},
		{"X-HTTP-Method-Override", "D%45LETE", false},
		{"X-HTTP-Method-Override", "DELETE", true}, {"X-Trace", "TRACE", true},
	};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct policy_header fields[] = {
			{SPAN("X-HTTP-Method"), SPAN("PUT")},
			{span_from(cases[i].name), span_from(cases[i].value)}};
		struct policy_request request = {
			.host = "a.test", .port = 443, .tls = true, .method = SPAN("POST"),
			.target = SPAN("/x"), .headers = fields, .header_count = 2};
		struct policy_verdict verdict;

		policy_decide(policy, &request, &verdict);
		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
		request.host = "b.test";
		policy_decide(policy, &request, &verdict);
		if (verdict.reason != (cases[i].allowed ? EGRESS_ALLOWED : EGRESS_METHOD_NOT_ALLOWED))
			fail_msg("%s: %s: %d", cases[i].name, cases[i].value, (int)verdict.reason);
		if (strchr(cases[i].value, '%'))
			assert_string_equal(verdict.hint, "a header asks for D%45LETE, which may be TRACE: send it "
							  "in its plain form");
		else if (!cases[i].allowed)
			assert_string_equal(verdict.hint, "TRACE is never sent with a credential");
	}
	policy_unref(policy);
}

/* The origin routes by the path that was judged. */
static void other_paths_are_stripped(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .keep = true},
		{.host = "b.test", .method = "GET"},
	};
	static const char *const names[] = {"X-Original-URL", "x_rewrite_url", "X-REWRITE-URL", "x!original.url"};
	struct policy *policy = build(rules, COUNT(rules));

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_true(policy_route_strips(ask(policy, "a.test", "GET", "/x").route,
						span_from(names[i])));
		assert_false(policy_route_strips(ask(policy, "b.test", "GET", "/x").route,
						 span_from(names[i])));
	}
	assert_false(policy_route_strips(ask(policy, "a.test", "GET", "/x").route, SPAN("X-Original-URI")));
	policy_unref(policy);
}

/* Nor another host than the one that was judged, whatever the rules; Rails believes the first. */
static void other_hosts_are_stripped(void **state)
{
	static const struct rule rules[] = {{.host = "a.test"}, {.host = "b.test", .keep = true}};
	static const char *const names[] = {"X-Forwarded-Host", "x_forwarded_host", "FORWARDED", "X-Host",
					    "X-Original-Host", "X-HTTP-Host-Override"};
	static const char *const others[] = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Hosts", "Forwarder"};
	struct policy *policy = build(rules, COUNT(rules));
	const struct policy_route *route = ask(policy, "a.test", "GET", "/x").route;
	const struct policy_route *keeps = ask(policy, "b.test", "GET", "/x").route;

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		if (!policy_route_strips(route, span_from(names[i])) ||
		    !policy_route_strips(keeps, span_from(names[i])))
			fail_msg("%s", names[i]);
	for (size_t i = 0; i < COUNT(others); i++)
		assert_false(policy_route_strips(route, span_from(others[i])));
	policy_unref(policy);
}

/* Some origins put trailers among the fields, where a rule has judged one. */
static void judged_fields_are_no_trailers(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .header = "X-Version", .header_value = "1"}, {.host = "b.test"}};
	const struct policy_header header = {SPAN("x-version"), SPAN("1")};
	struct policy_request request = {.host = "a.test", .port = 443, .tls = true, .method = SPAN("GET"),
					 .target = SPAN("/"), .headers = &header, .header_count = 1};
	static const char *const second[] = {"Destination", "X-HTTP-Method-Override", "x_http_method",
					     "X-Method-Override", "X-Original-URL", "x-rewrite-url"};
	struct policy *policy = build(rules, COUNT(rules));
	struct policy_verdict verdict;

	(void)state;
	policy_decide(policy, &request, &verdict);
	assert_int_equal(verdict.reason, EGRESS_ALLOWED);
	assert_false(policy_route_strips(verdict.route, SPAN("X-Version")));
	assert_true(policy_route_strips_trailer(verdict.route, SPAN("X-VERSION")));
	assert_true(policy_route_strips_trailer(verdict.route, SPAN("x_version")));
	assert_true(policy_route_strips_trailer(verdict.route, SPAN("Authorization")));
	assert_false(policy_route_strips_trailer(verdict.route, SPAN("X-Sum")));
	for (size_t i = 0; i < sizeof(second) / sizeof(second[0]); i++)
		assert_true(policy_route_strips_trailer(verdict.route, span_from(second[i])));
	request.host = "b.test";
	policy_decide(policy, &request, &verdict);
	assert_false(policy_route_strips_trailer(verdict.route, SPAN("X-Version")));
	policy_unref(policy);
}

static enum egress_reason ask_headers(const struct policy *policy,
				      const struct policy_header *headers, size_t count)
{
	struct policy_verdict verdict;

	policy_decide(policy,
		      &(struct policy_request){.host = "a.test",
					       .port = 443,
					       .tls = true,
					       .method = SPAN("GET"),
					       .target = SPAN("/"),
					       .headers = headers,
					       .header_count = count},
		      &verdict);
	if (verdict.reason == EGRESS_HEADER_NOT_ALLOWED)
		assert_null(strstr(verdict.hint, "2023"));
	return verdict.reason;
}

static void headers(void **state)
{
	static const struct rule rule = {
		.host = "a.test", .header = "X-Version", .header_value = "2023-06-01"};
	const struct policy_header right = {SPAN("x-version"), SPAN(" 2023-06-01\t")};
	const struct policy_header wrong = {SPAN("X-VERSION"), SPAN("2023-06-01,2024")};
	const struct policy_header other = {SPAN("x-versions"), SPAN("2023-06-01")};
	const struct policy_header underscore = {SPAN("x_version"), SPAN("2023-06-01")};
	struct policy *policy = build(&rule, 1);

	(void)state;
	assert_int_equal(ask_headers(policy, &right, 1), EGRESS_ALLOWED);
	assert_int_equal(ask_headers(policy, (const struct policy_header[]){other, right}, 2),
			 EGRESS_ALLOWED);
	assert_int_equal(ask_headers(policy, NULL, 0), EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, &wrong, 1), EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, &other, 1), EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, &underscore, 1), EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, (const struct policy_header[]){right, underscore}, 2),
			 EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, (const struct policy_header[]){right, right}, 2),
			 EGRESS_HEADER_NOT_ALLOWED);
	assert_int_equal(ask_headers(policy, (const struct policy_header[]){wrong, right}, 2),
			 EGRESS_HEADER_NOT_ALLOWED);
	policy_unref(policy);
}

/* ---- credentials ---------------------------------------------------------------------------- */

static void plaintext(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .secret = "TOKEN"},
		{.host = "b.test", .secret = "TOKEN", .plaintext = true},
		{.host = "c.test"},
		{.host = "d.test", .secret = "TOKEN", .type = POLICY_PATH_PREFIX, .path = "/x"},
		{.host = "d.test"},
	};
	static const struct {
		const char *host, *target;
		enum egress_reason reason;
	} cases[] = {
		{"a.test", "/", EGRESS_PLAINTEXT_AUTH}, {"b.test", "/", EGRESS_ALLOWED},
		{"c.test", "/", EGRESS_ALLOWED},	{"d.test", "/x", EGRESS_PLAINTEXT_AUTH},
		{"d.test", "/y", EGRESS_ALLOWED},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct policy_verdict verdict;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		policy_decide(policy,
			      &(struct policy_request){.host = cases[i].host,
						       .port = 80,
						       .method = SPAN("GET"),
						       .target = span_from(cases[i].target)},
			      &verdict);
		assert_int_equal(verdict.reason, cases[i].reason);
	}
	policy_unref(policy);
}

static void credentials(void **state)
{
	static const struct {
		enum policy_auth_scheme scheme;
		const char *header, *username, *secret;
		const char *name, *value; /* NULL: refused */
	} cases[] = {
		{POLICY_AUTH_BEARER, NULL, NULL, "abc", "Authorization", "Bearer abc"},
		{POLICY_AUTH_TOKEN, NULL, NULL, "abc", "Authorization", "token abc"},
		{POLICY_AUTH_HEADER, "x-api-key", NULL, "abc", "x-api-key", "abc"},
		/* RFC 7617, section 2 */
		{POLICY_AUTH_BASIC, NULL, "Aladdin", "open sesame", "Authorization",
		 "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{POLICY_AUTH_BASIC, NULL, NULL, "Aladdin:open sesame", "Authorization",
		 "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{POLICY_AUTH_BASIC, NULL, NULL, "QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Authorization",
		 "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{POLICY_AUTH_BASIC, NULL, "", "x", "Authorization", "Basic Ong="},
		{POLICY_AUTH_BASIC, NULL, NULL, "a:b:c", "Authorization", "Basic YTpiOmM="},
		{POLICY_AUTH_BASIC, NULL, NULL, "nocolon", NULL, NULL},
		{POLICY_AUTH_BASIC, NULL, NULL, "abcd", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "a\r\nX: y", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "a\n", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "a\tb", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "a\x7f", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, " a", NULL, NULL},
		{POLICY_AUTH_BEARER, NULL, NULL, "a ", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct policy_auth_spec auth = {
			.scheme = cases[i].scheme,
			.header = cases[i].header,
			.username = cases[i].username,
			.kind = POLICY_SECRET_ENV,
			.source = "TOKEN",
		};
		const struct policy_route_spec spec = {.host = "a.test", .auth = &auth, .line = 7};
		struct policy *policy = policy_new();
		struct span name = {0}, value = {0};
		struct policy_verdict verdict;
		struct error error = {0};

		assert_int_equal(policy_add(policy, &spec, &error), 0);
		assert_int_equal(policy_finish(policy, &error), 0);
		verdict = ask(policy, "a.test", "GET", "/");
		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
		assert_false(policy_route_credential(verdict.route, &name, &value));
		assert_int_equal(policy_secret_at(policy, 0)->line, 7);
		if (policy_set_secret(policy, 0, span_from(cases[i].secret), &error) == 0) {
			assert_non_null(cases[i].value);
			assert_true(policy_route_credential(verdict.route, &name, &value));
			assert_true(span_equal(name, span_from(cases[i].name)));
			assert_true(span_equal(value, span_from(cases[i].value)));
		} else {
			assert_null(cases[i].value);
			assert_non_null(strstr(error.text, "TOKEN"));
			assert_true(!cases[i].secret[0] || !strstr(error.text, "nocolon"));
			assert_false(policy_route_credential(verdict.route, &name, &value));
		}
		policy_unref(policy);
	}
}

static void secrets_are_shared(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .secret = "ONE"},
		{.host = "b.test", .secret = "TWO"},
		{.host = "c.test", .secret = "ONE"},
		{.host = "d.test"},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct span name, value;
	struct error error = {0};

	(void)state;
	assert_int_equal(policy_secret_count(policy), 2);
	assert_string_equal(policy_secret_at(policy, 0)->source, "ONE");
	assert_int_equal(policy_secret_at(policy, 0)->line, 1);
	assert_int_equal(policy_set_secret(policy, 0, SPAN("first"), &error), 0);
	assert_int_equal(policy_set_secret(policy, 0, SPAN("second"), &error), 0);
	assert_true(policy_route_credential(ask(policy, "c.test", "GET", "/").route, &name, &value));
	assert_true(span_equal(value, SPAN("Bearer second")));
	assert_false(policy_route_credential(ask(policy, "b.test", "GET", "/").route, &name, &value));
	assert_true(policy_route_credential(ask(policy, "d.test", "GET", "/").route, &name, &value));
	assert_int_equal(name.length + value.length, 0);
	assert_int_equal(policy_set_secret(policy, 1, (struct span){"a\0b", 3}, &error), -1);
	policy_unref(policy);
}

static void stripping(void **state)
{
	static const struct policy_auth_spec key = {.scheme = POLICY_AUTH_HEADER,
						    .header = "X-Api-Key",
						    .source = "KEY"};
	static const struct policy_path_spec path = {POLICY_PATH_PREFIX, "/key"};
	static const struct policy_match_spec match = {.paths = &path, .path_count = 1};
	static const struct policy_route_spec specs[] = {
		{.host = "a.test", .matches = &match, .match_count = 1, .auth = &key},
		{.host = "a.test"},
		{.host = "b.test", .keep_authorization = true},
	};
	struct policy *policy = policy_new();
	const struct policy_route *route;
	struct error error = {0};

	(void)state;
	for (size_t i = 0; i < COUNT(specs); i++)
		assert_int_equal(policy_add(policy, &specs[i], &error), 0);
	assert_int_equal(policy_finish(policy, &error), 0);
	route = ask(policy, "a.test", "GET", "/other").route;
	assert_true(policy_route_strips(route, SPAN("authorization")));
	assert_true(policy_route_strips(route, SPAN("x-api-KEY")));
	assert_true(policy_route_strips(route, SPAN("X_Api_Key")));
	assert_false(policy_route_strips(route, SPAN("x-api-keys")));
	route = ask(policy, "b.test", "GET", "/").route;
	assert_false(policy_route_strips(route, SPAN("Authorization")));
	policy_unref(policy);
}

/* ---- addresses, conflicts, hints, many -------------------------------------------------------- */

static void cidrs(void **state)
{
	static const uint16_t wide_ports[] = {443, 22}, narrow_ports[] = {6379}, more[] = {6380};
	struct cidr wide, narrow;
	struct egress_address inside, outside, other;
	const struct policy_route_spec specs[] = {
		{.cidr = &wide, .ports = wide_ports, .port_count = 2, .mode = POLICY_TCP, .line = 1},
		{.cidr = &narrow, .ports = narrow_ports, .port_count = 1, .mode = POLICY_TCP, .line = 2},
		{.cidr = &narrow, .ports = more, .port_count = 1, .mode = POLICY_TCP, .line = 3},
		{.cidr = &narrow, .ports = more, .port_count = 1, .mode = POLICY_TCP, .direct = true},
	};
	struct policy *policy = policy_new();
	struct error error = {0};

	(void)state;
	assert_true(cidr_parse("203.0.113.0/24", &wide));
	assert_true(cidr_parse("203.0.113.128/25", &narrow));
	assert_true(address_parse("203.0.113.200", &inside));
	assert_true(address_parse("203.0.113.1", &outside));
	assert_true(address_parse("2001:db8::1", &other));
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(policy_add(policy, &specs[i], &error), 0);
	assert_int_equal(policy_finish(policy, &error), 0);
	assert_int_equal(policy_cidr_count(policy), 2);
	assert_int_equal(policy_cidr_at(policy, 0)->line, 2); /* the longest first */
	assert_int_equal(policy_find_cidr(policy, &inside, 6380)->line, 2);
	/* The narrow block decides alone, as in the kernel. */
	assert_null(policy_find_cidr(policy, &inside, 443));
	assert_int_equal(policy_find_cidr(policy, &outside, 443)->line, 1);
	assert_null(policy_find_cidr(policy, &outside, 6379));
	assert_null(policy_find_cidr(policy, &other, 443));
	assert_int_equal(policy_add(policy, &specs[3], &error), -1);
	assert_non_null(strstr(error.text, "line 2"));
	policy_unref(policy);
}

static void conflicts(void **state)
{
	static const struct {
		struct rule rules[2];
		const char *message;
	} cases[] = {
		{{{.host = "a.test"}, {.host = "a.test", .mode = POLICY_PASSTHROUGH}}, "port 443"},
		{{{.host = "a.test", .port = 22}, {.host = "a.test", .port = 22, .mode = POLICY_TCP}},
		 "line 1"},
		{{{.host = "*.a.test"}, {.host = "*.a.test", .mode = POLICY_PASSTHROUGH}},
		 "*.a.test"},
		{{{.host = "a.test"}, {.host = "b.test", .mode = POLICY_TCP}}, "needs ports"},
		{{{.host = "a.test"},
		  {.host = "b.test", .type = POLICY_PATH_REGEX, .path = "/(" }},
		 "does not compile"},
		{{{.host = "a.test"},
		  {.host = "b.test", .type = POLICY_PATH_PREFIX, .path = "/a/../b"}},
		 "a dot segment"},
		{{{.host = "a.test"}, {.host = "b.test", .type = POLICY_PATH_EXACT, .path = "x"}},
		 "does not start with /"},
		{{{.host = "a.test"}, {.host = "b.test", .type = POLICY_PATH_EXACT, .path = "/a?b"}},
		 "a query"},
		{{{.host = "a.test"},
		  {.host = "b.test", .port = 1, .mode = POLICY_TCP, .secret = "TOKEN"}},
		 "only intercepted"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy *policy = policy_new();
		struct error error = {0};

		assert_int_equal(add(policy, &cases[i].rules[0], 1, &error), 0);
		assert_int_equal(add(policy, &cases[i].rules[1], 2, &error), -1);
		if (!strstr(error.text, cases[i].message))
			fail_msg("%zu: %s", i, error.text);
		policy_unref(policy);
	}
}

static void too_many_ports(void **state)
{
	struct policy *policy = policy_new();
	struct rule rule = {.host = "a.test"};
	struct error error = {0};

	(void)state;
	for (rule.port = 1; rule.port <= EGRESS_MAX_PORTS; rule.port++)
		assert_int_equal(add(policy, &rule, 1, &error), 0);
	assert_int_equal(add(policy, &rule, 1, &error), -1);
	assert_non_null(strstr(error.text, "more than 16 ports"));
	policy_unref(policy);
}

static void hints(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .method = "GET",
		 .secret = "SECRET_NAME"},
		{.host = "other.test", .secret = "OTHER_NAME"},
		/* of the name 40 bytes are shown, the last half a character */
		{.host = "long.test", .type = POLICY_PATH_EXACT, .path = "/x",
		 .file = "/etc/x" "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
			 "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"},
	};
	static const struct {
		const char *host, *method, *target, *hint;
	} cases[] = {
		{"a.test", "GET", "/y", "add \"/y\" to path_allowlist of a.test (routes.yaml:1)"},
		{"a.test", "PUT", "/x", "add PUT to methods of a.test (routes.yaml:1)"},
		{"b.test", "GET", "/", "add \"- host: b.test\" to routes"},
		{"a.test", "GET", "/<\"&'>", "add \"/<?&'>\" to path_allowlist of a.test "
					     "(routes.yaml:1)"},
		{"long.test", "GET", "/y", "add \"/y\" to path_allowlist of long.test (x"
					   "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
					   "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9?:3)"},
		{"a.test", "GET", "/x", ""},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct policy_verdict verdict;
	char target[2000] = "/";

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		verdict = ask(policy, cases[i].host, cases[i].method, cases[i].target);
		assert_string_equal(verdict.hint, cases[i].hint);
	}
	memset(target + 1, 'y', sizeof(target) - 2);
	verdict = ask(policy, "a.test", "GET", target);
	assert_true(strlen(verdict.hint) < sizeof(verdict.hint));
	assert_non_null(strstr(verdict.hint, "...\" to path_allowlist of a.test"));
	verdict = ask(policy, "a.test", "GET", "/x?token=1");
	assert_int_equal(verdict.path.length, 2);
	policy_unref(policy);
}

static void description_has_no_secrets(void **state)
{
	static const struct rule rules[] = {
		{.host = "a.test", .type = POLICY_PATH_PREFIX, .path = "/x", .secret = "VARIABLE"},
		{.host = "*.b.test", .port = 22, .mode = POLICY_TCP},
	};
	struct policy *policy = build(rules, COUNT(rules));
	struct error error = {0};
	char *text;

	(void)state;
	assert_int_equal(policy_set_secret(policy, 0, SPAN("hunter2"), &error), 0);
	text = policy_describe(policy);
	assert_non_null(text);
	assert_non_null(strstr(text, "\"host\":\"a.test\""));
	assert_non_null(strstr(text, "{\"type\":\"prefix\",\"value\":\"/x\"}"));
	assert_non_null(strstr(text, "\"mode\":\"tcp\""));
	assert_null(strstr(text, "hunter2"));
	assert_null(strstr(text, "VARIABLE"));
	assert_null(strstr(text, "routes.yaml"));
	free(text);
	policy_unref(policy);
}

static void references(void **state)
{
	static const struct rule rule = {.host = "a.test"};
	struct policy *policy = build(&rule, 1);

	(void)state;
	assert_ptr_equal(policy_ref(policy), policy);
	policy_unref(policy);
	assert_int_equal(ask(policy, "a.test", "GET", "/").reason, EGRESS_ALLOWED);
	policy_unref(policy);
	policy_unref(NULL);
}

/* Many routes, on many hosts and on one: each is still found, and is still the right one. */
static void many_routes(void **state)
{
	enum { ROUTES = 20000 };
	struct policy *policy = policy_new();
	char host[64], path[64];
	struct error error = {0};

	(void)state;
	for (int i = 0; i < ROUTES; i++) {
		struct rule rule = {.host = host, .type = POLICY_PATH_PREFIX, .path = path};

		snprintf(host, sizeof(host), i % 2 ? "h%d.test" : "*.w%d.test", i);
		snprintf(path, sizeof(path), "/p%d", i);
		assert_int_equal(add(policy, &rule, i, &error), 0);
		rule.host = "one.test";
		assert_int_equal(add(policy, &rule, i, &error), 0);
	}
	assert_int_equal(policy_finish(policy, &error), 0);
	assert_int_equal(policy_route_count(policy), 2 * ROUTES);
	assert_int_equal(policy_host_count(policy), ROUTES + 1);
	for (int i = 0; i < ROUTES; i += 7) {
		struct policy_verdict verdict;

		snprintf(host, sizeof(host), i % 2 ? "h%d.test" : "x.w%d.test", i);
		snprintf(path, sizeof(path), "/p%d/x", i);
		verdict = ask(policy, host, "GET", path);
		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
		assert_int_equal(policy_route_line(verdict.route), i);
		verdict = ask(policy, "one.test", "GET", path);
		assert_int_equal(verdict.reason, EGRESS_ALLOWED);
		assert_int_equal(policy_route_line(verdict.route), i);
	}
	policy_unref(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_end_at_segments),
		cmocka_unit_test(ambiguous_paths),
		cmocka_unit_test(encoded_slashes),
		cmocka_unit_test(encoded_slash_hint),
		cmocka_unit_test(targets),
		cmocka_unit_test(long_path),
		cmocka_unit_test(regex_limit),
		cmocka_unit_test(most_specific_wins),
		cmocka_unit_test(hosts),
		cmocka_unit_test(host_names),
		cmocka_unit_test(ports_belong_to_routes),
		cmocka_unit_test(methods),
		cmocka_unit_test(overridden_methods),
		cmocka_unit_test(overriding_parameters),
		cmocka_unit_test(overriding_traces),
		cmocka_unit_test(destinations),
		cmocka_unit_test(other_paths_are_stripped),
		cmocka_unit_test(other_hosts_are_stripped),
		cmocka_unit_test(judged_fields_are_no_trailers),
		cmocka_unit_test(headers),
		cmocka_unit_test(plaintext),
		cmocka_unit_test(credentials),
		cmocka_unit_test(secrets_are_shared),
		cmocka_unit_test(stripping),
		cmocka_unit_test(cidrs),
		cmocka_unit_test(conflicts),
		cmocka_unit_test(too_many_ports),
		cmocka_unit_test(hints),
		cmocka_unit_test(description_has_no_secrets),
		cmocka_unit_test(references),
		cmocka_unit_test(many_routes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
