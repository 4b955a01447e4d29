// SPDX-License-Identifier: BSD-2-Clause
/* Roots and memory that runs out, when they are loaded or when a chain is verified by them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "failing_allocator.h"
#include "roots.h"

/* ---- a root, and what it has signed --------------------------------------------------------- */

static X509 *leaf;
static struct bytes pem; /* the root */

static void extend(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static X509 *make(const char *name, EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);

	assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
				   0);
	assert_int_equal(X509_set_pubkey(certificate, key), 1);
	return certificate;
}

static void sign(X509 *certificate, const X509 *issuer, EVP_PKEY *key)
{
	assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), 1);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
}

static int make_chain(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *root = make("root", key);
	BIO *text = BIO_new(BIO_s_mem());
	char *written;
	long length;

	(void)state;
	extend(root, NID_basic_constraints, "critical,CA:TRUE");
	extend(root, NID_key_usage, "critical,keyCertSign");
	extend(root, NID_subject_key_identifier, "hash");
	sign(root, root, key);
	leaf = make("leaf", key);
	sign(leaf, root, key);
	assert_int_equal(PEM_write_bio_X509(text, root), 1);
	length = BIO_get_mem_data(text, &written);
	assert_true(length > 0 && bytes_append(&pem, written, (size_t)length));
	BIO_free(text);
	X509_free(root);
	EVP_PKEY_free(key);
	return 0;
}

static int free_chain(void **state)
{
	(void)state;
	X509_free(leaf);
	bytes_free(&pem);
	return 0;
}

/* A fresh copy of the leaf, which is the peer's: what goes wrong with it is its connection's alone. */
static bool verifies(X509_STORE *store, long at)
{
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509 *peer = X509_dup(leaf);
	bool fine;

	assert_true(context && peer);
	assert_int_equal(X509_STORE_CTX_init(context, store, peer, NULL), 1);
	fail_at(at);
	fine = X509_verify_cert(context) == 1;
	heap.at = 0;
	X509_STORE_CTX_free(context);
	X509_free(peer);
	ERR_clear_error();
	return fine;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void all_or_nothing(void **state)
{
	bool failed = true;

	(void)state;
	for (long at = 1; failed; at++) {
		X509_STORE *store = X509_STORE_new();
		bool added;

		assert_non_null(store);
		fail_at(at);
		added = roots_add_pem(store, &pem);
		failed = heap.count >= at;
		heap.at = 0;
		assert_true(added || failed);
		if (added && !verifies(store, 0))
			fail_msg("allocation %ld: loaded, and not usable", at);
		X509_STORE_free(store);
	}
}

/* One chain fails then, and the next is verified. */
static void outlive_a_lack(void **state)
{
	bool failed = true;

	(void)state;
	for (long at = 1; failed; at++) {
		X509_STORE *store = X509_STORE_new();

		assert_true(store && roots_add_pem(store, &pem));
		(void)verifies(store, at);
		failed = heap.count >= at;
		if (!verifies(store, 0))
			fail_msg("allocation %ld: no chain is verified after it", at);
		X509_STORE_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(outlive_a_lack),
	};

	/* Before its first allocation, or it refuses. */
	if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1)
		return 1;
	return cmocka_run_group_tests(tests, make_chain, free_chain);
}
