// SPDX-License-Identifier: BSD-2-Clause
/* A body between two sockets: many records leave together, and none waits for one that is late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "http1_body.h"
#include "tcp_pair.h"

#define RECORD 16384

/* The origin's end is OpenSSL over memory, so that a test decides how much of a record arrives. */
struct pipeline {
	struct event_base *base;
	SSL_CTX *contexts[2];
	SSL *origin;
	BIO *in, *out;
	int origin_fd, client_fd;
	struct stream *source, *sink;
	struct http1_body body;
	struct bytes surplus;
};

static struct http1_scratch scratch;

bool policy_route_strips_trailer(const struct policy_route *route, struct span name)
{
	(void)route, (void)name;
	return false;
}

/* `ret[0]` is ours; the other end holds nothing back. */
static void quick_pair(int ret[2])
{
	tcp_pair(ret);
	assert_int_equal(setsockopt(ret[1], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
}

static void send_all(int fd, const char *data, size_t length)
{
	assert_int_equal(send(fd, data, length, MSG_NOSIGNAL), length);
}

/* What the origin's TLS has made goes to the socket, but for the last `hold` bytes, whose number and
 * place are returned. */
static size_t origin_sends(struct pipeline *p, size_t hold, char **ret_rest)
{
	char *data;
	size_t length = (size_t)BIO_get_mem_data(p->out, &data);

	if (length > hold)
		send_all(p->origin_fd, data, length - hold);
	*ret_rest = malloc(hold + 1);
	if (hold > 0)
		memcpy(*ret_rest, data + length - hold, hold);
	(void)BIO_reset(p->out);
	return hold;
}

static void origin_receives(struct pipeline *p)
{
	char buffer[4096];
	ssize_t n = recv(p->origin_fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n > 0)
		BIO_write(p->in, buffer, (int)n);
}

static void shake_hands(struct pipeline *p)
{
	int done = 0;
	char *rest;

	for (int i = 0; i < 1000 && done != 1; i++) {
		origin_receives(p);
		(void)SSL_do_handshake(p->origin);
		origin_sends(p, 0, &rest);
		free(rest);
		event_base_loop(p->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		done = stream_handshake(p->source);
	}
	assert_int_equal(done, 1);
	for (int i = 0; i < 1000 && !SSL_is_init_finished(p->origin); i++) {
		origin_receives(p);
		(void)SSL_do_handshake(p->origin);
	}
	/* Its tickets, too. */
	origin_sends(p, 0, &rest);
	free(rest);
}

static SSL *client_ssl(SSL_CTX *context)
{
	SSL *ssl = SSL_new(context);

	SSL_set_connect_state(ssl);
	return ssl;
}

static int set_up(void **state)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	int fds[2];

	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	p->base = event_base_new();
	p->contexts[0] = SSL_CTX_new(TLS_server_method());
	p->contexts[1] = SSL_CTX_new(TLS_client_method());
	SSL_CTX_use_certificate(p->contexts[0], cert);
	SSL_CTX_use_PrivateKey(p->contexts[0], key);
	X509_free(cert);
	EVP_PKEY_free(key);
	p->origin = SSL_new(p->contexts[0]);
	p->in = BIO_new(BIO_s_mem());
	p->out = BIO_new(BIO_s_mem());
	SSL_set_bio(p->origin, p->in, p->out);
	SSL_set_accept_state(p->origin);
	quick_pair(fds);
	p->source = stream_new(p->base, fds[0]);
	p->origin_fd = fds[1];
	assert_int_equal(stream_set_tls(p->source, client_ssl(p->contexts[1])), 0);
	quick_pair(fds);
	p->sink = stream_new(p->base, fds[0]);
	p->client_fd = fds[1];
	shake_hands(p);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct pipeline *p = *state;

	stream_free(p->source);
	stream_free(p->sink);
	http1_body_free(&p->body);
	bytes_free(&p->surplus);
	SSL_free(p->origin);
	SSL_CTX_free(p->contexts[0]);
	SSL_CTX_free(p->contexts[1]);
	close(p->origin_fd);
	close(p->client_fd);
	event_base_free(p->base);
	free(p);
	return 0;
}

static enum http1_flow pump(struct pipeline *p)
{
	event_base_loop(p->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	return http1_body_pump(&p->body, p->source, &p->surplus, p->sink, &scratch);
}

static int unsent(const struct pipeline *p)
{
	int count = -1;

	assert_int_equal(ioctl(stream_fd(p->sink), SIOCOUTQNSD, &count), 0);
	return count;
}

static void client_got(const struct pipeline *p, const char *text)
{
	char buffer[64] = "";

	assert_int_equal(recv(p->client_fd, buffer, sizeof(buffer) - 1, 0), strlen(text));
	assert_string_equal(buffer, text);
}

static void origin_writes(struct pipeline *p, const char *text)
{
	assert_int_equal(SSL_write(p->origin, text, (int)strlen(text)), strlen(text));
}

/* An event, and a piece of the next one, which promises more and may be all there is for an hour. */
static void nothing_waits_for_the_rest_of_a_record(void **state)
{
	struct pipeline *p = *state;
	char *rest;
	size_t length;

	http1_body_start(&p->body, HTTP1_UNTIL_EOF, 0, false);
	origin_writes(p, "event 1");
	origin_writes(p, "event 2");
	length = origin_sends(p, 10, &rest);
	assert_int_equal(pump(p), HTTP1_FLOW_WAIT);
	assert_true(stream_has_more(p->source)); /* else this tests nothing */
	assert_int_equal(unsent(p), 0);
	client_got(p, "event 1");
	send_all(p->origin_fd, rest, length);
	free(rest);
	assert_int_equal(pump(p), HTTP1_FLOW_WAIT);
	assert_int_equal(unsent(p), 0);
	client_got(p, "event 2");
}

/* The same where the body ends by its length, with what the origin says next already there. */
static void nothing_waits_behind_the_end(void **state)
{
	struct pipeline *p = *state;
	char *rest;

	http1_body_start(&p->body, HTTP1_LENGTH, 7, false);
	origin_writes(p, "event 1");
	origin_writes(p, "HTTP/1.1 200 OK");
	origin_sends(p, 0, &rest);
	free(rest);
	assert_int_equal(pump(p), HTTP1_FLOW_DONE);
	assert_int_equal(unsent(p), 0);
	client_got(p, "event 1");
}

static unsigned data_segments(const struct pipeline *p)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);

	assert_int_equal(getsockopt(stream_fd(p->sink), IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	return info.tcpi_segs_out;
}

/* The window of loopback is smaller than four records: the kernel sends the last when there is room. */
static void client_takes(const struct pipeline *p, size_t size)
{
	static char buffer[4 * RECORD];
	ssize_t n = recv(p->client_fd, buffer, size, MSG_WAITALL);

	assert_int_equal(n, size);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(buffer[i], 'x');
}

/* Loopback's segments hold four records, all of which fit in any socket's buffer. */
static void records_leave_together(void **state)
{
	static char block[RECORD];
	struct pipeline *p = *state;
	char *rest;

	memset(block, 'x', sizeof(block));
	http1_body_start(&p->body, HTTP1_UNTIL_EOF, 0, false);
	for (int i = 0; i < 32; i++) {
		for (int j = 0; j < 4; j++)
			assert_int_equal(SSL_write(p->origin, block, RECORD), RECORD);
		origin_sends(p, 0, &rest);
		free(rest);
		while (p->body.bytes < (uint64_t)(i + 1) * 4 * RECORD)
			assert_int_equal(pump(p), HTTP1_FLOW_WAIT);
		client_takes(p, sizeof(block) * 4);
	}
	/* A hundred and more by themselves. */
	assert_in_range(data_segments(p), 1, 32 * 2 + 16);
}

/* What came of a request, its head in front of it; nothing more comes by the socket. */
static void request_came(struct pipeline *p, const char *text)
{
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	const char *body = strstr(text, "\r\n\r\n") + 4;

	assert_int_equal(http1_request_parse((struct span){text, (size_t)(body - text)}, &p->body.parser,
					     &head), 0);
	http1_body_start(&p->body, head.framing, head.length, head.framing == HTTP1_CHUNKED);
	assert_true(bytes_append_text(&p->surplus, body));
}

/* Whether the sink went before the end of the body or took its last bytes along, the next request is found. */
static void the_rest_is_discarded(void **state)
{
	static const char *const rows[] = {
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 1\r\n\r\n",
	};
	struct pipeline *p = *state;

	shutdown(stream_fd(p->sink), SHUT_WR);
	for (int i = 0; i < 4; i++) {
		request_came(p, rows[i / 2]);
		assert_true(bytes_append_text(&p->surplus, "GET /next"));
		if (i & 1)
			assert_int_equal(pump(p), HTTP1_FLOW_SINK_GONE);
		http1_body_discard(&p->body);
		assert_int_equal(http1_body_pump(&p->body, p->source, &p->surplus, NULL, &scratch),
				 HTTP1_FLOW_DONE);
		assert_true(span_equal(bytes_span(&p->surplus), SPAN("GET /next")));
		assert_int_equal(p->body.pending.length, 0);
		assert_true(i & 1 || p->body.bytes == 0);
		bytes_free(&p->surplus);
		http1_body_free(&p->body);
		p->body = (struct http1_body){0};
	}
}

static ssize_t read_without_memory(void *object, void *buffer, size_t size)
{
	(void)object, (void)buffer, (void)size;
	return -ENOMEM;
}

static void free_nothing(void *object)
{
	(void)object;
}

/* The origin has done nothing wrong: it is not told of as one that left in the middle. */
static void our_lack_of_memory_is_no_cut(void **state)
{
	static const struct stream_ops ops = {.read = read_without_memory, .free = free_nothing};
	struct pipeline *p = *state;
	struct stream *source = stream_new_framed(&ops, p);

	http1_body_start(&p->body, HTTP1_UNTIL_EOF, 0, false);
	assert_int_equal(http1_body_pump(&p->body, source, &p->surplus, p->sink, &scratch),
			 HTTP1_FLOW_NO_MEMORY);
	stream_free(source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_waits_for_the_rest_of_a_record),
		TEST(nothing_waits_behind_the_end),
		TEST(records_leave_together),
		TEST(the_rest_is_discarded),
		TEST(our_lack_of_memory_is_no_cut),
	};

	alarm(60); /* what never comes is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
