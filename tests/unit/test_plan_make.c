// SPDX-License-Identifier: BSD-2-Clause
/* From manifests to plans: slots, owners, what is an error and where, and what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan_make.h"

#define BOTTLE(egress) "bottle:\n  egress:\n" egress

static bool make(struct plan_draft *draft, const char *manifest, const char *provider,
		 struct diag_list *errors)
{
	struct config_source source = {"m.yaml", span_from(manifest)};
	struct config_source file = {"p.yaml", span_from(provider ? provider : "")};

	*draft = (struct plan_draft){.bottle = NULL};
	return plan_make(draft, &source, "agent", &file, provider ? 1 : 0, "/plans/agent", errors);
}

static void make_good(struct plan_draft *draft, const char *manifest, const char *provider)
{
	struct diag_list errors = {0};

	if (!make(draft, manifest, provider, &errors))
		fail_msg("line %d: %s", errors.items[0].line, errors.items[0].text);
}

static void renders(const char *manifest, const char *provider, const char *want)
{
	struct plan_draft draft;
	char *text;

	make_good(&draft, manifest, provider);
	text = span_copy(bytes_span(&draft.routes_text));
	assert_string_equal(text, want);
	free(text);
	plan_draft_free(&draft);
}

/* ---- what is written ------------------------------------------------------------------------ */

static void empty_routes(void **state)
{
	(void)state;
	renders(BOTTLE("    routes: []\n"), NULL, "routes: []\n");
	renders("bottle: {egress: {}}\n", NULL, "routes: []\n");
	renders("{\"bottles\": {\"agent\": {}}}", NULL, "routes: []\n");
	renders("bottles: [{name: other}, {name: agent}]\n", "[]\n", "routes: []\n");
}

static void slots_are_shared_and_in_order(void **state)
{
	(void)state;
	renders(BOTTLE("    routes:\n"
		       "    - {host: a.example, auth: {scheme: Bearer, token_ref: SECOND}}\n"
		       "    - {host: b.example}\n"
		       "    - {host: c.example, auth: {scheme: token, token_ref: FIRST}}\n"
		       "    - {host: d.example, auth: {header: x-key, token_ref: SECOND}}\n"
		       "    - {host: e.example, auth: {scheme: Basic, username: u, token_ref: THIRD}}\n"),
		"routes: [{host: p.example, auth: {scheme: Bearer, token_ref: FIRST}}]\n",
		"routes:\n"
		"- host: p.example\n  auth_scheme: Bearer\n  token_env: EGRESS_TOKEN_0\n"
		"- host: a.example\n  auth_scheme: Bearer\n  token_env: EGRESS_TOKEN_1\n"
		"- host: b.example\n"
		"- host: c.example\n  auth_scheme: token\n  token_env: EGRESS_TOKEN_0\n"
		"- host: d.example\n  auth:\n    header: x-key\n    token_env: EGRESS_TOKEN_1\n"
		"- host: e.example\n  auth:\n    scheme: Basic\n    username: u\n"
		"    token_env: EGRESS_TOKEN_2\n");
}

/* It is asked for last, after the routes, and shares a slot with a route that has its reference. */
static void the_upstream_proxy_has_a_slot(void **state)
{
	static const char *const given[] = {"token_ref: PASSWORD", "token_env: PASSWORD",
					    "token_ref: PASSWORD, token_env: EGRESS_TOKEN_1"};
	struct plan_draft draft;

	(void)state;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		char manifest[512];

		snprintf(manifest, sizeof(manifest),
			 BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, %s}}\n"
				"    routes: [{host: a.example, auth: {scheme: token, token_ref: A}}]\n"),
			 given[i]);
		renders(manifest, NULL,
			"routes:\n- host: a.example\n  auth_scheme: token\n  token_env: EGRESS_TOKEN_0\n"
			"upstream:\n  proxy: \"http://p:1\"\n  proxy_auth:\n    username: me\n"
			"    token_env: EGRESS_TOKEN_1\n");
		make_good(&draft, manifest, NULL);
		assert_int_equal(draft.slot_count, 2);
		assert_string_equal(draft.slots[1].token_ref, "PASSWORD");
		plan_draft_free(&draft);
	}
	make_good(&draft,
		  BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, token_ref: A}}\n"
			 "    routes: [{host: a.example, auth: {scheme: token, token_ref: A}}]\n"),
		  NULL);
	assert_int_equal(draft.slot_count, 1);
	plan_draft_free(&draft);
}

static void provider_owns_its_hosts(void **state)
{
	struct plan_draft draft;

	(void)state;
	make_good(&draft,
		  BOTTLE("    routes:\n"
			 "    - {host: API.Example.com, auth: {scheme: Bearer, token_ref: MINE}}\n"
			 "    - {host: x.api.example.com}\n"
			 "    - {host: BÜCHER.example}\n"
			 "    - {host: deep.wild.example}\n"
			 "    - {host: '*.Deep.wild.example'}\n"
			 "    - {host: wild.example}\n"
			 "    - {host: mywild.example}\n"
			 "    - {cidr: 8.8.8.128/25, ports: [1]}\n"
			 "    - {cidr: 8.8.0.0/16, ports: [1]}\n"),
		  "- {host: api.example.com, path_allowlist: [/v1/]}\n"
		  "- {host: xn--bcher-kva.example}\n"
		  "- {host: '*.wild.example'}\n"
		  "- {cidr: 8.8.8.0/24, ports: [1]}\n");
	assert_int_equal(draft.route_count, 8);
	assert_string_equal(draft.routes[4].host, "x.api.example.com");
	assert_string_equal(draft.routes[5].host, "wild.example");
	assert_string_equal(draft.routes[6].host, "mywild.example");
	assert_string_equal(draft.routes[7].cidr, "8.8.0.0/16");
	assert_int_equal(draft.slot_count, 0); /* what is left out takes no slot */
	assert_int_equal(draft.notices.count, 5);
	assert_int_equal(draft.notices.items[0].line, 4);
	assert_string_equal(draft.notices.items[0].text,
			    "bottle.egress.routes[0]: the provider owns API.Example.com; this route "
			    "is left out");
	plan_draft_free(&draft);
}

/* Quotes, escapes, other scripts, words that YAML reads as something else: what is read back has to
 * be the same. plan_make() itself compares the policies; here the bytes that matter are named. */
static void awkward_texts(void **state)
{
	(void)state;
	renders(BOTTLE("    routes:\n"
		       "    - host: \"a.example\"\n"
		       "      path_allowlist: [\"/it's\", '/\"q\"', '/a~b', '/{x}', '/a:b', \"/%41\"]\n"
		       "      role: [\"line\\\\n\", yes]\n"
		       "    - host: b\xc3\xbc" "cher.example\n"
		       "      allow_private: true\n"
		       "      ports: [8443]\n"
		       "    - host: 'null.example'\n"
		       "      matches: [{headers: [{name: x-a, value: 'true'}, {name: x-b, value: '# \\n:'}]}]\n"
		       "    hints: false\n"),
		NULL,
		"routes:\n"
		"- host: \"a.example\"\n"
		"  path_allowlist: [\"/it's\", \"/\\\"q\\\"\", \"/a~b\", \"/{x}\", \"/a:b\", \"/%41\"]\n"
		"- host: b\xc3\xbc" "cher.example\n"
		"  allow_private: true\n"
		"  ports: [8443]\n"
		"- host: \"null.example\"\n"
		"  matches:\n"
		"  - headers:\n"
		"    - name: x-a\n      value: \"true\"\n"
		"    - name: x-b\n      value: \"# \\\\n:\"\n"
		"hints: false\n");
}

static void plan_text(void **state)
{
	struct plan_draft draft;
	char *text;

	(void)state;
	make_good(&draft,
		  "bottles:\n  agent:\n    image: x\n    egress:\n"
		  "      routes: [{host: a.example, role: git, auth: {scheme: Bearer, token_ref: GH},\n"
		  "                client_cert: /etc/c.pem, client_key: /etc/c.key}]\n"
		  "      networks: {bottle: net-1}\n"
		  "      upstream: {proxy: 'http://pipelock:8888', ca_file: /etc/ca.pem}\n",
		  NULL);
	assert_int_equal(draft.notices.count, 1); /* a wire that is not walled from outside */
	assert_non_null(strstr(draft.notices.items[0].text, "with sidecar: host it does"));
	text = span_copy(bytes_span(&draft.plan_text));
	for (char *at = text, *to = text;; at++) {
		if (*at != ' ' && *at != '\n')
			*to++ = *at;
		if (!*at)
			break;
	}
	assert_ptr_equal(
		strstr(text,
		       "{\"version\":1,\"bottle\":\"agent\",\"slug\":\"agent\",\"paths\":{\"directory\":"
		       "\"/plans/agent\",\"routes\":\"/plans/agent/routes.yaml\",\"ca\":\"/plans/agent/"
		       "ca.pem\",\"ca_cert\":\"/plans/agent/ca-cert.pem\"},\"routes\":[{\"host\":"
		       "\"a.example\",\"from\":\"manifest\",\"role\":[\"git\"],\"token_env\":"
		       "\"EGRESS_TOKEN_0\"}],\"tokens\":[{\"token_env\":\"EGRESS_TOKEN_0\",\"token_ref\":"
		       "\"GH\"}],\"networks\":{\"bottle\":\"net-1\",\"sidecar\":\"bridge\"},"
		       "\"upstream_proxy\":\"http://pipelock:8888\",\"files\":[\"/etc/ca.pem\",\"/etc/"
		       "c.pem\",\"/etc/c.key\"],\"routes_sha256\":\""),
		text);
	assert_null(memmem(bytes_span(&draft.routes_text).data, draft.routes_text.length, "GH", 2));
	free(text);
	plan_draft_free(&draft);
}

static void ten_thousand_routes(void **state)
{
	struct bytes text = {0};
	struct plan_draft draft;

	(void)state;
	assert_true(bytes_append_text(&text, "bottle:\n  egress:\n    routes:\n"));
	for (int i = 0; i < 10000; i++)
		assert_true(bytes_printf(&text,
					 "    - {host: h%d.example, auth: {scheme: Bearer, token_ref: "
					 "T%d}}\n",
					 i, i % 100));
	assert_true(bytes_append(&text, "", 1));
	make_good(&draft, bytes_span(&text).data, "[{host: h9.example}, {host: '*.other.example'}]");
	assert_int_equal(draft.route_count, 10001);
	assert_int_equal(policy_route_count(draft.config->policy), 10001);
	assert_int_equal(draft.slot_count, 100);
	assert_string_equal(draft.routes[10000].token_env, "EGRESS_TOKEN_98"); /* T9 came last */
	plan_draft_free(&draft);
	bytes_free(&text);
}

/* Slots, owners and what they are looked up by: each of ten thousand, so that nothing may compare
 * each with each. */
static void ten_thousand_of_each(void **state)
{
	struct bytes text = {0}, provider = {0};
	struct plan_draft draft;

	(void)state;
	assert_true(bytes_append_text(&text, "bottle:\n  egress:\n    routes:\n"));
	for (int i = 0; i < 10000; i++) {
		assert_true(bytes_printf(&text, "    - {host: a.h%d.example, auth: {scheme: Bearer, "
						"token_ref: T%d}}\n",
					 i, i));
		assert_true(bytes_printf(&provider, "- {host: '*.h%d.example'}\n", i + 5000));
	}
	assert_true(bytes_append(&text, "", 1) && bytes_append(&provider, "", 1));
	make_good(&draft, bytes_span(&text).data, bytes_span(&provider).data);
	assert_int_equal(draft.route_count, 15000);
	assert_int_equal(draft.slot_count, 5000);
	assert_int_equal(draft.notices.count, 5000);
	assert_string_equal(draft.slots[4999].token_ref, "T4999");
	assert_string_equal(draft.slots[4999].token_env, "EGRESS_TOKEN_4999");
	plan_draft_free(&draft);
	bytes_free(&text);
	bytes_free(&provider);
}

/* What names a bottle is anybody's text; what names its containers is not. */
static void awkward_names(void **state)
{
	static const struct {
		const char *name, *manifest, *slug;
	} names[] = {
		{"My \"agent\"\n'2'", "bottles: {\"My \\\"agent\\\"\\n'2'\": {}}", "my-agent-2"},
		{"\xc3\x84gent \xe2\x98\x83 x", "bottles: [{name: '\xc3\x84gent \xe2\x98\x83 x'}]", "gent-x"},
		{"--privileged", "{\"bottles\": {\"--privileged\": {\"egress\": {}}}}", "privileged"},
		{"$(id); ../..", "bottles:\n  ? '$(id); ../..'\n  : {}\n", "id"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct config_source source = {"m.yaml", span_from(names[i].manifest)};
		struct plan_draft draft = {.bottle = NULL};
		struct diag_list errors = {0};
		json_t *plan;

		if (!plan_make(&draft, &source, names[i].name, NULL, 0, "/plans/\"x\"\n", &errors))
			fail_msg("%s: %s", names[i].name, errors.items[0].text);
		plan = json_loadb(draft.plan_text.data, draft.plan_text.length, 0, NULL);
		assert_string_equal(json_string_value(json_object_get(plan, "bottle")), names[i].name);
		assert_string_equal(json_string_value(json_object_get(plan, "slug")), names[i].slug);
		assert_string_equal(json_string_value(json_object_get(json_object_get(plan, "paths"),
								      "directory")),
				    "/plans/\"x\"\n");
		json_decref(plan);
		plan_draft_free(&draft);
	}
}

/* ---- errors --------------------------------------------------------------------------------- */

static const struct {
	const char *manifest, *provider;
	int line;
	const char *message;
} broken[] = {
	{"bottle:\n  cred_proxy: {}\n", NULL, 2, "cred_proxy is a key of older manifests"},
	{"bottle:\n  egress_proxy: {}\n", NULL, 2, "egress: {routes: "},
	{"egress_proxy: {}\nbottle: {}\n", NULL, 1, "egress_proxy is a key of older manifests"},
	{BOTTLE("    cred_proxy: []\n"), NULL, 3, "egress.routes with auth"},
	{"bottle:\n  egres: {}\n", NULL, 2, "did you mean \"egress\""},
	{"bottles:\n  agent: {}\nbottle: {}\n", NULL, 1, "both bottle and bottles"},
	{"bottles:\n  a: {}\n  b: {}\n", NULL, 2, "has no bottle \"agent\"; would be right: a, b"},
	{"bottles:\n  - {egress: {}}\n  - {name: agent}\n", NULL, 2, "bottle 0 has no name"},
	{"bottles:\n  agent: {}\n  Agent: {}\n", NULL, 3, "have the same short name \"agent\""},
	{"bottle:\n  name: other\n", NULL, 2, "the bottle's name is \"other\", not \"agent\""},
	{"routes: []\n", NULL, 1, "unknown key \"routes\""},
	{"x-mine: 1\n", NULL, 1, "there is no bottle"},
	{"[]\n", NULL, 1, "not a mapping"},
	{BOTTLE("    routes: {host: a.example}\n"), NULL, 3, "bottle.egress.routes: is not a list"},
	{BOTTLE("    routes:\n    - hots: a.example\n"), NULL, 4, "did you mean \"host\""},
	{BOTTLE("    routes:\n    - {host: a.example}\n    - host: https://b.example/\n"), NULL, 5,
	 "bottle.egress.routes[1].host: \"https://b.example/\" is a URL"},
	{BOTTLE("    routes:\n    - host: \"a.example\\nb.example\"\n"), NULL, 4, "routes[0].host: "},
	{BOTTLE("    routes:\n    - host: a\xc2\xa0" "b.example\n"), NULL, 4, "routes[0].host: "},
	{BOTTLE("    routes:\n    - {host: a.example, path_allowlist: [\"/a\\nb\"]}\n"), NULL, 4,
	 "routes[0].path_allowlist"},
	{BOTTLE("    routes:\n    - {host: a.example, path_allowlist: ['/\xc3\xbc']}\n"), NULL, 4,
	 "routes[0].path_allowlist"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {}\n"), NULL, 5, "is empty"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {scheme: Bearer}\n"), NULL, 5,
	 "routes[0].auth: half an auth: has no token_ref"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {token_ref: GH}\n"), NULL, 5,
	 "half an auth: has neither scheme nor header"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {scheme: Digest, token_ref: GH}\n"),
	 NULL, 5, "the scheme is unknown"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {scheme: Bearer, token_ref: a-b}\n"),
	 NULL, 5, "not the name of an environment variable"},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {scheme: Bearer, token: x}\n"),
	 NULL, 5, "unknown key \"token\""},
	{BOTTLE("    routes:\n    - host: a.example\n      auth: {scheme: Bearer, token_file: /x}\n"),
	 NULL, 5, "token_file is not for manifests"},
	{BOTTLE("    routes:\n    - host: a.example\n      token_env: X\n"), NULL, 5,
	 "token_env is for routes.yaml"},
	{BOTTLE("    routes:\n    - host: a.example\n      tls: passthrough\n"
		"      auth: {scheme: Bearer, token_ref: GH}\n"),
	 NULL, 6, "routes[0].auth: does not go with tls: passthrough"},
	{BOTTLE("    routes:\n    - host: a.example\n"
		"      auth: {scheme: Bearer, token_ref: B, token_env: EGRESS_TOKEN_0}\n"),
	 "- {host: p.example, auth: {scheme: Bearer, token_ref: A}}\n", 5,
	 "EGRESS_TOKEN_0 is for token_ref A already (p.yaml:1), and cannot be for B too"},
	{BOTTLE("    routes:\n    - host: a.example\n"
		"      auth: {scheme: Bearer, token_ref: B, token_env: PATH}\n"),
	 NULL, 5, "token_env is not the name of a slot"},
	{BOTTLE("    networks: {bottle: --privileged}\n"), NULL, 3,
	 "networks: \"--privileged\" is not the name of a network"},
	{BOTTLE("    routes: []\n    networks: {bottle: host}\n"), NULL, 4,
	 "networks: a bottle on the host's network needs its sidecar there"},
	{BOTTLE("    networks: {bottle: none, sidecar: none}\n"), NULL, 3, "has no way out"},
	{BOTTLE("    networks: {bottle: 'container:x'}\n"), NULL, 3, "is not the name of a network"},
	{BOTTLE("    upstream: {proxy: 'ftp://x'}\n"), NULL, 3, "bottle.egress.upstream.proxy: "},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me}}\n"), NULL, 3,
	 "upstream.proxy_auth: names no variable of the host for the password"},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {token_ref: A}}\n"), NULL, 3,
	 "upstream.proxy_auth: has no username"},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, token_env: EGRESS_TOKEN_0}}\n"),
	 NULL, 3, "names no variable of the host"},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, token_file: /x}}\n"),
	 NULL, 3, "token_file is not for manifests"},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, token_ref: A, token_env: "
		"PATH}}\n"),
	 NULL, 3, "token_env is not the name of a slot"},
	{BOTTLE("    upstream: {proxy: 'http://p:1', proxy_auth: {username: me, password: x}}\n"), NULL, 3,
	 "upstream.proxy_auth: unknown key \"password\""},
	{BOTTLE("    upstream: {proxy_auth: {username: me, token_ref: A}}\n"), NULL, 3,
	 "proxy_auth: there is no upstream.proxy"},
	{BOTTLE("    upstream: []\n"), NULL, 3, "upstream: is a list, not a mapping"},
	{BOTTLE("    routes: []\n"), "routes:\n- host: a.example\n  pots: [1]\n", 3,
	 "routes[0]: unknown key \"pots\""},
	{BOTTLE("    routes: []\n"), "description: x\n", 1, "routes is missing"},
};

static void says_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct diag_list errors = {0};
		struct plan_draft draft;
		bool found = false;

		if (make(&draft, broken[i].manifest, broken[i].provider, &errors))
			fail_msg("taken: %s", broken[i].manifest);
		for (size_t j = 0; j < errors.kept; j++)
			found |= errors.items[j].line == broken[i].line &&
				 strstr(errors.items[j].text, broken[i].message);
		if (!found)
			fail_msg("%s: line %d: %s", broken[i].manifest, errors.items[0].line,
				 errors.items[0].text);
		assert_int_equal(draft.routes_text.length, 0);
		plan_draft_free(&draft);
		diag_list_free(&errors);
	}
}

/* ---- writing -------------------------------------------------------------------------------- */

static char top[] = "/tmp/egress-make-XXXXXX";

static void check_mode(const char *directory, const char *name, mode_t mode)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void read_text(const char *directory, const char *name, char *ret, size_t size)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	assert_non_null(file);
	ret[fread(ret, 1, size - 1, file)] = '\0';
	fclose(file);
}

static void write_it(const char *manifest, const char *directory, bool new_ca)
{
	struct plan_draft draft;
	struct error error = {0};

	make_good(&draft, manifest, NULL);
	if (plan_write(&draft, directory, new_ca, &error) < 0)
		fail_msg("%s", error.text);
	plan_draft_free(&draft);
}

static void refuses_to_write(const char *directory, const char *message)
{
	struct plan_draft draft;
	struct error error = {0};

	make_good(&draft, BOTTLE("    routes: []\n"), NULL);
	assert_int_equal(plan_write(&draft, directory, false, &error), -1);
	if (!strstr(error.text, message))
		fail_msg("\"%s\" does not say \"%s\"", error.text, message);
	plan_draft_free(&draft);
}

static int count_entries(const char *path)
{
	DIR *directory = opendir(path);
	int count = -2; /* "." and ".." */

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void writes_and_keeps_the_ca(void **state)
{
	char directory[128], first[8192], second[8192], cert[8192];
	struct error error = {0};
	struct plan *plan;
	mode_t old = umask(077);

	(void)state;
	snprintf(directory, sizeof(directory), "%s/plan", top);
	write_it(BOTTLE("    routes: [{host: a.example}]\n"), directory, false);
	umask(old);
	check_mode(directory, PLAN_ROUTES, 0600);
	check_mode(directory, PLAN_CA, 0600);
	check_mode(directory, PLAN_CA_CERT, 0644);
	check_mode(directory, PLAN_FILE, 0644);
	assert_int_equal(count_entries(directory), 4);
	assert_int_equal(count_entries(top), 1);
	read_text(directory, PLAN_CA, first, sizeof(first));
	read_text(directory, PLAN_CA_CERT, cert, sizeof(cert));
	assert_non_null(strstr(first, "PRIVATE KEY"));
	assert_null(strstr(cert, "PRIVATE KEY"));
	write_it(BOTTLE("    routes: [{host: b.example}]\n"), directory, false);
	read_text(directory, PLAN_CA, second, sizeof(second));
	assert_string_equal(first, second);
	read_text(directory, PLAN_ROUTES, second, sizeof(second));
	assert_string_equal(second, "routes:\n- host: b.example\n");
	assert_int_equal(plan_read(directory, &plan, &error), 0);
	plan_free(plan);
	write_it(BOTTLE("    routes: []\n"), directory, true);
	read_text(directory, PLAN_CA, second, sizeof(second));
	assert_string_not_equal(first, second);
	assert_int_equal(count_entries(directory), 4);
}

static void repairs_the_certificate(void **state)
{
	char directory[128], path[160], first[8192], second[8192];

	(void)state;
	snprintf(directory, sizeof(directory), "%s/plan", top);
	write_it(BOTTLE("    routes: []\n"), directory, false);
	read_text(directory, PLAN_CA_CERT, first, sizeof(first));
	snprintf(path, sizeof(path), "%s/" PLAN_CA_CERT, directory);
	unlink(path);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	write_it(BOTTLE("    routes: []\n"), directory, false);
	read_text(directory, PLAN_CA_CERT, second, sizeof(second));
	assert_string_equal(first, second);
	check_mode(directory, PLAN_CA_CERT, 0644);
}

static void nothing_half_applied(void **state)
{
	char directory[128], path[160], first[8192], second[8192];

	(void)state;
	snprintf(directory, sizeof(directory), "%s/plan", top);
	write_it(BOTTLE("    routes: [{host: a.example}]\n"), directory, false);
	read_text(directory, PLAN_FILE, first, sizeof(first));
	snprintf(path, sizeof(path), "%s/" PLAN_CA, directory);
	assert_int_equal(chmod(path, 0644), 0);
	refuses_to_write(directory, "chmod 600");
	read_text(directory, PLAN_FILE, second, sizeof(second));
	assert_string_equal(first, second);
	read_text(directory, PLAN_ROUTES, second, sizeof(second));
	assert_string_equal(second, "routes:\n- host: a.example\n");
	assert_int_equal(count_entries(directory), 4);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(directory, 0777), 0);
	refuses_to_write(directory, "can be written by others");
	assert_int_equal(chmod(directory, 0700), 0);
}

static void no_way_through_links(void **state)
{
	char target[128], link[128];

	(void)state;
	snprintf(target, sizeof(target), "%s/plan", top);
	snprintf(link, sizeof(link), "%s/link", top);
	assert_int_equal(symlink(target, link), 0);
	refuses_to_write(link, "link: ");
	unlink(link);
	assert_int_equal(symlink("/nonexistent/plan", link), 0);
	refuses_to_write(link, "link: ");
	unlink(link);
}

static void names_the_directory(void **state)
{
	struct error error = {0};
	char *path = NULL, want[128];

	(void)state;
	snprintf(want, sizeof(want), "%s//", top);
	assert_int_equal(plan_directory(want, &path, &error), 0);
	assert_string_equal(path, top);
	free(path);
	assert_int_equal(plan_directory("/", &path, &error), -1);
	assert_int_equal(plan_directory("a/..", &path, &error), -1);
	assert_int_equal(plan_directory("", &path, &error), -1);
	assert_int_equal(plan_directory("/nonexistent/x", &path, &error), -1);
}

static int make_top(void **state)
{
	(void)state;
	return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
	static const char *const names[] = {PLAN_ROUTES, PLAN_FILE, PLAN_CA, PLAN_CA_CERT, ""};
	char path[160];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/plan/%s", top, names[i]);
		remove(path);
	}
	return rmdir(top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_routes),
		cmocka_unit_test(slots_are_shared_and_in_order),
		cmocka_unit_test(the_upstream_proxy_has_a_slot),
		cmocka_unit_test(provider_owns_its_hosts),
		cmocka_unit_test(awkward_texts),
		cmocka_unit_test(plan_text),
		cmocka_unit_test(ten_thousand_routes),
		cmocka_unit_test(ten_thousand_of_each),
		cmocka_unit_test(awkward_names),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(writes_and_keeps_the_ca),
		cmocka_unit_test(repairs_the_certificate),
		cmocka_unit_test(nothing_half_applied),
		cmocka_unit_test(no_way_through_links),
		cmocka_unit_test(names_the_directory),
	};

	return cmocka_run_group_tests_name("plan_make", tests, make_top, remove_top);
}
