// SPDX-License-Identifier: BSD-2-Clause
#include "tls_provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <stddef.h>

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

static bool have_gcm;
static OSSL_PROVIDER *loaded; /* for the life of the process */

static const OSSL_ALGORITHM *query_operation(void *context, int operation, int *ret_no_cache)
{
	(void)context;
	*ret_no_cache = 0;
	if (operation == OSSL_OP_KDF)
		return kdfs;
	return operation == OSSL_OP_CIPHER && have_gcm ? ciphers : NULL;
}

static int start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **ret,
		 void **ret_context)
{
	static const OSSL_DISPATCH functions[] = {
		{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
		{0, NULL},
	};
	static char context; /* it may not be NULL */

	(void)handle, (void)in;
	*ret = functions;
	*ret_context = &context;
	return 1;
}

/* Not where the administrator's openssl.cnf wants others than "default": the FIPS provider, say. It
 * is read first: asked before that, OpenSSL makes "default" available for want of any other. */
void tls_provider_load(void)
{
	(void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	if (loaded || OpenSSL_version_num() >= 0x30100000L ||
	    !OSSL_PROVIDER_available(NULL, "default") || !tls_provider_kdf_start())
		return;
	have_gcm = tls_provider_gcm_start();
	if (OSSL_PROVIDER_add_builtin(NULL, TLS_PROVIDER_NAME, start) == 1)
		loaded = OSSL_PROVIDER_try_load(NULL, TLS_PROVIDER_NAME, 1);
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
