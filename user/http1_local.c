// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http1.h"

static bool etag_matches(const struct http1_head *head, const char *etag)
{
	for (size_t i = 0; i < head->count; i++)
		if (span_equal_nocase(head->fields[i].name, SPAN("if-none-match")) &&
		    http1_list_has(head->fields[i].value, span_from(etag)))
			return true;
	return false;
}

enum http1_step http1_local_answer(struct http1 *h, struct http1_answer *page)
{
	struct http1_exchange *x = h->exchange;

	page->type = "application/json";
	page->head = span_equal(x->method, SPAN("HEAD"));
	/* A body that nobody will read makes the next request impossible to find. */
	page->close = h->close_after = !x->client_keeps || !x->up.complete;
	x->status = page->status;
	if (!http1_answer_compose(page, &h->answer))
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	h->state = HTTP1_ANSWERING;
	return HTTP1_STEP_NEXT;
}

static enum http1_step allowlist(struct http1 *h, const struct http1_head *head)
{
	const struct config *config = h->connection->proxy->config;
	struct http1_answer page = {.status = 200};
	char etag[2 * sizeof(config->hash) + 3], *text;
	enum http1_step step;
	size_t used = 1;

	etag[0] = '"';
	for (size_t i = 0; i < sizeof(config->hash); i++, used += 2)
		snprintf(etag + used, 3, "%02x", config->hash[i]);
	etag[used++] = '"';
	etag[used] = '\0';
	/* The digest of the sources: who asks again and again gets 304 until a reload has
	 * changed them. */
	page.etag = etag;
	if (etag_matches(head, etag)) {
		page.status = 304;
		return http1_local_answer(h, &page);
	}
	text = policy_describe(config->policy);
	if (!text)
		return http1_fault(h, EGRESS_INTERNAL, "out of memory");
	page.body = span_from(text);
	step = http1_local_answer(h, &page);
	free(text);
	return step;
}

enum http1_step http1_local_page(struct http1 *h, const struct http1_head *head)
{
	struct span path = http1_path(h->exchange->asked.target);
	struct http1_answer health = {.status = 200, .body = SPAN("{\"status\":\"ok\"}\n")};

	/* First: the only page that takes a body, and a method of its own. */
	if (path.length >= strlen(HTTP1_REQUESTS) &&
	    strncmp(path.data, HTTP1_REQUESTS, strlen(HTTP1_REQUESTS)) == 0 &&
	    (path.length == strlen(HTTP1_REQUESTS) || path.data[strlen(HTTP1_REQUESTS)] == '/'))
		return http1_requests_page(h, head, path);
	if (!span_equal(head->method, SPAN("GET")) && !span_equal(head->method, SPAN("HEAD")))
		return http1_refuse(h, EGRESS_METHOD_NOT_ALLOWED, 405, NULL, "GET or HEAD", false);
	/* Unread, it would stand in front of the next request. */
	if (!h->exchange->up.complete)
		return http1_refuse(h, EGRESS_BAD_REQUEST, 0, NULL, "send no body", true);
	if (span_equal(path, SPAN("/allowlist")))
		return allowlist(h, head);
	if (span_equal(path, SPAN("/health")))
		return http1_local_answer(h, &health);
	return http1_refuse(h, EGRESS_PATH_NOT_ALLOWED, 404, NULL, "/allowlist, /health or /requests", false);
}
