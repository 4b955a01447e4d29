// SPDX-License-Identifier: BSD-2-Clause
/* Grants: as routes beside a policy, and written into its file, of which all else stays. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_edit.h"
#include "grant.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct grant get(const char *host, const char *path)
{
	struct grant grant = {
		.id = "1a2b-3",
		.permit = {.host = host, .port = 443, .tls = true, .method = "GET", .path = path,
			   .path_type = POLICY_PATH_EXACT, .credential = true},
		.state = GRANT_IN_FORCE,
	};

	return grant;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void insert(const char *text, const char *entry, const char *expected, int line)
{
	struct config_place place;
	struct error error = {0};
	struct bytes ret = {0};

	assert_int_equal(config_find_place(span_from(text), &place, &error), 0);
	assert_true(config_insert(span_from(text), &place, entry, &ret));
	assert_int_equal(ret.length, strlen(expected));
	assert_memory_equal(bytes_span(&ret).data, expected, ret.length);
	assert_int_equal(place.line, line);
	bytes_free(&ret);
}

static void test_places(void **state)
{
	(void)state;
	/* A comment behind the last route belongs to it; one on the next line does not. */
	insert("routes:\n  - host: a # x\n  # y\nhints: true\n", "  N\n",
	       "routes:\n  - host: a # x\n  N\n  # y\nhints: true\n", 3);
	insert("routes:\n- host: a\n  ports: [1,\n    2]", "N\n", "routes:\n- host: a\n  ports: [1,\n    2]\nN\n", 5);
	insert("routes:\r\n  - host: a\r\n", "N\nM\n", "routes:\r\n  - host: a\r\nN\r\nM\r\n", 3);
	insert("# \xc3\xa9\xe2\x82\xac\nroutes: # \xc3\xa9\n  - host: a # \xf0\x9f\x8d\xb6\nhints: true\n", "N\n",
	       "# \xc3\xa9\xe2\x82\xac\nroutes: # \xc3\xa9\n  - host: a # \xf0\x9f\x8d\xb6\nN\nhints: true\n", 4);
	insert("routes:\n  - host: |\n      a\nhints: true\n", "N\n",
	       "routes:\n  - host: |\n      a\nN\nhints: true\n", 4);
	insert("routes:\n  - matches:\n      - paths: [{value: /x}]\n        methods: [GET]\n    host: 'routes'\n"
	       "upstream:\n  resolvers:\n    - 1\n", "N\n",
	       "routes:\n  - matches:\n      - paths: [{value: /x}]\n        methods: [GET]\n    host: 'routes'\n"
	       "N\nupstream:\n  resolvers:\n    - 1\n", 6);
	/* In brackets. */
	insert("routes: []\n", "{N}", "routes: [{N}]\n", 1);
	insert("{\"routes\": [ {\"host\": \"a\", \"ports\": [1, 2]} ]}", "{N}",
	       "{\"routes\": [ {\"host\": \"a\", \"ports\": [1, 2]}, {N} ]}", 1);
	insert("routes: [\n  {host: a}, # x\n]\n", "{N}", "routes: [\n  {host: a}, {N}, # x\n]\n", 2);
	insert("upstream: {resolvers: [routes]}\nroutes: [{host: a}]\n", "{N}",
	       "upstream: {resolvers: [routes]}\nroutes: [{host: a}, {N}]\n", 2);
}

static void test_no_place(void **state)
{
	static const char *const texts[] = {"", "routes: 1\n", "other: []\n", "- routes: []\n",
					    "a: {routes: [{host: x}]}\n", "routes: [\n"};
	struct config_place place;
	struct error error;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		error = (struct error){0};
		assert_int_equal(config_find_place(span_from(texts[i]), &place, &error), -1);
		assert_string_equal(error.text, "it has no list of routes");
	}
}

/* ---- the file -------------------------------------------------------------------------------- */

static char directory[] = "/tmp/egress-grant-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/routes.yaml", mkdtemp(directory));
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void write_file(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(span_write(span_from(text), fd), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void assert_file(const char *expected)
{
	struct bytes text = {0};

	assert_int_equal(config_read_file(path, &text, NULL), 0);
	assert_true(bytes_append(&text, "", 1));
	assert_string_equal(bytes_span(&text).data, expected);
	bytes_free(&text);
}

/* The entry's comment has the day in it. */
static void assert_begins(const char *begins, const char *ends)
{
	struct bytes text = {0};
	struct span span;

	assert_int_equal(config_read_file(path, &text, NULL), 0);
	span = bytes_span(&text);
	assert_true(span.length > strlen(begins) + strlen(ends));
	assert_memory_equal(span.data, begins, strlen(begins));
	assert_memory_equal(span.data + span.length - strlen(ends), ends, strlen(ends));
	bytes_free(&text);
}

static const char base[] = "# ours\nroutes:\n\n  - host: a.test   # first\n    path_allowlist: [/x]\n"
			   "    auth_scheme: Bearer\n    token_env: T\n# the end\n";

static void test_persist(void **state)
{
	struct grant grant = get("a.test", "/y");
	struct error error = {0};
	struct stat status;

	(void)state;
	write_file(base, 0640);
	assert_int_equal(chown(path, geteuid(), getegid()), 0);
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_equal(grant.line, 8);
	assert_begins("# ours\nroutes:\n\n  - host: a.test   # first\n    path_allowlist: [/x]\n"
		      "    auth_scheme: Bearer\n    token_env: T\n  - host: a.test # egress-bpf allow 1a2b-3, ",
		      "\n    ports: [443]\n    matches:\n      - paths: [{type: exact, value: \"/y\"}]\n"
		      "        methods: [\"GET\"]\n    auth: {scheme: Bearer, token_env: \"T\"}\n# the end\n");
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	/* It is there now: nothing is written twice. */
	grant.line = 0;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_equal(grant.line, 0);
}

/* A part of it is not all of it: what the file lacks is written. */
static void test_persist_wider(void **state)
{
	struct grant grant = get("a.test", "/x");
	struct error error = {0};

	(void)state;
	write_file("routes:\n  - host: a.test\n    matches:\n      - paths: [{type: exact, value: /x}]\n"
		   "        methods: [GET]\n", 0600);
	grant.permit.method = NULL;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_equal(grant.line, 6);
	grant.line = 0;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_equal(grant.line, 0);
	grant.permit.path_type = POLICY_PATH_PREFIX;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_not_equal(grant.line, 0);
	grant.line = 0;
	grant.permit.path = NULL;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_not_equal(grant.line, 0);
	grant.line = 0;
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_int_equal(grant.line, 0);
}

static void test_persist_flow(void **state)
{
	struct grant grant = get("b.test", "/y");
	struct error error = {0};

	(void)state;
	write_file("{\"routes\": [{\"host\": \"a.test\"}]}\n", 0600);
	assert_int_equal(grant_persist(path, &grant, &error), 0);
	assert_file("{\"routes\": [{\"host\": \"a.test\"}, {\"host\": \"b.test\", \"ports\": [443], \"matches\": "
		    "[{\"paths\": [{\"type\": \"exact\", \"value\": \"/y\"}], \"methods\": [\"GET\"]}]}]}\n");
}

static void test_persist_refused(void **state)
{
	struct grant grant = get("a.test", "/y");
	struct error error = {0};
	char other[80];
	int fd;

	(void)state;
	/* With errors. */
	write_file("routes: [{hots: a.test}]\n", 0600);
	assert_int_equal(grant_persist(path, &grant, &error), -1);
	assert_non_null(strstr(error.text, "nothing was written"));
	assert_file("routes: [{hots: a.test}]\n");
	/* The host's port has another use. */
	write_file("routes:\n  - host: a.test\n    tls: passthrough\n    ports: [443]\n", 0600);
	error = (struct error){0};
	assert_int_equal(grant_persist(path, &grant, &error), -1);
	assert_file("routes:\n  - host: a.test\n    tls: passthrough\n    ports: [443]\n");
	/* Somebody has it open for writing. */
	write_file(base, 0600);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	error = (struct error){0};
	assert_int_equal(grant_persist(path, &grant, &error), -1);
	assert_non_null(strstr(error.text, "somebody else is writing it"));
	close(fd);
	assert_file(base);
	/* Two names. */
	snprintf(other, sizeof(other), "%s.2", path);
	assert_int_equal(link(path, other), 0);
	error = (struct error){0};
	assert_int_equal(grant_persist(path, &grant, &error), -1);
	assert_non_null(strstr(error.text, "no file of one name"));
	unlink(other);
	assert_file(base);
}

/* A name that leads to the file: the file is replaced, and the name stays what it is. */
static void test_persist_link(void **state)
{
	struct grant grant = get("a.test", "/y");
	char link_path[80];
	struct stat status;

	(void)state;
	write_file(base, 0600);
	snprintf(link_path, sizeof(link_path), "%s.link", path);
	assert_int_equal(symlink("routes.yaml", link_path), 0);
	assert_int_equal(grant_persist(link_path, &grant, NULL), 0);
	assert_int_equal(lstat(link_path, &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	unlink(link_path);
	assert_begins("# ours\n", "# the end\n");
}

/* Of a persist that was killed between its steps, by a process of our number: it may hold an edit, and
 * is in nobody's way. */
static void test_persist_leftover(void **state)
{
	struct grant grant = get("a.test", "/y");
	struct error error = {0};
	char left[96];
	int fd;

	(void)state;
	write_file(base, 0600);
	snprintf(left, sizeof(left), "%s.egress-bpf-%d-0", path, (int)getpid());
	fd = open(left, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	if (grant_persist(path, &grant, &error) < 0)
		fail_msg("%s", error.text);
	assert_begins("# ours\n", "# the end\n");
	assert_int_equal(unlink(left), 0);
}

/* Killed while it writes the new file: the old one stands alone. remove_directory() finds it so. */
static void test_persist_killed(void **state)
{
	const struct rlimit limit = {10, 10}; /* bytes; past them comes SIGXFSZ */
	struct grant grant = get("a.test", "/y");
	int status, fd = open("/tmp", O_TMPFILE | O_WRONLY, 0600);
	pid_t pid;

	(void)state;
	if (fd < 0) {
		print_message("/tmp has no files without a name\n");
		skip();
	}
	close(fd);
	write_file(base, 0600);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_FSIZE, &limit);
		_exit(grant_persist(path, &grant, NULL) == 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
	assert_file(base);
}

/* An editor's way of writing, again and again. */
static void rename_over(const char *beside)
{
	for (;;) {
		int fd = open(beside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0 || close(fd) < 0 || rename(beside, path) < 0)
			_exit(1);
	}
}

/* A file that has lost its name since it was opened was written meanwhile; that is no error. */
static void test_persist_renamed(void **state)
{
	struct error error = {0};
	char beside[96];
	int result = 1;
	pid_t pid;

	(void)state;
	write_file(base, 0600);
	snprintf(beside, sizeof(beside), "%s.edited", path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		rename_over(beside);
	for (int i = 0; i < 20000 && result == 1; i++)
		result = config_replace_file(path, span_from("of nobody"), span_from(base), &error);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(beside);
	assert_string_equal(error.text, "");
	assert_int_equal(result, 1);
}

/* ---- beside a policy ---------------------------------------------------------------------------- */

static struct config *parse(const char *text, struct grants *grants, struct error *dropped)
{
	const struct config_source source = {"routes.yaml", span_from(text)};
	struct diag_list errors = {0};
	struct grant_sources sources = {0};
	struct config *config = grants_parse(grants, &source, 1, &sources, &errors, dropped);

	assert_int_equal(errors.count, 0);
	grant_sources_free(&sources);
	return config;
}

static enum egress_reason ask(const struct config *config, const char *host, const char *method,
			      const char *target)
{
	const struct policy_request request = {.host = host, .port = 443, .tls = true,
					       .method = span_from(method), .target = span_from(target)};
	struct policy_verdict verdict;

	policy_decide(config->policy, &request, &verdict);
	return verdict.reason;
}

static void test_beside(void **state)
{
	struct grants grants = {0};
	struct grant grant = get("a.test", "/y");
	struct error dropped = {0}, error = {0};
	struct config *plain, *config;

	(void)state;
	plain = parse(base, &grants, &dropped);
	assert_int_equal(grants_add(&grants, &grant, NULL), 0);
	config = parse(base, &grants, &dropped);
	assert_int_equal(ask(config, "a.test", "GET", "/y?q"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "a.test", "PUT", "/y"), EGRESS_METHOD_NOT_ALLOWED);
	assert_int_equal(ask(config, "a.test", "GET", "/y/z"), EGRESS_PATH_NOT_ALLOWED);
	assert_string_equal(grants.list[0].credential, "a.test (routes.yaml:4)");
	assert_int_equal(policy_permit_check(plain->policy, config->policy, &grant.permit, &error), 0);
	/* One that gives more than it says is found out. */
	grant.permit.method = "PUT";
	assert_int_equal(policy_permit_check(plain->policy, config->policy, &grant.permit, &error), -1);
	config_free(plain);
	config_free(config);
	grants_free(&grants);
}

/* The wildcard's routes go on for the name that gets a route of its own. */
static void test_wildcard(void **state)
{
	static const char text[] = "routes:\n  - host: \"*.w.test\"\n    methods: [GET]\n"
				   "    path_allowlist: [/w]\n";
	struct grants grants = {0};
	struct grant grant = get("a.w.test", "/y");
	struct config *plain = parse(text, &grants, NULL), *config;
	struct error error = {0};

	(void)state;
	grant.permit.method = "PUT";
	assert_int_equal(grants_add(&grants, &grant, NULL), 0);
	config = parse(text, &grants, NULL);
	assert_int_equal(ask(config, "a.w.test", "PUT", "/y"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "a.w.test", "GET", "/w/1"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "b.w.test", "PUT", "/y"), EGRESS_PATH_NOT_ALLOWED);
	assert_int_equal(policy_permit_check(plain->policy, config->policy, &grant.permit, &error), 0);
	config_free(plain);
	config_free(config);
	grants_free(&grants);
}

/* Two credentials: which is meant is not known, but for the route whose path it is. */
static void test_two_credentials(void **state)
{
	static const char text[] = "routes:\n"
				   "  - {host: a.test, path_allowlist: [/x], methods: [GET], auth_scheme: Bearer, token_env: T}\n"
				   "  - {host: a.test, path_allowlist: [/z], auth_scheme: Bearer, token_env: U}\n";
	struct grants grants = {0};
	struct config *config = parse(text, &grants, NULL);
	struct policy_permit permit = get("a.test", "/y").permit;
	char credential[512];

	(void)state;
	policy_permit_credential(config->policy, &permit, credential);
	assert_string_equal(credential, "");
	permit.path = "/x/1";
	permit.method = "PUT";
	policy_permit_credential(config->policy, &permit, credential);
	assert_string_equal(credential, "a.test (routes.yaml:2)");
	permit.credential = false;
	policy_permit_credential(config->policy, &permit, credential);
	assert_string_equal(credential, "");
	permit.credential = true;
	permit.tls = false;
	policy_permit_credential(config->policy, &permit, credential);
	assert_string_equal(credential, "");
	config_free(config);
}

static void test_no_place_for_it(void **state)
{
	struct grants grants = {0};
	struct grant grant = get("a.test", "/y"), other = get("b.test", "/y");
	struct error dropped = {0};
	struct config *config;

	(void)state;
	snprintf(other.id, sizeof(other.id), "1a2b-4");
	assert_int_equal(grants_add(&grants, &grant, NULL), 0);
	assert_int_equal(grants_add(&grants, &other, NULL), 0);
	config = parse("routes:\n  - {host: a.test, tls: passthrough, ports: [443]}\n", &grants, &dropped);
	assert_non_null(config);
	assert_non_null(strstr(dropped.text, "no place for it"));
	assert_int_equal(grants.count, 1);
	assert_string_equal(grants.list[0].permit.host, "b.test");
	config_free(config);
	grants_free(&grants);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),	       cmocka_unit_test(test_no_place),
		cmocka_unit_test(test_persist),
		cmocka_unit_test(test_persist_wider),	       cmocka_unit_test(test_persist_flow),
		cmocka_unit_test(test_persist_refused), cmocka_unit_test(test_persist_link),
		cmocka_unit_test(test_persist_leftover), cmocka_unit_test(test_persist_killed),
		cmocka_unit_test(test_persist_renamed),
		cmocka_unit_test(test_beside),	       cmocka_unit_test(test_wildcard),
		cmocka_unit_test(test_two_credentials), cmocka_unit_test(test_no_place_for_it),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
