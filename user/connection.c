// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "connection_private.h"
#include "http1_refusal.h"
#include "policy_advice.h"

#define TLS_HANDSHAKE_RECORD 0x16
#define DIAL_SECONDS 60 /* upstream.c gives up sooner; this is the belt */

/* ---- clock and timer ------------------------------------------------------------------------ */

uint64_t connection_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t connection_now_ms(void)
{
	/* Enough for deadlines in seconds; it is asked for with each wake-up. */
	return clock_ms(CLOCK_MONOTONIC_COARSE);
}

static void arm_timer(struct connection *c, uint64_t now)
{
	uint64_t left = c->deadline_ms > now ? c->deadline_ms - now : 0;
	struct timeval delay = {(time_t)(left / 1000), (suseconds_t)(left % 1000) * 1000};

	c->timer_ms = c->deadline_ms;
	if (event_add(&c->timer, &delay) < 0)
		connection_close(c, EGRESS_INTERNAL, "out of memory");
}

/* The timer is moved only to an earlier time; when it fires too early it is set again. So a busy
 * connection pays nothing for its deadline. */
void connection_deadline(struct connection *c, unsigned seconds)
{
	uint64_t now = connection_now_ms();

	c->deadline_ms = now + (uint64_t)seconds * 1000;
	if (c->timer_ms == 0 || c->deadline_ms < c->timer_ms)
		arm_timer(c, now);
}

/* ---- clients that wait for a greeting ------------------------------------------------------- */

#define SERVER_FIRST                                                                               \
	"the client has sent nothing: where the server speaks first, the route needs protocol: tcp"

/* On the web's own ports browsers and pools open connections ahead, and no server there greets. */
static bool may_await_greeting(const struct connection *c)
{
	return !c->spoke && !c->by_address && c->mode != POLICY_TCP && c->host[0] &&
	       c->port != 80 && c->port != 443;
}

unsigned connection_patience(const struct connection *c)
{
	return may_await_greeting(c) && !c->waited ? GREETING_SECONDS : IDLE_SECONDS;
}

/* Nothing is refused yet, and perhaps it was only opened ahead: it goes on. */
static void note_silence(struct connection *c)
{
	struct access_record record = {
		.reason = EGRESS_ALLOWED,
		.detail = SERVER_FIRST,
		.microseconds = connection_now_us() - c->started_us,
	};

	c->waited = true;
	connection_log(c, &record);
	connection_deadline(c, c->state == CONNECTION_CLIENT_HELLO
				       ? HANDSHAKE_SECONDS - GREETING_SECONDS
				       : IDLE_SECONDS - GREETING_SECONDS);
}

/* It leaves without a word. On another port than these protocols' own it was only opened ahead, as far as
 * anybody can know: nothing was refused, and note_silence() has said all. */
static bool left_unserved(const struct connection *c)
{
	return c->waited && !c->spoke && policy_greeted_in(c->port, c->tls);
}

/* ---- the end -------------------------------------------------------------------------------- */

static const char *protocol_name(const struct connection *c)
{
	if (c->by_address || c->mode == POLICY_TCP)
		return "tcp";
	return c->mode == POLICY_PASSTHROUGH ? "tls" : c->tls ? "https" : "http";
}

void connection_log(const struct connection *c, struct access_record *record)
{
	record->source = "proxy";
	record->process = c->identity.has_process ? &c->identity.process : NULL;
	if (!record->host && c->host[0])
		record->host = c->host;
	if (c->by_address)
		record->address = &c->identity.address;
	if (record->port == 0)
		record->port = c->port;
	if (!record->protocol)
		record->protocol = protocol_name(c);
	/* An explicit client names the host itself, so there is no flow record with its id. A name
	 * that no route allows has none, and is not worth a call of the supervisor. */
	record->host_id = c->identity.host_id;
	if (record->host_id == 0 && record->host &&
	    policy_find_host(c->proxy->config->policy, record->host))
		record->host_id = identify_host_id(c->proxy->identify, record->host);
	access_log_write(c->proxy->log, record);
}

static void unlink_connection(struct connection *c)
{
	struct proxy *proxy = c->proxy;

	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	proxy->connection_count--;
	proxy->begun_count -= c->begun;
	if (proxy->closed)
		proxy->closed(proxy->closed_context);
}

static void end_session(struct connection *c, enum egress_reason reason, const char *detail)
{
	if (c->protocol)
		c->protocol->end(c->session, reason, detail);
	c->protocol = NULL;
	c->session = NULL;
}

void connection_close(struct connection *c, enum egress_reason reason, const char *detail)
{
	struct access_record record = {.reason = reason, .detail = detail};
	bool unserved = reason == EGRESS_ALLOWED && left_unserved(c);

	if (c->state == CONNECTION_CLOSED)
		return;
	c->state = CONNECTION_CLOSED;
	if (unserved) {
		record.reason = EGRESS_PROTOCOL_NOT_ALLOWED;
		record.detail = SERVER_FIRST;
	}
	/* With a protocol, the record is its own: it knows the request. */
	if (unserved || (!c->protocol && reason != EGRESS_ALLOWED)) {
		record.microseconds = connection_now_us() - c->started_us;
		connection_log(c, &record);
	}
	end_session(c, reason, detail);
	/* After the session: HTTP/2's streams run on the client's until they are freed. */
	upstream_cancel(c->dial);
	stream_free(c->upstream);
	stream_free(c->client);
	bytes_free(&c->sent);
	bytes_free(&c->received);
	bytes_wipe(&c->request_head);
	event_del(&c->timer);
	unlink_connection(c);
}

enum protocol_next connection_fault(struct connection *c, enum egress_reason reason,
				    const char *detail)
{
	c->reason = reason;
	snprintf(c->detail, sizeof(c->detail), "%s", detail ? detail : "");
	return PROTOCOL_CLOSE;
}

static void close_faulted(struct connection *c)
{
	char detail[sizeof(c->detail)];

	memcpy(detail, c->detail, sizeof(detail));
	connection_close(c, c->reason, detail[0] ? detail : NULL);
}

void connection_abort_client(struct connection *c)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (stream_ssl(c->client))
		SSL_set_quiet_shutdown(stream_ssl(c->client), 1);
	(void)setsockopt(stream_fd(c->client), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

void connection_leave(struct connection *c)
{
	if (--c->inside == 0 && c->state == CONNECTION_CLOSED)
		free(c);
}

/* For those who are not inside it. */
static void close_from_outside(struct connection *c, enum egress_reason reason, const char *detail)
{
	c->inside++;
	connection_close(c, reason, detail);
	connection_leave(c);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct connection *c = context;
	uint64_t now = connection_now_ms();
	bool quiet = c->state == CONNECTION_FIRST_BYTE;

	(void)fd;
	(void)what;
	c->inside++;
	c->timer_ms = 0; /* or no deadline that is set from here on would set it */
	if (now < c->deadline_ms)
		arm_timer(c, now);
	else if (c->state != CONNECTION_HANDSHAKE && may_await_greeting(c) && !c->waited)
		note_silence(c);
	else if (c->waited && !c->spoke && c->state == CONNECTION_CLIENT_HELLO)
		connection_close(c, EGRESS_PROTOCOL_NOT_ALLOWED, SERVER_FIRST);
	else if (c->waited && !c->spoke)
		connection_close(c, EGRESS_ALLOWED, NULL);
	else if (c->state == CONNECTION_PROTOCOL || c->state == CONNECTION_DIALLING)
		connection_close(c, EGRESS_UPSTREAM_TIMEOUT, "silent for too long");
	else
		/* Opened ahead and never used, as browsers do, is no refusal. */
		connection_close(c, quiet ? EGRESS_ALLOWED : EGRESS_BAD_REQUEST,
				 "the client's handshake timed out");
	connection_leave(c);
}

/* ---- protocols ------------------------------------------------------------------------------ */

static void start_protocol(struct connection *c, const struct protocol *protocol)
{
	void *session;

	c->reason = EGRESS_ALLOWED;
	session = protocol->start(c);
	if (!session) {
		connection_close(c, EGRESS_INTERNAL, "out of memory");
		return;
	}
	c->proxy->begun_count += !c->begun;
	c->begun = true;
	c->protocol = protocol;
	c->session = session;
	c->state = CONNECTION_PROTOCOL;
}

static void on_dialled(void *context, const struct upstream_result *result)
{
	struct connection *c = context;

	c->dial = NULL;
	if (result->reason == EGRESS_ALLOWED) {
		c->upstream = result->stream;
		stream_set_ready(c->upstream, connection_wake, c);
	} else {
		(void)connection_fault(c, result->reason, result->detail);
	}
	connection_wake(c);
}

/* By a cidr route, or as a port of the host's, which is not the policy's to give. */
static bool address_allowed(const struct connection *c, bool *ret_allow_private)
{
	const struct policy_cidr *cidr;

	*ret_allow_private = true;
	if (c->identity.kind == IDENTITY_HOST_PORT)
		return true;
	cidr = policy_find_cidr(c->proxy->config->policy, &c->identity.address, c->port);
	*ret_allow_private = cidr && cidr->allow_private;
	return cidr;
}

static void dial(struct connection *c)
{
	const struct policy *policy = c->proxy->config->policy;
	struct upstream_target target = {.port = c->port};

	if (c->by_address) {
		target.address = &c->identity.address;
		(void)address_allowed(c, &target.allow_private);
	} else {
		target.host = c->host;
		target.allow_private = policy_host_allows_private(
			policy_find_host(policy, c->host), c->port);
	}
	c->state = CONNECTION_DIALLING;
	c->reason = EGRESS_ALLOWED;
	connection_deadline(c, DIAL_SECONDS);
	/* Without memory for it: the stream would come to a connection that is freed. */
	if (c->state == CONNECTION_CLOSED)
		return;
	/* Never from the pool: those connections have spoken HTTP. */
	c->dial = upstream_get(c->proxy->upstream, &target, true, on_dialled, c);
}

/* The client that asked by CONNECT learns why there is no tunnel; others only see the end. */
static void dial_failed(struct connection *c)
{
	struct bytes answer = {NULL, 0, 0, 0};
	struct http1_refusal refusal = {
		.reason = c->reason, .host = c->host, .method = SPAN("CONNECT"),
		.detail = c->detail, .close = true,
	};

	/* Best effort: a fresh socket takes an answer of this size. */
	if (c->connecting && http1_refusal_compose(&refusal, &answer) &&
	    http1_flush(&answer, c->client) == HTTP1_FLOW_DONE)
		stream_shutdown(c->client);
	bytes_free(&answer);
	close_faulted(c);
}

/* What upstream.proxy dialled cannot be known. */
static bool at_private_address(const struct stream *upstream)
{
	struct sockaddr_storage sa = {0};
	socklen_t length = sizeof(sa);
	struct egress_address address;
	uint16_t port;

	return !(stream_mark(upstream) & STREAM_RELAYED) &&
	       getpeername(stream_fd(upstream), (struct sockaddr *)&sa, &length) == 0 &&
	       address_from_sockaddr((struct sockaddr *)&sa, &address, &port) &&
	       address_is_private(&address);
}

bool connection_may_keep(const struct proxy *proxy, const char *host, uint16_t port,
			 const struct stream *upstream)
{
	const struct policy_host *found = policy_find_host(proxy->config->policy, host);

	return (found && policy_host_allows_private(found, port)) || !at_private_address(upstream);
}

/* The same for a tunnel, which may have an address instead of a host. */
static bool may_keep_upstream(const struct connection *c)
{
	bool allow_private;

	/* After an upgrade, tunnel_allowed() judges the request that asked for it, and with it
	 * this. */
	if (!c->upstream || c->request_head.length > 0)
		return true;
	if (!c->by_address)
		return connection_may_keep(c->proxy, c->host, c->port, c->upstream);
	return address_allowed(c, &allow_private) &&
	       (allow_private || !at_private_address(c->upstream));
}

static void run_dialling(struct connection *c)
{
	if (c->dial)
		return;
	/* The policy may have changed meanwhile. */
	if (!may_keep_upstream(c)) {
		c->reason = EGRESS_PRIVATE_ADDRESS;
		dial_failed(c);
		return;
	}
	if (!c->upstream) {
		if (c->reason == EGRESS_ALLOWED)
			c->reason = EGRESS_INTERNAL;
		dial_failed(c);
		return;
	}
	if (c->connecting && !bytes_append_text(&c->received, HTTP1_CONNECTED)) {
		connection_close(c, EGRESS_INTERNAL, "out of memory");
		return;
	}
	c->connecting = false;
	start_protocol(c, &tunnel_protocol);
}

enum egress_reason connection_judge(const struct proxy *proxy, const char *host, uint16_t port,
				    enum policy_mode *ret_mode)
{
	const struct policy_host *found = policy_find_host(proxy->config->policy, host);

	/* Before the policy: a route of that name is never asked. */
	if (policy_is_local(host)) {
		*ret_mode = POLICY_INTERCEPT;
		return port == POLICY_LOCAL_PORT ? EGRESS_ALLOWED : EGRESS_PORT_NOT_ALLOWED;
	}
	if (!found)
		return EGRESS_HOST_NOT_ALLOWED;
	if (!policy_host_allows_port(found, port))
		return EGRESS_PORT_NOT_ALLOWED;
	*ret_mode = policy_host_mode(found, port);
	return EGRESS_ALLOWED;
}

/* From here on the connection is for one host: `host` and `port`. */
static void begin_named(struct connection *c)
{
	enum egress_reason reason = connection_judge(c->proxy, c->host, c->port, &c->mode);

	if (reason != EGRESS_ALLOWED) {
		connection_close(c, reason, NULL);
	/* Without a byte of the client's: in some protocols the server speaks first. */
	} else if (c->mode == POLICY_TCP) {
		dial(c);
	} else if (c->mode == POLICY_PASSTHROUGH) {
		c->state = CONNECTION_CLIENT_HELLO;
		connection_deadline(c, may_await_greeting(c) ? GREETING_SECONDS
							     : HANDSHAKE_SECONDS);
	} else {
		c->state = CONNECTION_FIRST_BYTE;
		connection_deadline(c, connection_patience(c));
	}
}

static void begin_address(struct connection *c)
{
	bool allow_private;

	c->by_address = true;
	if (address_allowed(c, &allow_private))
		dial(c);
	else
		connection_close(c, EGRESS_ADDRESS_NOT_ALLOWED, NULL);
}

/* ---- before a protocol runs ----------------------------------------------------------------- */

static void begin_tls(struct connection *c)
{
	c->tls = true;
	c->waited = false;
	if (connection_tls_start(c) < 0) {
		connection_close(c, EGRESS_INTERNAL, "no certificate for this host");
		return;
	}
	c->state = CONNECTION_HANDSHAKE;
	connection_deadline(c, HANDSHAKE_SECONDS);
}

static void run_first_byte(struct connection *c)
{
	unsigned char byte;
	ssize_t n = recv(stream_fd(c->client), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		connection_close(c, EGRESS_ALLOWED, NULL);
	} else if (byte != TLS_HANDSHAKE_RECORD) {
		c->spoke = true;
		start_protocol(c, &http1_protocol);
	} else if (c->explicit) {
		connection_close(c, EGRESS_PROTOCOL_NOT_ALLOWED, "TLS to the proxy itself");
	} else if (c->host[0]) {
		begin_tls(c);
	} else {
		c->state = CONNECTION_CLIENT_HELLO;
		connection_deadline(c, HANDSHAKE_SECONDS);
	}
}

/* The ClientHello named a host: the one we know, or, when none is known, the one it is for. */
static void take_server_name(struct connection *c, const char *name)
{
	enum egress_reason reason = EGRESS_ALLOWED;

	/* No SNI is no agreement, either: nothing would say which name the client checks. */
	if (!name[0] || (c->host[0] && strcmp(name, c->host) != 0))
		reason = EGRESS_NAME_MISMATCH;
	else if (!c->host[0])
		reason = connection_judge(c->proxy, name, c->port, &c->mode);
	if (reason != EGRESS_ALLOWED) {
		connection_tls_refuse(c);
		connection_close(c, reason, "by the TLS server name");
		return;
	}
	memcpy(c->host, name, strlen(name) + 1);
	if (c->mode == POLICY_INTERCEPT)
		begin_tls(c);
	else
		dial(c);
}

/* How much there must be before the socket counts as readable: segments that do not complete a record
 * of the ClientHello wake nobody. Where the kernel does not know better, they do. */
static void await_bytes(struct connection *c, size_t count)
{
	const int need = (int)count;

	(void)setsockopt(stream_fd(c->client), SOL_SOCKET, SO_RCVLOWAT, &need, sizeof(need));
	c->awaits = count > 1;
}

static void run_client_hello(struct connection *c)
{
	char *buffer = malloc(CLIENT_HELLO_BYTES), name[EGRESS_NAME_SIZE];
	size_t need = 0;
	int result = -1;
	ssize_t n;

	if (!buffer) {
		connection_close(c, EGRESS_INTERNAL, "out of memory");
		return;
	}
	n = recv(stream_fd(c->client), buffer, CLIENT_HELLO_BYTES, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		result = 0;
	else if (n > 0)
		result = client_hello_parse((struct span){buffer, (size_t)n}, &need, name);
	free(buffer);
	/* GREETING_SECONDS were for the silence: what has begun has its whole time. */
	if (n > 0 && !c->spoke && !c->waited)
		connection_deadline(c, HANDSHAKE_SECONDS);
	c->spoke = c->spoke || n > 0;
	if (result == 0) {
		if (need > 0)
			await_bytes(c, need);
		return;
	}
	if (c->awaits)
		await_bytes(c, 1);
	if (result < 0)
		connection_close(c, n == 0 ? EGRESS_ALLOWED : EGRESS_PROTOCOL_NOT_ALLOWED,
				 "not a TLS ClientHello");
	else
		take_server_name(c, name);
}

static void run_handshake(struct connection *c)
{
	switch (connection_tls_run(c)) {
	case PROTOCOL_WAIT:
		break;
	case PROTOCOL_CONNECT:
		c->spoke = connection_tls_agreed(c);
		start_protocol(c, connection_tls_protocol(c));
		break;
	default:
		close_faulted(c);
	}
}

static void run_protocol(struct connection *c)
{
	while (c->state == CONNECTION_PROTOCOL) {
		switch (c->protocol->run(c->session)) {
		case PROTOCOL_WAIT:
			return;
		case PROTOCOL_CONNECT:
			end_session(c, EGRESS_ALLOWED, NULL);
			/* What comes through the tunnel is for its host alone: CONNECT and other
			 * hosts are refused there, as on a steered connection. */
			c->explicit = c->spoke = false;
			if (c->by_address)
				begin_address(c);
			else
				begin_named(c);
			return;
		case PROTOCOL_RELAY:
			end_session(c, EGRESS_ALLOWED, NULL);
			start_protocol(c, &tunnel_protocol);
			break;
		case PROTOCOL_CLOSE:
			close_faulted(c);
			return;
		}
	}
}

static void run_closed(struct connection *c)
{
	(void)c;
}

static void run(struct connection *c)
{
	static void (*const steps[])(struct connection *) = {
		[CONNECTION_FIRST_BYTE] = run_first_byte,
		[CONNECTION_CLIENT_HELLO] = run_client_hello,
		[CONNECTION_HANDSHAKE] = run_handshake,
		[CONNECTION_DIALLING] = run_dialling,
		[CONNECTION_PROTOCOL] = run_protocol,
		[CONNECTION_CLOSED] = run_closed,
	};
	enum connection_state before;

	/* What the next state needs may have come already, and no edge tells of it twice. A
	 * dial, too, may be over before upstream_get() returns. */
	do {
		before = c->state;
		steps[before](c);
	} while (c->state != before);
}

void connection_wake(void *context)
{
	struct connection *c = context;

	if (c->inside > 0)
		return;
	c->inside++;
	run(c);
	connection_leave(c);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void begin(struct connection *c)
{
	switch (c->identity.kind) {
	case IDENTITY_HOST_PORT:
		memcpy(c->host, HOST_PORT_NAME, sizeof(HOST_PORT_NAME));
		begin_address(c);
		break;
	case IDENTITY_ADDRESS:
		begin_address(c);
		break;
	case IDENTITY_NAME:
		memcpy(c->host, c->identity.host, sizeof(c->host));
		begin_named(c);
		break;
	/* In a shared network namespace any process of the host reaches our port: served, it
	 * would speak with the bottle's credentials. */
	case IDENTITY_STRANGER:
		connection_close(c, EGRESS_ADDRESS_NOT_ALLOWED,
				 "not a connection of the bottle's");
		break;
	case IDENTITY_EXPLICIT:
		c->explicit = true;
		/* fall through */
	case IDENTITY_UNNAMED:
		c->state = CONNECTION_FIRST_BYTE;
		connection_deadline(c, IDLE_SECONDS);
		break;
	}
}

static struct connection *connection_new(struct proxy *proxy, int fd)
{
	struct connection *c;

	if (!proxy->shared) {
		proxy->shared = calloc(1, sizeof(*proxy->shared));
		connection_pressure(proxy);
	}
	c = proxy->shared ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return NULL;
	c->proxy = proxy;
	c->state = CONNECTION_FIRST_BYTE;
	c->started_us = connection_now_us();
	if (evtimer_assign(&c->timer, proxy->base, on_timer, c) < 0)
		goto fail;
	c->client = stream_new_accepted(proxy->base, fd);
	if (!c->client)
		goto fail;
	stream_set_ready(c->client, connection_wake, c);
	c->next = proxy->connections;
	if (c->next)
		c->next->link = &c->next;
	c->link = &proxy->connections;
	proxy->connections = c;
	proxy->connection_count++;
	return c;
fail:
	free(c);
	return NULL;
}

size_t proxy_places(const struct proxy *proxy)
{
	return proxy->connection_count - proxy->spliced_count + (proxy->spliced_count + 3) / 4;
}

size_t proxy_sockets(const struct proxy *proxy)
{
	return stream_count() + proxy->connection_count - proxy->begun_count;
}

void connection_accept(struct proxy *proxy, const struct accepted *accepted)
{
	struct connection *c = connection_new(proxy, accepted->fd);
	struct identity nobody;

	if (!c) {
		/* Its record must not wait for the next who has that port. */
		(void)!identify_accepted(proxy->identify, accepted, &nobody);
		close(accepted->fd);
		return;
	}
	c->inside++;
	/* Fail closed: a steered connection without a record is nobody's. */
	if (identify_accepted(proxy->identify, accepted, &c->identity) < 0) {
		connection_close(c, EGRESS_INTERNAL, "the kernel's record names no host");
	} else {
		c->port = c->identity.port;
		begin(c);
	}
	run(c);
	connection_leave(c);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool still_allowed(struct connection *c)
{
	enum policy_mode mode;
	bool allow_private;

	if (!may_keep_upstream(c))
		return false;
	if (c->by_address)
		return address_allowed(c, &allow_private);
	/* A change of mode ends it, too: bytes that were spliced are to be read now, or the
	 * other way round. */
	if (c->host[0] && (connection_judge(c->proxy, c->host, c->port, &mode) != EGRESS_ALLOWED ||
			   mode != c->mode))
		return false;
	return !c->protocol || c->protocol->allowed(c->session);
}

void proxy_reconfigure(struct proxy *proxy, const struct config *config)
{
	struct connection *next;

	proxy->config = config;
	connection_pressure(proxy);
	for (struct connection *c = proxy->connections; c; c = next) {
		next = c->next;
		if (!still_allowed(c))
			close_from_outside(c, EGRESS_ROUTE_REMOVED, NULL);
	}
}

void proxy_drain(struct proxy *proxy)
{
	struct connection *c, *next;

	proxy->draining = true;
	for (c = proxy->connections; c; c = next) {
		next = c->next;
		if (c->protocol && c->protocol->drain)
			c->protocol->drain(c->session);
		else if (c->state == CONNECTION_FIRST_BYTE ||
			 (c->protocol && c->protocol->idle(c->session)))
			close_from_outside(c, EGRESS_ALLOWED, NULL);
	}
}

void proxy_close_all(struct proxy *proxy)
{
	struct connection *next;

	for (struct connection *c = proxy->connections; c; c = next) {
		next = c->next;
		close_from_outside(c, EGRESS_ALLOWED, "the proxy stops");
	}
	tunnel_pipes_close(proxy->shared);
	connection_pressure_end(proxy);
	free(proxy->shared);
	proxy->shared = NULL;
}
