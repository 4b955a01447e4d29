/* SPDX-License-Identifier: BSD-2-Clause */
/* One direction of an HTTP/1 exchange: a head already composed, then a body from source to sink in
 * constant memory. */
#ifndef HTTP1_BODY_H
#define HTTP1_BODY_H

#include "http1_head.h"
#include "stream.h"

/* Room that all connections of a loop share, used within one call only. The payload stands at
 * http1_payload(), so that chunk framing can be written around it in place. */
#define HTTP1_CHUNK_HEAD 16
#define HTTP1_CHUNK_TAIL 2
#define HTTP1_PAYLOAD_MAX (32 * 1024)
struct http1_scratch {
	char room[HTTP1_CHUNK_HEAD + HTTP1_PAYLOAD_MAX + HTTP1_CHUNK_TAIL];
};

static inline char *http1_payload(struct http1_scratch *scratch)
{
	return scratch->room + HTTP1_CHUNK_HEAD;
}

enum http1_flow {
	HTTP1_FLOW_WAIT,	  /* for the source or for the sink */
	HTTP1_FLOW_DONE,	  /* all is written */
	HTTP1_FLOW_CUT,		  /* the source ended too early */
	HTTP1_FLOW_MALFORMED,	  /* the source's chunks are wrong */
	HTTP1_FLOW_SINK_GONE,	  /* the sink takes no more */
	HTTP1_FLOW_NO_MEMORY,
};

struct http1_body {
	enum http1_framing framing; /* as it comes */
	bool chunk;		    /* goes out in chunks, else as bare bytes */
	bool complete;		    /* all came and was framed; `pending` may still hold some */
	bool final;		    /* stream_shutdown() of the sink follows, and sends the rest */
	bool corked;		    /* a head is pending: wait for the first bytes of the body */
	bool touched;		    /* something of it was taken from the source */
	char last;		    /* byte of the previous feed of the parser */
	bool ended;		    /* llhttp saw the end of the last chunk */
	bool finished;		    /* a framed sink was told of the end */
	bool discards;		    /* there is no sink any more: what comes goes nowhere */
	uint64_t remaining;	    /* HTTP1_LENGTH */
	uint64_t bytes;		    /* of body, passed so far */
	struct bytes pending;	    /* to write before anything else */
	struct bytes trailers;	    /* field lines, filtered */
	struct bytes name, value;   /* of the trailer being parsed */
	const struct policy_route *route; /* what it strips is no trailer; may be NULL */
	llhttp_t parser;
	char *gathered; /* where the payload of this feed goes */
	size_t gathered_length;
};

/* How a body comes that its head says is `framing`: a framed stream's is bare. */
enum http1_framing http1_source_framing(const struct stream *source, enum http1_framing framing);
/* Prepares the body that follows `head`, whose parse left `body->parser`. */
void http1_body_start(struct http1_body *body, enum http1_framing framing, uint64_t length,
		      bool chunk);
/* From now on what is left of the body is read to its end and thrown away; what was still to be written
 * is, too. http1_body_pump() needs no sink any more: NULL. */
void http1_body_discard(struct http1_body *body);
/* Moves what can be moved now. `surplus` is what was read from the source beyond its head; bytes
 * after the end of the body are left there. */
enum http1_flow http1_body_pump(struct http1_body *body, struct stream *source,
				struct bytes *surplus, struct stream *sink,
				struct http1_scratch *scratch) WARN_UNUSED;
/* Writes what is pending: DONE, WAIT or SINK_GONE. */
enum http1_flow http1_flush(struct bytes *pending, struct stream *sink) WARN_UNUSED;
void http1_body_free(struct http1_body *body); /* its buffers; wipes, a head may hold a secret */

#endif
