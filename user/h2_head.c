// SPDX-License-Identifier: BSD-2-Clause
#include "h2_head.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define KEY_BYTES 16 /* of Sec-WebSocket-Key (RFC 6455, 4.1) */
/* By HPACK a field of 4 KiB costs a peer one byte: what is above this is not even looked at. Who is above
 * what a head may have, and below this, is answered with 431. */
#define BLOCK_MAX (4 * HTTP1_HEAD_MAX)
#define FIELD_COST 32

static struct span span_of(nghttp2_rcbuf *buffer)
{
	nghttp2_vec vec;

	if (!buffer)
		return (struct span){NULL, 0};
	vec = nghttp2_rcbuf_get_buf(buffer);
	return (struct span){(const char *)vec.base, vec.len};
}

/* ---- what came ------------------------------------------------------------------------------ */

static void keep(nghttp2_rcbuf **place, nghttp2_rcbuf *value)
{
	if (*place)
		nghttp2_rcbuf_decref(*place);
	nghttp2_rcbuf_incref(value);
	*place = value;
}

static bool has_blank(struct span text)
{
	return text.length > 0 && (memchr(text.data, ' ', text.length) ||
				   memchr(text.data, '\t', text.length));
}

static bool keep_pseudo(struct h2_block *block, struct span name, nghttp2_rcbuf *value)
{
	static const struct span names[H2_PSEUDO_COUNT] = {
		[H2_METHOD] = {":method", 7},	      [H2_SCHEME] = {":scheme", 7},
		[H2_AUTHORITY] = {":authority", 10},  [H2_PATH] = {":path", 5},
		[H2_PROTOCOL] = {":protocol", 9},     [H2_STATUS] = {":status", 7},
	};
	struct span text = span_of(value);

	/* In a head they stand between blanks. */
	if (!http1_is_value(text) || has_blank(text))
		return false;
	for (size_t i = 0; i < H2_PSEUDO_COUNT; i++) {
		if (!span_equal(name, names[i]))
			continue;
		/* nghttp2 refuses a second one; so do we. */
		if (block->pseudo[i])
			return false;
		keep(&block->pseudo[i], value);
		return true;
	}
	return false;
}

/* What would frame the message in HTTP/1 is no field of HTTP/2 (RFC 9113, 8.2.2). */
static bool is_connection_field(struct span name)
{
	static span_names names = {
		[7] = {"upgrade"}, [10] = {"connection", "keep-alive"}, [14] = {"http2-settings"},
		[16] = {"proxy-connection"}, [17] = {"transfer-encoding"},
	};

	return span_is_one_of(name, names);
}

bool h2_block_count(struct h2_block *block, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
	block->size += span_of(name).length + span_of(value).length + FIELD_COST;
	return block->size <= BLOCK_MAX;
}

bool h2_block_add(struct h2_block *block, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
	struct span n = span_of(name), v = span_of(value);

	if (!h2_block_count(block, name, value))
		return false;
	if (n.length > 0 && n.data[0] == ':')
		return keep_pseudo(block, n, value);
	v = span_trim(v);
	if (!http1_is_token(n) || !http1_is_value(v) || is_connection_field(n))
		return false;
	/* One more than allowed is kept, so that whoever parses the head says that it is too long. */
	if (block->fields.length + block->cookie.length > HTTP1_HEAD_MAX)
		return true;
	if (span_equal(n, SPAN("host"))) {
		if (block->host)
			return false;
		keep(&block->host, value);
		return true;
	}
	/* RFC 9113, 8.2.3: HTTP/2 may cut it into crumbs, HTTP/1.1 knows one field. */
	if (span_equal(n, SPAN("cookie")))
		return (block->cookie.length == 0 || bytes_append(&block->cookie, "; ", 2)) &&
		       bytes_append(&block->cookie, v.data, v.length);
	/* HTTP/1.1's halves of a handshake that HTTP/2 has no use for (RFC 8441, 5); next to ours they
	 * would be a second key or answer. */
	if (span_equal(n, SPAN("sec-websocket-key")) || span_equal(n, SPAN("sec-websocket-accept")))
		return true;
	if (span_equal(n, SPAN("content-length")))
		block->has_length = true;
	return http1_append_field(&block->fields, n, v);
}

static bool append_span(struct bytes *to, struct span text)
{
	return bytes_append(to, text.data, text.length);
}

/* Behind the start line: fields, framing, the empty line. */
static bool append_rest(const struct h2_block *block, bool unknown_length, struct bytes *to)
{
	struct span cookie = bytes_span(&block->cookie);

	return append_span(to, bytes_span(&block->fields)) &&
	       (cookie.length == 0 || http1_append_field(to, SPAN("cookie"), cookie)) &&
	       (!unknown_length || append_span(to, SPAN("transfer-encoding: chunked\r\n"))) &&
	       append_span(to, SPAN("\r\n"));
}

static bool append_upgrade(struct span protocol, struct bytes *to)
{
	unsigned char key[KEY_BYTES];
	char text[4 * ((KEY_BYTES + 2) / 3) + 1];

	/* RFC 8441, 5 has no key, but an origin with HTTP/1.1 insists on one. */
	if (RAND_bytes(key, sizeof(key)) != 1)
		return false;
	EVP_EncodeBlock((unsigned char *)text, key, sizeof(key));
	return append_span(to, SPAN("connection: upgrade\r\n")) &&
	       http1_append_field(to, SPAN("upgrade"), protocol) &&
	       http1_append_field(to, SPAN("sec-websocket-key"), span_from(text));
}

static bool append_target(const struct h2_block *block, bool tls, struct bytes *to)
{
	struct span scheme = span_of(block->pseudo[H2_SCHEME]);
	struct span authority = span_of(block->pseudo[H2_AUTHORITY]);
	struct span path = span_of(block->pseudo[H2_PATH]), host = span_of(block->host);
	bool plain = span_equal_nocase(scheme, tls ? SPAN("https") : SPAN("http"));

	/* Where scheme and authority say something else than the connection and Host, they go
	 * into an absolute-form: http1_target() refuses what contradicts. */
	if (plain && (!host.data || !authority.data || span_equal_nocase(host, authority)))
		return append_span(to, path);
	return append_span(to, scheme) && append_span(to, SPAN("://")) &&
	       append_span(to, authority) && append_span(to, path);
}

bool h2_block_request(const struct h2_block *block, bool tls, bool end, bool *ret_switching,
		      struct bytes *ret)
{
	struct span method = span_of(block->pseudo[H2_METHOD]);
	struct span protocol = span_of(block->pseudo[H2_PROTOCOL]);
	struct span host = span_of(block->host);
	bool switching = span_equal_nocase(protocol, SPAN("websocket")) && !end &&
			 span_equal(method, SPAN("CONNECT"));
	/* Only CONNECT has none (RFC 9113, 8.5): its target is the authority. */
	bool has_path = block->pseudo[H2_PATH] != NULL;

	if (!host.data)
		host = span_of(block->pseudo[H2_AUTHORITY]);
	/* Anything else than a WebSocket we could not translate, and would not know what to
	 * judge by. */
	if (protocol.data && !switching)
		return false;
	if (!append_span(ret, switching ? SPAN("GET") : method) || !append_span(ret, SPAN(" ")) ||
	    !(has_path ? append_target(block, tls, ret)
		       : append_span(ret, span_of(block->pseudo[H2_AUTHORITY]))) ||
	    !append_span(ret, SPAN(" HTTP/1.1\r\n")) ||
	    (host.data && !http1_append_field(ret, SPAN("host"), host)) ||
	    (switching && !append_upgrade(protocol, ret)))
		return false;
	*ret_switching = switching;
	return append_rest(block, !end && !block->has_length && !switching && has_path, ret);
}

/* To whoever asked by HTTP/1.1's upgrade, the WebSocket is open with 101 and nothing else. */
static bool append_switched(const struct h2_block *block, const char *accept, struct bytes *to)
{
	return append_span(to, SPAN("HTTP/1.1 101 Switching Protocols\r\n"
				    "connection: upgrade\r\nupgrade: websocket\r\n")) &&
	       http1_append_field(to, SPAN("sec-websocket-accept"), span_from(accept)) &&
	       append_rest(block, false, to);
}

bool h2_block_response(const struct h2_block *block, bool end, const char *accept,
		       unsigned *ret_status, struct bytes *ret)
{
	struct span status = span_of(block->pseudo[H2_STATUS]);
	unsigned number = 0;

	/* Whether these are digits, http1_response_parse() will say: the head is parsed again. */
	if (status.length != 3)
		return false;
	for (size_t i = 0; i < 3; i++)
		number = number * 10 + (unsigned)(status.data[i] - '0');
	*ret_status = number;
	if (accept && number / 100 == 2)
		return append_switched(block, accept, ret);
	return append_span(ret, SPAN("HTTP/1.1 ")) && append_span(ret, status) &&
	       append_span(ret, SPAN(" \r\n")) &&
	       append_rest(block, !end && !block->has_length && number >= 200, ret);
}

void h2_block_clear(struct h2_block *block)
{
	for (size_t i = 0; i < H2_PSEUDO_COUNT; i++)
		if (block->pseudo[i])
			nghttp2_rcbuf_decref(block->pseudo[i]);
	if (block->host)
		nghttp2_rcbuf_decref(block->host);
	bytes_wipe(&block->fields);
	bytes_wipe(&block->cookie);
	*block = (struct h2_block){.host = NULL};
}

/* ---- what goes out -------------------------------------------------------------------------- */

/* Only these enter a peer's table of fields: of any other the value may be a secret. */
static bool may_index(struct span name)
{
	static span_names names = {
		[2] = {"te"}, [4] = {"date", "vary"}, [6] = {"accept", "server"},
		[7] = {":method", ":scheme", ":status"}, [10] = {":authority", "user-agent"},
		[11] = {"grpc-status"}, [12] = {"content-type"},
		[13] = {"accept-ranges", "cache-control", "grpc-encoding"},
		[15] = {"accept-encoding", "accept-language"},
		[16] = {"content-encoding"}, [20] = {"grpc-accept-encoding"},
	};

	return span_is_one_of(name, names);
}

/* nghttp2 copies both, and turns the name into lower case. */
static void put(struct h2_fields *fields, struct span name, struct span value)
{
	fields->nv[fields->count++] = (nghttp2_nv){
		.name = (uint8_t *)name.data,
		.namelen = name.length,
		.value = (uint8_t *)value.data,
		.valuelen = value.length,
		.flags = may_index(name) ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX,
	};
}

/* RFC 8441, 5: the answer to a handshake's key has no place in HTTP/2. */
static bool is_accept(struct span name)
{
	return name.length == 20 && span_equal_nocase(name, SPAN("sec-websocket-accept"));
}

static void put_all(struct h2_fields *fields, const struct http1_head *head, bool switching)
{
	for (size_t i = 0; i < head->count; i++) {
		struct span name = head->fields[i].name;

		if (!is_connection_field(name) &&
		    !(name.length == 4 && span_equal_nocase(name, SPAN("host"))) &&
		    !is_accept(name) &&
		    !(switching && span_equal_nocase(name, SPAN("sec-websocket-key"))))
			put(fields, name, head->fields[i].value);
	}
}

/* The only Upgrade there can be is the one that http1_forward.c wrote: a client's is dropped with the
 * other fields of the hop. */
bool h2_asks_upgrade(struct span text)
{
	return memmem(text.data, text.length, "\r\nUpgrade: ", 11) != NULL;
}

bool h2_fields_request(struct span text, bool switching, struct h2_fields *ret,
		       char ret_accept[WEBSOCKET_ACCEPT_SIZE])
{
	struct policy_header lines[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = lines};

	if (http1_request_parse(text, NULL, &head) != 0 || !head.host.data)
		return false;
	if (switching && (!span_equal_nocase(head.upgrade, SPAN("websocket")) ||
			  !websocket_accept(head.fields, head.count, ret_accept)))
		return false;
	ret->count = 0;
	put(ret, SPAN(":method"), switching ? SPAN("CONNECT") : head.method);
	if (switching)
		put(ret, SPAN(":protocol"), SPAN("websocket"));
	/* HTTP/2 is agreed on in TLS (ALPN) and nowhere else. */
	put(ret, SPAN(":scheme"), SPAN("https"));
	put(ret, SPAN(":authority"), head.host);
	put(ret, SPAN(":path"), head.target);
	put_all(ret, &head, switching);
	return true;
}

static void put_status(struct h2_fields *fields, unsigned status)
{
	for (unsigned i = 0, rest = status; i < 3; i++, rest /= 10)
		fields->status[2 - i] = (char)('0' + rest % 10);
	put(fields, SPAN(":status"), (struct span){fields->status, 3});
}

static void put_length(struct h2_fields *fields, uint64_t length)
{
	size_t at = sizeof(fields->length);

	do
		fields->length[--at] = (char)('0' + length % 10);
	while (length /= 10);
	put(fields, SPAN("content-length"),
	    (struct span){fields->length + at, sizeof(fields->length) - at});
}

void h2_fields_head(const struct http1_head *head, bool say_length, struct h2_fields *ret)
{
	ret->count = 0;
	put_status(ret, head->status);
	for (size_t i = 0; i < head->count; i++)
		if (!is_accept(head->fields[i].name))
			put(ret, head->fields[i].name, head->fields[i].value);
	if (say_length)
		put_length(ret, head->length);
}

bool h2_fields_response(struct span text, bool switching, unsigned *ret_status,
			struct h2_fields *ret)
{
	struct policy_header lines[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = lines};

	if (http1_response_parse(text, NULL, &head) != 0)
		return false;
	/* HTTP/2 has no 101 (RFC 9113, 8.6): a tunnel is open with 200 (RFC 8441, 5). */
	if (head.status == 101 && switching)
		head.status = 200;
	ret->count = 0;
	put_status(ret, head.status);
	put_all(ret, &head, false);
	*ret_status = head.status;
	return true;
}

bool h2_fields_trailers(struct span lines, struct h2_fields *ret)
{
	ret->count = 0;
	while (lines.length > 0 && ret->count < HTTP1_FIELDS_MAX) {
		const char *end = memchr(lines.data, '\n', lines.length);
		const char *colon = memchr(lines.data, ':', lines.length);
		size_t length = end ? (size_t)(end - lines.data) : 0;

		if (length < 3 || !colon || colon > end || end[-1] != '\r')
			return false;
		put(ret, (struct span){lines.data, (size_t)(colon - lines.data)},
		    span_trim((struct span){colon + 1, (size_t)(end - colon) - 2}));
		lines.data += length + 1;
		lines.length -= length + 1;
	}
	return lines.length == 0;
}
