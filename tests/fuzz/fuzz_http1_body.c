// SPDX-License-Identifier: BSD-2-Clause
/* A chunked body from nowhere, in pieces of any size, to a sink that takes what it likes. What
 * comes out must be chunks that a strict reader takes, with the same payload however the input was
 * cut; a body that is not complete must not look so. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stream {
	const uint8_t *data;
	size_t length, piece;
	struct bytes out;
	bool blocked; /* the last write was refused */
	bool corked;  /* something waits for more */
};

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
	size_t n = stream->length < stream->piece ? stream->length : stream->piece;

	n = n < size ? n : size;
	if (n == 0)
		return 0;
	memcpy(buffer, stream->data, n);
	stream->data += n;
	stream->length -= n;
	return (ssize_t)n;
}

bool stream_must_wait(struct stream *stream)
{
	(void)stream;
	return false;
}

ssize_t stream_write(struct stream *stream, const void *data, size_t length)
{
	size_t n = length < stream->piece ? length : stream->piece;

	stream->blocked = !stream->blocked && stream->out.length % 5 == 4;
	if (stream->blocked)
		return -EAGAIN;
	if (!bytes_append(&stream->out, data, n))
		abort();
	stream->corked = false;
	return (ssize_t)n;
}

ssize_t stream_write_more(struct stream *stream, const void *data, size_t length)
{
	ssize_t n = stream_write(stream, data, length);

	stream->corked = stream->corked || n > 0;
	return n;
}

void stream_push(struct stream *stream)
{
	stream->corked = false;
}

bool stream_has_more(const struct stream *stream)
{
	return stream->length % 3 == 1;
}

void stream_again(struct stream *stream)
{
	(void)stream;
}

bool stream_is_framed(const struct stream *stream)
{
	(void)stream;
	return false;
}

void stream_finish(struct stream *stream, struct span trailers)
{
	(void)stream;
	(void)trailers;
}

struct span stream_trailers(const struct stream *stream)
{
	(void)stream;
	return (struct span){NULL, 0};
}

/* The pump under test; `surplus` is returned for what was left behind. */
static enum http1_flow run(const uint8_t *data, size_t size, size_t piece, bool chunk,
			   struct bytes *out, struct bytes *surplus)
{
	static struct http1_scratch scratch;
	static struct policy_header fields[HTTP1_FIELDS_MAX];
	struct stream source = {.data = data, .length = size, .piece = piece};
	struct stream sink = {.piece = piece};
	struct http1_head head = {.fields = fields};
	struct http1_body body = {.framing = HTTP1_NO_BODY};
	enum http1_flow flow = HTTP1_FLOW_WAIT;

	if (http1_request_parse(SPAN("POST / HTTP/1.1\r\nHost: a\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n"),
				&body.parser, &head) != 0)
		abort();
	http1_body_start(&body, HTTP1_CHUNKED, 0, chunk);
	for (size_t i = 0; i < 4 * size + 64 && flow == HTTP1_FLOW_WAIT; i++) {
		flow = http1_body_pump(&body, &source, surplus, &sink, &scratch);
		if (sink.corked)
			abort();
	}
	if (flow == HTTP1_FLOW_DONE && !bytes_append(surplus, source.data, source.length))
		abort();
	http1_body_free(&body);
	*out = sink.out;
	return flow;
}

static void check(const uint8_t *data, size_t size, size_t piece)
{
	struct bytes out[4] = {{NULL, 0, 0, 0}}, rest[4] = {{NULL, 0, 0, 0}};
	enum http1_flow whole = run(data, size, SIZE_MAX, false, &out[0], &rest[0]);
	enum http1_flow pieces = run(data, size, piece, false, &out[1], &rest[1]);
	enum http1_flow again;

	if ((whole == HTTP1_FLOW_DONE) != (pieces == HTTP1_FLOW_DONE))
		abort();
	if (whole == HTTP1_FLOW_DONE) {
		if (!span_equal(bytes_span(&out[0]), bytes_span(&out[1])) ||
		    !span_equal(bytes_span(&rest[0]), bytes_span(&rest[1])))
			abort();
		/* What we write is read back as the same. */
		if (run(data, size, piece, true, &out[2], &rest[2]) != HTTP1_FLOW_DONE)
			abort();
		again = run((const uint8_t *)bytes_span(&out[2]).data, out[2].length, piece, false,
			    &out[3], &rest[3]);
		if (again != HTTP1_FLOW_DONE || rest[3].length != 0 ||
		    !span_equal(bytes_span(&out[0]), bytes_span(&out[3])))
			abort();
	}
	for (size_t i = 0; i < 4; i++) {
		bytes_free(&out[i]);
		bytes_free(&rest[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 4096)
		return 0;
	check(data + 1, size - 1, (size_t)data[0] % 17 + 1);
	return 0;
}

/* Never asked: a body without a route. */
bool policy_route_strips_trailer(const struct policy_route *route, struct span name)
{
	(void)route;
	(void)name;
	return false;
}
