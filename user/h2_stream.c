// SPDX-License-Identifier: BSD-2-Clause
/* One request within a session, as its owner sees it: the operations of a framed stream. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2_private.h"
#include "timeout.h"

/* ---- reading -------------------------------------------------------------------------------- */

static ssize_t take(struct bytes *from, void *buffer, size_t size)
{
	struct span have = bytes_span(from);
	size_t n = have.length < size ? have.length : size;

	memcpy(buffer, have.data, n);
	bytes_consume(from, n);
	/* Wiped, not freed: it may be a head with its credential. */
	if (from->length == 0)
		bytes_wipe(from);
	return (ssize_t)n;
}

static size_t window_limit(const struct h2_stream *s)
{
	size_t share;

	if (bytes_pressed())
		return WINDOW_MIN;
	/* Not below zero: half of it is free, or it would be pressed. */
	share = (bytes_limit() - bytes_held()) / WINDOW_SHARE;
	if (s->h2->server || share < STREAM_WINDOW)
		return STREAM_WINDOW; /* a bottle is near: there is no delay to be made up for */
	return share < WINDOW_MAX ? share : WINDOW_MAX;
}

/* A peer that used a whole window up, before a reader that has taken all of it, gets twice as much. A
 * smaller one comes into force by what is not given back. */
static void fit_window(struct h2_stream *s)
{
	size_t wanted = s->window, limit = window_limit(s);

	if (s->body.length == 0 && s->taken >= s->window && !s->remote_end)
		wanted *= 2;
	if (wanted > limit)
		wanted = limit;
	if (wanted == s->window)
		return;
	(void)nghttp2_session_set_local_window_size(s->h2->session, NGHTTP2_FLAG_NONE, s->id,
						    (int32_t)wanted);
	s->window = wanted;
	s->taken = 0;
}

/* The reader has room again, and so has the peer. A client's connection window was given back when
 * the bytes came, since the connection may be shared: see on_data() in h2.c. */
static void consume(struct h2_stream *s, size_t n)
{
	if (!s->h2 || n == 0)
		return;
	s->taken += n;
	if (!s->closed) {
		(void)nghttp2_session_consume_stream(s->h2->session, s->id, n);
		fit_window(s);
	}
	if (s->h2->server)
		(void)nghttp2_session_consume_connection(s->h2->session, n);
	h2_touch(s->h2);
}

static ssize_t stream_end(const struct h2_stream *s)
{
	if (s->no_memory)
		return -ENOMEM;
	if (s->reset)
		return s->code == NGHTTP2_REFUSED_STREAM || s->code == NGHTTP2_HTTP_1_1_REQUIRED
			       ? -ESTALE : -ECONNRESET;
	return s->remote_end ? 0 : -EAGAIN;
}

static ssize_t h2_read(void *object, void *buffer, size_t size)
{
	struct h2_stream *s = object;
	ssize_t n;

	if (s->head.length > 0)
		return take(&s->head, buffer, size);
	if (s->body.length == 0)
		return stream_end(s);
	n = take(&s->body, buffer, size);
	consume(s, (size_t)n);
	return n;
}

bool h2_move_head(struct stream *stream, struct bytes *ret)
{
	struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (!s || s->head.length == 0 || s->head.length > HTTP1_TARGET_MAX)
		return false;
	bytes_free(ret);
	*ret = s->head;
	s->head = (struct bytes){NULL, 0, 0, 0};
	return true;
}

static struct span h2_trailers(const void *object)
{
	const struct h2_stream *s = object;

	return bytes_span(&s->trailers);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void resume(struct h2_stream *s)
{
	if (s->deferred && !s->closed) {
		s->deferred = false;
		(void)nghttp2_session_resume_data(s->h2->session, s->id);
	}
	h2_touch(s->h2);
}

static void submit_trailers(struct h2_stream *s)
{
	struct h2_fields fields;

	if (h2_fields_trailers(bytes_span(&s->out_trailers), &fields))
		(void)nghttp2_submit_trailer(s->h2->session, s->id, fields.nv, fields.count);
	else
		h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	bytes_free(&s->out_trailers);
}

static size_t out_limit(void)
{
	return bytes_pressed() ? OUT_MIN : OUT_MAX;
}

static ssize_t on_source(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t length,
			 uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct h2_stream *s = source->ptr;
	size_t n = s->out.length < length ? s->out.length : length;

	(void)session, (void)id, (void)context;
	if (n == 0 && !s->finished) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0) {
		(void)take(&s->out, buffer, n);
		s->stale = false;
	}
	/* Half, and not one byte: writers come with whole buffers. */
	if (s->full && s->out.length <= out_limit() / 2) {
		s->full = false;
		h2_wake(s);
	}
	/* WINDOW_UPDATEs that answer what we send are no chatter: h2_flood_frame(). */
	s->h2->chatter = 0;
	if (s->out.length == 0 && s->finished) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->out_trailers.length > 0) {
			/* nghttp2 wants trailers from within this callback, and END_STREAM with
			 * them. */
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			submit_trailers(s);
		}
	}
	return (ssize_t)n;
}

static bool submit_request(struct h2_stream *s, const nghttp2_data_provider *provider)
{
	struct h2_fields fields;

	if (!h2_fields_request(bytes_span(&s->out_head), s->switching, &fields, s->accept))
		return false;
	s->id = nghttp2_submit_request(s->h2->session, NULL, fields.nv, fields.count, provider, s);
	if (s->id > 0)
		return true;
	s->id = 0;
	return false;
}

static bool submit_response(struct h2_stream *s, const nghttp2_data_provider *provider)
{
	struct h2_fields fields;
	unsigned status;

	return h2_fields_response(bytes_span(&s->out_head), s->switching, &status, &fields) &&
	       nghttp2_submit_response(s->h2->session, s->id, fields.nv, fields.count, provider) == 0;
}

/* RFC 8441, 3: only to a peer that has said so, and its SETTINGS come after our first request could
 * go. 1, 0 when it has to wait, -1 when HTTP/1.1 has to do. */
static int may_switch(const struct h2_stream *s)
{
	if (s->h2->server || !s->switching)
		return 1;
	if (!s->h2->settings_came)
		return 0;
	return nghttp2_session_get_remote_settings(s->h2->session,
						   NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
		       ? 1 : -1;
}

void h2_stream_submit(struct h2_stream *s)
{
	nghttp2_data_provider provider = {.source.ptr = s, .read_callback = on_source};
	bool bare = s->finished && s->out.length == 0 && s->out_trailers.length == 0;
	int may = may_switch(s);
	bool fine;

	if (may == 0)
		return;
	s->head_ready = false;
	s->h2->ready_heads--;
	/* upstream_failed() in http1_exchange.c asks again by HTTP/1.1 then. */
	if (may < 0)
		s->code = NGHTTP2_HTTP_1_1_REQUIRED;
	fine = may < 0 ? false : s->h2->server ? submit_response(s, bare ? NULL : &provider)
			     : submit_request(s, bare ? NULL : &provider);
	bytes_wipe(&s->out_head);
	s->head_sent = true;
	if (fine)
		return;
	s->reset = true;
	if (s->id > 0)
		h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	h2_wake(s);
}

int h2_respond(struct stream *stream, const struct http1_head *head, bool say_length, bool bare)
{
	struct h2_stream *s = stream_object(stream, &h2_stream_ops);
	nghttp2_data_provider provider = {.source.ptr = s, .read_callback = on_source};
	struct h2_fields fields;

	if (!s || !s->h2 || s->closed || s->reset || s->finished)
		return -EPIPE;
	/* One final head, and no other one half written before it. */
	if (!s->h2->server || s->head_ready || s->head_sent || s->out_head.length > 0)
		return -EPROTO;
	h2_fields_head(head, say_length, &fields);
	if (nghttp2_submit_response(s->h2->session, s->id, fields.nv, fields.count,
				    bare ? NULL : &provider) != 0)
		return -ENOMEM;
	s->head_sent = true;
	h2_touch(s->h2);
	return 0;
}

/* An interim response goes out at once and is followed by another head. Others are not looked into
 * here: they are when they are submitted. */
static bool submit_interim(struct h2_stream *s, struct span text, bool *ret_interim)
{
	static const char interim[] = "HTTP/1.1 1";
	struct h2_fields fields;
	unsigned status;

	*ret_interim = false;
	if (!s->h2->server || text.length < sizeof(interim) ||
	    memcmp(text.data, interim, sizeof(interim) - 1) != 0)
		return true;
	if (!h2_fields_response(text, s->switching, &status, &fields))
		return false;
	*ret_interim = status < 200;
	return !*ret_interim ||
	       nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, fields.nv,
				      fields.count, NULL) == 0;
}

/* Appends to the head until it is whole; what is behind it is the body. False when it is none. */
static bool write_head(struct h2_stream *s, const char *data, size_t length)
{
	struct bytes rest;
	struct span text;
	bool interim, fine;
	long end;

	/* Twice what may come in: the credential, say, comes on top of that. */
	if (s->out_head.length + length > 2 * HTTP1_HEAD_MAX ||
	    !bytes_append(&s->out_head, data, length))
		return false;
	end = http1_head_end(bytes_span(&s->out_head), &s->out_scanned);
	if (end <= 0)
		return end == 0;
	s->out_scanned = 0;
	text = bytes_span(&s->out_head);
	if (!submit_interim(s, (struct span){text.data, (size_t)end}, &interim))
		return false;
	text.data += end;
	text.length -= (size_t)end;
	if (interim) {
		rest = s->out_head;
		s->out_head = (struct bytes){NULL, 0, 0, 0};
		fine = text.length == 0 || write_head(s, text.data, text.length);
		bytes_wipe(&rest);
		return fine;
	}
	if (!bytes_append(&s->out, text.data, text.length))
		return false;
	s->out_head.length = (size_t)end;
	if (!s->h2->server)
		s->switching = h2_asks_upgrade(bytes_span(&s->out_head));
	s->head_ready = true;
	s->h2->ready_heads++;
	return true;
}

static ssize_t write_body(struct h2_stream *s, const char *data, size_t length)
{
	size_t limit = out_limit();
	size_t room = s->out.length < limit ? limit - s->out.length : 0;

	if (length > room)
		length = room;
	if (length == 0) {
		s->full = true;
		return -EAGAIN;
	}
	return bytes_append(&s->out, data, length) ? (ssize_t)length : -ENOMEM;
}

static ssize_t h2_write(void *object, const void *data, size_t length)
{
	struct h2_stream *s = object;
	ssize_t n = (ssize_t)length;

	if (!s->h2 || s->closed || s->reset || s->finished)
		return -EPIPE;
	if (s->head_ready || s->head_sent)
		n = write_body(s, data, length);
	else if (!write_head(s, data, length))
		n = -EPROTO;
	if (n > 0)
		resume(s);
	return n;
}

static void h2_finish(void *object, struct span trailers)
{
	struct h2_stream *s = object;

	if (!s->h2 || s->closed || s->finished)
		return;
	/* The end of a request that asks to switch is not the end of what goes that way. */
	if (s->switching && !s->h2->server && !s->head_came)
		return;
	s->finished = true;
	if (trailers.length > 0 &&
	    !bytes_append(&s->out_trailers, trailers.data, trailers.length) && s->id > 0)
		h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	resume(s);
}

/* ---- the rest ------------------------------------------------------------------------------- */

size_t h2_stream_held(const struct h2_stream *s)
{
	return s->head.capacity + s->body.capacity + s->trailers.capacity + s->out_head.capacity +
	       s->out.capacity + s->out_trailers.capacity + s->block.fields.capacity +
	       s->block.cookie.capacity;
}

static size_t h2_stream_memory(const void *object)
{
	return h2_stream_held(object);
}

void h2_stream_reset(struct h2_stream *s, uint32_t code)
{
	if (s->head_ready)
		s->h2->ready_heads--;
	s->head_ready = false;
	bytes_wipe(&s->out_head);
	bytes_free(&s->out);
	bytes_free(&s->out_trailers);
	s->own_end = true;
	(void)nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code);
	h2_touch(s->h2);
}

static void h2_again(void *object)
{
	struct h2_stream *s = object;

	h2_wake(s);
	if (s->h2)
		/* As in stream_again(): others have their turn first. */
		timeout_soon(&s->h2->again);
}

static struct stream *h2_carrier(const void *object)
{
	const struct h2_stream *s = object;

	return s->h2 ? s->h2->transport : NULL;
}

/* What came before an origin broke off is the client's, as it would be without us. */
static bool waits_to_cut(const struct h2_stream *s)
{
	return s->behind && !s->finished && (s->head_ready || s->head_sent) &&
	       (!s->head_out || s->out.length > 0);
}

bool h2_stream_cut_due(const struct h2_stream *s)
{
	return s->behind && !s->face && !waits_to_cut(s);
}

/* The owner lets go. What is queued still goes out; what is not complete is reset, and what the
 * peer still sends is thrown away. */
static void h2_release(void *object)
{
	struct h2_stream *s = object;
	struct h2 *h2 = s->h2;

	s->face = NULL;
	if (h2)
		h2_touch(h2);
	if (h2 && !s->closed && !s->remote_end)
		h2_room_given_up(s);
	/* Of a stream that is closed, too: the connection's window outlives it, and is given back by
	 * us alone (h2.c turns nghttp2's own updates off). */
	consume(s, s->body.length);
	if (!h2 || s->closed || s->id == 0) {
		h2_stream_destroy(s);
		return;
	}
	bytes_wipe(&s->body);
	bytes_wipe(&s->head);
	if ((s->finished && !s->end_sent) || waits_to_cut(s)) {
		h2_linger(h2); /* on_sent() in h2.c goes on */
		return;
	}
	if (!s->finished || !h2->server)
		h2_stream_reset(s, s->own_code);
	else if (h2_rest_begin(s) != 0)
		h2->over = true;
}

const struct stream_ops h2_stream_ops = {
	.read = h2_read,
	.write = h2_write,
	.finish = h2_finish,
	.again = h2_again,
	.free = h2_release,
	.trailers = h2_trailers,
	.carrier = h2_carrier,
	.held = h2_stream_memory,
};

void h2_mark(struct stream *stream)
{
	struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (!s)
		return;
	h2_wake(s);
	if (s->h2)
		h2_touch(s->h2);
}

uint32_t h2_reset_code(const struct stream *stream)
{
	const struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	return s && s->reset ? s->code : NGHTTP2_NO_ERROR;
}

bool h2_has_ended(const struct stream *stream)
{
	const struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	return s && s->remote_end;
}

bool h2_was_reset(const struct stream *stream)
{
	const struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	return s && s->reset;
}

bool h2_tell_end(const struct stream *stream, char *text, size_t size)
{
	const struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (!s || !s->reset)
		return false;
	if (s->said)
		(void)snprintf(text, size, "the upstream reset the stream: %s",
			       nghttp2_http2_strerror(s->code));
	else if (s->wrong)
		(void)snprintf(text, size, "malformed response");
	return s->said || s->wrong;
}

void h2_set_reset_code(struct stream *stream, uint32_t code)
{
	struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (s)
		s->own_code = code;
}

void h2_set_reset_behind(struct stream *stream, uint32_t code)
{
	struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (!s)
		return;
	s->behind = s->h2 && s->h2->server;
	s->own_code = code;
}
