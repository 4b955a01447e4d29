// SPDX-License-Identifier: BSD-2-Clause
/* libevent's HTTP server accepts by itself, and spins where it cannot. */
#include <event2/http.h>
#include <event2/listener.h>
#include <unistd.h>

#include "acceptor.h"

static void rest(struct evconnlistener *listener);

static void on_rest_over(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	if (evconnlistener_enable(context) < 0)
		rest(context);
}

/* Without memory for the timer nobody would wake it: it goes on, and where there is none for that either,
 * here is the place to wait. */
static void rest(struct evconnlistener *listener)
{
	struct event_base *base = evconnlistener_get_base(listener);

	while (event_base_once(base, -1, EV_TIMEOUT, on_rest_over, listener, &acceptor_pause_time) < 0) {
		if (evconnlistener_enable(listener) == 0)
			return;
		usleep((useconds_t)acceptor_pause_time.tv_usec);
	}
}

static void on_accept_error(struct evconnlistener *listener, void *context)
{
	(void)context;
	evconnlistener_disable(listener);
	rest(listener);
}

int acceptor_http(struct evhttp *http, int fd)
{
	struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(http, fd);

	if (!bound)
		return -1;
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound), on_accept_error);
	return 0;
}
