// SPDX-License-Identifier: BSD-2-Clause
/* What a client still sends of a request that it has the answer to. A server may reset such a stream at
 * once (RFC 9113, 8.1), but curl 7.88 drops an answer that it reads together with the reset, and one that
 * reads it later waits for ever with the rest of its body. So the rest is thrown away, with its windows
 * open, as it is on HTTP/1; and where a client neither goes on nor ends, or goes on for too long, the reset
 * follows. Most end by themselves and never see one. */
#include "h2_private.h"
#include "timeout.h"

/* Who is silent from one to the next is reset. One timer for all streams of a connection. */
#define PULSE_MS 1000
/* Each pulse counts as so many bytes, so that a drip has its end: after four minutes. */
#define REST_MAX ((size_t)1024 * 1024 * 1024)
#define REST_PER_PULSE ((size_t)4 * 1024 * 1024)

static int reset(struct h2_stream *s)
{
	s->rest = 0;
	return nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

int h2_rest_begin(struct h2_stream *s)
{
	struct event *pulse = &s->h2->pulse;

	s->rest = REST_MAX;
	s->stale = false;
	if (event_pending(pulse, EV_TIMEOUT, NULL) || timeout_add(pulse, PULSE_MS) == 0)
		return 0;
	/* Nothing else would end it. */
	return reset(s);
}

static int spend(struct h2_stream *s, size_t much)
{
	if (much >= s->rest)
		return reset(s);
	s->rest -= much;
	return 0;
}

int h2_rest_came(struct h2_stream *s, size_t length)
{
	if (s->rest == 0)
		return 0;
	s->stale = false;
	return spend(s, length);
}

void h2_rest_pulse(evutil_socket_t fd, short what, void *context)
{
	struct h2 *h2 = context;
	bool more = false;

	(void)fd, (void)what;
	for (struct h2_stream *s = h2->streams; s; s = s->next) {
		if (s->rest == 0 || s->closed)
			continue;
		h2->over |= spend(s, s->stale ? s->rest : REST_PER_PULSE) != 0;
		s->stale = true;
		more |= s->rest > 0;
	}
	if (more && timeout_add(&h2->pulse, PULSE_MS) != 0)
		h2->over = true;
	h2_touch(h2);
}
