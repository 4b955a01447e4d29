// SPDX-License-Identifier: BSD-2-Clause
/* HMAC in its three roles: libssl takes the MAC for a Finished of TLS 1.3, and a key that "signs"
 * for the binder of a ticket, which in OpenSSL 3.0 is a MAC within a MAC, with a look-up for each.
 */
#include "tls_provider_hash.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <string.h>

#include "tls_provider_private.h"

/* ---- provider-mac(7) ------------------------------------------------------------------------ */

struct mac {
	const struct digest *digest; /* of the next */
	bool begun;
	struct hmac hmac;
};

static void *mac_new(void *provider)
{
	(void)provider;
	return OPENSSL_zalloc(sizeof(struct mac));
}

static void *mac_copy(void *context)
{
	struct mac *copy = OPENSSL_malloc(sizeof(*copy));

	if (copy)
		memcpy(copy, context, sizeof(*copy));
	return copy;
}

static void mac_free(void *context)
{
	OPENSSL_clear_free(context, sizeof(struct mac));
}

/* What it does not know is refused: a parameter that is ignored would make another MAC. */
static int mac_set_params(void *context, const OSSL_PARAM params[])
{
	struct mac *mac = context;

	for (; params && params->key; params++) {
		if (strcmp(params->key, OSSL_MAC_PARAM_DIGEST) == 0) {
			mac->digest = hash_find(params);
			if (!mac->digest)
				return 0;
		} else if (strcmp(params->key, OSSL_MAC_PARAM_PROPERTIES) != 0) {
			return 0;
		}
	}
	return 1;
}

static const OSSL_PARAM *mac_settable_params(void *context, void *provider)
{
	static const OSSL_PARAM settable[] = {
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_PROPERTIES, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context, (void)provider;
	return settable;
}

static int mac_get_params(void *context, OSSL_PARAM params[])
{
	const struct mac *mac = context;
	OSSL_PARAM *size = OSSL_PARAM_locate(params, OSSL_MAC_PARAM_SIZE);

	return !size || (mac->digest && OSSL_PARAM_set_size_t(size, mac->digest->size) == 1);
}

/* Always with a key: to go on with the last one would mean to keep it. */
static int mac_begin(void *context, const unsigned char *key, size_t length,
		     const OSSL_PARAM params[])
{
	struct mac *mac = context;

	mac->begun = mac_set_params(mac, params) && mac->digest && key &&
		     hmac_begin(&mac->hmac, mac->digest, key, length);
	return mac->begun;
}

static int mac_add(void *context, const unsigned char *data, size_t length)
{
	struct mac *mac = context;

	return mac->begun && (!length || hmac_add(&mac->hmac, data, length));
}

static int mac_end(void *context, unsigned char *ret, size_t *ret_length, size_t size)
{
	struct mac *mac = context;
	bool fine = mac->begun && size >= mac->hmac.digest->size && hmac_end(&mac->hmac, ret);

	mac->begun = false;
	if (fine)
		*ret_length = mac->hmac.digest->size;
	return fine;
}

const OSSL_DISPATCH tls_provider_hmac[] = {
	{OSSL_FUNC_MAC_NEWCTX, (void (*)(void))mac_new},
	{OSSL_FUNC_MAC_DUPCTX, (void (*)(void))mac_copy},
	{OSSL_FUNC_MAC_FREECTX, (void (*)(void))mac_free},
	{OSSL_FUNC_MAC_SET_CTX_PARAMS, (void (*)(void))mac_set_params},
	{OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS, (void (*)(void))mac_settable_params},
	{OSSL_FUNC_MAC_GET_CTX_PARAMS, (void (*)(void))mac_get_params},
	{OSSL_FUNC_MAC_INIT, (void (*)(void))mac_begin},
	{OSSL_FUNC_MAC_UPDATE, (void (*)(void))mac_add},
	{OSSL_FUNC_MAC_FINAL, (void (*)(void))mac_end},
	{0, NULL},
};

/* ---- provider-keymgmt(7) -------------------------------------------------------------------- */

/* As long as a secret of the schedule at the most. */
struct key {
	size_t length; /* 0: none yet */
	unsigned char bytes[HASH_MAX];
};

static void *key_new(void *provider)
{
	(void)provider;
	return OPENSSL_zalloc(sizeof(struct key));
}

static void key_free(void *key)
{
	OPENSSL_clear_free(key, sizeof(struct key));
}

static int key_has(const void *context, int selection)
{
	const struct key *key = context;

	return !(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || key->length > 0;
}

static int key_import(void *context, int selection, const OSSL_PARAM params[])
{
	struct key *key = context;
	const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PRIV_KEY);
	const void *bytes;
	size_t length;

	if (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || !param ||
	    OSSL_PARAM_get_octet_string_ptr(param, &bytes, &length) != 1 || !length ||
	    length > sizeof(key->bytes))
		return 0;
	memcpy(key->bytes, bytes, length);
	key->length = length;
	return 1;
}

static const OSSL_PARAM *key_types(int selection)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_PROPERTIES, NULL, 0),
		OSSL_PARAM_END,
	};

	return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? types : NULL;
}

const OSSL_DISPATCH tls_provider_hmac_keys[] = {
	{OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))key_new},
	{OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free},
	{OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has},
	{OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import},
	{OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_types},
	{0, NULL},
};

/* ---- provider-signature(7) ------------------------------------------------------------------ */

static void *sign_new(void *provider, const char *properties)
{
	(void)properties;
	return mac_new(provider);
}

static int sign_begin(void *context, const char *digest, void *key_context,
		      const OSSL_PARAM params[])
{
	const struct key *key = key_context;
	const OSSL_PARAM name[] = {
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
		OSSL_PARAM_END,
	};

	return key && key->length && digest && mac_set_params(context, params) &&
	       mac_begin(context, key->bytes, key->length, name);
}

/* Without a buffer it is asked how long one must be. */
static int sign_end(void *context, unsigned char *ret, size_t *ret_length, size_t size)
{
	const struct mac *mac = context;

	if (ret)
		return mac_end(context, ret, ret_length, size);
	if (!mac->begun)
		return 0;
	*ret_length = mac->hmac.digest->size;
	return 1;
}

const OSSL_DISPATCH tls_provider_hmac_signature[] = {
	{OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))sign_new},
	{OSSL_FUNC_SIGNATURE_DUPCTX, (void (*)(void))mac_copy},
	{OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))mac_free},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))sign_begin},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))mac_add},
	{OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))sign_end},
	{0, NULL},
};
