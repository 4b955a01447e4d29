/* SPDX-License-Identifier: BSD-2-Clause */
/* The head of an HTTP/1 message: validated strictly (RFC 9112, nothing lenient), then parsed. */
#ifndef HTTP1_HEAD_H
#define HTTP1_HEAD_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"
#include "policy.h"

#define HTTP1_HEAD_MAX (64 * 1024)
#define HTTP1_TARGET_MAX (16 * 1024)
#define HTTP1_FIELDS_MAX 256
/* Of Connection: fields, and bytes of them all. */
#define HTTP1_NOMINATIONS_MAX 8
#define HTTP1_NOMINATED_MAX 512

enum http1_framing {
	HTTP1_NO_BODY,
	HTTP1_LENGTH,
	HTTP1_CHUNKED,
	HTTP1_UNTIL_EOF, /* responses only */
};

/* All spans point into the text that was parsed. */
struct http1_head {
	struct policy_header *fields; /* HTTP1_FIELDS_MAX, lent by the caller */
	size_t count;
	struct span method, target;	  /* requests */
	unsigned status;		  /* responses */
	struct span phrase;
	unsigned minor;			  /* HTTP/1.x */
	struct span host;		  /* data is NULL when there is none */
	struct span upgrade;		  /* value of Upgrade, when Connection nominates it */
	enum http1_framing framing;	  /* as the fields say, whatever the status or method */
	uint64_t length;		  /* HTTP1_LENGTH */
	size_t nominations, nominated;	  /* Connection fields, and their bytes */
	bool keep_alive, te_trailers, expects;
};

/* Where the head that begins `text` ends: its length, 0 when more is needed, -1 when a line ends
 * without CR. `scanned` is the caller's place to resume, zero for a new head. */
long http1_head_end(struct span text, size_t *scanned);

/* False when these first bytes are another protocol's, whatever follows: no method begins so, or a
 * line has ended that names no version. */
bool http1_may_be_request(struct span text);

/* Parses one whole head. 0, or the HTTP status that says what is wrong (400, 414, 431); `head` is
 * then unspecified. `parser` is left ready for a chunked body, see http1_body_start(). NULL: the head
 * is of our own making and needs no second opinion; whether the connection is kept is not told then. */
int http1_request_parse(struct span text, llhttp_t *parser, struct http1_head *head) WARN_UNUSED;
int http1_response_parse(struct span text, llhttp_t *parser, struct http1_head *head) WARN_UNUSED;

/* Appends "NAME: VALUE" and CRLF; false when out of memory. */
bool http1_append_field(struct bytes *to, struct span name, struct span value) WARN_UNUSED;
/* True when the comma-separated list has the token, ASCII case-insensitive. */
bool http1_list_has(struct span list, struct span token);
/* Field names and values as RFC 9110 section 5 has them. */
bool http1_is_token(struct span text);
bool http1_is_value(struct span text);

#endif
