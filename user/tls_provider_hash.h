/* SPDX-License-Identifier: BSD-2-Clause */
/* SHA-256 and SHA-384 without EVP, which makes, wipes and frees a context for each message, and
 * HMAC (RFC 2104) over them. The functions are those that EVP's provider calls itself. They are
 * deprecated; this serves OpenSSL 3.0 alone, which has them. */
#ifndef TLS_PROVIDER_HASH_H
#define TLS_PROVIDER_HASH_H

#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif

#include <openssl/core.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stddef.h>

#define HASH_MAX_BLOCK SHA512_CBLOCK
#define HASH_MAX SHA384_DIGEST_LENGTH

union hash {
	SHA256_CTX sha256;
	SHA512_CTX sha384;
};

struct digest {
	const char *name, *name2; /* as EVP_MD_get0_name() says, and as people do */
	size_t size, block;
	int (*begin)(union hash *hash);
	int (*add)(union hash *hash, const void *data, size_t length);
	int (*end)(union hash *hash, unsigned char *ret);
	unsigned char of_nothing[HASH_MAX + 1]; /* of a message without a byte */
};

/* Holds secrets: whoever has one wipes it. */
struct hmac {
	const struct digest *digest;
	union hash hash;
	unsigned char pad[HASH_MAX_BLOCK];
};

/* By the value of a parameter "digest". NULL: it is another. */
const struct digest *hash_find(const OSSL_PARAM *param);
/* The hash of one message, digest->size bytes. */
bool hash_of(const struct digest *digest, union hash *hash, const void *data, size_t length,
	     unsigned char ret[HASH_MAX]);

/* A key of any length. False: OpenSSL's functions fail, and there is no MAC. */
bool hmac_begin(struct hmac *hmac, const struct digest *digest, const void *key, size_t length);
bool hmac_add(struct hmac *hmac, const void *data, size_t length);
/* hmac->digest->size bytes; then the next begins with hmac_begin(). */
bool hmac_end(struct hmac *hmac, unsigned char ret[HASH_MAX]);

#endif
