// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "client_hello.h"
#include "policy.h"

static char hello[CLIENT_HELLO_BYTES + 1], framed[2 * CLIENT_HELLO_BYTES];

/* What OpenSSL would send, with so many bytes of ALPN to make it large: the message alone, without
 * records. Returns its length. */
static size_t make_hello(const char *name, size_t padding)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	unsigned char *protocols = calloc(1, padding + 256), *at;
	char *raw;
	size_t length = 0;
	long total;

	for (size_t used = 0; used < padding; used += 256)
		protocols[used] = 255;
	if (padding > 0)
		assert_int_equal(SSL_set_alpn_protos(ssl, protocols, (unsigned)(padding / 256 * 256)),
				 0);
	if (name)
		SSL_set_tlsext_host_name(ssl, name);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	(void)!SSL_do_handshake(ssl);
	total = BIO_get_mem_data(out, &raw);
	at = (unsigned char *)raw;
	while ((char *)at < raw + total) {
		size_t here = (size_t)at[3] << 8 | at[4];

		memcpy(hello + length, at + 5, here);
		length += here;
		at += 5 + here;
	}
	free(protocols);
	SSL_free(ssl);
	SSL_CTX_free(context);
	ERR_clear_error();
	return length;
}

/* Puts the message into records of this size. */
static struct span frame(size_t length, size_t record)
{
	size_t used = 0;

	for (size_t at = 0; at < length; at += record) {
		size_t here = length - at < record ? length - at : record;
		const unsigned char header[] = {22, 3, 1, (unsigned char)(here >> 8),
						(unsigned char)here};

		memcpy(framed + used, header, 5);
		memcpy(framed + used + 5, hello + at, here);
		used += 5 + here;
	}
	return (struct span){framed, used};
}

static int parse(struct span bytes, size_t *ret_need, char name[EGRESS_NAME_SIZE])
{
	int result = client_hello_parse(bytes, ret_need, name);

	assert_int_equal(ERR_peek_error(), 0);
	return result;
}

static void every_prefix(void **state)
{
	struct span all = frame(make_hello("Api.Example.test", 0), 100);
	char name[EGRESS_NAME_SIZE] = "untouched";
	size_t need = 0;

	(void)state;
	for (size_t length = 0; length < all.length; length++) {
		assert_int_equal(parse((struct span){all.data, length}, &need, name), 0);
		assert_in_range(need, length + 1, all.length);
		assert_string_equal(name, "untouched");
	}
	assert_int_equal(parse(all, &need, name), 1);
	assert_string_equal(name, "api.example.test");
}

/* However it comes, it takes one look per record, and no more. */
static void looks(size_t padding, size_t record, int most)
{
	struct span all = frame(make_hello("large.test", padding), record);
	char name[EGRESS_NAME_SIZE];
	size_t need = 0;
	int count = 1, result;

	while ((result = parse((struct span){all.data, need < all.length ? need : all.length},
			       &need, name)) == 0)
		count++;
	assert_int_equal(result, 1);
	assert_string_equal(name, "large.test");
	assert_in_range(count, 1, most);
}

static void large_ones(void **state)
{
	(void)state;
	looks(0, 16384, 3);
	looks(16000, 16384, 5);
	looks(64000, 16384, 9);
	looks(64000, 4096, 34);
}

static void past_the_limits(void **state)
{
	static const unsigned char too_long[] = {22, 3, 1, 0, 4, 1, 1, 0, 1};
	char name[EGRESS_NAME_SIZE];
	size_t need = 0, length = make_hello("x.test", 64000);

	(void)state;
	assert_int_equal(parse(frame(length, 1500), &need, name), -1); /* too many records */
	assert_int_equal(parse((struct span){(const char *)too_long, sizeof(too_long)}, &need, name),
			 -1);
}

static void no_client_hello(void **state)
{
	static const char *const bad[] = {
		"G",			     /* not TLS, at the first byte */
		"GET / HTTP/1.1\r\n\r\n",    "\x15\x03\x01\x00\x02\x02\x70", /* an alert */
		"\x16\x02\x01\x01\x01\x01",  /* not a version */
		"\x16\x03\x01\x01\x01\x02",  /* a ServerHello */
		"\x16\x03\x01\x7f\xff\x01",  /* a record that is too long */
	};
	static const char empty[] = {22, 3, 1, 0, 0}, lies[] = {22, 3, 1, 0, 5, 1, 0, 0, 1, 9};
	char name[EGRESS_NAME_SIZE];
	size_t need;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(parse(span_from(bad[i]), &need, name), -1);
	assert_int_equal(parse((struct span){empty, sizeof(empty)}, &need, name), -1);
	assert_int_equal(parse((struct span){lies, sizeof(lies)}, &need, name), -1);
}

static void nameless(void **state)
{
	char name[EGRESS_NAME_SIZE] = "x";
	size_t need;

	(void)state;
	assert_int_equal(parse(frame(make_hello(NULL, 0), 16384), &need, name), 1);
	assert_string_equal(name, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_prefix),	   cmocka_unit_test(large_ones),
		cmocka_unit_test(past_the_limits), cmocka_unit_test(no_client_hello),
		cmocka_unit_test(nameless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
