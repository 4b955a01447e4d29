// SPDX-License-Identifier: BSD-2-Clause
/* The page on which a bottle asks to be allowed something, and hears what became of it. It never
 * decides: what it says is shown to an operator. Here its bytes are read, and become fields. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http1.h"

#define BODY_MAX 4096

static enum http1_step say(struct http1 *h, unsigned status, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	struct http1_answer page = {.status = status, .body = span_from(text ? text : "{}")};
	enum http1_step step = http1_local_answer(h, &page);

	free(text);
	json_decref(object);
	return step;
}

static enum http1_step complain(struct http1 *h, unsigned status, const char *detail)
{
	return say(h, status, json_pack("{s:s, s:s}", "error", "bad_request", "detail", detail));
}

/* ---- what it asks for ------------------------------------------------------------------------------ */

static bool set(char *to, size_t size, const char *text)
{
	return !text || (size_t)snprintf(to, size, "%s", text) < size;
}

static bool set_span(char *to, size_t size, struct span text)
{
	if (text.length >= size)
		return false;
	memcpy(to, text.data, text.length);
	return true;
}

/* "https://host:port/path?query": the query is not part of what is allowed. */
static bool set_url(struct ask *ask, const char *url)
{
	bool tls = strncmp(url, "https://", 8) == 0;
	const char *host, *path, *colon;
	struct span name, where;

	if (!tls && strncmp(url, "http://", 7) != 0)
		return false;
	host = url + (tls ? 8 : 7);
	path = host + strcspn(host, "/?#");
	colon = memchr(host, ':', (size_t)(path - host));
	name = (struct span){host, (size_t)((colon ? colon : path) - host)};
	where = (struct span){*path == '/' ? path : "/", *path == '/' ? strcspn(path, "?#") : 1};
	ask->tls = tls;
	ask->port = tls ? 443 : 80;
	if (colon && !span_port((struct span){colon + 1, (size_t)(path - colon - 1)}, &ask->port))
		return false;
	return set_span(ask->host, sizeof(ask->host), name) &&
	       set_span(ask->path, sizeof(ask->path), where);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* NULL, or what is wrong with it. */
static const char *read_fields(const json_t *object, struct ask *ask)
{
	const char *url = text_of(object, "url"), *reason = text_of(object, "reason");
	const json_t *port = json_object_get(object, "port");
	json_int_t number = json_is_integer(port) ? json_integer_value(port) : 443;

	if (url && (text_of(object, "host") || text_of(object, "path") || port))
		return "say url, or host, port and path";
	if (url && !set_url(ask, url))
		return "url: say http://HOST[:PORT]/PATH or https://";
	if (!url) {
		if (number < 1 || number > UINT16_MAX)
			return "port: say 1 to 65535";
		ask->port = (uint16_t)number;
		ask->tls = number != 80;
	}
	if (!set(ask->host, sizeof(ask->host), text_of(object, "host")) ||
	    !set(ask->method, sizeof(ask->method), text_of(object, "method")) ||
	    !set(ask->path, sizeof(ask->path), text_of(object, "path")))
		return "host, method or path is too long";
	ask_set_reason(ask, span_from(reason ? reason : ""));
	return ask_fault(ask);
}

static enum http1_step tell(struct http1 *h, const struct ask_answer *answer, bool asked)
{
	switch (answer->state) {
	case ASK_BUSY:
		return say(h, 429, json_pack("{s:s, s:s}", "error", "limit", "detail",
					     "too many requests wait, or came at once: try later"));
	case ASK_INVALID:
		return complain(h, 400, "host: no grant opens a raw address");
	case ASK_UNKNOWN:
		return say(h, 404, json_pack("{s:s}", "error", "unknown"));
	default:
		return say(h, asked ? 202 : 200, json_pack("{s:s, s:s}", "id", answer->id, "state",
							   ask_state_name(answer->state)));
	}
}

static enum http1_step take(struct http1 *h, struct span body)
{
	const struct proxy *proxy = h->connection->proxy;
	/* Which of two keys of one name was meant nobody knows. */
	json_t *object = json_loadb(body.data, body.length, JSON_REJECT_DUPLICATES, NULL);
	struct ask_answer answer;
	struct ask ask = {0};
	const char *fault;

	fault = json_is_object(object) ? read_fields(object, &ask)
				       : "say one JSON object: host, method, path (or url), reason";
	json_decref(object);
	if (fault)
		return complain(h, 400, fault);
	/* The supervisor looks at each field again, for we may have been taken over. */
	if (!proxy->ask || proxy->ask(proxy->ask_context, &ask, &answer) < 0)
		return say(h, 503, json_pack("{s:s}", "error", "nobody listens"));
	return tell(h, &answer, true);
}

/* ---- its body -------------------------------------------------------------------------------------- */

/* Framed, it ends with its stream; else when so much came as its head said. */
static bool is_whole(const struct http1 *h)
{
	return h->framed ? h->client_eof : h->in.length >= h->exchange->up.remaining;
}

enum http1_step http1_gather(struct http1 *h)
{
	struct http1_exchange *x = h->exchange;
	enum http1_step step;
	size_t length;
	ssize_t n;

	if (!is_whole(h)) {
		n = http1_read(h->connection, h->client, &h->in);
		if (n == 0 && h->framed)
			h->client_eof = true;
		else if (n == -EAGAIN)
			return HTTP1_STEP_WAIT;
		else if (n <= 0)
			return http1_fault(h, n == -ENOMEM ? EGRESS_INTERNAL : EGRESS_ALLOWED,
					   "client closed");
		return h->framed && h->in.length > BODY_MAX ? complain(h, 413, "send at most 4096 bytes")
							     : HTTP1_STEP_NEXT;
	}
	/* Behind it may be the next request, pipelined. */
	length = h->framed ? h->in.length : (size_t)x->up.remaining;
	/* Read whole: http1_local_answer() may keep the connection. */
	x->up.complete = true;
	x->up.remaining = 0;
	step = take(h, (struct span){bytes_span(&h->in).data, length});
	bytes_consume(&h->in, length);
	return step;
}

static enum http1_step begin(struct http1 *h, const struct http1_head *head)
{
	struct http1_exchange *x = h->exchange;

	if (x->up.complete)
		return complain(h, 400, "send a body of JSON");
	/* Chunks are taken apart on their way to a sink (http1_body_pump()), and here is none. */
	if (!h->framed && head->framing != HTTP1_LENGTH)
		return complain(h, 411, "send Content-Length");
	if (!h->framed && x->up.remaining > BODY_MAX)
		return complain(h, 413, "send at most 4096 bytes");
	h->state = HTTP1_GATHERING;
	return HTTP1_STEP_NEXT;
}

enum http1_step http1_requests_page(struct http1 *h, const struct http1_head *head, struct span path)
{
	const struct proxy *proxy = h->connection->proxy;
	struct span id = {path.data + strlen(HTTP1_REQUESTS), path.length - strlen(HTTP1_REQUESTS)};
	struct ask_answer answer;
	char text[ASK_ID_SIZE] = "";

	if (id.length == 0 && span_equal(head->method, SPAN("POST")))
		return begin(h, head);
	if (id.length < 2 || id.data[0] != '/' || id.length - 1 >= sizeof(text) ||
	    !span_equal(head->method, SPAN("GET")))
		return http1_refuse(h, EGRESS_METHOD_NOT_ALLOWED, 405, NULL,
				    "POST " HTTP1_REQUESTS ", or GET " HTTP1_REQUESTS "/ID", false);
	memcpy(text, id.data + 1, id.length - 1);
	if (!proxy->ask_state || proxy->ask_state(proxy->ask_context, text, &answer) < 0)
		return say(h, 503, json_pack("{s:s}", "error", "nobody listens"));
	return tell(h, &answer, false);
}
