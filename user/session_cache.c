// SPDX-License-Identifier: BSD-2-Clause
/* A ring in the order of arrival and a table of chains over it, by places of 16 bits: OpenSSL's own
 * cache is one for each context, of which there is one for each host, and would have no bound for
 * all. */
#include "session_cache.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NO_PLACE UINT16_MAX
#define ID_SIZE 32 /* as OpenSSL makes them, at random */

/* The id stands here, too: OpenSSL may change the session's own while somebody uses it. */
struct place {
	SSL_SESSION *session;
	unsigned char id[ID_SIZE];
	uint16_t next; /* in its chain */
};

struct session_cache {
	size_t capacity, count, oldest, chain_count; /* the last a power of two */
	struct place *places;
	uint16_t *chains;
};

static uint16_t *chain_of(const struct session_cache *cache, const unsigned char *id)
{
	uint32_t start;

	memcpy(&start, id, sizeof(start));
	return &cache->chains[start & (cache->chain_count - 1)];
}

static void forget_oldest(struct session_cache *cache)
{
	struct place *place = &cache->places[cache->oldest];
	uint16_t *at = chain_of(cache, place->id);

	while (*at != cache->oldest)
		at = &cache->places[*at].next;
	*at = place->next;
	SSL_SESSION_free(place->session); /* wipes it */
	cache->oldest = (cache->oldest + 1) % cache->capacity;
	cache->count--;
}

/* Nobody can resume it, so that its secret need not be here. */
static bool is_over(const SSL_SESSION *session)
{
	return time(NULL) - SSL_SESSION_get_time(session) > SSL_SESSION_get_timeout(session);
}

/* Sessions of connections without it are sealed. */
static bool keeps(const SSL *ssl)
{
	return SSL_get_options(ssl) & SSL_OP_NO_TICKET;
}

/* SSL_CTX_sess_set_new_cb(3): 1 takes the reference. */
static int keep(SSL *ssl, SSL_SESSION *session)
{
	struct session_cache *cache = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	unsigned int length;
	const unsigned char *id = SSL_SESSION_get_id(session, &length);
	struct place *place;
	uint16_t *chain;

	if (!keeps(ssl) || length != ID_SIZE)
		return 0;
	while (cache->count > 0 &&
	       (cache->count == cache->capacity || is_over(cache->places[cache->oldest].session)))
		forget_oldest(cache);
	place = &cache->places[(cache->oldest + cache->count++) % cache->capacity];
	chain = chain_of(cache, id);
	place->session = session;
	memcpy(place->id, id, ID_SIZE);
	place->next = *chain;
	*chain = (uint16_t)(place - cache->places);
	return 1;
}

/* SSL_CTX_sess_set_get_cb(3): OpenSSL takes a reference of its own to what is returned, and looks
 * itself at its age, host and version. */
static SSL_SESSION *find(SSL *ssl, const unsigned char *id, int length, int *ret_copy)
{
	const struct session_cache *cache = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	*ret_copy = 1;
	if (!keeps(ssl) || length != ID_SIZE)
		return NULL;
	for (uint16_t at = *chain_of(cache, id); at != NO_PLACE; at = cache->places[at].next)
		if (memcmp(cache->places[at].id, id, ID_SIZE) == 0)
			return cache->places[at].session;
	return NULL;
}

struct session_cache *session_cache_new(size_t capacity)
{
	struct session_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->capacity = capacity;
	for (cache->chain_count = 1; cache->chain_count < capacity;)
		cache->chain_count *= 2;
	cache->places = calloc(capacity, sizeof(*cache->places));
	cache->chains = malloc(cache->chain_count * sizeof(*cache->chains));
	if (!cache->places || !cache->chains) {
		session_cache_free(cache);
		return NULL;
	}
	for (size_t i = 0; i < cache->chain_count; i++)
		cache->chains[i] = NO_PLACE;
	return cache;
}

int session_cache_serve(struct session_cache *cache, SSL_CTX *context)
{
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL |
							SSL_SESS_CACHE_NO_AUTO_CLEAR);
	SSL_CTX_sess_set_new_cb(context, keep);
	SSL_CTX_sess_set_get_cb(context, find);
	return SSL_CTX_set_app_data(context, cache);
}

void session_cache_clear(struct session_cache *cache)
{
	while (cache->count > 0)
		forget_oldest(cache);
}

void session_cache_free(struct session_cache *cache)
{
	if (!cache)
		return;
	session_cache_clear(cache);
	free(cache->places);
	free(cache->chains);
	free(cache);
}
