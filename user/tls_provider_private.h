/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TLS_PROVIDER_PRIVATE_H
#define TLS_PROVIDER_PRIVATE_H

#include <openssl/core.h>
#include <openssl/provider.h>
#include <stdbool.h>

#define TLS_PROVIDER_NAME "egress-bpf"
#define TLS_PROVIDER_PROPERTIES "provider=" TLS_PROVIDER_NAME

/* provider-kdf(7): TLS13-KDF with SHA-256 and SHA-384, all parameters given to derive. False:
 * OpenSSL has no SHA-2. */
bool tls_provider_kdf_start(void);
extern const OSSL_DISPATCH tls_provider_kdf[];

/* provider-cipher(7): AES-128-GCM and AES-256-GCM as libssl uses them, for TLS 1.2 and 1.3. False:
 * the library or the processor's instructions are not there. */
bool tls_provider_gcm_start(void);
/* Whether the processor has the instructions. */
bool tls_provider_gcm_wanted(void);
extern const OSSL_DISPATCH tls_provider_gcm128[], tls_provider_gcm256[];

/* provider-keymgmt(7) and provider-keyexch(7): X25519 of the provider `theirs`, OpenSSL's "default", whose
 * context must be that of the provider that offers it. False: the library is not there. */
#define TLS_PROVIDER_X25519_NAMES "X25519:1.3.101.110"
#define TLS_PROVIDER_FUNCTIONS_MAX 32
bool tls_provider_x25519_start(const OSSL_PROVIDER *theirs);
extern OSSL_DISPATCH tls_provider_x25519_keys[TLS_PROVIDER_FUNCTIONS_MAX];
extern const OSSL_DISPATCH *tls_provider_x25519_exchange;

#endif
