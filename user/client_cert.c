// SPDX-License-Identifier: BSD-2-Clause
/* A client certificate with its key. The key's text is kept for config_pack(), and wiped with the
 * last reference. */
#include "client_cert.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_LIMIT 16

struct client_cert {
	unsigned references;
	struct bytes certificate_pem, key_pem;
	X509 *leaf;
	STACK_OF(X509) *chain;
	EVP_PKEY *key;
	uint64_t id;
};

/* An encrypted key needs a passphrase, and there is nobody to ask. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
	(void)buffer, (void)size, (void)writing;
	*(bool *)context = true;
	return -1;
}

/* The queue of errors is emptied: what stays in it would be blamed on this thread's next connection. */
static int read_key(struct client_cert *cert, struct error *error)
{
	struct span text = bytes_span(&cert->key_pem);
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.length);
	bool encrypted = false;

	if (!bio)
		return error_set(error, "out of memory");
	cert->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	BIO_free(bio);
	ERR_clear_error();
	if (cert->key)
		return 0;
	return encrypted ? error_set(error, "client_key is encrypted; would be right: a key without "
					    "a passphrase, in a file that only root can read")
			 : error_set(error, "client_key holds no private key in PEM");
}

/* The leaf first, what signed it behind (RFC 8446, 4.4.2). */
static int read_chain(struct client_cert *cert, struct error *error)
{
	struct span text = bytes_span(&cert->certificate_pem);
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.length);
	X509 *next;

	cert->chain = sk_X509_new_null();
	if (!bio || !cert->chain) {
		BIO_free(bio);
		return error_set(error, "out of memory");
	}
	cert->leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	while (cert->leaf && sk_X509_num(cert->chain) < CHAIN_LIMIT &&
	       (next = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (sk_X509_push(cert->chain, next) <= 0)
			X509_free(next);
	}
	BIO_free(bio);
	ERR_clear_error();
	return cert->leaf ? 0 : error_set(error, "client_cert holds no certificate in PEM");
}

/* SHA-256 over both, lengths included, truncated: other than bytes_hash() the same in every
 * process, and nothing that a log could turn back. */
static int compute_id(struct client_cert *cert, struct error *error)
{
	const struct bytes *texts[] = {&cert->certificate_pem, &cert->key_pem};
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char hash[EVP_MAX_MD_SIZE];
	bool fine = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; fine && i < 2; i++) {
		struct span text = bytes_span(texts[i]);
		uint64_t length = text.length;

		fine = EVP_DigestUpdate(digest, &length, sizeof(length)) == 1 &&
		       EVP_DigestUpdate(digest, text.data, text.length) == 1;
	}
	fine = fine && EVP_DigestFinal_ex(digest, hash, NULL) == 1;
	EVP_MD_CTX_free(digest);
	if (!fine)
		return error_set(error, "out of memory");
	memcpy(&cert->id, hash, sizeof(cert->id));
	cert->id |= 1; /* 0 is "none" */
	return 0;
}

int client_cert_new(struct span certificate, struct span key, struct client_cert **ret,
		    struct error *error)
{
	struct client_cert *cert = calloc(1, sizeof(*cert));

	if (!cert)
		return error_set(error, "out of memory");
	cert->references = 1;
	if (!bytes_append(&cert->certificate_pem, certificate.data, certificate.length) ||
	    !bytes_append(&cert->key_pem, key.data, key.length)) {
		error_set(error, "out of memory");
	} else if (read_chain(cert, error) == 0 && read_key(cert, error) == 0 &&
		   compute_id(cert, error) == 0) {
		if (X509_check_private_key(cert->leaf, cert->key) == 1) {
			*ret = cert;
			return 0;
		}
		ERR_clear_error();
		error_set(error, "client_key is not the key of the certificate in client_cert");
	}
	client_cert_unref(cert);
	return -1;
}

/* Policies of several threads share one: the last one that goes has to see what all others did. */
struct client_cert *client_cert_ref(struct client_cert *cert)
{
	__atomic_add_fetch(&cert->references, 1, __ATOMIC_RELAXED);
	return cert;
}

void client_cert_unref(struct client_cert *cert)
{
	if (!cert || __atomic_sub_fetch(&cert->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	X509_free(cert->leaf);
	sk_X509_pop_free(cert->chain, X509_free);
	EVP_PKEY_free(cert->key);
	bytes_free(&cert->certificate_pem);
	bytes_wipe(&cert->key_pem);
	free(cert);
}

struct span client_cert_certificate(const struct client_cert *cert)
{
	return bytes_span(&cert->certificate_pem);
}

struct span client_cert_key(const struct client_cert *cert)
{
	return bytes_span(&cert->key_pem);
}

uint64_t client_cert_id(const struct client_cert *cert)
{
	return cert ? cert->id : 0;
}

/* OpenSSL takes references of its own: the connection may outlive the policy that named this. */
bool client_cert_use(const struct client_cert *cert, SSL *ssl)
{
	bool fine = SSL_use_cert_and_key(ssl, cert->leaf, cert->key, cert->chain, 1) == 1;

	ERR_clear_error();
	return fine;
}
