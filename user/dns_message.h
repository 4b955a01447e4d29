/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside dns_*: a query read, what it comes to, and the response written. */
#ifndef DNS_MESSAGE_H
#define DNS_MESSAGE_H

#include <stdbool.h> /* before ldns.h, which otherwise makes _Bool a signed char */

#include <ldns/ldns.h>

#include "dns_responder.h"

#define DNS_QUERY_MAX 4096 /* a longer one is nothing a stub resolver sends */

/* A query, as far as it could be read. */
struct dns_query {
	uint16_t id;
	uint8_t opcode;
	bool recursion_desired, checking_disabled;
	bool edns, dnssec_ok;
	uint16_t udp_size; /* what the client takes over UDP: 512 without EDNS */
	ldns_rr *question; /* owned; NULL when unreadable */
	uint16_t type, class;
	char name[EGRESS_NAME_SIZE]; /* lower case, printable, without the last dot; maybe cut */
	bool plain_name;             /* all of it is in `name`, nothing escaped, not the root */
	bool web_service;            /* asked about the web server of `name` */
	uint16_t error;              /* RCODE of DNS_READ_ERROR; BADVERS is 16 */
};
enum dns_reading {
	DNS_READ_QUESTION,
	DNS_READ_ERROR,   /* answer with `error` */
	DNS_READ_NOTHING, /* a response, or too short for an answer */
	DNS_READ_NO_MEMORY
};
/* Fills `ret` whatever comes; clear it in any case. */
enum dns_reading dns_query_read(struct span message, struct dns_query *ret) WARN_UNUSED;
/* Also after zero-initialising only. */
void dns_query_clear(struct dns_query *query);

/* What a query comes to. Zeroed it is NOERROR without data. */
struct dns_reply {
	enum egress_reason reason; /* for the log */
	uint16_t rcode;
	const struct egress_address *addresses; /* borrowed; those of the family asked for go out */
	size_t count;
	uint32_t ttl;
	uint16_t error_code; /* Extended DNS Error (RFC 8914), sent when `error_text` is set */
	const char *error_text;
};
/* Appends the response. `udp_limit` 0: TCP. -1 when out of memory, `ret` is then unchanged. */
int dns_reply_write(const struct dns_query *query, const struct dns_reply *reply, size_t udp_limit,
		    struct bytes *ret) WARN_UNUSED;

/* The reply to a query that needs no look-up: false when the names must be asked. */
bool dns_judge(const struct dns_names *names, const struct dns_query *query,
	       enum dns_reading reading, struct dns_reply *ret);
/* The reply once they were; `addresses` are borrowed until it is written. */
void dns_settle(const struct dns_query *query, enum egress_reason reason,
		const struct egress_address *addresses, size_t count, uint32_t ttl,
		struct dns_reply *ret);
void dns_answer_fill(const struct dns_query *query, const struct dns_reply *reply,
		     struct dns_answer *ret);

#endif
