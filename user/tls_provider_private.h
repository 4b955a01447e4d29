/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TLS_PROVIDER_PRIVATE_H
#define TLS_PROVIDER_PRIVATE_H

#include <openssl/core.h>
#include <openssl/provider.h>
#include <stdbool.h>

#define TLS_PROVIDER_NAME "egress-bpf"
#define TLS_PROVIDER_PROPERTIES "provider=" TLS_PROVIDER_NAME

/* provider-kdf(7): TLS13-KDF with SHA-256 and SHA-384, all parameters given to derive. */
extern const OSSL_DISPATCH tls_provider_kdf[];

/* provider-cipher(7): AES-128-GCM and AES-256-GCM as libssl uses them, for TLS 1.2 and 1.3. False:
 * the library or the processor's instructions are not there. */
bool tls_provider_gcm_start(void);
/* Whether the processor has the instructions. */
bool tls_provider_gcm_wanted(void);
extern const OSSL_DISPATCH tls_provider_gcm128[], tls_provider_gcm256[];

/* provider-keymgmt(7) and provider-keyexch(7): X25519 of the provider `theirs`, OpenSSL's
 * "default", whose context must be that of the provider that offers it. False: the library is not
 * there. */
#define TLS_PROVIDER_X25519_NAMES "X25519:1.3.101.110"
#define TLS_PROVIDER_FUNCTIONS_MAX 32
bool tls_provider_x25519_start(const OSSL_PROVIDER *theirs);
extern OSSL_DISPATCH tls_provider_x25519_keys[TLS_PROVIDER_FUNCTIONS_MAX];
extern const OSSL_DISPATCH *tls_provider_x25519_exchange;

/* provider-mac(7), provider-keymgmt(7) and provider-signature(7): HMAC with SHA-256 and SHA-384, as
 * libssl has it in TLS 1.3 and for tickets. For contexts that face clients alone: others may need
 * other digests. */
extern const OSSL_DISPATCH tls_provider_hmac[], tls_provider_hmac_keys[],
	tls_provider_hmac_signature[];

/* provider-rand(7): OpenSSL's random numbers, taken ahead by the thread that starts it. Without
 * memory for it they are taken one by one. */
void tls_provider_random_start(void);
extern const OSSL_DISPATCH tls_provider_random[];
/* RAND_priv_bytes(3), taken ahead. False: it failed. */
bool tls_provider_random_private(unsigned char *ret, size_t length);

/* What the default context has of ours, for an operation of provider-base(7); NULL: nothing. */
const OSSL_ALGORITHM *tls_provider_query_operation(void *context, int operation, int *ret_no_cache);

/* provider-base(7), get_capabilities: what `of` says of TLS groups, of those whose keys are of one
 * of `kinds`, which end with NULL. */
int tls_provider_groups(const OSSL_PROVIDER *of, const char *const *kinds, const char *capability,
			OSSL_CALLBACK *take, void *argument);

/* Makes the library context of tls_provider_new_server(), once, with ours and those of the provider
 * `theirs`, OpenSSL's "default". Where it cannot be made, the default context serves. */
void tls_provider_clients_start(const OSSL_PROVIDER *theirs);
OSSL_LIB_CTX *tls_provider_clients(void); /* NULL: there is none */

#endif
