// SPDX-License-Identifier: BSD-2-Clause
/* Each record that comes or goes takes a buffer of 16 KiB and some from malloc(3) and gives it back.
 * Of that size glibc keeps none: it cuts and merges blocks each time, which was a tenth of what a
 * request cost us outside of the kernel. */
#include "tls_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "bytes.h"

/* RFC 8446, 5.2, with what OpenSSL adds. */
#define RECORD_MIN (16 * 1024)
#define RECORD_MAX (18 * 1024)

static void *take(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return size > RECORD_MIN && size <= RECORD_MAX ? bytes_block(RECORD_MAX) : malloc(size);
}

static void *resize(void *block, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return realloc(block, size);
}

/* OpenSSL does not say the size. malloc(3) does, and gives a few bytes more than it is asked for. */
static void give(void *block, const char *file, int line)
{
	size_t size = malloc_usable_size(block);

	(void)file, (void)line;
	if (size >= RECORD_MAX && size < RECORD_MAX + 64)
		bytes_block_free(block, RECORD_MAX);
	else
		free(block);
}

int tls_memory_keep(void)
{
	return CRYPTO_set_mem_functions(take, resize, give) == 1 ? 0 : -1;
}
