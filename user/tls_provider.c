// SPDX-License-Identifier: BSD-2-Clause
#include "tls_provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "tls_provider_private.h"

/* The names by which OpenSSL's own provider has them: a look-up finds both under one number. */
#define GCM128_NAMES "AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6"
#define GCM256_NAMES "AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46"

static const OSSL_ALGORITHM kdfs[] = {
	{"TLS13-KDF", TLS_PROVIDER_PROPERTIES, tls_provider_kdf, NULL},
	{0},
};

static const OSSL_ALGORITHM ciphers[] = {
	{GCM128_NAMES, TLS_PROVIDER_PROPERTIES, tls_provider_gcm128, NULL},
	{GCM256_NAMES, TLS_PROVIDER_PROPERTIES, tls_provider_gcm256, NULL},
	{0},
};

static const OSSL_ALGORITHM keys[] = {
	{TLS_PROVIDER_X25519_NAMES, TLS_PROVIDER_PROPERTIES, tls_provider_x25519_keys, NULL},
	{0},
};

static OSSL_ALGORITHM exchanges[] = {
	{TLS_PROVIDER_X25519_NAMES, TLS_PROVIDER_PROPERTIES, NULL, NULL},
	{0},
};

static bool have_gcm, have_x25519;
static OSSL_PROVIDER *theirs, *loaded; /* for the life of the process */

const OSSL_ALGORITHM *tls_provider_query_operation(void *context, int operation, int *ret_no_cache)
{
	(void)context;
	*ret_no_cache = 0;
	switch (operation) {
	case OSSL_OP_KDF:
		return kdfs;
	case OSSL_OP_CIPHER:
		return have_gcm ? ciphers : NULL;
	case OSSL_OP_KEYMGMT:
		return have_x25519 ? keys : NULL;
	case OSSL_OP_KEYEXCH:
		return have_x25519 ? exchanges : NULL;
	default:
		return NULL;
	}
}

struct groups {
	const char *const *kinds;
	OSSL_CALLBACK *take;
	void *argument;
};

static int take_group(const OSSL_PARAM params[], void *argument)
{
	const struct groups *groups = argument;
	const OSSL_PARAM *algorithm =
		OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_ALG);
	const char *const *kind = groups->kinds, *name;

	if (!algorithm || OSSL_PARAM_get_utf8_string_ptr(algorithm, &name) != 1)
		return 1;
	while (*kind && strcmp(*kind, name) != 0)
		kind++;
	return *kind ? groups->take(params, groups->argument) : 1;
}

int tls_provider_groups(const OSSL_PROVIDER *of, const char *const *kinds, const char *capability,
			OSSL_CALLBACK *take, void *argument)
{
	struct groups groups = {kinds, take, argument};

	if (strcasecmp(capability, "TLS-GROUP") != 0)
		return 1;
	return OSSL_PROVIDER_get_capabilities(of, capability, take_group, &groups);
}

/* libssl takes a group only from the provider whose keys it is given for it: X25519 is ours, with
 * what OpenSSL says of it. */
static int get_capabilities(void *context, const char *capability, OSSL_CALLBACK *take,
			    void *argument)
{
	static const char *const kinds[] = {"X25519", NULL};

	(void)context;
	return have_x25519 ? tls_provider_groups(theirs, kinds, capability, take, argument) : 1;
}

/* With the context of OpenSSL's own, whose functions some of ours are. */
static int start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **ret,
		 void **ret_context)
{
	static const OSSL_DISPATCH functions[] = {
		{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))tls_provider_query_operation},
		{OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities},
		{0, NULL},
	};

	(void)handle, (void)in;
	*ret = functions;
	*ret_context = OSSL_PROVIDER_get0_provider_ctx(theirs);
	return *ret_context != NULL;
}

/* Not where the administrator's openssl.cnf wants others than "default": the FIPS provider, say. It
 * is read first: asked before that, OpenSSL makes "default" available for want of any other. */
bool tls_provider_load(void)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) != 1)
		return false;
	if (loaded || OpenSSL_version_num() >= 0x30100000L ||
	    !OSSL_PROVIDER_available(NULL, "default"))
		return true;
	theirs = OSSL_PROVIDER_try_load(NULL, "default", 1);
	if (!theirs)
		return true;
	have_gcm = tls_provider_gcm_start();
	have_x25519 = tls_provider_x25519_start(theirs);
	exchanges[0].implementation = tls_provider_x25519_exchange;
	if (OSSL_PROVIDER_add_builtin(NULL, TLS_PROVIDER_NAME, start) == 1)
		loaded = OSSL_PROVIDER_try_load(NULL, TLS_PROVIDER_NAME, 1);
	if (loaded) {
		tls_provider_random_start();
		tls_provider_clients_start(theirs);
	}
	return true;
}

const char *tls_provider_query(void)
{
	return loaded ? "?" TLS_PROVIDER_PROPERTIES : NULL;
}

const char *tls_provider_describe(void)
{
	if (loaded && have_gcm)
		return "libipsec-mb's, by VAES; the rest OpenSSL's";
	return loaded && tls_provider_gcm_wanted()
		       ? "OpenSSL's; the package libipsec-mb1 would take a quarter of the time"
		       : "OpenSSL's";
}

const char *tls_provider_describe_x25519(void)
{
	if (loaded && have_x25519)
		return "a key is made by libsodium's; the rest OpenSSL's";
	return loaded ? "OpenSSL's; the package libsodium23 would make a key in half of the time"
		      : "OpenSSL's";
}
