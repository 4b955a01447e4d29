// SPDX-License-Identifier: BSD-2-Clause
#include "http1_upgrade.h"

#include <string.h>

#include "websocket.h"

static bool begins(struct span text, struct span prefix)
{
	return text.length >= prefix.length &&
	       span_equal_nocase((struct span){text.data, prefix.length}, prefix);
}

bool http1_may_upgrade(const struct http1_head *head)
{
	struct span name = head->upgrade;
	const char *slash = name.data ? memchr(name.data, '/', name.length) : NULL;

	/* RFC 9110, 7.8: in HTTP/1.0 it is to be ignored. */
	if (!name.data || head->minor == 0 || head->framing != HTTP1_NO_BODY ||
	    begins(name, SPAN("h2")) || begins(name, SPAN("h3")) || begins(name, SPAN("http")) ||
	    begins(name, SPAN("tls")))
		return false;
	if (slash)
		name.length = (size_t)(slash - name.data);
	return http1_is_token(name) && (!slash || http1_is_token((struct span){
		slash + 1, head->upgrade.length - name.length - 1}));
}

static bool has_key(const struct http1_head *head)
{
	for (size_t i = 0; i < head->count; i++)
		if (span_equal_nocase(head->fields[i].name, SPAN("sec-websocket-key")))
			return true;
	return false;
}

static bool answers_key(const struct http1_head *request, const struct http1_head *response)
{
	struct span accept = websocket_field(response->fields, response->count,
					     SPAN("sec-websocket-accept"));
	char wanted[WEBSOCKET_ACCEPT_SIZE];

	return accept.data && websocket_accept(request->fields, request->count, wanted) &&
	       span_equal(accept, span_from(wanted));
}

bool http1_did_upgrade(const struct http1_head *request, const struct http1_head *response)
{
	if (!request->upgrade.data || !response->upgrade.data ||
	    !span_equal_nocase(request->upgrade, response->upgrade))
		return false;
	return !span_equal_nocase(request->upgrade, SPAN("websocket")) || !has_key(request) ||
	       answers_key(request, response);
}
