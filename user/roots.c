// SPDX-License-Identifier: BSD-2-Clause
#include "roots.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A root's issuer is itself (SI), and it is seen to have signed itself (SS) where there was memory to
 * look. */
static bool is_whole(X509 *certificate)
{
	return X509_get0_pubkey(certificate) && X509_check_purpose(certificate, -1, 0) == 1 &&
	       (X509_get_extension_flags(certificate) & (EXFLAG_SI | EXFLAG_SS)) != EXFLAG_SI;
}

/* OpenSSL reads the key when the certificate is parsed, and its extensions when it is first asked about
 * them. Without memory then it has no key, or is invalid, for as long as it is there, and nobody is told:
 * so it is asked here, where the whole can fail. One that is like that in itself, as its copy is, too, does
 * no harm. */
static bool has_read(X509 *certificate)
{
	X509 *copy;
	bool same;

	if (is_whole(certificate))
		return true;
	copy = X509_dup(certificate);
	same = copy && !is_whole(copy);
	X509_free(copy);
	return same;
}

/* NULL, or what is wrong. */
static const char *add_all(X509_STORE *store, const STACK_OF(X509_INFO) * infos)
{
	bool any = false;

	for (int i = 0; i < sk_X509_INFO_num(infos); i++) {
		X509 *certificate = sk_X509_INFO_value(infos, i)->x509;

		if (certificate &&
		    (!has_read(certificate) || X509_STORE_add_cert(store, certificate) != 1))
			return "out of memory";
		any = any || certificate;
	}
	return any ? NULL : "no certificate in it";
}

static const char *unread(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE
		       ? "out of memory"
		       : "what is in it cannot be read as certificates";
}

/* As add_all(). */
static const char *add_pem(X509_STORE *store, const struct bytes *pem)
{
	BIO *text = BIO_new_mem_buf(pem->data, (int)pem->length);
	STACK_OF(X509_INFO) *infos =
		text ? PEM_X509_INFO_read_bio(text, NULL, NULL, NULL) : NULL;
	const char *wrong = infos ? add_all(store, infos) : unread();

	sk_X509_INFO_pop_free(infos, X509_INFO_free);
	BIO_free(text);
	ERR_clear_error();
	return wrong;
}

bool roots_add_pem(X509_STORE *store, const struct bytes *pem)
{
	return !add_pem(store, pem);
}

/* O_NONBLOCK: a FIFO of that name would hold a start, or a reload, for ever. NULL, or what is
 * wrong. */
static const char *read_regular(const char *path, struct bytes *ret)
{
	const char *wrong = NULL;
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	const bool is_open = fd >= 0 && fstat(fd, &status) == 0;

	if (is_open && !S_ISREG(status.st_mode))
		wrong = "not a regular file";
	else if (!is_open || bytes_read(ret, fd, ROOTS_LIMIT) < 0)
		wrong = strerror(errno);
	if (fd >= 0)
		close(fd);
	return wrong;
}

int roots_add_file(X509_STORE *store, const char *path, struct error *error)
{
	struct bytes pem = {0};
	const char *wrong = read_regular(path, &pem);

	if (!wrong)
		wrong = add_pem(store, &pem);
	bytes_free(&pem);
	return wrong ? error_set(error, "cannot load certificates from %s: %s", path, wrong) : 0;
}
