// SPDX-License-Identifier: BSD-2-Clause
/* Sessions of HTTP/2 that several requests share, under the same key as pooled connections:
 * requests that may not share a connection do not share a session either. */
#include "upstream_h2.h"

#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bytes.h"
#include "clock.h"
#include "h2.h"

#define KNOWN_COUNT 1024 /* hosts whose protocol is kept; a power of two */
#define DEAD_MS 30000 /* unacknowledged for so long, a connection has failed */

struct session {
	struct h2_pool *pool;
	struct session *next, **at;
	struct stream *carrier;
	struct h2 *h2;
	struct egress_address address;
	struct event timer; /* while it is idle */
	bool closing;
	struct pool_key key; /* its host is `host` */
	char host[];
};

/* A host is known by its hash alone: a collision costs a translation, nothing more. */
struct known {
	uint64_t hash;
	int64_t until;
	enum upstream_protocol protocol;
	bool alone; /* HTTP/2, and no HTTP/1.1 */
};

struct h2_pool {
	struct event_base *base;
	unsigned idle_ms;
	struct session *sessions;
	struct known known[KNOWN_COUNT];
};

/* ---- sessions ------------------------------------------------------------------------------- */

static void session_free(struct session *session)
{
	*session->at = session->next;
	if (session->next)
		session->next->at = session->at;
	event_del(&session->timer);
	h2_free(session->h2);
	stream_free(session->carrier);
	free(session);
}

static void on_idle(evutil_socket_t fd, short what, void *context)
{
	struct session *session = context;

	(void)fd, (void)what;
	/* RFC 9113, 6.8: GOAWAY before the end, so that the origin does not take it for a
	 * failure. */
	h2_drain(session->h2);
	(void)!h2_run(session->h2); /* says GOAWAY, if the socket takes it */
	session_free(session);
}

/* An idle session has a timer, and one with requests has none; it ends at once when it would get none any
 * more. When there is no memory for the timer, nothing would end the session: it is gone then. */
static void set_timer(struct session *session)
{
	struct timeval idle = {0, 0};

	if (!h2_is_idle(session->h2)) {
		event_del(&session->timer);
		return;
	}
	if (event_pending(&session->timer, EV_TIMEOUT, NULL))
		return;
	if (!session->closing && h2_has_room(session->h2))
		idle = (struct timeval){session->pool->idle_ms / 1000, session->pool->idle_ms % 1000 * 1000};
	if (event_add(&session->timer, &idle) < 0)
		session_free(session);
}

/* The session is gone when h2_run() says so; nothing may touch it after. */
static void run(void *context)
{
	struct session *session = context;

	if (h2_run(session->h2))
		set_timer(session);
	else
		session_free(session);
}

struct stream *h2_pool_take(struct h2_pool *pool, const struct pool_key *key,
			    struct egress_address *ret_address)
{
	struct stream *stream;

	for (struct session *session = pool->sessions; session; session = session->next) {
		if (session->closing || !pool_key_equal(&session->key, key) || !h2_has_room(session->h2))
			continue;
		*ret_address = session->address;
		stream = h2_open(session->h2);
		/* Without memory for a stream it stays as idle as it was. */
		set_timer(session);
		return stream;
	}
	return NULL;
}

/* Keep-alive and TCP_USER_TIMEOUT: a session lives for hours, and must not outlive its host
 * unseen. */
static void set_up(struct stream *carrier)
{
	int fd = stream_fd(carrier);

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(unsigned){DEAD_MS}, sizeof(unsigned));
}

struct stream *h2_pool_add(struct h2_pool *pool, const struct pool_key *key,
			   const struct egress_address *address, struct stream *carrier, bool share)
{
	static const struct h2_owner owner = {.kick = run};
	size_t size = strlen(key->host) + 1;
	struct session *session = malloc(sizeof(*session) + size);

	if (!session) {
		stream_free(carrier);
		return NULL;
	}
	*session = (struct session){
		.pool = pool, .carrier = carrier, .address = *address, .key = *key,
		.closing = !share};
	memcpy(session->host, key->host, size);
	/* The caller's text does not live as long. */
	session->key.host = session->host;
	session->next = pool->sessions;
	session->at = &pool->sessions;
	if (session->next)
		session->next->at = &session->next;
	pool->sessions = session;
	/* Before anything can fail: session_free() takes it off. */
	evtimer_assign(&session->timer, pool->base, on_idle, session);
	session->h2 = h2_new(pool->base, carrier, false, &owner, session);
	if (!session->h2) {
		session_free(session);
		return NULL;
	}
	set_up(carrier);
	stream_set_ready(carrier, run, session);
	return h2_open(session->h2);
}

/* Those with requests end by themselves, when the last of these does. */
void h2_pool_forget(struct h2_pool *pool, const char *host)
{
	struct session *next;

	for (struct session *session = pool->sessions; session; session = next) {
		next = session->next;
		if (host && strcmp(session->host, host) != 0)
			continue;
		session->closing = true;
		if (h2_is_idle(session->h2))
			session_free(session);
	}
}

size_t h2_pool_stuck(const struct h2_pool *pool)
{
	size_t most = 0, held;

	for (const struct session *session = pool->sessions; session; session = session->next) {
		held = h2_stuck(session->h2);
		most = held > most ? held : most;
	}
	return most;
}

/* Whose requests run here may ask anew at once, for which a session is put in front. */
void h2_pool_shed(struct h2_pool *pool, size_t at_least)
{
	struct session *next;

	for (struct session *session = pool->sessions; session; session = next) {
		next = session->next;
		if (h2_stuck(session->h2) < at_least)
			continue;
		h2_abort(session->h2);
		run(session);
	}
}

struct h2_pool *h2_pool_new(struct event_base *base, unsigned idle_ms)
{
	struct h2_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->base = base;
	pool->idle_ms = idle_ms;
	return pool;
}

void h2_pool_free(struct h2_pool *pool)
{
	struct session *next;

	if (!pool)
		return;
	for (struct session *session = pool->sessions; session; session = next) {
		next = session->next;
		session_free(session);
	}
	free(pool);
}

/* ---- what hosts speak ----------------------------------------------------------------------- */

static uint64_t known_hash(const char *host, uint16_t port)
{
	return bytes_hash(host, strlen(host)) + port * 0x9e3779b97f4a7c15u;
}

static struct known *place_of(struct h2_pool *pool, uint64_t hash)
{
	return &pool->known[hash & (KNOWN_COUNT - 1)];
}

static bool is_known(const struct known *known, uint64_t hash)
{
	return known->hash == hash && known->until > clock_coarse_seconds();
}

void h2_pool_note(struct h2_pool *pool, const char *host, uint16_t port,
		  enum upstream_protocol protocol, unsigned seconds)
{
	uint64_t hash = known_hash(host, port);
	struct known *known = place_of(pool, hash);
	/* That it agreed on HTTP/2 once more says nothing about HTTP/1.1. */
	bool alone = is_known(known, hash) && known->alone && protocol == UPSTREAM_HTTP2;

	*known = (struct known){hash, clock_coarse_seconds() + seconds, protocol, alone};
}

enum upstream_protocol h2_pool_protocol(const struct h2_pool *pool, const char *host, uint16_t port)
{
	uint64_t hash = known_hash(host, port);
	const struct known *known = &pool->known[hash & (KNOWN_COUNT - 1)];

	return is_known(known, hash) ? known->protocol : UPSTREAM_UNKNOWN;
}

void h2_pool_note_alone(struct h2_pool *pool, const char *host, uint16_t port)
{
	uint64_t hash = known_hash(host, port);
	struct known *known = place_of(pool, hash);

	if (is_known(known, hash))
		known->alone = known->protocol == UPSTREAM_HTTP2;
}

bool h2_pool_alone(const struct h2_pool *pool, const char *host, uint16_t port)
{
	uint64_t hash = known_hash(host, port);
	const struct known *known = &pool->known[hash & (KNOWN_COUNT - 1)];

	return is_known(known, hash) && known->alone;
}
