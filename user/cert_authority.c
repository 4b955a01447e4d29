// SPDX-License-Identifier: BSD-2-Clause
/* The bottle's CA. Its key is in the supervisor's memory and in a file of mode 0600, and nowhere
 * else; the worker asks for signatures over keys of its own. Leaves are for servers only and for
 * one name. */
#include "cert_authority.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "roots.h"

#define KEY_FILE "ca.pem"
#define CERT_FILE "ca-cert.pem"
#define FILE_LIMIT 65536
#define BACKDATE_SECONDS 3600L /* clocks in containers and virtual machines run behind */
/* Images carry it; a bottle's own lives as long as the directory. */
#define CA_SECONDS (10L * 365 * 86400)
/* Short, since a leaf's key is in the process that faces the network. */
#define LEAF_SECONDS (7L * 86400)
#define COMMON_NAME_LIMIT 64 /* ub-common-name, RFC 5280 */

struct cert_authority {
	X509 *cert;
	EVP_PKEY *key;
};

static int openssl_error(struct error *error, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	error_set(error, "%s: %s", what, reason ? reason : "out of memory");
	ERR_clear_error();
	return -1;
}

void cert_authority_free(struct cert_authority *ca)
{
	if (!ca)
		return;
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key); /* clears the private number (BN_clear_free) */
	free(ca);
}

/* ---- certificates --------------------------------------------------------------------------- */

/* 128 random bits: two processes with one CA must not use a number twice (RFC 5280, 4.1.2.2). */
static bool set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	bool ok = number && BN_rand(number, 128, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));

	BN_free(number);
	return ok;
}

static bool add_common_name(X509_NAME *name, const char *text)
{
	return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool add_extension(X509 *cert, X509V3_CTX *context, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, context, nid, value);
	bool ok = extension && X509_add_ext(cert, extension, -1) == 1;

	X509_EXTENSION_free(extension);
	return ok;
}

/* Version, serial, validity, public key: what authorities and leaves share. */
static bool begin_cert(X509 *cert, EVP_PKEY *public_key, long seconds)
{
	return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATE_SECONDS) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), seconds) &&
	       X509_set_pubkey(cert, public_key) == 1;
}

/* Ed25519 and Ed448 bring their own digest. */
static bool sign_cert(X509 *cert, EVP_PKEY *key)
{
	bool own = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");

	return X509_sign(cert, key, own ? NULL : EVP_sha256()) > 0;
}

/* pathlen 0: it signs leaves, no other authority. */
static bool build_ca(X509 *cert, EVP_PKEY *key, const char *common_name)
{
	X509V3_CTX context;

	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	return begin_cert(cert, key, CA_SECONDS) &&
	       add_common_name(X509_get_subject_name(cert), common_name) &&
	       X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
	       add_extension(cert, &context, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       add_extension(cert, &context, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_extension(cert, &context, NID_subject_key_identifier, "hash") &&
	       add_extension(cert, &context, NID_authority_key_identifier, "keyid:always") &&
	       sign_cert(cert, key);
}

int cert_authority_new(const char *common_name, struct cert_authority **ret, struct error *error)
{
	struct cert_authority *ca = calloc(1, sizeof(*ca));

	if (!ca)
		return error_set(error, "out of memory");
	ca->cert = X509_new();
	ca->key = EVP_EC_gen("P-256");
	if (!ca->cert || !ca->key || !build_ca(ca->cert, ca->key, common_name)) {
		cert_authority_free(ca);
		return openssl_error(error, "cannot make a certificate authority");
	}
	*ret = ca;
	return 0;
}

/* ---- leaves --------------------------------------------------------------------------------- */

/* The host goes into a certificate as it is: letters, digits, and what names and IP literals use.
 */
static bool host_is_plain(const char *host)
{
	size_t length = strlen(host);

	return length > 0 && length <= 253 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:") ==
		       length;
}

/* An address as iPAddress: clients do not look for it in a dNSName. */
static GENERAL_NAME *general_name(const char *host)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
	ASN1_IA5STRING *text = address ? NULL : ASN1_IA5STRING_new();

	if (name && address) {
		GENERAL_NAME_set0_value(name, GEN_IPADD, address);
	} else if (name && text && ASN1_STRING_set(text, host, -1) == 1) {
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
	} else {
		ASN1_OCTET_STRING_free(address);
		ASN1_IA5STRING_free(text);
		GENERAL_NAME_free(name);
		return NULL;
	}
	return name;
}

/* Critical where there is no common name (RFC 5280, 4.1.2.6). */
static bool add_alternative_name(X509 *cert, const char *host, bool critical)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *name = general_name(host);
	bool ok = false;

	/* As a structure, and not in X509V3's text form, where a comma begins another name. */
	if (names && name && sk_GENERAL_NAME_push(names, name) > 0) {
		name = NULL;
		ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, critical, 0) == 1;
	}
	GENERAL_NAME_free(name);
	GENERAL_NAMES_free(names);
	return ok;
}

/* A leaf must not outlive its authority: some clients refuse the chain then. */
static bool clip_validity(X509 *cert, const X509 *issuer)
{
	const ASN1_TIME *end = X509_get0_notAfter(issuer);

	return ASN1_TIME_compare(X509_get0_notAfter(cert), end) <= 0 ||
	       X509_set1_notAfter(cert, end) == 1;
}

static bool build_leaf(X509 *cert, const struct cert_authority *ca, const char *host,
		       EVP_PKEY *public_key)
{
	bool named = strlen(host) <= COMMON_NAME_LIMIT;
	X509V3_CTX context;

	X509V3_set_ctx(&context, ca->cert, cert, NULL, NULL, 0);
	return begin_cert(cert, public_key, LEAF_SECONDS) && clip_validity(cert, ca->cert) &&
	       X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
	       (!named || add_common_name(X509_get_subject_name(cert), host)) &&
	       add_extension(cert, &context, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, &context, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, &context, NID_ext_key_usage, "serverAuth") &&
	       add_extension(cert, &context, NID_subject_key_identifier, "hash") &&
	       add_extension(cert, &context, NID_authority_key_identifier, "keyid") &&
	       add_alternative_name(cert, host, !named) && sign_cert(cert, ca->key);
}

/* P-256 alone, and not a byte behind it: the key comes from the worker. */
static EVP_PKEY *parse_public_key(struct span der)
{
	const unsigned char *at = (const unsigned char *)der.data;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)der.length);
	char group[32] = "";

	if (key && (at != (const unsigned char *)der.data + der.length ||
		    EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
		    strcmp(group, SN_X9_62_prime256v1) != 0)) {
		EVP_PKEY_free(key);
		return NULL;
	}
	return key;
}

static int append_der(X509 *cert, struct bytes *ret)
{
	int length = i2d_X509(cert, NULL);
	unsigned char *at;

	if (length <= 0)
		return -1;
	at = (unsigned char *)bytes_reserve(ret, (size_t)length);
	if (!at || i2d_X509(cert, &at) != length)
		return -1;
	bytes_added(ret, (size_t)length);
	return 0;
}

/* Whether the host may have a leaf was the caller's to decide; here only whether it is a host's
 * name. */
int cert_authority_sign(struct cert_authority *ca, const char *host, struct span public_key,
			struct bytes *ret_der, struct error *error)
{
	EVP_PKEY *key;
	X509 *cert;
	int result = -1;

	if (!host_is_plain(host))
		return error_set(error, "cannot sign a leaf: not a host name");
	key = parse_public_key(public_key);
	if (!key) {
		ERR_clear_error();
		return error_set(error, "cannot sign a leaf for %s: not a P-256 public key", host);
	}
	cert = X509_new();
	if (!cert || !build_leaf(cert, ca, host, key))
		openssl_error(error, "cannot sign a leaf");
	else if (append_der(cert, ret_der) < 0)
		error_set(error, "cannot sign a leaf: out of memory");
	else
		result = 0;
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error(); /* a name that is no IP literal leaves one behind */
	return result;
}

/* ---- as text -------------------------------------------------------------------------------- */

int cert_authority_pem(const struct cert_authority *ca, struct bytes *ret)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long length;
	int result = -1;

	if (bio && PEM_write_bio_X509(bio, ca->cert) == 1) {
		length = BIO_get_mem_data(bio, &text);
		result = bytes_append(ret, text, (size_t)length) ? 0 : -1;
	}
	BIO_free(bio);
	return result;
}

int cert_authority_der(const struct cert_authority *ca, struct bytes *ret)
{
	return append_der(ca->cert, ret);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Certificate and, with `key`, the key behind it. The BIO wipes its memory when freed. */
static BIO *encode(const struct cert_authority *ca, bool key)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	if (bio && PEM_write_bio_X509(bio, ca->cert) == 1 &&
	    (!key || PEM_write_bio_PrivateKey(bio, ca->key, NULL, NULL, 0, NULL, NULL) == 1))
		return bio;
	BIO_free(bio);
	return NULL;
}

/* A complete, synced temporary file beside its destination; 0 or -errno. */
static int write_temporary(int dir_fd, const char *name, mode_t mode, BIO *content)
{
	char *data;
	long length = BIO_get_mem_data(content, &data);
	int fd, result;

	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	/* Synced before it gets its name: after a crash the name has all of it, or is not there. */
	result = span_write((struct span){data, (size_t)length}, fd) < 0 || fchmod(fd, mode) < 0 ||
				 fsync(fd) < 0
			 ? -errno : 0;
	close(fd);
	if (result < 0)
		unlinkat(dir_fd, name, 0);
	return result;
}

/* Moves the temporary file to its name; without `replace`, -EEXIST when there is one (link(2) is
 * the atomic test). The temporary file is gone afterwards in any case. */
static int publish(int dir_fd, const char *temporary, const char *name, bool replace)
{
	int result = 0;

	if (replace && renameat(dir_fd, temporary, dir_fd, name) == 0)
		return 0;
	if (replace || linkat(dir_fd, temporary, dir_fd, name, 0) < 0)
		result = -errno;
	unlinkat(dir_fd, temporary, 0);
	return result;
}

static int save_file(int dir_fd, const char *name, mode_t mode, BIO *content, bool replace)
{
	char temporary[64];
	unsigned char random[8];
	int result;

	if (RAND_bytes(random, sizeof(random)) != 1)
		return -EIO;
	snprintf(temporary, sizeof(temporary), ".%s.%02x%02x%02x%02x%02x%02x%02x%02x", name,
		 random[0], random[1], random[2], random[3], random[4], random[5], random[6],
		 random[7]);
	result = write_temporary(dir_fd, temporary, mode, content);
	return result < 0 ? result : publish(dir_fd, temporary, name, replace);
}

static int save_error(struct error *error, const char *directory, const char *name, int result)
{
	if (result == -EEXIST)
		return error_set(error,
				 "%s/%s is there already; --replace makes a new CA, and what "
				 "trusts the old one stops working",
				 directory, name);
	return error_set(error, "cannot write %s/%s: %s", directory, name, strerror(-result));
}

/* The key first: a certificate that is there without its key would be trusted and useless. */
int cert_authority_save(const struct cert_authority *ca, const char *directory, bool replace,
			struct error *error)
{
	BIO *with_key = encode(ca, true), *without_key = encode(ca, false);
	int result = -1, rc, dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!with_key || !without_key) {
		openssl_error(error, "cannot encode the CA");
	} else if (dir_fd < 0) {
		error_set(error, "cannot open %s: %s", directory, strerror(errno));
	} else if ((rc = save_file(dir_fd, KEY_FILE, 0600, with_key, replace)) < 0) {
		save_error(error, directory, KEY_FILE, rc);
	} else if ((rc = save_file(dir_fd, CERT_FILE, 0644, without_key, true)) < 0) {
		save_error(error, directory, CERT_FILE, rc);
	} else if (fsync(dir_fd) < 0) {
		error_set(error, "cannot write %s: %s", directory, strerror(errno));
	} else {
		result = 0;
	}
	if (dir_fd >= 0)
		close(dir_fd);
	BIO_free(with_key);
	BIO_free(without_key);
	return result;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Asked of the open file, so it is the one that is read. */
static int check_mode(int fd, const char *path, struct error *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(error, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(error, "%s is not a regular file", path);
	if (st.st_mode & 077)
		return error_set(error,
				 "%s holds a private key and its mode %04o lets others at it: "
				 "chmod 600 %s",
				 path, (unsigned)(st.st_mode & 07777), path);
	if (st.st_size > FILE_LIMIT)
		return error_set(error, "%s is too large for a CA file", path);
	return 0;
}

/* The whole file; the caller wipes it. */
static int read_key_file(const char *path, struct bytes *ret_text, struct error *error)
{
	/* O_NONBLOCK: a FIFO of that name would hold the start up for ever. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result;
	char *room;
	ssize_t count;

	if (fd < 0)
		return error_set(error, "cannot read %s: %s%s", path, strerror(errno),
				 errno == ENOENT ? " ('egress-bpf ca init' makes one)" : "");
	result = check_mode(fd, path, error);
	if (result == 0) {
		room = bytes_reserve(ret_text, FILE_LIMIT);
		count = room ? read(fd, room, FILE_LIMIT) : -1;
		if (count < 0)
			result = error_set(error, "cannot read %s: %s", path, strerror(errno));
		else
			bytes_added(ret_text, (size_t)count);
	}
	close(fd);
	return result;
}

/* Instead of OpenSSL's own, which would ask on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
	(void)buffer, (void)size, (void)writing, (void)context;
	return -1;
}

static void parse_key_file(struct cert_authority *ca, struct span text)
{
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.length);

	if (!bio)
		return;
	ca->cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	/* From the start again: a PEM file may have the two in either order. */
	bio = BIO_new_mem_buf(text.data, (int)text.length);
	if (bio)
		ca->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
}

static int check_ca(const struct cert_authority *ca, const char *path, struct error *error)
{
	if (!ca->cert)
		return error_set(error, "%s: no certificate in it (PEM)", path);
	if (!ca->key)
		return error_set(error, "%s: no private key in it (PEM, not encrypted)", path);
	if (X509_check_private_key(ca->cert, ca->key) != 1) {
		ERR_clear_error();
		return error_set(error, "%s: the private key is not the certificate's", path);
	}
	if (X509_check_ca(ca->cert) != 1 || !(X509_get_key_usage(ca->cert) & KU_KEY_CERT_SIGN))
		return error_set(error, "%s: the certificate is not a CA's", path);
	if (X509_cmp_current_time(X509_get0_notAfter(ca->cert)) <= 0)
		return error_set(error,
				 "%s: the certificate has expired; 'egress-bpf ca init "
				 "--replace' makes a new one",
				 path);
	if (X509_cmp_current_time(X509_get0_notBefore(ca->cert)) > 0)
		return error_set(error, "%s: the certificate is not valid yet", path);
	return 0;
}

int cert_authority_load(const char *directory, struct cert_authority **ret, struct error *error)
{
	struct cert_authority *ca = NULL;
	struct bytes text = {0};
	char *path = NULL;
	int result = -1;

	if (asprintf(&path, "%s/" KEY_FILE, directory) < 0)
		return error_set(error, "out of memory");
	if (read_key_file(path, &text, error) < 0)
		goto out;
	ca = calloc(1, sizeof(*ca));
	if (!ca) {
		error_set(error, "out of memory");
		goto out;
	}
	parse_key_file(ca, bytes_span(&text));
	result = check_ca(ca, path, error);
	if (result == 0) {
		*ret = ca;
		ca = NULL;
	}
out:
	cert_authority_free(ca);
	bytes_wipe(&text);
	free(path);
	return result;
}

static int check_roots(const char *key, const char *path, struct error *error)
{
	X509_STORE *store = X509_STORE_new();
	struct error wrong = {0};
	int result = store ? roots_add_file(store, path, &wrong) : error_no_memory(&wrong);

	X509_STORE_free(store);
	return result == 0 ? 0 : error_set(error, "%s: %s", key, wrong.text);
}

int cert_authority_check_roots(const char *ca_file, const char *proxy_ca_file, struct error *error)
{
	if (ca_file && check_roots("upstream.ca_file", ca_file, error) < 0)
		return -1;
	return proxy_ca_file ? check_roots("upstream.proxy_ca_file", proxy_ca_file, error) : 0;
}
