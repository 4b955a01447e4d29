// SPDX-License-Identifier: BSD-2-Clause
/* Sidecar to browser, without a look at what it is. Who reads too slowly holds up this exchange alone:
 * what it does not take stays in the sidecar's feed, which loses and counts. */
#include "ui_private.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)4 << 20)
#define ANSWER_TIMEOUT_S 30 /* a permission is answered when it is in force: after a reload */
#define READ_SIZE 65536
#define LINE_MAX_SIZE ((size_t)16384)
#define BACKLOG ((size_t)256 * 1024)
#define SLOW_S 60 /* without taking a byte of a full backlog */

struct exchange {
	struct ui_http *http;
	struct evhttp_request *request;
	struct event *reading;
	struct evbuffer *in;
	bool streams;
	int fd;
};

/* The only end there is. A request whose connection is gone is freed by being answered
 * (evhttp_send_reply_end() of libevent 2.1). */
static void release(struct exchange *e)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(e->request);

	if (connection)
		evhttp_connection_set_closecb(connection, NULL, NULL);
	e->http->exchanges--;
	e->http->streams -= e->streams;
	if (e->reading)
		event_free(e->reading);
	if (e->in)
		evbuffer_free(e->in);
	close(e->fd);
	free(e);
}

static void on_close(struct evhttp_connection *connection, void *context)
{
	struct exchange *e = context;
	struct evhttp_request *request = e->request;

	(void)connection;
	release(e);
	evhttp_send_reply_end(request);
}

/* NULL: it was refused, and `fd` is closed. */
static struct exchange *begin(struct ui_http *http, struct evhttp_request *request, int fd,
			      event_callback_fn on_readable)
{
	struct exchange *e = http->exchanges < UI_EXCHANGES_MAX ? calloc(1, sizeof(*e)) : NULL;

	if (!e) {
		close(fd);
		ui_http_reply_error(request, HTTP_SERVUNAVAIL, "too many at once");
		return NULL;
	}
	http->exchanges++;
	*e = (struct exchange){.http = http, .request = request, .fd = fd, .in = evbuffer_new()};
	(void)evutil_make_socket_nonblocking(fd);
	e->reading = event_new(http->base, fd, EV_READ | EV_PERSIST, on_readable, e);
	if (!e->in || !e->reading) {
		release(e);
		ui_http_reply_error(request, HTTP_SERVUNAVAIL, "out of memory");
		return NULL;
	}
	evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_close, e);
	return e;
}

/* ---- an answer ------------------------------------------------------------------------------------- */

static void end_answer(struct exchange *e, const char *error)
{
	struct evhttp_request *request = e->request;
	struct evbuffer *body = error ? NULL : e->in;

	if (!error)
		e->in = NULL;
	/* The exchange before the reply: sending it may close the connection, whose callback would
	 * free it a second time. */
	release(e);
	if (error)
		ui_http_reply_error(request, HTTP_SERVUNAVAIL, error);
	else
		ui_http_reply(request, HTTP_OK, "application/json", body);
}

static void on_answer(evutil_socket_t fd, short what, void *context)
{
	struct exchange *e = context;
	int count = (what & EV_TIMEOUT) ? -1 : evbuffer_read(e->in, fd, READ_SIZE);

	if (what & EV_TIMEOUT)
		end_answer(e, "the sidecar does not answer");
	else if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	else if (count < 0 || evbuffer_get_length(e->in) > ANSWER_MAX)
		end_answer(e, "the sidecar's answer is none");
	else if (count == 0)
		end_answer(e, evbuffer_get_length(e->in) > 0 ? NULL : "the sidecar does not let us ask");
}

/* epoll(7) has no use for a file, and it is all there. */
static bool is_file(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static void answer_from_file(struct evhttp_request *request, int fd)
{
	struct evbuffer *body = evbuffer_new();
	off_t size = lseek(fd, 0, SEEK_END);
	bool fine = body && size > 0 && lseek(fd, 0, SEEK_SET) == 0;

	while (fine && evbuffer_get_length(body) < (size_t)size)
		fine = evbuffer_read(body, fd, READ_SIZE) > 0;
	close(fd);
	if (fine) {
		ui_http_reply(request, HTTP_OK, "application/json", body);
		return;
	}
	if (body)
		evbuffer_free(body);
	ui_http_reply_error(request, HTTP_SERVUNAVAIL, "cannot read the bottle's state");
}

void ui_exchange_answer(struct ui_http *http, struct evhttp_request *request, int fd)
{
	const struct timeval patience = {ANSWER_TIMEOUT_S, 0};
	struct exchange *e;

	if (is_file(fd)) {
		answer_from_file(request, fd);
		return;
	}
	e = begin(http, request, fd, on_answer);
	if (e && event_add(e->reading, &patience) < 0)
		end_answer(e, "out of memory");
}

/* ---- a stream -------------------------------------------------------------------------------------- */

static void end_stream(struct exchange *e)
{
	struct evhttp_request *request = e->request;

	release(e);
	evhttp_send_reply_end(request);
}

static size_t backlog(struct exchange *e)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(e->request);

	return evbuffer_get_length(
		bufferevent_get_output(evhttp_connection_get_bufferevent(connection)));
}

/* All was taken: on with it. */
static void on_drained(struct evhttp_connection *connection, void *context)
{
	struct exchange *e = context;

	(void)connection;
	if (event_add(e->reading, NULL) < 0)
		end_stream(e);
}

/* The sidecar's lines hold no control character (control.c), so that none ends an event early. */
static bool send_lines(struct exchange *e)
{
	struct evbuffer *out = evbuffer_new();
	size_t length;
	char *line;
	bool fine = out;

	while (fine && (line = evbuffer_readln(e->in, &length, EVBUFFER_EOL_LF))) {
		fine = evbuffer_add(out, "data: ", 6) == 0 && evbuffer_add(out, line, length) == 0 &&
		       evbuffer_add(out, "\n\n", 2) == 0;
		free(line);
	}
	if (fine && evbuffer_get_length(out) > 0)
		evhttp_send_reply_chunk_with_cb(e->request, out, on_drained, e);
	if (out)
		evbuffer_free(out);
	/* What has no line's end by then is none of the sidecar's lines. */
	return fine && evbuffer_get_length(e->in) <= LINE_MAX_SIZE;
}

static void on_lines(evutil_socket_t fd, short what, void *context)
{
	struct exchange *e = context;
	int count = evbuffer_read(e->in, fd, READ_SIZE);

	(void)what;
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0 || !send_lines(e)) {
		end_stream(e);
		return;
	}
	if (backlog(e) > BACKLOG)
		event_del(e->reading);
}

void ui_exchange_stream(struct ui_http *http, struct evhttp_request *request, int fd)
{
	struct exchange *e = begin(http, request, fd, on_lines);
	const struct timeval slow = {SLOW_S, 0};
	struct bufferevent *bev;
	int size = BACKLOG;

	if (!e)
		return;
	e->streams = true;
	http->streams++;
	bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
	/* The browser says nothing more for hours; but what we say it has to take. */
	bufferevent_set_timeouts(bev, NULL, &slow);
	/* The kernel would keep megabytes for who does not read: old news, and not counted as lost. */
	(void)setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	ui_http_add_headers(request, "text/event-stream");
	evhttp_send_reply_start(request, HTTP_OK, "OK");
	if (event_add(e->reading, NULL) < 0)
		end_stream(e);
}
