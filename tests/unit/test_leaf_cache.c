// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "cert_authority.h"

/* The supervisor of the tests: signs, counts, and misbehaves when told to. */
struct authority {
	struct cert_authority *ca;
	struct bytes der;
	int signatures;
	bool refuse, garbage, wrong_key;
	struct cert_authority *imposter;
};

static int sign(void *context, const char *host, struct span public_key, struct bytes *ret_der)
{
	struct authority *a = context;
	struct error error = {0};
	unsigned char *other = NULL;
	EVP_PKEY *key;
	int length, result;

	a->signatures++;
	if (a->refuse)
		return -1;
	if (a->garbage)
		return bytes_append_text(ret_der, "0\x82garbage") ? 0 : -1;
	if (!a->wrong_key)
		return cert_authority_sign(a->imposter ? a->imposter : a->ca, host, public_key,
					   ret_der, &error);
	key = EVP_EC_gen("P-256");
	length = i2d_PUBKEY(key, &other);
	result = cert_authority_sign(a->ca, host, (struct span){(char *)other, (size_t)length},
				     ret_der, &error);
	OPENSSL_free(other);
	EVP_PKEY_free(key);
	return result;
}

static int setup(void **state)
{
	struct authority *a = calloc(1, sizeof(*a));
	struct error error = {0};

	*state = a;
	return cert_authority_new("test", &a->ca, &error) || cert_authority_der(a->ca, &a->der);
}

static int teardown(void **state)
{
	struct authority *a = *state;

	cert_authority_free(a->ca);
	cert_authority_free(a->imposter);
	bytes_free(&a->der);
	free(a);
	return 0;
}

static struct leaf_cache *new_cache(struct authority *a, size_t capacity)
{
	struct leaf_cache *cache = leaf_cache_new(sign, a, bytes_span(&a->der), capacity);

	assert_non_null(cache);
	return cache;
}

struct client {
	SSL_CTX *context;
	SSL_SESSION *session; /* the newest ticket */
	const char *alpn;
	size_t alpn_length;
	int max_version;
	bool resumed;
	char selected[16], cipher[64];
	int chain_length;
};

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *client = SSL_get_app_data(ssl);

	SSL_SESSION_free(client->session);
	client->session = session;
	return 1;
}

static void client_init(struct client *client, struct authority *a)
{
	const unsigned char *at = (const unsigned char *)bytes_span(&a->der).data;
	X509 *ca = d2i_X509(NULL, &at, (long)bytes_span(&a->der).length);

	memset(client, 0, sizeof(*client));
	client->alpn = "\x02h2\x08http/1.1";
	client->alpn_length = 12;
	client->context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(client->context, SSL_VERIFY_PEER, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(client->context), ca);
	SSL_CTX_set_session_cache_mode(client->context,
				       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client->context, keep_session);
	X509_free(ca);
}

static void client_free(struct client *client)
{
	SSL_SESSION_free(client->session);
	SSL_CTX_free(client->context);
}

/* One handshake through memory; true when both ends finished and the client trusts the host. */
static bool connect_to(struct client *client, SSL_CTX *server_context, const char *host)
{
	SSL *c = SSL_new(client->context), *s = SSL_new(server_context);
	BIO *a, *b;
	const unsigned char *selected;
	unsigned int length;
	bool ok = false;
	char byte;

	BIO_new_bio_pair(&a, 65536, &b, 65536);
	SSL_set_bio(c, a, a);
	SSL_set_bio(s, b, b);
	SSL_set_app_data(c, client);
	SSL_set_connect_state(c);
	SSL_set_accept_state(s);
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c), host) != 1)
		SSL_set1_host(c, host);
	SSL_set_tlsext_host_name(c, host);
	if (client->alpn)
		SSL_set_alpn_protos(c, (const unsigned char *)client->alpn,
				    (unsigned)client->alpn_length);
	if (client->max_version)
		SSL_set_max_proto_version(c, client->max_version);
	if (client->session)
		SSL_set_session(c, client->session);
	for (int i = 0; i < 10 && !ok; i++) {
		int rc = SSL_do_handshake(c), rs = SSL_do_handshake(s);

		ok = rc == 1 && rs == 1;
	}
	if (ok) {
		client->resumed = SSL_session_reused(c);
		SSL_get0_alpn_selected(c, &selected, &length);
		snprintf(client->selected, sizeof(client->selected), "%.*s", (int)length, selected);
		snprintf(client->cipher, sizeof(client->cipher), "%s", SSL_get_cipher_name(c));
		client->chain_length = sk_X509_num(SSL_get_peer_cert_chain(c));
		assert_int_equal(SSL_read(c, &byte, 1), -1); /* takes the ticket */
		SSL_shutdown(c);
		SSL_shutdown(s);
	}
	SSL_free(c);
	SSL_free(s);
	ERR_clear_error();
	return ok;
}

static void handshakes(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 10);
	struct client client;

	client_init(&client, a);
	assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"), "a.example"));
	assert_string_equal(client.selected, "http/1.1");
	assert_int_equal(client.chain_length, 1);
	assert_false(client.resumed);
	assert_true(connect_to(&client, leaf_cache_get(cache, "192.0.2.1"), "192.0.2.1"));
	assert_false(connect_to(&client, leaf_cache_get(cache, "a.example"), "b.example"));
	assert_int_equal(a->signatures, 2);
	client_free(&client);
	leaf_cache_free(cache);
}

static void versions_and_protocols(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 10);
	SSL_CTX *context = leaf_cache_get(cache, "a.example");
	struct client client;

	client_init(&client, a);
	client.max_version = TLS1_2_VERSION;
	assert_true(connect_to(&client, context, "a.example"));
	assert_non_null(strstr(client.cipher, "ECDHE-ECDSA"));
	SSL_CTX_set_security_level(client.context, 0);
	SSL_CTX_set_min_proto_version(client.context, TLS1_VERSION);
	client.max_version = TLS1_1_VERSION;
	assert_false(connect_to(&client, context, "a.example"));
	client.max_version = 0;
	client.alpn = NULL;
	assert_true(connect_to(&client, context, "a.example"));
	assert_string_equal(client.selected, "");
	client.alpn = "\x02h2";
	client.alpn_length = 3;
	assert_false(connect_to(&client, context, "a.example"));
	client_free(&client);
	leaf_cache_free(cache);
}

static void tickets_stay_with_their_host(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 10);

	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct client client;
		SSL_SESSION *session;

		client_init(&client, a);
		client.max_version = version;
		assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"), "a.example"));
		assert_non_null(client.session);
		assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"), "a.example"));
		assert_true(client.resumed);
		/* The same ticket to the other host: a full handshake, or none. */
		session = client.session;
		SSL_SESSION_up_ref(session);
		if (connect_to(&client, leaf_cache_get(cache, "b.example"), "b.example"))
			assert_false(client.resumed);
		SSL_SESSION_free(session);
		client_free(&client);
	}
	leaf_cache_free(cache);
}

static bool say(void *context)
{
	return *(bool *)context;
}

/* Kept sessions are ids of 32 bytes; sealed ones have the session in them. */
static size_t ticket_length(const struct client *client)
{
	const unsigned char *ticket;
	size_t length;

	SSL_SESSION_get0_ticket(client->session, &ticket, &length);
	return length;
}

static void sessions_are_kept_while_alone(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 10);
	bool alone;

	leaf_cache_set_alone(cache, say, &alone);
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		const size_t kept = version == TLS1_2_VERSION ? 0 : 32;
		struct client client;
		SSL_SESSION *session;

		client_init(&client, a);
		client.max_version = version;
		/* Alone, not any more, and again: each change costs one handshake. */
		for (int i = 0; i < 9; i++) {
			alone = i / 3 != 1;
			assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"),
					       "a.example"));
			assert_int_equal(client.resumed, i % 3 > 0);
			if (alone)
				assert_int_equal(ticket_length(&client), kept);
			else
				assert_true(ticket_length(&client) > 32);
		}
		session = client.session;
		SSL_SESSION_up_ref(session);
		if (connect_to(&client, leaf_cache_get(cache, "b.example"), "b.example"))
			assert_false(client.resumed);
		/* The same id twice, which clients are free to try. */
		SSL_SESSION_free(client.session);
		client.session = session;
		assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"), "a.example"));
		assert_true(client.resumed);
		client_free(&client);
	}
	leaf_cache_free(cache);
}

static void least_recently_used_goes(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 3);

	for (int round = 0; round < 2; round++) {
		assert_non_null(leaf_cache_get(cache, "a.example"));
		assert_non_null(leaf_cache_get(cache, "b.example"));
		assert_non_null(leaf_cache_get(cache, "c.example"));
	}
	assert_int_equal(a->signatures, 3);
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_non_null(leaf_cache_get(cache, "d.example")); /* b goes */
	assert_int_equal(a->signatures, 4);
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_non_null(leaf_cache_get(cache, "c.example"));
	assert_int_equal(a->signatures, 4);
	assert_non_null(leaf_cache_get(cache, "b.example")); /* d goes */
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 5);
	leaf_cache_free(cache);
}

static void many_hosts(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 40);
	char host[32];

	for (int i = 0; i < 100; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		assert_non_null(leaf_cache_get(cache, host));
	}
	for (int i = 60; i < 100; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		assert_non_null(leaf_cache_get(cache, host));
	}
	assert_int_equal(a->signatures, 100);
	leaf_cache_free(cache);
}

static void refusals(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 3);
	struct error error = {0};

	a->refuse = true;
	assert_null(leaf_cache_get(cache, "a.example"));
	a->refuse = false;
	a->garbage = true;
	assert_null(leaf_cache_get(cache, "a.example"));
	a->garbage = false;
	a->wrong_key = true;
	assert_null(leaf_cache_get(cache, "a.example"));
	a->wrong_key = false;
	assert_int_equal(cert_authority_new("another", &a->imposter, &error), 0);
	assert_null(leaf_cache_get(cache, "a.example"));
	cert_authority_free(a->imposter);
	a->imposter = NULL;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_null(leaf_cache_new(sign, a, SPAN("no certificate"), 3));
	leaf_cache_free(NULL);
	leaf_cache_free(cache);
}

/* The clock of this process, libraries and all: to get to the end of a leaf's life. */
static time_t offset;
time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec + offset;
	return now.tv_sec + offset;
}

static void renewal(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 3);

	offset = 0;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	offset = 6 * 86400 - 60;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 1);
	offset = 6 * 86400 + 60;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 2);
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 2);
	offset += 7 * 86400;
	a->refuse = true;
	assert_null(leaf_cache_get(cache, "a.example"));
	a->refuse = false;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	offset = 0;
	leaf_cache_free(cache);
}

/* The authority ends in a day: its leaves are short, and are not minted for every call. */
static void authority_near_its_end(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache;

	cert_authority_free(a->ca);
	bytes_free(&a->der);
	offset = -(10L * 365 - 1) * 86400;
	setup(state);
	free(a);
	a = *state;
	offset = 0;
	cache = new_cache(a, 3);
	for (int i = 0; i < 3; i++)
		assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 1);
	offset = 301;
	assert_non_null(leaf_cache_get(cache, "a.example"));
	assert_int_equal(a->signatures, 2);
	offset = 0;
	leaf_cache_free(cache);
}

static void ticket_keys_rotate(void **state)
{
	struct authority *a = *state;
	struct leaf_cache *cache = new_cache(a, 10);
	unsigned char first[80], later[80];
	SSL_CTX *context = leaf_cache_get(cache, "a.example");
	struct client client;

	assert_int_equal(SSL_CTX_get_tlsext_ticket_keys(context, NULL, 0), sizeof(first));
	SSL_CTX_get_tlsext_ticket_keys(context, first, sizeof(first));
	offset = 8L * 3600 - 60;
	assert_ptr_equal(leaf_cache_get(cache, "a.example"), context);
	SSL_CTX_get_tlsext_ticket_keys(context, later, sizeof(later));
	assert_memory_equal(first, later, sizeof(first));
	offset = 8L * 3600 + 60;
	assert_ptr_equal(leaf_cache_get(cache, "a.example"), context);
	SSL_CTX_get_tlsext_ticket_keys(context, later, sizeof(later));
	assert_memory_not_equal(first, later, sizeof(first));
	assert_int_equal(a->signatures, 1); /* the same certificate */
	client_init(&client, a);
	for (int i = 0; i < 2; i++)
		assert_true(connect_to(&client, leaf_cache_get(cache, "a.example"), "a.example"));
	assert_true(client.resumed);
	client_free(&client);
	leaf_cache_free(cache);
	offset = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ticket_keys_rotate, setup, teardown),
		cmocka_unit_test_setup_teardown(handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(versions_and_protocols, setup, teardown),
		cmocka_unit_test_setup_teardown(tickets_stay_with_their_host, setup, teardown),
		cmocka_unit_test_setup_teardown(sessions_are_kept_while_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(least_recently_used_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(many_hosts, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(renewal, setup, teardown),
		cmocka_unit_test_setup_teardown(authority_near_its_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
