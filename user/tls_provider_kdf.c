// SPDX-License-Identifier: BSD-2-Clause
/* The key schedule of TLS 1.3 (RFC 8446, 7.1): HKDF (RFC 5869). A handshake derives two dozen
 * secrets, and OpenSSL 3.0 looks up the digest, copies each input and makes nine contexts for every
 * one of them. Here inputs are read where they lie. */
#include "tls_provider_hash.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdint.h>
#include <string.h>

#include "tls_provider_private.h"

#define LABEL_MAX 255 /* RFC 8446, 7.1: HkdfLabel's label and context */
#define INFO_MAX (2 + 1 + LABEL_MAX + 1 + LABEL_MAX)

struct input {
	const unsigned char *data;
	size_t length;
};

struct inputs {
	int mode;
	const struct digest *digest;
	struct input key, salt, prefix, label, data;
};

/* ---- HKDF ----------------------------------------------------------------------------------- */

static bool mac_of(struct hmac *hmac, const struct digest *digest, struct input key,
		   const struct input *parts, size_t count, unsigned char ret[HASH_MAX])
{
	bool fine = hmac_begin(hmac, digest, key.data, key.length);

	for (size_t i = 0; fine && i < count; i++)
		fine = hmac_add(hmac, parts[i].data, parts[i].length);
	return fine && hmac_end(hmac, ret);
}

/* RFC 5869, 2.3. */
static bool expand(struct hmac *hmac, const struct digest *digest, struct input key,
		   struct input info, unsigned char *ret, size_t length)
{
	unsigned char block[HASH_MAX], number = 0;
	struct input parts[] = {{block, 0}, info, {&number, 1}};
	bool fine = length > 0 && length <= 255 * digest->size;

	while (fine && length > 0) {
		size_t n = length < digest->size ? length : digest->size;

		number++;
		fine = mac_of(hmac, digest, key, parts, 3, block);
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
static bool expand_label(struct hmac *hmac, const struct inputs *in, struct input key,
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
	return expand(hmac, in->digest, key, (struct input){info, (size_t)(at - info)}, ret,
		      length);
}

/* From one secret of the schedule to the next: Derive-Secret(salt, "derived", ""), then
 * HKDF-Extract. What is not given is as many zeros as the hash is long; without a salt there is
 * nothing to derive. */
static bool next_secret(struct hmac *hmac, const struct inputs *in, unsigned char *ret,
			size_t length)
{
	static const unsigned char zeros[HASH_MAX];
	const struct digest *digest = in->digest;
	struct input key = in->key, salt = {zeros, digest->size};
	unsigned char derived[HASH_MAX], secret[HASH_MAX];
	bool fine = length == digest->size;

	if (!key.data)
		key = (struct input){zeros, digest->size};
	if (in->salt.data) {
		fine = fine && expand_label(hmac, in, in->salt,
					    (struct input){digest->of_nothing, digest->size},
					    derived, digest->size);
		salt.data = derived;
	}
	fine = fine && mac_of(hmac, digest, salt, &key, 1, secret);
	if (fine)
		memcpy(ret, secret, length);
	OPENSSL_cleanse(derived, sizeof(derived));
	OPENSSL_cleanse(secret, sizeof(secret));
	return fine;
}

/* ---- parameters ----------------------------------------------------------------------------- */

/* By the first letter, since a derivation has up to seven: what is left takes one comparison each.
 */
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
			fine = (in.digest = hash_find(params)) != NULL;
		else
			fine = strcmp(params->key, OSSL_KDF_PARAM_PROPERTIES) == 0;
		if (!fine)
			return false;
	}
	*ret = in;
	return in.digest;
}

static bool derive_with(struct hmac *hmac, const struct inputs *in, unsigned char *ret,
			size_t length)
{
	if (in->mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
		return next_secret(hmac, in, ret, length);
	return in->mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && in->key.data &&
	       expand_label(hmac, in, in->key, in->data, ret, length);
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
	struct hmac hmac;
	struct inputs in;
	bool fine;

	(void)context;
	if (!read_params(params, &in))
		return 0;
	fine = derive_with(&hmac, &in, ret, length);
	OPENSSL_cleanse(&hmac, sizeof(hmac));
	return fine;
}

const OSSL_DISPATCH tls_provider_kdf[] = {
	{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))new_context},
	{OSSL_FUNC_KDF_FREECTX, (void (*)(void))free_context},
	{OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive},
	{0, NULL},
};
