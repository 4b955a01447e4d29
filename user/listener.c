// SPDX-License-Identifier: BSD-2-Clause
/* Accepting with two brakes: at a limit, of connections or of sockets, and when descriptors run out
 * all the same. In both cases the queue waits, or another worker accepts; nothing is accepted only to
 * be closed, as it would be without a descriptor for its upstream. */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "sockets.h"

/* At once, before other events have their turn; the less there is to do, the fewer, so that another
 * worker with less to do gets its share of many that come together. */
#define BATCH_MAX 64
#define BATCH(connections) (1 + (connections) / 16)
static const struct timeval pause_time = {0, 100 * 1000}; /* when descriptors are out */

/* A listening socket. */
struct place {
	struct listener *listener;
	uint64_t netns_cookie;
	struct event *event;
};

struct listener {
	struct proxy *proxy;
	struct listener_limit limit;
	size_t count;
	bool stopped, full;
	struct event *pause;
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

static void stop_accepting(struct listener *listener)
{
	for (size_t i = 0; i < listener->count; i++)
		event_del(listener->places[i].event);
}

/* What cannot be watched now is tried again, at the next pulse if there is no pause to be had. What is
 * watched already stays so. */
void listener_pulse(struct listener *listener)
{
	bool all = true;

	/* Neither brake is on. */
	if (listener->stopped || listener->full || evtimer_pending(listener->pause, NULL))
		return;
	for (size_t i = 0; i < listener->count; i++)
		all = event_add(listener->places[i].event, NULL) == 0 && all;
	if (!all)
		event_add(listener->pause, &pause_time);
}

/* Without memory for the pause there is none: nobody would end it. */
static void pause_accepting(struct listener *listener)
{
	if (event_add(listener->pause, &pause_time) == 0)
		stop_accepting(listener);
}

/* Without the pause a full descriptor table would wake the loop without end. */
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
				pause_accepting(listener);
			else
				stop_accepting(listener);
			return;
		}
		accepted.fd = accept4(fd, (struct sockaddr *)&accepted.peer, &length,
				      SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted.fd >= 0) {
			connection_accept(listener->proxy, &accepted);
			note_taken(listener);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_accepting(listener);
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
	if (listener->full && at_limit(listener) && event_add(listener->pause, &pause_time) == 0)
		return;
	listener->full = false;
	listener_pulse(listener);
}

/* One connection ended: there is room again. */
static void on_closed(void *context)
{
	struct listener *listener = context;

	note_taken(listener);
	if (!listener->full || at_limit(listener))
		return;
	listener->full = false;
	listener_pulse(listener);
}

struct listener *listener_new(struct proxy *proxy, const int *fds, size_t count,
			      const struct listener_limit *limit)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->proxy = proxy;
	listener->limit = *limit;
	listener->pause = evtimer_new(proxy->base, on_pause_over, listener);
	listener->places = calloc(count ? count : 1, sizeof(*listener->places));
	if (!listener->pause || !listener->places)
		goto fail;
	for (; listener->count < count; listener->count++) {
		struct place *place = &listener->places[listener->count];
		int fd = fds[listener->count];

		place->listener = listener;
		place->netns_cookie = sockets_netns_cookie(fd);
		place->event = event_new(proxy->base, fd, EV_READ | EV_PERSIST, on_acceptable, place);
		if (!place->event)
			goto fail;
		/* Counted, so that listener_free() frees it. */
		if (event_add(place->event, NULL) < 0) {
			listener->count++;
			goto fail;
		}
	}
	proxy->closed = on_closed;
	proxy->closed_context = listener;
	return listener;
fail:
	listener_free(listener);
	return NULL;
}

void listener_stop(struct listener *listener)
{
	listener->stopped = true;
	stop_accepting(listener);
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	for (size_t i = 0; listener->places && i < listener->count; i++)
		event_free(listener->places[i].event);
	free(listener->places);
	if (listener->pause)
		event_free(listener->pause);
	if (listener->proxy->closed_context == listener)
		listener->proxy->closed = NULL;
	free(listener);
}
