/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside dns_*: the service's core (dns_responder.c) and its TCP side (dns_tcp.c). */
#ifndef DNS_SERVICE_H
#define DNS_SERVICE_H

#include <sys/socket.h>

#include "dns_responder.h"

/* A query whose name is being resolved (dns.mode real). */
struct dns_pending;

/* Who asked, for an answer that comes later: a UDP address, or a connection when that is set. */
struct dns_connection;
struct dns_client {
	struct dns_connection *connection;
	struct sockaddr_storage peer;
	socklen_t peer_length;
	int udp_fd;
};
/* Judges a query and appends the response, or nothing when it deserves none. With dns.mode real
 * ret_pending may be set instead: the answer comes by itself, for a connection through
 * dns_connection_answer(). -1 when out of memory. */
int dns_service_query(struct dns_responder *responder, const struct dns_client *client,
		      struct span query, struct bytes *ret_response,
		      struct dns_pending **ret_pending) WARN_UNUSED;
/* The client is gone; nothing is sent when the answer comes. Accepts NULL. */
void dns_pending_abandon(struct dns_pending *pending);

struct dns_tcp;
struct dns_tcp *dns_tcp_new(struct event_base *base, struct dns_responder *responder) WARN_UNUSED;
/* Borrows the listening descriptor. -1: too many (ACCEPTOR_MAX), or out of memory. */
int dns_tcp_add(struct dns_tcp *tcp, int fd) WARN_UNUSED;
void dns_tcp_pulse(struct dns_tcp *tcp); /* see dns_responder_pulse() */
void dns_tcp_free(struct dns_tcp *tcp);
/* The response to the connection's pending query; empty: out of memory, the connection closes. */
void dns_connection_answer(struct dns_connection *connection, struct span response);

#endif
