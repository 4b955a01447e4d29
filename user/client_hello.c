// SPDX-License-Identifier: BSD-2-Clause
/* The name in a ClientHello, before anything is decided. Lengths are followed here, in as few lines
 * as possible; the rest is parsed by OpenSSL, in a connection that ends at the hello. */
#include "client_hello.h"

#include <openssl/err.h>
#include <string.h>

#include "policy.h"

#define RECORD_HEADER 5	     /* RFC 8446, 5.1 */
/* RFC 8446, 5.1: 2^14. */
#define RECORD_MAX 16384
#define HANDSHAKE_HEADER 4 /* RFC 8446, 4 */

static unsigned read_u16(const unsigned char *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* ---- is it whole? --------------------------------------------------------------------------- */

/* What is known of the message after some records. */
struct message {
	unsigned char header[HANDSHAKE_HEADER];
	size_t header_length;
	size_t length; /* of what the records hold */
};

/* The message's length with its header, 0 while it is unknown; false when it is no ClientHello. */
static bool wanted(const struct message *message, size_t *ret_length)
{
	const unsigned char *header = message->header;

	*ret_length = 0;
	if (message->header_length > 0 && header[0] != SSL3_MT_CLIENT_HELLO)
		return false;
	if (message->header_length == HANDSHAKE_HEADER)
		*ret_length = HANDSHAKE_HEADER + ((size_t)header[1] << 16) + read_u16(header + 2);
	return *ret_length <= CLIENT_HELLO_MAX;
}

/* The message's header may be cut over records of one byte. */
static void take_header(struct message *message, const unsigned char *data, size_t length)
{
	for (size_t i = 0; i < length && message->header_length < HANDSHAKE_HEADER; i++)
		message->header[message->header_length++] = data[i];
}

/* 1: the records hold a whole ClientHello; 0 and -1 as client_hello_parse(). Reads lengths alone:
 * what is in the message is OpenSSL's to judge. */
static int measure(struct span bytes, size_t *ret_need)
{
	const unsigned char *data = (const unsigned char *)bytes.data;
	struct message message = {.length = 0};
	size_t at = 0, length, here, whole;

	for (int records = 0; records < CLIENT_HELLO_RECORDS; records++) {
		*ret_need = at + RECORD_HEADER;
		if (bytes.length > at && data[at] != SSL3_RT_HANDSHAKE)
			return -1;
		if (bytes.length < *ret_need)
			return 0;
		length = read_u16(data + at + 3);
		if (data[at + 1] != SSL3_VERSION_MAJOR || length == 0 || length > RECORD_MAX)
			return -1;
		at += RECORD_HEADER;
		here = bytes.length - at < length ? bytes.length - at : length;
		take_header(&message, data + at, here);
		if (!wanted(&message, &whole))
			return -1;
		*ret_need = at + length;
		if (here < length)
			return 0;
		at += length;
		message.length += length;
		if (whole > 0 && message.length >= whole)
			return 1;
	}
	return -1;
}

/* ---- whom does it name? --------------------------------------------------------------------- */

/* RFC 6066 section 3: one list of one host_name. */
bool client_hello_name(SSL *ssl, char *ret_name)
{
	const unsigned char *data;
	size_t length;

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &length))
		return false;
	if (length < 5 || read_u16(data) != length - 2 || data[2] != TLSEXT_NAMETYPE_host_name ||
	    read_u16(data + 3) != length - 5)
		return false;
	return policy_normalise_host((struct span){(const char *)data + 5, length - 5}, ret_name);
}

struct seen {
	bool called;
	char name[EGRESS_NAME_SIZE];
};

static int on_client_hello(SSL *ssl, int *ret_alert, void *argument)
{
	struct seen *seen = SSL_get_app_data(ssl);

	(void)argument;
	seen->called = true;
	if (!client_hello_name(ssl, seen->name))
		seen->name[0] = '\0';
	*ret_alert = SSL_AD_INTERNAL_ERROR;
	return SSL_CLIENT_HELLO_ERROR; /* we only wanted to look */
}

/* One for the process: it holds no state of a connection. */
static SSL_CTX *shared_context(void)
{
	static SSL_CTX *context;

	if (!context) {
		context = SSL_CTX_new(TLS_server_method());
		if (context)
			SSL_CTX_set_client_hello_cb(context, on_client_hello, NULL);
	}
	return context;
}

static bool look(struct span bytes, struct seen *seen)
{
	SSL_CTX *context = shared_context();
	SSL *ssl = context ? SSL_new(context) : NULL;
	BIO *in = BIO_new_mem_buf(bytes.data, (int)bytes.length), *out = BIO_new(BIO_s_null());

	if (!ssl || !in || !out) {
		SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		return false;
	}
	SSL_set_bio(ssl, in, out);
	SSL_set_accept_state(ssl);
	if (SSL_set_app_data(ssl, seen) == 1)
		(void)SSL_do_handshake(ssl);
	SSL_free(ssl);
	return seen->called;
}

int client_hello_parse(struct span bytes, size_t *ret_need, char *ret_name)
{
	struct seen seen = {.called = false};
	size_t need = 0;
	int result = measure(bytes, &need);

	if (result == 0)
		*ret_need = need;
	if (result == 1 && !look(bytes, &seen))
		result = -1;
	if (result == 1)
		memcpy(ret_name, seen.name, EGRESS_NAME_SIZE);
	ERR_clear_error();
	return result;
}
