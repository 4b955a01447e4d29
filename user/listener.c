// SPDX-License-Identifier: BSD-2-Clause
/* Accepting with two brakes: at the limit of connections, and when descriptors run out. In both
 * cases the kernel's queue waits; nothing is accepted only to be closed. */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* At once, before other events have their turn. */
#define BATCH 64
static const struct timeval pause_time = {0, 100 * 1000}; /* when descriptors are out */

struct listener {
	struct proxy *proxy;
	size_t limit, count;
	bool stopped, full;
	struct event *pause;
	struct event **events;
};

static void accepting(struct listener *listener, bool on)
{
	for (size_t i = 0; i < listener->count; i++) {
		if (on)
			(void)event_add(listener->events[i], NULL);
		else
			event_del(listener->events[i]);
	}
}

/* Without the pause a full descriptor table would wake the loop without end. */
static void on_acceptable(evutil_socket_t fd, short what, void *context)
{
	struct listener *listener = context;

	(void)what;
	for (int i = 0; i < BATCH; i++) {
		int accepted;

		if (listener->proxy->connection_count >= listener->limit) {
			listener->full = true;
			accepting(listener, false);
			return;
		}
		accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted >= 0) {
			connection_accept(listener->proxy, accepted);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			accepting(listener, false);
			event_add(listener->pause, &pause_time);
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
	if (!listener->stopped && !listener->full)
		accepting(listener, true);
}

/* One connection ended: there is room again. */
static void on_closed(void *context)
{
	struct listener *listener = context;

	if (!listener->full)
		return;
	listener->full = false;
	/* The other brake may still be on. */
	if (!listener->stopped && !evtimer_pending(listener->pause, NULL))
		accepting(listener, true);
}

struct listener *listener_new(struct proxy *proxy, const int *fds, size_t count,
			      size_t connection_limit)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->proxy = proxy;
	listener->limit = connection_limit;
	listener->pause = evtimer_new(proxy->base, on_pause_over, listener);
	listener->events = calloc(count ? count : 1, sizeof(struct event *));
	if (!listener->pause || !listener->events)
		goto fail;
	for (; listener->count < count; listener->count++) {
		struct event *event = event_new(proxy->base, fds[listener->count],
						EV_READ | EV_PERSIST, on_acceptable, listener);

		if (!event)
			goto fail;
		listener->events[listener->count] = event;
		/* Counted, so that listener_free() frees it. */
		if (event_add(event, NULL) < 0) {
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
	accepting(listener, false);
}

void listener_free(struct listener *listener)
{
	if (!listener)
		return;
	for (size_t i = 0; listener->events && i < listener->count; i++)
		event_free(listener->events[i]);
	free(listener->events);
	if (listener->pause)
		event_free(listener->pause);
	if (listener->proxy->closed_context == listener)
		listener->proxy->closed = NULL;
	free(listener);
}
