/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the process that speaks HTTP share, and nobody else. */
#ifndef UI_PRIVATE_H
#define UI_PRIVATE_H

#include <event2/http.h>
#include <time.h>

#include "ui_guard.h"

/* At once, of one browser: more are its mistake. */
#define UI_EXCHANGES_MAX 32

#define UI_EXIT_IDLE 3

struct ui_http {
	struct event_base *base;
	struct ui_session session;
	int pair;	       /* to the process with rights: ui_ask() */
	unsigned exchanges;    /* answers and streams under way */
	unsigned streams;      /* of those */
	unsigned idle_s;
	time_t seen; /* CLOCK_MONOTONIC: when the page was last there */
};

/* Never returns: the process becomes nobody and serves at `listener` until it is killed, or ends with
 * UI_EXIT_IDLE. One byte to `pair` says that it serves. `http` has session, pair and idle_s set. */
NORETURN void ui_http_run(struct ui_http *http, int listener, pid_t parent);

/* Answers with `body` (taken over; NULL: nothing) and the headers that every answer of ours has. */
void ui_http_reply(struct evhttp_request *request, int status, const char *type,
		   struct evbuffer *body);
void ui_http_reply_error(struct evhttp_request *request, int status, const char *text);
void ui_http_add_headers(struct evhttp_request *request, const char *type);

/* ---- ui_exchange.c: what a descriptor gives, handed to the browser ------------------------------ */

/* All of it, when it has ended. Both take `fd` over. */
void ui_exchange_answer(struct ui_http *http, struct evhttp_request *request, int fd);
/* Each line as a server-sent event, as long as there are any. */
void ui_exchange_stream(struct ui_http *http, struct evhttp_request *request, int fd);

#endif
