/* SPDX-License-Identifier: BSD-2-Clause */
/* A proxy whose client and upstream are played by the test. Include in one file of a test: it
 * defines the fakes that upstream.h, identify.h, cert_authority.h and access_log.h declare. */
#ifndef FAKE_PROXY_H
#define FAKE_PROXY_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "policy.h"
#include "stream.h"

#define FAKE_TEXT (4 * 1024 * 1024)
#define FAKE_LOGS 64

struct fake {
	struct proxy proxy;
	struct config config;
	struct identity identity;
	bool tcp;		  /* the client's side is TCP, not a UNIX pair */
	int client;		  /* the test's end; -1 when closed */
	int upstream;		  /* the test's end of the newest upstream connection */
	int get_count, put_count, forget_count, identified_count;
	enum upstream_protocol protocol; /* what the upstream is known to speak */
	bool last_fresh, reused;  /* what the next upstream_get() says */
	enum egress_reason refuse; /* the next upstream_get() fails with this */
	bool hold;		  /* upstream_get() calls back by fake_dialled() only */
	upstream_done_fn held;
	void *held_context;
	struct stream *pooled;
	struct upstream_target target;
	char target_host[EGRESS_NAME_SIZE];
	int log_count;
	struct access_record last;
	char last_detail[256], last_host[EGRESS_NAME_SIZE];
	enum egress_reason reasons[FAKE_LOGS];
	SSL_CTX *leaf;
	char text[FAKE_TEXT];
};
static struct fake *fake;

/* ---- the modules' fakes --------------------------------------------------------------------- */

static void fake_dial(bool fresh, upstream_done_fn done, void *context)
{
	struct upstream_result result = {.reason = fake->refuse, .detail = "as the test wants it"};
	int pair[2];

	if (fake->refuse == EGRESS_ALLOWED) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		if (fake->upstream >= 0)
			close(fake->upstream);
		fake->upstream = pair[1];
		result.stream = stream_new(fake->proxy.base, pair[0]);
		assert_non_null(result.stream);
		result.reused = fake->reused && !fresh;
	}
	done(context, &result);
}

static UNUSED void fake_dialled(struct fake *f)
{
	upstream_done_fn done = f->held;

	assert_non_null(done);
	f->held = NULL;
	fake_dial(f->last_fresh, done, f->held_context);
}

struct upstream_request *upstream_get(struct upstream *upstream,
				      const struct upstream_target *target, bool fresh,
				      upstream_done_fn done, void *context)
{
	(void)upstream;
	fake->get_count++;
	fake->last_fresh = fresh;
	fake->target = *target;
	snprintf(fake->target_host, sizeof(fake->target_host), "%s",
		 target->host ? target->host : "");
	if (!fake->hold) {
		fake_dial(fresh, done, context);
		return NULL;
	}
	fake->held = done;
	fake->held_context = context;
	return (struct upstream_request *)&fake->held;
}

void upstream_cancel(struct upstream_request *request)
{
	if (request)
		fake->held = NULL;
}

size_t upstream_stuck(const struct upstream *upstream)
{
	(void)upstream;
	return 0;
}

void upstream_shed(struct upstream *upstream, size_t at_least)
{
	(void)upstream, (void)at_least;
}

void upstream_put(struct upstream *upstream, const struct upstream_target *target,
		  struct stream *stream)
{
	(void)upstream;
	(void)target;
	fake->put_count++;
	stream_free(fake->pooled);
	fake->pooled = stream;
}

enum upstream_protocol upstream_protocol(const struct upstream *upstream, const char *host,
					 uint16_t port)
{
	(void)upstream, (void)host, (void)port;
	return fake->protocol;
}

int identify_accepted(struct identify *identify, const struct accepted *accepted,
		      struct identity *ret)
{
	(void)identify;
	(void)accepted;
	fake->identified_count++;
	*ret = fake->identity;
	return 0;
}

uint32_t identify_host_id(struct identify *identify, const char *name)
{
	(void)identify;
	(void)name;
	return 7;
}

SSL_CTX *leaf_cache_get(struct leaf_cache *cache, const char *host)
{
	(void)cache;
	(void)host;
	return fake->leaf;
}

uint64_t access_log_take_id(struct access_log *log)
{
	(void)log;
	return 42;
}

void access_log_id_text(const struct access_log *log, uint64_t id, char ret[FEED_ID_SIZE])
{
	(void)log;
	snprintf(ret, FEED_ID_SIZE, "7f3a-%d", (int)id);
}

void access_log_write(struct access_log *log, const struct access_record *record)
{
	(void)log;
	if (fake->log_count < FAKE_LOGS)
		fake->reasons[fake->log_count] = record->reason;
	fake->log_count++;
	fake->last = *record;
	snprintf(fake->last_detail, sizeof(fake->last_detail), "%s",
		 record->detail ? record->detail : "");
	snprintf(fake->last_host, sizeof(fake->last_host), "%s", record->host ? record->host : "");
}

/* ---- the policy ----------------------------------------------------------------------------- */

static void fake_add(struct policy *policy, struct policy_route_spec spec)
{
	struct error error = {""};

	spec.file = "test.yaml";
	spec.line = 1;
	if (policy_add(policy, &spec, &error) < 0)
		fail_msg("%s", error.text);
}

/* api.test: 80 and 443, /v1/ only, with a token. open.test: everything. tcp.test:22 raw.
 * pinned.test:443 and :993 passthrough. 203.0.113.0/24:6379. mail.test: 587, 993, 443 and 8080, of
 * HTTP by mistake. */
static struct policy *fake_policy(void)
{
	static const uint16_t web[] = {443, 80}, ssh[] = {22}, tls[] = {443, 993}, redis[] = {6379},
			      mail[] = {587, 443, 8080, 993};
	static const struct policy_path_spec path = {POLICY_PATH_PREFIX, "/v1/"};
	static const struct policy_match_spec match = {.paths = &path, .path_count = 1};
	static const struct policy_auth_spec auth = {
		.scheme = POLICY_AUTH_BEARER, .kind = POLICY_SECRET_ENV, .source = "T"};
	struct policy *policy = policy_new();
	struct error error = {""};
	struct cidr cidr;

	assert_true(cidr_parse("203.0.113.0/24", &cidr));
	fake_add(policy, (struct policy_route_spec){
		.host = "api.test", .ports = web, .port_count = 2, .matches = &match,
		.match_count = 1, .auth = &auth, .allow_plaintext = true});
	fake_add(policy, (struct policy_route_spec){
		.host = "open.test", .ports = web, .port_count = 2});
	fake_add(policy, (struct policy_route_spec){
		.host = "tcp.test", .ports = ssh, .port_count = 1, .mode = POLICY_TCP});
	fake_add(policy, (struct policy_route_spec){
		.host = "pinned.test", .ports = tls, .port_count = 2,
		.mode = POLICY_PASSTHROUGH});
	fake_add(policy, (struct policy_route_spec){
		.host = "mail.test", .ports = mail, .port_count = 4});
	fake_add(policy, (struct policy_route_spec){
		.cidr = &cidr, .ports = redis, .port_count = 1, .mode = POLICY_TCP});
	assert_int_equal(policy_finish(policy, &error), 0);
	assert_int_equal(policy_set_secret(policy, 0, SPAN("s3cret"), &error), 0);
	return policy;
}

/* ---- the test's side ------------------------------------------------------------------------ */

static UNUSED int fake_setup(void **state)
{
	fake = calloc(1, sizeof(*fake));
	fake->client = fake->upstream = -1;
	fake->config.policy = fake_policy();
	fake->config.hints = true;
	fake->proxy.base = event_base_new();
	fake->proxy.config = &fake->config;
	fake->identity = (struct identity){.kind = IDENTITY_NAME, .host = "api.test", .port = 80};
	*state = fake;
	return 0;
}

static UNUSED int fake_teardown(void **state)
{
	(void)state;
	proxy_close_all(&fake->proxy);
	stream_free(fake->pooled);
	if (fake->client >= 0)
		close(fake->client);
	if (fake->upstream >= 0)
		close(fake->upstream);
	policy_unref(fake->config.policy);
	SSL_CTX_free(fake->leaf);
	event_base_free(fake->proxy.base);
	free(fake);
	return 0;
}

static UNUSED void fake_turn(struct fake *f)
{
	if (f->tcp)
		usleep(300); /* the loopback delivers when it sees fit */
	for (int i = 0; i < 20; i++)
		event_base_loop(f->proxy.base, EVLOOP_NONBLOCK);
}

static void fake_tcp_pair(int pair[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&address, length), 0);
	pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(pair[1] >= 0);
	close(listener);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	(void)setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static UNUSED void fake_connect(struct fake *f)
{
	int pair[2];

	if (f->tcp)
		fake_tcp_pair(pair);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	f->client = pair[0];
	connection_accept(&f->proxy, &(struct accepted){.fd = pair[1]});
	fake_turn(f);
}

static void fake_send(struct fake *f, int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0)
			return;
		data += n;
		length -= (size_t)n;
		fake_turn(f);
	}
	fake_turn(f);
}

static UNUSED void fake_client_sends(struct fake *f, const char *text)
{
	fake_send(f, f->client, text, strlen(text));
}

static UNUSED void fake_upstream_sends(struct fake *f, const char *text)
{
	fake_send(f, f->upstream, text, strlen(text));
}

static const char *fake_got(struct fake *f, int fd)
{
	size_t length = 0;
	ssize_t n;

	fake_turn(f);
	while (length < FAKE_TEXT - 1 &&
	       (n = recv(fd, f->text + length, FAKE_TEXT - 1 - length, 0)) > 0) {
		length += (size_t)n;
		fake_turn(f);
	}
	f->text[length] = '\0';
	return f->text;
}

static UNUSED const char *fake_client_got(struct fake *f)
{
	return fake_got(f, f->client);
}

static UNUSED const char *fake_upstream_got(struct fake *f)
{
	fake_turn(f); /* may make the connection */
	return fake_got(f, f->upstream);
}

static UNUSED bool fake_client_closed(struct fake *f)
{
	char byte;

	fake_turn(f);
	return recv(f->client, &byte, 1, MSG_PEEK) == 0 || (errno != EAGAIN && errno != EINTR);
}

#endif
