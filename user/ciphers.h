/* SPDX-License-Identifier: BSD-2-Clause */
/* Which cipher suites are preferred, towards clients and upstreams alike. */
#ifndef CIPHERS_H
#define CIPHERS_H

#include <stdbool.h>

/* Whether this processor computes AES by itself: then AES-GCM, else ChaCha20, which would leak
 * nothing by its timing. */
bool ciphers_aes(void);
/* What SSL_CTX_set_ciphersuites(3) takes: all three of TLS 1.3 that OpenSSL has on by default, the one
 * that costs least first. */
const char *ciphers_suites(void);

#endif
