/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of one connection of the bottle, from accept to close. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "access_log.h"
#include "ask.h"
#include "attributes.h"
#include "cert_authority.h"
#include "config.h"
#include "identify.h"
#include "upstream.h"

/* What all connections of one event loop share. Everything is borrowed. */
struct proxy {
	struct event_base *base;
	const struct config *config; /* replaced by proxy_reconfigure() */
	struct identify *identify;
	struct upstream *upstream;
	struct leaf_cache *leaves;
	struct access_log *log;
	struct feed *feed; /* NULL: nobody looks */
	const char *bottle;
	struct connection *connections; /* all of them, newest first; connection.c's */
	size_t connection_count;
	size_t begun_count;   /* of them those that speak a protocol; connection.c's */
	size_t spliced_count; /* of these those that only pass bytes on; tunnel.c's */
	size_t request_count; /* streams of HTTP/2; http2.c's */
	/* What the bottle asks for, on its way to the supervisor. 0, or -1: nobody answers. NULL: nobody
	 * is there. */
	int (*ask)(void *context, const struct ask *ask, struct ask_answer *ret);
	int (*ask_state)(void *context, const char *id, struct ask_answer *ret);
	void *ask_context;
	bool draining; /* set by proxy_drain() */
	struct proxy_shared *shared; /* scratch room and pools; connection.c's, NULL at first */
	void (*closed)(void *context); /* after each close; the listener's */
	void *closed_context;
};

/* Takes over an accepted, non-blocking socket. It frees itself when it ends. */
void connection_accept(struct proxy *proxy, const struct accepted *accepted);
/* What its connections are against a limit of connections: one that only passes bytes on holds a sixth
 * of the memory of one that is intercepted, and four of them count as one. */
size_t proxy_places(const struct proxy *proxy);
/* Sockets that there are, and one for each connection that is still to get one to its upstream. */
size_t proxy_sockets(const struct proxy *proxy);
/* Puts a new policy in force for requests to come, and closes connections whose host, or whose
 * request under way, it no longer allows (EGRESS_ROUTE_REMOVED). */
void proxy_reconfigure(struct proxy *proxy, const struct config *config);
/* Closes idle connections now and the others when their exchange is complete. */
void proxy_drain(struct proxy *proxy);
/* Ends every connection and gives back what they shared. */
void proxy_close_all(struct proxy *proxy);

#endif
