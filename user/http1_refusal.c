// SPDX-License-Identifier: BSD-2-Clause
#include "http1_refusal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *phrase(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 202:
		return "Accepted";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	default:
		return "Internal Server Error";
	}
}

bool http1_answer_compose(const struct http1_answer *answer, struct bytes *ret)
{
	if (!bytes_printf(ret, "HTTP/1.1 %u %s\r\n", answer->status, phrase(answer->status)))
		return false;
	/* RFC 9110, 15.4.5: a 304 has no content, and its length would have to be that of the
	 * page, which is not composed for it. */
	if (answer->status != 304 &&
	    !bytes_printf(ret, "Content-Type: %s\r\nContent-Length: %zu\r\n", answer->type,
			  answer->body.length))
		return false;
	if (answer->etag && !bytes_printf(ret, "ETag: %s\r\n", answer->etag))
		return false;
	if (answer->reason && !bytes_printf(ret, "X-Egress-Reason: %s\r\n", answer->reason))
		return false;
	if (answer->id && answer->id[0] &&
	    !bytes_printf(ret, "X-Egress-Request-Id: %s\r\n", answer->id))
		return false;
	/* A cache may keep a 404, 405 or 414 of its own accord (RFC 9110, 15.1), and the policy
	 * may change at any time. */
	if (!bytes_append_text(ret, "Cache-Control: no-store\r\n"))
		return false;
	if (answer->close && !bytes_append_text(ret, "Connection: close\r\n"))
		return false;
	if (!bytes_append_text(ret, "\r\n"))
		return false;
	/* RFC 9110, 9.3.2: the length of what GET would get, and nothing of it. */
	return answer->head || answer->status == 304 ||
	       bytes_append(ret, answer->body.data, answer->body.length);
}

/* Adds a text that may be anything: what is no UTF-8 is left out rather than passed on. */
static void add(json_t *object, const char *key, struct span text)
{
	json_t *value = text.length > 0 ? json_stringn(text.data, text.length) : NULL;

	if (value)
		(void)json_object_set_new(object, key, value);
}

static void add_text(json_t *object, const char *key, const char *text)
{
	if (text)
		add(object, key, span_from(text));
}

static char *describe(const struct http1_refusal *refusal)
{
	json_t *object = json_object();
	char *text;

	add_text(object, "error", "egress_denied");
	add_text(object, "reason", reason_name(refusal->reason));
	add_text(object, "host", refusal->host);
	add(object, "method", refusal->method);
	add(object, "path", refusal->path);
	add_text(object, "detail", refusal->detail);
	add_text(object, "hint", refusal->hint);
	add_text(object, "id", refusal->id);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

unsigned http1_refusal_status(const struct http1_refusal *refusal)
{
	return refusal->status ? refusal->status : (unsigned)reason_status(refusal->reason);
}

bool http1_refusal_compose(const struct http1_refusal *refusal, struct bytes *ret)
{
	struct http1_answer answer = {
		.status = http1_refusal_status(refusal),
		.type = "application/json",
		.reason = reason_name(refusal->reason),
		.id = refusal->id,
		.head = refusal->head,
		.close = refusal->close,
	};
	struct bytes body = {NULL, 0, 0, 0};
	/* By jansson, which escapes: method and path are the client's bytes. */
	char *text = describe(refusal);
	bool fine = text && bytes_append_text(&body, text) && bytes_append_text(&body, "\n");

	answer.body = bytes_span(&body);
	fine = fine && http1_answer_compose(&answer, ret);
	bytes_free(&body);
	free(text);
	return fine;
}
