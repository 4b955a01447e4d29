// SPDX-License-Identifier: BSD-2-Clause
/* Bytes as they are, both ways: by splice(2) through a pipe between plain sockets, through the
 * shared scratch where one side is TLS. Constant memory: what one side does not take stops the
 * reading from the other. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection_private.h"

/* A pipe has room for so many pages or, of a socket, pieces of packets: 16 by default (pipe(7)),
 * which are 64 KiB at best and 23 KiB of packets of 1448 bytes. Each splice(2) wakes up who reads at
 * the far end, so that a tunnel with much to carry costs a third less with a pipe of 1 MiB. Of
 * these there are few: all pipes of a user together may have 64 MiB (pipe-user-pages-soft), and past
 * that new ones get two pages. */
#define LARGE_SIZE (1024 * 1024)
/* What came at once when there is much to carry: less than a small pipe full of short packets. */
#define BUSY_SIZE (16 * 1024)
/* Turns and bytes before other connections have theirs. */
#define TURN_BUDGET 16
#define TURN_BYTES (512 * 1024)

struct direction {
	struct stream *from, *to;
	struct tunnel_pipe pipe;
	bool has_pipe;
	bool busy;	/* much came the last time */
	bool eof;	/* `from` ended */
	bool shut;	/* and `to` was told */
	size_t in_pipe;
	struct bytes pending;
	uint64_t bytes;
};

struct tunnel {
	struct connection *connection;
	bool splice;
	struct direction up, down;
};

/* ---- pipes ---------------------------------------------------------------------------------- */

static void close_pipe(struct proxy_shared *shared, struct tunnel_pipe pipe)
{
	close(pipe.read);
	close(pipe.write);
	shared->large_made -= pipe.large;
}

static bool new_pipe(struct tunnel_pipe *ret)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	*ret = (struct tunnel_pipe){fds[0], fds[1], false};
	return true;
}

/* False when there are enough, or the kernel gives none: a small one will do. */
static bool take_large(struct proxy_shared *shared, struct tunnel_pipe *ret)
{
	if (shared->large_count > 0) {
		*ret = shared->large_pipes[--shared->large_count];
		return true;
	}
	if (shared->large_made == LARGE_PIPES || !new_pipe(ret))
		return false;
	if (fcntl(ret->write, F_SETPIPE_SZ, LARGE_SIZE) < 0) {
		close_pipe(shared, *ret);
		/* Not asked again with each read: no sooner than a large one is closed. */
		shared->large_made = LARGE_PIPES;
		return false;
	}
	ret->large = true;
	shared->large_made++;
	return true;
}

static bool take_small(struct proxy_shared *shared, struct tunnel_pipe *ret)
{
	if (shared->pipe_count == 0)
		return new_pipe(ret);
	*ret = shared->pipes[--shared->pipe_count];
	return true;
}

/* Only an empty pipe may serve another connection. */
static void return_pipe(struct proxy_shared *shared, struct direction *d)
{
	if (!d->has_pipe)
		return;
	d->has_pipe = false;
	if (d->in_pipe > 0 || (!d->pipe.large && shared->pipe_count == PIPE_POOL_SIZE))
		close_pipe(shared, d->pipe);
	else if (d->pipe.large)
		shared->large_pipes[shared->large_count++] = d->pipe;
	else
		shared->pipes[shared->pipe_count++] = d->pipe;
}

/* Pipes are pooled: two system calls for each burst would cost more than the bytes. The one that
 * `d` has is empty, and changed for a large one when that is worth it. */
static bool borrow_pipe(struct proxy_shared *shared, struct direction *d)
{
	if (d->has_pipe && (d->pipe.large || !d->busy))
		return true;
	return_pipe(shared, d);
	d->has_pipe = (d->busy && take_large(shared, &d->pipe)) || take_small(shared, &d->pipe);
	return d->has_pipe;
}

void tunnel_pipes_close(struct proxy_shared *shared)
{
	while (shared && shared->pipe_count > 0)
		close_pipe(shared, shared->pipes[--shared->pipe_count]);
	while (shared && shared->large_count > 0)
		close_pipe(shared, shared->large_pipes[--shared->large_count]);
}

/* ---- moving --------------------------------------------------------------------------------- */

/* Each mover returns 1 when it got on, 0 when it has to wait or is through, or -errno. This one:
 * what the other side does not take is kept, and nothing more is read until it is gone. */
static int move_copied(struct proxy_shared *shared, struct direction *d)
{
	char *buffer = http1_payload(&shared->scratch);
	ssize_t n, written;
	bool more;

	if (stream_must_wait(d->from))
		return 0;
	n = stream_read(d->from, buffer, HTTP1_PAYLOAD_MAX);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return (int)n;
	d->eof = n == 0;
	d->bytes += (size_t)n;
	more = stream_has_more(d->from);
	for (ssize_t done = 0; done < n; done += written) {
		written = more ? stream_write_more(d->to, buffer + done, (size_t)(n - done))
			       : stream_write(d->to, buffer + done, (size_t)(n - done));
		if (written == -EAGAIN)
			return bytes_append(&d->pending, buffer + done, (size_t)(n - done))
				       ? 1 : -ENOMEM;
		if (written <= 0)
			return -EPIPE;
	}
	return 1;
}

/* A pipe that is not empty stays with its connection: what is in it is its own. At the limit of
 * descriptors there is none, and a turn goes without. */
static int move_spliced(struct proxy_shared *shared, struct direction *d)
{
	ssize_t n;

	if (d->in_pipe == 0) {
		if (!borrow_pipe(shared, d))
			return move_copied(shared, d);
		n = stream_splice_in(d->from, d->pipe.write, LARGE_SIZE);
		if (n <= 0)
			return_pipe(shared, d);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		d->eof = n == 0;
		d->busy = n >= BUSY_SIZE;
		d->in_pipe = (size_t)n;
		if (d->eof)
			return 1;
	}
	n = stream_splice_out(d->to, d->pipe.read, d->in_pipe);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n < 0 ? (int)n : -EPIPE;
	d->in_pipe -= (size_t)n;
	d->bytes += (size_t)n;
	return 1;
}

/* An end is passed on only when all before it is. */
static int move(struct tunnel *t, struct direction *d)
{
	struct proxy_shared *shared = t->connection->proxy->shared;

	if (d->pending.length > 0) {
		enum http1_flow flow = http1_flush(&d->pending, d->to);

		if (flow != HTTP1_FLOW_DONE)
			return flow == HTTP1_FLOW_WAIT ? 0 : -EPIPE;
	}
	if (d->eof) {
		if (!d->shut)
			stream_shutdown(d->to);
		d->shut = true;
		return 0;
	}
	return t->splice ? move_spliced(shared, d) : move_copied(shared, d);
}

/* True when something moved; a failure is left in *ret_error. */
static bool run_direction(struct tunnel *t, struct direction *d, int *ret_error)
{
	uint64_t before = d->bytes;
	bool moved = false;

	for (int turn = 0; turn < TURN_BUDGET && d->bytes - before < TURN_BYTES; turn++) {
		int rc = move(t, d);

		if (rc < 0)
			*ret_error = rc;
		if (rc <= 0) {
			stream_push(d->to);
			return moved;
		}
		moved = true;
	}
	stream_push(d->to);
	stream_again(d->from);
	return moved;
}

/* ---- the protocol --------------------------------------------------------------------------- */

static enum protocol_next tunnel_run(void *session)
{
	struct tunnel *t = session;
	struct connection *c = t->connection;
	int error = 0;
	bool moved = run_direction(t, &t->up, &error);

	if (run_direction(t, &t->down, &error))
		moved = true;
	if (error < 0) {
		/* An end that was not in order must not look like one. */
		connection_abort_client(c);
		return connection_fault(c, EGRESS_ALLOWED, "connection reset");
	}
	if (t->up.shut && t->down.shut)
		return connection_fault(c, EGRESS_ALLOWED, NULL);
	if (moved)
		connection_deadline(c, TUNNEL_SECONDS);
	return PROTOCOL_WAIT;
}

/* What was read before it was known to be a tunnel goes first. */
static void take_pending(struct direction *d, struct bytes *from)
{
	d->pending = *from;
	d->bytes = from->length;
	*from = (struct bytes){NULL, 0, 0, 0};
}

static void *tunnel_start(struct connection *c)
{
	struct tunnel *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->connection = c;
	/* What TLS or HTTP/2 has unpacked is in our memory, not in a socket. */
	t->splice = !stream_ssl(c->client) && !stream_ssl(c->upstream) &&
		    !stream_is_framed(c->upstream);
	c->proxy->spliced_count += t->splice;
	t->up = (struct direction){.from = c->client, .to = c->upstream};
	t->down = (struct direction){.from = c->upstream, .to = c->client};
	take_pending(&t->up, &c->sent);
	take_pending(&t->down, &c->received);
	connection_deadline(c, TUNNEL_SECONDS);
	return t;
}

/* connection.c asks for the host itself, which is all there is to a tunnel, unless it began as a
 * request. */
static bool tunnel_allowed(void *session)
{
	const struct connection *c = ((struct tunnel *)session)->connection;

	return c->request_head.length == 0 ||
	       http1_head_allowed(c, bytes_span(&c->request_head), c->upstream);
}

/* Bytes may come at any time. */
static bool tunnel_idle(void *session)
{
	(void)session;
	return false;
}

static size_t tunnel_total(const void *session)
{
	const struct tunnel *t = session;

	return t->up.pending.capacity + t->down.pending.capacity +
	       stream_held(t->connection->upstream);
}

static size_t tunnel_held(const void *session, uint64_t before_ms)
{
	const struct tunnel *t = session;

	/* The deadline is set anew with each byte that moves. */
	if (t->connection->deadline_ms > before_ms + TUNNEL_SECONDS * UINT64_C(1000))
		return 0;
	return tunnel_total(session);
}

static void tunnel_shed(void *session, size_t at_least, uint64_t before_ms)
{
	struct connection *c = ((struct tunnel *)session)->connection;

	(void)at_least, (void)before_ms;
	connection_shed(c);
	connection_abort_client(c);
	connection_close(c, EGRESS_LIMIT, CONNECTION_SHED);
}

static void tunnel_end(void *session, enum egress_reason reason, const char *detail)
{
	struct tunnel *t = session;
	struct connection *c = t->connection;
	struct access_record record = {
		.reason = reason,
		.detail = detail,
		.bytes_up = t->up.bytes,
		.bytes_down = t->down.bytes,
		.microseconds = connection_now_us() - c->started_us,
	};

	connection_log(c, &record);
	c->proxy->spliced_count -= t->splice;
	return_pipe(c->proxy->shared, &t->up);
	return_pipe(c->proxy->shared, &t->down);
	bytes_free(&t->up.pending);
	bytes_free(&t->down.pending);
	free(t);
}

const struct protocol tunnel_protocol = {
	.name = "tunnel",
	.start = tunnel_start,
	.run = tunnel_run,
	.allowed = tunnel_allowed,
	.idle = tunnel_idle,
	.held = tunnel_held,
	.shed = tunnel_shed,
	.total = tunnel_total,
	.end = tunnel_end,
};
