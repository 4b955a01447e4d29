/* SPDX-License-Identifier: BSD-2-Clause */
/* One DNS question over TCP (RFC 7766): what evdns, which speaks UDP alone, got cut short. Part of
 * upstream. */
#ifndef UPSTREAM_DNS_TCP_H
#define UPSTREAM_DNS_TCP_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "address.h"
#include "attributes.h"

#define DNS_TCP_MAX_ADDRESSES 16

/* `count` 0: no answer, or none that can be used. */
typedef void (*dns_tcp_fn)(void *context, const struct egress_address *addresses, size_t count,
			   uint32_t ttl);

/* Asks `server` for the A or, with `v6`, AAAA records of a name, CNAMEs followed within the answer.
 * `done` is called once, from the event loop, after 3 s at the latest, unless cancelled before; the
 * query is gone then. NULL when it cannot be begun. */
struct dns_tcp;
struct dns_tcp *dns_tcp_start(struct event_base *base, const struct sockaddr *server,
			      socklen_t server_length, const char *name, bool v6, dns_tcp_fn done,
			      void *context) WARN_UNUSED;
void dns_tcp_cancel(struct dns_tcp *query); /* accepts NULL */

#endif
