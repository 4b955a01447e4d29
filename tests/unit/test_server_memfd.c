// SPDX-License-Identifier: BSD-2-Clause
/* A policy that was read ahead is taken when it is, byte for byte, the one that is handed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "server_memfd.h"

#define VARIABLE "EGRESS_TEST_AHEAD"

static const char with_auth[] =
	"routes: [{host: api.test, auth_scheme: Bearer, token_env: " VARIABLE "}]\n";

static int memfd_of(struct span content)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.data, content.length), content.length);
	return fd;
}

/* Only the sources, or all with `secret`. */
static int pack(const char *name, const char *text, const char *secret)
{
	const struct config_source source = {name, span_from(text)};
	struct diag_list errors = {0};
	struct bytes blob = {0};
	struct config *config;
	int fd;

	if (secret) {
		setenv(VARIABLE, secret, 1);
		config = config_parse(&source, 1, &errors);
		assert_non_null(config);
		assert_true(config_load_secrets(config, &errors));
		assert_true(config_pack(&source, 1, config, &blob));
		config_free(config);
		unsetenv(VARIABLE);
	} else {
		assert_true(config_pack_sources(&source, 1, &blob));
	}
	fd = memfd_of(bytes_span(&blob));
	bytes_wipe(&blob);
	return fd;
}

static void read_from(struct ahead *ahead, int fd)
{
	ahead_read(ahead, fd);
	close(fd);
}

static struct config *unpack_from(struct ahead *ahead, int fd)
{
	struct error error = {0};
	struct config *config = ahead_unpack(ahead, fd, &error);

	close(fd);
	assert_true(config || error.text[0]);
	assert_null(ahead->config);
	assert_null(ahead->blob.data);
	return config;
}

static void assert_credential(const struct config *config, const char *host, const char *expected)
{
	const struct policy_request request = {.host = host, .port = 443, .tls = true,
					       .method = span_from("GET"), .target = span_from("/")};
	struct policy_verdict verdict;
	struct span name, value;

	assert_non_null(config);
	policy_decide(config->policy, &request, &verdict);
	assert_int_equal(verdict.reason, EGRESS_ALLOWED);
	assert_true(policy_route_credential(verdict.route, &name, &value));
	assert_true(span_equal(value, span_from(expected)));
}

static void taken(void **state)
{
	struct ahead ahead = {0};
	struct config *config, *read;

	(void)state;
	read_from(&ahead, pack("r.yaml", with_auth, NULL));
	read = ahead.config;
	assert_non_null(read);
	config = unpack_from(&ahead, pack("r.yaml", with_auth, "hunter2"));
	assert_ptr_equal(config, read);
	assert_credential(config, "api.test", "Bearer hunter2");
	config_free(config);
	/* Once only: the next is read by itself. */
	config = unpack_from(&ahead, pack("r.yaml", with_auth, "hunter3"));
	assert_credential(config, "api.test", "Bearer hunter3");
	config_free(config);
}

/* One letter of a host, of the file's name, or one byte more. */
static void others(void **state)
{
	static const char *const ahead_of[][2] = {
		{"r.yaml", "routes: [{host: apj.test, auth_scheme: Bearer, token_env: " VARIABLE "}]\n"},
		{"s.yaml", with_auth},
		{"r.yaml", "routes: [{host: api.test, auth_scheme: Bearer, token_env: " VARIABLE "}]\n "},
		{"r.yaml", "routes: []\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ahead_of) / sizeof(ahead_of[0]); i++) {
		struct ahead ahead = {0};
		struct config *config;

		read_from(&ahead, pack(ahead_of[i][0], ahead_of[i][1], NULL));
		assert_non_null(ahead.config);
		config = unpack_from(&ahead, pack("r.yaml", with_auth, "hunter2"));
		assert_credential(config, "api.test", "Bearer hunter2");
		assert_string_equal(policy_secret_at(config->policy, 0)->file, "r.yaml");
		config_free(config);
	}
}

/* Without secrets it is no policy to use, whatever was read ahead. */
static void never_without_secrets(void **state)
{
	struct ahead ahead = {0};

	(void)state;
	assert_null(unpack_from(&ahead, pack("r.yaml", with_auth, NULL)));
	read_from(&ahead, pack("r.yaml", with_auth, NULL));
	assert_non_null(ahead.config);
	assert_null(unpack_from(&ahead, pack("r.yaml", with_auth, NULL)));
}

static void nothing_of_use(void **state)
{
	static const char *const bad[] = {"", "rubbish", "EGP"};
	struct ahead ahead = {0};

	(void)state;
	ahead_read(&ahead, -1);
	read_from(&ahead, pack("r.yaml", "routes: [{hots: api.test}]\n", NULL));
	assert_null(ahead.blob.data);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		read_from(&ahead, memfd_of(span_from(bad[i])));
		assert_null(ahead.config);
		assert_null(unpack_from(&ahead, memfd_of(span_from(bad[i]))));
	}
	/* More than the sources. */
	read_from(&ahead, pack("r.yaml", with_auth, "hunter2"));
	assert_null(ahead.config);
	/* The one before is forgotten. */
	read_from(&ahead, pack("r.yaml", with_auth, NULL));
	assert_non_null(ahead.config);
	read_from(&ahead, pack("r.yaml", "routes: [{host: b.test}]\n", NULL));
	assert_non_null(policy_find_host(ahead.config->policy, "b.test"));
	assert_null(policy_find_host(ahead.config->policy, "api.test"));
	ahead_read(&ahead, -1);
	assert_null(ahead.config);
	assert_null(unpack_from(&ahead, -2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(others),
		cmocka_unit_test(never_without_secrets),
		cmocka_unit_test(nothing_of_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
