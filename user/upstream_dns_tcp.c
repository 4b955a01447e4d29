// SPDX-License-Identifier: BSD-2-Clause
/* A truncated answer, asked for again by TCP. The id is random and the question is compared, as for
 * UDP: the server is the host's, the way to it may not be. */
#include "upstream_dns_tcp.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <ldns/ldns.h>
#include <netinet/tcp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "stream.h"

/* Less than upstream's own limit, so that another address family can still serve. */
#define TIMEOUT_SECONDS 3
#define CHAIN_LIMIT 16 /* CNAMEs on the way to an address */
/* ldns dereferences what it did not get. More than it takes for a question, and for each octet of an answer:
 * a TXT record may have a string in each. */
#define LDNS_ROOM (64 * 1024)
#define LDNS_ROOM_EACH 96

struct dns_tcp {
	struct stream *stream;
	struct event timer;
	struct bytes out, in;
	uint16_t id;
	ldns_rr_type type;
	ldns_rdf *name;
	dns_tcp_fn done;
	void *context;
};

struct found {
	struct egress_address addresses[DNS_TCP_MAX_ADDRESSES];
	size_t count;
	uint32_t ttl;
};

void dns_tcp_cancel(struct dns_tcp *query)
{
	if (!query)
		return;
	event_del(&query->timer);
	stream_free(query->stream);
	bytes_free(&query->out);
	bytes_free(&query->in);
	ldns_rdf_deep_free(query->name);
	free(query);
}

static void finish(struct dns_tcp *query, const struct found *found)
{
	dns_tcp_fn done = query->done;
	void *context = query->context;

	/* The query is gone before `done`, which may begin or end others. */
	dns_tcp_cancel(query);
	done(context, found->addresses, found->count, found->ttl);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static bool is_same_name(const ldns_rdf *a, const ldns_rdf *b)
{
	return ldns_dname_compare(a, b) == 0;
}

/* Lengths are checked: a record's type says nothing about its data. */
static void add_address(const ldns_rr *rr, struct found *found)
{
	const ldns_rdf *data = ldns_rr_rdf(rr, 0);
	struct egress_address *to = &found->addresses[found->count];
	uint32_t v4;

	if (!data || found->count == DNS_TCP_MAX_ADDRESSES)
		return;
	if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_A && ldns_rdf_size(data) == sizeof(v4)) {
		memcpy(&v4, ldns_rdf_data(data), sizeof(v4));
		*to = address_from_v4(ntohl(v4));
	} else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_AAAA &&
		   ldns_rdf_size(data) == sizeof(*to)) {
		memcpy(to, ldns_rdf_data(data), sizeof(*to));
	} else {
		return;
	}
	found->count++;
	if (ldns_rr_ttl(rr) < found->ttl)
		found->ttl = ldns_rr_ttl(rr);
}

/* Adds the addresses of `name`; returns its CNAME's target, or NULL. */
static const ldns_rdf *collect(const struct dns_tcp *query, const ldns_rr_list *answers,
			       const ldns_rdf *name, struct found *found)
{
	const ldns_rdf *next = NULL;

	for (size_t i = 0; i < ldns_rr_list_rr_count(answers); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(answers, i);

		if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN ||
		    !is_same_name(ldns_rr_owner(rr), name))
			continue;
		if (ldns_rr_get_type(rr) == query->type)
			add_address(rr, found);
		else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME && ldns_rr_rd_count(rr) == 1)
			next = ldns_rr_rdf(rr, 0);
	}
	return next;
}

static bool answers_us(const struct dns_tcp *query, const ldns_pkt *packet)
{
	const ldns_rr_list *questions = ldns_pkt_question(packet);
	const ldns_rr *question;

	/* Anything but NOERROR is no address: the other family may still have one. */
	if (ldns_pkt_id(packet) != query->id || !ldns_pkt_qr(packet) || ldns_pkt_tc(packet) ||
	    ldns_pkt_get_rcode(packet) != LDNS_RCODE_NOERROR ||
	    ldns_rr_list_rr_count(questions) != 1)
		return false;
	question = ldns_rr_list_rr(questions, 0);
	return ldns_rr_get_type(question) == query->type &&
	       is_same_name(ldns_rr_owner(question), query->name);
}

/* A chain that does not end within CHAIN_LIMIT has no address. */
static void read_answer(const struct dns_tcp *query, struct span message, struct found *found)
{
	const ldns_rdf *name = query->name;
	ldns_pkt *packet = NULL;

	if (bytes_obtainable(LDNS_ROOM + LDNS_ROOM_EACH * message.length) &&
	    ldns_wire2pkt(&packet, (const uint8_t *)message.data, message.length) ==
		    LDNS_STATUS_OK &&
	    answers_us(query, packet)) {
		for (int i = 0; name && found->count == 0 && i < CHAIN_LIMIT; i++)
			name = collect(query, ldns_pkt_answer(packet), name, found);
	}
	ldns_pkt_free(packet);
}

/* ---- the connection ------------------------------------------------------------------------- */

static bool send_question(struct dns_tcp *query)
{
	while (query->out.length > 0) {
		struct span rest = bytes_span(&query->out);
		ssize_t n = stream_write(query->stream, rest.data, rest.length);

		/* Not connected yet. */
		if (n == -EAGAIN || n == -ENOTCONN)
			return true;
		if (n <= 0)
			return false;
		bytes_consume(&query->out, (size_t)n);
	}
	return true;
}

/* 1 the answer is whole, 0 it is not yet, -1 it will not be. */
static int receive(struct dns_tcp *query, struct span *ret_message)
{
	char buffer[4096];
	struct span all;
	size_t length;
	ssize_t n;

	do {
		n = stream_read(query->stream, buffer, sizeof(buffer));
		if (n > 0 && !bytes_append(&query->in, buffer, (size_t)n))
			return -1;
		all = bytes_span(&query->in);
		length = all.length < 2 ? 0 : ((size_t)(unsigned char)all.data[0] << 8 |
					       (unsigned char)all.data[1]);
		if (length > 0 && all.length >= length + 2) {
			*ret_message = (struct span){all.data + 2, length};
			return 1;
		}
	} while (n > 0);
	return n == -EAGAIN || n == -ENOTCONN ? 0 : -1;
}

static void on_ready(void *context)
{
	struct dns_tcp *query = context;
	struct found found = {.ttl = UINT32_MAX};
	struct span message;
	int result = send_question(query) ? 0 : -1;

	if (result == 0 && query->out.length == 0)
		result = receive(query, &message);
	if (result == 1)
		read_answer(query, message, &found);
	if (result != 0)
		finish(query, &found);
}

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	finish(context, &(struct found){.ttl = 0});
}

/* ---- the question --------------------------------------------------------------------------- */

static bool compose(struct dns_tcp *query, const char *name)
{
	uint8_t *wire = NULL;
	size_t length = 0;
	ldns_pkt *packet;
	bool fine;

	if (!bytes_obtainable(LDNS_ROOM))
		return false;
	query->name = ldns_dname_new_frm_str(name);
	packet = query->name ? ldns_pkt_query_new(ldns_rdf_clone(query->name), query->type,
						  LDNS_RR_CLASS_IN, LDNS_RD)
			     : NULL;
	if (!packet || RAND_bytes((unsigned char *)&query->id, sizeof(query->id)) != 1) {
		ldns_pkt_free(packet);
		return false;
	}
	ldns_pkt_set_id(packet, query->id);
	/* RFC 7766, 8: the length goes out with its message, for servers that read both at once. */
	fine = ldns_pkt2wire(&wire, packet, &length) == LDNS_STATUS_OK && length <= UINT16_MAX &&
	       bytes_append(&query->out, (const char[]){(char)(length >> 8), (char)length}, 2) &&
	       bytes_append(&query->out, wire, length);
	free(wire);
	ldns_pkt_free(packet);
	return fine;
}

static struct stream *dial(struct event_base *base, const struct sockaddr *server, socklen_t length)
{
	int fd = socket(server->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stream *stream = NULL;

	if (fd < 0)
		return NULL;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (connect(fd, server, length) == 0 || errno == EINPROGRESS)
		stream = stream_new(base, fd);
	if (!stream)
		close(fd);
	return stream;
}

struct dns_tcp *dns_tcp_start(struct event_base *base, const struct sockaddr *server,
			      socklen_t server_length, const char *name, bool v6, dns_tcp_fn done,
			      void *context)
{
	struct dns_tcp *query = calloc(1, sizeof(*query));

	if (!query)
		return NULL;
	query->type = v6 ? LDNS_RR_TYPE_AAAA : LDNS_RR_TYPE_A;
	query->done = done;
	query->context = context;
	/* Before anything can fail: dns_tcp_cancel() takes it off. */
	evtimer_assign(&query->timer, base, on_timeout, query);
	if (compose(query, name))
		query->stream = dial(base, server, server_length);
	if (!query->stream ||
	    event_add(&query->timer, &(struct timeval){.tv_sec = TIMEOUT_SECONDS}) < 0) {
		dns_tcp_cancel(query);
		return NULL;
	}
	stream_set_ready(query->stream, on_ready, query);
	return query;
}
