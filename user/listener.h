/* SPDX-License-Identifier: BSD-2-Clause */
/* Accepts the bottle's connections, within limits. */
#ifndef LISTENER_H
#define LISTENER_H

#include "attributes.h"
#include "connection.h"

struct listener;
/* Others may accept at the same sockets, and share the limit. */
struct listener_limit {
	size_t connections; /* by proxy_places() */
	size_t sockets;	    /* of this process, by proxy_sockets() */
	uint64_t *taken;		    /* where ours are noted for them */
	uint64_t (*others)(void *context); /* have so many; NULL: there are none */
	void *context;
};
/* Accepts on `fds` (borrowed, listening, non-blocking) and starts a connection for each. At the
 * limit it stops accepting: the kernel's queue holds back the rest. */
struct listener *listener_new(struct proxy *proxy, const int *fds, size_t count,
			      const struct listener_limit *limit) WARN_UNUSED;
/* To be called now and then: goes on accepting where there was no memory to do so. */
void listener_pulse(struct listener *listener);
void listener_stop(struct listener *listener); /* no more; connections go on */
void listener_free(struct listener *listener);

#endif
