// SPDX-License-Identifier: BSD-2-Clause
/* OpenSSL's HMAC, in the default context, is what ours is held against. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "clients_context.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t random_below(size_t limit)
{
	unsigned int number;

	assert_int_equal(RAND_bytes((unsigned char *)&number, sizeof(number)), 1);
	return number % limit;
}

struct message {
	const char *digest;
	unsigned char key[300], text[500];
	size_t key_length, length, cut; /* its text is given in two parts */
};

static struct message random_message(size_t key_max)
{
	static const char *const names[] = {"SHA256", "SHA384", "SHA2-256", "SHA2-384"};
	struct message message = {.digest = names[random_below(COUNT(names))]};

	message.key_length = 1 + random_below(key_max);
	message.length = random_below(sizeof(message.text) + 1);
	message.cut = random_below(message.length + 1);
	RAND_bytes(message.key, (int)message.key_length);
	RAND_bytes(message.text, sizeof(message.text));
	return message;
}

/* By a copy of the context that has the first part, as well. */
static size_t mac(OSSL_LIB_CTX *library, const struct message *in, unsigned char ret[2][64])
{
	EVP_MAC *hmac = EVP_MAC_fetch(library, "HMAC", NULL);
	EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac), *copy;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string("digest", (char *)in->digest, 0),
		OSSL_PARAM_construct_end(),
	};
	size_t length[2];

	assert_int_equal(EVP_MAC_init(context, in->key, in->key_length, params), 1);
	assert_int_equal(EVP_MAC_update(context, in->text, in->cut), 1);
	copy = EVP_MAC_CTX_dup(context);
	assert_non_null(copy);
	assert_int_equal(EVP_MAC_update(context, in->text + in->cut, in->length - in->cut), 1);
	assert_int_equal(EVP_MAC_final(context, ret[0], &length[0], 64), 1);
	EVP_MAC_CTX_free(context);
	assert_int_equal(EVP_MAC_update(copy, in->text + in->cut, in->length - in->cut), 1);
	assert_int_equal(EVP_MAC_final(copy, ret[1], &length[1], 64), 1);
	EVP_MAC_CTX_free(copy);
	EVP_MAC_free(hmac);
	assert_int_equal(length[0], length[1]);
	return length[0];
}

static void test_macs_are_openssl_s(void **state)
{
	(void)state;
	needs_context();
	for (int i = 0; i < 2000; i++) {
		const struct message message = random_message(sizeof(message.key));
		unsigned char ours[2][64], theirs[2][64];
		size_t length = mac(NULL, &message, theirs);

		assert_int_equal(mac(tls_provider_clients(), &message, ours), length);
		assert_memory_equal(ours[0], theirs[0], length);
		assert_memory_equal(ours[1], theirs[0], length);
	}
}

/* RFC 4231, test case 2. */
static void test_mac_of_the_rfc(void **state)
{
	static const unsigned char right[] =
		"\x5b\xdc\xc1\x46\xbf\x60\x75\x4e\x6a\x04\x24\x26\x08\x95\x75\xc7"
		"\x5a\x00\x3f\x08\x9d\x27\x39\x83\x9d\xec\x58\xb9\x64\xec\x38\x43";
	static const char text[] = "what do ya want for nothing?";
	unsigned char ret[64];
	size_t length;

	(void)state;
	needs_context();
	assert_non_null(EVP_Q_mac(tls_provider_clients(), "HMAC", NULL, "SHA256", NULL, "Jefe", 4,
				  (const unsigned char *)text, strlen(text), ret, sizeof(ret),
				  &length));
	assert_int_equal(length, 32);
	assert_memory_equal(ret, right, 32);
}

static size_t sign(OSSL_LIB_CTX *library, const struct message *in, unsigned char ret[64])
{
	EVP_PKEY *of =
		EVP_PKEY_new_raw_private_key_ex(library, "HMAC", NULL, in->key, in->key_length);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t length = 0, again = 64;

	assert_non_null(of);
	assert_int_equal(EVP_DigestSignInit_ex(context, NULL, in->digest, library, NULL, of, NULL),
			 1);
	assert_int_equal(EVP_DigestSignUpdate(context, in->text, in->cut), 1);
	assert_int_equal(EVP_DigestSignUpdate(context, in->text + in->cut, in->length - in->cut),
			 1);
	assert_int_equal(EVP_DigestSignFinal(context, NULL, &length), 1);
	assert_int_equal(EVP_DigestSignFinal(context, ret, &again), 1);
	assert_int_equal(length, again);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(of);
	return length;
}

static void test_signatures_are_openssl_s(void **state)
{
	(void)state;
	needs_context();
	for (int i = 0; i < 500; i++) {
		const struct message message = random_message(48);
		unsigned char ours[64], theirs[64];
		size_t length = sign(NULL, &message, theirs);

		assert_int_equal(sign(tls_provider_clients(), &message, ours), length);
		assert_memory_equal(ours, theirs, length);
	}
}

static bool starts(EVP_MAC_CTX *context, const char *name, const char *value, const void *of,
		   size_t length)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(name, (char *)value, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_init(context, of, length, params) == 1;
}

/* Anything that it does not do is an error, and no MAC. */
static void test_refused_macs(void **state)
{
	unsigned char ret[64];
	EVP_MAC *hmac;
	EVP_MAC_CTX *context;
	size_t length;

	(void)state;
	needs_context();
	hmac = EVP_MAC_fetch(tls_provider_clients(), "HMAC", NULL);
	context = EVP_MAC_CTX_new(hmac);
	assert_int_not_equal(EVP_MAC_init(context, ret, 32, NULL), 1); /* no digest */
	assert_int_not_equal(EVP_MAC_update(context, ret, 1), 1);
	assert_int_not_equal(EVP_MAC_final(context, ret, &length, sizeof(ret)), 1);
	assert_false(starts(context, "digest", "SHA1", "key", 3));
	assert_false(starts(context, "cipher", "AES-128-CBC", "key", 3));
	assert_false(starts(context, "digest", "SHA256", NULL, 0));
	assert_true(starts(context, "digest", "SHA256", "key", 3));
	assert_false(starts(context, "digest", "SHA256", NULL, 0)); /* the last key is not kept */
	assert_int_not_equal(EVP_MAC_update(context, ret, 1), 1);
	assert_true(starts(context, "digest", "SHA384", "key", 3));
	assert_int_not_equal(EVP_MAC_final(context, ret, &length, 47), 1); /* no room */
	assert_true(starts(context, "digest", "SHA384", "key", 3));
	assert_int_equal(EVP_MAC_final(context, ret, &length, 48), 1);
	assert_int_not_equal(EVP_MAC_final(context, ret, &length, 48), 1); /* there was one */
	EVP_MAC_CTX_free(context);
	EVP_MAC_free(hmac);
	assert_null(EVP_PKEY_new_raw_private_key_ex(tls_provider_clients(), "HMAC", NULL, ret, 0));
	assert_null(EVP_PKEY_new_raw_private_key_ex(tls_provider_clients(), "HMAC", NULL, ret, 49));
	ERR_clear_error();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_macs_are_openssl_s),
		cmocka_unit_test(test_mac_of_the_rfc),
		cmocka_unit_test(test_signatures_are_openssl_s),
		cmocka_unit_test(test_refused_macs),
	};

	return cmocka_run_group_tests(tests, load_provider, NULL);
}
