// SPDX-License-Identifier: BSD-2-Clause
/* Leaves for the hosts that a bottle asks for, each minted once and kept. One key for all of them:
 * a fresh one would cost time and protect nothing, since they are all in this process. */
#include "cert_authority.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ciphers.h"
#include "session_cache.h"
#include "tickets.h"
#include "tls_provider.h"

/* A day of the week that a leaf lives: clients' clocks may run ahead. */
#define RENEW_SECONDS 86400 /* before the end */
#define RETRY_SECONDS 300   /* when a new leaf is short-lived too: its authority is about to end */
/* Some 1.2 KiB each, for all hosts: a thousand clients who resume in turns find theirs. */
#define SESSIONS_MAX 2048

struct leaf {
	char *host;
	uint64_t hash;
	SSL_CTX *context;
	time_t renew_at, rotate_at; /* certificate and context; ticket key alone */
	struct leaf *next;          /* in its bucket */
	struct leaf *newer, *older; /* by use; a ring through the cache's `ring` */
};

struct leaf_cache {
	leaf_sign_fn sign;
	void *context;
	X509 *issuer;
	EVP_PKEY *key;
	struct bytes public_key; /* SubjectPublicKeyInfo */
	struct tickets tickets;
	struct session_cache *sessions;
	bool (*alone)(void *context); /* NULL: never */
	void *alone_context;
	size_t capacity, count, bucket_count;
	struct leaf **buckets;
	struct leaf ring; /* .older is the newest, .newer the oldest */
};

/* ---- contexts ------------------------------------------------------------------------------- */

static const unsigned char protocols[] = "\x08http/1.1\x08http/1.0";

/* Clients that offer only what we do not speak are told so (RFC 7301, 3.2). */
static int select_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_length,
			   const unsigned char *offered, unsigned int offered_length, void *context)
{
	unsigned char *chosen;

	(void)ssl, (void)context;
	if (SSL_select_next_proto(&chosen, ret_length, protocols, sizeof(protocols) - 1, offered,
				  offered_length) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool set_ciphers(SSL_CTX *context)
{
	return SSL_CTX_set_ciphersuites(context, ciphers_suites()) == 1 &&
	       SSL_CTX_set_cipher_list(context,
				       ciphers_aes() ? "ECDHE-ECDSA-AES128-GCM-SHA256:"
						       "ECDHE-ECDSA-AES256-GCM-SHA384:"
						       "ECDHE-ECDSA-CHACHA20-POLY1305"
						     : "ECDHE-ECDSA-CHACHA20-POLY1305:"
						       "ECDHE-ECDSA-AES128-GCM-SHA256:"
						       "ECDHE-ECDSA-AES256-GCM-SHA384") == 1;
}

/* Tickets are sealed with keys of the host's own, and the id context is the host: what one
 * host's context issued resumes nowhere else. */
static bool set_sessions(const struct leaf_cache *cache, SSL_CTX *context, const char *host)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	return session_cache_serve(cache->sessions, context) == 1 &&
	       EVP_Digest(host, strlen(host), digest, &length, EVP_sha256(), NULL) == 1 &&
	       SSL_CTX_set_session_id_context(context, digest, length) == 1 &&
	       SSL_CTX_set_num_tickets(context, 1) == 1;
}

/* Sessions sealed with an older key get a full handshake. */
static bool set_tickets(struct leaf_cache *cache, const char *host, SSL_CTX *context,
			time_t *ret_rotate_at)
{
	unsigned char keys[TICKETS_KEYS_SIZE];
	bool fine;

	tickets_advance(&cache->tickets);
	fine = tickets_keys(&cache->tickets, host, keys) &&
	       SSL_CTX_set_tlsext_ticket_keys(context, keys, sizeof(keys)) == 1;
	OPENSSL_cleanse(keys, sizeof(keys));
	if (fine)
		*ret_rotate_at = cache->tickets.since + TICKETS_SECONDS;
	return fine;
}

/* In the order of what they cost us. The last is for clients that are set to it alone (CNSA):
 * TLS 1.3 does not want the leaf's own curve among theirs. */
static const char client_groups[] = "X25519:P-256:P-384";

static SSL_CTX *new_context(const struct leaf_cache *cache, const char *host, X509 *cert)
{
	SSL_CTX *context = tls_provider_new_server();

	if (!context)
		return NULL;
	SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_NO_COMPRESSION);
	/* The root itself has signed the leaf, and clients have the root: OpenSSL would look for
	 * a chain in each handshake. */
	SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_alpn_select_cb(context, select_protocol, NULL);
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 || !set_ciphers(context) ||
	    SSL_CTX_set1_groups_list(context, client_groups) != 1 ||
	    !set_sessions(cache, context, host) || SSL_CTX_use_certificate(context, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(context, cache->key) != 1) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

/* ---- minting -------------------------------------------------------------------------------- */

static X509 *parse_cert(struct span der)
{
	const unsigned char *at = (const unsigned char *)der.data;

	return d2i_X509(NULL, &at, (long)der.length);
}

/* A leaf that its authority clipped is tried again soon, not at each request. */
static time_t renewal_time(const X509 *cert)
{
	int days, seconds;
	time_t now = time(NULL), left;

	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1)
		return now;
	left = (time_t)days * 86400 + seconds;
	if (left > RENEW_SECONDS + RETRY_SECONDS)
		return now + left - RENEW_SECONDS;
	return now + (left < RETRY_SECONDS ? left : RETRY_SECONDS);
}

/* Gives the leaf a new certificate and context, or leaves it as it was. */
static bool mint(struct leaf_cache *cache, struct leaf *leaf)
{
	struct bytes der = {0};
	SSL_CTX *context = NULL;
	X509 *cert = NULL;

	if (cache->sign(cache->context, leaf->host, bytes_span(&cache->public_key), &der) == 0)
		cert = parse_cert(bytes_span(&der));
	/* From another authority it would be refused, by each client anew. */
	if (cert && X509_check_issued(cache->issuer, cert) == X509_V_OK)
		context = new_context(cache, leaf->host, cert);
	if (context && !set_tickets(cache, leaf->host, context, &leaf->rotate_at)) {
		SSL_CTX_free(context);
		context = NULL;
	}
	if (context) {
		SSL_CTX_free(leaf->context);
		leaf->context = context;
		leaf->renew_at = renewal_time(cert);
	}
	X509_free(cert);
	bytes_free(&der);
	ERR_clear_error();
	return context != NULL;
}

/* ---- the cache ------------------------------------------------------------------------------ */

static struct leaf **bucket(const struct leaf_cache *cache, uint64_t hash)
{
	return &cache->buckets[hash & (cache->bucket_count - 1)];
}

static struct leaf *find(const struct leaf_cache *cache, const char *host, uint64_t hash)
{
	for (struct leaf *leaf = *bucket(cache, hash); leaf; leaf = leaf->next)
		if (leaf->hash == hash && strcmp(leaf->host, host) == 0)
			return leaf;
	return NULL;
}

static void ring_remove(struct leaf *leaf)
{
	leaf->newer->older = leaf->older;
	leaf->older->newer = leaf->newer;
}

static void ring_add_newest(struct leaf_cache *cache, struct leaf *leaf)
{
	leaf->newer = &cache->ring;
	leaf->older = cache->ring.older;
	leaf->older->newer = leaf;
	cache->ring.older = leaf;
}

static void leaf_free(struct leaf *leaf)
{
	SSL_CTX_free(leaf->context);
	free(leaf->host);
	free(leaf);
}

static void drop(struct leaf_cache *cache, struct leaf *leaf)
{
	struct leaf **at = bucket(cache, leaf->hash);

	while (*at != leaf)
		at = &(*at)->next;
	*at = leaf->next;
	ring_remove(leaf);
	cache->count--;
	leaf_free(leaf);
}

/* Nothing is dropped before the new one is there. */
static struct leaf *add(struct leaf_cache *cache, const char *host, uint64_t hash)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	leaf->hash = hash;
	leaf->host = strdup(host);
	if (!leaf->host || !mint(cache, leaf)) {
		leaf_free(leaf);
		return NULL;
	}
	if (cache->count == cache->capacity)
		drop(cache, cache->ring.newer);
	leaf->next = *bucket(cache, hash);
	*bucket(cache, hash) = leaf;
	ring_add_newest(cache, leaf);
	cache->count++;
	return leaf;
}

/* A leaf that cannot be renewed is not served past its time: the client would refuse it with worse
 * words. */
static struct leaf *get(struct leaf_cache *cache, const char *host)
{
	uint64_t hash = bytes_hash(host, strlen(host));
	struct leaf *leaf = find(cache, host, hash);

	if (!leaf)
		return add(cache, host, hash);
	if (time(NULL) >= leaf->renew_at && !mint(cache, leaf))
		return NULL;
	if (time(NULL) >= leaf->rotate_at)
		(void)set_tickets(cache, leaf->host, leaf->context, &leaf->rotate_at);
	ring_remove(leaf);
	ring_add_newest(cache, leaf);
	return leaf;
}

SSL_CTX *leaf_cache_get(struct leaf_cache *cache, const char *host)
{
	struct leaf *leaf = get(cache, host);

	if (!leaf)
		return NULL;
	/* Connections have the options that their context has when they are made. */
	if (cache->alone && cache->alone(cache->alone_context)) {
		SSL_CTX_set_options(leaf->context, SSL_OP_NO_TICKET);
	} else {
		SSL_CTX_clear_options(leaf->context, SSL_OP_NO_TICKET);
		session_cache_clear(cache->sessions);
	}
	return leaf->context;
}

static bool make_key(struct leaf_cache *cache)
{
	unsigned char *der = NULL;
	int length;
	bool ok;

	cache->key = EVP_EC_gen("P-256");
	length = cache->key ? i2d_PUBKEY(cache->key, &der) : -1;
	ok = length > 0 && bytes_append(&cache->public_key, der, (size_t)length);
	OPENSSL_free(der);
	return ok;
}

struct leaf_cache *leaf_cache_new(leaf_sign_fn sign, void *context, struct span ca_der,
				  size_t capacity)
{
	struct leaf_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->sign = sign;
	cache->context = context;
	cache->capacity = capacity ? capacity : 1;
	cache->ring.newer = cache->ring.older = &cache->ring;
	for (cache->bucket_count = 16; cache->bucket_count < cache->capacity;)
		cache->bucket_count *= 2;
	cache->buckets = calloc(cache->bucket_count, sizeof(struct leaf *));
	cache->issuer = parse_cert(ca_der);
	cache->sessions = session_cache_new(SESSIONS_MAX);
	if (!cache->buckets || !cache->issuer || !cache->sessions || !make_key(cache) ||
	    !tickets_new(&cache->tickets)) {
		leaf_cache_free(cache);
		return NULL;
	}
	return cache;
}

void leaf_cache_set_tickets(struct leaf_cache *cache, const struct tickets *tickets)
{
	cache->tickets = *tickets;
}

void leaf_cache_set_alone(struct leaf_cache *cache, bool (*alone)(void *context), void *context)
{
	cache->alone = alone;
	cache->alone_context = context;
}

void leaf_cache_free(struct leaf_cache *cache)
{
	struct leaf *older;

	if (!cache)
		return;
	for (struct leaf *leaf = cache->ring.older; leaf != &cache->ring; leaf = older) {
		older = leaf->older;
		leaf_free(leaf);
	}
	X509_free(cache->issuer);
	EVP_PKEY_free(cache->key);
	bytes_free(&cache->public_key);
	OPENSSL_cleanse(&cache->tickets, sizeof(cache->tickets));
	session_cache_free(cache->sessions);
	free(cache->buckets);
	free(cache);
}
