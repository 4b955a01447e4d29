// SPDX-License-Identifier: BSD-2-Clause
/* The key schedule of TLS 1.3 (RFC 8446, 7.1): HKDF (RFC 5869) over OpenSSL's SHA-2. A handshake
 * derives two dozen secrets, and OpenSSL 3.0 looks up the digest, copies each input and makes nine
 * contexts for every one of them. Here inputs are read where they lie, and the hashes are those that
 * EVP's provider calls itself: EVP makes, wipes and frees a context for each of the 48 messages that
 * are hashed. They are deprecated; this file serves OpenSSL 3.0 alone, which has them. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "tls_provider_private.h"

#define MAX_BLOCK SHA512_CBLOCK
#define MAX_HASH SHA384_DIGEST_LENGTH
#define LABEL_MAX 255 /* RFC 8446, 7.1: HkdfLabel's label and context */
#define INFO_MAX (2 + 1 + LABEL_MAX + 1 + LABEL_MAX)

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
	unsigned char of_nothing[MAX_HASH];
};

struct input {
	const unsigned char *data;
	size_t length;
};

struct inputs {
	int mode;
	const struct digest *digest;
	struct input key, salt, prefix, label, data;
};

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

static struct digest digests[] = {
	{.name = "SHA2-256", .name2 = "SHA256", .size = SHA256_DIGEST_LENGTH, .block = SHA256_CBLOCK,
	 .begin = begin256, .add = add256, .end = end256},
	{.name = "SHA2-384", .name2 = "SHA384", .size = SHA384_DIGEST_LENGTH, .block = SHA512_CBLOCK,
	 .begin = begin384, .add = add384, .end = end384},
};
#define DIGEST_COUNT (sizeof(digests) / sizeof(digests[0]))

static bool digest_of(union hash *hash, const struct digest *digest, const struct input *parts,
		      size_t count, unsigned char *ret)
{
	bool fine = digest->begin(hash) == 1;

	for (size_t i = 0; fine && i < count; i++)
		fine = digest->add(hash, parts[i].data, parts[i].length) == 1;
	return fine && digest->end(hash, ret) == 1;
}

/* ---- HMAC and HKDF -------------------------------------------------------------------------- */

/* All of it, more than SHA-256 takes: the compiler knows the length then, and needs no loop. */
static void mask(unsigned char pad[MAX_BLOCK], unsigned char with)
{
	for (size_t i = 0; i < MAX_BLOCK; i++)
		pad[i] ^= with;
}

/* RFC 2104. Keys here are secrets of a hash's length or random bytes of a key exchange, but any
 * length is taken. */
static bool hmac(union hash *hash, const struct digest *digest, struct input key,
		 const struct input *parts, size_t count, unsigned char ret[MAX_HASH])
{
	unsigned char pad[MAX_BLOCK] = {0}, inner[MAX_HASH];
	const struct input outer[] = {{pad, digest->block}, {inner, digest->size}};
	bool fine = true;

	if (key.length > digest->block)
		fine = digest_of(hash, digest, &key, 1, pad);
	else if (key.length)
		memcpy(pad, key.data, key.length);
	mask(pad, 0x36);
	fine = fine && digest->begin(hash) == 1 && digest->add(hash, pad, digest->block) == 1;
	for (size_t i = 0; fine && i < count; i++)
		fine = digest->add(hash, parts[i].data, parts[i].length) == 1;
	fine = fine && digest->end(hash, inner) == 1;
	mask(pad, 0x36 ^ 0x5c);
	fine = fine && digest_of(hash, digest, outer, 2, ret);
	OPENSSL_cleanse(pad, sizeof(pad));
	OPENSSL_cleanse(inner, sizeof(inner));
	return fine;
}

/* RFC 5869, 2.3. */
static bool expand(union hash *hash, const struct digest *digest, struct input key,
		   struct input info, unsigned char *ret, size_t length)
{
	unsigned char block[MAX_HASH], number = 0;
	struct input parts[] = {{block, 0}, info, {&number, 1}};
	bool fine = length > 0 && length <= 255 * digest->size;

	while (fine && length > 0) {
		size_t n = length < digest->size ? length : digest->size;

		number++;
		fine = hmac(hash, digest, key, parts, 3, block);
		if (fine)
			memcpy(ret, block, n);
		parts[0].length = digest->size;
		ret += n;
		length -= n;
	}
	OPENSSL_cleanse(block, sizeof(block));
	return fine;
}

static unsigned char *put(unsigned char *at, struct input input)
{
	if (input.length)
		memcpy(at, input.data, input.length);
	return at + input.length;
}

/* HKDF-Expand-Label (RFC 8446, 7.1). */
static bool expand_label(union hash *hash, const struct inputs *in, struct input key,
			 struct input data, unsigned char *ret, size_t length)
{
	size_t label = in->prefix.length + in->label.length;
	unsigned char info[INFO_MAX], *at = info;

	if (label > LABEL_MAX || data.length > LABEL_MAX || length > UINT16_MAX)
		return false;
	*at++ = (unsigned char)(length >> 8);
	*at++ = (unsigned char)length;
	*at++ = (unsigned char)label;
	at = put(put(at, in->prefix), in->label);
	*at++ = (unsigned char)data.length;
	at = put(at, data);
	return expand(hash, in->digest, key, (struct input){info, (size_t)(at - info)}, ret,
		      length);
}

/* From one secret of the schedule to the next: Derive-Secret(salt, "derived", ""), then
 * HKDF-Extract. What is not given is as many zeros as the hash is long; without a salt there is
 * nothing to derive. */
static bool next_secret(union hash *hash, const struct inputs *in, unsigned char *ret,
			size_t length)
{
	static const unsigned char zeros[MAX_HASH];
	const struct digest *digest = in->digest;
	struct input key = in->key, salt = {zeros, digest->size};
	unsigned char derived[MAX_HASH], secret[MAX_HASH];
	bool fine = length == digest->size;

	if (!key.data)
		key = (struct input){zeros, digest->size};
	if (in->salt.data) {
		fine = fine && expand_label(hash, in, in->salt,
					    (struct input){digest->of_nothing, digest->size},
					    derived, digest->size);
		salt.data = derived;
	}
	fine = fine && hmac(hash, digest, salt, &key, 1, secret);
	if (fine)
		memcpy(ret, secret, length);
	OPENSSL_cleanse(derived, sizeof(derived));
	OPENSSL_cleanse(secret, sizeof(secret));
	return fine;
}

/* ---- parameters ----------------------------------------------------------------------------- */

static const struct digest *find_digest(const OSSL_PARAM *param)
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

/* By the first letter, since a derivation has up to seven: what is left takes one comparison each. */
static struct input *input_of(struct inputs *in, const char *name)
{
	switch (name[0]) {
	case 'k':
		return strcmp(name, OSSL_KDF_PARAM_KEY) == 0 ? &in->key : NULL;
	case 's':
		return strcmp(name, OSSL_KDF_PARAM_SALT) == 0 ? &in->salt : NULL;
	case 'p':
		return strcmp(name, OSSL_KDF_PARAM_PREFIX) == 0 ? &in->prefix : NULL;
	case 'l':
		return strcmp(name, OSSL_KDF_PARAM_LABEL) == 0 ? &in->label : NULL;
	case 'd':
		return strcmp(name, OSSL_KDF_PARAM_DATA) == 0 ? &in->data : NULL;
	default:
		return NULL;
	}
}

/* What it does not know is refused: a parameter that is ignored would make other secrets. The query
 * by which it was found itself comes along (OSSL_KDF_PARAM_PROPERTIES), and is not needed. */
static bool read_params(const OSSL_PARAM *params, struct inputs *ret)
{
	struct inputs in = {.mode = -1};

	for (; params && params->key; params++) {
		struct input *input = input_of(&in, params->key);
		bool fine = true;

		if (input)
			fine = OSSL_PARAM_get_octet_string_ptr(params, (const void **)&input->data,
							       &input->length) == 1;
		else if (strcmp(params->key, OSSL_KDF_PARAM_MODE) == 0)
			fine = OSSL_PARAM_get_int(params, &in.mode) == 1;
		else if (strcmp(params->key, OSSL_KDF_PARAM_DIGEST) == 0)
			fine = (in.digest = find_digest(params)) != NULL;
		else
			fine = strcmp(params->key, OSSL_KDF_PARAM_PROPERTIES) == 0;
		if (!fine)
			return false;
	}
	*ret = in;
	return in.digest;
}

static bool derive_with(union hash *hash, const struct inputs *in, unsigned char *ret,
			size_t length)
{
	if (in->mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
		return next_secret(hash, in, ret, length);
	return in->mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && in->key.data &&
	       expand_label(hash, in, in->key, in->data, ret, length);
}

/* ---- provider-kdf(7) ------------------------------------------------------------------------ */

/* The context keeps nothing: libssl gives all parameters with each derivation. */
static void *new_context(void *provider)
{
	return provider;
}

static void free_context(void *context)
{
	(void)context;
}

static int derive(void *context, unsigned char *ret, size_t length, const OSSL_PARAM params[])
{
	union hash hash;
	struct inputs in;
	bool fine;

	(void)context;
	if (!read_params(params, &in))
		return 0;
	fine = derive_with(&hash, &in, ret, length);
	OPENSSL_cleanse(&hash, sizeof(hash)); /* the last block that was hashed is a secret */
	return fine;
}

const OSSL_DISPATCH tls_provider_kdf[] = {
	{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))new_context},
	{OSSL_FUNC_KDF_FREECTX, (void (*)(void))free_context},
	{OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive},
	{0, NULL},
};

bool tls_provider_kdf_start(void)
{
	union hash hash;

	for (size_t i = 0; i < DIGEST_COUNT; i++)
		if (!digest_of(&hash, &digests[i], NULL, 0, digests[i].of_nothing))
			return false;
	return true;
}
