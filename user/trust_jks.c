// SPDX-License-Identifier: BSD-2-Clause
/* The formats other than a plain bundle. Java's key store is a header, entries, and a digest keyed
 * with the password; OpenSSL's is a directory of files named by a hash. */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "trust.h"

#define JKS_MAGIC 0xfeedfeed
#define JKS_VERSION 2
#define JKS_TRUSTED_CERTIFICATE 2
#define JKS_COUNT_OFFSET 8 /* behind magic and version */

/* Big endian, as Java's DataOutput. */
static bool put_number(struct bytes *store, uint64_t value, size_t size)
{
	unsigned char octets[8];

	for (size_t i = 0; i < size; i++)
		octets[i] = (unsigned char)(value >> (8 * (size - 1 - i)));
	return bytes_append(store, octets, size);
}

/* DataOutput.writeUTF; our texts are ASCII, where modified UTF-8 is the same. */
static bool put_text(struct bytes *store, const char *text)
{
	size_t length = strlen(text);

	return put_number(store, length, 2) && bytes_append(store, text, length);
}

/* Aliases have to differ, and say nothing. */
static bool put_certificate(struct bytes *store, unsigned number, uint64_t created_ms,
			    const void *der, size_t length)
{
	char alias[32];

	snprintf(alias, sizeof(alias), "root-%u", number);
	return put_number(store, JKS_TRUSTED_CERTIFICATE, 4) && put_text(store, alias) &&
	       put_number(store, created_ms, 8) && put_text(store, "X.509") &&
	       put_number(store, length, 4) && bytes_append(store, der, length);
}

/* Appends an entry for each certificate; returns how many, -1 when out of memory. */
static int put_certificates(struct bytes *store, BIO *pem)
{
	uint64_t created_ms = (uint64_t)time(NULL) * 1000;
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	long length;
	int count = 0;
	bool ok = true;

	while (ok && PEM_read_bio(pem, &name, &header, &der, &length) == 1) {
		if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0) {
			count++;
			ok = put_certificate(store, (unsigned)count, created_ms, der,
					     (size_t)length);
		}
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	return ok ? count : -1;
}

/* SHA-1 over the password in UTF-16, a fixed phrase, and the store. No secret: the password is the
 * one that Java itself tries. The digest only finds damage. */
static bool put_digest(struct bytes *store)
{
	static const char password[] = "changeit", phrase[] = "Mighty Aphrodite";
	struct span content = bytes_span(store);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool ok = context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1;

	for (size_t i = 0; ok && password[i]; i++) {
		const char wide[2] = {0, password[i]};

		ok = EVP_DigestUpdate(context, wide, sizeof(wide)) == 1;
	}
	ok = ok && EVP_DigestUpdate(context, phrase, sizeof(phrase) - 1) == 1 &&
	     EVP_DigestUpdate(context, content.data, content.length) == 1 &&
	     EVP_DigestFinal_ex(context, digest, &length) == 1;
	EVP_MD_CTX_free(context);
	return ok && bytes_append(store, digest, length);
}

/* The number of entries stands before them, and is known after them. */
static int fill(struct bytes *store, BIO *pem, struct error *error)
{
	int count;

	if (!put_number(store, JKS_MAGIC, 4) || !put_number(store, JKS_VERSION, 4) ||
	    !put_number(store, 0, 4))
		return error_set(error, "out of memory");
	count = put_certificates(store, pem);
	if (count == 0)
		return error_set(error, "no certificate for Java's key store");
	if (count < 0)
		return error_set(error, "out of memory");
	for (unsigned i = 0; i < 4; i++)
		store->data[store->start + JKS_COUNT_OFFSET + i] =
			(char)((unsigned)count >> (24 - 8 * i));
	if (!put_digest(store))
		return error_set(error, "cannot compute the digest of Java's key store");
	return 0;
}

int trust_jks(struct span pem, struct bytes *ret, struct error *error)
{
	struct bytes store = {0};
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
	int rc = bio ? fill(&store, bio, error) : error_set(error, "out of memory");

	if (rc == 0 && !bytes_append(ret, bytes_span(&store).data, bytes_span(&store).length))
		rc = error_set(error, "out of memory");
	BIO_free(bio);
	bytes_free(&store);
	return rc;
}

int trust_hash_name(struct span ca_pem, char ret_name[16], struct error *error)
{
	BIO *bio = NULL;
	X509 *certificate = NULL;
	int rc = 0;

	/* openssl.cnf has no say in how a certificate is read, and is longer than it. */
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	bio = BIO_new_mem_buf(ca_pem.data, (int)ca_pem.length);
	if (bio)
		certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	if (certificate)
		snprintf(ret_name, 16, "%08lx.0", X509_subject_name_hash(certificate));
	else
		rc = error_set(error, "the CA certificate cannot be read");
	X509_free(certificate);
	BIO_free(bio);
	return rc;
}
