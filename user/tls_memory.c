// SPDX-License-Identifier: BSD-2-Clause
/* Each record that comes or goes takes a buffer of 16 KiB and some from malloc(3) and gives it back.
 * Of that size glibc keeps none: it cuts and merges blocks each time, which was a tenth of what a
 * request cost us outside of the kernel. */
#include "tls_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/ssl3.h>
#include <stdint.h>
#include <stdlib.h>

#include "bytes.h"

/* Of the small ones an idle connection has many, and bytes_block() rounds up. */
#define LARGE SSL3_RT_MAX_PLAIN_LENGTH

static void *take(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return size > LARGE ? bytes_block(size) : malloc(size);
}

static void *resize(void *block, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return realloc(block, size);
}

/* OpenSSL does not say the size. malloc(3) does, from memory that it has to fetch first: a handshake frees
 * 1,200 blocks, and few of the small ones begin where a large one may. */
static void give(void *block, const char *file, int line)
{
	(void)file, (void)line;
	if ((uintptr_t)block % BYTES_RECORD_ALIGNED == 0 && malloc_usable_size(block) > LARGE)
		bytes_block_free(block);
	else
		free(block);
}

int tls_memory_keep(void)
{
	return CRYPTO_set_mem_functions(take, resize, give) == 1 ? 0 : -1;
}
