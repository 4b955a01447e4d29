// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trust.h"

static char directory[] = "/tmp/test-trust-XXXXXX";

/* A self-signed certificate in PEM, appended. */
static void add_certificate(struct bytes *pem, long serial)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long length;

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
	length = BIO_get_mem_data(bio, &text);
	assert_true(bytes_append(pem, text, (size_t)length));
	BIO_free(bio);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static char *path_of(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
	return path;
}

static void write_file(const char *path, struct span content)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(content.data, 1, content.length, file), content.length);
	fclose(file);
}

static void test_merge(void **state)
{
	char *path = path_of("bundle.pem");
	struct bytes merged = {0};
	struct error error = {0};

	(void)state;
	write_file(path, SPAN("roots without newline"));
	assert_int_equal(trust_merge(path, SPAN("our CA\n"), &merged, &error), 0);
	assert_true(span_equal(bytes_span(&merged), SPAN("roots without newline\nour CA\n")));
	bytes_free(&merged);
	assert_int_equal(trust_merge(NULL, SPAN("our CA\n"), &merged, &error), 0);
	assert_true(span_equal(bytes_span(&merged), SPAN("our CA\n")));
	assert_int_equal(trust_merge("/nonexistent/x", SPAN("our CA\n"), &merged, &error), -1);
	assert_non_null(strstr(error.text, "/nonexistent/x"));
	assert_true(span_equal(bytes_span(&merged), SPAN("our CA\n")));
	bytes_free(&merged);
	free(path);
}

static void test_jks_layout(void **state)
{
	static const char header[] = "\xfe\xed\xfe\xed\0\0\0\2\0\0\0\2\0\0\0\2\0\6root-1";
	struct bytes pem = {0}, store = {0};
	struct error error = {0};
	struct span content;

	(void)state;
	assert_true(bytes_append_text(&pem, "comment\n"));
	add_certificate(&pem, 1);
	assert_true(bytes_append_text(&pem, "-----BEGIN PUBLIC KEY-----\nAAAA\n"
					    "-----END PUBLIC KEY-----\n"));
	add_certificate(&pem, 2);
	assert_int_equal(trust_jks(bytes_span(&pem), &store, &error), 0);
	content = bytes_span(&store);
	assert_memory_equal(content.data, header, sizeof(header) - 1);
	bytes_free(&pem);
	bytes_free(&store);
	assert_int_equal(trust_jks(SPAN("nothing here"), &store, &error), -1);
	assert_int_equal(store.length, 0);
}

/* As `openssl rehash` names it. */
static void test_hash_name(void **state)
{
	struct bytes pem = {0};
	struct error error = {0};
	char name[16] = "";

	(void)state;
	add_certificate(&pem, 7);
	assert_int_equal(trust_hash_name(bytes_span(&pem), name, &error), 0);
	assert_string_equal(name, "756b76dc.0");
	assert_int_equal(trust_hash_name(SPAN("x"), name, &error), -1);
	bytes_free(&pem);
}

/* Java's own tool checks the digest and parses every certificate. */
static void test_jks_is_read_by_keytool(void **state)
{
	char *path = path_of("cacerts"), line[512], *command;
	struct bytes pem = {0}, store = {0};
	struct error error = {0};
	int entries = 0, status;
	FILE *output;

	(void)state;
	if (system("command -v keytool >/dev/null 2>&1") != 0) {
		free(path);
		skip();
	}
	for (long i = 1; i <= 30; i++)
		add_certificate(&pem, i);
	assert_int_equal(trust_jks(bytes_span(&pem), &store, &error), 0);
	write_file(path, bytes_span(&store));
	assert_true(asprintf(&command,
			     "keytool -J-Xmx64m -list -keystore %s -storepass changeit 2>&1",
			     path) > 0);
	output = popen(command, "r");
	assert_non_null(output);
	while (fgets(line, sizeof(line), output))
		entries += strstr(line, "trustedCertEntry") != NULL;
	status = pclose(output);
	assert_int_equal(status, 0);
	assert_int_equal(entries, 30);
	bytes_free(&pem);
	bytes_free(&store);
	free(command);
	free(path);
}

static void make_file(const char *name)
{
	char *path = path_of(name);

	for (char *slash = path + strlen(directory) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	write_file(path, SPAN("x"));
	free(path);
}

static bool has(const struct trust_paths *paths, const char *name)
{
	char *path = path_of(name);
	int count = 0;

	for (size_t i = 0; i < paths->count; i++)
		count += strcmp(paths->items[i], path) == 0;
	free(path);
	assert_true(count <= 1);
	return count == 1;
}

/* JAVA_HOME and PATH, through links, each key store once. */
static void test_find_java(void **state)
{
	char *home = path_of("jdk-a"), *link_path = path_of("bin/java"), *search;
	char *target = path_of("jdk-b/bin/java");
	struct trust_paths paths = {0};
	struct error error = {0};

	(void)state;
	make_file("jdk-a/lib/security/cacerts");
	make_file("jdk-b/lib/security/cacerts");
	make_file("jdk-b/bin/java");
	make_file("bin/x");
	assert_int_equal(symlink(target, link_path), 0);
	assert_true(asprintf(&search, "/nonexistent::relative:%s/bin:%s/jdk-b/bin:/usr/bin",
			     directory, directory) > 0);
	assert_int_equal(trust_find_java(home, search, &paths, &error), 0);
	assert_true(has(&paths, "jdk-a/lib/security/cacerts"));
	assert_true(has(&paths, "jdk-b/lib/security/cacerts"));
	trust_paths_free(&paths);
	assert_int_equal(trust_find_java(NULL, NULL, &paths, &error), 0);
	assert_false(has(&paths, "jdk-a/lib/security/cacerts"));
	trust_paths_free(&paths);
	free(home);
	free(link_path);
	free(search);
	free(target);
}

static void test_find_bundles(void **state)
{
	struct trust_paths paths = {0};
	struct error error = {0};

	(void)state;
	assert_int_equal(trust_find_bundles(&paths, &error), 0);
	for (size_t i = 0; i < paths.count; i++) {
		char *real = realpath(paths.items[i], NULL);

		assert_string_equal(real, paths.items[i]);
		free(real);
	}
	trust_paths_free(&paths);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_jks_layout),
		cmocka_unit_test(test_hash_name),
		cmocka_unit_test(test_jks_is_read_by_keytool),
		cmocka_unit_test(test_find_java),
		cmocka_unit_test(test_find_bundles),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
