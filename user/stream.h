/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One end of a connection: a non-blocking socket, with or without TLS, registered once and edge
 * triggered. Reading and writing look the same for both kinds. An owner that stops reading before
 * -EAGAIN (backpressure) must try again by itself: the edge will not come twice.
 */
#ifndef STREAM_H
#define STREAM_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "address.h"
#include "attributes.h"
#include "bytes.h"

struct stream;

/* Called when the stream became readable or writable, or failed: try what you were waiting for. */
typedef void (*stream_ready_fn)(void *context);

/* Takes over `fd` (non-blocking, connected or connecting, with TCP_NODELAY if it is TCP). NULL when out
 * of memory; `fd` is then still the caller's. */
struct stream *stream_new(struct event_base *base, int fd) WARN_UNUSED;
/* The same for one that is connected: `ready` hears of room to write only after a write was in vain. A new
 * connection has room, and the loop would come round twice to say so. */
struct stream *stream_new_accepted(struct event_base *base, int fd) WARN_UNUSED;
/* Who is told; may be changed at any time, also inside a callback. */
void stream_set_ready(struct stream *stream, stream_ready_fn ready, void *context);
/* Takes over `ssl` (SSL_set_accept_state or _connect_state already called) and sets its fd. On a
 * stream with TLS the new one runs inside of it, as behind a proxy that is reached by TLS; two is
 * all there is. 0 or -ENOMEM; then `ssl` is freed. */
int stream_set_tls(struct stream *stream, SSL *ssl) WARN_UNUSED;
/* 1 done, -EAGAIN, or -EPROTO with the reason in OpenSSL's error queue. */
int stream_handshake(struct stream *stream) WARN_UNUSED;

/* > 0 bytes, 0 at end of file (TLS: close_notify), -EAGAIN, or another -errno. A TLS end without
 * close_notify is -ECONNRESET: a body that ends with the connection may have been cut. -ESTALE: the
 * peer says that it has not acted on what was written (RFC 9113, 8.7). */
ssize_t stream_read(struct stream *stream, void *buffer, size_t size) WARN_UNUSED;
/* As stream_read(), but the bytes stay: the next read gives them, too. Not for framed streams. */
ssize_t stream_peek(struct stream *stream, void *buffer, size_t size) WARN_UNUSED;
/* > 0 bytes taken, maybe fewer than asked, -EAGAIN, or another -errno. After -EAGAIN the next
 * write must start with the same bytes. */
ssize_t stream_write(struct stream *stream, const void *data, size_t length) WARN_UNUSED;
/* As stream_write(), but what was taken may wait for more. The caller writes that, or calls
 * stream_push(), before it returns to the event loop. */
ssize_t stream_write_more(struct stream *stream, const void *data, size_t length) WARN_UNUSED;
/* Sends what waits, if something does; never fails, never blocks. */
void stream_push(struct stream *stream);
/* True when the last stream_read() brought more than it gave, so that the next one will most likely
 * not be in vain. */
bool stream_has_more(const struct stream *stream);
/* True when there may be something to read that `ready` has not been called for: the loop has been told of
 * it and is not there yet, or, with `look`, the socket says so (one system call). The next read asks the
 * socket then. Not for framed streams. */
bool stream_is_stirred(struct stream *stream, bool look) WARN_UNUSED;
/* The same by splice(2), from or to a pipe; for plain sockets alone, neither TLS nor framed. The
 * pipe that is read into must be empty: a full one would pass for a socket with nothing to read. */
ssize_t stream_splice_in(struct stream *stream, int pipe, size_t size) WARN_UNUSED;
ssize_t stream_splice_out(struct stream *stream, int pipe, size_t size) WARN_UNUSED;
/* FIN, or close_notify and FIN. Reading goes on. */
void stream_shutdown(struct stream *stream);
/* Asks for one call of `ready` from the event loop, soon: for fairness after a long run. */
void stream_again(struct stream *stream);
/* True while all buffers together hold what they may: the caller then reads nothing from this socket,
 * as after -EAGAIN, and `ready` is called when it is time to look again. Framed streams never wait:
 * what is read from them is in memory already. */
bool stream_must_wait(struct stream *stream);
/* What a framed stream holds in memory, in bytes; 0 of others. */
size_t stream_held(const struct stream *stream);
/* Closes and frees; accepts NULL. No callback comes after it. TLS: close_notify is tried. */
void stream_free(struct stream *stream);
/* Sockets that the streams of this thread have. */
size_t stream_count(void);
/* All streams of this thread, framed ones too; and the most at a time, which its reader begins anew. */
struct stream_use {
	size_t now, most;
};
struct stream_use *stream_use(void);

int stream_fd(const struct stream *stream); /* borrowed; of a framed stream its carrier's, or -1 */
SSL *stream_ssl(const struct stream *stream); /* borrowed, the inner one; NULL without TLS */
/* What broke the TLS of this stream, in OpenSSL's words (the peer's alert, say); static text. NULL
 * when nothing has. */
const char *stream_tls_fault(const struct stream *stream);

/* A note of the one who made the connection, 0 at first. */
#define STREAM_RELAYED 1u /* the socket's peer is a proxy: where the far end is nobody knows */
void stream_set_mark(struct stream *stream, unsigned mark);
unsigned stream_mark(const struct stream *stream); /* of a framed stream its carrier's */

/* The address it was dialled to, noted by who dialled: no getpeername(2) for each request. NULL when
 * nobody has; borrowed. */
void stream_set_peer(struct stream *stream, const struct egress_address *peer);
const struct egress_address *stream_peer(const struct stream *stream);

/* ---- framed streams: one request within a connection that carries many (h2.h) ---------------- */

/* Reads as an HTTP/1 head and then the bare body, to 0 at its end, and is written the same way. */
struct stream_ops {
	ssize_t (*read)(void *object, void *buffer, size_t size);
	ssize_t (*write)(void *object, const void *data, size_t length);
	void (*finish)(void *object, struct span trailers);
	void (*again)(void *object);
	void (*free)(void *object);
	struct span (*trailers)(const void *object);
	struct stream *(*carrier)(const void *object);
	size_t (*held)(const void *object);
};
/* `object` is freed with the stream. NULL when out of memory; `object` is then still the caller's. */
struct stream *stream_new_framed(const struct stream_ops *ops, void *object) WARN_UNUSED;
/* The object behind it, when it is of that kind; else NULL. */
void *stream_object(const struct stream *stream, const struct stream_ops *ops);
/* For the object: calls `ready`. */
void stream_ready(struct stream *stream);
bool stream_is_framed(const struct stream *stream);
/* The end of what is written, with trailers (field lines, CRLF each): framed streams only. */
void stream_finish(struct stream *stream, struct span trailers);
/* The trailers that came, once stream_read() returned 0; empty for streams that have none. */
struct span stream_trailers(const struct stream *stream);

#endif
