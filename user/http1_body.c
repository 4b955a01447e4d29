// SPDX-License-Identifier: BSD-2-Clause
#include "http1_body.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TRAILERS_MAX (16 * 1024)
#define PUMP_BUDGET 16 /* buffers moved before other connections have their turn */

/* ---- trailers ------------------------------------------------------------------------------- */

static bool begins_field(struct span text, struct span prefix)
{
	return text.length >= prefix.length &&
	       span_equal_field((struct span){text.data, prefix.length}, prefix);
}

/* Framing, routing, authentication and content fields have no business behind the body
 * (RFC 9110 section 6.5.1). */
static bool trailer_forbidden(const struct http1_body *body, struct span name)
{
	static const char *const forbidden[] = {
		"transfer-encoding", "host",	"connection",	  "trailer",	"te",
		"upgrade",	     "keep-alive", "authorization", "cookie",	"set-cookie",
		"www-authenticate",  "cache-control", "expect",	  "max-forwards", "pragma",
		"range",	     "age",	"expires",	  "date",	"location",
		"retry-after",	     "vary",	"http2-settings", "x-egress-reason",
		"x-egress-request-id",
	};

	if (begins_field(name, SPAN("content-")) || begins_field(name, SPAN("proxy-")) ||
	    begins_field(name, SPAN("if-")))
		return true;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (span_equal_field(name, span_from(forbidden[i])))
			return true;
	return body->route && policy_route_strips_trailer(body->route, name);
}

/* Takes over the trailer that llhttp finished, if there is one. */
static bool take_trailer(struct http1_body *body)
{
	struct span name = bytes_span(&body->name);
	struct span value = span_trim(bytes_span(&body->value));
	bool fine = true;

	if (name.length == 0 && value.length == 0)
		return true;
	if (!http1_is_token(name) || !http1_is_value(value))
		return false;
	if (!trailer_forbidden(body, name))
		fine = bytes_append(&body->trailers, name.data, name.length) &&
		       bytes_append(&body->trailers, ": ", 2) &&
		       bytes_append(&body->trailers, value.data, value.length) &&
		       bytes_append(&body->trailers, "\r\n", 2);
	bytes_free(&body->name);
	bytes_free(&body->value);
	return fine;
}

static bool trailer_append(struct http1_body *body, struct bytes *part, const char *data,
			   size_t length)
{
	/* Of all trailers together, while they come: llhttp has no limit of its own. */
	if (body->trailers.length + body->name.length + body->value.length + length > TRAILERS_MAX)
		return false;
	return bytes_append(part, data, length);
}

/* ---- chunks: llhttp's callbacks ------------------------------------------------------------- */

static int on_body(llhttp_t *parser, const char *at, size_t length)
{
	struct http1_body *body = parser->data;

	/* Closes the gaps that the framing leaves: the parser is already past them. */
	memmove(body->gathered + body->gathered_length, at, length);
	body->gathered_length += length;
	return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t length)
{
	struct http1_body *body = parser->data;

	return trailer_append(body, &body->name, at, length) ? 0 : HPE_USER;
}

static int on_value(llhttp_t *parser, const char *at, size_t length)
{
	struct http1_body *body = parser->data;
	char before = at > body->gathered ? at[-1] : body->last;

	/* llhttp unfolds lines; we do not take them folded. */
	if (before == '\n')
		return HPE_USER;
	return trailer_append(body, &body->value, at, length) ? 0 : HPE_USER;
}

static int on_value_complete(llhttp_t *parser)
{
	return take_trailer(parser->data) ? 0 : HPE_USER;
}

static int on_message_complete(llhttp_t *parser)
{
	struct http1_body *body = parser->data;

	if (!take_trailer(body))
		return HPE_USER;
	body->ended = true;
	/* Else llhttp would go on into what is pipelined behind it. */
	return HPE_PAUSED;
}

/* Feeds the parser; the payload is gathered at the front of `data`. Returns how many bytes were
 * used, or -1. */
static ssize_t parse_chunks(struct http1_body *body, char *data, size_t length)
{
	/* Noted ahead: on_body() moves bytes over it. */
	char before = body->last, last = data[length - 1];
	llhttp_errno_t error;
	ssize_t used;

	body->gathered = data;
	body->gathered_length = 0;
	error = llhttp_execute(&body->parser, data, length);
	body->last = last;
	if (body->ended && error == HPE_PAUSED) {
		used = llhttp_get_error_pos(&body->parser) - data;
		/* llhttp lets a bare LF end the last line. */
		if ((used >= 2 ? data[used - 2] : before) != '\r')
			return -1;
		return used;
	}
	return error == HPE_OK ? (ssize_t)length : -1;
}

enum http1_framing http1_source_framing(const struct stream *source, enum http1_framing framing)
{
	return framing == HTTP1_CHUNKED && stream_is_framed(source) ? HTTP1_UNTIL_EOF : framing;
}

void http1_body_start(struct http1_body *body, enum http1_framing framing, uint64_t length,
		      bool chunk)
{
	static llhttp_settings_t settings = {
		.on_body = on_body,
		.on_header_field = on_field,
		.on_header_value = on_value,
		.on_header_value_complete = on_value_complete,
		.on_message_complete = on_message_complete,
	};

	body->framing = framing;
	body->chunk = chunk;
	body->remaining = framing == HTTP1_LENGTH ? length : 0;
	body->complete = framing == HTTP1_NO_BODY || (framing == HTTP1_LENGTH && length == 0);
	body->finished = false;
	body->parser.settings = &settings;
	body->parser.data = body;
}

/* ---- writing -------------------------------------------------------------------------------- */

static ssize_t write_out(struct stream *sink, const char *data, size_t length, bool more)
{
	return more ? stream_write_more(sink, data, length) : stream_write(sink, data, length);
}

static enum http1_flow flush(struct bytes *pending, struct stream *sink, bool more)
{
	while (pending->length > 0) {
		struct span rest = bytes_span(pending);
		ssize_t n = write_out(sink, rest.data, rest.length, more);

		if (n == -EAGAIN)
			return HTTP1_FLOW_WAIT;
		if (n <= 0)
			return HTTP1_FLOW_SINK_GONE;
		bytes_consume(pending, (size_t)n);
	}
	/* It may have been a head with its credential. */
	bytes_wipe(pending);
	return HTTP1_FLOW_DONE;
}

enum http1_flow http1_flush(struct bytes *pending, struct stream *sink)
{
	return flush(pending, sink, false);
}

/* Writes `data`, behind what is pending; what the sink does not take is kept. With `more` it may
 * wait until http1_body_pump() returns. */
static enum http1_flow emit(struct http1_body *body, struct stream *sink, const char *data,
			    size_t length, bool more)
{
	while (body->pending.length == 0 && length > 0) {
		ssize_t n = write_out(sink, data, length, more);

		if (n == -EAGAIN)
			break;
		if (n <= 0)
			return HTTP1_FLOW_SINK_GONE;
		data += n;
		length -= (size_t)n;
	}
	body->corked = false;
	if (length > 0 && !bytes_append(&body->pending, data, length))
		return HTTP1_FLOW_NO_MEMORY;
	return HTTP1_FLOW_DONE;
}

/* Frames the payload at the front of the scratch and writes it. */
static enum http1_flow emit_payload(struct http1_body *body, struct stream *sink,
				    struct http1_scratch *scratch, size_t length, bool more)
{
	char head[HTTP1_CHUNK_HEAD];
	char *start = http1_payload(scratch);
	size_t digits;

	if (body->discards)
		return HTTP1_FLOW_DONE;
	body->bytes += length;
	if (length == 0)
		return HTTP1_FLOW_DONE;
	if (!body->chunk)
		return emit(body, sink, start, length, more);
	digits = (size_t)snprintf(head, sizeof(head), "%zx\r\n", length);
	start -= digits;
	memcpy(start, head, digits);
	memcpy(http1_payload(scratch) + length, "\r\n", HTTP1_CHUNK_TAIL);
	return emit(body, sink, start, digits + length + HTTP1_CHUNK_TAIL, more);
}

static enum http1_flow emit_end(struct http1_body *body)
{
	struct span trailers = bytes_span(&body->trailers);

	body->complete = true;
	body->corked = false;
	if (!body->chunk)
		return HTTP1_FLOW_DONE;
	if (!bytes_append(&body->pending, "0\r\n", 3) ||
	    !bytes_append(&body->pending, trailers.data, trailers.length) ||
	    !bytes_append(&body->pending, "\r\n", 2))
		return HTTP1_FLOW_NO_MEMORY;
	return HTTP1_FLOW_DONE;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The next bytes into the scratch: from the surplus first. As stream_read(). */
static ssize_t take(const struct http1_body *body, struct stream *source, struct bytes *surplus,
		    struct http1_scratch *scratch)
{
	size_t limit = HTTP1_PAYLOAD_MAX;

	/* No further than its end: what follows is the next message's. */
	if (body->framing == HTTP1_LENGTH && body->remaining < limit)
		limit = (size_t)body->remaining;
	if (surplus->length == 0 && stream_must_wait(source))
		return -EAGAIN;
	if (surplus->length == 0)
		return stream_read(source, http1_payload(scratch), limit);
	if (surplus->length < limit)
		limit = surplus->length;
	memcpy(http1_payload(scratch), bytes_span(surplus).data, limit);
	bytes_consume(surplus, limit);
	return (ssize_t)limit;
}

/* Gives back what was read beyond the end of the body: in front of what is still in `surplus`. */
static bool put_back(struct bytes *surplus, const char *data, size_t length)
{
	struct bytes joined = {NULL, 0, 0, 0};
	struct span rest = bytes_span(surplus);

	if (length == 0)
		return true;
	if (!bytes_append(&joined, data, length) ||
	    !bytes_append(&joined, rest.data, rest.length)) {
		bytes_free(&joined);
		return false;
	}
	bytes_free(surplus);
	*surplus = joined;
	return true;
}

static enum http1_flow pass_chunks(struct http1_body *body, struct bytes *surplus,
				   struct stream *sink, struct http1_scratch *scratch, size_t length,
				   bool more)
{
	ssize_t used = parse_chunks(body, http1_payload(scratch), length);
	enum http1_flow flow;

	if (used < 0)
		return HTTP1_FLOW_MALFORMED;
	if (!put_back(surplus, http1_payload(scratch) + used, length - (size_t)used))
		return HTTP1_FLOW_NO_MEMORY;
	flow = emit_payload(body, sink, scratch, body->gathered_length,
			    body->ended ? body->chunk || body->final : more);
	if (flow == HTTP1_FLOW_DONE && body->ended)
		flow = emit_end(body);
	return flow;
}

static enum http1_flow pass_bare(struct http1_body *body, struct stream *sink,
				 struct http1_scratch *scratch, size_t length, bool more)
{
	/* What the source has behind its end is another message. */
	bool last = body->framing == HTTP1_LENGTH && body->remaining == length;
	enum http1_flow flow = emit_payload(body, sink, scratch, length,
					    last ? body->final : more);

	if (body->framing == HTTP1_LENGTH) {
		body->remaining -= length;
		if (body->remaining == 0 && flow == HTTP1_FLOW_DONE)
			flow = emit_end(body);
	}
	return flow;
}

/* Trailers of a framed stream: lines that h2 composed, so each has its colon and its end. */
static bool take_trailers(struct http1_body *body, struct span lines)
{
	while (lines.length > 0) {
		const char *end = memchr(lines.data, '\n', lines.length);
		const char *colon = memchr(lines.data, ':', lines.length);
		size_t length = end ? (size_t)(end - lines.data) + 1 : 0;

		if (!end || !colon || colon > end ||
		    !trailer_append(body, &body->name, lines.data, (size_t)(colon - lines.data)) ||
		    !trailer_append(body, &body->value, colon + 1, (size_t)(end - colon) - 2) ||
		    !take_trailer(body))
			return false;
		lines.data += length;
		lines.length -= length;
	}
	return true;
}

static enum http1_flow source_ended(struct http1_body *body, struct stream *source, ssize_t result)
{
	if (result == -ENOMEM)
		return HTTP1_FLOW_NO_MEMORY;
	/* Only an end in order is an end: a reset, or TLS that was cut off, is none. */
	if (result != 0 || body->framing != HTTP1_UNTIL_EOF)
		return HTTP1_FLOW_CUT;
	if (!take_trailers(body, stream_trailers(source)))
		return HTTP1_FLOW_MALFORMED;
	return emit_end(body);
}

/* All is written. */
static enum http1_flow finish(struct http1_body *body, struct stream *sink)
{
	if (!body->discards && stream_is_framed(sink) && !body->finished)
		stream_finish(sink, bytes_span(&body->trailers));
	body->finished = true;
	return HTTP1_FLOW_DONE;
}

static enum http1_flow pass(struct http1_body *body, struct stream *source, struct bytes *surplus,
			    struct stream *sink, struct http1_scratch *scratch)
{
	ssize_t n = take(body, source, surplus, scratch);
	bool more;

	if (n == -EAGAIN) {
		body->corked = false;
		return HTTP1_FLOW_WAIT;
	}
	if (n <= 0)
		return source_ended(body, source, n);
	body->touched = true;
	more = stream_has_more(source);
	if (body->framing == HTTP1_CHUNKED)
		return pass_chunks(body, surplus, sink, scratch, (size_t)n, more);
	return pass_bare(body, sink, scratch, (size_t)n, more);
}

static enum http1_flow pump(struct http1_body *body, struct stream *source, struct bytes *surplus,
			    struct stream *sink, struct http1_scratch *scratch)
{
	for (int turn = 0; turn < PUMP_BUDGET; turn++) {
		enum http1_flow flow = HTTP1_FLOW_DONE;

		/* A head waits for the first bytes of its body: one TLS record and one send(2)
		 * for both. */
		if (!body->corked || body->complete)
			flow = flush(&body->pending, sink, body->final && body->complete);
		if (flow == HTTP1_FLOW_DONE && body->complete)
			return finish(body, sink);
		if (flow != HTTP1_FLOW_DONE)
			return flow;
		flow = pass(body, source, surplus, sink, scratch);
		if (flow == HTTP1_FLOW_WAIT) {
			/* Nothing to read: what was corked must not wait for it. */
			flow = http1_flush(&body->pending, sink);
			return flow == HTTP1_FLOW_DONE ? HTTP1_FLOW_WAIT : flow;
		}
		if (flow != HTTP1_FLOW_DONE)
			return flow;
	}
	/* Events are edges, and what made this one has not been read to its end. */
	stream_again(source);
	return HTTP1_FLOW_WAIT;
}

enum http1_flow http1_body_pump(struct http1_body *body, struct stream *source,
				struct bytes *surplus, struct stream *sink,
				struct http1_scratch *scratch)
{
	enum http1_flow flow = pump(body, source, surplus, sink, scratch);

	/* Whatever made it stop, nothing waits for what may come late or never. */
	if (!body->discards && (flow != HTTP1_FLOW_DONE || !body->final))
		stream_push(sink);
	return flow;
}

void http1_body_discard(struct http1_body *body)
{
	body->discards = true;
	body->chunk = body->corked = false;
	bytes_wipe(&body->pending);
	/* A sink that went with the last of it was not told of the end. */
	body->complete |= body->ended || (body->framing == HTTP1_LENGTH && body->remaining == 0);
}

void http1_body_free(struct http1_body *body)
{
	bytes_wipe(&body->pending);
	bytes_free(&body->trailers);
	bytes_free(&body->name);
	bytes_free(&body->value);
}
