// SPDX-License-Identifier: BSD-2-Clause
/* Accepting with two brakes: at a limit, of connections or of sockets, and when descriptors run out
 * all the same. In both cases the queue waits, or another worker accepts; nothing is accepted only to
 * be closed, as it would be without a descriptor for its upstream. */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "acceptor.h"
#include "sockets.h"

/* At once, before other events have their turn; the less there is to do, the fewer, so that another
 * worker with less to do gets its share of many that come together. */
#define BATCH_MAX 64
#define BATCH(connections) (1 + (connections) / 16)

/* A listening socket. */
struct place {
	struct listener *listener;
	uint64_t netns_cookie;
};

struct listener {
	struct proxy *proxy;
	struct listener_limit limit;
	bool full;
	struct acceptor acceptor;
	struct place *places;
};

static bool at_limit(const struct listener *listener)
{
	const struct listener_limit *limit = &listener->limit;
	size_t own = proxy_places(listener->proxy);

	return own >= limit->connections || proxy_sockets(listener->proxy) + 2 > limit->sockets ||
	       (limit->others && limit->others(limit->context) >= limit->connections - own);
}

static void note_taken(const struct listener *listener)
{
	if (listener->limit.taken)
		__atomic_store_n(listener->limit.taken, proxy_places(listener->proxy),
				 __ATOMIC_RELAXED);
}

void listener_pulse(struct listener *listener)
{
	acceptor_pulse(&listener->acceptor);
}

static void on_acceptable(evutil_socket_t fd, short what, void *context)
{
	const struct place *place = context;
	struct listener *listener = place->listener;
	size_t batch = BATCH(listener->proxy->connection_count);
	struct accepted accepted = {.netns_cookie = place->netns_cookie};

	(void)what;
	for (size_t i = 0; i < batch && i < BATCH_MAX; i++) {
		socklen_t length = sizeof(accepted.peer);

		if (at_limit(listener)) {
			listener->full = true;
			/* The end of a connection of theirs tells us nothing. */
			if (listener->limit.others)
				acceptor_pause(&listener->acceptor);
			else
				acceptor_stop(&listener->acceptor);
			return;
		}
		accepted.fd = accept4(fd, (struct sockaddr *)&accepted.peer, &length,
				      SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted.fd >= 0) {
			connection_accept(listener->proxy, &accepted);
			note_taken(listener);
		} else if (acceptor_starved(errno)) {
			acceptor_pause(&listener->acceptor);
			return;
		/* ECONNABORTED is one client's, who left the queue: the next may still stand in
		 * it. */
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
	struct listener *listener = context;

	(void)fd;
	(void)what;
	/* What became a tunnel takes less. */
	note_taken(listener);
	if (listener->full && at_limit(listener) && acceptor_pause(&listener->acceptor))
		return;
	listener->full = false;
	acceptor_resume(&listener->acceptor);
}

/* One connection ended: there is room again. */
static void on_closed(void *context)
{
	struct listener *listener = context;

	note_taken(listener);
	if (!listener->full || at_limit(listener))
		return;
	listener->full = false;
	acceptor_resume(&listener->acceptor);
}

struct listener *listener_new(struct proxy *proxy, const int *fds, size_t count,
			      const struct listener_limit *limit)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->proxy = proxy;
	listener->limit = *limit;
	acceptor_init(&listener->acceptor, proxy->base, on_pause_over, listener);
	listener->places = calloc(count ? count : 1, sizeof(*listener->places));
	if (!listener->places)
		goto fail;
	for (size_t i = 0; i < count; i++) {
		listener->places[i] = (struct place){listener, sockets_netns_cookie(fds[i])};
		if (acceptor_add(&listener->acceptor, fds[i], on_acceptable, &listener->places[i]) < 0)
			goto fail;
	}
	proxy->closed = on_closed;
	proxy->closed_context = listener;
	return listener;
fail:
	listener_free(listener);
	return NULL;
}

/* `full` is no reason to resume any more. */
void listener_stop(struct listener *listener)
{
	listener->full = false;
	acceptor_close(&listener->acceptor);
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	acceptor_close(&listener->acceptor);
	free(listener->places);
	if (listener->proxy->closed_context == listener)
		listener->proxy->closed = NULL;
	free(listener);
}
