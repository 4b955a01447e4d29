// SPDX-License-Identifier: BSD-2-Clause
#include "stream.h"
#include "tally.h"
#include "timeout.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FULL_WAIT_US 20000 /* until it is looked again whether there is room */
/* What one recv(2) may bring on a connection that is busy: four records as large as they get, which
 * leave nothing of a fifth behind (RFC 8446, 5.2: header, content, its type, GCM's tag), and the
 * padding by which OpenSSL aligns them. */
#define RECORD_SIZE (5 + SSL3_RT_MAX_PLAIN_LENGTH + 1 + 16)
#define BULK_READ (4 * RECORD_SIZE + 3)
#define BULK_AFTER 4  /* reads in a row that brought more than a record */
#define BULK_MAX 64   /* connections at once: whoever stops in the middle of a record keeps his buffer */

/* A recv(2) that gave little has emptied the socket, and the next one would find nothing. An end in
 * order that came together with those bytes is told by EV_CLOSED; a reset is not, and urgent data, too,
 * make a recv(2) short (tcp(7)). So it is looked when nothing has come for this time, and for less
 * than twice as long. */
#define CHECK_MS 200

/* `*_blocked` is the edge (EV_READ or EV_WRITE) that an operation waits for after it would have
 * blocked; until the edge comes, trying again is known to be in vain and costs no system call. A
 * TLS read may wait for EV_WRITE and a write for EV_READ (key update, RFC 8446, 4.6.3). */
struct stream {
	int fd;
	short read_blocked, write_blocked;
	bool ended;    /* the peer's FIN has come; what came before it may still be there to read */
	bool drained;  /* recv(2) would give nothing, as far as we know */
	bool checking; /* `again` runs for that alone */
	bool stirred;  /* something came since it was set */
	bool spent;    /* the last read emptied OpenSSL's buffer, which is freed then */
	int tls_error;         /* -errno; OpenSSL must not be called again after a fatal error */
	bool shutdown_pending; /* close_notify did not fit in the socket's buffer yet */
	bool more;   /* the write at hand has others behind it */
	bool corked; /* and the kernel may wait for them with what it has */
	bool bulk;   /* reads into a large buffer, and counts among bulk_count */
	unsigned char full_reads; /* in a row, up to BULK_AFTER */
	SSL *ssl;
	const struct stream_ops *ops; /* framed: nothing above is used but through the carrier */
	void *object;
	SSL *outer; /* that `ssl` runs inside of, and owns; NULL: it runs on the socket */
	int tls_write_error;   /* the same, for writing alone */
	const char *tls_fault; /* in words; OpenSSL's memory */
	unsigned mark;
	bool has_peer;
	struct egress_address peer;
	stream_ready_fn ready;
	void *context;
	/* A framed stream ends here: there are hundreds to a connection, and they have no socket. */
	struct event event; /* registered once: one epoll_ctl(2) for the connection's life */
	struct event again;
	short edges;        /* of `event` */
	struct event *room; /* the edge that `event` lacks, once a write has been in vain */
};

static _Thread_local unsigned bulk_count;
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
static bool check_later(struct stream *stream)
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
	if (check && stream->drained && stream->stirred && check_later(stream))
		return;
	found = stream->drained && !is_empty(stream);
	if (found)
		expect_bytes(stream);
	if (found || !check)
		wake(stream);
}

/* Where much came, more is likely while it is worked on. */
static void note_count(struct stream *stream, size_t count, size_t size)
{
	if (count == 0 || count >= size / 2 || stream->ended)
		return;
	stream->drained = check_later(stream);
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
static bool wait_for_room(struct stream *stream)
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

/* ---- the socket, as OpenSSL sees it ----------------------------------------------------------- */

/* recv(2) and send(2) on sockets are shorter ways through the kernel than read(2) and write(2). */
static int bio_result(BIO *bio, ssize_t n, int retry)
{
	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
	return (int)n;
}

/* OpenSSL asks for what its buffer holds, or for the rest of a record that came in part, which says
 * nothing about how busy the connection is. */
static void note_read(struct stream *stream, ssize_t n, int size)
{
	if (n > SSL3_RT_MAX_PLAIN_LENGTH)
		stream->full_reads += stream->full_reads < BULK_AFTER;
	else if (n != size)
		stream->full_reads = 0;
	if (n > 0)
		note_count(stream, (size_t)n, (size_t)size);
}

static int bio_read(BIO *bio, char *buffer, int size)
{
	struct stream *stream = BIO_get_data(bio);
	ssize_t n = -1;

	errno = EAGAIN;
	if (!stream->drained) {
		n = recv(stream->fd, buffer, (size_t)size, MSG_DONTWAIT);
		note_read(stream, n, size);
	}
	return bio_result(bio, n, BIO_FLAGS_READ);
}

/* With MSG_MORE records gather in the kernel until they fill a segment of 64 KiB, and each way through
 * TCP, which costs more than the encryption, serves four. */
static ssize_t send_out(struct stream *stream, const void *data, size_t length)
{
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (stream->more ? MSG_MORE : 0);
	ssize_t count = send(stream->fd, data, length, flags);

	if (count > 0)
		stream->corked = stream->more;
	return count;
}

/* Nobody waits for a TLS 1.3 ticket, so that it goes with the answer to a request that has come along with
 * the client's Finished. Where none has it leaves at once, for it acknowledges the Finished: a client that
 * leaves Nagle's algorithm on sends no request before that, and the kernel would wait 40 ms with it. */
static int bio_write(BIO *bio, const char *data, int length)
{
	struct stream *stream = BIO_get_data(bio);
	bool more = stream->more;
	ssize_t count;

	if (SSL_get_state(stream->ssl) == TLS_ST_SW_SESSION_TICKET && SSL_has_pending(stream->ssl))
		stream->more = true;
	count = send_out(stream, data, (size_t)length);
	stream->more = more;
	return bio_result(bio, count, BIO_FLAGS_WRITE);
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	/* OpenSSL flushes behind each flight of a handshake, and takes 0 for a failure. An end without
	 * close_notify is a failure of recv(2) to it, not BIO_CTRL_EOF: it would send an alert to a peer
	 * that has gone, and have its session resumed no more. */
	return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static const BIO_METHOD *socket_method(void)
{
	static BIO_METHOD *method;

	if (method)
		return method;
	method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "stream");
	if (method) {
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_control);
	}
	return method;
}

static bool put_on_socket(struct stream *stream, SSL *ssl)
{
	const BIO_METHOD *method = socket_method();
	BIO *bio = method ? BIO_new(method) : NULL;

	if (!bio)
		return false;
	BIO_set_data(bio, stream);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return true;
}

/* Puts `ssl` on top of the TLS that is there; that is freed with it from now on. */
static bool nest(struct stream *stream, SSL *ssl)
{
	BIO *bio = stream->outer ? NULL : BIO_new(BIO_f_ssl());

	if (!bio)
		return false;
	BIO_set_ssl(bio, stream->ssl, BIO_CLOSE);
	SSL_set_bio(ssl, bio, bio);
	stream->outer = stream->ssl;
	return true;
}

int stream_set_tls(struct stream *stream, SSL *ssl)
{
	bool fine;

	/* Read ahead: one recv(2) for a record, not one for its header and one for its body. */
	SSL_set_read_ahead(ssl, 1);
	/* What a write did not take is tried again from a queue that has moved meanwhile. Idle
	 * connections give their buffers back, some 34 KiB each (SSL_CTX_set_mode(3)). */
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_RELEASE_BUFFERS);
	/* RFC 8446, 6.1: an end without close_notify may be an attacker's, who cuts a body
	 * short. */
	SSL_clear_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
	fine = stream->ssl ? nest(stream, ssl) : put_on_socket(stream, ssl);
	if (!fine) {
		SSL_free(ssl);
		return -ENOMEM;
	}
	stream->ssl = ssl;
	return 0;
}

/* Before each call of OpenSSL's, which judges by the queue. Clearing an empty one is not free. */
static void clear_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

static int tls_fail(struct stream *stream, int error)
{
	stream->tls_error = error;
	return error;
}

/* What a failed SSL call means as -errno, 0 for close_notify. Sets *blocked for -EAGAIN. */
static int tls_result(struct stream *stream, int rc, short *blocked)
{
	int saved_errno = errno;

	switch (SSL_get_error(stream->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		*blocked = EV_READ;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		if (!wait_for_room(stream))
			return tls_fail(stream, -ENOMEM);
		*blocked = EV_WRITE;
		return -EAGAIN;
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		return -EAGAIN; /* the owner's callback put it off, and knows when to try again */
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	/* The peer went away without a word. errno may be 0, or EAGAIN, which bio_read() begins with and an
	 * end leaves: the socket's own, or that of the outer TLS, which was in order. */
	case SSL_ERROR_SYSCALL:
		return tls_fail(stream, saved_errno && saved_errno != EAGAIN ? -saved_errno : -ECONNRESET);
	default:
		stream->tls_fault = ERR_reason_error_string(ERR_peek_error());
		return tls_fail(stream, -EPROTO);
	}
}

int stream_handshake(struct stream *stream)
{
	int rc, error;

	if (stream->read_blocked)
		return -EAGAIN;
	if (stream->tls_error)
		return -EPROTO;
	clear_errors();
	errno = 0;
	rc = SSL_do_handshake(stream->ssl);
	if (rc == 1) {
		if (stream->corked && !check_later(stream))
			stream_push(stream);
		tally_add(SSL_is_server(stream->ssl) ? TALLY_CLIENT_HANDSHAKES
			  : SSL_session_reused(stream->ssl) ? TALLY_UPSTREAM_HANDSHAKES_RESUMED
							    : TALLY_UPSTREAM_HANDSHAKES, 1);
		return 1;
	}
	error = tls_result(stream, rc, &stream->read_blocked);
	if (error == -EAGAIN)
		return -EAGAIN;
	tally_add(SSL_is_server(stream->ssl) ? TALLY_CLIENT_HANDSHAKES_FAILED
					     : TALLY_UPSTREAM_HANDSHAKES_FAILED, 1);
	/* Who asks why finds it in the queue, where a reset of the socket leaves nothing. */
	if (!ERR_peek_error())
		ERR_raise(ERR_LIB_SYS, error ? -error : ECONNRESET);
	return -EPROTO;
}

/* The new size holds from the next buffer on: OpenSSL frees each that is empty. */
static void fit_buffer(struct stream *stream)
{
	SSL *ssl = stream->outer ? stream->outer : stream->ssl;

	if (!stream->bulk && stream->full_reads == BULK_AFTER && bulk_count < BULK_MAX) {
		SSL_set_default_read_buffer_len(ssl, BULK_READ);
		stream->bulk = true;
		bulk_count++;
	} else if (stream->bulk && stream->full_reads == 0) {
		SSL_set_default_read_buffer_len(ssl, 0);
		/* Until then it may still be the large one. */
		stream->bulk = SSL_has_pending(ssl);
		bulk_count -= !stream->bulk;
	}
}

/* OpenSSL has nothing and would ask in vain. */
static bool tls_is_drained(const struct stream *stream)
{
	return stream->drained && stream->spent && !SSL_has_pending(stream->ssl) &&
	       (!stream->outer || !SSL_has_pending(stream->outer));
}

static ssize_t tls_read(struct stream *stream, void *buffer, size_t size, bool peek)
{
	size_t count;
	int rc;

	if (stream->tls_error)
		return stream->tls_error;
	if (tls_is_drained(stream)) {
		stream->read_blocked = EV_READ;
		return -EAGAIN;
	}
	clear_errors();
	errno = 0;
	rc = peek ? SSL_peek_ex(stream->ssl, buffer, size, &count)
		  : SSL_read_ex(stream->ssl, buffer, size, &count);
	stream->spent = rc == 1 && !peek;
	/* For each record OpenSSL moves all that was read behind it to the front of its buffer: of small
	 * ones, as HTTP/2 has, a large buffer would be copied many times over. */
	if (rc == 1 && count < SSL3_RT_MAX_PLAIN_LENGTH / 2)
		stream->full_reads = 0;
	fit_buffer(stream);
	return rc == 1 ? (ssize_t)count : tls_result(stream, rc, &stream->read_blocked);
}

static ssize_t tls_write(struct stream *stream, const void *data, size_t length)
{
	size_t count;
	int rc, error;

	if (stream->tls_error || stream->tls_write_error)
		return stream->tls_error ? stream->tls_error : stream->tls_write_error;
	clear_errors();
	errno = 0;
	rc = SSL_write_ex(stream->ssl, data, length, &count);
	if (rc == 1)
		return (ssize_t)count;
	error = tls_result(stream, rc, &stream->write_blocked);
	/* The socket takes no more, but why may still be there to read: with TLS 1.3 a server's alert
	 * about our certificate comes when we are writing already. */
	if (stream->tls_error == -EPIPE || stream->tls_error == -ECONNRESET) {
		stream->tls_write_error = stream->tls_error;
		stream->tls_error = 0;
	}
	return error ? error : -EPIPE;
}

static ssize_t take(struct stream *stream, void *buffer, size_t size, bool peek)
{
	ssize_t count;

	if (stream->read_blocked)
		return -EAGAIN;
	if (stream->ssl)
		return tls_read(stream, buffer, size, peek);
	if (stream->ops)
		return peek ? -EOPNOTSUPP : stream->ops->read(stream->object, buffer, size);
	do
		count = recv(stream->fd, buffer, size, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
	while (count < 0 && errno == EINTR);
	if (count > 0 && !peek)
		note_count(stream, (size_t)count, size);
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
		return tls_write(stream, data, length);
	if (stream->ops)
		return stream->ops->write(stream->object, data, length);
	do
		count = send_out(stream, data, length);
	while (count < 0 && errno == EINTR);
	if (count < 0 && errno != EAGAIN)
		return -errno;
	/* A short count, too, means that the kernel ran out of room and will tell of more. */
	if (count < (ssize_t)length) {
		if (!wait_for_room(stream))
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

/* Part of a record may be all there is: likely, not certain. */
bool stream_has_more(const struct stream *stream)
{
	return stream->ssl && SSL_has_pending(stream->ssl) == 1;
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
		if (!wait_for_room(stream))
			return -ENOMEM;
		stream->write_blocked = EV_WRITE;
	}
	return n;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* close_notify, best effort: 0 when it is out or cannot be, -EAGAIN when it has to wait. */
static int send_close_notify(struct stream *stream, SSL *ssl)
{
	int rc, error = 0;

	/* Within a handshake SSL_shutdown(3) fails and leaves an error behind. */
	if (stream->tls_error || stream->tls_write_error || !SSL_is_init_finished(ssl))
		return 0;
	clear_errors();
	rc = SSL_shutdown(ssl);
	if (rc < 0 && SSL_get_error(ssl, rc) == SSL_ERROR_WANT_WRITE && wait_for_room(stream))
		error = -EAGAIN;
	clear_errors();
	return error;
}

static void try_shutdown(struct stream *stream)
{
	/* One segment for the alert, the FIN, and what was written last. */
	stream->more = true;
	stream->shutdown_pending =
		/* The inner one first: it goes through the outer. */
		stream->ssl && (send_close_notify(stream, stream->ssl) == -EAGAIN ||
				(stream->outer &&
				 send_close_notify(stream, stream->outer) == -EAGAIN));
	stream->more = false;
	if (stream->shutdown_pending)
		stream_push(stream);
	else
		shutdown(stream->fd, SHUT_WR);
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
	if (stream->ssl) {
		stream->more = true; /* close(2) sends it */
		send_close_notify(stream, stream->ssl);
		/* Or the session of one that was reset could not be resumed. */
		SSL_set_shutdown(stream->ssl, SSL_SENT_SHUTDOWN);
		SSL_free(stream->ssl); /* says goodbye for the outer one, too */
		clear_errors();
	}
	bulk_count -= stream->bulk;
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

SSL *stream_ssl(const struct stream *stream)
{
	return stream->ssl;
}

const char *stream_tls_fault(const struct stream *stream)
{
	if (stream->ops)
		stream = stream->ops->carrier(stream->object);
	return stream ? stream->tls_fault : NULL;
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
