// SPDX-License-Identifier: BSD-2-Clause
#include "ciphers.h"

#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

bool ciphers_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
	return getauxval(AT_HWCAP) & HWCAP_AES;
#else
	return false;
#endif
}

/* OpenSSL's own order begins with AES-256, four rounds more for nothing that anybody can break, and
 * most servers take what their client likes best. */
const char *ciphers_suites(void)
{
	return ciphers_aes() ? "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
			       "TLS_CHACHA20_POLY1305_SHA256"
			     : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
			       "TLS_AES_256_GCM_SHA384";
}
