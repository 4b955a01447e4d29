// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "h2_private.h"
#include "timeout.h"

#define READ_SIZE (16 * 1024)
#define FRAME_HEAD 9
#define GATHER_SIZE (32 * 1024) /* frames written at once */
/* And the last of them: nghttp2 hands out no more than 16 KiB and a frame's head at once. */
#define GATHER_ROOM (GATHER_SIZE + 20 * 1024)
#define TURN_BUDGET 16
#define CONNECTION_WINDOW (1024 * 1024)
/* Of a client it holds nothing back, since on_data() gives it back at once; it must only not be what
 * streams with large windows wait for. */
#define CLIENT_CONNECTION_WINDOW (16 * 1024 * 1024)
#define CONTINUATIONS_MAX 16
/* Of a head that goes out, as nghttp2 counts it, with 12 bytes more for each field: one above this it drops
 * without a word, and its stream would wait for ever. Twice what may come in: write_head() in h2_stream.c. */
#define SEND_HEAD_MAX (2 * HTTP1_HEAD_MAX + 16 * (HTTP1_FIELDS_MAX + 16))
/* Up to twice that is what a peer has to take some of what waits for it: of a request, whose answer is
 * known, and of an answer, which somebody may come back to the next day as on HTTP/1. */
#define REQUEST_LINGER_SECONDS 150
#define ANSWER_LINGER_SECONDS (12 * 3600 + 1800)
#define QUEUE_MAX 10000 /* frames that a peer makes us queue while it reads none */

/* ---- waking --------------------------------------------------------------------------------- */

void h2_touch(struct h2 *h2)
{
	/* h2_run() writes by itself before it ends. */
	if (h2->running || h2->kicked)
		return;
	/* In this turn of the loop, behind what else is active: one write for all of it. */
	h2->kicked = true;
	event_active(&h2->kick, EV_TIMEOUT, 0);
}

static void on_kick(evutil_socket_t fd, short what, void *context)
{
	struct h2 *h2 = context;

	(void)fd, (void)what;
	h2->kicked = false;
	h2->owner->kick(h2->context);
}

void h2_wake(struct h2_stream *s)
{
	if (!s->h2 || s->at_woken)
		return;
	s->at_woken = s->h2->woken_end;
	*s->at_woken = s;
	s->next_woken = NULL;
	s->h2->woken_end = &s->next_woken;
}

static void unwake(struct h2_stream *s)
{
	if (!s->at_woken)
		return;
	*s->at_woken = s->next_woken;
	if (s->next_woken)
		s->next_woken->at_woken = s->at_woken;
	else
		s->h2->woken_end = s->at_woken;
	s->at_woken = NULL;
}

static void run_woken(struct h2 *h2)
{
	size_t count = 0;

	/* Who wakes itself again waits for the next round. */
	for (const struct h2_stream *s = h2->woken; s; s = s->next_woken)
		count++;
	for (; count > 0 && h2->woken; count--) {
		struct h2_stream *s = h2->woken;

		unwake(s);
		if (s->fresh && s->face) {
			s->fresh = false;
			s->opened = true;
			h2->owner->opened(h2->context, s->face);
		} else if (s->face) {
			stream_ready(s->face);
		}
	}
}

void h2_linger(struct h2 *h2)
{
	const struct timeval time = {h2->server ? ANSWER_LINGER_SECONDS : REQUEST_LINGER_SECONDS, 0};

	if (event_pending(&h2->linger, EV_TIMEOUT, NULL) || event_add(&h2->linger, &time) == 0)
		return;
	/* Nothing else would end what lingers. */
	h2->over = true;
	h2_touch(h2);
}

/* Streams that somebody holds have his time-outs, and a connection with nothing but silence its own. What
 * is left is a stream whose writer is through and whose peer opens no window for it, while the
 * connection is busy with others: it would be kept for as long as that. */
static void on_linger(evutil_socket_t fd, short what, void *context)
{
	struct h2 *h2 = context;

	(void)fd, (void)what;
	for (struct h2_stream *s = h2->streams; s; s = s->next) {
		if (s->face || s->closed || s->reset || s->rest > 0)
			continue;
		if (s->stale) {
			h2_stream_reset(s, NGHTTP2_CANCEL);
			s->reset = true; /* once: it may take until the peer reads again */
			continue;
		}
		s->stale = true;
		h2_linger(h2);
	}
}

/* ---- streams -------------------------------------------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
	struct h2_stream *s = bytes_block_zeroed(sizeof(*s));

	if (!s)
		return NULL;
	s->face = stream_new_framed(&h2_stream_ops, s);
	if (!s->face) {
		bytes_block_free(s);
		return NULL;
	}
	s->h2 = h2;
	s->id = id;
	s->window = STREAM_WINDOW;
	/* RFC 9113, 7: a client that gives up no longer needs what it asked for; a server's
	 * stream that ends unfinished has failed. */
	s->own_code = h2->server ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL;
	s->next = h2->streams;
	if (s->next)
		s->next->at = &s->next;
	s->at = &h2->streams;
	h2->streams = s;
	h2->open++;
	return s;
}

static void detach(struct h2_stream *s)
{
	unwake(s);
	if (s->head_ready)
		s->h2->ready_heads--;
	s->head_ready = false;
	s->h2->open -= !s->closed;
	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	/* Fields are nghttp2's buffers, given back to note_memory(): not after the session is gone. */
	h2_block_clear(&s->block);
	s->h2 = NULL;
}

void h2_stream_destroy(struct h2_stream *s)
{
	if (s->h2 && s->opened)
		s->h2->owner->gone(s->h2->context);
	if (s->h2)
		detach(s);
	h2_block_clear(&s->block);
	bytes_wipe(&s->head);
	bytes_free(&s->body);
	bytes_free(&s->trailers);
	bytes_wipe(&s->out_head);
	bytes_free(&s->out);
	bytes_free(&s->out_trailers);
	bytes_block_free(s);
}

static void note_end(struct h2_stream *s, uint32_t code)
{
	s->h2->open -= !s->closed;
	s->closed = true;
	/* A server's owner wants to know that its client left, a client's whether the response is
	 * whole. */
	if (!s->remote_end || (s->h2->server && !s->end_sent)) {
		s->reset = true;
		s->code = code;
	}
}

static void close_stream(struct h2_stream *s, uint32_t code)
{
	note_end(s, code);
	if (!s->face)
		h2_stream_destroy(s);
	else if (s->fresh)
		stream_free(s->face); /* nobody has seen it */
	else
		h2_wake(s);
}

/* ---- nghttp2's callbacks -------------------------------------------------------------------- */

static struct h2_stream *find(nghttp2_session *session, int32_t id)
{
	return id > 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *s;

	/* Trailers begin here, too: their stream is known. */
	if (!h2->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = h2_stream_new(h2, frame->hd.stream_id);
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	s->fresh = true;
	(void)nghttp2_session_set_stream_user_data(session, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *s = find(session, frame->hd.stream_id);

	(void)flags;
	if (!s || (s->face ? h2_block_add : h2_block_count)(&s->block, name, value))
		return 0;
	if (h2->server && s->fresh)
		h2->owner->malformed(h2->context);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 would leave the field out and go on: we do not guess. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
			     nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *context)
{
	(void)session, (void)frame, (void)name, (void)value, (void)flags, (void)context;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
			    void *context)
{
	struct h2 *h2 = context;

	(void)session, (void)error;
	if (h2->server && frame->hd.type == NGHTTP2_HEADERS)
		h2->owner->malformed(h2->context);
	return 0;
}

static bool take_head(struct h2_stream *s, bool end)
{
	unsigned status = 200;
	bool fine;

	if (s->head_came) {
		s->trailers = s->block.fields;
		s->block.fields = (struct bytes){NULL, 0, 0, 0};
		fine = true;
	} else if (s->h2->server) {
		fine = h2_block_request(&s->block, stream_ssl(s->h2->transport) != NULL, end,
					&s->switching, &s->head);
	} else {
		/* By HPACK, interim heads cost a peer next to nothing: no more than one ahead. */
		fine = s->head.length <= HTTP1_HEAD_MAX &&
		       h2_block_response(&s->block, end, s->switching ? s->accept : NULL, &status,
					 &s->head);
	}
	/* Behind an interim head comes another (RFC 9113, 8.1), and not trailers. */
	s->head_came |= status >= 200;
	h2_block_clear(&s->block);
	return fine;
}

static int on_headers(struct h2 *h2, struct h2_stream *s, const nghttp2_frame *frame)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	h2->chatter = 0;
	if (!take_head(s, end)) {
		if (s->fresh)
			h2->owner->malformed(h2->context);
		return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id,
						 NGHTTP2_PROTOCOL_ERROR);
	}
	s->remote_end |= end;
	h2_wake(s);
	return 0;
}

/* What costs us work and moves nothing is allowed at a rate (CVE-2019-9512, 9515, 9518). Heads and
 * bytes of bodies set the count back. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *context)
{
	(void)session;
	/* These are bounded by how many streams there may be, and by the rate of resets. */
	return hd->type == NGHTTP2_HEADERS ? 0 : h2_flood_frame(context);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *s = find(session, frame->hd.stream_id);

	if (frame->hd.type == NGHTTP2_HEADERS && s && s->face)
		return on_headers(h2, s, frame);
	if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		h2->settings_came = true;
	/* It opened, though it may be used up again by the time that anybody looks. */
	if (frame->hd.type == NGHTTP2_WINDOW_UPDATE && frame->hd.stream_id == 0)
		h2->shut_ms = 0;
	if (frame->hd.type == NGHTTP2_RST_STREAM && s)
		s->said = true;
	if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && s) {
		s->remote_end = true;
		h2_wake(s);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
		   size_t length, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *s = find(session, id);
	bool kept = s && s->face;

	(void)flags;
	h2->chatter = 0;
	/* A client's connection may carry streams of several readers: one that is slow holds up its
	 * own window alone. */
	if (!kept || !h2->server)
		(void)nghttp2_session_consume_connection(session, length);
	/* Nobody reads it. The windows open all the same, or the peer would never get to its
	 * end. */
	if (!kept) {
		int rc = nghttp2_session_consume_stream(session, id, length);

		return rc == 0 && s ? h2_rest_came(s, length) : rc;
	}
	if (!bytes_append(&s->body, data, length))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	h2_wake(s);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *context)
{
	struct h2_stream *s = find(session, id);
	int rc;

	(void)context;
	if (!s)
		return 0;
	rc = h2_flood_end(s);
	/* What GOAWAY left out is refused. */
	s->wrong = !s->said && !s->own_end && code != NGHTTP2_NO_ERROR && code != NGHTTP2_REFUSED_STREAM;
	close_stream(s, code);
	return rc;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *s = find(session, frame->hd.stream_id);

	if (!s || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS))
		return 0;
	s->head_out |= s->head_sent;
	/* Not earlier: nghttp2 sends nothing of a stream that it is told to reset. */
	if (h2_stream_cut_due(s)) {
		s->own_end = true;
		return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, s->own_code);
	}
	if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	s->end_sent = true;
	if (s->face || s->remote_end)
		return 0;
	/* The response is out and nobody reads the rest of the request (RFC 9113, 8.1). */
	return h2->server ? h2_rest_begin(s)
			  : nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
}

/* A request that could not be sent: after GOAWAY, or given up while it waited for the socket. nghttp2
 * closes its stream next, and must not find `s` there, which may be gone by then. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error,
		       void *context)
{
	struct h2 *h2 = context;

	(void)error;
	if (h2->server || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	for (struct h2_stream *s = h2->streams; s; s = s->next) {
		if (s->id == frame->hd.stream_id && !s->closed) {
			(void)nghttp2_session_set_stream_user_data(session, s->id, NULL);
			close_stream(s, NGHTTP2_REFUSED_STREAM);
			break;
		}
	}
	return 0;
}

/* With its head of 9 bytes a frame of DATA is one TLS record (RFC 8446, 5.1): 16 KiB of payload would
 * leave a rest of a few bytes to each write, and that a record and a send(2) of its own. */
static ssize_t on_data_size(nghttp2_session *session, uint8_t type, int32_t id, int32_t session_window,
			    int32_t stream_window, uint32_t frame_max, void *context)
{
	int32_t window = session_window < stream_window ? session_window : stream_window;
	int32_t size = SSL3_RT_MAX_PLAIN_LENGTH - FRAME_HEAD;

	(void)session, (void)type, (void)id, (void)context;
	size = window < size ? window : size;
	return frame_max < (uint32_t)size ? (ssize_t)frame_max : size;
}

/* ---- a session ------------------------------------------------------------------------------ */

static bool set_callbacks(nghttp2_session_callbacks **ret)
{
	if (nghttp2_session_callbacks_new(ret) != 0)
		return false;
	nghttp2_session_callbacks_set_on_begin_frame_callback(*ret, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(*ret, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(*ret, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback2(*ret, on_invalid_header);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(*ret, on_invalid_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(*ret, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*ret, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(*ret, on_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(*ret, on_sent);
	nghttp2_session_callbacks_set_data_source_read_length_callback(*ret, on_data_size);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(*ret, on_not_sent);
	return true;
}

static bool new_session(struct h2 *h2)
{
	nghttp2_mem memory = h2_memory(h2);
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option = NULL;
	int rc = NGHTTP2_ERR_NOMEM;

	if (!set_callbacks(&callbacks))
		return false;
	if (nghttp2_option_new(&option) == 0) {
		/* Windows open as readers drain (consume() in h2_stream.c), not as frames come. */
		nghttp2_option_set_no_auto_window_update(option, 1);
		/* Kept for a tree of priorities that we do not use. */
		nghttp2_option_set_no_closed_streams(option, 1);
		/* CVE-2024-28182: a head without end, each frame decoded. */
		nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
		nghttp2_option_set_max_send_header_block_length(option, SEND_HEAD_MAX);
		nghttp2_option_set_stream_reset_rate_limit(option, RESET_BURST, RESET_RATE);
		rc = h2->server ? nghttp2_session_server_new3(&h2->session, callbacks, h2, option,
							      &memory)
				: nghttp2_session_client_new3(&h2->session, callbacks, h2, option,
							      &memory);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return rc == 0;
}

static bool submit_settings(struct h2 *h2)
{
	static const nghttp2_settings_entry server[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_CONCURRENT_STREAMS},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP1_HEAD_MAX},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
	};
	static const nghttp2_settings_entry client[] = {
		/* A pushed response answers a request that nobody has judged. */
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP1_HEAD_MAX},
	};
	int rc = h2->server ? nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, server,
						      sizeof(server) / sizeof(server[0]))
			    : nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, client,
						      sizeof(client) / sizeof(client[0]));

	return rc == 0 && nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
								h2->server ? CONNECTION_WINDOW
									   : CLIENT_CONNECTION_WINDOW) == 0;
}

struct h2 *h2_new(struct event_base *base, struct stream *transport, bool server,
		  const struct h2_owner *owner, void *context)
{
	struct h2 *h2 = calloc(1, sizeof(*h2));

	if (!h2)
		return NULL;
	h2->transport = transport;
	h2->server = server;
	h2->owner = owner;
	h2->context = context;
	h2->woken_end = &h2->woken;
	if (event_assign(&h2->kick, base, -1, 0, on_kick, h2) < 0 ||
	    evtimer_assign(&h2->again, base, on_kick, h2) < 0 ||
	    evtimer_assign(&h2->linger, base, on_linger, h2) < 0 ||
	    evtimer_assign(&h2->pulse, base, h2_rest_pulse, h2) < 0 || !new_session(h2)) {
		free(h2);
		return NULL;
	}
	if (!submit_settings(h2)) {
		h2_free(h2);
		return NULL;
	}
	return h2;
}

/* Every stream that is left has failed. */
static void abandon(struct h2 *h2)
{
	struct h2_stream *next;

	for (struct h2_stream *s = h2->streams; s; s = next) {
		next = s->next;
		if (s->closed)
			continue;
		s->no_memory = h2->no_memory;
		s->wrong = !h2->gone && !h2->no_memory;
		close_stream(s, NGHTTP2_INTERNAL_ERROR);
	}
}

void h2_free(struct h2 *h2)
{
	struct h2_stream *next;

	if (!h2)
		return;
	for (struct h2_stream *s = h2->streams; s; s = next) {
		next = s->next;
		if (!s->closed)
			note_end(s, NGHTTP2_INTERNAL_ERROR);
		if (!s->face)
			h2_stream_destroy(s);
		else if (s->fresh)
			stream_free(s->face);
		else
			detach(s);
	}
	nghttp2_session_del(h2->session);
	event_del(&h2->kick);
	event_del(&h2->again);
	event_del(&h2->linger);
	event_del(&h2->pulse);
	bytes_wipe(&h2->pending);
	free(h2);
}

/* True when something came; sets `over` at the end and on what nghttp2 cannot forgive. */
static bool receive(struct h2 *h2)
{
	uint8_t buffer[READ_SIZE];
	ssize_t n, taken;

	if (stream_must_wait(h2->transport))
		return false;
	n = stream_read(h2->transport, buffer, sizeof(buffer));
	if (n == -EAGAIN)
		return false;
	h2_room_heard(h2);
	h2->gone = n <= 0;
	taken = n > 0 ? nghttp2_session_mem_recv(h2->session, buffer, (size_t)n) : 0;
	h2->no_memory |= taken == NGHTTP2_ERR_NOMEM;
	if (n <= 0 || taken != n ||
	    nghttp2_session_get_outbound_queue_size(h2->session) > QUEUE_MAX)
		h2->over = true;
	return !h2->over;
}

/* What nghttp2 hands out is good until its next call alone; and copied together, many frames are one
 * record and one send(2). Returns how much that is, or -1. */
static ssize_t gather(struct h2 *h2, char room[GATHER_ROOM])
{
	const uint8_t *data;
	size_t length = 0;

	while (length < GATHER_SIZE) {
		ssize_t n = nghttp2_session_mem_send(h2->session, &data);

		if (n == 0)
			break;
		h2->no_memory |= n == NGHTTP2_ERR_NOMEM;
		if (n < 0 || (size_t)n > GATHER_ROOM - length)
			return -1;
		memcpy(room + length, data, (size_t)n);
		length += (size_t)n;
	}
	return (ssize_t)length;
}

static void submit_heads(struct h2 *h2)
{
	for (struct h2_stream *s = h2->streams; s && h2->ready_heads > 0; s = s->next)
		if (s->head_ready)
			h2_stream_submit(s);
}

/* How much of it the transport takes at once. Nothing is left in memory of what has gone. */
static size_t send_out(struct h2 *h2, char *data, size_t length)
{
	/* Where frames filled the room others follow at once, or flush() pushes. */
	bool more = length >= GATHER_SIZE;
	size_t sent = 0;

	while (sent < length) {
		ssize_t n = more ? stream_write_more(h2->transport, data + sent, length - sent)
				 : stream_write(h2->transport, data + sent, length - sent);

		if (n <= 0) {
			h2->over |= n != -EAGAIN;
			h2->gone |= h2->over;
			break;
		}
		sent += (size_t)n;
	}
	explicit_bzero(data, sent);
	return sent;
}

/* True when there may be more to send, and the transport takes it. */
static bool flush_pending(struct h2 *h2)
{
	struct span rest = bytes_span(&h2->pending);

	bytes_consume(&h2->pending, send_out(h2, h2->pending.data + h2->pending.start, rest.length));
	if (h2->pending.length > 0)
		return false;
	bytes_free(&h2->pending);
	return true;
}

/* Through memory that all sessions share: what the transport takes at once is never a session's own. */
static bool flush_frames(struct h2 *h2)
{
	static __thread char room[GATHER_ROOM];
	ssize_t length = gather(h2, room);
	size_t sent;

	if (length < 0) {
		/* What was gathered before it failed goes nowhere, and others use the room next. */
		h2->over = true;
		explicit_bzero(room, sizeof(room));
	}
	if (length <= 0)
		return false;
	sent = send_out(h2, room, (size_t)length);
	if (sent == (size_t)length)
		return true;
	if (!h2->over && !bytes_append(&h2->pending, room + sent, (size_t)length - sent))
		h2->over = true;
	explicit_bzero(room + sent, (size_t)length - sent);
	return false;
}

static void flush(struct h2 *h2)
{
	bool goes_on = true;

	submit_heads(h2);
	for (int turn = 0; goes_on && turn < TURN_BUDGET; turn++)
		goes_on = h2->pending.length > 0 ? flush_pending(h2) : flush_frames(h2);
	stream_push(h2->transport);
	if (goes_on)
		timeout_soon(&h2->again);
}

bool h2_run(struct h2 *h2)
{
	int turn = 0;

	h2->running = true;
	run_woken(h2);
	while (!h2->over && receive(h2)) {
		run_woken(h2);
		if (++turn == TURN_BUDGET) {
			timeout_soon(&h2->again);
			break;
		}
	}
	if (!h2->over)
		flush(h2);
	/* Writers that have room again, and streams that nghttp2 closed. */
	for (turn = 0; !h2->over && h2->woken && turn < TURN_BUDGET; turn++) {
		run_woken(h2);
		flush(h2);
	}
	if (h2->woken && !h2->over)
		timeout_soon(&h2->again);
	/* When nghttp2 wants to read and to write no more, the connection is to be closed
	 * (nghttp2_session_want_read). */
	if (h2->over || (h2->pending.length == 0 && !nghttp2_session_want_read(h2->session) &&
			 !nghttp2_session_want_write(h2->session))) {
		h2->over = true;
		abandon(h2);
		run_woken(h2);
	}
	h2_room_look(h2);
	h2->running = false;
	return !h2->over;
}

bool h2_is_idle(const struct h2 *h2)
{
	return !h2->streams && h2->pending.length == 0;
}

size_t h2_held(const struct h2 *h2)
{
	size_t held = h2->pending.capacity + h2->memory;

	for (const struct h2_stream *s = h2->streams; s; s = s->next)
		/* Streams that have an owner are counted by it: stream_held(). */
		held += s->face ? 0 : h2_stream_held(s);
	return held;
}

size_t h2_stuck(const struct h2 *h2)
{
	return h2->pending.length > 0 ? h2_held(h2) : 0;
}

void h2_abort(struct h2 *h2)
{
	h2->gone = true;
	h2->over = true;
}

size_t h2_shed(struct h2 *h2, size_t at_least)
{
	size_t count = 0;

	for (struct h2_stream *s = h2->streams; s; s = s->next) {
		if (s->face || s->closed || s->out.capacity == 0 || h2_stream_held(s) < at_least)
			continue;
		h2_stream_reset(s, NGHTTP2_ENHANCE_YOUR_CALM);
		count++;
	}
	return count;
}

void h2_drain(struct h2 *h2)
{
	/* With the last stream that was taken up: what the client has sent since, it may safely
	 * send to another connection (RFC 9113, 6.8). */
	(void)nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(h2->session),
				    NGHTTP2_NO_ERROR, NULL, 0);
	h2_touch(h2);
}

/* ---- a client's requests -------------------------------------------------------------------- */

struct stream *h2_open(struct h2 *h2)
{
	struct h2_stream *s = h2_stream_new(h2, 0);

	if (!s)
		return NULL;
	h2_room_opened(s);
	return s->face;
}
