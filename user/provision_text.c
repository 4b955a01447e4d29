// SPDX-License-Identifier: BSD-2-Clause
/* Our block in a bundle. What stands outside of PEM's lines is no certificate to anybody: bundles of
 * Mozilla's and of Fedora's have comments there, too. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "provision.h"

#define BEGIN_OURS "# egress-bpf CA begin"
#define BEGIN_JOINED BEGIN_OURS ", after a line without an end"
#define END_OURS "# egress-bpf CA end"
#define BEGIN_PEM "-----BEGIN CERTIFICATE-----"
#define END_PEM "-----END CERTIFICATE-----"

/* The next line without its end; false when there is none. */
static bool next_line(struct span *rest, struct span *ret_line, struct span *ret_whole)
{
	const char *end = rest->length ? memchr(rest->data, '\n', rest->length) : NULL;
	size_t length = end ? (size_t)(end - rest->data) : rest->length;

	if (rest->length == 0)
		return false;
	*ret_whole = (struct span){rest->data, length + (end != NULL)};
	*ret_line = (struct span){rest->data, length};
	if (length > 0 && rest->data[length - 1] == '\r')
		ret_line->length--;
	*rest = (struct span){rest->data + ret_whole->length, rest->length - ret_whole->length};
	return true;
}

static bool is_begin(struct span line)
{
	return span_equal(line, SPAN(BEGIN_OURS)) || span_equal(line, SPAN(BEGIN_JOINED));
}

/* What lies from `rest` to the end of the line `end`; 0 when there is none, or when another block of
 * ours begins before it. */
static size_t length_to(struct span rest, struct span end)
{
	const char *begin = rest.data;
	struct span line, whole;

	while (next_line(&rest, &line, &whole)) {
		if (span_equal(line, end))
			return (size_t)(whole.data - begin) + whole.length;
		if (is_begin(line))
			return 0;
	}
	return 0;
}

/* base64 ignores white space, so do we. */
static bool next_letter(struct span *text, char *ret)
{
	while (text->length > 0 && strchr(" \t\r\n", text->data[0]))
		*text = (struct span){text->data + 1, text->length - 1};
	if (text->length == 0)
		return false;
	*ret = text->data[0];
	*text = (struct span){text->data + 1, text->length - 1};
	return true;
}

/* Equal but for white space: both are base64 of the same DER then. */
static bool same_certificate(struct span a, struct span b)
{
	char x = 0, y = 0;
	bool more_a, more_b;

	do {
		more_a = next_letter(&a, &x);
		more_b = next_letter(&b, &y);
	} while (more_a && more_b && x == y);
	return !more_a && !more_b;
}

/* A block without its end is left: what follows may be somebody's certificates. */
int provision_strip(struct span bundle, struct span ca_pem, struct bytes *ret)
{
	struct span line, whole;
	size_t skip;

	while (next_line(&bundle, &line, &whole)) {
		skip = 0;
		if (is_begin(line))
			skip = length_to(bundle, SPAN(END_OURS));
		if (skip > 0 && span_equal(line, SPAN(BEGIN_JOINED)) && ret->length > 0)
			ret->length--; /* the line's end that we had to add */
		if (skip == 0 && span_equal(line, SPAN(BEGIN_PEM))) {
			skip = length_to(bundle, SPAN(END_PEM));
			if (skip > 0 && !same_certificate((struct span){whole.data,
									whole.length + skip},
							  ca_pem))
				skip = 0;
		}
		if (skip > 0)
			bundle = (struct span){bundle.data + skip, bundle.length - skip};
		else if (!bytes_append(ret, whole.data, whole.length))
			return -1;
	}
	return 0;
}

/* Marked as joined when we had to end a line, so that --remove restores the file to the byte. */
int provision_join(struct span bundle, struct span ca_pem, struct bytes *ret)
{
	bool open = bundle.length > 0 && bundle.data[bundle.length - 1] != '\n';

	return bytes_append(ret, bundle.data, bundle.length) &&
			       bytes_append_text(ret, open ? "\n" BEGIN_JOINED "\n"
							   : BEGIN_OURS "\n") &&
			       bytes_append(ret, ca_pem.data, ca_pem.length) &&
			       bytes_append_text(ret, END_OURS "\n")
		       ? 0
		       : -1;
}

/* By its first line: our own files begin with the block. */
bool provision_is_ours(struct span text)
{
	struct span line, whole;

	return next_line(&text, &line, &whole) && is_begin(line);
}

static int encode(X509 *certificate, struct bytes *ret_pem)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long length;
	int result = -1;

	if (bio && PEM_write_bio_X509(bio, certificate) == 1) {
		length = BIO_get_mem_data(bio, &data);
		result = bytes_append(ret_pem, data, (size_t)length) ? 0 : -1;
	}
	BIO_free(bio);
	return result;
}

/* Read and written again: only the certificate can come out, whatever else stands in the file. */
int provision_certificate(const char *path, struct span text, struct bytes *ret_pem,
			  struct error *error)
{
	BIO *bio = BIO_new_mem_buf(text.data, (int)text.length);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int result = -1;

	if (!certificate)
		error_set(error, "%s: no certificate in it (PEM)", path);
	else if (X509_check_ca(certificate) != 1)
		error_set(error, "%s: the certificate is not a CA's", path);
	else if (encode(certificate, ret_pem) < 0)
		error_set(error, "out of memory");
	else
		result = 0;
	ERR_clear_error();
	X509_free(certificate);
	BIO_free(bio);
	return result;
}
