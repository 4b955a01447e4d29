/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS over TCP (RFC 7766): messages behind their length. Each query is judged by itself, however
 * the bytes were cut into segments; a connection has one query in hand at a time. */
#include "dns_service.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <unistd.h>

#include "acceptor.h"

/* A resolver has one or two; the rest is for many programs at once. */
#define MAX_CONNECTIONS 64
#define MAX_ACCEPTS 16        /* in a row, before others get their turn */
/* One answer of the largest size. */
#define OUT_LIMIT (64 * 1024) /* of unsent answers; nothing more is read above it */
#define READ_SIZE 4096
#define LENGTH_SIZE 2

static const struct timeval idle_limit = {.tv_sec = 10};

struct dns_connection {
	struct dns_tcp *tcp;
	size_t index;       /* in tcp->connections */
	uint64_t last_used; /* the service's count of uses, then */
	int fd;
	struct event readable, writable, idle;
	struct bytes in, out;
	struct dns_pending *pending;
	bool ended; /* the client sends no more */
};

struct dns_tcp {
	struct event_base *base;
	struct dns_responder *responder;
	struct acceptor acceptor;
	struct dns_connection *connections[MAX_CONNECTIONS];
	size_t connection_count;
	uint64_t uses;
};

/* The only end of a connection; an answer still to come finds it abandoned. */
static void connection_close(struct dns_connection *connection)
{
	struct dns_tcp *tcp = connection->tcp;

	dns_pending_abandon(connection->pending);
	event_del(&connection->readable);
	event_del(&connection->writable);
	event_del(&connection->idle);
	tcp->connections[connection->index] = tcp->connections[--tcp->connection_count];
	tcp->connections[connection->index]->index = connection->index;
	close(connection->fd);
	bytes_free(&connection->in);
	bytes_free(&connection->out);
	free(connection);
}

/* Only whole queries and taken answers count as life: a byte now and then does not. */
static void touch(struct dns_connection *connection)
{
	connection->last_used = ++connection->tcp->uses;
	event_add(&connection->idle, &idle_limit);
}

/* The next whole message without its length; false when it is not there yet. */
static bool next_message(const struct dns_connection *connection, struct span *ret)
{
	struct span in = bytes_span(&connection->in);
	size_t length;

	if (in.length < LENGTH_SIZE)
		return false;
	length = (size_t)(unsigned char)in.data[0] << 8 | (unsigned char)in.data[1];
	if (in.length < LENGTH_SIZE + length)
		return false;
	*ret = (struct span){in.data + LENGTH_SIZE, length};
	return true;
}

/* The length fits: dns_reply_write() bounds TCP by 16 bits. */
static bool append_response(struct dns_connection *connection, struct span response)
{
	unsigned char length[LENGTH_SIZE] = {(unsigned char)(response.length >> 8),
					     (unsigned char)response.length};

	return bytes_append(&connection->out, length, sizeof(length)) &&
	       bytes_append(&connection->out, response.data, response.length);
}

/* One look-up at a time keeps the answers in order, and the rest of the input is backpressure. */
static bool may_answer(const struct dns_connection *connection)
{
	return !connection->pending && connection->out.length < OUT_LIMIT;
}

/* Judges what came in whole, in order. False: out of memory. */
static bool serve_messages(struct dns_connection *connection)
{
	struct dns_client client = {.udp_fd = -1, .connection = connection};
	struct span message;

	while (may_answer(connection) && next_message(connection, &message)) {
		CLEANUP(bytes_free) struct bytes response = {0};

		if (dns_service_query(connection->tcp->responder, &client, message, &response,
				      &connection->pending) < 0)
			return false;
		bytes_consume(&connection->in, LENGTH_SIZE + message.length);
		if (response.length && !append_response(connection, bytes_span(&response)))
			return false;
		touch(connection);
	}
	return true;
}

/* False: the connection is broken. */
static bool flush(struct dns_connection *connection)
{
	while (connection->out.length) {
		struct span out = bytes_span(&connection->out);
		ssize_t sent = send(connection->fd, out.data, out.length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		bytes_consume(&connection->out, (size_t)sent);
		touch(connection);
	}
	return true;
}

static bool want(struct event *event, bool wanted)
{
	return (wanted ? event_add(event, NULL) : event_del(event)) == 0;
}

/* Does all that can be done now; closes the connection when that was the end of it. */
static void advance(struct dns_connection *connection)
{
	struct span message;

	/* What could be written has made room for more answers. */
	do {
		if (!serve_messages(connection) || !flush(connection)) {
			connection_close(connection);
			return;
		}
	} while (may_answer(connection) && next_message(connection, &message));
	/* Whoever closed its own side alone still gets its answers. */
	if (connection->ended && !connection->pending && !connection->out.length) {
		connection_close(connection);
		return;
	}
	/* Rather than silent until its time is over. */
	if (!want(&connection->readable, may_answer(connection) && !connection->ended) ||
	    !want(&connection->writable, connection->out.length > 0))
		connection_close(connection);
}

void dns_connection_answer(struct dns_connection *connection, struct span response)
{
	connection->pending = NULL;
	if (!response.length || !append_response(connection, response)) {
		connection_close(connection);
		return;
	}
	advance(connection);
}

/* What is read is bounded by the longest message, since whole ones are served at once. */
static void connection_readable(evutil_socket_t fd, short what, void *context)
{
	struct dns_connection *connection = context;
	char *room = bytes_reserve(&connection->in, READ_SIZE);
	ssize_t length = room ? recv(fd, room, READ_SIZE, 0) : -1;

	(void)what;
	if (!room || (length < 0 && errno != EAGAIN && errno != EINTR)) {
		connection_close(connection);
		return;
	}
	if (length < 0)
		return;
	if (length == 0)
		connection->ended = true;
	bytes_added(&connection->in, (size_t)length);
	advance(connection);
}

static void connection_writable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	advance(context);
}

static void connection_idle(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	connection_close(context);
}

/* Sixty-four at most: a scan is cheaper than keeping a list in order. */
static struct dns_connection *longest_idle(const struct dns_tcp *tcp)
{
	struct dns_connection *oldest = tcp->connections[0];

	for (size_t i = 1; i < tcp->connection_count; i++)
		if (tcp->connections[i]->last_used < oldest->last_used)
			oldest = tcp->connections[i];
	return oldest;
}

/* Takes over `fd` also when it fails. */
static void connection_open(struct dns_tcp *tcp, int fd)
{
	struct dns_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		close(fd);
		return;
	}
	/* The newcomer is served: who has been silent for longest will miss it least. */
	if (tcp->connection_count == MAX_CONNECTIONS)
		connection_close(longest_idle(tcp));
	connection->tcp = tcp;
	connection->fd = fd;
	connection->last_used = ++tcp->uses;
	connection->index = tcp->connection_count++;
	tcp->connections[connection->index] = connection;
	event_assign(&connection->readable, tcp->base, fd, EV_READ | EV_PERSIST,
		     connection_readable, connection);
	event_assign(&connection->writable, tcp->base, fd, EV_WRITE | EV_PERSIST,
		     connection_writable, connection);
	evtimer_assign(&connection->idle, tcp->base, connection_idle, connection);
	if (event_add(&connection->readable, NULL) < 0 ||
	    event_add(&connection->idle, &idle_limit) < 0)
		connection_close(connection);
}

void dns_tcp_pulse(struct dns_tcp *tcp)
{
	acceptor_pulse(&tcp->acceptor);
}

static void accept_ready(evutil_socket_t listener, short what, void *context)
{
	struct dns_tcp *tcp = context;

	(void)what;
	for (int i = 0; i < MAX_ACCEPTS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			connection_open(tcp, fd);
		else if (acceptor_starved(errno))
			acceptor_pause(&tcp->acceptor);
		if (fd < 0 && errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

struct dns_tcp *dns_tcp_new(struct event_base *base, struct dns_responder *responder)
{
	struct dns_tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return NULL;
	tcp->base = base;
	tcp->responder = responder;
	acceptor_init(&tcp->acceptor, base, NULL, NULL);
	return tcp;
}

int dns_tcp_add(struct dns_tcp *tcp, int fd)
{
	return acceptor_add(&tcp->acceptor, fd, accept_ready, tcp);
}

void dns_tcp_free(struct dns_tcp *tcp)
{
	if (!tcp)
		return;
	while (tcp->connection_count)
		connection_close(tcp->connections[tcp->connection_count - 1]);
	acceptor_close(&tcp->acceptor);
	free(tcp);
}
