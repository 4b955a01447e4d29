/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches listening sockets, but not while there is nothing to accept with: a full descriptor table would
 * wake the loop without end. Who cannot be accepted stays in the kernel's queue. */
#ifndef ACCEPTOR_H
#define ACCEPTOR_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"

#define ACCEPTOR_MAX 16
extern const struct timeval acceptor_pause_time;

struct acceptor {
	struct event_base *base;
	struct event pause, sockets[ACCEPTOR_MAX];
	size_t count;
	bool stopped;
};

/* `over` is called at the end of each pause, and calls acceptor_resume() or pauses again; NULL: resumes. */
void acceptor_init(struct acceptor *acceptor, struct event_base *base, event_callback_fn over,
		   void *context);
/* Calls `ready` whenever somebody waits at `fd` (borrowed). -1: too many, or out of memory. */
int acceptor_add(struct acceptor *acceptor, int fd, event_callback_fn ready,
		 void *context) WARN_UNUSED;
/* Whether accept(2) failed with `error` for lack of descriptors or memory, or because the socket does not
 * listen any more (EINVAL; sockets_relisten()): time for a pause. */
bool acceptor_starved(int error);
/* For acceptor_pause_time. False: no memory for its timer, so all goes on, since nobody would end it. */
bool acceptor_pause(struct acceptor *acceptor);
void acceptor_stop(struct acceptor *acceptor); /* until acceptor_resume() */
/* What cannot be watched for lack of memory is tried again after another pause, or at a pulse. */
void acceptor_resume(struct acceptor *acceptor);
/* To be called now and then: resumes what neither pauses nor was stopped. */
void acceptor_pulse(struct acceptor *acceptor);
/* Ends it; the sockets stay open. Also of one that is all zero. */
void acceptor_close(struct acceptor *acceptor);

struct evhttp;
/* The same for an HTTP server of libevent's at `fd` (listening; its own from now on), where the process
 * serves nothing else: without any memory it waits. -1: out of memory. */
int acceptor_http(struct evhttp *http, int fd) WARN_UNUSED;

#endif
