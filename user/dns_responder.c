/* SPDX-License-Identifier: BSD-2-Clause */
/* The service: UDP, queries that wait for a look-up, and the log of refusals. */
#include "dns_responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "dns_message.h"
#include "dns_service.h"

/* Datagrams read by one system call. */
#define BATCH 16
#define MAX_UDP_SOCKETS 16
/* Look-ups at once for one bottle: more would be a flood of the host's resolver. */
#define MAX_PENDING 256
/* DNS Flag Day 2020: never fragmented. */
#define UDP_LIMIT 1232

struct dns_pending {
	TAILQ_ENTRY(dns_pending) link;
	struct dns_responder *responder; /* NULL: freed meanwhile */
	struct dns_query query;
	struct dns_client client;
	bool abandoned;
	bool starting, done; /* done while `starting`: the response is in `response` */
	struct bytes response;
};
TAILQ_HEAD(pending_list, dns_pending);

struct udp_socket {
	struct dns_responder *responder;
	int fd;
	struct event *readable;
};

struct dns_responder {
	struct event_base *base;
	const struct dns_names *names;
	struct access_log *log;
	struct udp_socket udp[MAX_UDP_SOCKETS];
	size_t udp_count;
	struct dns_tcp *tcp;
	struct pending_list pending;
	size_t pending_count;
	/* One batch is read before any of it is answered. */
	char buffers[BATCH][DNS_QUERY_MAX + 1];
};

/* ---- one query ------------------------------------------------------------------------------ */

/* Refusals alone: an allowed name shows again with its connection. */
static void log_refusal(struct dns_responder *responder, const struct dns_answer *answer)
{
	struct access_record record = {
		.source = "dns",
		.host = answer->name[0] ? answer->name : NULL,
		.protocol = "dns",
		.reason = answer->reason,
	};
	char *type;

	if (answer->reason == EGRESS_ALLOWED)
		return;
	type = answer->type ? ldns_rr_type2str((ldns_rr_type)answer->type) : NULL;
	record.detail = type;
	access_log_write(responder->log, &record);
	free(type);
}

static size_t client_limit(const struct dns_client *client)
{
	return client->connection ? 0 : UDP_LIMIT;
}

/* After the responder is gone it is on no list any more. */
static void pending_free(struct dns_pending *pending)
{
	if (pending->responder) {
		TAILQ_REMOVE(&pending->responder->pending, pending, link);
		pending->responder->pending_count--;
	}
	dns_query_clear(&pending->query);
	bytes_free(&pending->response);
	free(pending);
}

static void send_udp(const struct dns_client *client, struct span response)
{
	/* A full socket buffer drops it, as a network would; the client asks again. */
	(void)sendto(client->udp_fd, response.data, response.length, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)&client->peer, client->peer_length);
}

static void deliver(struct dns_pending *pending)
{
	struct span response = bytes_span(&pending->response);

	if (pending->abandoned)
		return;
	if (pending->client.connection)
		dns_connection_answer(pending->client.connection, response);
	else if (response.length)
		send_udp(&pending->client, response);
}

/* Logs and writes; the one way out of every query of dns.mode real. */
static int finish(struct dns_responder *responder, const struct dns_query *query,
		  const struct dns_reply *reply, size_t limit, struct bytes *ret_response)
{
	struct dns_answer answer;

	dns_answer_fill(query, reply, &answer);
	log_refusal(responder, &answer);
	return dns_reply_write(query, reply, limit, ret_response);
}

static void resolved(void *context, enum egress_reason reason,
		     const struct egress_address *addresses, size_t count, uint32_t ttl)
{
	struct dns_pending *pending = context;
	struct dns_reply reply;

	if (!pending->responder) {
		pending_free(pending);
		return;
	}
	dns_settle(&pending->query, reason, addresses, count, ttl, &reply);
	/* Without memory the response stays empty, which deliver() and the caller know. */
	if (finish(pending->responder, &pending->query, &reply, client_limit(&pending->client),
		   &pending->response) < 0)
		bytes_free(&pending->response);
	pending->done = true;
	if (pending->starting)
		return;
	deliver(pending);
	pending_free(pending);
}

/* The look-up was answered before resolve() returned (a cache, say): then the response is given
 * back like any other, so that pipelined queries do not recurse. */
static int take_early(struct dns_pending *pending, struct bytes *ret_response)
{
	struct span response = bytes_span(&pending->response);
	bool taken =
		response.length > 0 && bytes_append(ret_response, response.data, response.length);

	pending_free(pending);
	return taken ? 0 : -1;
}

/* Takes over `query`'s question. */
static int start_pending(struct dns_responder *responder, const struct dns_client *client,
			 struct dns_query *query, struct bytes *ret_response,
			 struct dns_pending **ret_pending)
{
	struct dns_pending *pending = calloc(1, sizeof(*pending));

	if (!pending)
		return -1;
	pending->responder = responder;
	pending->query = *query;
	query->question = NULL;
	pending->client = *client;
	pending->starting = true;
	TAILQ_INSERT_TAIL(&responder->pending, pending, link);
	responder->pending_count++;
	responder->names->resolve(responder->names->context, pending->query.name, resolved, pending);
	if (pending->done)
		return take_early(pending, ret_response);
	pending->starting = false;
	*ret_pending = pending;
	return 0;
}

static int query_resolving(struct dns_responder *responder, const struct dns_client *client,
			   struct span message, struct bytes *ret_response,
			   struct dns_pending **ret_pending)
{
	CLEANUP(dns_query_clear) struct dns_query query;
	enum dns_reading reading = dns_query_read(message, &query);
	struct dns_reply reply;

	if (reading == DNS_READ_NO_MEMORY)
		return -1;
	if (reading == DNS_READ_NOTHING) {
		log_refusal(responder, &(struct dns_answer){.reason = EGRESS_BAD_REQUEST});
		return 0;
	}
	if (!dns_judge(responder->names, &query, reading, &reply)) {
		if (responder->pending_count < MAX_PENDING)
			return start_pending(responder, client, &query, ret_response, ret_pending);
		dns_settle(&query, EGRESS_LIMIT, NULL, 0, 0, &reply);
	}
	return finish(responder, &query, &reply, client_limit(client), ret_response);
}

/* By the mode in force now: a reload may have changed it since the last query. */
int dns_service_query(struct dns_responder *responder, const struct dns_client *client,
		      struct span query, struct bytes *ret_response,
		      struct dns_pending **ret_pending)
{
	struct dns_answer answer;

	if (responder->names->resolve)
		return query_resolving(responder, client, query, ret_response, ret_pending);
	if (dns_respond(responder->names, query, ret_response, client_limit(client), &answer) < 0)
		return -1;
	log_refusal(responder, &answer);
	return 0;
}

void dns_pending_abandon(struct dns_pending *pending)
{
	if (pending)
		pending->abandoned = true;
}

/* ---- UDP ------------------------------------------------------------------------------------ */

/* A pending query needs no handle here: UDP has no client that could go away. */
static void serve_datagram(struct dns_responder *responder, struct dns_client *client,
			   struct span query)
{
	CLEANUP(bytes_free) struct bytes response = {0};
	struct dns_pending *pending = NULL;

	if (dns_service_query(responder, client, query, &response, &pending) == 0 &&
	    response.length)
		send_udp(client, bytes_span(&response));
}

/* One batch per call: the loop comes back while there is more, and others get their turn. */
static void udp_readable(evutil_socket_t fd, short what, void *context)
{
	struct udp_socket *udp = context;
	struct dns_responder *responder = udp->responder;
	struct dns_client clients[BATCH];
	struct mmsghdr messages[BATCH] = {0};
	struct iovec iovs[BATCH];
	int count;

	(void)what;
	for (size_t i = 0; i < BATCH; i++) {
		clients[i] = (struct dns_client){.udp_fd = fd};
		iovs[i] = (struct iovec){responder->buffers[i], sizeof(responder->buffers[i])};
		messages[i].msg_hdr.msg_name = &clients[i].peer;
		messages[i].msg_hdr.msg_namelen = sizeof(clients[i].peer);
		messages[i].msg_hdr.msg_iov = &iovs[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		/* A cut datagram fills the buffer: longer than any query, so it is FORMERR. */
		struct span query = {responder->buffers[i], messages[i].msg_len};

		clients[i].peer_length = messages[i].msg_hdr.msg_namelen;
		serve_datagram(responder, &clients[i], query);
	}
}

int dns_responder_add_udp(struct dns_responder *responder, int fd)
{
	struct udp_socket *udp = &responder->udp[responder->udp_count];

	if (responder->udp_count == MAX_UDP_SOCKETS)
		return -1;
	*udp = (struct udp_socket){.responder = responder, .fd = fd};
	udp->readable = event_new(responder->base, fd, EV_READ | EV_PERSIST, udp_readable, udp);
	if (!udp->readable || event_add(udp->readable, NULL) < 0) {
		if (udp->readable)
			event_free(udp->readable);
		return -1;
	}
	responder->udp_count++;
	return 0;
}

int dns_responder_add_tcp(struct dns_responder *responder, int fd)
{
	return dns_tcp_add(responder->tcp, fd);
}

void dns_responder_pulse(struct dns_responder *responder)
{
	dns_tcp_pulse(responder->tcp);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct dns_responder *dns_responder_new(struct event_base *base, const struct dns_names *names,
					struct access_log *log)
{
	struct dns_responder *responder = calloc(1, sizeof(*responder));

	if (!responder)
		return NULL;
	responder->base = base;
	responder->names = names;
	responder->log = log;
	TAILQ_INIT(&responder->pending);
	responder->tcp = dns_tcp_new(base, responder);
	if (!responder->tcp) {
		free(responder);
		return NULL;
	}
	return responder;
}

void dns_responder_free(struct dns_responder *responder)
{
	struct dns_pending *pending;

	if (!responder)
		return;
	for (size_t i = 0; i < responder->udp_count; i++)
		event_free(responder->udp[i].readable);
	dns_tcp_free(responder->tcp);
	/* Their callbacks are still to come; resolved() frees them. */
	while ((pending = TAILQ_FIRST(&responder->pending))) {
		TAILQ_REMOVE(&responder->pending, pending, link);
		pending->responder = NULL;
	}
	free(responder);
}
