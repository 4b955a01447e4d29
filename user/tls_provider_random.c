// SPDX-License-Identifier: BSD-2-Clause
/* Random numbers for the contexts that face clients: those of OpenSSL's generators in the default
 * context, taken 512 bytes at a time by the thread that serves clients. A handshake asks four times
 * for 4 to 32 bytes, and each time OpenSSL runs its generator and asks the kernel whether the
 * process has forked. What waits here tells no more to who could read it than the generator's
 * state, which foretells all that it will ever say; it is wiped as it is taken, and a child that is
 * forked finds nothing. */
#include <limits.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/mman.h>

#include "tls_provider_private.h"

#define STRENGTH 256

/* OpenSSL has two generators: one for what everybody gets to see, one for what nobody may. */
struct store {
	size_t left; /* at the end of `bytes` */
	unsigned char bytes[512];
};

struct stores {
	struct store public, private;
};

static struct stores *stores; /* in pages of their own, which the kernel wipes in a child */
static _Thread_local bool own;

void tls_provider_random_start(void)
{
	void *pages = mmap(NULL, sizeof(struct stores), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return;
	if (madvise(pages, sizeof(struct stores), MADV_WIPEONFORK) < 0 ||
	    madvise(pages, sizeof(struct stores), MADV_DONTDUMP) < 0) {
		(void)munmap(pages, sizeof(struct stores));
		return;
	}
	stores = pages;
	own = true;
}

static bool take(struct store *store, int (*fill)(unsigned char *ret, int length),
		 unsigned char *ret, size_t length)
{
	unsigned char *at;

	if (!store || length > sizeof(store->bytes))
		return length <= INT_MAX && fill(ret, (int)length) == 1;
	if (store->left < length) {
		store->left = 0;
		if (fill(store->bytes, sizeof(store->bytes)) != 1)
			return false;
		store->left = sizeof(store->bytes);
	}
	at = store->bytes + sizeof(store->bytes) - store->left;
	memcpy(ret, at, length);
	OPENSSL_cleanse(at, length);
	store->left -= length;
	return true;
}

bool tls_provider_random_private(unsigned char *ret, size_t length)
{
	return take(own ? &stores->private : NULL, RAND_priv_bytes, ret, length);
}

static bool public(unsigned char *ret, size_t length)
{
	return take(own ? &stores->public : NULL, RAND_bytes, ret, length);
}

/* ---- provider-rand(7) ----------------------------------------------------------------------- */

static void *new_context(void *provider, void *parent, const OSSL_DISPATCH *parent_calls)
{
	(void)parent, (void)parent_calls;
	return provider;
}

static void free_context(void *context)
{
	(void)context;
}

static int instantiate(void *context, unsigned int strength, int prediction_resistance,
		       const unsigned char *text, size_t length, const OSSL_PARAM params[])
{
	(void)context, (void)prediction_resistance, (void)text, (void)length, (void)params;
	return strength <= STRENGTH;
}

static int uninstantiate(void *context)
{
	(void)context;
	return 1;
}

/* A reseed is the generator's in the default context to make, by its own rules. */
static int generate(void *context, unsigned char *ret, size_t length, unsigned int strength,
		    int prediction_resistance, const unsigned char *additional,
		    size_t additional_length)
{
	(void)context, (void)prediction_resistance, (void)additional, (void)additional_length;
	return strength <= STRENGTH && public(ret, length);
}

static int get_params(void *context, OSSL_PARAM params[])
{
	bool fine = true;

	(void)context;
	for (; fine && params && params->key; params++) {
		if (strcmp(params->key, OSSL_RAND_PARAM_MAX_REQUEST) == 0)
			fine = OSSL_PARAM_set_size_t(params, 1 << 16) == 1;
		else if (strcmp(params->key, OSSL_RAND_PARAM_STRENGTH) == 0)
			fine = OSSL_PARAM_set_uint(params, STRENGTH) == 1;
		else if (strcmp(params->key, OSSL_RAND_PARAM_STATE) == 0)
			fine = OSSL_PARAM_set_int(params, EVP_RAND_STATE_READY) == 1;
	}
	return fine;
}

static int lock(void *context)
{
	(void)context;
	return 1;
}

static void unlock(void *context)
{
	(void)context;
}

const OSSL_DISPATCH tls_provider_random[] = {
	{OSSL_FUNC_RAND_NEWCTX, (void (*)(void))new_context},
	{OSSL_FUNC_RAND_FREECTX, (void (*)(void))free_context},
	{OSSL_FUNC_RAND_INSTANTIATE, (void (*)(void))instantiate},
	{OSSL_FUNC_RAND_UNINSTANTIATE, (void (*)(void))uninstantiate},
	{OSSL_FUNC_RAND_GENERATE, (void (*)(void))generate},
	{OSSL_FUNC_RAND_GET_CTX_PARAMS, (void (*)(void))get_params},
	{OSSL_FUNC_RAND_ENABLE_LOCKING, (void (*)(void))lock},
	{OSSL_FUNC_RAND_LOCK, (void (*)(void))lock},
	{OSSL_FUNC_RAND_UNLOCK, (void (*)(void))unlock},
	{0, NULL},
};
