// SPDX-License-Identifier: BSD-2-Clause
/* A stream's TLS, on its socket or within another's TLS. */
#include "stream_private.h"
#include "tally.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

/* What one recv(2) may bring on a connection that is busy: four records as large as they get, which
 * leave nothing of a fifth behind (RFC 8446, 5.2: header, content, its type, GCM's tag), and the
 * padding by which OpenSSL aligns them. */
#define RECORD_SIZE (5 + SSL3_RT_MAX_PLAIN_LENGTH + 1 + 16)
#define BULK_READ (4 * RECORD_SIZE + 3)
#define BULK_AFTER 4  /* reads in a row that brought more than a record */
#define BULK_MAX 64   /* connections at once: whoever stops in the middle of a record keeps his buffer */

/* What one call of OpenSSL's may take from the socket, some 7 ms of work: it returns with data, and goes on
 * for as long as there come records without any, of which KeyUpdate (RFC 8446, 4.6.3) has no limit. Two
 * buffers full hold each record that came in parts, also one within another TLS. */
#define CALL_MAX (2 * RECORD_SIZE)

static _Thread_local unsigned bulk_count;

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
	if (n > 0) {
		stream->came += (size_t)n;
		stream_note_count(stream, (size_t)n, (size_t)size);
	}
}

/* OpenSSL is told then that nothing is there. */
static bool had_its_turn(const struct stream *stream)
{
	return stream->came >= CALL_MAX;
}

static int bio_read(BIO *bio, char *buffer, int size)
{
	struct stream *stream = BIO_get_data(bio);
	ssize_t n = -1;

	errno = EAGAIN;
	if (!stream->drained && !had_its_turn(stream)) {
		n = recv(stream->fd, buffer, (size_t)size, MSG_DONTWAIT);
		note_read(stream, n, size);
	}
	return bio_result(bio, n, BIO_FLAGS_READ);
}

/* Nobody waits for a TLS 1.3 ticket, so that it goes with the answer to a request that has come along with
 * the client's Finished. Where none has it leaves at once, for it acknowledges the Finished: a client that
 * leaves Nagle's algorithm on sends no request before that, and the kernel would wait 40 ms with it. */
static int bio_write(BIO *bio, const char *data, int length)
{
	struct stream *stream = BIO_get_data(bio);
	bool more = stream->more;
	ssize_t count;

	/* What answers a KeyUpdate that came behind our end. A failure would end reading, too. */
	if (stream->shut)
		return bio_result(bio, length, BIO_FLAGS_WRITE);
	if (SSL_get_state(stream->ssl) == TLS_ST_SW_SESSION_TICKET && SSL_has_pending(stream->ssl))
		stream->more = true;
	count = stream_send_out(stream, data, (size_t)length);
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

/* OpenSSL judges by the queue. Clearing an empty one is not free. */
static void clear_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

/* Before each call of OpenSSL's. */
static void before_call(struct stream *stream)
{
	clear_errors();
	errno = 0;
	stream->came = 0;
}

static int tls_fail(struct stream *stream, int error)
{
	stream->tls_error = error;
	return error;
}

/* No edge tells of what is there already. A large buffer would make the turns longer. */
static void pause_reading(struct stream *stream)
{
	stream->full_reads = 0;
	stream_again(stream);
}

/* What a failed SSL call means as -errno, 0 for close_notify. Sets *blocked for -EAGAIN. */
static int tls_result(struct stream *stream, int rc, short *blocked)
{
	int saved_errno = errno;

	switch (SSL_get_error(stream->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		if (had_its_turn(stream))
			pause_reading(stream);
		else
			*blocked = EV_READ;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		if (!stream_wait_for_room(stream))
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
	before_call(stream);
	rc = SSL_do_handshake(stream->ssl);
	if (rc == 1) {
		if (stream->corked && !stream_check_later(stream))
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

ssize_t stream_tls_read(struct stream *stream, void *buffer, size_t size, bool peek)
{
	size_t count;
	int rc;

	if (stream->tls_error)
		return stream->tls_error;
	if (tls_is_drained(stream)) {
		stream->read_blocked = EV_READ;
		return -EAGAIN;
	}
	before_call(stream);
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

ssize_t stream_tls_write(struct stream *stream, const void *data, size_t length)
{
	size_t count;
	int rc, error;

	if (stream->tls_error || stream->tls_write_error)
		return stream->tls_error ? stream->tls_error : stream->tls_write_error;
	before_call(stream);
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

/* ---- the end --------------------------------------------------------------------------------- */

/* close_notify, best effort: 0 when it is out or cannot be, -EAGAIN when it has to wait. */
int stream_tls_close_notify(struct stream *stream, SSL *ssl)
{
	int rc, error = 0;

	/* Within a handshake SSL_shutdown(3) fails and leaves an error behind. */
	if (stream->tls_error || stream->tls_write_error || !SSL_is_init_finished(ssl))
		return 0;
	before_call(stream);
	rc = SSL_shutdown(ssl);
	if (rc < 0 && SSL_get_error(ssl, rc) == SSL_ERROR_WANT_WRITE && stream_wait_for_room(stream))
		error = -EAGAIN;
	clear_errors();
	return error;
}

void stream_tls_free(struct stream *stream)
{
	if (stream->ssl) {
		stream->more = true; /* close(2) sends it */
		stream_tls_close_notify(stream, stream->ssl);
		/* Or the session of one that was reset could not be resumed. */
		SSL_set_shutdown(stream->ssl, SSL_SENT_SHUTDOWN);
		SSL_free(stream->ssl); /* says goodbye for the outer one, too */
		clear_errors();
	}
	bulk_count -= stream->bulk;
}

/* ---- what is known of it ---------------------------------------------------------------------- */

/* Part of a record may be all there is: likely, not certain. */
bool stream_has_more(const struct stream *stream)
{
	return stream->ssl && SSL_has_pending(stream->ssl) == 1;
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
