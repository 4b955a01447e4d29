// SPDX-License-Identifier: BSD-2-Clause
/* OpenSSL's own X25519 is what ours is held against. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>

#include "tls_provider.h"

#define OURS "provider=egress-bpf"
#define THEIRS "provider=default"
#define KEY ((size_t)32)

static int load(void **state)
{
	(void)state;
	(void)tls_provider_load();
	return 0;
}

static void needs_x25519(void)
{
	EVP_KEYMGMT *keys = EVP_KEYMGMT_fetch(NULL, "X25519", OURS);

	EVP_KEYMGMT_free(keys);
	if (!keys)
		skip(); /* OpenSSL 3.1 and later, or libsodium is not installed */
}

static EVP_PKEY *new_key(const char *provider)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, provider, "X25519");

	assert_non_null(key);
	return key;
}

/* 0: refused, and then nothing is said. */
static size_t derive(const char *provider, EVP_PKEY *key, EVP_PKEY *peer, unsigned char ret[KEY])
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, provider);
	size_t length = KEY;

	assert_int_equal(EVP_PKEY_derive_init(context), 1);
	assert_int_equal(EVP_PKEY_derive_set_peer(context, peer), 1);
	if (EVP_PKEY_derive(context, ret, &length) != 1)
		length = 0;
	EVP_PKEY_CTX_free(context);
	ERR_clear_error();
	return length;
}

static void test_keys_are_openssl_s(void **state)
{
	unsigned char last[KEY] = {0};

	(void)state;
	needs_x25519();
	for (int i = 0; i < 300; i++) {
		unsigned char private[KEY], public[KEY], same[KEY];
		size_t length = KEY;
		EVP_PKEY *key = new_key(OURS), *copy;

		assert_int_equal(EVP_PKEY_get_raw_private_key(key, private, &length), 1);
		assert_int_equal(length, KEY);
		assert_int_equal(EVP_PKEY_get_raw_public_key(key, public, &length), 1);
		assert_int_equal(length, KEY);
		assert_true((private[0] & 7) == 0 && private[KEY - 1] >> 6 == 1);
		assert_memory_not_equal(private, last, KEY);
		memcpy(last, private, KEY);
		copy = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", THEIRS, private, KEY);
		assert_int_equal(EVP_PKEY_get_raw_public_key(copy, same, &length), 1);
		assert_memory_equal(public, same, KEY);
		EVP_PKEY_free(copy);
		EVP_PKEY_free(key);
	}
}

static void test_secrets_are_openssl_s(void **state)
{
	(void)state;
	needs_x25519();
	for (int i = 0; i < 100; i++) {
		EVP_PKEY *key = new_key(OURS), *peer = new_key(i % 2 ? OURS : THEIRS);
		unsigned char ours[KEY], theirs[KEY], other_way[KEY];

		assert_int_equal(derive(OURS, key, peer, ours), KEY);
		assert_int_equal(derive(THEIRS, key, peer, theirs), KEY);
		assert_int_equal(derive(THEIRS, peer, key, other_way), KEY);
		assert_memory_equal(ours, theirs, KEY);
		assert_memory_equal(ours, other_way, KEY);
		EVP_PKEY_free(key);
		EVP_PKEY_free(peer);
	}
}

/* RFC 7748, 6.1: points of small order, with which anybody knows the secret. */
static void test_a_secret_of_zeros_is_refused(void **state)
{
	static const unsigned char points[][32] = {
		{0},
		{1},
		"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a"
		"\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8",
	};

	(void)state;
	needs_x25519();
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		EVP_PKEY *key = new_key(OURS);
		EVP_PKEY *peer =
			EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", OURS, points[i], KEY);
		unsigned char secret[KEY];

		assert_int_equal(derive(OURS, key, peer, secret), 0);
		EVP_PKEY_free(peer);
		EVP_PKEY_free(key);
	}
}

static EVP_PKEY *new_parameters(const char *group)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "X25519", OURS);
	EVP_PKEY *parameters = NULL;

	assert_int_equal(EVP_PKEY_paramgen_init(context), 1);
	if (EVP_PKEY_CTX_set_group_name(context, group) == 1)
		assert_int_equal(EVP_PKEY_paramgen(context, &parameters), 1);
	EVP_PKEY_CTX_free(context);
	ERR_clear_error();
	return parameters;
}

/* What libssl makes of a peer's share: a key with nothing in it, then the peer's public half. */
static void test_parameters_are_no_key(void **state)
{
	EVP_PKEY *parameters, *key;
	unsigned char private[KEY], ours[KEY], theirs[KEY], *share = NULL;
	size_t length = KEY;

	(void)state;
	needs_x25519();
	assert_null(new_parameters("x448"));
	assert_null(new_parameters("prime256v1"));
	parameters = new_parameters("X25519");
	assert_non_null(parameters);
	assert_int_not_equal(EVP_PKEY_get_raw_private_key(parameters, private, &length), 1);
	length = KEY;
	key = new_key(THEIRS);
	assert_int_equal(EVP_PKEY_get1_encoded_public_key(key, &share), KEY);
	assert_int_equal(EVP_PKEY_set1_encoded_public_key(parameters, share, KEY), 1);
	assert_int_not_equal(EVP_PKEY_get_raw_private_key(parameters, private, &length), 1);
	assert_int_equal(derive(OURS, key, parameters, ours), KEY);
	assert_int_equal(derive(THEIRS, key, key, theirs), KEY);
	assert_memory_equal(ours, theirs, KEY);
	OPENSSL_free(share);
	EVP_PKEY_free(parameters);
	EVP_PKEY_free(key);
	ERR_clear_error();
}

/* Taken by name, where the context has no other group: libssl's list of groups has it. */
static void test_libssl_has_the_group(void **state)
{
	SSL_CTX *context;
	SSL *ssl;

	(void)state;
	needs_x25519();
	context = SSL_CTX_new_ex(NULL, tls_provider_query(), TLS_server_method());
	assert_non_null(context);
	assert_int_equal(SSL_CTX_set1_groups_list(context, "X25519"), 1);
	assert_int_equal(SSL_CTX_set1_groups_list(context, "X25519:P-256:X448:P-384"), 1);
	ssl = SSL_new(context);
	assert_non_null(ssl);
	assert_string_equal(SSL_group_to_name(ssl, NID_X25519), "x25519");
	SSL_free(ssl);
	SSL_CTX_free(context);
}

static void test_description(void **state)
{
	(void)state;
	assert_non_null(strstr(tls_provider_describe_x25519(), "OpenSSL's"));
	needs_x25519();
	assert_non_null(strstr(tls_provider_describe_x25519(), "libsodium's"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_openssl_s),
		cmocka_unit_test(test_secrets_are_openssl_s),
		cmocka_unit_test(test_a_secret_of_zeros_is_refused),
		cmocka_unit_test(test_parameters_are_no_key),
		cmocka_unit_test(test_libssl_has_the_group),
		cmocka_unit_test(test_description),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
