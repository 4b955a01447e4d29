// SPDX-License-Identifier: BSD-2-Clause
/* Runs in a network namespace of its own with public addresses on lo, so that what is dialled is
 * what would be dialled in the world, and nothing leaves the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <sched.h>
#include <linux/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "cert_authority.h"
#include "fake_dns.h"
#include "tally.h"
#include "upstream.h"

static const struct fake_name names[] = {
	{.name = "origin.example", .a = {"203.0.113.1"}, .ttl = 60},
	{.name = "other.example", .a = {"203.0.113.1"}, .ttl = 60},
	{.name = "both.example", .a = {"203.0.113.1"}, .aaaa = {"2001:db8::1"}, .ttl = 60},
	{.name = "nov6.example", .a = {"203.0.113.1"}, .aaaa = {"2001:db8:dead::1"}, .ttl = 60},
	{.name = "full6.example", .a = {"203.0.113.1"}, .aaaa = {"2001:db8::f"}, .ttl = 60},
	{.name = "full.example", .aaaa = {"2001:db8::f"}, .ttl = 60},
	{.name = "loop.example", .a = {"127.0.0.1"}, .ttl = 60},
	{.name = "mapped.example", .aaaa = {"::ffff:127.0.0.1"}, .ttl = 60},
	{.name = "meta.example", .a = {"169.254.169.254"}, .ttl = 60},
	{.name = "mixed.example", .a = {"127.0.0.1", "203.0.113.1"}, .aaaa = {"::1"}, .ttl = 60},
	{.name = "ours.example", .a = {"198.18.0.5"}, .ttl = 60},
	{.name = "silent.example", .silent = true},
	{0},
};

static struct event_base *base;
static struct fake_dns dns;
static char *servers[1] = {dns.text};
static char ca_path[] = "/tmp/test_upstream_ca.XXXXXX";
static struct config config;
static struct cert_authority *authority, *stranger;

/* The clock of this process: to make certificates that have expired. */
static time_t offset;
time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec + offset;
	return now.tv_sec + offset;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static void settle(void)
{
	for (int i = 0; i < 20; i++)
		turn();
}

/* ---- the origin ----------------------------------------------------------------------------- */

enum manner { SERVE, HANG, CLOSE, TALK_HTTP };

/* Listens on all addresses; keeps its last connections. */
struct origin {
	int fd;
	uint16_t port;
	struct event *event;
	SSL_CTX *context; /* NULL: plain */
	enum manner manner;
	struct stream *streams[64];
	int accepted;
	char sni[256];
	bool resumed;
};

static void origin_ready(void *context)
{
	struct stream **stream = context;

	if (stream_ssl(*stream) && !SSL_is_init_finished(stream_ssl(*stream)))
		(void)!stream_handshake(*stream);
	ERR_clear_error();
}

static void origin_accept(evutil_socket_t fd, short what, void *argument)
{
	struct origin *origin = argument;
	int new = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	struct stream **stream = &origin->streams[origin->accepted++ % 64];

	(void)what;
	if (origin->manner == CLOSE) {
		close(new);
		return;
	}
	assert_int_equal(setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
	if (origin->manner == TALK_HTTP)
		assert_true(write(new, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28);
	stream_free(*stream);
	*stream = stream_new(base, new);
	if (origin->context && origin->manner == SERVE) {
		SSL *ssl = SSL_new(origin->context);

		SSL_set_app_data(ssl, origin);
		SSL_set_accept_state(ssl);
		assert_int_equal(stream_set_tls(*stream, ssl), 0);
		stream_set_ready(*stream, origin_ready, stream);
	}
}

static int note_sni(SSL *ssl, int *alert, void *context)
{
	struct origin *origin = SSL_get_app_data(ssl);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert, (void)context;
	snprintf(origin->sni, sizeof(origin->sni), "%s", name ? name : "");
	origin->resumed = SSL_session_reused(ssl);
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_context(struct cert_authority *ca, const char *host)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	unsigned char *public_key = NULL;
	int length = i2d_PUBKEY(key, &public_key);
	struct bytes der = {0};
	struct error error = {0};

	assert_int_equal(cert_authority_sign(ca, host,
					     (struct span){(char *)public_key, (size_t)length},
					     &der, &error),
			 0);
	assert_int_equal(SSL_CTX_use_certificate_ASN1(context, (int)bytes_span(&der).length,
						      (const unsigned char *)bytes_span(&der).data),
			 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	SSL_CTX_set_tlsext_servername_callback(context, note_sni);
	SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
	OPENSSL_free(public_key);
	EVP_PKEY_free(key);
	bytes_free(&der);
	return context;
}

/* Takes over `context`. */
static void origin_start(struct origin *origin, SSL_CTX *context, enum manner manner)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
	socklen_t length = sizeof(sa);

	*origin = (struct origin){.context = context, .manner = manner};
	origin->fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(origin->fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(listen(origin->fd, 100), 0);
	getsockname(origin->fd, (struct sockaddr *)&sa, &length);
	origin->port = ntohs(sa.sin6_port);
	origin->event = event_new(base, origin->fd, EV_READ | EV_PERSIST, origin_accept, origin);
	event_add(origin->event, NULL);
}

static void origin_stop(struct origin *origin)
{
	event_free(origin->event);
	close(origin->fd);
	for (int i = 0; i < 64; i++)
		stream_free(origin->streams[i]);
	SSL_CTX_free(origin->context);
}

/* ---- asking --------------------------------------------------------------------------------- */

struct got {
	int calls;
	struct upstream_result result;
	char detail[512];
};

static void on_done(void *context, const struct upstream_result *result)
{
	struct got *got = context;

	got->calls++;
	got->result = *result;
	snprintf(got->detail, sizeof(got->detail), "%s", result->detail ? result->detail : "");
}

static void wait_for(struct got *got)
{
	for (int i = 0; i < 5000 && !got->calls; i++) {
		turn();
		usleep(1000);
	}
	assert_int_equal(got->calls, 1);
	assert_int_equal(got->result.reason == EGRESS_ALLOWED, got->result.stream != NULL);
	assert_int_equal(ERR_peek_error(), 0);
}

static struct got get(struct upstream *upstream, const struct upstream_target *target, bool fresh)
{
	struct got got = {0};
	struct upstream_request *request = upstream_get(upstream, target, fresh, on_done, &got);

	if (got.calls)
		assert_null(request);
	wait_for(&got);
	return got;
}

static struct upstream_target target_of(const char *host, uint16_t port, bool tls)
{
	return (struct upstream_target){.host = host, .port = port, .tls = tls};
}

static void assert_get(struct upstream *upstream, const struct upstream_target *target,
		       enum egress_reason reason, const char *detail)
{
	struct got got = get(upstream, target, true);

	if (got.result.reason != reason || !strstr(got.detail, detail))
		fail_msg("%d '%s' instead of %d '%s'", got.result.reason, got.detail, reason,
			 detail);
	stream_free(got.result.stream);
}

static struct upstream *new_upstream(void)
{
	struct upstream *upstream;
	struct error error = {0};

	if (upstream_new(base, &config, &upstream, &error) < 0)
		fail_msg("%s", error.text);
	return upstream;
}

static void end_upstream(struct upstream *upstream)
{
	upstream_free(upstream);
	settle();
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void plain(void **state)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct egress_address expected;
	struct origin origin;
	struct got got;
	char buffer[8];

	(void)state;
	origin_start(&origin, NULL, SERVE);
	target = target_of("origin.example", origin.port, false);
	got = get(upstream, &target, false);
	assert_int_equal(got.result.reason, EGRESS_ALLOWED);
	assert_false(got.result.reused);
	assert_true(address_parse("203.0.113.1", &expected));
	assert_memory_equal(&got.result.address, &expected, sizeof(expected));
	settle();
	assert_int_equal(stream_write(got.result.stream, "hello", 5), 5);
	assert_int_equal(stream_read(origin.streams[0], buffer, 8), 5);
	stream_free(got.result.stream);
	/* A cidr route: an address, no name. */
	target = (struct upstream_target){.address = &expected, .port = origin.port};
	assert_get(upstream, &target, EGRESS_ALLOWED, "");
	end_upstream(upstream);
	origin_stop(&origin);
}

static void private_addresses(void **state)
{
	static const char *const hosts[] = {"loop.example", "mapped.example", "meta.example",
					    "localhost",    "127.0.0.1",      "::1",
					    "ours.example"};
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct egress_address address;
	struct origin origin;
	struct got got;

	(void)state;
	origin_start(&origin, NULL, SERVE);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		target = target_of(hosts[i], origin.port, i % 2);
		assert_get(upstream, &target, EGRESS_PRIVATE_ADDRESS, hosts[i]);
	}
	assert_true(address_parse("127.0.0.1", &address));
	target = (struct upstream_target){.address = &address, .port = origin.port};
	assert_get(upstream, &target, EGRESS_PRIVATE_ADDRESS, "127.0.0.1");
	settle();
	assert_int_equal(origin.accepted, 0);
	/* Private ones are passed over where there are others, allow_private dials them, and our
	 * own synthetic addresses are never dialled. */
	target = target_of("mixed.example", origin.port, false);
	got = get(upstream, &target, true);
	assert_true(address_parse("203.0.113.1", &address));
	assert_memory_equal(&got.result.address, &address, sizeof(address));
	stream_free(got.result.stream);
	target = target_of("loop.example", origin.port, false);
	target.allow_private = true;
	assert_get(upstream, &target, EGRESS_ALLOWED, "");
	target.host = "ours.example";
	assert_get(upstream, &target, EGRESS_PRIVATE_ADDRESS, "ours.example");
	end_upstream(upstream);
	origin_stop(&origin);
}

static void failures(void **state)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target = target_of("nowhere.example", 80, false);

	(void)state;
	assert_get(upstream, &target, EGRESS_UPSTREAM_UNRESOLVED, "does not exist");
	target = target_of("origin.example", 1, false);
	assert_get(upstream, &target, EGRESS_UPSTREAM_UNREACHABLE,
		   "(203.0.113.1) port 1: Connection refused");
	upstream_set_timeout(upstream, 200);
	target.host = "silent.example";
	assert_get(upstream, &target, EGRESS_UPSTREAM_TIMEOUT, "resolving");
	end_upstream(upstream);
}

/* A listener that drops SYNs, its queue being full. */
static int full_listener(uint16_t port, int fillers[4])
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	inet_pton(AF_INET6, "2001:db8::f", &sa.sin6_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	return fd;
}

static void close_full_listener(int fd, int fillers[4])
{
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(fd);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* An IPv4-only listener beside a full IPv6 one, on one port. */
static int listen_v4(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	inet_pton(AF_INET, "203.0.113.1", &sa.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 10), 0);
	return fd;
}

/* The milliseconds until IPv4 was connected: the first that were below `most`, or the last of five, since
 * the machine may be busy with something else. */
static double get_v4_within(struct upstream *upstream, const struct upstream_target *target, double most)
{
	double from, took = most;

	for (int i = 0; i < 5 && took >= most; i++) {
		struct got got;

		from = now_ms();
		got = get(upstream, target, true);
		took = now_ms() - from;
		assert_true(address_is_v4(&got.result.address));
		stream_free(got.result.stream);
	}
	return took;
}

static void happy_eyeballs(void **state)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;
	struct got got;
	int v4, v6, fillers[4];
	double took;

	(void)state;
	origin_start(&origin, NULL, SERVE);
	target = target_of("both.example", origin.port, false);
	got = get(upstream, &target, true);
	assert_false(address_is_v4(&got.result.address)); /* IPv6 first */
	stream_free(got.result.stream);
	target.host = "nov6.example"; /* no way there: the next at once */
	took = get_v4_within(upstream, &target, 240);
	assert_true(took < 240);
	origin_stop(&origin);
	v6 = full_listener(4434, fillers);
	v4 = listen_v4(4434);
	target = target_of("full6.example", 4434, false);
	took = get_v4_within(upstream, &target, 950);
	assert_true(took > 240 && took < 950); /* before the SYN is sent again */
	target.host = "full.example";
	upstream_set_timeout(upstream, 300);
	assert_get(upstream, &target, EGRESS_UPSTREAM_TIMEOUT, "connecting");
	close_full_listener(v6, fillers);
	close(v4);
	end_upstream(upstream);
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static void verified(void **state)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;
	struct got got;

	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *context = server_context(authority, "origin.example");
		char byte;

		SSL_CTX_set_max_proto_version(context, version);
		origin_start(&origin, context, SERVE);
		target = target_of("origin.example", origin.port, true);
		for (int i = 0; i < 2; i++) {
			got = get(upstream, &target, true);
			if (got.result.reason != EGRESS_ALLOWED)
				fail_msg("%s", got.detail);
			settle();
			assert_string_equal(origin.sni, "origin.example");
			/* Tickets come with the first read. */
			assert_int_equal(stream_read(got.result.stream, &byte, 1), -EAGAIN);
			assert_int_equal(SSL_session_reused(stream_ssl(got.result.stream)), i);
			stream_free(got.result.stream);
			settle();
		}
		/* The session of one host is not offered to another, its certificate is asked. */
		target.host = "other.example";
		assert_get(upstream, &target, EGRESS_UPSTREAM_CERTIFICATE,
			   "other.example: hostname mismatch");
		assert_false(origin.resumed);
		origin_stop(&origin);
	}
	end_upstream(upstream);
}

static SSL_CTX *self_signed(const char *host)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	char san[300];
	X509_EXTENSION *extension;

	snprintf(san, sizeof(san), "DNS:%s", host);
	extension = X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, san);
	X509_set_version(cert, 2);
	X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	SSL_CTX_use_certificate(context, cert);
	SSL_CTX_use_PrivateKey(context, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	return context;
}

/* Whatever was offered. */
static int choose(SSL *ssl, const unsigned char **ret, unsigned char *ret_length,
		  const unsigned char *in, unsigned length, void *context)
{
	(void)ssl, (void)in, (void)length;
	*ret = context;
	*ret_length = 2;
	return SSL_TLSEXT_ERR_OK;
}

static void assert_tls_failure(SSL_CTX *context, enum manner manner, enum egress_reason reason,
			       const char *detail)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;

	origin_start(&origin, context, manner);
	target = target_of("origin.example", origin.port, true);
	upstream_set_timeout(upstream, manner == HANG ? 300 : 10000);
	assert_get(upstream, &target, reason, detail);
	end_upstream(upstream);
	origin_stop(&origin);
}

static void bad_certificates(void **state)
{
	SSL_CTX *expired, *early;

	(void)state;
	offset = -30L * 86400;
	expired = server_context(authority, "origin.example");
	offset = 2L * 86400;
	early = server_context(authority, "origin.example");
	offset = 0;
	assert_tls_failure(expired, SERVE, EGRESS_UPSTREAM_CERTIFICATE,
			   "origin.example: certificate has expired");
	assert_tls_failure(early, SERVE, EGRESS_UPSTREAM_CERTIFICATE, "not yet valid");
	assert_tls_failure(server_context(authority, "b.example"), SERVE,
			   EGRESS_UPSTREAM_CERTIFICATE, "hostname mismatch");
	assert_tls_failure(self_signed("origin.example"), SERVE, EGRESS_UPSTREAM_CERTIFICATE,
			   "self-signed certificate");
	assert_tls_failure(server_context(stranger, "origin.example"), SERVE,
			   EGRESS_UPSTREAM_CERTIFICATE, "unable to get local issuer");
}

static void bad_handshakes(void **state)
{
	SSL_CTX *old = server_context(authority, "origin.example"),
		*h3 = server_context(authority, "origin.example");

	(void)state;
	SSL_CTX_set_security_level(old, 0);
	SSL_CTX_set_min_proto_version(old, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(old, TLS1_1_VERSION);
	assert_tls_failure(old, SERVE, EGRESS_UPSTREAM_PROTOCOL, "origin.example: TLS: ");
	SSL_CTX_set_alpn_select_cb(h3, choose, (void *)"h3");
	assert_tls_failure(h3, SERVE, EGRESS_UPSTREAM_PROTOCOL, "origin.example: TLS: ");
	assert_tls_failure(NULL, TALK_HTTP, EGRESS_UPSTREAM_PROTOCOL, "wrong version number");
	assert_tls_failure(NULL, CLOSE, EGRESS_UPSTREAM_PROTOCOL, "origin.example: TLS: ");
	assert_tls_failure(NULL, HANG, EGRESS_UPSTREAM_TIMEOUT, "TLS handshake");
}

/* ---- certificates of ours ------------------------------------------------------------------- */

/* A self-signed one: the origin of these tests takes any. */
static struct client_cert *new_client(const char *name)
{
	SSL_CTX *context = self_signed(name);
	BIO *certificate = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
	struct client_cert *client;
	struct error error = {0};
	char *texts[2];
	long lengths[2];

	PEM_write_bio_X509(certificate, SSL_CTX_get0_certificate(context));
	PEM_write_bio_PrivateKey(key, SSL_CTX_get0_privatekey(context), NULL, NULL, 0, NULL, NULL);
	lengths[0] = BIO_get_mem_data(certificate, &texts[0]);
	lengths[1] = BIO_get_mem_data(key, &texts[1]);
	assert_int_equal(client_cert_new((struct span){texts[0], (size_t)lengths[0]},
					 (struct span){texts[1], (size_t)lengths[1]}, &client,
					 &error),
			 0);
	BIO_free(certificate);
	BIO_free(key);
	SSL_CTX_free(context);
	return client;
}

static int take_any(int preverified, X509_STORE_CTX *store)
{
	(void)preverified, (void)store;
	return 1;
}

/* Whom the origin takes us for: the name in the certificate of its newest connection. */
static void assert_shown(const struct origin *origin, const char *name)
{
	SSL *ssl = stream_ssl(origin->streams[(origin->accepted - 1) % 64]);
	X509 *cert = SSL_get0_peer_certificate(ssl);

	if (!name) {
		assert_null(cert);
		return;
	}
	assert_non_null(cert);
	assert_int_equal(X509_check_host(cert, name, 0, 0, NULL), 1);
}

static void client_certificates(void **state)
{
	struct upstream *upstream = new_upstream();
	struct client_cert *one = new_client("one.example"), *two = new_client("two.example");
	SSL_CTX *context = server_context(authority, "origin.example");
	struct client_cert *const order[] = {one, two, NULL, one};
	static const char *const shown[] = {"one.example", "two.example", NULL};
	struct upstream_target target;
	struct origin origin;
	struct got got;
	char byte;

	(void)state;
	assert_true(client_cert_id(one) != client_cert_id(two));
	assert_int_equal(client_cert_id(NULL), 0);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, take_any);
	origin_start(&origin, context, SERVE);
	target = target_of("origin.example", origin.port, true);
	/* Neither an idle connection nor a session of one identity serves another. */
	for (int i = 0; i < 4; i++) {
		target.client = order[i];
		got = get(upstream, &target, false);
		settle();
		assert_int_equal(got.result.reused, i == 3);
		if (i < 3)
			assert_shown(&origin, shown[i]);
		assert_int_equal(stream_read(got.result.stream, &byte, 1), -EAGAIN);
		assert_int_equal(SSL_session_reused(stream_ssl(got.result.stream)), 0);
		upstream_put(upstream, &target, got.result.stream);
	}
	/* The same identity resumes. */
	target.client = two;
	got = get(upstream, &target, true);
	settle();
	assert_int_equal(SSL_session_reused(stream_ssl(got.result.stream)), 1);
	assert_shown(&origin, "two.example");
	stream_free(got.result.stream);
	/* Those under way keep it. */
	target.client = one;
	got = (struct got){0};
	assert_non_null(upstream_get(upstream, &target, true, on_done, &got));
	client_cert_unref(one);
	client_cert_unref(two);
	wait_for(&got);
	settle();
	assert_shown(&origin, "one.example");
	stream_free(got.result.stream);
	end_upstream(upstream);
	origin_stop(&origin);
}

/* ---- the pool ------------------------------------------------------------------------------- */

static void reuse(void **state)
{
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;
	struct got first, second;

	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		origin_start(&origin, tls ? server_context(authority, "origin.example") : NULL,
			     SERVE);
		target = target_of("origin.example", origin.port, tls);
		first = get(upstream, &target, false);
		upstream_put(upstream, &target, first.result.stream);
		settle(); /* session tickets arrive: no reason to close */
		target.allow_private = true;
		second = get(upstream, &target, false);
		assert_false(second.result.reused);
		stream_free(second.result.stream);
		target.allow_private = false;
		assert_get(upstream, &target, EGRESS_ALLOWED, ""); /* fresh */
		second = get(upstream, &target, false);
		assert_true(second.result.reused);
		assert_ptr_equal(second.result.stream, first.result.stream);
		assert_memory_equal(&second.result.address, &first.result.address, 16);
		upstream_put(upstream, &target, second.result.stream);
		/* The server closes it: noticed, and a new one is made. */
		stream_free(origin.streams[0]);
		origin.streams[0] = NULL;
		settle();
		second = get(upstream, &target, false);
		assert_false(second.result.reused);
		upstream_put(upstream, &target, second.result.stream);
		upstream_forget(upstream, "origin.example");
		second = get(upstream, &target, false);
		assert_false(second.result.reused);
		/* A plain connection does not pass for TLS, nor TLS for plain. */
		target.tls = !tls;
		upstream_put(upstream, &target, second.result.stream);
		upstream_set_timeout(upstream, 300);
		second = (struct got){0};
		upstream_cancel(upstream_get(upstream, &target, false, on_done, &second));
		assert_int_equal(second.calls, 0);
		upstream_set_timeout(upstream, 10000);
		origin_stop(&origin);
	}
	end_upstream(upstream);
}

/* A record that nobody asked for, of which a part has come: an answer may be in it. */
static void part_of_a_record(void **state)
{
	static uint64_t counted[TALLY_COUNT];
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;
	struct got got;

	(void)state;
	origin_start(&origin, server_context(authority, "origin.example"), SERVE);
	tally_count_at(counted);
	target = target_of("origin.example", origin.port, true);
	got = get(upstream, &target, false);
	upstream_put(upstream, &target, got.result.stream);
	settle();
	assert_int_equal(counted[TALLY_POOL_IDLE], 1);
	assert_int_equal(send(stream_fd(origin.streams[0]), "\x17\x03\x03", 3, 0), 3);
	settle();
	assert_int_equal(counted[TALLY_POOL_IDLE], 0);
	end_upstream(upstream);
	origin_stop(&origin);
}

/* One connection for all requests to a host that speaks HTTP/2; what HTTP/2 cannot carry gets one of
 * its own, or none. */
static void http2_sessions(void **state)
{
	SSL_CTX *context = server_context(authority, "origin.example");
	struct upstream *upstream = new_upstream();
	struct upstream_target target;
	struct origin origin;
	struct got first, second;

	(void)state;
	SSL_CTX_set_alpn_select_cb(context, choose, (void *)"h2");
	origin_start(&origin, context, SERVE);
	target = target_of("origin.example", origin.port, true);
	assert_int_equal(upstream_protocol(upstream, "origin.example", origin.port), UPSTREAM_UNKNOWN);
	first = get(upstream, &target, false);
	assert_true(stream_is_framed(first.result.stream));
	assert_int_equal(upstream_protocol(upstream, "origin.example", origin.port), UPSTREAM_HTTP2);
	second = get(upstream, &target, false);
	assert_true(second.result.reused);
	assert_int_equal(stream_fd(second.result.stream), stream_fd(first.result.stream));
	upstream_put(upstream, &target, second.result.stream);
	target.allow_private = true;
	second = get(upstream, &target, false);
	assert_false(second.result.reused);
	stream_free(second.result.stream);
	target.allow_private = false;
	target.http1 = true;
	assert_get(upstream, &target, EGRESS_UPSTREAM_PROTOCOL, "TLS: ");
	target.http1 = false;
	assert_int_equal(origin.accepted, 3);
	/* Forgotten, it serves nobody else, but who has it. */
	upstream_forget(upstream, "origin.example");
	second = get(upstream, &target, false);
	assert_false(second.result.reused);
	assert_true(stream_fd(first.result.stream) >= 0);
	stream_free(first.result.stream);
	end_upstream(upstream);
	assert_int_equal(stream_fd(second.result.stream), -1);
	stream_free(second.result.stream);
	origin_stop(&origin);
}

static int reconfigure(struct upstream *upstream, const struct config *next, struct error *error)
{
	struct upstream_change *change;

	if (upstream_prepare(next, &change, error) < 0)
		return -1;
	if (upstream_apply(upstream, change, next, error) == 0)
		return 0;
	upstream_change_free(change);
	return -1;
}

static void reconfigured(void **state)
{
	struct upstream *upstream = new_upstream();
	struct config other = config;
	char missing[] = "/nonexistent/ca.pem";
	struct error error = {0};
	struct upstream_target target;
	struct origin origin;
	struct got first, second;
	char byte;

	(void)state;
	origin_start(&origin, server_context(authority, "origin.example"), SERVE);
	target = target_of("origin.example", origin.port, true);
	first = get(upstream, &target, true);
	second = get(upstream, &target, true);
	upstream_put(upstream, &target, first.result.stream);
	/* A failure changes nothing. */
	other.upstream.ca_file = missing;
	assert_int_equal(reconfigure(upstream, &other, &error), -1);
	assert_non_null(strstr(error.text, missing));
	first = get(upstream, &target, false);
	assert_true(first.result.reused);
	upstream_put(upstream, &target, first.result.stream);
	/* Without the test's root: idle ones are gone, those in use do not come back, and their
	 * late session tickets have nowhere to go. */
	other.upstream.ca_file = NULL;
	assert_int_equal(reconfigure(upstream, &other, &error), 0);
	settle();
	assert_int_equal(stream_read(second.result.stream, &byte, 1), -EAGAIN);
	upstream_put(upstream, &target, second.result.stream);
	first = get(upstream, &target, false);
	assert_int_equal(first.result.reason, EGRESS_UPSTREAM_CERTIFICATE);
	end_upstream(upstream);
	origin_stop(&origin);
}

/* A FIFO would hold the start, or a reload, until somebody writes to it: alarm(2) ends a test that
 * waits. */
static void no_plain_file(struct config *bad)
{
	char directory[] = "/tmp/egress-test-XXXXXX", fifo[64];
	char *const places[] = {fifo, directory};

	assert_non_null(mkdtemp(directory));
	snprintf(fifo, sizeof(fifo), "%s/ca.pem", directory);
	assert_return_code(mkfifo(fifo, 0600), errno);
	alarm(10);
	for (int i = 0; i < 2; i++) {
		struct upstream *upstream;
		struct error error = {0};

		bad->upstream.ca_file = places[i];
		assert_int_equal(upstream_new(base, bad, &upstream, &error), -1);
		assert_non_null(strstr(error.text, places[i]));
		assert_non_null(strstr(error.text, "not a regular file"));
	}
	alarm(0);
	bad->upstream.ca_file = NULL;
	assert_return_code(unlink(fifo), errno);
	assert_return_code(rmdir(directory), errno);
}

static void set_up_errors(void **state)
{
	struct config bad = config;
	char proxy[] = "https://proxy:8888", missing[] = "/nonexistent/ca.pem",
	     server[] = "nonsense";
	char *bad_servers[] = {server};
	struct upstream *upstream;
	struct error error = {0};

	(void)state;
	bad.upstream.proxy = proxy;
	bad.upstream.proxy_ca_file = missing;
	assert_int_equal(upstream_new(base, &bad, &upstream, &error), -1);
	assert_non_null(strstr(error.text, "upstream.proxy_ca_file: cannot load"));
	bad.upstream.proxy = bad.upstream.proxy_ca_file = NULL;
	bad.upstream.ca_file = missing;
	error = (struct error){0};
	assert_int_equal(upstream_new(base, &bad, &upstream, &error), -1);
	assert_non_null(strstr(error.text, missing));
	bad.upstream.ca_file = NULL;
	no_plain_file(&bad);
	bad.upstream.resolvers = bad_servers;
	error = (struct error){0};
	assert_int_equal(upstream_new(base, &bad, &upstream, &error), -1);
	assert_non_null(strstr(error.text, "nonsense"));
	upstream_free(NULL);
	settle();
}

/* ---- cancelling ----------------------------------------------------------------------------- */

/* Lets a request get to its stage, then ends it: by a cancel, or with everything else. */
static void end_early(const struct upstream_target *target, bool whole)
{
	struct upstream *upstream = new_upstream();
	struct got got = {0};
	struct upstream_request *request = upstream_get(upstream, target, false, on_done, &got);

	assert_non_null(request);
	for (int i = 0; i < 30; i++) {
		turn();
		usleep(2000);
	}
	assert_int_equal(got.calls, 0);
	if (!whole)
		upstream_cancel(request);
	end_upstream(upstream);
	assert_int_equal(got.calls, 0);
}

static void cancel(void **state)
{
	struct upstream_target target;
	struct origin origin;
	int v6, fillers[4];

	(void)state;
	upstream_cancel(NULL);
	origin_start(&origin, NULL, HANG);
	v6 = full_listener(4435, fillers);
	for (int whole = 0; whole < 2; whole++) {
		target = target_of("silent.example", 443, true);
		end_early(&target, whole);
		target = target_of("full.example", 4435, true);
		end_early(&target, whole);
		target = target_of("origin.example", origin.port, true);
		end_early(&target, whole);
	}
	close_full_listener(v6, fillers);
	origin_stop(&origin);
}

/* ---- dns.mode real -------------------------------------------------------------------------- */

struct looked {
	int calls;
	size_t count;
	uint32_t ttl;
};

static void on_looked(void *context, const struct egress_address *addresses, size_t count,
		      uint32_t ttl)
{
	struct looked *looked = context;

	(void)addresses;
	*looked = (struct looked){looked->calls + 1, count, ttl};
}

static void resolve(void **state)
{
	struct upstream *upstream = new_upstream();
	struct looked both = {0}, none = {0}, again = {0}, never = {0};

	(void)state;
	upstream_resolve(upstream, "both.example", on_looked, &both);
	upstream_resolve(upstream, "nowhere.example", on_looked, &none);
	for (int i = 0; i < 3000 && !(both.calls && none.calls); i++) {
		turn();
		usleep(1000);
	}
	assert_int_equal(both.calls, 1);
	assert_int_equal(both.count, 2);
	assert_int_equal(none.calls, 1);
	assert_int_equal(none.count, 0);
	upstream_resolve(upstream, "both.example", on_looked, &again);
	assert_int_equal(again.calls, 1);
	upstream_resolve(upstream, "silent.example", on_looked, &never);
	end_upstream(upstream);
	assert_int_equal(never.calls, 0);
}

/* ---- the world ------------------------------------------------------------------------------ */

static int enter_world(void)
{
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		perror("test_upstream: needs a network namespace of its own");
		return -1;
	}
	return system("ip link set lo up && ip addr add 203.0.113.1/32 dev lo && "
		      "ip addr add 2001:db8::1/128 dev lo nodad && "
		      "ip addr add 2001:db8::f/128 dev lo nodad");
}

static int setup(void **state)
{
	struct error error = {0};
	struct bytes pem = {0};
	int fd = mkstemp(ca_path);

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	if (enter_world() != 0 || cert_authority_new("test", &authority, &error) < 0 ||
	    cert_authority_new("stranger", &stranger, &error) < 0 ||
	    cert_authority_pem(authority, &pem) < 0 ||
	    write(fd, bytes_span(&pem).data, bytes_span(&pem).length) < 0)
		return -1;
	close(fd);
	bytes_free(&pem);
	base = event_base_new();
	fake_dns_start(&dns, base, names);
	config.upstream.ca_file = ca_path;
	config.upstream.resolvers = servers;
	config.upstream.resolver_count = 1;
	return cidr_parse("198.18.0.0/15", &config.dns.pool) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	unlink(ca_path);
	cert_authority_free(authority);
	cert_authority_free(stranger);
	fake_dns_stop(&dns);
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),          cmocka_unit_test(private_addresses),
		cmocka_unit_test(failures),       cmocka_unit_test(happy_eyeballs),
		cmocka_unit_test(verified),       cmocka_unit_test(bad_certificates),
		cmocka_unit_test(bad_handshakes), cmocka_unit_test(reuse), cmocka_unit_test(part_of_a_record),
		cmocka_unit_test(client_certificates),
		cmocka_unit_test(http2_sessions), cmocka_unit_test(reconfigured),
		cmocka_unit_test(set_up_errors),
		cmocka_unit_test(cancel),         cmocka_unit_test(resolve),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
