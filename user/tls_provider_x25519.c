// SPDX-License-Identifier: BSD-2-Clause
/* X25519 as OpenSSL's own provider has it, but for one step: the public half of a fresh key is
 * libsodium's multiplication of the base point, in half of OpenSSL 3.0's time. Keys are OpenSSL's
 * objects, and everything else that is done with them is OpenSSL's: random numbers, the secret
 * and the refusal of one that is all zero (RFC 7748, 6.1). The library is opened, not linked:
 * everything works without it. */
#include <dlfcn.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <strings.h>

#include "tls_provider_private.h"

#define LIBRARY "libsodium.so.23"
#define KEY 32

/* Constant in time: it reads each row of its table as a whole (ge25519_cmov8). Without
 * sodium_init(3), of which it needs nothing, having no state and no random numbers: 1.0.18 then
 * takes its ladder for AVX here, which is as slow as OpenSSL. */
static int (*multiply_base)(unsigned char *ret_public, const unsigned char *private);

static OSSL_FUNC_keymgmt_new_fn *new_key;
static OSSL_FUNC_keymgmt_free_fn *free_key;
static OSSL_FUNC_keymgmt_import_fn *import_key;
static void *default_context;

OSSL_DISPATCH tls_provider_x25519_keys[TLS_PROVIDER_FUNCTIONS_MAX];
const OSSL_DISPATCH *tls_provider_x25519_exchange;

/* ---- generating a key ----------------------------------------------------------------------- */

/* What is generated is all there is to know: these are the two contexts. */
static char whole_key, parameters;

static int set_params(void *context, const OSSL_PARAM params[])
{
	const OSSL_PARAM *group =
		params ? OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME) : NULL;
	const char *name;

	(void)context;
	return !group || (OSSL_PARAM_get_utf8_string_ptr(group, &name) == 1 && name &&
			  strcasecmp(name, "x25519") == 0);
}

static const OSSL_PARAM *settable_params(void *context, void *provider)
{
	static const OSSL_PARAM settable[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_PROPERTIES, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context, (void)provider;
	return settable;
}

static void *begin(void *provider, int selection, const OSSL_PARAM params[])
{
	(void)provider;
	if (!set_params(NULL, params))
		return NULL;
	return selection & OSSL_KEYMGMT_SELECT_KEYPAIR ? &whole_key : &parameters;
}

static void end(void *context)
{
	(void)context;
}

/* libsodium leaves the key's digits in its 1.3 KB of stack, where OpenSSL wipes its own. */
static __attribute__((noinline)) void wipe_stack(void)
{
	unsigned char below[4096];

	explicit_bzero(below, sizeof(below));
}

static bool fill(void *key)
{
	unsigned char private[KEY], public[KEY];
	OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, public, KEY),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PRIV_KEY, private, KEY),
		OSSL_PARAM_END,
	};
	bool fine = tls_provider_random_private(private, KEY);

	if (fine) {
		private[0] &= 248; /* RFC 7748, 5: decodeScalar25519 */
		private[KEY - 1] &= 127;
		private[KEY - 1] |= 64;
		fine = multiply_base(public, private) == 0;
		wipe_stack();
		fine = fine && import_key(key, OSSL_KEYMGMT_SELECT_KEYPAIR, params) == 1;
	}
	OPENSSL_cleanse(private, KEY);
	return fine;
}

static void *generate(void *context, OSSL_CALLBACK *progress, void *argument)
{
	void *key = new_key(default_context);

	(void)progress, (void)argument;
	if (!key || context == &parameters || fill(key))
		return key;
	free_key(key);
	return NULL;
}

/* ---- what is OpenSSL's ---------------------------------------------------------------------- */

static const OSSL_DISPATCH *functions_of(const OSSL_PROVIDER *provider, int operation)
{
	int no_cache;
	const OSSL_ALGORITHM *at = OSSL_PROVIDER_query_operation(provider, operation, &no_cache);

	for (; at && at->algorithm_names; at++)
		if (strcmp(at->algorithm_names, TLS_PROVIDER_X25519_NAMES) == 0)
			return at->implementation;
	return NULL;
}

static void (*ours_for(int function))(void)
{
	switch (function) {
	case OSSL_FUNC_KEYMGMT_GEN_INIT:
		return (void (*)(void))begin;
	case OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS:
		return (void (*)(void))set_params;
	case OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS:
		return (void (*)(void))settable_params;
	case OSSL_FUNC_KEYMGMT_GEN:
		return (void (*)(void))generate;
	case OSSL_FUNC_KEYMGMT_GEN_CLEANUP:
		return (void (*)(void))end;
	default:
		return NULL;
	}
}

/* All of theirs, with ours in place of those that generate. */
static bool make_table(const OSSL_DISPATCH *theirs)
{
	size_t count = 0, replaced = 0;

	for (; theirs && theirs->function_id && count < TLS_PROVIDER_FUNCTIONS_MAX - 1; theirs++) {
		void (*function)(void) = ours_for(theirs->function_id);

		if (theirs->function_id == OSSL_FUNC_KEYMGMT_NEW)
			new_key = OSSL_FUNC_keymgmt_new(theirs);
		else if (theirs->function_id == OSSL_FUNC_KEYMGMT_FREE)
			free_key = OSSL_FUNC_keymgmt_free(theirs);
		else if (theirs->function_id == OSSL_FUNC_KEYMGMT_IMPORT)
			import_key = OSSL_FUNC_keymgmt_import(theirs);
		replaced += function != NULL;
		tls_provider_x25519_keys[count++] = (OSSL_DISPATCH){
			theirs->function_id, function ? function : theirs->function};
	}
	return theirs && !theirs->function_id && replaced == 5 && new_key && free_key && import_key;
}

/* RFC 7748, 6.1. */
static bool is_right(void)
{
	static const unsigned char
		alice[] = "\x77\x07\x6d\x0a\x73\x18\xa5\x7d\x3c\x16\xc1\x72\x51\xb2\x66\x45"
			  "\xdf\x4c\x2f\x87\xeb\xc0\x99\x2a\xb1\x77\xfb\xa5\x1d\xb9\x2c\x2a",
		alice_public[] = "\x85\x20\xf0\x09\x89\x30\xa7\x54\x74\x8b\x7d\xdc\xb4\x3e\xf7\x5a"
				 "\x0d\xbf\x3a\x0d\x26\x38\x1a\xf4\xeb\xa4\xa9\x8e\xaa\x9b\x4e\x6a",
		bob[] = "\x5d\xab\x08\x7e\x62\x4a\x8a\x4b\x79\xe1\x7f\x8b\x83\x80\x0e\xe6"
			"\x6f\x3b\xb1\x29\x26\x18\xb6\xfd\x1c\x2f\x8b\x27\xff\x88\xe0\xeb",
		bob_public[] = "\xde\x9e\xdb\x7d\x7b\x7d\xc1\xb4\xd3\x5b\x61\xc2\xec\xe4\x35\x37"
			       "\x3f\x83\x43\xc8\x5b\x78\x67\x4d\xad\xfc\x7e\x14\x6f\x88\x2b\x4f";
	unsigned char public[KEY];

	return multiply_base(public, alice) == 0 && memcmp(public, alice_public, KEY) == 0 &&
	       multiply_base(public, bob) == 0 && memcmp(public, bob_public, KEY) == 0;
}

bool tls_provider_x25519_start(const OSSL_PROVIDER *theirs)
{
	void *library, *function;

	tls_provider_x25519_exchange = functions_of(theirs, OSSL_OP_KEYEXCH);
	default_context = OSSL_PROVIDER_get0_provider_ctx(theirs);
	if (!tls_provider_x25519_exchange || !make_table(functions_of(theirs, OSSL_OP_KEYMGMT)))
		return false;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return false;
	function = dlsym(library, "crypto_scalarmult_curve25519_base");
	memcpy(&multiply_base, &function, sizeof(function));
	if (function && is_right())
		return true;
	dlclose(library);
	return false;
}
