/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TLS_PROVIDER_PRIVATE_H
#define TLS_PROVIDER_PRIVATE_H

#include <openssl/core.h>
#include <stdbool.h>

#define TLS_PROVIDER_NAME "egress-bpf"
#define TLS_PROVIDER_PROPERTIES "provider=" TLS_PROVIDER_NAME

/* provider-kdf(7): TLS13-KDF with SHA-256 and SHA-384, all parameters given to derive. False: no
 * memory. */
bool tls_provider_kdf_start(void);
extern const OSSL_DISPATCH tls_provider_kdf[];

/* provider-cipher(7): AES-128-GCM and AES-256-GCM as libssl uses them, for TLS 1.2 and 1.3. False:
 * the library or the processor's instructions are not there. */
bool tls_provider_gcm_start(void);
/* Whether the processor has the instructions. */
bool tls_provider_gcm_wanted(void);
extern const OSSL_DISPATCH tls_provider_gcm128[], tls_provider_gcm256[];

#endif
