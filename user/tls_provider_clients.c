// SPDX-License-Identifier: BSD-2-Clause
/* OpenSSL 3.0 walks through all names of algorithms that a library context knows, nine times in a
 * handshake, to learn what type a key is of. Contexts that face clients have a library context of
 * their own, in which there is what a leaf with a key on P-256 can need, and nothing else. Ours
 * come first; the others are functions of OpenSSL's provider, whose own look-ups go to the default
 * context as ever. */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "tls_provider.h"
#include "tls_provider_private.h"

#define MAX_OF_A_KIND 8

/* By the first name that OpenSSL's provider has; `names` are those that libssl asks by. `ours` is
 * for here alone; what the default context has of ours is found by the name. */
struct algorithm {
	const char *theirs, *names;
	const OSSL_DISPATCH *ours;
};

static struct operation {
	int id;
	struct algorithm wanted[MAX_OF_A_KIND];
	OSSL_ALGORITHM found[MAX_OF_A_KIND + 1];
} operations[] = {
	{.id = OSSL_OP_DIGEST,
	 .wanted = {{"SHA2-256", "SHA2-256:SHA256"},
		    {"SHA2-384", "SHA2-384:SHA384"},
		    {"SHA2-512", "SHA2-512:SHA512"},
		    {"SHA2-224", "SHA2-224:SHA224"}}},
	{.id = OSSL_OP_CIPHER,
	 .wanted = {{"AES-128-GCM", "AES-128-GCM:id-aes128-GCM"},
		    {"AES-256-GCM", "AES-256-GCM:id-aes256-GCM"},
		    {"ChaCha20-Poly1305", "ChaCha20-Poly1305"},
		    {"AES-256-CBC", "AES-256-CBC"}}},
	{.id = OSSL_OP_MAC, .wanted = {{"HMAC", "HMAC", tls_provider_hmac}}},
	{.id = OSSL_OP_KDF, .wanted = {{"TLS13-KDF", "TLS13-KDF"}, {"TLS1-PRF", "TLS1-PRF"}}},
	{.id = OSSL_OP_RAND, .wanted = {{"CTR-DRBG", "CTR-DRBG", tls_provider_random}}},
	{.id = OSSL_OP_KEYMGMT,
	 .wanted = {{"X25519", "X25519"}, {"EC", "EC"}, {"HMAC", "HMAC", tls_provider_hmac_keys}}},
	{.id = OSSL_OP_KEYEXCH, .wanted = {{"X25519", "X25519"}, {"ECDH", "ECDH"}}},
	{.id = OSSL_OP_SIGNATURE,
	 .wanted = {{"ECDSA", "ECDSA"}, {"HMAC", "HMAC", tls_provider_hmac_signature}}},
};
#define OPERATION_COUNT (sizeof(operations) / sizeof(operations[0]))

static const OSSL_PROVIDER *theirs;
static OSSL_LIB_CTX *context; /* for the life of the process */

/* ---- the tables ----------------------------------------------------------------------------- */

static const OSSL_ALGORITHM *find(const OSSL_ALGORITHM *at, const char *name)
{
	const size_t length = strlen(name);

	for (; at && at->algorithm_names; at++)
		if (strncmp(at->algorithm_names, name, length) == 0 &&
		    (at->algorithm_names[length] == ':' || !at->algorithm_names[length]))
			return at;
	return NULL;
}

static bool fill(struct operation *operation)
{
	int no_cache;
	const OSSL_ALGORITHM *ours = tls_provider_query_operation(NULL, operation->id, &no_cache),
			     *all = OSSL_PROVIDER_query_operation(theirs, operation->id, &no_cache);

	for (size_t i = 0; i < MAX_OF_A_KIND && operation->wanted[i].theirs; i++) {
		const struct algorithm *wanted = &operation->wanted[i];
		const OSSL_ALGORITHM *found = find(ours, wanted->theirs);

		if (!found)
			found = find(all, wanted->theirs);
		if (!found)
			return false;
		operation->found[i] = *found;
		operation->found[i].algorithm_names = wanted->names;
		if (wanted->ours)
			operation->found[i].implementation = wanted->ours;
	}
	return true;
}

/* ---- provider(7) ---------------------------------------------------------------------------- */

static const OSSL_ALGORITHM *query_operation(void *provider, int id, int *ret_no_cache)
{
	(void)provider;
	*ret_no_cache = 0;
	for (size_t i = 0; i < OPERATION_COUNT; i++)
		if (operations[i].id == id)
			return operations[i].found;
	return NULL;
}

/* Of the groups those whose keys are here. */
static int get_capabilities(void *provider, const char *capability, OSSL_CALLBACK *take,
			    void *argument)
{
	static const char *const kinds[] = {"X25519", "EC", NULL};

	(void)provider;
	return tls_provider_groups(theirs, kinds, capability, take, argument);
}

static int start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **ret,
		 void **ret_context)
{
	static const OSSL_DISPATCH functions[] = {
		{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_operation},
		{OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities},
		{0, NULL},
	};

	(void)handle, (void)in;
	*ret = functions;
	*ret_context = OSSL_PROVIDER_get0_provider_ctx(theirs);
	return *ret_context != NULL;
}

/* ---- openssl.cnf ---------------------------------------------------------------------------- */

static bool from_theirs(const OSSL_PROVIDER *found)
{
	return found == theirs;
}

/* By default_properties or other providers the administrator may want algorithms that are not
 * OpenSSL's "default", FIPS's for one: a context in which there is nothing else would not heed
 * that. */
static bool default_serves(void)
{
	EVP_MD *digest = EVP_MD_fetch(NULL, "SHA256", NULL);
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	EVP_KEYMGMT *keys = EVP_KEYMGMT_fetch(NULL, "EC", NULL);
	EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(NULL, "ECDSA", NULL);
	EVP_KEYEXCH *exchange = EVP_KEYEXCH_fetch(NULL, "X25519", NULL);
	bool serves = digest && from_theirs(EVP_MD_get0_provider(digest)) && cipher &&
		      from_theirs(EVP_CIPHER_get0_provider(cipher)) && keys &&
		      from_theirs(EVP_KEYMGMT_get0_provider(keys)) && signature &&
		      from_theirs(EVP_SIGNATURE_get0_provider(signature)) && exchange &&
		      from_theirs(EVP_KEYEXCH_get0_provider(exchange));

	EVP_MD_free(digest);
	EVP_CIPHER_free(cipher);
	EVP_KEYMGMT_free(keys);
	EVP_SIGNATURE_free(signature);
	EVP_KEYEXCH_free(exchange);
	ERR_clear_error();
	return serves;
}

/* ---- names for older programs --------------------------------------------------------------- */

/* Those by which signatures of certificates name their digest, RSA-PSS's above all: OpenSSL looks
 * for them by EVP_get_digestbyname(3). A server's certificate with another is refused. */
static void add_digests(void)
{
	const EVP_MD *const digests[] = {
		EVP_md5(),      EVP_sha1(),     EVP_sha224(),     EVP_sha256(),
		EVP_sha384(),   EVP_sha512(),   EVP_sha512_224(), EVP_sha512_256(),
		EVP_sha3_224(), EVP_sha3_256(), EVP_sha3_384(),   EVP_sha3_512(),
	};

	for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++)
		(void)EVP_add_digest(digests[i]);
}

/* Those by which a key of PEM names what it is locked with (RFC 1421, 4.6.1.3). Nobody opens one
 * here, but it may lie beside the certificates of a ca_file, which OpenSSL refuses as a whole for a
 * name that it does not know. */
static void add_ciphers(void)
{
	const EVP_CIPHER *const ciphers[] = {
		EVP_aes_128_cbc(),      EVP_aes_192_cbc(),      EVP_aes_256_cbc(),
		EVP_des_ede3_cbc(),     EVP_des_cbc(),          EVP_camellia_128_cbc(),
		EVP_camellia_192_cbc(), EVP_camellia_256_cbc(),
	};

	for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++)
		(void)EVP_add_cipher(ciphers[i]);
}

/* With the first look-up a library context takes over all names that older programs can use. */
static bool look_up_first(OSSL_LIB_CTX *made)
{
	EVP_MD *digest = EVP_MD_fetch(made, "SHA256", NULL);

	EVP_MD_free(digest);
	return digest;
}

static bool fill_all(void)
{
	for (size_t i = 0; i < OPERATION_COUNT; i++)
		if (!fill(&operations[i]))
			return false;
	return true;
}

void tls_provider_clients_start(const OSSL_PROVIDER *provider)
{
	OSSL_LIB_CTX *made = OSSL_LIB_CTX_new();

	theirs = provider;
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS,
				  NULL);
	if (made && default_serves() && fill_all() &&
	    OSSL_PROVIDER_add_builtin(made, TLS_PROVIDER_NAME, start) == 1 &&
	    OSSL_PROVIDER_load(made, TLS_PROVIDER_NAME) && look_up_first(made))
		context = made;
	else
		OSSL_LIB_CTX_free(made);
	add_digests();
	add_ciphers();
}

OSSL_LIB_CTX *tls_provider_clients(void)
{
	return context;
}

SSL_CTX *tls_provider_new_server(void)
{
	return context ? SSL_CTX_new_ex(context, NULL, TLS_server_method())
		       : SSL_CTX_new_ex(NULL, tls_provider_query(), TLS_server_method());
}
