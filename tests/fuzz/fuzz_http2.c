// SPDX-License-Identifier: BSD-2-Clause
/* Frames from nowhere to an HTTP/2 session, as client or as server. Each head that comes out must be
 * one head and nothing behind it, with no byte that a field list could have smuggled in: what the
 * strict parser takes has the request line's and every field's end where we put it. A session must
 * survive whatever its streams' owners do: read, stop reading, answer, leave. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "h2.h"
#include "http1_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- streams: a transport in memory, and the framed ones ------------------------------------- */

struct stream {
	const uint8_t *data; /* the transport's */
	size_t length, piece, written;
	const struct stream_ops *ops;
	void *object;
	stream_ready_fn ready;
	void *context;
};

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
	size_t n = stream->length < stream->piece ? stream->length : stream->piece;

	if (stream->ops)
		return stream->ops->read(stream->object, buffer, size);
	n = n < size ? n : size;
	if (n == 0)
		return -EAGAIN;
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
	if (stream->ops)
		return stream->ops->write(stream->object, data, length);
	stream->written += length;
	/* A reader that is slow at times. */
	return stream->written % 7 == 3 ? -EAGAIN : (ssize_t)length;
}

ssize_t stream_write_more(struct stream *stream, const void *data, size_t length)
{
	return stream_write(stream, data, length);
}

void stream_push(struct stream *stream)
{
	(void)stream;
}

struct stream *stream_new_framed(const struct stream_ops *ops, void *object)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		abort();
	stream->ops = ops;
	stream->object = object;
	return stream;
}

void stream_set_ready(struct stream *stream, stream_ready_fn ready, void *context)
{
	stream->ready = ready;
	stream->context = context;
}

void stream_ready(struct stream *stream)
{
	if (stream->ready)
		stream->ready(stream->context);
}

void *stream_object(const struct stream *stream, const struct stream_ops *ops)
{
	return stream->ops == ops ? stream->object : NULL;
}

SSL *stream_ssl(const struct stream *stream)
{
	return (SSL *)stream; /* only whether there is one matters */
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	stream->ops->free(stream->object);
	free(stream);
}

/* ---- owners ---------------------------------------------------------------------------------- */

struct owner {
	struct stream *stream;
	bool response; /* what it reads */
	bool headed;
	unsigned manner;
};

static struct owner *owners[512];
static size_t owner_count;
static unsigned manner;
static uint64_t heads; /* so that nothing is optimised away, and for a debugger */

static void leave(struct owner *owner)
{
	stream_free(owner->stream);
	owner->stream = NULL;
}

static void answer(struct owner *owner)
{
	static const char text[] = "HTTP/1.1 103 \r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n"
				   "Content-Type: text/plain\r\nConnection: close\r\n\r\nhello";

	static struct policy_header lines[] = {{SPAN("Content-Type"), SPAN("text/plain")}};
	const struct http1_head head = {.fields = lines, .count = 1, .status = 200, .length = 5};

	/* As a text, or as http1_exchange.c does with an origin of HTTP/1.1. */
	if (owner->manner & 32 ? h2_respond(owner->stream, &head, true, false) < 0 ||
					 stream_write(owner->stream, "hello", 5) <= 0
			       : stream_write(owner->stream, text, sizeof(text) - 1) <= 0)
		return;
	owner->stream->ops->finish(owner->stream->object, (owner->manner & 4)
								  ? SPAN("x-sum: 1\r\nx-b: 2\r\n")
								  : (struct span){NULL, 0});
}

/* The first time a request's head may be taken as http1.c does it. */
static ssize_t read_some(struct owner *owner, char *buffer, size_t size)
{
	struct bytes head = {NULL, 0, 0, 0};
	ssize_t n;

	if (owner->response || owner->headed || !(owner->manner & 16) ||
	    !h2_move_head(owner->stream, &head))
		return stream_read(owner->stream, buffer, size);
	n = (ssize_t)head.length;
	memcpy(buffer, bytes_span(&head).data, head.length);
	bytes_wipe(&head);
	return n;
}

/* The head comes whole and by itself; a parser that takes it takes all of it. */
static void check_head(const char *text, size_t length, bool response)
{
	static struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	llhttp_t parser;
	size_t scanned = 0;
	struct span span = {text, length};
	int status = response ? http1_response_parse(span, &parser, &head)
			      : http1_request_parse(span, &parser, &head);

	if (http1_head_end(span, &scanned) != (long)length)
		abort();
	if (status != 0)
		return;
	heads++;
	if (head.framing == HTTP1_CHUNKED && head.length != 0)
		abort();
	if (!response && (memchr(head.target.data, ' ', head.target.length) || head.target.length == 0))
		abort();
}

static void on_ready(void *context)
{
	static char buffer[512 * 1024];
	struct owner *owner = context;
	ssize_t n;

	if (!owner->stream || (owner->manner & 8))
		return;
	n = read_some(owner, buffer, sizeof(buffer));
	if (n > 0 && !owner->headed) {
		/* Interim responses may stand before it. */
		while (owner->response) {
			size_t scanned = 0;
			long end = http1_head_end((struct span){buffer, (size_t)n}, &scanned);

			if (end <= 0)
				abort();
			if (end == n)
				break;
			check_head(buffer, (size_t)end, true);
			n -= end;
			memmove(buffer, buffer + end, (size_t)n);
		}
		check_head(buffer, (size_t)n, owner->response);
		owner->headed = true;
		if (!owner->response && (owner->manner & 1))
			answer(owner);
	}
	while (n > 0)
		n = stream_read(owner->stream, buffer, sizeof(buffer));
	if (n != -EAGAIN || (owner->manner & 2))
		leave(owner);
}

static struct owner *take(struct stream *stream, bool response)
{
	struct owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		abort();
	owner->stream = stream;
	owner->response = response;
	owner->manner = manner++;
	owners[owner_count++] = owner;
	stream_set_ready(stream, on_ready, owner);
	return owner;
}

static void on_opened(void *context, struct stream *stream)
{
	(void)context;
	if (owner_count == sizeof(owners) / sizeof(owners[0]))
		stream_free(stream);
	else
		on_ready(take(stream, false));
}

static void nothing(void *context)
{
	(void)context;
}

static void ask(struct h2 *h2)
{
	static const char text[] = "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n";

	for (int i = 0; i < 3 && h2_has_room(h2); i++) {
		struct owner *owner = take(h2_open(h2), true);

		if (stream_write(owner->stream, text, sizeof(text) - 1) <= 0)
			abort();
		owner->stream->ops->finish(owner->stream->object, (struct span){NULL, 0});
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct h2_owner owner = {nothing, on_opened, nothing, nothing};
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	static struct event_base *base;
	struct stream transport = {.piece = sizeof(preface) - 1};
	bool server, alive;
	struct h2 *h2;

	if (size < 3 || size > 8192)
		return 0;
	if (!base)
		base = event_base_new();
	server = data[0] & 1;
	manner = data[1];
	owner_count = 0;
	h2 = h2_new(base, &transport, server, &owner, NULL);
	if (!h2)
		abort();
	if (!server)
		ask(h2);
	transport.data = (const uint8_t *)(server ? preface : preface + 24);
	transport.length = sizeof(preface) - 1 - (server ? 0 : 24);
	alive = h2_run(h2);
	transport.data = data + 2;
	transport.length = size - 2;
	transport.piece = (data[0] >> 1) + 1u;
	for (int i = 0; i < 16 && alive; i++)
		alive = h2_run(h2);
	if (manner & 1)
		h2_free(h2);
	for (size_t i = 0; i < owner_count; i++) {
		leave(owners[i]);
		free(owners[i]);
	}
	if (!(manner & 1))
		h2_free(h2);
	event_base_loop(base, EVLOOP_NONBLOCK);
	return 0;
}
