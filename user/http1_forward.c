// SPDX-License-Identifier: BSD-2-Clause
#include "http1_forward.h"

#include <string.h>

#define OUR_LINES 256 /* start line and framing, without what is the message's own */
#define BODY_ROOM 1024 /* small bodies go out with their head: http1_body's `corked` */

static bool append_span(struct bytes *to, struct span text)
{
	return bytes_append(to, text.data, text.length);
}

static bool is_hop_field(struct span name)
{
	/* X-Egress-* are ours alone: an upstream must not be able to speak for the wall. */
	static span_names names = {
		[2] = {"te"}, [4] = {"host"}, [7] = {"upgrade"}, [10] = {"connection", "keep-alive"},
		[14] = {"content-length", "http2-settings"}, [15] = {"x-egress-reason"},
		[17] = {"transfer-encoding"}, [19] = {"x-egress-request-id"},
	};

	/* What authenticates to a proxy is none of an origin's business (RFC 9110, 11.7.2), and
	 * no origin may ask for it in our name. */
	if (name.length > 6 && (name.data[0] | 0x20) == 'p' &&
	    span_equal_field((struct span){name.data, 6}, SPAN("proxy-")))
		return true;
	return span_is_field_of(name, names);
}

static bool is_nominated(struct span name, const struct span *lists, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (http1_list_has(lists[i], name))
			return true;
	return false;
}

bool http1_drop_hop_fields(struct http1_head *head)
{
	struct span lists[HTTP1_NOMINATIONS_MAX];
	size_t list_count = 0, kept = 0;

	/* Two passes: a field may be nominated behind its own place. */
	for (size_t i = 0; head->nominations > 0 && i < head->count; i++) {
		struct span name = head->fields[i].name, list = head->fields[i].value;

		/* By far the most frequent nomination is dropped by is_hop_field() anyway. */
		if (name.length != 10 || !span_equal_nocase(name, SPAN("connection")) ||
		    span_equal_nocase(list, SPAN("keep-alive")))
			continue;
		if (list_count == HTTP1_NOMINATIONS_MAX)
			return false;
		lists[list_count++] = list;
	}
	for (size_t i = 0; i < head->count; i++) {
		struct span name = head->fields[i].name;

		if (!is_hop_field(name) && !is_nominated(name, lists, list_count))
			head->fields[kept++] = head->fields[i];
	}
	head->count = kept;
	return true;
}

/* As it came, unless it was judged in another form: "host.", "host:0443". */
static bool append_host(struct bytes *to, const struct http1_asked *asked)
{
	struct span authority = asked->authority, name = authority;
	const char *colon = name.data ? memchr(name.data, ':', name.length) : NULL;
	bool say_port = name.data ? colon != NULL : asked->port != (asked->tls ? 443 : 80);

	if (colon)
		name.length = (size_t)(colon - name.data);
	if (span_equal_nocase(name, span_from(asked->host)) && !(colon && colon[1] == '0'))
		return http1_append_field(to, SPAN("Host"), authority);
	if (!say_port)
		return http1_append_field(to, SPAN("Host"), span_from(asked->host));
	return bytes_printf(to, "Host: %s:%u\r\n", asked->host, (unsigned)asked->port);
}

static bool append_framing(struct bytes *to, enum http1_framing framing, uint64_t length)
{
	if (framing == HTTP1_CHUNKED)
		return append_span(to, SPAN("Transfer-Encoding: chunked\r\n"));
	if (framing == HTTP1_LENGTH)
		return append_span(to, SPAN("Content-Length: ")) &&
		       bytes_append_number(to, length) && append_span(to, SPAN("\r\n"));
	return true;
}

static size_t fields_size(const struct http1_head *head)
{
	size_t size = 0;

	for (size_t i = 0; i < head->count; i++)
		size += head->fields[i].name.length + head->fields[i].value.length + 4;
	return size;
}

static bool append_hop_fields(struct bytes *to, const struct http1_head *head, bool upgrade)
{
	if (upgrade)
		return append_span(to, SPAN("Connection: Upgrade\r\n")) &&
		       http1_append_field(to, SPAN("Upgrade"), head->upgrade);
	/* A field of the hop (RFC 9110, 10.1.4), so ours is written with the nomination it
	 * needs. gRPC servers insist on it. */
	if (head->te_trailers)
		return append_span(to, SPAN("Connection: TE\r\nTE: trailers\r\n"));
	return true;
}

bool http1_compose_request(const struct http1_head *head, const struct http1_asked *asked,
			   const struct policy_route *route, bool upgrade, struct bytes *ret)
{
	struct span name, value; /* of the credential */
	size_t size = head->method.length + asked->target.length + asked->authority.length +
		      sizeof(asked->host) + fields_size(head) + head->upgrade.length + OUR_LINES;

	if (!policy_route_credential(route, &name, &value))
		return false;
	/* Room for all of it at once, so that no copy of the credential is left behind by growing. */
	if (!bytes_reserve(ret, size + name.length + value.length) ||
	    !append_span(ret, head->method) || !append_span(ret, SPAN(" ")) ||
	    !append_span(ret, asked->target) || !append_span(ret, SPAN(" HTTP/1.1\r\n")) ||
	    !append_host(ret, asked))
		return false;
	for (size_t i = 0; i < head->count; i++) {
		const struct policy_header *field = &head->fields[i];

		if (!policy_route_strips(route, field->name) &&
		    !http1_append_field(ret, field->name, field->value))
			return false;
	}
	return append_framing(ret, head->framing, head->length) &&
	       append_hop_fields(ret, head, upgrade) &&
	       (name.length == 0 || http1_append_field(ret, name, value)) &&
	       append_span(ret, SPAN("\r\n"));
}

static bool append_said(struct bytes *to, const struct http1_head *head,
			enum http1_connection_field say)
{
	switch (say) {
	case HTTP1_SAY_CLOSE:
		return append_span(to, SPAN("Connection: close\r\n"));
	case HTTP1_SAY_KEEP_ALIVE:
		return append_span(to, SPAN("Connection: keep-alive\r\n"));
	case HTTP1_SAY_UPGRADE:
		return append_span(to, SPAN("Connection: Upgrade\r\n")) &&
		       http1_append_field(to, SPAN("Upgrade"), head->upgrade);
	case HTTP1_SAY_NOTHING:
		break;
	}
	return true;
}

bool http1_compose_response(const struct http1_head *head, bool chunk, bool say_length,
			    enum http1_connection_field say, struct bytes *ret)
{
	enum http1_framing framing = chunk ? HTTP1_CHUNKED : say_length ? HTTP1_LENGTH
									: HTTP1_NO_BODY;

	/* A status has three digits: http1_response_parse(). */
	if (!bytes_reserve(ret, head->phrase.length + fields_size(head) + head->upgrade.length +
					OUR_LINES + BODY_ROOM) ||
	    !append_span(ret, SPAN("HTTP/1.1 ")) || !bytes_append_number(ret, head->status) ||
	    !append_span(ret, SPAN(" ")) || !append_span(ret, head->phrase) ||
	    !append_span(ret, SPAN("\r\n")))
		return false;
	for (size_t i = 0; i < head->count; i++)
		if (!http1_append_field(ret, head->fields[i].name, head->fields[i].value))
			return false;
	return append_framing(ret, framing, head->length) && append_said(ret, head, say) &&
	       append_span(ret, SPAN("\r\n"));
}
