// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "bottle_environment.h"

#define BUNDLE "/run/egress-bpf/x/ca-bundle.pem"

static const char *const secrets[] = {"TOKEN", "NOT_SET", "SHORT"};

static const char *const inherited[] = {
	"PATH=/bin",
	"TOKEN=s3cret-value-1",
	"TOKENS=fine",
	"COPY=https://user:s3cret-value-1@host/",
	"SHORT=abc",
	"ALPHABET=abcdef",
	"SUDO_UID=1000",
	"SUDO_COMMAND=/usr/bin/x",
	"SSL_CERT_DIR=/etc/ssl/certs",
	"CURL_CA_BUNDLE=/old.pem",
	"NIX_SSL_CERT_FILE=/old.pem",
	"https_proxy=http://corp.example:3128",
	"HTTP_PROXY=http://egress:9099",
	"ALL_PROXY=egress:9099",
	"http_proxy=http://egress.evil.example:1",
	"no_proxy=localhost",
	"HOME=/root",
	"USER=root",
	"EMPTY=",
	"no equals sign",
	NULL,
};

static char **build(const char *user, const char *home)
{
	const struct environment_options options = {
		.secrets = secrets,
		.secret_count = 3,
		.ca_bundle = BUNDLE,
		.proxy_name = "egress",
		.user = user,
		.home = home,
	};
	char **environment = environment_build((char *const *)inherited, &options);

	assert_non_null(environment);
	return environment;
}

/* The value of the only variable of that name; NULL when there is none. */
static const char *value(char **environment, const char *name)
{
	const char *found = NULL;
	size_t length = strlen(name);

	for (; *environment; environment++) {
		if (strncmp(*environment, name, length) != 0 || (*environment)[length] != '=')
			continue;
		assert_null(found);
		found = *environment + length + 1;
	}
	return found;
}

static void test_secrets_become_placeholders(void **state)
{
	char **environment = build(NULL, NULL);

	(void)state;
	assert_string_equal(value(environment, "TOKEN"), BOTTLE_PLACEHOLDER);
	assert_string_equal(value(environment, "COPY"), BOTTLE_PLACEHOLDER);
	assert_string_equal(value(environment, "SHORT"), BOTTLE_PLACEHOLDER);
	assert_null(value(environment, "NOT_SET"));
	assert_string_equal(value(environment, "TOKENS"), "fine");
	assert_string_equal(value(environment, "ALPHABET"), "abcdef");
	for (char **entry = environment; *entry; entry++)
		assert_null(strstr(*entry, "s3cret"));
	environment_free(environment);
}

static void test_trust_variables(void **state)
{
	static const char *const always[] = {"SSL_CERT_FILE",
					     "NODE_EXTRA_CA_CERTS",
					     "REQUESTS_CA_BUNDLE",
					     "CURL_CA_BUNDLE",
					     "GIT_SSL_CAINFO",
					     "PIP_CERT",
					     "CARGO_HTTP_CAINFO",
					     "DENO_CERT",
					     "AWS_CA_BUNDLE",
					     "NIX_SSL_CERT_FILE",
					     "HTTPLIB2_CA_CERTS",
					     "HEX_CACERTS_PATH",
					     "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
					     "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"};
	char **environment = build(NULL, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		assert_string_equal(value(environment, always[i]), BUNDLE);
	assert_null(value(environment, "SSL_CERT_DIR"));
	assert_null(value(environment, "YARN_CAFILE"));
	environment_free(environment);
}

static void test_hosts_own_things_go(void **state)
{
	char **environment = build(NULL, NULL);

	(void)state;
	assert_null(value(environment, "SUDO_UID"));
	assert_null(value(environment, "SUDO_COMMAND"));
	assert_null(value(environment, "https_proxy"));
	assert_null(value(environment, "http_proxy"));
	assert_string_equal(value(environment, "HTTP_PROXY"), "http://egress:9099");
	assert_string_equal(value(environment, "ALL_PROXY"), "egress:9099");
	assert_string_equal(value(environment, "no_proxy"), "localhost");
	assert_string_equal(value(environment, "PATH"), "/bin");
	assert_string_equal(value(environment, "EMPTY"), "");
	environment_free(environment);
}

static void test_user(void **state)
{
	char **environment = build("alice", "/home/alice");

	(void)state;
	assert_string_equal(value(environment, "USER"), "alice");
	assert_string_equal(value(environment, "LOGNAME"), "alice");
	assert_string_equal(value(environment, "HOME"), "/home/alice");
	environment_free(environment);
	environment = build(NULL, NULL);
	assert_string_equal(value(environment, "USER"), "root");
	assert_string_equal(value(environment, "HOME"), "/root");
	environment_free(environment);
}

static void test_wipe(void **state)
{
	char first[] = "TOKEN=s3cret", second[] = "B=2";
	char *environment[] = {first, second, NULL};

	(void)state;
	environment_wipe(environment);
	for (size_t i = 0; i < sizeof(first); i++)
		assert_int_equal(first[i], 0);
	assert_int_equal(second[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secrets_become_placeholders),
		cmocka_unit_test(test_trust_variables),
		cmocka_unit_test(test_hosts_own_things_go),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
