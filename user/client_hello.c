// SPDX-License-Identifier: BSD-2-Clause
#include "client_hello.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

struct client_hello {
	SSL_CTX *context;
	SSL *ssl;
	size_t fed;
	bool seen;
	char name[EGRESS_NAME_SIZE];
};

static unsigned read_u16(const unsigned char *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

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

static int on_client_hello(SSL *ssl, int *ret_alert, void *argument)
{
	struct client_hello *hello = argument;

	hello->seen = true;
	if (!client_hello_name(ssl, hello->name))
		hello->name[0] = '\0';
	*ret_alert = SSL_AD_INTERNAL_ERROR;
	return SSL_CLIENT_HELLO_ERROR; /* we only wanted to look */
}

struct client_hello *client_hello_new(void)
{
	struct client_hello *hello = calloc(1, sizeof(*hello));
	BIO *in, *out;

	if (!hello)
		return NULL;
	hello->context = SSL_CTX_new(TLS_server_method());
	if (!hello->context)
		goto fail;
	SSL_CTX_set_client_hello_cb(hello->context, on_client_hello, hello);
	hello->ssl = SSL_new(hello->context);
	in = BIO_new(BIO_s_mem());
	out = BIO_new(BIO_s_null());
	if (!hello->ssl || !in || !out) {
		BIO_free(in);
		BIO_free(out);
		goto fail;
	}
	BIO_set_mem_eof_return(in, -1); /* an empty buffer means "later" */
	SSL_set_bio(hello->ssl, in, out);
	SSL_set_accept_state(hello->ssl);
	return hello;
fail:
	client_hello_free(hello);
	return NULL;
}

void client_hello_free(struct client_hello *hello)
{
	if (!hello)
		return;
	SSL_free(hello->ssl);
	SSL_CTX_free(hello->context);
	free(hello);
}

int client_hello_feed(struct client_hello *hello, struct span bytes, char *ret_name)
{
	size_t more = bytes.length - hello->fed;
	int rc, result = 0;

	if (more > 0 && BIO_write(SSL_get_rbio(hello->ssl), bytes.data + hello->fed, (int)more) !=
				(int)more)
		return -1;
	hello->fed = bytes.length;
	ERR_clear_error();
	rc = SSL_do_handshake(hello->ssl);
	if (hello->seen) {
		memcpy(ret_name, hello->name, EGRESS_NAME_SIZE);
		result = 1;
	} else if (SSL_get_error(hello->ssl, rc) != SSL_ERROR_WANT_READ) {
		result = -1;
	}
	ERR_clear_error();
	return result;
}
