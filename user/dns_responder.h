/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers the bottle's DNS from policy alone; never forwards a query. ldns does the wire format. */
#ifndef DNS_RESPONDER_H
#define DNS_RESPONDER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access_log.h"
#include "address.h"
#include "attributes.h"
#include "bytes.h"

/* ---- one query, pure but for the callbacks ------------------------------------------------- */

enum dns_bound { DNS_BOUND, DNS_REFUSED, DNS_FAILED };
/* What became of a name: its addresses when `reason` is EGRESS_ALLOWED. */
typedef void (*dns_resolved_fn)(void *context, enum egress_reason reason,
				const struct egress_address *addresses, size_t count, uint32_t ttl);
struct dns_names {
	/* The address of an allowed name. DNS_REFUSED with the reason otherwise. */
	enum dns_bound (*bind)(void *context, const char *name, struct egress_address *ret_address,
			       enum egress_reason *ret_reason);
	/* dns.mode real: asked by the service in place of `bind` when set. Calls `done` once, maybe
	 * before it returns, maybe after the responder is gone. */
	void (*resolve)(void *context, const char *name, dns_resolved_fn done, void *done_context);
	void *context;
	const char *proxy_name; /* answered with 127.0.0.1 (A) and ::1 (AAAA) */
};
struct dns_answer {
	enum egress_reason reason;
	char name[EGRESS_NAME_SIZE]; /* asked for, printable, maybe cut; "" when unreadable */
	uint16_t type;
};
/* Judges one query message and appends the response to `ret_response` (nothing for a message that
 * deserves none). `udp_limit` is 0 for TCP. Fills ret_answer for the log. -1 when out of memory;
 * the response is then unchanged. A name reaches `bind` in lower case without the last dot, and
 * only when all of it is printable and it is at most 253 characters. */
int dns_respond(const struct dns_names *names, struct span query, struct bytes *ret_response,
		size_t udp_limit, struct dns_answer *ret_answer) WARN_UNUSED;

/* ---- the service ---------------------------------------------------------------------------- */

struct dns_responder;
/* Serves UDP and TCP sockets (borrowed) until freed. Refusals are logged, answers are not.
 * `names` is borrowed, and read anew for each query: a reload changes it in place.
 * TCP: pipelined queries answered in order, 10 s idle limit, 64 connections, oldest idle goes. */
struct dns_responder *dns_responder_new(struct event_base *base, const struct dns_names *names,
					struct access_log *log) WARN_UNUSED;
int dns_responder_add_udp(struct dns_responder *responder, int fd) WARN_UNUSED;
int dns_responder_add_tcp(struct dns_responder *responder, int fd) WARN_UNUSED;
/* To be called now and then: goes on accepting where there was no memory to do so. */
void dns_responder_pulse(struct dns_responder *responder);
/* Look-ups still under way call back later and find nobody; run the loop once more for them. */
void dns_responder_free(struct dns_responder *responder);

#endif
