// SPDX-License-Identifier: BSD-2-Clause
/* Whether another request may go on a session. Several clients share one, and what holds up the session holds
 * up all of them: who comes later need not wait for that. */
#include "clock.h"
#include "h2_private.h"

/* As long as this a busy upload does not wait for its window: it waits for a reader. */
#define SHUT_MS 1000
/* Who gives up sooner does not say that a session is dead. Where it is not, this costs a connection. */
#define SILENT_MS 1000

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC_COARSE);
}

void h2_room_look(struct h2 *h2)
{
	if (h2->server)
		return;
	if (nghttp2_session_get_remote_window_size(h2->session) > 0)
		h2->shut_ms = 0;
	else if (h2->shut_ms == 0)
		h2->shut_ms = now_ms();
}

void h2_room_opened(struct h2_stream *s)
{
	s->since_ms = now_ms();
}

void h2_room_heard(struct h2 *h2)
{
	h2->silent = false;
	if (!h2->server)
		h2->heard_ms = now_ms();
}

/* A kernel goes on taking what its process does not read, behind a balancer say: TCP sees no failure. */
void h2_room_given_up(const struct h2_stream *s)
{
	struct h2 *h2 = s->h2;
	uint64_t from_ms = h2->heard_ms > s->since_ms ? h2->heard_ms : s->since_ms;

	/* With more to read it waited for its reader. */
	if (!h2->server && s->body.length == 0 && now_ms() - from_ms >= SILENT_MS)
		h2->silent = true;
}

void h2_doubt(const struct stream *stream)
{
	const struct h2_stream *s = stream_object(stream, &h2_stream_ops);

	if (s && s->h2 && !s->closed && !s->remote_end)
		h2_room_given_up(s);
}

bool h2_has_room(const struct h2 *h2)
{
	uint32_t limit = nghttp2_session_get_remote_settings(
		h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	if (h2->over || h2->silent || !nghttp2_session_check_request_allowed(h2->session))
		return false;
	/* RFC 9113, 6.5.2: a peer that says nothing sets no limit: one of ours has to do. */
	if (limit > H2_CONCURRENT_STREAMS)
		limit = H2_CONCURRENT_STREAMS;
	/* Counted, not looked for: each request asks each session. */
	if (h2->open >= limit)
		return false;
	return h2->shut_ms == 0 || now_ms() - h2->shut_ms < SHUT_MS;
}
