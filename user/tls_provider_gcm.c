// SPDX-License-Identifier: BSD-2-Clause
/* AES-GCM of libipsec-mb behind the interface of an OpenSSL cipher. VAES works on four blocks at a
 * time: a record of 16 KiB takes a quarter of what it takes OpenSSL 3.0. The library is opened when
 * a process wants it, not linked: it is 12 MB, for one processor family, and everything works
 * without it. */
#include "tls_provider_private.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#define LINUX /* the header aligns its types for it */

#include <cpuid.h>
#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libIPSec_MB.so.1"

enum {
	IV = 12,
	TAG = 16,
	FIXED_IV = EVP_GCM_TLS_FIXED_IV_LEN,
	EXPLICIT_IV = EVP_GCM_TLS_EXPLICIT_IV_LEN
};

/* For keys of 128 or 256 bits; their contracts are in the library's header, under IMB_MGR. */
struct functions {
	size_t key_length;
	aes_gcm_pre_t prepare;
	aes_gcm_init_t begin;
	aes_gcm_enc_dec_update_t encrypt, decrypt;
	aes_gcm_enc_dec_finalize_t encrypt_end, decrypt_end;
	aes_gcm_enc_dec_t seal, open;
};

static struct functions functions128, functions256;

enum state {
	NO_IV,
	IV_SET, /* nothing of the message yet */
	BEGUN,
};

struct gcm {
	const struct functions *functions;
	bool encrypting, have_key, have_tag, counting; /* counting: TLS 1.2 makes the IV here */
	enum state state;
	unsigned char iv[IV], tag[TAG];
	unsigned char aad[EVP_AEAD_TLS1_AAD_LEN];
	size_t aad_length;
	size_t tls_aad_length; /* not 0: the next update is a whole record of TLS 1.2 */
	struct gcm_context_data message;
	struct gcm_key_data key;
}; /* 1.3 KB; OpenSSL's has 0.7 */

/* ---- a context ------------------------------------------------------------------------------ */

/* A connection takes four and gives two of them back before it has said anything. glibc cuts a larger
 * block for each that is aligned so, and merges it again. Wiped; whoever takes one has it alone,
 * whichever thread it is. */
#define IDLE_MAX 32
static _Atomic(struct gcm *) idle[IDLE_MAX];

static struct gcm *take_idle(void)
{
	for (size_t i = 0; i < IDLE_MAX; i++) {
		struct gcm *gcm = atomic_load_explicit(&idle[i], memory_order_relaxed);

		if (gcm)
			gcm = atomic_exchange(&idle[i], NULL);
		if (gcm)
			return gcm;
	}
	return NULL;
}

static bool keep_idle(struct gcm *gcm)
{
	for (size_t i = 0; i < IDLE_MAX; i++) {
		struct gcm *none = NULL;

		if (!atomic_load_explicit(&idle[i], memory_order_relaxed) &&
		    atomic_compare_exchange_strong(&idle[i], &none, gcm))
			return true;
	}
	return false;
}

static void *new_context(const struct functions *functions)
{
	struct gcm *gcm = take_idle();

	if (!gcm) {
		gcm = aligned_alloc(_Alignof(struct gcm), sizeof(*gcm));
		if (!gcm)
			return NULL;
		memset(gcm, 0, sizeof(*gcm));
	}
	gcm->functions = functions;
	return gcm;
}

static void *new_context128(void *provider)
{
	(void)provider;
	return new_context(&functions128);
}

static void *new_context256(void *provider)
{
	(void)provider;
	return new_context(&functions256);
}

static void free_context(void *context)
{
	if (!context)
		return;
	OPENSSL_cleanse(context, sizeof(struct gcm)); /* to zeros, which new_context() counts on */
	if (!keep_idle(context))
		free(context);
}

static void set_iv(struct gcm *gcm, const unsigned char *iv)
{
	memcpy(gcm->iv, iv, IV);
	gcm->aad_length = 0;
	gcm->have_tag = false;
	gcm->state = IV_SET;
}

static int set_params(void *context, const OSSL_PARAM params[]);

/* Each of key and IV may come by itself. Lengths that TLS has no use for are refused. */
static int init(void *context, bool encrypting, const unsigned char *key, size_t key_length,
		const unsigned char *iv, size_t iv_length, const OSSL_PARAM params[])
{
	struct gcm *gcm = context;

	if ((key && key_length != gcm->functions->key_length) || (iv && iv_length != IV))
		return 0;
	gcm->encrypting = encrypting;
	if (key) {
		gcm->functions->prepare(key, &gcm->key);
		gcm->have_key = true;
		gcm->counting = false;
		gcm->state = NO_IV;
	}
	if (iv)
		set_iv(gcm, iv);
	return set_params(gcm, params);
}

static int init_encryption(void *context, const unsigned char *key, size_t key_length,
			   const unsigned char *iv, size_t iv_length, const OSSL_PARAM params[])
{
	return init(context, true, key, key_length, iv, iv_length, params);
}

static int init_decryption(void *context, const unsigned char *key, size_t key_length,
			   const unsigned char *iv, size_t iv_length, const OSSL_PARAM params[])
{
	return init(context, false, key, key_length, iv, iv_length, params);
}

/* ---- records of TLS 1.2 (RFC 5288) ---------------------------------------------------------- */

static void next_iv(struct gcm *gcm)
{
	for (int i = IV - 1; i >= FIXED_IV && ++gcm->iv[i] == 0; i--)
		;
}

/* The part of the IV that goes with a record counts from a random number. */
static bool set_fixed_iv(struct gcm *gcm, const OSSL_PARAM *param)
{
	if (param->data_type != OSSL_PARAM_OCTET_STRING || param->data_size != FIXED_IV)
		return false;
	memcpy(gcm->iv, param->data, FIXED_IV);
	if (gcm->encrypting && RAND_bytes(gcm->iv + FIXED_IV, EXPLICIT_IV) != 1)
		return false;
	gcm->counting = true;
	return true;
}

/* The header that libssl gives counts the explicit IV and, of what was received, the tag; the one
 * that is authenticated does not. */
static bool set_tls_aad(struct gcm *gcm, const OSSL_PARAM *param)
{
	const size_t extra = EXPLICIT_IV + (gcm->encrypting ? 0 : TAG);
	size_t length;

	if (param->data_type != OSSL_PARAM_OCTET_STRING || param->data_size != sizeof(gcm->aad))
		return false;
	memcpy(gcm->aad, param->data, sizeof(gcm->aad));
	length = (size_t)gcm->aad[11] << 8 | gcm->aad[12];
	if (length < extra)
		return false;
	length -= extra;
	gcm->aad[11] = (unsigned char)(length >> 8);
	gcm->aad[12] = (unsigned char)length;
	gcm->tls_aad_length = sizeof(gcm->aad);
	return true;
}

static bool seal_record(struct gcm *gcm, unsigned char *record, size_t length)
{
	unsigned char *text = record + EXPLICIT_IV;

	memcpy(record, gcm->iv + FIXED_IV, EXPLICIT_IV);
	gcm->functions->seal(&gcm->key, &gcm->message, text, text, length, gcm->iv, gcm->aad,
			     gcm->tls_aad_length, text + length, TAG);
	next_iv(gcm);
	return true;
}

static bool open_record(struct gcm *gcm, unsigned char *record, size_t length)
{
	unsigned char *text = record + EXPLICIT_IV, tag[TAG];
	bool fine;

	memcpy(gcm->iv + FIXED_IV, record, EXPLICIT_IV);
	gcm->functions->open(&gcm->key, &gcm->message, text, text, length, gcm->iv, gcm->aad,
			     gcm->tls_aad_length, tag, TAG);
	fine = CRYPTO_memcmp(tag, text + length, TAG) == 0;
	if (!fine)
		OPENSSL_cleanse(text, length);
	return fine;
}

/* A whole record in its place: explicit IV, text, tag. */
static int cipher_record(struct gcm *gcm, unsigned char *out, size_t *ret_length,
			 const unsigned char *in, size_t length)
{
	const size_t extra = EXPLICIT_IV + TAG;
	bool fine = gcm->have_key && gcm->counting && out && out == in && length >= extra &&
		    (gcm->encrypting ? seal_record(gcm, out, length - extra)
				     : open_record(gcm, out, length - extra));

	gcm->tls_aad_length = 0;
	gcm->state = NO_IV;
	*ret_length = !fine ? 0 : gcm->encrypting ? length : length - extra;
	return fine;
}

/* ---- messages, and records of TLS 1.3 ------------------------------------------------------- */

static bool add_aad(struct gcm *gcm, const unsigned char *in, size_t length)
{
	if (gcm->state != IV_SET || length > sizeof(gcm->aad) - gcm->aad_length)
		return false;
	memcpy(gcm->aad + gcm->aad_length, in, length);
	gcm->aad_length += length;
	return true;
}

static bool begin(struct gcm *gcm)
{
	if (!gcm->have_key || gcm->state == NO_IV)
		return false;
	if (gcm->state == IV_SET)
		gcm->functions->begin(&gcm->key, &gcm->message, gcm->iv, gcm->aad, gcm->aad_length);
	gcm->state = BEGUN;
	return true;
}

static int update(void *context, unsigned char *out, size_t *ret_length, size_t size,
		  const unsigned char *in, size_t length)
{
	struct gcm *gcm = context;
	bool fine;

	*ret_length = 0;
	if (length == 0)
		return 1;
	if (out && size < length)
		return 0;
	if (gcm->tls_aad_length)
		return cipher_record(gcm, out, ret_length, in, length);
	if (!out) {
		fine = add_aad(gcm, in, length);
	} else {
		fine = begin(gcm);
		if (fine)
			(gcm->encrypting ? gcm->functions->encrypt : gcm->functions->decrypt)(
				&gcm->key, &gcm->message, out, in, length);
	}
	if (fine)
		*ret_length = length;
	return fine;
}

/* The IV is used up: SP 800-38D, 8, wants another for each message. */
static int final(void *context, unsigned char *out, size_t *ret_length, size_t size)
{
	struct gcm *gcm = context;
	unsigned char tag[TAG];

	(void)out, (void)size;
	*ret_length = 0;
	if (!begin(gcm))
		return 0;
	gcm->state = NO_IV;
	if (gcm->encrypting) {
		gcm->functions->encrypt_end(&gcm->key, &gcm->message, gcm->tag, TAG);
		gcm->have_tag = true;
		return 1;
	}
	gcm->functions->decrypt_end(&gcm->key, &gcm->message, tag, TAG);
	return gcm->have_tag && CRYPTO_memcmp(tag, gcm->tag, TAG) == 0;
}

/* ---- parameters ----------------------------------------------------------------------------- */

static int get_params_of(OSSL_PARAM params[], size_t key_length)
{
	static const struct {
		const char *name;
		size_t value;
	} known[] = {
		{OSSL_CIPHER_PARAM_MODE, EVP_CIPH_GCM_MODE},
		{OSSL_CIPHER_PARAM_BLOCK_SIZE, 1},
		{OSSL_CIPHER_PARAM_IVLEN, IV},
		{OSSL_CIPHER_PARAM_AEAD, 1},
		{OSSL_CIPHER_PARAM_CUSTOM_IV, 1},
	};
	OSSL_PARAM *param = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_KEYLEN);

	if (param && OSSL_PARAM_set_size_t(param, key_length) != 1)
		return 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		param = OSSL_PARAM_locate(params, known[i].name);
		if (param && OSSL_PARAM_set_size_t(param, known[i].value) != 1)
			return 0;
	}
	return 1;
}

static int get_params128(OSSL_PARAM params[])
{
	return get_params_of(params, 16);
}

static int get_params256(OSSL_PARAM params[])
{
	return get_params_of(params, 32);
}

/* Asked for with every record that is sent: one walk, no search for each name. */
static int get_context_params(void *context, OSSL_PARAM params[])
{
	const struct gcm *gcm = context;
	int fine = 1;

	for (OSSL_PARAM *param = params; fine && param && param->key; param++) {
		if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
			fine = gcm->encrypting && gcm->have_tag && param->data_size <= TAG &&
			       OSSL_PARAM_set_octet_string(param, gcm->tag, param->data_size);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
			fine = OSSL_PARAM_set_size_t(param, IV);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
			fine = OSSL_PARAM_set_size_t(param, gcm->functions->key_length);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TAGLEN) == 0 ||
			 strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD) == 0)
			fine = OSSL_PARAM_set_size_t(param, TAG);
	}
	return fine;
}

/* A shorter tag than the whole would be easier to guess, and TLS has none. */
static bool set_tag(struct gcm *gcm, const OSSL_PARAM *param)
{
	if (gcm->encrypting || param->data_type != OSSL_PARAM_OCTET_STRING ||
	    param->data_size != TAG)
		return false;
	memcpy(gcm->tag, param->data, TAG);
	gcm->have_tag = true;
	return true;
}

static bool is_iv_length(const OSSL_PARAM *param)
{
	size_t length;

	return OSSL_PARAM_get_size_t(param, &length) == 1 && length == IV;
}

/* Others are for other modes, and libssl gives them to all: provider-cipher(7). */
static int set_params(void *context, const OSSL_PARAM params[])
{
	struct gcm *gcm = context;
	bool fine = true;

	for (const OSSL_PARAM *param = params; fine && param && param->key; param++) {
		if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
			fine = set_tag(gcm, param);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD) == 0)
			fine = set_tls_aad(gcm, param);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED) == 0)
			fine = set_fixed_iv(gcm, param);
		else if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_IVLEN) == 0)
			fine = is_iv_length(param);
	}
	return fine;
}

static const OSSL_PARAM *gettable_context_params(void *context, void *provider)
{
	static const OSSL_PARAM known[] = {
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context, (void)provider;
	return known;
}

static const OSSL_PARAM *settable_context_params(void *context, void *provider)
{
	static const OSSL_PARAM known[] = {
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context, (void)provider;
	return known;
}

/* ---- provider-cipher(7) --------------------------------------------------------------------- */

#define FUNCTIONS(bits)                                                                            \
	{                                                                                          \
		{OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))new_context##bits},                      \
			{OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))free_context},                  \
			{OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))init_encryption},          \
			{OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))init_decryption},          \
			{OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))update},                         \
			{OSSL_FUNC_CIPHER_FINAL, (void (*)(void)) final},                          \
			{OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))get_params##bits},           \
			{OSSL_FUNC_CIPHER_GET_CTX_PARAMS, (void (*)(void))get_context_params},     \
			{OSSL_FUNC_CIPHER_SET_CTX_PARAMS, (void (*)(void))set_params},             \
			{OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS,                                     \
			 (void (*)(void))gettable_context_params},                                 \
			{OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS,                                     \
			 (void (*)(void))settable_context_params},                                 \
			{0, NULL},                                                                 \
	}

const OSSL_DISPATCH tls_provider_gcm128[] = FUNCTIONS(128);
const OSSL_DISPATCH tls_provider_gcm256[] = FUNCTIONS(256);

/* Test cases 2 and 14 of McGrew and Viega's GCM: key, IV and text of zeros. */
static bool is_right(const struct functions *functions, const char *expected)
{
	struct gcm *gcm = new_context(functions);
	unsigned char zeros[32] = {0}, once[16 + TAG], parts[16 + TAG];
	bool fine;

	if (!gcm)
		return false;
	functions->prepare(zeros, &gcm->key);
	functions->seal(&gcm->key, &gcm->message, once, zeros, 16, zeros, zeros, 0, once + 16, TAG);
	functions->begin(&gcm->key, &gcm->message, zeros, zeros, 0);
	functions->encrypt(&gcm->key, &gcm->message, parts, zeros, 16);
	functions->encrypt_end(&gcm->key, &gcm->message, parts + 16, TAG);
	fine = memcmp(once, expected, sizeof(once)) == 0 &&
	       memcmp(parts, expected, sizeof(parts)) == 0;
	free_context(gcm);
	return fine;
}

static bool find(void *library, const char *format, const char *bits, void *ret_function)
{
	char name[64];
	void *function;

	snprintf(name, sizeof(name), format, bits);
	function = dlsym(library, name);
	memcpy(ret_function, &function, sizeof(function));
	return function;
}

/* By name. The library's way is a table of all that it has (IMB_MGR); to fill it for every
 * algorithm reads 3 MB of code in, for which each worker would be charged. */
static bool find_all(void *library, const char *bits, struct functions *ret)
{
	ret->key_length = (size_t)atoi(bits) / 8;
	return find(library, "aes_gcm_pre_%s_vaes_avx512", bits, &ret->prepare) &&
	       find(library, "aes_gcm_init_%s_vaes_avx512", bits, &ret->begin) &&
	       find(library, "aes_gcm_enc_%s_update_vaes_avx512", bits, &ret->encrypt) &&
	       find(library, "aes_gcm_dec_%s_update_vaes_avx512", bits, &ret->decrypt) &&
	       find(library, "aes_gcm_enc_%s_finalize_vaes_avx512", bits, &ret->encrypt_end) &&
	       find(library, "aes_gcm_dec_%s_finalize_vaes_avx512", bits, &ret->decrypt_end) &&
	       find(library, "aes_gcm_enc_%s_vaes_avx512", bits, &ret->seal) &&
	       find(library, "aes_gcm_dec_%s_vaes_avx512", bits, &ret->open);
}

/* What a key takes in memory is the header's word, which is that of its version. */
static bool is_our_version(void *library)
{
	unsigned int (*version)(void);

	return find(library, "imb_get_version%s", "", &version) &&
	       version() >> 8 == IMB_VERSION_NUM >> 8;
}

/* AVX-512 by the builtin, which asks the kernel, too, whether its registers are kept; the other two by their
 * bits (leaf 7), for which clang 14 has no names. */
bool tls_provider_gcm_wanted(void)
{
	const unsigned int vaes = 1u << 9, vpclmulqdq = 1u << 10;
	unsigned int a, b, c, d;

	return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	       __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & vaes) && (c & vpclmulqdq);
}

bool tls_provider_gcm_start(void)
{
	void *library = tls_provider_gcm_wanted() ? dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) : NULL;

	if (!library)
		return false;
	if (is_our_version(library) && find_all(library, "128", &functions128) &&
	    find_all(library, "256", &functions256) &&
	    is_right(&functions128,
		     "\x03\x88\xda\xce\x60\xb6\xa3\x92\xf3\x28\xc2\xb9\x71\xb2\xfe\x78"
		     "\xab\x6e\x47\xd4\x2c\xec\x13\xbd\xf5\x3a\x67\xb2\x12\x57\xbd\xdf") &&
	    is_right(&functions256,
		     "\xce\xa7\x40\x3d\x4d\x60\x6b\x6e\x07\x4e\xc5\xd3\xba\xf3\x9d\x18"
		     "\xd0\xd1\xc8\xa7\x99\x99\x6b\xf0\x26\x5b\x98\xb5\xd4\x8a\xb9\x19"))
		return true;
	dlclose(library);
	return false;
}

#else

const OSSL_DISPATCH tls_provider_gcm128[] = {{0, NULL}}, tls_provider_gcm256[] = {{0, NULL}};

bool tls_provider_gcm_wanted(void)
{
	return false;
}

bool tls_provider_gcm_start(void)
{
	return false;
}

#endif
