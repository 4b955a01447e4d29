/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP/2's field lists as HTTP/1 heads and back. What is composed here is parsed, strictly, by
 * whoever reads it (http1_head.h): no byte of a field can become framing. Part of h2. */
#ifndef H2_HEAD_H
#define H2_HEAD_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "http1_head.h"
#include "websocket.h"

enum h2_pseudo { H2_METHOD, H2_SCHEME, H2_AUTHORITY, H2_PATH, H2_PROTOCOL, H2_STATUS,
		 H2_PSEUDO_COUNT };

/* A header block as it comes. Zero-initialised is empty. */
struct h2_block {
	nghttp2_rcbuf *pseudo[H2_PSEUDO_COUNT];
	nghttp2_rcbuf *host;	  /* beside :authority */
	struct bytes fields;	  /* lines */
	struct bytes cookie;	  /* crumbs, joined (RFC 9113, 8.2.3) */
	bool has_length;
	size_t size;		  /* of all that came, as RFC 9113, 6.5.2 counts */
};

/* False for what no HTTP/1 head can say, too many bytes, or no memory. */
bool h2_block_add(struct h2_block *block, nghttp2_rcbuf *name, nghttp2_rcbuf *value) WARN_UNUSED;
/* The same of one that nobody waits for: false for too many bytes. */
bool h2_block_count(struct h2_block *block, nghttp2_rcbuf *name, nghttp2_rcbuf *value) WARN_UNUSED;
/* Appends the request's head; `tls` is how it came. `end`: no body follows. An extended CONNECT
 * for WebSocket (RFC 8441) becomes an upgrade, and `ret_switching` true. A scheme that is not the
 * connection's, or a host field that is not :authority, become an absolute-form target, so that
 * who judges HTTP/1 heads sees the contradiction. */
bool h2_block_request(const struct h2_block *block, bool tls, bool end, bool *ret_switching,
		      struct bytes *ret) WARN_UNUSED;
/* Appends the response's head and says its status. `accept`: the Sec-WebSocket-Accept that a 2xx
 * becomes 101 with; NULL where no WebSocket was asked for. */
bool h2_block_response(const struct h2_block *block, bool end, const char *accept,
		       unsigned *ret_status, struct bytes *ret) WARN_UNUSED;
void h2_block_clear(struct h2_block *block);

/* A head as nghttp2 takes it; points into the text. */
struct h2_fields {
	nghttp2_nv nv[HTTP1_FIELDS_MAX + 5];
	size_t count;
	char status[4];
	char length[20]; /* the digits of 64 bits */
};
/* From a whole head that was composed by us. False when it is none. `switching`: it asks for a
 * WebSocket, by extended CONNECT then (RFC 8441); `ret_accept` is what its key is answered with. */
bool h2_fields_request(struct span text, bool switching, struct h2_fields *ret,
		       char ret_accept[WEBSOCKET_ACCEPT_SIZE]) WARN_UNUSED;
/* Does this head, composed by us, ask to switch protocols? */
bool h2_asks_upgrade(struct span text);
/* From a response's head that came from an origin, see h2_respond(). */
void h2_fields_head(const struct http1_head *head, bool say_length, struct h2_fields *ret);
/* `switching`: 101 becomes 200. */
bool h2_fields_response(struct span text, bool switching, unsigned *ret_status,
			struct h2_fields *ret) WARN_UNUSED;
/* From field lines. */
bool h2_fields_trailers(struct span lines, struct h2_fields *ret) WARN_UNUSED;

#endif
