// SPDX-License-Identifier: BSD-2-Clause
/* What OpenSSL calls, called directly; whole handshakes are in test_leaf_cache.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "session_cache.h"

#define CAPACITY 5

struct server {
	struct session_cache *cache;
	SSL_CTX *context;
	SSL *ssl;
};

static int freed, freed_index;

static void count_free(void *parent, void *item, CRYPTO_EX_DATA *data, int index, long number,
		       void *argument)
{
	(void)parent, (void)data, (void)index, (void)number, (void)argument;
	freed += item != NULL;
}

static int setup(void **state)
{
	static struct server server;

	server.cache = session_cache_new(CAPACITY);
	server.context = SSL_CTX_new(TLS_server_method());
	assert_int_equal(session_cache_serve(server.cache, server.context), 1);
	SSL_CTX_set_options(server.context, SSL_OP_NO_TICKET);
	server.ssl = SSL_new(server.context);
	freed = 0;
	*state = &server;
	return server.cache && server.ssl ? 0 : -1;
}

static int teardown(void **state)
{
	struct server *server = *state;

	SSL_free(server->ssl);
	SSL_CTX_free(server->context);
	session_cache_free(server->cache);
	return 0;
}

/* Ids of one `chain` begin alike. */
static void make_id(unsigned char id[32], int number, int chain)
{
	memset(id, 0, 32);
	id[0] = (unsigned char)chain;
	id[31] = (unsigned char)number;
}

/* Whether it was taken; what was not is the caller's still. */
static int keep(struct server *server, int number, int chain, time_t since)
{
	SSL_SESSION *session = SSL_SESSION_new();
	unsigned char id[32];
	int taken;

	make_id(id, number, chain);
	assert_int_equal(SSL_SESSION_set1_id(session, id, sizeof(id)), 1);
	SSL_SESSION_set_time(session, (long)since);
	SSL_SESSION_set_timeout(session, 100);
	SSL_SESSION_set_ex_data(session, freed_index, server);
	taken = SSL_CTX_sess_get_new_cb(server->context)(server->ssl, session);
	if (!taken)
		SSL_SESSION_free(session);
	return taken;
}

static int has(struct server *server, int number, int chain)
{
	unsigned char id[32], found_id[32];
	unsigned int length = 0;
	int copy = 0;
	SSL_SESSION *found;

	make_id(id, number, chain);
	found = SSL_CTX_sess_get_get_cb(server->context)(server->ssl, id, sizeof(id), &copy);
	assert_int_equal(copy, 1);
	if (!found)
		return 0;
	memcpy(found_id, SSL_SESSION_get_id(found, &length), sizeof(found_id));
	assert_int_equal(length, sizeof(id));
	assert_memory_equal(found_id, id, sizeof(id));
	return 1;
}

static void oldest_goes(void **state)
{
	struct server *server = *state;
	const time_t now = time(NULL);

	/* In one chain, in two, and in one for each. */
	for (int chains = 1; chains <= 64; chains *= 8) {
		for (int i = 0; i < 50; i++) {
			assert_int_equal(keep(server, i, i % chains, now), 1);
			for (int k = 0; k <= i; k++)
				assert_int_equal(has(server, k, k % chains), i - k < CAPACITY);
			assert_false(has(server, i, 65));
		}
	}
	assert_int_equal(freed, 150 - CAPACITY);
	session_cache_free(server->cache);
	server->cache = NULL;
	assert_int_equal(freed, 150);
}

static void aged_go(void **state)
{
	struct server *server = *state;
	const time_t now = time(NULL);

	assert_int_equal(keep(server, 1, 0, now - 200), 1);
	assert_int_equal(keep(server, 2, 0, now - 150), 1);
	assert_int_equal(freed, 1); /* 1 was over when 2 came */
	assert_int_equal(keep(server, 3, 0, now), 1);
	assert_int_equal(freed, 2);
	assert_int_equal(keep(server, 4, 0, now), 1);
	assert_int_equal(freed, 2);
	assert_false(has(server, 2, 0));
	assert_true(has(server, 3, 0));
	assert_true(has(server, 4, 0));
}

/* A client's bytes: whatever it says. */
static void other_ids(void **state)
{
	struct server *server = *state;
	unsigned char id[32];
	int copy;

	assert_int_equal(keep(server, 0, 0, time(NULL)), 1);
	make_id(id, 0, 0);
	for (int length = -1; length < 32; length++)
		assert_null(
			SSL_CTX_sess_get_get_cb(server->context)(server->ssl, id, length, &copy));
	for (int length = 0; length < 32; length++) {
		SSL_SESSION *session = SSL_SESSION_new();

		SSL_SESSION_set1_id(session, id, (unsigned)length);
		assert_int_equal(SSL_CTX_sess_get_new_cb(server->context)(server->ssl, session), 0);
		SSL_SESSION_free(session);
	}
}

static void cleared(void **state)
{
	struct server *server = *state;

	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < CAPACITY - 1; i++)
			assert_int_equal(keep(server, i, i % 2, time(NULL)), 1);
		session_cache_clear(server->cache);
		assert_int_equal(freed, (turn + 1) * (CAPACITY - 1));
		for (int i = 0; i < CAPACITY; i++)
			assert_false(has(server, i, i % 2));
	}
}

static void sealed_are_not_kept(void **state)
{
	struct server *server = *state;

	assert_int_equal(keep(server, 1, 1, time(NULL)), 1);
	SSL_clear_options(server->ssl, SSL_OP_NO_TICKET);
	assert_int_equal(keep(server, 2, 1, time(NULL)), 0);
	assert_false(has(server, 1, 1));
	SSL_set_options(server->ssl, SSL_OP_NO_TICKET);
	assert_true(has(server, 1, 1));
	assert_false(has(server, 2, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(oldest_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(aged_go, setup, teardown),
		cmocka_unit_test_setup_teardown(other_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(cleared, setup, teardown),
		cmocka_unit_test_setup_teardown(sealed_are_not_kept, setup, teardown),
	};

	freed_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, count_free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
