/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of h2 share; nobody else includes this. */
#ifndef H2_PRIVATE_H
#define H2_PRIVATE_H

#include <event2/event_struct.h>
#include <nghttp2/nghttp2.h>

#include "h2.h"
#include "h2_head.h"

/* What a peer may send before the reader has taken it: at first, when memory is short, and for readers
 * that keep up. What a window holds back on the way is the bandwidth times the delay, which nobody
 * knows beforehand. */
#define STREAM_WINDOW (256 * 1024)
#define WINDOW_MIN (32 * 1024)
#define WINDOW_MAX (4 * 1024 * 1024)
#define WINDOW_SHARE 64 /* of the memory that is left, no more than one in so many for one stream */
#define H2_CONCURRENT_STREAMS 100 /* what we take, and what we ask of a peer that sets no limit */
#define OUT_MAX (64 * 1024) /* of a body, waiting for the peer's window */
#define OUT_MIN (16 * 1024) /* the same when memory is short */
/* Against rapid reset (CVE-2023-44487): streams that a client may reset at once and per second. */
#define RESET_BURST 500
#define RESET_RATE 50

struct h2_stream {
	struct h2 *h2;	     /* NULL once the session is gone */
	struct stream *face; /* what its owner holds; NULL once freed */
	int32_t id;	     /* 0: a request not submitted yet */
	struct h2_stream *next, **at;		  /* h2->streams */
	struct h2_stream *next_woken, **at_woken; /* h2->woken */

	struct h2_block block; /* the header block that is coming */
	struct bytes head;     /* heads not read yet */
	struct bytes body;     /* the same, of the body: counted in the windows */
	struct bytes trailers;
	size_t window;	  /* as it was last set; `taken` from it since then */
	size_t taken;
	bool fresh;	  /* the owner of the session has not seen it yet */
	bool opened;	  /* it has */
	bool head_came;	  /* the final one */
	bool remote_end;  /* END_STREAM came */
	bool closed;	  /* nghttp2 knows it no more */
	bool reset;	  /* it ended otherwise than by END_STREAM */
	uint32_t code;	  /* why */
	bool said;	  /* the peer did: RST_STREAM */
	bool wrong;	  /* we did, for what it sent */
	bool no_memory;	  /* nghttp2 had none for the session */
	uint32_t own_code; /* if we have to reset it */

	struct bytes out_head; /* being written, or waiting for submission */
	size_t out_scanned;
	struct bytes out, out_trailers;
	bool switching;	  /* a WebSocket asked for by extended CONNECT */
	char accept[WEBSOCKET_ACCEPT_SIZE]; /* client: what answers the key of who asked for it */
	bool head_ready;  /* `out_head` is whole: submitted with the next flush */
	bool head_sent;	  /* submitted */
	bool head_out;	  /* and gone */
	bool behind;	  /* server: a reset waits until what was written is out */
	bool finished;	  /* the writer is through */
	bool stale;	  /* nobody holds it, and nothing moved since on_linger() or the pulse was here */
	uint64_t since_ms; /* client: h2_open() */
	size_t rest;	  /* server: it is answered; so much of its request is yet thrown away */
	bool end_sent;
	bool own_end;	  /* it is reset for us or the origin, and not for what its peer did */
	bool deferred;	  /* nghttp2 waits for more of the body */
	bool full;	  /* the writer waits for room */
};

struct h2 {
	nghttp2_session *session;
	struct stream *transport;
	const struct h2_owner *owner;
	void *context;
	bool server, running, over, kicked;
	bool no_memory; /* it ended because nghttp2 has none */
	bool gone; /* it ended by the transport's end, or as we wished, and not for what the peer sent */
	bool settings_came; /* the peer's: until then nobody knows whether it takes extended CONNECT */
	size_t memory;	      /* nghttp2's own */
	struct bytes pending; /* frames that the transport has not taken yet */
	struct h2_stream *streams;
	size_t open; /* of them, those that are not closed */
	struct h2_stream *woken, **woken_end;
	size_t ready_heads;
	uint64_t shut_ms; /* since then the connection's window lets no body out; 0 when it does */
	uint64_t heard_ms; /* client: when something came last */
	bool silent; /* client: and who waited for it in vain has given up */
	unsigned chatter; /* frames that moved nothing, within the second `chatter_since` */
	int64_t chatter_since;
	unsigned ends; /* server: streams that the client ended before their answer's end: h2_flood.c */
	int64_t ends_since;
	struct event kick, again, linger, pulse;
};

/* h2.c */
void h2_touch(struct h2 *h2); /* something may have to be sent */
void h2_wake(struct h2_stream *s);
void h2_linger(struct h2 *h2); /* some stream waits for its peer, and for nobody else */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_destroy(struct h2_stream *s);

/* h2_rest.c: a server's stream that is answered whole, and that nobody holds, before its client has ended it.
 * It is reset later, unless the client ends it first. 0, or what a callback of nghttp2 returns. */
int h2_rest_begin(struct h2_stream *s);
/* So much of it came: it may be enough. Of any stream. */
int h2_rest_came(struct h2_stream *s, size_t length);
void h2_rest_pulse(evutil_socket_t fd, short what, void *h2);

/* h2_room.c: notes whether bodies can be sent. After each time that something was. */
void h2_room_look(struct h2 *h2);
/* Client: a request begins; something came; a request is given up unanswered. */
void h2_room_opened(struct h2_stream *s);
void h2_room_heard(struct h2 *h2);
void h2_room_given_up(const struct h2_stream *s);

/* h2_flood.c, for callbacks of nghttp2, and as they return. A frame came that may move nothing. */
int h2_flood_frame(struct h2 *h2);
/* The stream is over. One that its client ended before the answer did counts as a reset, by whatever means:
 * a client may also make us reset it (CVE-2025-8671). */
int h2_flood_end(struct h2_stream *s);

/* h2_memory.c: what the session of `h2` allocates with; both live as long. */
nghttp2_mem h2_memory(struct h2 *h2);

/* h2_stream.c */
extern const struct stream_ops h2_stream_ops;
/* Submits the head that is ready: with END_STREAM when there is nothing behind it. */
void h2_stream_submit(struct h2_stream *s);
size_t h2_stream_held(const struct h2_stream *s);
/* Resets it at once; nothing of what was to be sent is kept. */
void h2_stream_reset(struct h2_stream *s, uint32_t code);
/* Everything is out that a reset had to wait for: see h2_set_reset_behind(). */
bool h2_stream_cut_due(const struct h2_stream *s);

#endif
