// SPDX-License-Identifier: BSD-2-Clause
#include "acceptor.h"

#include <errno.h>

const struct timeval acceptor_pause_time = {.tv_usec = 100 * 1000};

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	acceptor_resume(context);
}

void acceptor_init(struct acceptor *acceptor, struct event_base *base, event_callback_fn over,
		   void *context)
{
	acceptor->base = base;
	acceptor->count = 0;
	acceptor->stopped = false;
	evtimer_assign(&acceptor->pause, base, over ? over : on_pause_over,
		       over ? context : acceptor);
}

int acceptor_add(struct acceptor *acceptor, int fd, event_callback_fn ready, void *context)
{
	struct event *socket = &acceptor->sockets[acceptor->count];

	if (acceptor->count == ACCEPTOR_MAX)
		return -1;
	event_assign(socket, acceptor->base, fd, EV_READ | EV_PERSIST, ready, context);
	if (event_add(socket, NULL) < 0)
		return -1;
	acceptor->count++;
	return 0;
}

bool acceptor_starved(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
	       error == EINVAL;
}

static void unwatch(struct acceptor *acceptor)
{
	for (size_t i = 0; i < acceptor->count; i++)
		event_del(&acceptor->sockets[i]);
}

bool acceptor_pause(struct acceptor *acceptor)
{
	if (event_add(&acceptor->pause, &acceptor_pause_time) < 0)
		return false;
	unwatch(acceptor);
	return true;
}

void acceptor_stop(struct acceptor *acceptor)
{
	acceptor->stopped = true;
	event_del(&acceptor->pause);
	unwatch(acceptor);
}

void acceptor_resume(struct acceptor *acceptor)
{
	acceptor->stopped = false;
	acceptor_pulse(acceptor);
}

/* What is watched already stays so. */
void acceptor_pulse(struct acceptor *acceptor)
{
	bool all = true;

	if (acceptor->stopped || evtimer_pending(&acceptor->pause, NULL))
		return;
	for (size_t i = 0; i < acceptor->count; i++)
		all = event_add(&acceptor->sockets[i], NULL) == 0 && all;
	if (!all)
		(void)event_add(&acceptor->pause, &acceptor_pause_time);
}

void acceptor_close(struct acceptor *acceptor)
{
	unwatch(acceptor);
	if (acceptor->base)
		event_del(&acceptor->pause);
	acceptor->count = 0;
}
