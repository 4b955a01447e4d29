// SPDX-License-Identifier: BSD-2-Clause
/* The life of a connection by kind of identity: who is let through to what, before and beside
 * HTTP. Socket pairs and the fakes of fake_proxy.h; TLS is OpenSSL's own client. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "fake_proxy.h"
#include "later.h"
#include "no_timers.h"

static int explicit_setup(void **state)
{
	fake_setup(state);
	fake->identity = (struct identity){.kind = IDENTITY_EXPLICIT};
	return 0;
}

/* ---- explicit proxy ------------------------------------------------------------------------- */

struct row {
	const char *text, *answer; /* the answer's beginning, or a part of its body */
};

static void check_rows(struct fake *f, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fake_connect(f);
		fake_client_sends(f, rows[i].text);
		if (!strstr(fake_client_got(f), rows[i].answer))
			fail_msg("%s\n-> %s", rows[i].text, f->text);
		close(f->client);
		f->client = -1;
		fake_turn(f);
		assert_int_equal(f->proxy.connection_count, 0);
	}
}

static void explicit_refusals(void **state)
{
	static const struct row rows[] = {
		{"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", "\"reason\":\"bad_request\""},
		{"GET https://api.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "use CONNECT"},
		{"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", "host_not_allowed"},
		{"GET http://api.test:81/v1/ HTTP/1.1\r\nHost: api.test:81\r\n\r\n",
		 "port_not_allowed"},
		{"GET http://api.test/v1/ HTTP/1.1\r\nHost: open.test\r\n\r\n", "name_mismatch"},
		{"GET http://api.test/v1/ HTTP/1.1\r\nHost: api.test:81\r\n\r\n", "name_mismatch"},
		{"GET http://api.test/v1/ HTTP/1.1\r\n\r\n", "bad_request"},
		{"GET http://u@api.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"GET http://api.test?/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"GET http:///v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"GET http://203.0.113.5:6379/ HTTP/1.1\r\nHost: 203.0.113.5:6379\r\n\r\n",
		 "address_not_allowed"},
		{"GET http://tcp.test:22/ HTTP/1.1\r\nHost: tcp.test:22\r\n\r\n",
		 "protocol_not_allowed"},
		{"GET http://pinned.test:443/ HTTP/1.1\r\nHost: pinned.test:443\r\n\r\n",
		 "protocol_not_allowed"},
		{"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n",
		 "host_not_allowed"},
		{"CONNECT api.test:22 HTTP/1.1\r\n\r\n", "port_not_allowed"},
		{"CONNECT api.test HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"CONNECT api.test:0 HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"CONNECT api.test:99999 HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"CONNECT http://api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", "bad_request"},
		{"CONNECT 198.51.100.1:6379 HTTP/1.1\r\nHost: x\r\n\r\n", "address_not_allowed"},
		{"CONNECT 203.0.113.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", "address_not_allowed"},
		{"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n", "address_not_allowed"},
		{"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\nearly", "bad_request"},
		{"TRACE http://api.test/nowhere HTTP/1.1\r\nHost: api.test\r\n\r\n",
		 "method_not_allowed"}, /* before the path, as 'why' has it */
		{"TRACE http://api.test/v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n",
		 "method_not_allowed"},
	};
	struct fake *f = *state;

	check_rows(f, rows, sizeof(rows) / sizeof(rows[0]));
	assert_int_equal(f->get_count, 0);
}

static void own_pages(void **state)
{
	static const struct row rows[] = {
		{"GET /health HTTP/1.1\r\nHost: egress\r\n\r\n", "{\"status\":\"ok\"}\n"},
		{"GET /health HTTP/1.1\r\nHost: _egress.local\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"GET http://egress:9099/health HTTP/1.1\r\nHost: egress:9099\r\n\r\n",
		 "HTTP/1.1 200 OK\r\n"},
		{"GET /allowlist HTTP/1.1\r\nHost: _egress.local\r\n\r\n", "api.test"},
		{"GET /allowlist HTTP/1.1\r\nHost: egress\r\nIf-None-Match: "
		 "\"00000000000000000000000000000000\"\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n"},
		{"POST /health HTTP/1.1\r\nHost: egress\r\nContent-Length: 0\r\n\r\n",
		 "HTTP/1.1 405 "},
		{"GET /other HTTP/1.1\r\nHost: egress\r\n\r\n", "HTTP/1.1 404 "},
	};
	struct fake *f = *state;

	check_rows(f, rows, sizeof(rows) / sizeof(rows[0]));
	assert_null(strstr(f->text, "s3cret"));
	assert_int_equal(f->get_count, 0);
}

static void absolute_form_request_by_request(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "GET http://api.test/v1/x?q HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f),
			       "GET /v1/x?q HTTP/1.1\r\nHost: api.test\r\n"));
	assert_string_equal(f->target_host, "api.test");
	assert_int_equal(f->target.port, 80);
	assert_false(f->target.tls);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	fake_client_got(f);
	fake_client_sends(f, "GET HTTP://OPEN.test HTTP/1.1\r\nHost: open.test\r\n\r\n");
	assert_non_null(strstr(fake_upstream_got(f), "GET / HTTP/1.1\r\nHost: OPEN.test\r\n"));
	assert_null(strstr(f->text, "Authorization"));
	assert_string_equal(f->target_host, "open.test");
}

static void connect_then_plain_http(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n\r\n");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 Connection established\r\n\r\n");
	assert_int_equal(f->log_count, 0);
	fake_client_sends(f, "GET /v1/x HTTP/1.1\r\nHost: open.test\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "name_mismatch"));
	fake_client_sends(f, "CONNECT open.test:80 HTTP/1.1\r\nHost: open.test\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "method_not_allowed"));
	fake_client_sends(f, "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_int_equal(f->get_count, 1);
}

static void connect_to_tcp(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "CONNECT tcp.test:22 HTTP/1.1\r\nHost: tcp.test:22\r\n\r\n");
	fake_upstream_sends(f, "SSH-2.0-x\r\n"); /* the server speaks first */
	assert_string_equal(fake_client_got(f),
			    "HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0-x\r\n");
	fake_client_sends(f, "hello");
	assert_string_equal(fake_upstream_got(f), "hello");
}

static void connect_to_tcp_that_fails(void **state)
{
	struct fake *f = *state;

	f->refuse = EGRESS_UPSTREAM_UNREACHABLE;
	fake_connect(f);
	fake_client_sends(f, "CONNECT tcp.test:22 HTTP/1.1\r\nHost: tcp.test:22\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "\"reason\":\"upstream_unreachable\""));
	assert_true(fake_client_closed(f));
	assert_int_equal(f->last.reason, EGRESS_UPSTREAM_UNREACHABLE);
}

static void connect_to_cidr(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "CONNECT 203.0.113.9:6379 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "200 Connection established"));
	assert_null(f->target.host);
	assert_int_equal(f->target.port, 6379);
}

static void tls_to_the_proxy_itself(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, "\x16\x03\x01");
	assert_true(fake_client_closed(f));
	assert_int_equal(f->last.reason, EGRESS_PROTOCOL_NOT_ALLOWED);
}

/* ---- steered -------------------------------------------------------------------------------- */

static void steered_tcp(void **state)
{
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "tcp.test", .port = 22};
	fake_connect(f);
	assert_int_equal(f->get_count, 1); /* without a byte from the client */
	fake_upstream_sends(f, "220 mail\r\n");
	assert_string_equal(fake_client_got(f), "220 mail\r\n");
}

static void steered_to_what_is_not_allowed(void **state)
{
	static const struct identity rows[] = {
		{.kind = IDENTITY_NAME, .host = "gone.test", .port = 443},
		{.kind = IDENTITY_NAME, .host = "tcp.test", .port = 23},
		{.kind = IDENTITY_ADDRESS, .port = 6379},
	};
	static const enum egress_reason reasons[] = {
		EGRESS_HOST_NOT_ALLOWED, EGRESS_PORT_NOT_ALLOWED, EGRESS_ADDRESS_NOT_ALLOWED};
	struct fake *f = *state;

	for (size_t i = 0; i < 3; i++) {
		f->identity = rows[i];
		fake_connect(f);
		assert_true(fake_client_closed(f));
		assert_int_equal(f->last.reason, reasons[i]);
		close(f->client);
	}
	f->client = -1;
	assert_int_equal(f->get_count, 0);
}

static void steered_cidr(void **state)
{
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_ADDRESS, .port = 6379};
	assert_true(address_parse("203.0.113.7", &f->identity.address));
	fake_connect(f);
	assert_int_equal(f->get_count, 1);
	assert_null(f->target.host);
	fake_client_sends(f, "PING\r\n");
	assert_string_equal(fake_upstream_got(f), "PING\r\n");
}

static void unnamed_plain(void **state)
{
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_UNNAMED, .port = 80};
	fake_connect(f);
	fake_client_sends(f, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "host_not_allowed"));
	fake_client_sends(f, "GET /v1/ HTTP/1.1\r\nHost: api.test:443\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "name_mismatch"));
	fake_client_sends(f, "GET /v1/ HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_int_equal(f->get_count, 1);
	assert_string_equal(f->target_host, "api.test");
}

/* One that there is no memory for has left a record in the kernel all the same, which would be the next
 * user's of its port. epoll(7) takes no regular file: that stands for the memory. */
static void record_is_taken_of_who_is_not_served(void **state)
{
	struct accepted accepted = {.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
	struct fake *f = *state;

	assert_true(accepted.fd >= 0);
	connection_accept(&f->proxy, &accepted);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->identified_count, 1);
	assert_int_equal(fcntl(accepted.fd, F_GETFD), -1);
	fake_connect(f);
	assert_int_equal(f->identified_count, 2);
}

/* The connection ends where its deadline cannot be set: nothing is dialled for it any more, whose answer
 * would come to what is freed. */
static void no_memory_for_the_deadline(void **state)
{
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "tcp.test", .port = 22};
	f->hold = true;
	no_timers = true;
	fake_connect(f);
	no_timers = false;
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->last.reason, EGRESS_INTERNAL);
	assert_int_equal(f->get_count, 0);
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static SSL_CTX *make_leaf(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return context;
}

struct tls_client {
	SSL_CTX *context;
	SSL *ssl;
};

static struct tls_client tls_client(struct fake *f, const char *name)
{
	struct tls_client client = {.context = SSL_CTX_new(TLS_client_method())};

	client.ssl = SSL_new(client.context);
	if (name)
		SSL_set_tlsext_host_name(client.ssl, name);
	SSL_set_fd(client.ssl, f->client);
	SSL_set_connect_state(client.ssl);
	return client;
}

static void tls_client_free(struct tls_client *client)
{
	SSL_free(client->ssl);
	SSL_CTX_free(client->context);
}

/* 1 done, 0 failed. */
static int tls_handshake(struct fake *f, SSL *ssl)
{
	for (int i = 0; i < 10; i++) {
		int rc = SSL_do_handshake(ssl);

		if (rc == 1)
			return 1;
		if (SSL_get_error(ssl, rc) != SSL_ERROR_WANT_READ)
			return 0;
		fake_turn(f);
	}
	return 0;
}

static void tls_name_must_be_the_hosts(void **state)
{
	static const struct {
		const char *name;
		int works;
	} rows[] = {
		{"api.test", 1}, {"API.test", 1}, {"open.test", 0}, {NULL, 0}, {"xapi.test", 0},
	};
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "api.test", .port = 443};
	f->leaf = make_leaf();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_client client;

		fake_connect(f);
		client = tls_client(f, rows[i].name);
		assert_int_equal(tls_handshake(f, client.ssl), rows[i].works);
		if (!rows[i].works) {
			assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()),
					 SSL_R_TLSV1_UNRECOGNIZED_NAME);
			assert_int_equal(f->last.reason, EGRESS_NAME_MISMATCH);
		}
		ERR_clear_error();
		tls_client_free(&client);
		close(f->client);
		f->client = -1;
		fake_turn(f);
	}
	assert_int_equal(f->get_count, 0);
}

static void tls_exchange(void **state)
{
	static const char request[] = "GET /v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
	struct fake *f = *state;
	struct tls_client client;
	char answer[256] = "";

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "api.test", .port = 443};
	f->leaf = make_leaf();
	fake_connect(f);
	client = tls_client(f, "api.test");
	assert_int_equal(tls_handshake(f, client.ssl), 1);
	assert_int_equal(SSL_write(client.ssl, request, sizeof(request) - 1), sizeof(request) - 1);
	assert_non_null(strstr(fake_upstream_got(f), "Authorization: Bearer s3cret\r\n"));
	assert_true(f->target.tls);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	assert_true(SSL_read(client.ssl, answer, sizeof(answer) - 1) > 0);
	assert_string_equal(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	tls_client_free(&client);
}

/* A body that ends with the connection, cut off: the client must see no close_notify. */
static void tls_cut_is_no_clean_end(void **state)
{
	static const char request[] = "GET /v1/x HTTP/1.0\r\n\r\n";
	struct fake *f = *state;
	struct tls_client client;
	char answer[256];
	int n;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "api.test", .port = 443};
	f->leaf = make_leaf();
	fake_connect(f);
	client = tls_client(f, "api.test");
	assert_int_equal(tls_handshake(f, client.ssl), 1);
	assert_true(SSL_write(client.ssl, request, sizeof(request) - 1) > 0);
	fake_upstream_got(f);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	close(f->upstream);
	f->upstream = -1;
	fake_turn(f);
	while ((n = SSL_read(client.ssl, answer, sizeof(answer))) > 0)
		;
	assert_int_not_equal(SSL_get_error(client.ssl, n), SSL_ERROR_ZERO_RETURN);
	assert_int_equal(f->last.reason, EGRESS_UPSTREAM_PROTOCOL);
	ERR_clear_error();
	tls_client_free(&client);
}

/* The ClientHello that a client would send for this name. */
static size_t client_hello_bytes(const char *name, char *buffer, size_t size)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int length;

	if (name)
		SSL_set_tlsext_host_name(ssl, name);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	(void)!SSL_do_handshake(ssl);
	length = BIO_read(out, buffer, (int)size);
	SSL_free(ssl);
	SSL_CTX_free(context);
	ERR_clear_error();
	assert_true(length > 0);
	return (size_t)length;
}

static void passthrough(void **state)
{
	static char hello[8192];
	size_t length = client_hello_bytes("pinned.test", hello, sizeof(hello));
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "pinned.test", .port = 443};
	f->tcp = true;
	fake_connect(f);
	for (size_t i = 0; i < length; i++) { /* byte by byte */
		assert_int_equal(f->get_count, 0);
		fake_send(f, f->client, hello + i, 1);
	}
	for (int i = 0; i < 1000 && f->get_count == 0; i++)
		fake_turn(f);
	assert_int_equal(f->get_count, 1);
	assert_false(f->target.tls);
	fake_turn(f);
	assert_int_equal(recv(f->upstream, f->text, FAKE_TEXT, 0), length);
	assert_memory_equal(f->text, hello, length);
}

static void passthrough_refusals(void **state)
{
	static const char *const names[] = {"api.test", NULL, "x"};
	static char hello[8192];
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "pinned.test", .port = 443};
	for (size_t i = 0; i < 3; i++) {
		fake_connect(f);
		fake_send(f, f->client, hello, client_hello_bytes(names[i], hello, sizeof(hello)));
		assert_int_equal(f->last.reason, EGRESS_NAME_MISMATCH);
		assert_memory_equal(fake_client_got(f), "\x15\x03\x01\x00\x02\x02\x70", 7);
		close(f->client);
	}
	fake_connect(f);
	fake_client_sends(f, "GET / HTTP/1.1\r\nHost: pinned.test\r\n\r\n");
	assert_true(fake_client_closed(f));
	assert_int_equal(f->last.reason, EGRESS_PROTOCOL_NOT_ALLOWED);
	assert_int_equal(f->get_count, 0);
}

static void unnamed_tls(void **state)
{
	struct fake *f = *state;
	struct tls_client client;

	f->identity = (struct identity){.kind = IDENTITY_UNNAMED, .port = 443};
	f->leaf = make_leaf();
	fake_connect(f);
	client = tls_client(f, "other.test");
	assert_int_equal(tls_handshake(f, client.ssl), 0);
	assert_int_equal(f->last.reason, EGRESS_HOST_NOT_ALLOWED);
	ERR_clear_error();
	tls_client_free(&client);
	close(f->client);
	fake_connect(f);
	client = tls_client(f, "api.test");
	assert_int_equal(tls_handshake(f, client.ssl), 1);
	tls_client_free(&client);
}

/* ---- clients that wait for a greeting ------------------------------------------------------- */

/* In steps, of which none leaps over two deadlines. */
static void wait_ms(struct fake *f, int ms)
{
	for (; ms > 0; ms -= 50) {
		later_ms += 50;
		fake_turn(f);
	}
}

static void leave(struct fake *f, int client)
{
	f->log_count = 0;
	close(client);
	f->client = -1;
	fake_turn(f);
}

static int connect_to(struct fake *f, uint16_t port)
{
	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "mail.test", .port = port};
	fake_connect(f);
	return f->client;
}

/* In plain, and once behind CONNECT. What comes after a while is served as ever, and what never came is
 * told when the client leaves. */
static void silent_client(void **state)
{
	struct fake *f = *state;
	int gone = connect_to(f, 587), late = connect_to(f, 587), web = connect_to(f, 443), tunnelled;

	f->identity = (struct identity){.kind = IDENTITY_EXPLICIT};
	fake_connect(f);
	tunnelled = f->client;
	fake_client_sends(f, "CONNECT mail.test:587 HTTP/1.1\r\nHost: mail.test:587\r\n\r\n");
	wait_ms(f, 2000);
	assert_int_equal(f->log_count, 0);
	wait_ms(f, 1500);
	assert_int_equal(f->log_count, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(f->reasons[i], EGRESS_ALLOWED);
	assert_string_equal(f->last_host, "mail.test");
	assert_non_null(strstr(f->last_detail, "protocol: tcp"));
	assert_int_equal(f->proxy.connection_count, 4);
	leave(f, web);
	assert_int_equal(f->log_count, 0);
	for (int i = 0; i < 2; i++) {
		leave(f, i ? tunnelled : gone);
		assert_int_equal(f->log_count, 1);
		assert_int_equal(f->last.reason, EGRESS_PROTOCOL_NOT_ALLOWED);
		assert_non_null(strstr(f->last_detail, "protocol: tcp"));
	}
	f->client = late;
	fake_client_sends(f, "GET / HTTP/1.1\r\nHost: mail.test:587\r\n\r\n");
	assert_int_equal(f->get_count, 1);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "200 OK"));
	leave(f, late);
	assert_int_equal(f->log_count, 0);
	assert_int_equal(f->proxy.connection_count, 0);
}

/* On a port that is no such protocol's it was only opened ahead, as far as anybody can know: the word while it
 * waits is all, however it ends. */
static void opened_ahead(void **state)
{
	struct fake *f = *state;
	int gone = connect_to(f, 8080), rests = connect_to(f, 8080);

	wait_ms(f, 3500);
	assert_int_equal(f->log_count, 2);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	assert_non_null(strstr(f->last_detail, "protocol: tcp"));
	leave(f, gone);
	assert_int_equal(f->proxy.connection_count, 1);
	assert_int_equal(f->log_count, 0);
	wait_ms(f, 300000);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->log_count, 0);
	close(rests);
}

/* Who only looks whether the port is open. */
static void silent_client_that_leaves_soon(void **state)
{
	struct fake *f = *state;

	leave(f, connect_to(f, 587));
	assert_int_equal(f->log_count, 0);
}

static void two_clients_of_tls(struct fake *f, struct tls_client client[2], int fd[2])
{
	f->leaf = make_leaf();
	for (int i = 0; i < 2; i++) {
		fd[i] = connect_to(f, 993);
		client[i] = tls_client(f, "mail.test");
	}
}

/* IMAPS and the like: after the handshake it is the server's turn. By ALPN a client says that it is not so. */
static void silent_client_of_tls(void **state)
{
	struct fake *f = *state;
	struct tls_client client[2];
	int fd[2];

	two_clients_of_tls(f, client, fd);
	assert_int_equal(SSL_set_alpn_protos(client[1].ssl, (const unsigned char *)"\x08http/1.1", 9), 0);
	for (int i = 0; i < 2; i++) {
		f->client = fd[i];
		assert_int_equal(tls_handshake(f, client[i].ssl), 1);
	}
	wait_ms(f, 3500);
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	assert_non_null(strstr(f->last_detail, "protocol: tcp"));
	leave(f, fd[1]);
	assert_int_equal(f->log_count, 0);
	leave(f, fd[0]);
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.reason, EGRESS_PROTOCOL_NOT_ALLOWED);
	for (int i = 0; i < 2; i++)
		tls_client_free(&client[i]);
}

/* A passthrough route's ClientHello has its whole time, also where it began within GREETING_SECONDS. */
static void slow_client_hello(void **state)
{
	static char hello[8192];
	size_t length = client_hello_bytes("pinned.test", hello, sizeof(hello));
	struct fake *f = *state;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "pinned.test", .port = 993};
	fake_connect(f);
	fake_send(f, f->client, hello, 100);
	wait_ms(f, 3500);
	assert_int_equal(f->log_count, 0);
	assert_int_equal(f->proxy.connection_count, 1);
	fake_send(f, f->client, hello + 100, length - 100);
	assert_int_equal(f->get_count, 1);
}

/* One that comes after the note is served, and one that never comes has its ten seconds, as ever. */
static void silent_client_of_passthrough(void **state)
{
	static char hello[8192];
	size_t length = client_hello_bytes("pinned.test", hello, sizeof(hello));
	struct fake *f = *state;
	int gone, late;

	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "pinned.test", .port = 993};
	fake_connect(f);
	gone = f->client;
	fake_connect(f);
	late = f->client;
	wait_ms(f, 3500);
	assert_int_equal(f->log_count, 2);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	fake_send(f, late, hello, length);
	assert_int_equal(f->get_count, 1);
	close(f->upstream);
	f->upstream = -1;
	leave(f, late);
	for (int i = 0; i < f->log_count; i++)
		assert_int_not_equal(f->reasons[i], EGRESS_PROTOCOL_NOT_ALLOWED);
	f->log_count = 0;
	wait_ms(f, 5500);
	assert_int_equal(f->log_count, 0);
	wait_ms(f, 2000);
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.reason, EGRESS_PROTOCOL_NOT_ALLOWED);
	assert_int_equal(f->proxy.connection_count, 0);
	close(gone);
}

/* What comes late is no silence any more: neither TLS after a while, nor a request within it. */
static void late_client_of_tls(void **state)
{
	struct fake *f = *state;
	struct tls_client client[2];
	int fd[2];

	two_clients_of_tls(f, client, fd);
	assert_int_equal(tls_handshake(f, client[1].ssl), 1);
	wait_ms(f, 3500);
	assert_int_equal(f->log_count, 2);
	f->client = fd[0];
	assert_int_equal(tls_handshake(f, client[0].ssl), 1);
	leave(f, fd[0]);
	assert_int_equal(f->log_count, 0);
	f->client = fd[1];
	assert_true(SSL_write(client[1].ssl, "GET / HTTP/1.1\r\nHost: mail.test:993\r\n\r\n", 39) > 0);
	fake_turn(f);
	assert_int_equal(f->get_count, 1);
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	leave(f, fd[1]);
	for (int i = 0; i < f->log_count; i++)
		assert_int_not_equal(f->reasons[i], EGRESS_PROTOCOL_NOT_ALLOWED);
	for (int i = 0; i < 2; i++)
		tls_client_free(&client[i]);
}

/* ---- reload --------------------------------------------------------------------------------- */

static void reload(void **state)
{
	struct fake *f = *state;
	struct config empty = f->config;
	struct error error = {""};

	empty.policy = policy_new();
	assert_int_equal(policy_finish(empty.policy, &error), 0);
	f->identity = (struct identity){.kind = IDENTITY_NAME, .host = "tcp.test", .port = 22};
	fake_connect(f);
	proxy_reconfigure(&f->proxy, &f->config);
	assert_int_equal(f->proxy.connection_count, 1);
	proxy_reconfigure(&f->proxy, &empty);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->last.reason, EGRESS_ROUTE_REMOVED);
	close(f->client);
	/* An explicit connection at rest is for no host yet: it goes on, under the new policy. */
	f->identity = (struct identity){.kind = IDENTITY_EXPLICIT};
	fake_connect(f);
	proxy_reconfigure(&f->proxy, &empty);
	assert_int_equal(f->proxy.connection_count, 1);
	fake_client_sends(f, "GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n");
	assert_non_null(strstr(fake_client_got(f), "host_not_allowed"));
	proxy_reconfigure(&f->proxy, &f->config);
	policy_unref(empty.policy);
}

/* The host of what is under way has become the name of our own pages (dns.name): there is no route for it
 * any more, and the request is not for us to answer. */
static void reload_takes_the_name(void **state)
{
	static const char get[] = "GET http://open.test/ HTTP/1.1\r\nHost: open.test\r\n\r\n";
	struct fake *f = *state;
	struct config renamed = f->config;
	struct error error = {""};

	renamed.policy = policy_new();
	assert_int_equal(policy_finish(renamed.policy, &error), 0);
	renamed.dns.proxy_name = (char *)"open.test";
	for (int dialling = 0; dialling < 2; dialling++) {
		f->hold = dialling;
		fake_connect(f);
		fake_client_sends(f, get);
		proxy_reconfigure(&f->proxy, &renamed);
		assert_int_equal(f->proxy.connection_count, 0);
		assert_int_equal(f->last.reason, EGRESS_ROUTE_REMOVED);
		close(f->client);
		f->client = -1;
		proxy_reconfigure(&f->proxy, &f->config);
	}
	policy_unref(renamed.policy);
}

#define EXPLICIT(name) cmocka_unit_test_setup_teardown(name, explicit_setup, fake_teardown)
#define STEERED(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EXPLICIT(explicit_refusals), EXPLICIT(reload_takes_the_name),
		EXPLICIT(own_pages),
		EXPLICIT(absolute_form_request_by_request),
		EXPLICIT(connect_then_plain_http),
		EXPLICIT(connect_to_tcp),
		EXPLICIT(connect_to_tcp_that_fails),
		EXPLICIT(connect_to_cidr),
		EXPLICIT(tls_to_the_proxy_itself),
		STEERED(steered_tcp),
		STEERED(steered_to_what_is_not_allowed),
		STEERED(steered_cidr),
		STEERED(unnamed_plain),
		STEERED(record_is_taken_of_who_is_not_served),
		STEERED(no_memory_for_the_deadline),
		STEERED(tls_name_must_be_the_hosts),
		STEERED(tls_exchange),
		STEERED(tls_cut_is_no_clean_end),
		STEERED(passthrough),
		STEERED(passthrough_refusals),
		STEERED(unnamed_tls),
		STEERED(silent_client),
		STEERED(opened_ahead),
		STEERED(silent_client_that_leaves_soon),
		STEERED(silent_client_of_tls),
		STEERED(slow_client_hello),
		STEERED(silent_client_of_passthrough),
		STEERED(late_client_of_tls),
		STEERED(reload),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
