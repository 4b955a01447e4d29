/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/2 (RFC 9113) on one connection, either end, by nghttp2. Each request is a framed stream
 * (stream.h): it reads as an HTTP/1 head and the bare body and is written the same way, so that
 * whoever moves HTTP/1 moves HTTP/2. "Transfer-Encoding: chunked" in a head that is read says that
 * the length is not known; the body is bare all the same. Nothing is read ahead of its reader but
 * the windows, and nothing is taken from a writer but OUT_MAX bytes.
 */
#ifndef H2_H
#define H2_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "stream.h"

struct h2;
struct http1_head;

struct h2_owner {
	/* Something waits to be sent: call h2_run(), soon. Never from inside h2_run(). */
	void (*kick)(void *context);
	/* Server: a request came; its stream is the receiver's, its head is there to be read. */
	void (*opened)(void *context, struct stream *stream);
	/* Server: nothing is left of a request that came, what its peer had yet to read included. May
	 * come from inside stream_free() and h2_free(). */
	void (*gone)(void *context);
	/* Server: a request was so malformed that its stream was reset. */
	void (*malformed)(void *context);
};

/* A session on `transport`, which is borrowed until h2_free(). Sends its SETTINGS with the first
 * h2_run(). NULL when out of memory. */
struct h2 *h2_new(struct event_base *base, struct stream *transport, bool server,
		  const struct h2_owner *owner, void *context) WARN_UNUSED;
/* Streams that others still hold turn dead: reading and writing fail. Accepts NULL. */
void h2_free(struct h2 *h2);
/* Reads, calls the streams' `ready`, writes. False when the session is over: free it. */
bool h2_run(struct h2 *h2) WARN_UNUSED;
bool h2_is_idle(const struct h2 *h2); /* no streams, nothing to send */
/* What waits to be sent for nobody in particular, and what is left of finished streams. */
size_t h2_held(const struct h2 *h2);
/* The same, where the peer takes nothing at the moment; else 0. */
size_t h2_stuck(const struct h2 *h2);
/* It is over with the next h2_run(), and all its streams have failed. */
void h2_abort(struct h2 *h2);
/* Server: resets the finished streams whose answer the peer does not read, where that is at least so
 * many bytes each. How many there were. */
size_t h2_shed(struct h2 *h2, size_t at_least);
/* Server: no new streams (GOAWAY); the session is over when the last one is. */
void h2_drain(struct h2 *h2);

/* Client: may another request be sent now? Not where it would wait behind a body that nobody takes, or with
 * those that were given up since nothing comes any more. */
bool h2_has_room(const struct h2 *h2);
/* Client: who waits for the answer may have given up. Where nothing came for long, no other joins him. */
void h2_doubt(const struct stream *stream);
/* Client: a stream for one request. NULL when out of memory. */
struct stream *h2_open(struct h2 *h2) WARN_UNUSED;

/* The head that came, as stream_read() would give it: moved to `ret`, whose content is lost. False when
 * there is none, or one of a size of which stream_read() gives only a part. */
bool h2_move_head(struct stream *stream, struct bytes *ret) WARN_UNUSED;
/* Server: the final head of an answer, as if it were written, but without a text in between. `head` was
 * parsed (http1_head.h) and has lost the fields of its hop; its spans are not needed any more afterwards.
 * `say_length`: Content-Length, too. `bare`: neither body nor trailers follow. 0 or -errno. */
int h2_respond(struct stream *stream, const struct http1_head *head, bool say_length, bool bare)
	WARN_UNUSED;

/* For streams of ours: `ready` is called in the next h2_run(), for which the owner is kicked. */
void h2_mark(struct stream *stream);
/* The error code of a stream that the peer reset (RFC 9113, 7). */
uint32_t h2_reset_code(const struct stream *stream);
/* The peer has said all (END_STREAM), whether or not it is read yet. */
bool h2_has_ended(const struct stream *stream);
/* It is over, and not in order: the peer reset it, or the session broke off. */
bool h2_was_reset(const struct stream *stream);
/* What a peer did that is over, and not in order, into `text`. False when it only went away. */
bool h2_tell_end(const struct stream *stream, char *text, size_t size) WARN_UNUSED;
/* With which code to reset the stream if it is freed unfinished; `behind`: when all that was written
 * is out, instead of at once. */
void h2_set_reset_code(struct stream *stream, uint32_t code);
void h2_set_reset_behind(struct stream *stream, uint32_t code);

#endif
