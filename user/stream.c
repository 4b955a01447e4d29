// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream_private.h"
#include "timeout.h"

#define FULL_WAIT_US 20000 /* until it is looked again whether there is room */

/* A recv(2) that gave little has emptied the socket, and the next one would find nothing. An end in
 * order that came together with those bytes is told by EV_CLOSED; a reset is not, and urgent data, too,
 * make a recv(2) short (tcp(7)). So it is looked when nothing has come for this time, and for less
 * than twice as long. */
#define CHECK_MS 200

static _Thread_local size_t socket_count;
static _Thread_local struct stream_use use;

static void try_shutdown(struct stream *stream);

/* Touches nothing after `ready`, which may have freed the stream. */
static void wake(struct stream *stream)
{
	if (stream->shutdown_pending)
		try_shutdown(stream);
	if (stream->ready)
		stream->ready(stream->context);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
	struct stream *stream = argument;

	(void)fd;
	stream->read_blocked = (short)(stream->read_blocked & ~what);
	stream->write_blocked = (short)(stream->write_blocked & ~what);
	if (what & (EV_READ | EV_CLOSED)) {
		stream->drained = false;
		stream->stirred = true;
	}
	if (what & EV_CLOSED)
		stream->ended = true;
	wake(stream);
}

/* Not by MSG_PEEK, which takes the socket's error away from who reads. */
static bool is_empty(const struct stream *stream)
{
	return poll(&(struct pollfd){.fd = stream->fd, .events = POLLIN | POLLRDHUP}, 1, 0) == 0;
}

static void expect_bytes(struct stream *stream)
{
	stream->drained = false;
	stream->read_blocked = (short)(stream->read_blocked & ~EV_READ);
}

/* Unless it is called earlier anyway. False: nobody will look. */
bool stream_check_later(struct stream *stream)
{
	if (stream->checking || event_pending(&stream->again, EV_TIMEOUT, NULL))
		return true;
	stream->checking = timeout_add(&stream->again, CHECK_MS) == 0;
	stream->stirred = false;
	return stream->checking;
}

static void on_again(evutil_socket_t fd, short what, void *argument)
{
	struct stream *stream = argument;
	bool check = stream->checking, found;

	(void)fd, (void)what;
	stream->checking = false;
	stream_push(stream);
	/* A busy connection needs no look: what comes next takes along what was missed. */
	if (check && stream->drained && stream->stirred && stream_check_later(stream))
		return;
	found = stream->drained && !is_empty(stream);
	if (found)
		expect_bytes(stream);
	if (found || !check)
		wake(stream);
}

/* Where much came, more is likely while it is worked on. */
void stream_note_count(struct stream *stream, size_t count, size_t size)
{
	if (count == 0 || count >= size / 2 || stream->ended)
		return;
	stream->drained = stream_check_later(stream);
}

static void use_one(void)
{
	if (++use.now > use.most)
		use.most = use.now;
}

static struct stream *new_on(struct event_base *base, int fd, short edges)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->fd = fd;
	stream->edges = edges;
	if (event_assign(&stream->event, base, fd, (short)(edges | EV_CLOSED | EV_ET | EV_PERSIST),
			 on_event, stream) < 0 ||
	    evtimer_assign(&stream->again, base, on_again, stream) < 0 ||
	    event_add(&stream->event, NULL) < 0) {
		free(stream);
		return NULL;
	}
	socket_count++;
	use_one();
	return stream;
}

struct stream *stream_new(struct event_base *base, int fd)
{
	return new_on(base, fd, EV_READ | EV_WRITE);
}

struct stream *stream_new_accepted(struct event_base *base, int fd)
{
	return new_on(base, fd, EV_READ);
}

/* A write would have blocked. epoll(7) looks at the socket as it is when it is told what else to wait for,
 * so that room that was made meanwhile is not missed. False: no memory, nobody will tell. */
bool stream_wait_for_room(struct stream *stream)
{
	if ((stream->edges & EV_WRITE) || stream->room)
		return true;
	stream->room = event_new(event_get_base(&stream->event), stream->fd,
				 EV_WRITE | EV_ET | EV_PERSIST, on_event, stream);
	if (stream->room && event_add(stream->room, NULL) == 0)
		return true;
	if (stream->room)
		event_free(stream->room);
	stream->room = NULL;
	return false;
}

void stream_set_ready(struct stream *stream, stream_ready_fn ready, void *context)
{
	stream->ready = ready;
	stream->context = context;
}

/* ---- reading and writing -------------------------------------------------------------------- */

/* With MSG_MORE records gather in the kernel until they fill a segment of 64 KiB, and each way through
 * TCP, which costs more than the encryption, serves four. */
ssize_t stream_send_out(struct stream *stream, const void *data, size_t length)
{
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (stream->more ? MSG_MORE : 0);
	ssize_t count = send(stream->fd, data, length, flags);

	if (count > 0)
		stream->corked = stream->more;
	return count;
}

static ssize_t take(struct stream *stream, void *buffer, size_t size, bool peek)
{
	ssize_t count;

	if (stream->read_blocked)
		return -EAGAIN;
	if (stream->ssl)
		return stream_tls_read(stream, buffer, size, peek);
	if (stream->ops)
		return peek ? -EOPNOTSUPP : stream->ops->read(stream->object, buffer, size);
	do
		count = recv(stream->fd, buffer, size, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
	while (count < 0 && errno == EINTR);
	if (count > 0 && !peek)
		stream_note_count(stream, (size_t)count, size);
	if (stream->drained)
		stream->read_blocked = EV_READ;
	if (count >= 0)
		return count;
	if (errno != EAGAIN)
		return -errno;
	stream->read_blocked = EV_READ;
	return -EAGAIN;
}

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
	return take(stream, buffer, size, false);
}

ssize_t stream_peek(struct stream *stream, void *buffer, size_t size)
{
	return take(stream, buffer, size, true);
}

ssize_t stream_write(struct stream *stream, const void *data, size_t length)
{
	ssize_t count;

	if (stream->write_blocked)
		return -EAGAIN;
	if (stream->ssl)
		return stream_tls_write(stream, data, length);
	if (stream->ops)
		return stream->ops->write(stream->object, data, length);
	do
		count = stream_send_out(stream, data, length);
	while (count < 0 && errno == EINTR);
	if (count < 0 && errno != EAGAIN)
		return -errno;
	/* A short count, too, means that the kernel ran out of room and will tell of more. */
	if (count < (ssize_t)length) {
		if (!stream_wait_for_room(stream))
			return -ENOMEM;
		stream->write_blocked = EV_WRITE;
	}
	return count < 0 ? -EAGAIN : count;
}

ssize_t stream_write_more(struct stream *stream, const void *data, size_t length)
{
	ssize_t count;

	stream->more = true;
	count = stream_write(stream, data, length);
	stream->more = false;
	return count;
}

void stream_push(struct stream *stream)
{
	if (!stream->corked)
		return;
	stream->corked = false;
	/* Set already; setting it again is what sends, whatever Nagle's algorithm says (tcp(7)). */
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

/* An event that is in hand cannot be given another priority, not even its own, and nothing else in libevent
 * tells that it is. */
bool stream_is_stirred(struct stream *stream, bool look)
{
	struct event *event = &stream->event;

	if (event_priority_set(event, event_get_priority(event)) == 0 && (!look || is_empty(stream)))
		return false;
	expect_bytes(stream);
	return true;
}

/* ---- splice(2) ------------------------------------------------------------------------------- */

static ssize_t splice_once(int from, int to, size_t size)
{
	ssize_t n;

	do
		n = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t stream_splice_in(struct stream *stream, int pipe, size_t size)
{
	ssize_t n = stream->read_blocked ? -EAGAIN : splice_once(stream->fd, pipe, size);

	if (n == -EAGAIN)
		stream->read_blocked = EV_READ;
	return n;
}

/* A short count does not say that the socket is full, as it does for send(2): a signal or the pipe
 * may have ended it. */
ssize_t stream_splice_out(struct stream *stream, int pipe, size_t size)
{
	ssize_t n = stream->write_blocked ? -EAGAIN : splice_once(pipe, stream->fd, size);

	if (n == -EAGAIN) {
		if (!stream_wait_for_room(stream))
			return -ENOMEM;
		stream->write_blocked = EV_WRITE;
	}
	return n;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void try_shutdown(struct stream *stream)
{
	/* One segment for the alert, the FIN, and what was written last. */
	stream->more = true;
	stream->shutdown_pending =
		/* The inner one first: it goes through the outer. */
		stream->ssl && (stream_tls_close_notify(stream, stream->ssl) == -EAGAIN ||
				(stream->outer &&
				 stream_tls_close_notify(stream, stream->outer) == -EAGAIN));
	stream->more = false;
	if (stream->shutdown_pending) {
		stream_push(stream);
	} else {
		shutdown(stream->fd, SHUT_WR);
		stream->shut = true;
	}
}

void stream_shutdown(struct stream *stream)
{
	if (stream->ops)
		stream->ops->finish(stream->object, (struct span){NULL, 0});
	else
		try_shutdown(stream);
}

/* By a timer of zero, not event_active(): the loop runs activated events before it asks epoll
 * again, so that a stream which is always ready would starve all others. */
void stream_again(struct stream *stream)
{
	if (stream->ops) {
		stream->ops->again(stream->object);
		return;
	}
	stream->checking = false;
	timeout_soon(&stream->again);
}

bool stream_must_wait(struct stream *stream)
{
	if (stream->ops || bytes_room() > 0)
		return false;
	/* Nobody tells when memory is given back. Where there is none for the timer either, it waits for
	 * its socket, or for its owner's deadline. */
	stream->checking = false;
	(void)event_add(&stream->again, &(struct timeval){0, FULL_WAIT_US});
	return true;
}

size_t stream_held(const struct stream *stream)
{
	return stream && stream->ops ? stream->ops->held(stream->object) : 0;
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	use.now--;
	if (stream->ops) {
		stream->ops->free(stream->object);
		bytes_block_free(stream);
		return;
	}
	/* Before close(2): the number may be another socket's a moment later. */
	event_del(&stream->event);
	event_del(&stream->again);
	if (stream->room)
		event_free(stream->room);
	stream_tls_free(stream);
	close(stream->fd);
	socket_count--;
	free(stream);
}

size_t stream_count(void)
{
	return socket_count;
}

struct stream_use *stream_use(void)
{
	return &use;
}

int stream_fd(const struct stream *stream)
{
	if (stream->ops)
		stream = stream->ops->carrier(stream->object);
	return stream ? stream->fd : -1;
}

void stream_set_mark(struct stream *stream, unsigned mark)
{
	stream->mark = mark;
}

unsigned stream_mark(const struct stream *stream)
{
	if (stream->ops)
		stream = stream->ops->carrier(stream->object);
	return stream ? stream->mark : 0;
}

void stream_set_peer(struct stream *stream, const struct egress_address *peer)
{
	stream->has_peer = true;
	stream->peer = *peer;
}

const struct egress_address *stream_peer(const struct stream *stream)
{
	return stream->has_peer ? &stream->peer : NULL;
}

/* ---- framed streams ------------------------------------------------------------------------- */

struct stream *stream_new_framed(const struct stream_ops *ops, void *object)
{
	struct stream *stream = bytes_block_zeroed(offsetof(struct stream, event));

	if (!stream)
		return NULL;
	stream->fd = -1;
	stream->ops = ops;
	stream->object = object;
	use_one();
	return stream;
}

void *stream_object(const struct stream *stream, const struct stream_ops *ops)
{
	return stream->ops == ops ? stream->object : NULL;
}

void stream_ready(struct stream *stream)
{
	if (stream->ready)
		stream->ready(stream->context);
}

bool stream_is_framed(const struct stream *stream)
{
	return stream->ops;
}

void stream_finish(struct stream *stream, struct span trailers)
{
	stream->ops->finish(stream->object, trailers);
}

struct span stream_trailers(const struct stream *stream)
{
	return stream->ops ? stream->ops->trailers(stream->object) : (struct span){NULL, 0};
}
