// SPDX-License-Identifier: BSD-2-Clause
#include "tls_provider_hash.h"

#include <openssl/crypto.h>
#include <openssl/params.h>
#include <string.h>
#include <strings.h>

/* ---- SHA-2 ---------------------------------------------------------------------------------- */

static int begin256(union hash *hash)
{
	return SHA256_Init(&hash->sha256);
}

static int add256(union hash *hash, const void *data, size_t length)
{
	return SHA256_Update(&hash->sha256, data, length);
}

static int end256(union hash *hash, unsigned char *ret)
{
	return SHA256_Final(ret, &hash->sha256);
}

static int begin384(union hash *hash)
{
	return SHA384_Init(&hash->sha384);
}

static int add384(union hash *hash, const void *data, size_t length)
{
	return SHA384_Update(&hash->sha384, data, length);
}

static int end384(union hash *hash, unsigned char *ret)
{
	return SHA384_Final(ret, &hash->sha384);
}

static const struct digest digests[] = {
	{.name = "SHA2-256",
	 .name2 = "SHA256",
	 .size = SHA256_DIGEST_LENGTH,
	 .block = SHA256_CBLOCK,
	 .begin = begin256,
	 .add = add256,
	 .end = end256,
	 .of_nothing = "\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24"
		       "\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55"},
	{.name = "SHA2-384",
	 .name2 = "SHA384",
	 .size = SHA384_DIGEST_LENGTH,
	 .block = SHA512_CBLOCK,
	 .begin = begin384,
	 .add = add384,
	 .end = end384,
	 .of_nothing = "\x38\xb0\x60\xa7\x51\xac\x96\x38\x4c\xd9\x32\x7e\xb1\xb1\xe3\x6a"
		       "\x21\xfd\xb7\x11\x14\xbe\x07\x43\x4c\x0c\xc7\xbf\x63\xf6\xe1\xda"
		       "\x27\x4e\xde\xbf\xe7\x6f\x65\xfb\xd5\x1a\xd2\xf1\x48\x98\xb9\x5b"},
};
#define DIGEST_COUNT (sizeof(digests) / sizeof(digests[0]))

const struct digest *hash_find(const OSSL_PARAM *param)
{
	const char *name;

	if (OSSL_PARAM_get_utf8_string_ptr(param, &name) != 1 || !name)
		return NULL;
	for (size_t i = 0; i < DIGEST_COUNT; i++)
		if (strcasecmp(name, digests[i].name) == 0 ||
		    strcasecmp(name, digests[i].name2) == 0)
			return &digests[i];
	return NULL;
}

bool hash_of(const struct digest *digest, union hash *hash, const void *data, size_t length,
	     unsigned char ret[HASH_MAX])
{
	return digest->begin(hash) == 1 && digest->add(hash, data, length) == 1 &&
	       digest->end(hash, ret) == 1;
}

/* ---- HMAC (RFC 2104) ------------------------------------------------------------------------ */

/* All of it, more than SHA-256 takes: the compiler knows the length then, and needs no loop. */
static void mask(unsigned char pad[HASH_MAX_BLOCK], unsigned char with)
{
	for (size_t i = 0; i < HASH_MAX_BLOCK; i++)
		pad[i] ^= with;
}

bool hmac_begin(struct hmac *hmac, const struct digest *digest, const void *key, size_t length)
{
	bool fine = true;

	hmac->digest = digest;
	memset(hmac->pad, 0, HASH_MAX_BLOCK);
	if (length > digest->block)
		fine = hash_of(digest, &hmac->hash, key, length, hmac->pad);
	else if (length)
		memcpy(hmac->pad, key, length);
	mask(hmac->pad, 0x36);
	return fine && digest->begin(&hmac->hash) == 1 && hmac_add(hmac, hmac->pad, digest->block);
}

bool hmac_add(struct hmac *hmac, const void *data, size_t length)
{
	return hmac->digest->add(&hmac->hash, data, length) == 1;
}

bool hmac_end(struct hmac *hmac, unsigned char ret[HASH_MAX])
{
	const struct digest *digest = hmac->digest;
	unsigned char inner[HASH_MAX];
	bool fine = digest->end(&hmac->hash, inner) == 1;

	mask(hmac->pad, 0x36 ^ 0x5c);
	fine = fine && digest->begin(&hmac->hash) == 1 &&
	       hmac_add(hmac, hmac->pad, digest->block) && hmac_add(hmac, inner, digest->size) &&
	       digest->end(&hmac->hash, ret) == 1;
	OPENSSL_cleanse(inner, sizeof(inner));
	return fine;
}
