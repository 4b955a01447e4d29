// SPDX-License-Identifier: BSD-2-Clause
/* Broken files, each with the exact errors it must give (NAME.want), and good ones. Run with
 * EGRESS_WRITE_WANT=1 to write the .want files anew; then read the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#define BAD "tests/unit/policies/bad/"
#define GOOD "tests/unit/policies/good/"

static struct config *parse(const char *name, const char *text, struct diag_list *errors)
{
	struct config_source source = {name, span_from(text)};

	return config_parse(&source, 1, errors);
}

static struct config *parse_good(const char *text)
{
	struct diag_list errors = {0};
	struct config *config = parse("routes.yaml", text, &errors);

	if (!config)
		fail_msg("line %d: %s", errors.items[0].line, errors.items[0].text);
	return config;
}

static enum egress_reason ask(const struct config *config, const char *host, const char *method,
			      const char *target)
{
	struct policy_verdict verdict;

	policy_decide(config->policy,
		      &(struct policy_request){.host = host,
					       .port = 443,
					       .tls = true,
					       .method = span_from(method),
					       .target = span_from(target)},
		      &verdict);
	return verdict.reason;
}

/* ---- broken files --------------------------------------------------------------------------- */

static void read_text(const char *path, struct bytes *ret)
{
	struct error error = {0};

	if (config_read_file(path, ret, &error) < 0)
		fail_msg("%s", error.text);
}

static void write_want(const char *path, struct span text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fwrite(text.data, 1, text.length, file);
	fclose(file);
}

static void check_broken(const char *path)
{
	struct bytes text = {0}, want = {0}, got = {0};
	struct diag_list errors = {0};
	char want_path[512];

	read_text(path, &text);
	assert_null(config_parse(&(struct config_source){path, bytes_span(&text)}, 1, &errors));
	assert_true(errors.count > 0);
	for (size_t i = 0; i < errors.kept; i++) {
		const struct diag_item *item = &errors.items[i];

		assert_string_equal(item->source, path);
		if (!strstr(item->text, "would be right: "))
			fail_msg("%s: no cure: %s", path, item->text);
		if (strstr(item->text, "topsecret"))
			fail_msg("%s: shows a secret: %s", path, item->text);
		assert_true(bytes_printf(&got, "%d: %s\n", item->line, item->text));
	}
	snprintf(want_path, sizeof(want_path), "%.*s.want", (int)(strrchr(path, '.') - path), path);
	if (getenv("EGRESS_WRITE_WANT"))
		write_want(want_path, bytes_span(&got));
	read_text(want_path, &want);
	if (!span_equal(bytes_span(&want), bytes_span(&got)))
		fail_msg("%s gives:\n%.*s", path, (int)got.length, bytes_span(&got).data);
	diag_list_free(&errors);
	bytes_free(&text);
	bytes_free(&want);
	bytes_free(&got);
}

static void broken_files(void **state)
{
	glob_t found;
	size_t count;

	(void)state;
	assert_int_equal(glob(BAD "*.yaml", 0, NULL, &found), 0);
	assert_int_equal(glob(BAD "*.json", GLOB_APPEND, NULL, &found), 0);
	count = found.gl_pathc;
	for (size_t i = 0; i < count; i++)
		check_broken(found.gl_pathv[i]);
	globfree(&found);
	assert_true(count >= 150);
}

static void too_large(void **state)
{
	char *text = malloc(17 * 1024 * 1024);
	struct diag_list errors = {0};
	struct config_source source = {"x", {text, 17 * 1024 * 1024}};
	char said[64];

	(void)state;
	memset(text, ' ', 17 * 1024 * 1024);
	assert_null(config_parse(&source, 1, &errors));
	assert_int_equal(errors.count, 1);
	assert_non_null(strstr(errors.items[0].text, "16 MiB"));
	diag_list_free(&errors);
	/* Nine million values fit in 16 MiB; they must not fit in our memory. */
	for (size_t i = 0; i < 16 * 1024 * 1024; i++)
		text[i] = i % 2 ? ',' : '1';
	memcpy(text, "routes:  [", 10);
	source.text.length = 16 * 1024 * 1024;
	assert_null(config_parse(&source, 1, &errors));
	assert_non_null(strstr(errors.items[0].text, "more than 2000000 values"));
	assert_int_equal(errors.count, 1);
	diag_list_free(&errors);
	/* A million mistakes are not a million messages. */
	source.text.length = 2 * 1000 * 1000;
	text[source.text.length - 1] = ']';
	assert_null(config_parse(&source, 1, &errors));
	assert_in_range(errors.count, 200, 210);
	diag_list_free(&errors);
	/* Nor when it is YAML itself that is not taken. */
	for (size_t i = 10; i < 300 * 1000; i++)
		text[i] = "*a,"[i % 3];
	source.text.length = 300 * 1000;
	text[source.text.length - 1] = ']';
	assert_null(config_parse(&source, 1, &errors));
	assert_in_range(errors.count, 200, 210);
	assert_non_null(strstr(errors.items[0].text, "aliases"));
	assert_non_null(strstr(errors.items[errors.kept - 1].text, "after so many errors"));
	diag_list_free(&errors);
	/* Nor when it is one list of one route. */
	memcpy(text, "routes: [{host: a.example, methods: [", 37);
	for (size_t i = 37; i < 300 * 1000; i++)
		text[i] = "{},"[(i - 37) % 3];
	memcpy(text + source.text.length - 3, "]}]", 3);
	assert_null(config_parse(&source, 1, &errors));
	assert_in_range(errors.count, 99 * 1000, 100 * 1000);
	assert_in_range(errors.kept, 200, 300);
	snprintf(said, sizeof(said), "%zu more are not shown; would be right: ",
		 errors.count - errors.kept + 1);
	assert_ptr_equal(strstr(errors.items[errors.kept - 1].text, said),
			 errors.items[errors.kept - 1].text);
	diag_list_free(&errors);
	free(text);
}

/* ---- good files ------------------------------------------------------------------------------ */

static void good_files(void **state)
{
	glob_t found;

	(void)state;
	assert_int_equal(glob(GOOD "*", 0, NULL, &found), 0);
	assert_true(found.gl_pathc >= 4);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct diag_list errors = {0};
		struct bytes text = {0};
		struct config *config;

		read_text(found.gl_pathv[i], &text);
		config = config_parse(&(struct config_source){"x", bytes_span(&text)}, 1, &errors);
		if (!config)
			fail_msg("%s:%d: %s", found.gl_pathv[i], errors.items[0].line,
				 errors.items[0].text);
		config_free(config);
		bytes_free(&text);
	}
	globfree(&found);
}

static void seed_forms(void **state)
{
	static const char *const texts[] = {
		"routes:\n"
		"  - host: api.github.com\n"
		"    path_allowlist:\n"
		"      - /repos/acme/\n"
		"      - /user\n"
		"    auth_scheme: Bearer\n"
		"    token_env: EGRESS_TOKEN_0\n"
		"  - host: pypi.org\n",
		"{\"routes\": [{\"host\": \"api.github.com\", \"path_allowlist\": [\"/repos/acme/\", "
		"\"/user\"],\n\"auth_scheme\": \"Bearer\", \"token_env\": \"EGRESS_TOKEN_0\"},\n"
		"{\"host\": \"pypi.org\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct config *config = parse_good(texts[i]);

		assert_int_equal(policy_route_count(config->policy), 2);
		assert_int_equal(ask(config, "api.github.com", "GET", "/user"), EGRESS_ALLOWED);
		assert_int_equal(ask(config, "api.github.com", "GET", "/repos/acme/x"),
				 EGRESS_ALLOWED);
		assert_int_equal(ask(config, "api.github.com", "GET", "/x"),
				 EGRESS_PATH_NOT_ALLOWED);
		assert_int_equal(ask(config, "pypi.org", "GET", "/simple//x"), EGRESS_ALLOWED);
		assert_int_equal(ask(config, "x.pypi.org", "GET", "/"), EGRESS_HOST_NOT_ALLOWED);
		assert_int_equal(policy_secret_count(config->policy), 1);
		assert_string_equal(policy_secret_at(config->policy, 0)->source, "EGRESS_TOKEN_0");
		config_free(config);
	}
}

static void defaults(void **state)
{
	struct config *config = parse_good("routes: []\n");
	char text[ADDRESS_TEXT_SIZE];

	(void)state;
	assert_int_equal(policy_route_count(config->policy), 0);
	assert_int_equal(ask(config, "a.test", "GET", "/"), EGRESS_HOST_NOT_ALLOWED);
	assert_true(config->hints);
	assert_null(config->upstream.proxy);
	assert_null(config->upstream.ca_file);
	assert_int_equal(config->upstream.resolver_count, 0);
	assert_int_equal(config->dns.mode, CONFIG_DNS_SYNTHETIC);
	assert_string_equal(address_format(&config->dns.pool.address, text), "198.18.0.0");
	assert_int_equal(config->dns.pool.prefix_length, 96 + 15);
	assert_string_equal(config->dns.proxy_name, "egress");
	assert_int_equal(config->dns.name_limit, 4096);
	assert_int_equal(config->buffered_mib, 512);
	config_free(config);
}

static void settings(void **state)
{
	struct config *config = parse_good(
		"routes: [{host: a.test}]\nhints: false\n"
		"upstream: {proxy: \"http://pipelock:8888\", ca_file: /ca.pem,\n"
		"  resolvers: [192.0.2.53, \"192.0.2.54:5353\", \"[2001:db8::53]:53\"]}\n"
		"dns: {mode: real, pool: 10.64.0.0/16, name: Gateway, name_limit: 7}\n");

	(void)state;
	assert_false(config->hints);
	assert_string_equal(config->upstream.proxy, "http://pipelock:8888");
	assert_string_equal(config->upstream.ca_file, "/ca.pem");
	assert_int_equal(config->upstream.resolver_count, 3);
	assert_string_equal(config->upstream.resolvers[2], "[2001:db8::53]:53");
	assert_int_equal(config->dns.mode, CONFIG_DNS_REAL);
	assert_int_equal(config->dns.pool.prefix_length, 112);
	assert_string_equal(config->dns.proxy_name, "gateway");
	assert_int_equal(config->dns.name_limit, 7);
	config_free(config);
}

static void routes_in_full(void **state)
{
	struct config *config = parse_good(
		"routes:\n"
		"  - host: B\xc3\xbc" "cher.Example.COM.\n"
		"    methods: [GET, PATCH]\n"
		"  - host: \"*.Wild.test\"\n"
		"    tls: passthrough\n"
		"  - host: db.test\n"
		"    port: 5432\n"
		"    protocol: tcp\n"
		"    allow_private: true\n"
		"  - host: m.test\n"
		"    matches:\n"
		"      - paths: [{type: regex, value: \"/v[0-9]+/.*\"}, {type: exact, value: /}]\n"
		"        methods: [GET]\n"
		"      - methods: [DELETE]\n"
		"  - {cidr: 2001:db8::/32, ports: [22]}\n"
		"  - {cidr: 203.0.113.9, ports: [22], direct: true}\n");
	const struct policy_host *host;
	struct egress_address address;

	(void)state;
	assert_int_equal(ask(config, "xn--bcher-kva.example.com", "PATCH", "/"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "xn--bcher-kva.example.com", "PUT", "/"),
			 EGRESS_METHOD_NOT_ALLOWED);
	host = policy_find_host(config->policy, "x.wild.test");
	assert_int_equal(policy_host_mode(host, 443), POLICY_PASSTHROUGH);
	assert_false(policy_host_allows_port(host, 80));
	host = policy_find_host(config->policy, "db.test");
	assert_int_equal(policy_host_mode(host, 5432), POLICY_TCP);
	assert_true(policy_host_allows_private(host, 5432));
	assert_int_equal(ask(config, "m.test", "GET", "/v12/x"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "m.test", "GET", "/"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "m.test", "DELETE", "/q"), EGRESS_ALLOWED);
	assert_int_equal(ask(config, "m.test", "POST", "/v12/x"), EGRESS_METHOD_NOT_ALLOWED);
	assert_true(address_parse("203.0.113.9", &address));
	assert_true(policy_find_cidr(config->policy, &address, 22)->direct);
	assert_true(address_parse("2001:db8:1::1", &address));
	assert_int_equal(policy_find_cidr(config->policy, &address, 22)->line, 15);
	config_free(config);
}

static void several_sources(void **state)
{
	const struct config_source sources[] = {
		{"routes.yaml", SPAN("routes: [{host: a.test}]\nhints: false\ndns: {name: one}\n")},
		{"--allow b.test", SPAN("routes: [{host: b.test}]\ndns: {name_limit: 5}\n")},
	};
	const struct config_source broken[] = {
		{"one", SPAN("routes: [{host: a.test, porst: [1]}]")},
		{"two", SPAN("routes: [{hots: b.test}]")},
	};
	struct diag_list errors = {0};
	struct config *config = config_parse(sources, 2, &errors), *first;
	struct policy_verdict verdict;

	(void)state;
	assert_non_null(config);
	assert_false(config->hints);
	assert_string_equal(config->dns.proxy_name, "one");
	assert_int_equal(config->dns.name_limit, 5);
	policy_decide(config->policy,
		      &(struct policy_request){.host = "b.test", .port = 443, .tls = true,
					       .method = SPAN("GET"), .target = SPAN("/")},
		      &verdict);
	assert_string_equal(policy_route_file(verdict.route), "--allow b.test");
	first = config_parse(sources, 1, &errors);
	assert_memory_not_equal(config->hash, first->hash, 16);
	config_free(first);
	config_free(config);
	assert_null(config_parse(broken, 2, &errors));
	assert_string_equal(errors.items[0].source, "one");
	assert_string_equal(errors.items[errors.kept - 1].source, "two");
	diag_list_free(&errors);
	assert_null(config_parse(NULL, 0, &errors));
	assert_int_equal(errors.count, 1);
	diag_list_free(&errors);
}

/* ---- secrets --------------------------------------------------------------------------------- */

static char directory[] = "/tmp/egress-test-config-XXXXXX";

static void write_at(const char *path, const char *text, size_t length, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void write_file(const char *name, const char *text, size_t length, mode_t mode)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	write_at(path, text, length, mode);
}

/* --token-dir: files of that directory, and nothing outside of it, for token_env. */
static void test_token_directory(void **state)
{
	static const struct {
		const char *name, *content, *want;
		mode_t mode;
	} rows[] = {
		{"GOOD", "swordfish\n", NULL, 0600},
		{"EMPTY", "\n", "empty", 0600},
		{"OPEN", "swordfish\n", "can be read by everybody", 0644},
		{"ABSENT", NULL, "No such file", 0},
		{"../GOOD", NULL, "cannot be a file", 0},
		{".hidden", NULL, "cannot be a file", 0},
	};
	char text[256], path[128], tokens[] = "/tmp/egress-tokens-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(tokens));
	setenv("ABSENT", "from the environment", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct diag_list errors = {0};
		struct config *config;

		snprintf(path, sizeof(path), "%s/%s", tokens, rows[i].name);
		if (rows[i].content)
			write_at(path, rows[i].content, strlen(rows[i].content),
				 rows[i].mode);
		snprintf(text, sizeof(text), "routes:\n  - host: a.test\n    auth: {scheme: Bearer, "
			 "token_env: \"%s\"}\n", rows[i].name);
		config = config_parse(&(struct config_source){"routes.yaml", span_from(text)}, 1,
				      &errors);
		if (!config) /* such a name is none for the parser already */
			assert_true(strpbrk(rows[i].name, "./") != NULL);
		else if (rows[i].want)
			assert_false(config_load_secrets_from(config, tokens, &errors));
		else
			assert_true(config_load_secrets_from(config, tokens, &errors));
		if (config && rows[i].want)
			assert_non_null(strstr(errors.items[0].text, rows[i].want));
		if (config && !rows[i].want)
			assert_string_equal(policy_secret_at(config->policy, 0)->value, "swordfish");
		config_free(config);
		diag_list_free(&errors);
		unlink(path);
	}
	unsetenv("ABSENT");
	assert_int_equal(rmdir(tokens), 0);
}

/* The error of one route with this source, or the value when it loads. */
static void load(const char *source, char ret[512])
{
	struct diag_list errors = {0};
	struct config *config;
	char text[512];

	snprintf(text, sizeof(text), "routes:\n\n  - host: a.test\n    auth: {scheme: Bearer, %s}\n",
		 source);
	config = parse_good(text);
	if (config_load_secrets(config, &errors)) {
		assert_int_equal(errors.count, 0);
		snprintf(ret, 512, "=%s", policy_secret_at(config->policy, 0)->value);
	} else {
		assert_int_equal(errors.count, 1);
		assert_int_equal(errors.items[0].line, 3);
		assert_string_equal(errors.items[0].source, "routes.yaml");
		snprintf(ret, 512, "%s", errors.items[0].text);
	}
	diag_list_free(&errors);
	config_free(config);
}

static void load_file(const char *name, char ret[512])
{
	char source[300];

	snprintf(source, sizeof(source), "token_file: %s/%s", directory, name);
	load(source, ret);
}

static void secrets_from_environment(void **state)
{
	char result[512];

	(void)state;
	setenv("EGRESS_TEST_SET", "hunter2", 1);
	setenv("EGRESS_TEST_EMPTY", "", 1);
	setenv("EGRESS_TEST_LINES", "hunter2\nX: y", 1);
	unsetenv("EGRESS_TEST_UNSET");
	load("token_env: EGRESS_TEST_SET", result);
	assert_string_equal(result, "=hunter2");
	load("token_env: EGRESS_TEST_UNSET", result);
	assert_non_null(strstr(result, "EGRESS_TEST_UNSET is not set"));
	load("token_env: EGRESS_TEST_EMPTY", result);
	assert_non_null(strstr(result, "EGRESS_TEST_EMPTY is empty"));
	load("token_env: EGRESS_TEST_LINES", result);
	assert_non_null(strstr(result, "control character"));
	assert_null(strstr(result, "hunter2"));
}

static void secrets_from_files(void **state)
{
	static char large[POLICY_SECRET_SIZE + 1];
	char result[512], path[256];

	(void)state;
	assert_non_null(mkdtemp(directory));
	memset(large, 'x', sizeof(large));
	write_file("good", "hunter2\n", 8, 0600);
	write_file("crlf", "hunter2\r\n", 9, 0640);
	write_file("bare", "hunter2", 7, 0400);
	write_file("two", "hunter2\n\n", 9, 0600);
	write_file("empty", "\n", 1, 0600);
	write_file("world", "hunter2\n", 8, 0644);
	write_file("nul", "hun\0ter2", 8, 0600);
	write_file("large", large, sizeof(large), 0600);
	snprintf(path, sizeof(path), "%s/fifo", directory);
	assert_int_equal(mkfifo(path, 0600), 0);
	load_file("good", result);
	assert_string_equal(result, "=hunter2");
	load_file("crlf", result);
	assert_string_equal(result, "=hunter2");
	load_file("bare", result);
	assert_string_equal(result, "=hunter2");
	load_file("two", result);
	assert_non_null(strstr(result, "line break"));
	load_file("empty", result);
	assert_non_null(strstr(result, "is empty"));
	load_file("world", result);
	assert_non_null(strstr(result, "chmod o-r"));
	load_file("nul", result);
	assert_non_null(strstr(result, "control character"));
	load_file("large", result);
	assert_non_null(strstr(result, "64 KiB"));
	load_file("missing", result);
	assert_non_null(strstr(result, "No such file"));
	load_file("fifo", result);
	assert_non_null(strstr(result, "not a regular file"));
	load_file(".", result);
	assert_non_null(strstr(result, "not a regular file"));
}

static void *write_late(void *path)
{
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	usleep(20000);
	assert_int_equal(write(fd, "routes: ", 8), 8);
	usleep(20000);
	assert_int_equal(write(fd, "[]", 2), 2);
	close(fd);
	return NULL;
}

static void pipes(void **state)
{
	char place[] = "/tmp/egress-pipe.XXXXXX", path[64];
	struct bytes content = {0};
	struct error error = {0};
	pthread_t writer;

	(void)state;
	assert_non_null(mkdtemp(place));
	snprintf(path, sizeof(path), "%s/fifo", place);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_read_file_within(path, 10, &content, &error), -1);
	assert_non_null(strstr(error.text, "fifo: a pipe that nothing comes out of"));
	assert_null(content.data);
	assert_int_equal(pthread_create(&writer, NULL, write_late, path), 0);
	assert_int_equal(config_read_file(path, &content, &error), 0);
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(content.length, 10);
	assert_memory_equal(content.data, "routes: []", 10);
	bytes_free(&content);
	error = (struct error){0};
	assert_int_equal(config_read_file_within(place, 10, &content, &error), -1);
	assert_non_null(strstr(error.text, "Is a directory"));
	unlink(path);
	rmdir(place);
}

/* The error of one route with these files, or "" when they load; then also packs and unpacks. */
static void load_pair(const char *certificate, const char *key, char ret[512])
{
	struct diag_list errors = {0};
	struct bytes blob = {0};
	struct error error = {0};
	struct config_source source = {.name = "routes.yaml"};
	struct config *config, *copy;
	struct client_cert *cert;
	char text[1024];

	snprintf(text, sizeof(text),
		 "routes:\n  - host: a.test\n    client_cert: %s/%s\n    client_key: %s/%s\n"
		 "  - {host: b.test, client_cert: %s/%s, client_key: %s/%s}\n",
		 directory, certificate, directory, key, directory, certificate, directory, key);
	source.text = span_from(text);
	config = parse_good(text);
	assert_int_equal(policy_client_count(config->policy), 1);
	ret[0] = '\0';
	if (!config_load_secrets(config, &errors)) {
		assert_int_equal(errors.items[0].line, 2);
		snprintf(ret, 512, "%s", errors.items[0].text);
		assert_false(config_pack(&source, 1, config, &blob));
	} else {
		assert_true(config_pack(&source, 1, config, &blob));
		copy = config_unpack(bytes_span(&blob), &error);
		assert_non_null(copy);
		cert = policy_client_at(copy->policy, 0)->loaded;
		assert_true(client_cert_id(cert) ==
			    client_cert_id(policy_client_at(config->policy, 0)->loaded));
		for (size_t n = 1; n < 40; n++)
			assert_null(config_unpack((struct span){blob.data, blob.length - n * 7},
						  &error));
		config_free(copy);
		assert_string_equal(config_secret_at(config, 0)->source,
				    policy_client_at(config->policy, 0)->key.source);
	}
	bytes_wipe(&blob);
	diag_list_free(&errors);
	config_free(config);
}

static void client_certificates(void **state)
{
	char command[1024], result[512];

	(void)state;
	snprintf(command, sizeof(command),
		 "cd %s && for i in one two; do openssl req -x509 -newkey ec -pkeyopt "
		 "ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$i -keyout $i.key -out $i.pem "
		 "2>/dev/null; done && openssl ec -aes128 -passout pass:x -in one.key -out locked.key "
		 "2>/dev/null && chmod 600 *.key && cp one.key open.key && chmod 644 open.key",
		 directory);
	assert_int_equal(system(command), 0);
	load_pair("one.pem", "one.key", result);
	assert_string_equal(result, "");
	load_pair("one.pem", "two.key", result);
	assert_non_null(strstr(result, "client_key is not the key of the certificate"));
	load_pair("one.pem", "locked.key", result);
	assert_non_null(strstr(result, "client_key is encrypted"));
	load_pair("one.pem", "open.key", result);
	assert_non_null(strstr(result, "chmod o-r"));
	load_pair("one.pem", "one.pem", result);
	assert_non_null(strstr(result, "can be read by everybody"));
	load_pair("one.key", "one.key", result);
	assert_non_null(strstr(result, "client_cert holds no certificate"));
	load_pair("missing.pem", "one.key", result);
	assert_non_null(strstr(result, "missing.pem: No such file"));
	load_pair("one.pem", "missing.key", result);
	assert_non_null(strstr(result, "missing.key: No such file"));
}

static int remove_directory(void **state)
{
	static const char *const names[] = {"good", "crlf", "bare", "two", "empty", "world", "nul",
					    "large", "fifo",  "one.pem", "one.key", "two.pem",
					    "two.key", "locked.key", "open.key"};
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

static void proxy_settings(void **state)
{
	struct config *config = parse_good(
		"routes: []\n"
		"upstream:\n"
		"  proxy: https://[2001:db8::9]:3129\n"
		"  proxy_ca_file: /p.pem\n"
		"  proxy_auth: {username: me, token_env: EGRESS_TEST_PROXY}\n"
		"  no_proxy: [A.test, \"*.b.test\", 10.0.0.0/8, \"2001:db8::1\"]\n");
	struct config *again;
	struct diag_list errors = {0};
	char *text, *whole;

	(void)state;
	assert_string_equal(config->upstream.proxy, "https://[2001:db8::9]:3129");
	assert_string_equal(config->upstream.proxy_ca_file, "/p.pem");
	assert_string_equal(config->upstream.proxy_user, "me");
	assert_int_equal(config->upstream.no_proxy_count, 4);
	assert_string_equal(config->upstream.no_proxy[0].name, "a.test");
	assert_string_equal(config->upstream.no_proxy[1].name, "*.b.test");
	assert_null(config->upstream.no_proxy[2].name);
	assert_int_equal(config->upstream.no_proxy[3].cidr.prefix_length, 128);
	text = config_no_proxy_text(config);
	assert_string_equal(text, "a.test, *.b.test, 10.0.0.0/8, 2001:db8::1/128");
	free(text);
	/* Written out and read back it is the same. */
	text = config_effective(config);
	again = parse_good(text);
	whole = config_effective(again);
	assert_string_equal(text, whole);
	assert_non_null(strstr(text, "EGRESS_TEST_PROXY"));
	free(text);
	free(whole);
	config_free(again);
	assert_int_equal(config_secret_count(config), 1);
	assert_string_equal(config_secret_at(config, 0)->source, "EGRESS_TEST_PROXY");
	unsetenv("EGRESS_TEST_PROXY");
	assert_false(config_load_secrets(config, &errors));
	assert_int_equal(errors.items[0].line, 5);
	assert_non_null(strstr(errors.items[0].text, "EGRESS_TEST_PROXY is not set"));
	diag_list_free(&errors);
	setenv("EGRESS_TEST_PROXY", "hunter2\r\nX: y", 1);
	assert_false(config_load_secrets(config, &errors));
	assert_non_null(strstr(errors.items[0].text, "control character"));
	assert_null(strstr(errors.items[0].text, "hunter2"));
	diag_list_free(&errors);
	setenv("EGRESS_TEST_PROXY", "hunter2", 1);
	assert_true(config_load_secrets(config, &errors));
	assert_string_equal(config->upstream.proxy_password.value, "hunter2");
	config_free(config);
}

static void pack_and_unpack(void **state)
{
	const struct config_source sources[] = {
		{"routes.yaml", SPAN("routes: [{host: a.test, auth_scheme: Bearer, "
				     "token_env: EGRESS_TEST_SET}]\n")},
		{"--secret", SPAN("routes: [{host: b.test, auth: {header: x-key, token_env: "
				  "EGRESS_TEST_OTHER}}]\n"
				  "upstream: {proxy: \"http://p:1\", proxy_auth: {username: me, "
				  "token_env: EGRESS_TEST_PROXY}}\n")},
	};
	struct diag_list errors = {0};
	struct config *config = config_parse(sources, 2, &errors), *copy;
	struct policy_verdict verdict;
	struct span name, value, whole;
	struct error error = {0};
	struct bytes blob = {0};

	(void)state;
	assert_false(config_pack(sources, 2, config, &blob)); /* no secrets yet */
	setenv("EGRESS_TEST_SET", "hunter2", 1);
	setenv("EGRESS_TEST_OTHER", "swordfish", 1);
	setenv("EGRESS_TEST_PROXY", "open sesame", 1);
	assert_true(config_load_secrets(config, &errors));
	assert_true(config_pack(sources, 2, config, &blob));
	unsetenv("EGRESS_TEST_SET");
	whole = bytes_span(&blob);
	copy = config_unpack(whole, &error);
	assert_non_null(copy);
	assert_memory_equal(copy->hash, config->hash, 16);
	policy_decide(copy->policy,
		      &(struct policy_request){.host = "b.test", .port = 443, .tls = true,
					       .method = SPAN("GET"), .target = SPAN("/")},
		      &verdict);
	assert_true(policy_route_credential(verdict.route, &name, &value));
	assert_true(span_equal(value, SPAN("swordfish")));
	assert_string_equal(policy_route_file(verdict.route), "--secret");
	assert_string_equal(copy->upstream.proxy_password.value, "open sesame");
	config_free(copy);
	/* Every shorter blob is refused, and so is one byte more. */
	for (size_t length = 0; length < whole.length; length++)
		assert_null(config_unpack((struct span){whole.data, length}, &error));
	assert_true(bytes_append(&blob, "x", 1));
	assert_null(config_unpack(bytes_span(&blob), &error));
	bytes_wipe(&blob);
	config_free(config);
	diag_list_free(&errors);
}

static void reading(void **state)
{
	struct error error = {0};
	struct bytes content = {0};

	(void)state;
	assert_int_equal(config_read_file("/nonexistent/x", &content, &error), -1);
	assert_non_null(strstr(error.text, "/nonexistent/x: No such file"));
	error = (struct error){0};
	assert_int_equal(config_read_file("/", &content, &error), -1);
	assert_non_null(strstr(error.text, "directory"));
	error = (struct error){0};
	assert_int_equal(config_read_file("/dev/zero", &content, &error), -1);
	assert_non_null(strstr(error.text, "larger than 16 MiB"));
	assert_null(content.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_directory),
		cmocka_unit_test(broken_files),
		cmocka_unit_test(too_large),
		cmocka_unit_test(good_files),
		cmocka_unit_test(seed_forms),
		cmocka_unit_test(defaults),
		cmocka_unit_test(settings),
		cmocka_unit_test(routes_in_full),
		cmocka_unit_test(several_sources),
		cmocka_unit_test(secrets_from_environment),
		cmocka_unit_test(secrets_from_files),
		cmocka_unit_test_teardown(client_certificates, remove_directory),
		cmocka_unit_test(proxy_settings),
		cmocka_unit_test(pack_and_unpack),
		cmocka_unit_test(reading),
		cmocka_unit_test(pipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
