// SPDX-License-Identifier: BSD-2-Clause
/* OpenSSL's own algorithms are what ours are held against. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tls_provider.h"
#include "with_openssl_conf.h"

#define OURS "provider=egress-bpf"
#define THEIRS "provider=default"
#define TEXT_MAX 20000
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t random_below(size_t limit)
{
	unsigned int number;

	assert_int_equal(RAND_bytes((unsigned char *)&number, sizeof(number)), 1);
	return number % limit;
}

static int load(void **state)
{
	(void)state;
	if (OpenSSL_version_num() >= 0x30100000L)
		return 0;
	(void)tls_provider_load();
	(void)tls_provider_load(); /* a second time is nothing */
	return OSSL_PROVIDER_available(NULL, "egress-bpf") ? 0 : -1;
}

static void needs_provider(void)
{
	if (!tls_provider_query())
		skip(); /* OpenSSL 3.1 and later */
}

static void needs_gcm(void)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", OURS);

	EVP_CIPHER_free(cipher);
	if (!cipher)
		skip(); /* a processor without VAES, or libipsec-mb is not installed */
}

/* ---- the key schedule ----------------------------------------------------------------------- */

struct secrets {
	const char *digest;
	int mode;
	unsigned char key[150], salt[64], data[64], label[64];
	size_t key_length, salt_length, data_length, label_length;
	bool has_key, has_salt, has_data;
};

static int derive(const char *provider, const struct secrets *in, unsigned char *ret, size_t length)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", provider);
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	int mode = in->mode, result;
	OSSL_PARAM params[8], *p = params;

	assert_non_null(context);
	*p++ = OSSL_PARAM_construct_int("mode", &mode);
	*p++ = OSSL_PARAM_construct_utf8_string("digest", (char *)in->digest, 0);
	if (in->has_key)
		*p++ = OSSL_PARAM_construct_octet_string("key", (void *)in->key, in->key_length);
	if (in->has_salt)
		*p++ = OSSL_PARAM_construct_octet_string("salt", (void *)in->salt, in->salt_length);
	*p++ = OSSL_PARAM_construct_octet_string("prefix", (void *)"tls13 ", 6);
	*p++ = OSSL_PARAM_construct_octet_string("label", (void *)in->label, in->label_length);
	if (in->has_data)
		*p++ = OSSL_PARAM_construct_octet_string("data", (void *)in->data, in->data_length);
	*p = OSSL_PARAM_construct_end();
	result = EVP_KDF_derive(context, ret, length, params);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return result > 0;
}

static struct secrets random_secrets(void)
{
	static const char *const names[] = {"SHA256", "SHA384", "SHA2-256", "SHA2-384"};
	struct secrets in = {.digest = names[random_below(4)]};

	in.mode = random_below(2) ? EVP_KDF_HKDF_MODE_EXPAND_ONLY : EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	RAND_bytes(in.key, sizeof(in.key));
	RAND_bytes(in.salt, sizeof(in.salt));
	RAND_bytes(in.data, sizeof(in.data));
	RAND_bytes(in.label, sizeof(in.label));
	in.has_key = in.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY || random_below(4);
	in.has_salt = random_below(4);
	in.has_data = random_below(4);
	in.key_length = 1 + random_below(sizeof(in.key));
	in.salt_length = strstr(in.digest, "384") ? 48 : 32;
	in.data_length = random_below(sizeof(in.data) + 1);
	in.label_length = random_below(sizeof(in.label) + 1);
	return in;
}

static void test_secrets_are_openssl_s(void **state)
{
	(void)state;
	needs_provider();
	for (int i = 0; i < 2000; i++) {
		struct secrets in = random_secrets();
		size_t size = strstr(in.digest, "384") ? 48 : 32;
		size_t length =
			in.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY ? size : 1 + random_below(300);
		unsigned char ours[300], theirs[300];

		assert_true(derive(THEIRS, &in, theirs, length));
		assert_true(derive(OURS, &in, ours, length));
		assert_memory_equal(ours, theirs, length);
	}
}

/* RFC 8448, 3: the early secret of a handshake without PSK, and what comes of it. */
static void test_secrets_of_the_rfc(void **state)
{
	static const unsigned char early[] =
		"\x33\xad\x0a\x1c\x60\x7e\xc0\x3b\x09\xe6\xcd\x98\x93\x68\x0c\xe2"
		"\x10\xad\xf3\x00\xaa\x1f\x26\x60\xe1\xb2\x2e\x10\xf1\x70\xf9\x2a";
	struct secrets in = {.digest = "SHA256", .mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY};
	unsigned char out[32];

	(void)state;
	needs_provider();
	assert_true(derive(OURS, &in, out, sizeof(out)));
	assert_memory_equal(out, early, sizeof(out));
}

static void test_secrets_refused(void **state)
{
	struct secrets good = {.digest = "SHA256",
			       .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
			       .has_key = true,
			       .key_length = 32,
			       .label_length = 3};
	struct secrets bad;
	unsigned char out[32 * 256];

	(void)state;
	needs_provider();
	assert_true(derive(OURS, &good, out, 32 * 255));
	assert_false(derive(OURS, &good, out, 32 * 255 + 1));
	bad = good, bad.digest = "SHA512";
	assert_false(derive(OURS, &bad, out, 32));
	bad = good, bad.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
	assert_false(derive(OURS, &bad, out, 32));
	bad = good, bad.has_key = false;
	assert_false(derive(OURS, &bad, out, 32));
	bad = good, bad.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	assert_true(derive(OURS, &bad, out, 32));
	assert_false(derive(OURS, &bad, out, 31));
}

/* A label or context that does not fit its length's octet would be another's. So would secrets be that
 * heed less than all parameters. */
static void test_secrets_too_long(void **state)
{
	static const char *const others[] = {"info", "k", "keys", "salts", "pass", "labels", "dat", "d", ""};
	EVP_KDF *kdf;
	EVP_KDF_CTX *context;
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	unsigned char out[32], bytes[256] = {0};
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int("mode", &mode),
		OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string("key", bytes, 32),
		OSSL_PARAM_construct_octet_string("label", bytes, 255),
		OSSL_PARAM_construct_octet_string("data", bytes, 255),
		OSSL_PARAM_construct_octet_string("properties", bytes, 1),
		OSSL_PARAM_construct_end(),
	};

	(void)state;
	needs_provider();
	kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", OURS);
	context = EVP_KDF_CTX_new(kdf);
	assert_true(EVP_KDF_derive(context, out, sizeof(out), params) > 0);
	params[3].data_size = 256;
	assert_false(EVP_KDF_derive(context, out, sizeof(out), params) > 0);
	params[3].data_size = 255, params[4].data_size = 256;
	assert_false(EVP_KDF_derive(context, out, sizeof(out), params) > 0);
	params[4].data_size = 255;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		params[5].key = others[i];
		assert_false(EVP_KDF_derive(context, out, sizeof(out), params) > 0);
	}
	params[5].key = "properties", params[2].data_type = OSSL_PARAM_INTEGER;
	assert_false(EVP_KDF_derive(context, out, sizeof(out), params) > 0);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
}

/* ---- AES-GCM -------------------------------------------------------------------------------- */

struct message {
	const char *cipher;
	unsigned char key[32], iv[12], aad[13], tag[16];
	size_t aad_length, length;
};

static EVP_CIPHER_CTX *begin(const char *provider, const struct message *m, int encrypting)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, m->cipher, provider);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int n;

	assert_non_null(cipher);
	assert_int_equal(EVP_CipherInit_ex2(context, cipher, NULL, NULL, encrypting, NULL), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL), 1);
	assert_int_equal(EVP_CipherInit_ex2(context, NULL, m->key, NULL, -1, NULL), 1);
	assert_int_equal(EVP_CipherInit_ex2(context, NULL, NULL, m->iv, -1, NULL), 1);
	if (m->aad_length)
		assert_int_equal(EVP_CipherUpdate(context, NULL, &n, m->aad, (int)m->aad_length),
				 1);
	EVP_CIPHER_free(cipher);
	return context;
}

/* In up to four pieces, in place. */
static void pour(EVP_CIPHER_CTX *context, unsigned char *text, size_t length)
{
	for (size_t at = 0; at < length;) {
		size_t piece = random_below(4) ? 1 + random_below(length - at) : length - at;
		int n;

		assert_int_equal(EVP_CipherUpdate(context, text + at, &n, text + at, (int)piece),
				 1);
		assert_int_equal(n, piece);
		at += piece;
	}
}

static void seal(const char *provider, struct message *m, unsigned char *text)
{
	EVP_CIPHER_CTX *context = begin(provider, m, 1);
	unsigned char rest[16];
	int n;

	pour(context, text, m->length);
	assert_int_equal(EVP_CipherFinal_ex(context, rest, &n), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, m->tag), 1);
	/* The IV is used up. */
	assert_int_equal(EVP_CipherUpdate(context, text, &n, text, 16), 0);
	EVP_CIPHER_CTX_free(context);
}

static bool open_message(const char *provider, const struct message *m, unsigned char *text)
{
	EVP_CIPHER_CTX *context = begin(provider, m, 0);
	unsigned char rest[16];
	int n, result;

	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, (void *)m->tag),
			 1);
	pour(context, text, m->length);
	result = EVP_CipherFinal_ex(context, rest, &n);
	EVP_CIPHER_CTX_free(context);
	return result == 1;
}

static struct message random_message(int i)
{
	struct message m = {.cipher = i % 2 ? "AES-128-GCM" : "AES-256-GCM"};

	RAND_bytes(m.key, sizeof(m.key));
	RAND_bytes(m.iv, sizeof(m.iv));
	RAND_bytes(m.aad, sizeof(m.aad));
	m.aad_length = random_below(sizeof(m.aad) + 1);
	m.length = random_below(i % 3 ? 600 : 16384 + 256);
	return m;
}

static void test_gcm_is_openssl_s(void **state)
{
	static unsigned char text[TEXT_MAX], ours[TEXT_MAX], theirs[TEXT_MAX];

	(void)state;
	needs_gcm();
	for (int i = 0; i < 2000; i++) {
		struct message m = random_message(i), theirs_m = m;

		RAND_bytes(text, (int)m.length + 1);
		memcpy(ours, text, m.length);
		memcpy(theirs, text, m.length);
		seal(OURS, &m, ours);
		seal(THEIRS, &theirs_m, theirs);
		assert_memory_equal(ours, theirs, m.length);
		assert_memory_equal(m.tag, theirs_m.tag, 16);
		assert_true(open_message(OURS, &m, ours));
		assert_memory_equal(ours, text, m.length);
		m.tag[random_below(16)] ^= (unsigned char)(1 << random_below(8));
		assert_false(open_message(OURS, &m, theirs));
	}
}

static void test_gcm_refuses_what_was_changed(void **state)
{
	struct message m = random_message(1), changed;
	unsigned char text[100] = {0}, copy[100];

	(void)state;
	needs_gcm();
	m.length = sizeof(text), m.aad_length = 5;
	seal(OURS, &m, text);
	changed = m, changed.aad[0] ^= 1;
	memcpy(copy, text, sizeof(copy));
	assert_false(open_message(OURS, &changed, copy));
	changed = m, changed.iv[11] ^= 1;
	memcpy(copy, text, sizeof(copy));
	assert_false(open_message(OURS, &changed, copy));
	memcpy(copy, text, sizeof(copy));
	copy[99] ^= 1;
	assert_false(open_message(OURS, &m, copy));
	assert_true(open_message(OURS, &m, text));
}

static void test_gcm_refuses_to_begin(void **state)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", OURS);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	unsigned char text[16] = {0}, key[16] = {0}, iv[12] = {0};
	int n;

	(void)state;
	needs_gcm();
	assert_int_equal(EVP_CIPHER_get_flags(cipher) & EVP_CIPH_FLAG_AEAD_CIPHER,
			 EVP_CIPH_FLAG_AEAD_CIPHER);
	assert_int_equal(EVP_CipherInit_ex2(context, cipher, NULL, iv, 1, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(context, text, &n, text, 16), 0); /* no key */
	assert_int_equal(EVP_CipherInit_ex2(context, NULL, key, NULL, 1, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(context, text, &n, text, 16), 0); /* no IV for this key */
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 8, NULL) <= 0);
	assert_int_equal(EVP_CipherInit_ex2(context, NULL, NULL, iv, 1, NULL), 1);
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, text) <=
		    0); /* not yet */
	assert_int_equal(EVP_CipherInit_ex2(context, NULL, key, iv, 0, NULL), 1);
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 12, text) <= 0); /* short */
	assert_int_equal(EVP_CipherUpdate(context, text, &n, text, 16), 1);
	assert_int_equal(EVP_CipherFinal_ex(context, text, &n), 0); /* no tag to compare with */
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(cipher);
	ERR_clear_error();
}

/* Contexts that were given back serve again, more of them than are kept: with nothing of what they did. */
static void test_gcm_contexts_begin_anew(void **state)
{
	EVP_CIPHER_CTX *contexts[40];
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", OURS);
	struct message m = random_message(1);
	unsigned char text[16] = {0}, tag[16];
	int n;

	(void)state;
	needs_gcm();
	for (size_t i = 0; i < 40; i++) {
		contexts[i] = begin(OURS, &m, 1);
		pour(contexts[i], text, sizeof(text));
		assert_int_equal(EVP_CipherFinal_ex(contexts[i], text, &n), 1);
	}
	for (size_t i = 0; i < 40; i++)
		EVP_CIPHER_CTX_free(contexts[i]);
	for (size_t i = 0; i < 40; i++) {
		contexts[i] = EVP_CIPHER_CTX_new();
		assert_int_equal(EVP_CipherInit_ex2(contexts[i], cipher, NULL, NULL, 1, NULL), 1);
		assert_true(EVP_CIPHER_CTX_ctrl(contexts[i], EVP_CTRL_AEAD_GET_TAG, 16, tag) <= 0);
		assert_int_equal(EVP_CipherInit_ex2(contexts[i], NULL, NULL, m.iv, 1, NULL), 1);
		assert_int_equal(EVP_CipherUpdate(contexts[i], text, &n, text, 16), 0); /* no key */
	}
	for (size_t i = 0; i < 40; i++)
		EVP_CIPHER_CTX_free(contexts[i]);
	EVP_CIPHER_free(cipher);
	ERR_clear_error();
}

/* A record of TLS 1.2 is ciphered where it lies, whole, and under an IV that counts. */
static void test_gcm_refuses_records(void **state)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", OURS);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	unsigned char record[100] = {0}, other[100], key[16] = {0}, fixed[4] = {0};
	unsigned char header[13] = {[11] = 0, [12] = 100 - 16}, short_header[13] = {[12] = 7};
	int n;

	(void)state;
	needs_gcm();
	assert_int_equal(EVP_CipherInit_ex2(context, cipher, key, NULL, 1, NULL), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, header), 16);
	assert_int_equal(EVP_CipherUpdate(context, record, &n, record, 100), 0); /* no fixed IV */
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_IV_FIXED, 3, fixed) <= 0);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed), 1);
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, short_header) <= 0);
	assert_true(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 12, header) <= 0);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, header), 16);
	assert_int_equal(EVP_CipherUpdate(context, other, &n, record, 100), 0);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, header), 16);
	assert_int_equal(EVP_CipherUpdate(context, NULL, &n, NULL, 100), 0);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, header), 16);
	assert_int_equal(EVP_CipherUpdate(context, record, &n, record, 23), 0);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_TLS1_AAD, 13, header), 16);
	assert_int_equal(EVP_CipherUpdate(context, record, &n, record, 100), 1);
	assert_int_equal(n, 100);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(cipher);
	ERR_clear_error();
}

/* ---- connections ---------------------------------------------------------------------------- */

struct pair {
	SSL_CTX *server_context, *client_context;
	SSL *server, *client;
	BIO *wire_server, *wire_client; /* what each has sent, until carry() */
};

static SSL_CTX *server_context(const char *query)
{
	SSL_CTX *context = SSL_CTX_new_ex(NULL, query, TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 1000);
	assert_int_equal(X509_set_pubkey(cert, key), 1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return context;
}

static void carry(BIO *from, BIO *to)
{
	char bytes[4096];
	int n;

	while ((n = BIO_read(from, bytes, sizeof(bytes))) > 0)
		assert_int_equal(BIO_write(to, bytes, n), n);
}

static void connect_pair(struct pair *pair)
{
	pair->server = SSL_new(pair->server_context);
	pair->client = SSL_new(pair->client_context);
	SSL_set_bio(pair->server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_bio(pair->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_accept_state(pair->server);
	SSL_set_connect_state(pair->client);
}

static void connect_again(struct pair *pair, SSL_SESSION *session)
{
	SSL_set_shutdown(pair->server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(pair->server);
	SSL_free(pair->client);
	connect_pair(pair);
	assert_int_equal(SSL_set_session(pair->client, session), 1);
}

static struct pair new_pair(const char *server_query, const char *client_query)
{
	struct pair pair = {.server_context = server_context(server_query)};

	pair.client_context = SSL_CTX_new_ex(NULL, client_query, TLS_client_method());
	connect_pair(&pair);
	return pair;
}

static void set_suite(struct pair *pair, int version, const char *suite)
{
	assert_int_equal(SSL_set_max_proto_version(pair->client, version), 1);
	assert_int_equal(version == TLS1_3_VERSION ? SSL_set_ciphersuites(pair->client, suite)
						   : SSL_set_cipher_list(pair->client, suite),
			 1);
}

static void exchange(struct pair *pair)
{
	carry(SSL_get_wbio(pair->client), SSL_get_rbio(pair->server));
	carry(SSL_get_wbio(pair->server), SSL_get_rbio(pair->client));
}

static void handshake(struct pair *pair)
{
	for (int i = 0; i < 6; i++) { /* as many when the client's first guess of a group is wrong */
		(void)SSL_do_handshake(pair->client);
		(void)SSL_do_handshake(pair->server);
		exchange(pair);
	}
	assert_true(SSL_is_init_finished(pair->client) && SSL_is_init_finished(pair->server));
}

static void free_pair(struct pair *pair)
{
	SSL_free(pair->server);
	SSL_free(pair->client);
	SSL_CTX_free(pair->server_context);
	SSL_CTX_free(pair->client_context);
	ERR_clear_error();
}

static void talk(SSL *from, SSL *to, size_t length)
{
	static unsigned char sent[TEXT_MAX], got[TEXT_MAX];
	size_t at = 0;

	RAND_bytes(sent, (int)length);
	assert_int_equal(SSL_write(from, sent, (int)length), length);
	carry(SSL_get_wbio(from), SSL_get_rbio(to));
	while (at < length) {
		int n = SSL_read(to, got + at, (int)(length - at));

		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_memory_equal(sent, got, length);
}

static const struct {
	int version;
	const char *name;
} suites[] = {
	{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
	{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
	{TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
};

/* Each side with ours and with OpenSSL's own, records of every size, keys replaced in between. */
static void test_connections(void **state)
{
	static const struct {
		bool server, client;
	} sides[] = {{true, false}, {false, true}, {true, true}};

	(void)state;
	for (size_t i = 0; i < COUNT(suites) * COUNT(sides); i++) {
		size_t k = i % COUNT(suites), side = i / COUNT(suites);
		struct pair pair = new_pair(sides[side].server ? tls_provider_query() : NULL,
					    sides[side].client ? tls_provider_query() : NULL);

		set_suite(&pair, suites[k].version, suites[k].name);
		handshake(&pair);
		assert_string_equal(SSL_get_cipher_name(pair.client), suites[k].name);
		assert_int_equal(SSL_get_negotiated_group(pair.server), NID_X25519);
		for (size_t length = 1; length < TEXT_MAX; length += 1 + length / 3) {
			talk(pair.client, pair.server, length);
			talk(pair.server, pair.client, length);
			if (suites[k].version == TLS1_3_VERSION)
				assert_int_equal(
					SSL_key_update(pair.server, SSL_KEY_UPDATE_REQUESTED), 1);
		}
		free_pair(&pair);
	}
}

/* What clients may insist on: groups, also after a first guess that was another; signatures;
 * tickets that are sealed and opened. */
static void test_groups_and_tickets(void **state)
{
	static const struct {
		const char *groups;
		int negotiated;
	} groups[] = {
		{"P-256", NID_X9_62_prime256v1},
		{"P-384:P-256", NID_secp384r1}, /* TLS 1.2 wants the certificate's in any case */
		{"X448:P-256", NID_X9_62_prime256v1},
		{"X25519:P-256", NID_X25519},
		{"X448:X25519:P-256", NID_X25519},
	};
	static const char *const signatures[] = {"ECDSA+SHA256",
						 "RSA+SHA256:RSA-PSS+SHA512:ECDSA+SHA256"};

	(void)state;
	for (size_t i = 0; i < COUNT(suites) * COUNT(groups); i++) {
		size_t k = i % COUNT(suites), group = i / COUNT(suites);
		struct pair pair = new_pair(tls_provider_query(), NULL);
		SSL_SESSION *session;

		for (int resumed = 0; resumed < 2; resumed++) {
			assert_int_equal(SSL_set1_groups_list(pair.server, "X25519:P-256:P-384"),
					 1);
			assert_int_equal(SSL_set1_groups_list(pair.client, groups[group].groups),
					 1);
			assert_int_equal(SSL_set1_sigalgs_list(pair.client, signatures[i % 2]), 1);
			set_suite(&pair, suites[k].version, suites[k].name);
			handshake(&pair);
			assert_int_equal(SSL_session_reused(pair.client), resumed);
			if (!resumed || suites[k].version == TLS1_3_VERSION)
				assert_int_equal(SSL_get_negotiated_group(pair.server),
						 groups[group].negotiated);
			talk(pair.client, pair.server, 5000);
			talk(pair.server, pair.client, 5000);
			session = SSL_get1_session(pair.client);
			connect_again(&pair, session);
			SSL_SESSION_free(session);
		}
		free_pair(&pair);
	}
}

/* What ours exports is what OpenSSL's other end exports, of more than one block (RFC 5705). */
static void test_exporter(void **state)
{
	struct pair pair = new_pair(tls_provider_query(), NULL);
	unsigned char ours[100], theirs[100];

	(void)state;
	handshake(&pair);
	assert_int_equal(SSL_export_keying_material(pair.server, ours, 100, "EXPORTER-test", 13,
						    (const unsigned char *)"c", 1, 1),
			 1);
	assert_int_equal(SSL_export_keying_material(pair.client, theirs, 100, "EXPORTER-test", 13,
						    (const unsigned char *)"c", 1, 1),
			 1);
	assert_memory_equal(ours, theirs, sizeof(ours));
	free_pair(&pair);
}

/* A record that was changed on the way ends the connection, and nothing of it is read. */
static void test_changed_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(suites) * 20; i++) {
		struct pair pair = new_pair(tls_provider_query(), NULL);
		unsigned char wire[200];
		int length;

		set_suite(&pair, suites[i % COUNT(suites)].version, suites[i % COUNT(suites)].name);
		handshake(&pair);
		assert_int_equal(SSL_write(pair.client, "GET / HTTP/1.1", 14), 14);
		length = BIO_read(SSL_get_wbio(pair.client), wire, sizeof(wire));
		assert_true(length > 14 + 5);
		wire[5 + random_below((size_t)length - 5)] ^= (unsigned char)(1 << random_below(8));
		assert_int_equal(BIO_write(SSL_get_rbio(pair.server), wire, length), length);
		assert_true(SSL_read(pair.server, wire, sizeof(wire)) <= 0);
		assert_int_equal(SSL_get_error(pair.server, -1), SSL_ERROR_SSL);
		free_pair(&pair);
	}
}

/* RFC 5288, 3: under one key no IV comes twice. It begins anywhere, and counts. */
static void test_explicit_ivs_of_tls12(void **state)
{
	struct pair pair = new_pair(tls_provider_query(), NULL);
	uint64_t last = 0;

	(void)state;
	needs_gcm();
	set_suite(&pair, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
	handshake(&pair);
	for (int i = 0; i < 600; i++) {
		unsigned char wire[200];
		uint64_t iv = 0;
		int length;

		assert_int_equal(SSL_write(pair.server, "x", 1), 1);
		length = BIO_read(SSL_get_wbio(pair.server), wire, sizeof(wire));
		assert_int_equal(length, 5 + 8 + 1 + 16);
		for (int k = 0; k < 8; k++)
			iv = iv << 8 | wire[5 + k];
		if (i > 0)
			assert_true(iv == last + 1);
		last = iv;
	}
	free_pair(&pair);
}

static void test_description(void **state)
{
	(void)state;
	assert_non_null(strstr(tls_provider_describe(), "OpenSSL"));
}

/* Where openssl.cnf wants other providers and no "default", there is none because of us either. */
static int look_at_configured(void)
{
	if (OSSL_PROVIDER_available(NULL, "default"))
		return 2;
	if (tls_provider_query())
		return 3;
	return strcmp(tls_provider_describe(), "OpenSSL's") == 0 ? 0 : 4; /* no package helps */
}

static const char wants_base[] = "openssl_conf = all\n[all]\nproviders = list\n"
				 "[list]\nbase = base\n[base]\nactivate = 1\n";
static int of_configured = -1;

static void test_configured_providers(void **state)
{
	(void)state;
	assert_int_equal(of_configured, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secrets_are_openssl_s),
		cmocka_unit_test(test_secrets_of_the_rfc),
		cmocka_unit_test(test_secrets_refused),
		cmocka_unit_test(test_secrets_too_long),
		cmocka_unit_test(test_gcm_is_openssl_s),
		cmocka_unit_test(test_gcm_refuses_what_was_changed),
		cmocka_unit_test(test_gcm_refuses_to_begin),
		cmocka_unit_test(test_gcm_contexts_begin_anew),
		cmocka_unit_test(test_gcm_refuses_records),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_groups_and_tickets),
		cmocka_unit_test(test_exporter),
		cmocka_unit_test(test_changed_records),
		cmocka_unit_test(test_explicit_ivs_of_tls12),
		cmocka_unit_test(test_description),
		cmocka_unit_test(test_configured_providers),
	};

	of_configured = with_openssl_conf(wants_base, look_at_configured);
	return cmocka_run_group_tests(tests, load, NULL);
}
