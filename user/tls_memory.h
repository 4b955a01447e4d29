/* SPDX-License-Identifier: BSD-2-Clause */
/* Where OpenSSL's memory comes from. */
#ifndef TLS_MEMORY_H
#define TLS_MEMORY_H

#include "attributes.h"

/* The record buffers that connections give back when they rest (SSL_MODE_RELEASE_BUFFERS) are kept for
 * the next one that wakes, by the thread of bytes_own_thread(). Before anything else of OpenSSL's is
 * called. -1: too late. */
int tls_memory_keep(void) WARN_UNUSED;

#endif
