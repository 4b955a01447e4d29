// SPDX-License-Identifier: BSD-2-Clause
/* What costs a peer little and us much, and is therefore allowed at a rate. Past it the session ends with
 * GOAWAY. nghttp2 counts the RST_STREAMs of a client by itself. */
#include "clock.h"
#include "h2_private.h"

/* Frames that move nothing (PING, SETTINGS, PRIORITY, empty DATA, ...) within CHATTER_SECONDS. */
#define CHATTER_MAX 1000
#define CHATTER_SECONDS 10

static int calm(struct h2 *h2)
{
	return nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM) == 0
		       ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

int h2_flood_frame(struct h2 *h2)
{
	int64_t second = clock_coarse_seconds();

	if (second - h2->chatter_since >= CHATTER_SECONDS) {
		h2->chatter_since = second;
		h2->chatter = 0;
	}
	return ++h2->chatter <= CHATTER_MAX ? 0 : calm(h2);
}

int h2_flood_end(struct h2_stream *s)
{
	struct h2 *h2 = s->h2;
	int64_t second, passed;
	unsigned back;

	if (!h2->server || s->end_sent || s->own_end)
		return 0;
	second = clock_coarse_seconds();
	passed = second - h2->ends_since;
	back = passed < RESET_BURST / RESET_RATE ? (unsigned)passed * RESET_RATE : RESET_BURST;
	h2->ends -= back < h2->ends ? back : h2->ends;
	h2->ends_since = second;
	return ++h2->ends <= RESET_BURST ? 0 : calm(h2);
}
