// SPDX-License-Identifier: BSD-2-Clause
/* The library context of what faces clients: OpenSSL's own algorithms, in the default context, are
 * at the other end of its connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "clients_context.h"
#include "with_openssl_conf.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT 3000

static EVP_PKEY *key;
static X509 *cert;

static X509 *make_cert(EVP_PKEY *of)
{
	X509 *made = X509_new();

	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made), 1), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(made), -60));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(made), 3600));
	assert_int_equal(X509_set_pubkey(made, of), 1);
	return made;
}

static int load(void **state)
{
	/* First, as in a worker: what comes before it decides which names there are. */
	if (load_provider(state) < 0)
		return -1;
	key = EVP_EC_gen("P-256");
	cert = make_cert(key);
	return X509_sign(cert, key, EVP_sha256()) > 0 ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	X509_free(cert);
	EVP_PKEY_free(key);
	return 0;
}

/* ---- connections ---------------------------------------------------------------------------- */

struct shape {
	int version;
	const char *suite, *group, *algorithms;
	long options; /* of the server */
};

static SSL_SESSION *session;

static int keep_session(SSL *ssl, SSL_SESSION *made)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = made;
	return 1;
}

static void set_suite(SSL_CTX *context, const struct shape *shape)
{
	assert_int_equal(SSL_CTX_set_min_proto_version(context, shape->version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(context, shape->version), 1);
	if (shape->suite)
		assert_int_equal(shape->version == TLS1_3_VERSION
					 ? SSL_CTX_set_ciphersuites(context, shape->suite)
					 : SSL_CTX_set_cipher_list(context, shape->suite),
				 1);
}

static SSL_CTX *new_server(const struct shape *shape)
{
	SSL_CTX *context = tls_provider_new_server();

	assert_non_null(context);
	set_suite(context, shape);
	SSL_CTX_set_options(context, (uint64_t)shape->options);
	assert_int_equal(SSL_CTX_set_session_id_context(context, (const void *)"x", 1), 1);
	assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	return context;
}

static SSL_CTX *new_client(const struct shape *shape)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	assert_non_null(context);
	set_suite(context, shape);
	if (shape->group)
		assert_int_equal(SSL_CTX_set1_groups_list(context, shape->group), 1);
	if (shape->algorithms)
		assert_int_equal(SSL_CTX_set1_sigalgs_list(context, shape->algorithms), 1);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, keep_session);
	return context;
}

static void pass_text(SSL *from, SSL *to)
{
	unsigned char sent[TEXT], got[TEXT];
	size_t length;

	assert_int_equal(RAND_bytes(sent, sizeof(sent)), 1);
	assert_int_equal(SSL_write_ex(from, sent, sizeof(sent), &length), 1);
	assert_int_equal(SSL_read_ex(to, got, sizeof(got), &length), 1);
	assert_int_equal(length, sizeof(got));
	assert_memory_equal(sent, got, sizeof(got));
}

/* Whether the client's last session served. */
static bool connect_once(SSL_CTX *server_context, SSL_CTX *client_context)
{
	SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
	BIO *server_end, *client_end;
	bool reused;

	assert_true(server && client);
	assert_int_equal(BIO_new_bio_pair(&server_end, 1 << 15, &client_end, 1 << 15), 1);
	SSL_set_bio(server, server_end, server_end);
	SSL_set_bio(client, client_end, client_end);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	if (session)
		assert_int_equal(SSL_set_session(client, session), 1);
	for (int i = 0; i < 4; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	assert_true(SSL_is_init_finished(server) && SSL_is_init_finished(client));
	pass_text(client, server);
	pass_text(server, client);
	reused = SSL_session_reused(client);
	assert_int_equal(reused, SSL_session_reused(server));
	(void)SSL_shutdown(client);
	(void)SSL_shutdown(server);
	SSL_free(server);
	SSL_free(client);
	return reused;
}

/* A full one, and two that are resumed. */
static void connect_as(const struct shape *shape)
{
	SSL_CTX *server = new_server(shape), *client = new_client(shape);

	assert_false(connect_once(server, client));
	assert_true(connect_once(server, client));
	assert_true(connect_once(server, client));
	SSL_SESSION_free(session);
	session = NULL;
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_every_shape_of_a_connection(void **state)
{
	static const struct shape shapes[] = {
		{TLS1_3_VERSION, NULL, NULL, NULL, 0},
		{TLS1_3_VERSION, NULL, NULL, NULL, SSL_OP_NO_TICKET},
		{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "X25519", NULL, 0},
		{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "P-256", NULL, 0},
		{TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", "P-384", NULL, 0},
		/* the first share is for a group that we have not: HelloRetryRequest */
		{TLS1_3_VERSION, NULL, "X448:P-384", NULL, 0},
		{TLS1_2_VERSION, NULL, NULL, NULL, 0},
		{TLS1_2_VERSION, NULL, NULL, NULL, SSL_OP_NO_TICKET},
		{TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "X25519:P-256", NULL, 0},
		{TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", "P-256", NULL, 0},
		{TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", "X25519:P-256", NULL, 0},
		{TLS1_2_VERSION, NULL, NULL, "ECDSA+SHA384", 0},
		{TLS1_2_VERSION, NULL, NULL, "ECDSA+SHA512", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(shapes); i++)
		connect_as(&shapes[i]);
}

/* What is not there is not walked through, and cannot be asked for. */
static void test_nothing_else_is_there(void **state)
{
	OSSL_LIB_CTX *clients;

	(void)state;
	needs_context();
	clients = tls_provider_clients();
	assert_null(EVP_KEYMGMT_fetch(clients, "RSA", NULL));
	assert_null(EVP_MD_fetch(clients, "MD5", NULL));
	assert_null(EVP_CIPHER_fetch(clients, "AES-128-CBC", NULL));
	assert_null(EVP_MAC_fetch(clients, "CMAC", NULL));
	ERR_clear_error();
}

/* ---- names ---------------------------------------------------------------------------------- */

static void assert_verifies(EVP_PKEY *rsa, const char *digest, bool pss)
{
	X509 *made = make_cert(rsa);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *signing;
	int bits;

	assert_non_null(EVP_get_digestbyname(digest));
	assert_int_equal(EVP_DigestSignInit_ex(context, &signing, digest, NULL, NULL, rsa, NULL),
			 1);
	if (pss)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(signing, RSA_PKCS1_PSS_PADDING), 1);
	assert_true(X509_sign_ctx(made, context) > 0);
	assert_int_equal(X509_verify(made, rsa), 1);
	assert_int_equal(X509_get_signature_info(made, NULL, NULL, &bits, NULL), 1);
	assert_true(bits >= 112);
	EVP_MD_CTX_free(context);
	X509_free(made);
}

/* Certificates name digests as older programs do. */
static void test_signatures_of_certificates(void **state)
{
	static const struct {
		const char *digest;
		bool pss;
	} names[] = {
		{"SHA224", false},    {"SHA224", true},     {"SHA256", false},
		{"SHA256", true},     {"SHA384", false},    {"SHA384", true},
		{"SHA512", false},    {"SHA512", true},     {"SHA3-256", false},
		{"SHA512-224", true}, {"SHA512-256", true}, {"SHA3-512", false},
	};
	EVP_PKEY *rsa = EVP_RSA_gen(2048);

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		assert_verifies(rsa, names[i].digest, names[i].pss);
	EVP_PKEY_free(rsa);
}

static const char locked_key[] = "-----BEGIN EC PRIVATE KEY-----\n"
				 "Proc-Type: 4,ENCRYPTED\n"
				 "DEK-Info: %s,00112233445566778899AABBCCDDEEFF\n\n"
				 "AAAA\n-----END EC PRIVATE KEY-----\n";

/* What some CA's tool wrote into one file with its certificate: the whole file would be refused for
 * a cipher that has no name. */
static void test_ciphers_of_keys_beside_certificates(void **state)
{
	static const char *const ciphers[] = {"AES-128-CBC",  "AES-192-CBC", "AES-256-CBC",
					      "DES-EDE3-CBC", "DES-CBC",     "CAMELLIA-256-CBC"};

	(void)state;
	for (size_t i = 0; i < COUNT(ciphers); i++) {
		BIO *file = BIO_new(BIO_s_mem());
		STACK_OF(X509_INFO) * found;

		assert_true(BIO_printf(file, locked_key, ciphers[i]) > 0);
		assert_int_equal(PEM_write_bio_X509(file, cert), 1);
		found = PEM_X509_INFO_read_bio(file, NULL, NULL, NULL);
		assert_non_null(found);
		sk_X509_INFO_pop_free(found, X509_INFO_free);
		BIO_free(file);
	}
}

/* ---- openssl.cnf ---------------------------------------------------------------------------- */

/* Who wants other algorithms than those of OpenSSL's "default" has them for clients, too. */
static int look_at_configured(void)
{
	return !OSSL_PROVIDER_available(NULL, "default") ? 1 : tls_provider_clients() ? 2 : 0;
}

static const char wants_fips[] = "openssl_conf = all\n[all]\nproviders = list\n"
				 "alg_section = algorithms\n"
				 "[list]\nbase = active\ndefault = active\n[active]\nactivate = 1\n"
				 "[algorithms]\ndefault_properties = fips=yes\n";
static int of_configured = -1;

static void test_configured_properties(void **state)
{
	(void)state;
	assert_int_equal(of_configured, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape_of_a_connection),
		cmocka_unit_test(test_nothing_else_is_there),
		cmocka_unit_test(test_signatures_of_certificates),
		cmocka_unit_test(test_ciphers_of_keys_beside_certificates),
		cmocka_unit_test(test_configured_properties),
	};

	of_configured = with_openssl_conf(wants_fips, look_at_configured);
	return cmocka_run_group_tests(tests, load, unload);
}
