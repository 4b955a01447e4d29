// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "cert_authority.h"

static char directory[64];

static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/test_ca.XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static const char *in_directory(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(in_directory("ca.pem"));
	unlink(in_directory("ca-cert.pem"));
	/* Fails, and the test with it, when a temporary file was left behind. */
	return rmdir(directory);
}

static struct cert_authority *new_ca(void)
{
	struct cert_authority *ca = NULL;
	struct error error = {0};

	assert_int_equal(cert_authority_new("a test", &ca, &error), 0);
	assert_non_null(ca);
	return ca;
}

static X509 *ca_cert(const struct cert_authority *ca)
{
	struct bytes der = {0};
	const unsigned char *at;
	X509 *cert;

	assert_int_equal(cert_authority_der(ca, &der), 0);
	at = (const unsigned char *)bytes_span(&der).data;
	cert = d2i_X509(NULL, &at, (long)bytes_span(&der).length);
	assert_non_null(cert);
	bytes_free(&der);
	return cert;
}

static struct bytes public_key_of(EVP_PKEY *key)
{
	struct bytes b = {0};
	unsigned char *der = NULL;
	int length = i2d_PUBKEY(key, &der);

	assert_true(length > 0);
	assert_true(bytes_append(&b, der, (size_t)length));
	OPENSSL_free(der);
	return b;
}

/* A leaf over a fresh P-256 key, parsed. */
static X509 *leaf_of(struct cert_authority *ca, const char *host)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct bytes public_key = public_key_of(key), der = {0};
	struct error error = {0};
	const unsigned char *at;
	X509 *cert;

	assert_int_equal(cert_authority_sign(ca, host, bytes_span(&public_key), &der, &error), 0);
	at = (const unsigned char *)bytes_span(&der).data;
	cert = d2i_X509(NULL, &at, (long)bytes_span(&der).length);
	assert_non_null(cert);
	assert_int_equal(X509_check_private_key(cert, key), 1);
	EVP_PKEY_free(key);
	bytes_free(&public_key);
	bytes_free(&der);
	return cert;
}

static int verify(X509 *ca, X509 *leaf, const char *host)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	int result;

	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX_init(context, store, leaf, NULL);
	param = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_flags(param,
				    X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
		X509_VERIFY_PARAM_set1_host(param, host, 0);
	result = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	return result;
}

static void authority(void **state)
{
	struct cert_authority *ca = new_ca();
	X509 *cert = ca_cert(ca);
	int days, seconds;

	(void)state;
	assert_int_equal(X509_check_ca(cert), 1);
	assert_int_equal(X509_get_pathlen(cert), 0);
	assert_int_equal(X509_get_key_usage(cert), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	assert_non_null(X509_get0_subject_key_id(cert));
	assert_non_null(X509_get0_authority_key_id(cert));
	assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(cert)), 16);
	assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notBefore(cert)), 1);
	assert_in_range(-(days * 86400 + seconds), 3595, 3605);
	assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)), 1);
	assert_in_range(days, 3649, 3650);
	X509_free(cert);
	cert_authority_free(ca);
}

static void leaves_verify(void **state)
{
	static const char *const hosts[] = {
		"api.example.com",
		"192.0.2.7",
		"2001:db8::7",
		"under_score.example",
		"a-name-of-more-than-sixty-four-characters.that-has-no-room-in-a-common-name."
		"example",
	};
	struct cert_authority *ca = new_ca();
	X509 *issuer = ca_cert(ca);

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		X509 *leaf = leaf_of(ca, hosts[i]);
		int days, seconds, critical;
		GENERAL_NAMES *names;

		assert_int_equal(verify(issuer, leaf, hosts[i]), X509_V_OK);
		assert_int_equal(verify(issuer, leaf, "other.example.com"),
				 X509_V_ERR_HOSTNAME_MISMATCH);
		names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
		assert_int_equal(sk_GENERAL_NAME_num(names), 1);
		assert_int_equal(critical, strlen(hosts[i]) > 64);
		GENERAL_NAMES_free(names);
		assert_int_equal(X509_check_ca(leaf), 0);
		assert_int_equal(X509_get_extended_key_usage(leaf), XKU_SSL_SERVER);
		ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(leaf),
			       X509_get0_notAfter(leaf));
		assert_int_equal(days * 86400 + seconds, 7 * 86400 + 3600);
		X509_free(leaf);
	}
	X509_free(issuer);
	cert_authority_free(ca);
}

static void serials_differ(void **state)
{
	struct cert_authority *ca = new_ca();
	X509 *a = leaf_of(ca, "a.example"), *b = leaf_of(ca, "a.example");

	(void)state;
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)),
			     0);
	X509_free(a);
	X509_free(b);
	cert_authority_free(ca);
}

static void assert_refused(struct cert_authority *ca, const char *host, struct span key)
{
	struct bytes der = {0};
	struct error error = {0};

	assert_int_equal(cert_authority_sign(ca, host, key, &der, &error), -1);
	assert_true(error.text[0]);
	assert_int_equal(bytes_span(&der).length, 0);
	bytes_free(&der);
}

static void hostile_requests(void **state)
{
	struct cert_authority *ca = new_ca();
	EVP_PKEY *p256 = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384"),
		 *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct bytes good = public_key_of(p256), big = public_key_of(p384),
		     other = public_key_of(ed);
	struct span cut = bytes_span(&good);
	char long_name[300];

	(void)state;
	memset(long_name, 'a', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	assert_refused(ca, "", bytes_span(&good));
	assert_refused(ca, long_name, bytes_span(&good));
	assert_refused(ca, "*.example.com", bytes_span(&good));
	assert_refused(ca, "a.example,DNS:b.example", bytes_span(&good));
	assert_refused(ca, "a.example\n", bytes_span(&good));
	assert_refused(ca,
		       "b\xc3\xbc"
		       "cher.example",
		       bytes_span(&good));
	assert_refused(ca, "a.example", SPAN(""));
	assert_refused(ca, "a.example", SPAN("no key"));
	assert_refused(ca, "a.example", bytes_span(&big));
	assert_refused(ca, "a.example", bytes_span(&other));
	cut.length--;
	assert_refused(ca, "a.example", cut);
	assert_true(bytes_append(&good, "x", 1));
	assert_refused(ca, "a.example", bytes_span(&good));
	bytes_free(&good);
	bytes_free(&big);
	bytes_free(&other);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed);
	cert_authority_free(ca);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(in_directory(name), &st), 0);
	return st.st_mode;
}

static void save_and_load(void **state)
{
	struct cert_authority *ca = new_ca(), *other = new_ca(), *loaded = NULL;
	struct error error = {0};
	struct bytes a = {0}, b = {0};
	X509 *issuer, *leaf;
	mode_t mask = umask(0077);

	(void)state;
	assert_int_equal(cert_authority_save(ca, directory, false, &error), 0);
	umask(mask);
	assert_int_equal(mode_of("ca.pem"), S_IFREG | 0600);
	assert_int_equal(mode_of("ca-cert.pem"), S_IFREG | 0644);
	assert_int_equal(cert_authority_save(other, directory, false, &error), -1);
	assert_non_null(strstr(error.text, "--replace"));
	assert_int_equal(cert_authority_load(directory, &loaded, &error), 0);
	assert_int_equal(cert_authority_der(ca, &a), 0);
	assert_int_equal(cert_authority_der(loaded, &b), 0);
	assert_true(span_equal(bytes_span(&a), bytes_span(&b)));
	issuer = ca_cert(ca);
	leaf = leaf_of(loaded, "a.example");
	assert_int_equal(verify(issuer, leaf, "a.example"), X509_V_OK);
	cert_authority_free(loaded);
	assert_int_equal(cert_authority_save(other, directory, true, &error), 0);
	assert_int_equal(cert_authority_load(directory, &loaded, &error), 0);
	bytes_free(&b);
	assert_int_equal(cert_authority_der(loaded, &b), 0);
	assert_false(span_equal(bytes_span(&a), bytes_span(&b)));
	X509_free(issuer);
	X509_free(leaf);
	bytes_free(&a);
	bytes_free(&b);
	cert_authority_free(ca);
	cert_authority_free(other);
	cert_authority_free(loaded);
}

static void assert_load_fails(const char *expected)
{
	struct cert_authority *ca = NULL;
	struct error error = {0};

	assert_int_equal(cert_authority_load(directory, &ca, &error), -1);
	assert_null(ca);
	assert_non_null(strstr(error.text, in_directory("ca.pem")));
	if (!strstr(error.text, expected))
		fail_msg("'%s' is not in '%s'", expected, error.text);
}

/* Writes ca.pem with this certificate and key; either may be NULL. */
static void write_pem(X509 *cert, EVP_PKEY *key, const EVP_CIPHER *cipher)
{
	char passphrase[] = "secret";
	FILE *file;

	unlink(in_directory("ca.pem"));
	file = fopen(in_directory("ca.pem"), "w");
	assert_non_null(file);
	assert_int_equal(fchmod(fileno(file), 0600), 0);
	if (cert)
		assert_int_equal(PEM_write_X509(file, cert), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, cipher, NULL, 0, NULL, passphrase),
				 1);
	fclose(file);
}

/* A self-signed certificate as broken as wanted. */
static X509 *odd_cert(EVP_PKEY *key, bool is_ca, long from, long until)
{
	X509 *cert = X509_new();
	BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();

	X509_set_version(cert, 2);
	X509_gmtime_adj(X509_getm_notBefore(cert), from);
	X509_gmtime_adj(X509_getm_notAfter(cert), until);
	X509_set_pubkey(cert, key);
	constraints->ca = is_ca ? 0xff : 0;
	X509_add1_ext_i2d(cert, NID_basic_constraints, constraints, 1, 0);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	BASIC_CONSTRAINTS_free(constraints);
	return cert;
}

static void broken_files(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *stranger = EVP_EC_gen("P-256");
	X509 *good = odd_cert(key, true, -60, 3600), *expired = odd_cert(key, true, -120, -60),
	     *early = odd_cert(key, true, 60, 3600), *leaf = odd_cert(key, false, -60, 3600);
	struct cert_authority *ca = NULL;
	struct error error = {0};

	(void)state;
	assert_load_fails("ca init");
	write_pem(good, key, NULL);
	assert_int_equal(cert_authority_load(directory, &ca, &error), 0);
	cert_authority_free(ca);
	assert_int_equal(chmod(in_directory("ca.pem"), 0640), 0);
	assert_load_fails("chmod 600");
	assert_int_equal(chmod(in_directory("ca.pem"), 0604), 0);
	assert_load_fails("chmod 600");
	write_pem(good, stranger, NULL);
	assert_load_fails("not the certificate's");
	write_pem(good, NULL, NULL);
	assert_load_fails("no private key");
	write_pem(good, key, EVP_aes_128_cbc());
	assert_load_fails("no private key");
	write_pem(NULL, key, NULL);
	assert_load_fails("no certificate");
	write_pem(expired, key, NULL);
	assert_load_fails("expired");
	write_pem(early, key, NULL);
	assert_load_fails("not valid yet");
	write_pem(leaf, key, NULL);
	assert_load_fails("not a CA");
	unlink(in_directory("ca.pem"));
	assert_int_equal(mkdir(in_directory("ca.pem"), 0700), 0);
	assert_load_fails("not a regular file");
	assert_int_equal(rmdir(in_directory("ca.pem")), 0);
	X509_free(good);
	X509_free(expired);
	X509_free(early);
	X509_free(leaf);
	EVP_PKEY_free(key);
	EVP_PKEY_free(stranger);
}

/* A foreign CA that ends tomorrow, with a key of another kind. */
static void leaf_ends_with_its_authority(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *cert = X509_new(), *leaf;
	struct cert_authority *ca = NULL;
	struct error error = {0};
	X509V3_CTX context;

	(void)state;
	X509_set_version(cert, 2);
	X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	for (int i = 0; i < 2; i++) {
		X509_EXTENSION *extension = X509V3_EXT_nconf_nid(
			NULL, &context, i ? NID_subject_key_identifier : NID_basic_constraints,
			i ? "hash" : "critical,CA:TRUE");
		X509_add_ext(cert, extension, -1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(cert, key, NULL) > 0);
	write_pem(cert, key, NULL);
	assert_int_equal(cert_authority_load(directory, &ca, &error), 0);
	leaf = leaf_of(ca, "a.example");
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(leaf), X509_get0_notAfter(cert)), 0);
	X509_free(leaf);
	X509_free(cert);
	EVP_PKEY_free(key);
	cert_authority_free(ca);
}

static void unwritable(void **state)
{
	struct cert_authority *ca = new_ca();
	struct error error = {0};

	(void)state;
	assert_int_equal(cert_authority_save(ca, "/proc/nowhere", false, &error), -1);
	assert_non_null(strstr(error.text, "/proc/nowhere"));
	cert_authority_free(ca);
	cert_authority_free(NULL);
}

static void assert_no_roots(const char *path, const char *words)
{
	struct error error = {0};

	assert_int_equal(cert_authority_check_roots(path, NULL, &error), -1);
	if (strncmp(error.text, "upstream.ca_file: ", 18) != 0 || !strstr(error.text, path) ||
	    !strstr(error.text, words))
		fail_msg("'%s' is not in: %s", words, error.text);
}

/* Neither is looked at less than the other, and none has to be named. */
static void roots_of_the_proxy(void **state)
{
	struct cert_authority *ca = new_ca();
	struct error error = {0};
	char good[128];

	(void)state;
	assert_int_equal(cert_authority_save(ca, directory, false, &error), 0);
	snprintf(good, sizeof(good), "%s", in_directory("ca-cert.pem"));
	assert_int_equal(cert_authority_check_roots(NULL, NULL, &error), 0);
	assert_int_equal(cert_authority_check_roots(good, good, &error), 0);
	assert_int_equal(cert_authority_check_roots(good, "/nonexistent", &error), -1);
	assert_string_equal(error.text, "upstream.proxy_ca_file: cannot load certificates from "
					"/nonexistent: No such file or directory");
	assert_int_equal(cert_authority_check_roots(NULL, "/nonexistent", &error), -1);
	cert_authority_free(ca);
}

/* What a start and a reload read: one that waits is ended by alarm(2). */
static void roots_of_no_file(void **state)
{
	char fifo[128];

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s", in_directory("roots.pem"));
	assert_int_equal(mkfifo(fifo, 0600), 0);
	alarm(10);
	assert_no_roots(fifo, "not a regular file");
	alarm(0);
	assert_int_equal(unlink(fifo), 0);
	assert_no_roots(directory, "not a regular file");
	assert_no_roots("/nonexistent", "No such file");
	assert_no_roots(__FILE__, "no certificate in it");
}

/* Of several, one that was cut off: who looks into the file sees certificates. */
static void damaged_roots(void **state)
{
	struct cert_authority *ca = new_ca();
	struct bytes pem = {0};
	char path[128];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s", in_directory("roots.pem"));
	assert_int_equal(cert_authority_pem(ca, &pem), 0);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(pem.data, pem.length, 1, file), 1);
	assert_int_equal(fwrite(pem.data, pem.length / 2, 1, file), 1);
	assert_int_equal(fclose(file), 0);
	assert_no_roots(path, "cannot be read as certificates");
	assert_int_equal(unlink(path), 0);
	bytes_free(&pem);
	cert_authority_free(ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(roots_of_no_file, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(roots_of_the_proxy, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(damaged_roots, make_directory, remove_directory),
		cmocka_unit_test(authority),
		cmocka_unit_test(leaves_verify),
		cmocka_unit_test(serials_differ),
		cmocka_unit_test(hostile_requests),
		cmocka_unit_test_setup_teardown(save_and_load, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(broken_files, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(leaf_ends_with_its_authority, make_directory,
						remove_directory),
		cmocka_unit_test(unwritable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
