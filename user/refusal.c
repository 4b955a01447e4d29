// SPDX-License-Identifier: BSD-2-Clause
#include "refusal.h"

#include <string.h>

/* The writer and the reader are one binary on one machine. */
struct packed {
	uint64_t id;
	uint32_t reason;
	uint16_t port;
	uint16_t path_cut;
	uint16_t protocol, host, address, method, path; /* lengths, in this order behind it */
};

#define PROTOCOL_MAX 8
#define HOST_MAX (EGRESS_NAME_SIZE - 1)
#define ADDRESS_MAX 63

_Static_assert(sizeof(struct packed) + PROTOCOL_MAX + HOST_MAX + ADDRESS_MAX + REFUSAL_METHOD_MAX +
			       REFUSAL_PATH_MAX <= REFUSAL_PACKED_MAX, "a record fits");

bool refusal_is_pending(enum egress_reason reason)
{
	switch (reason) {
	case EGRESS_HOST_NOT_ALLOWED:
	case EGRESS_ADDRESS_NOT_ALLOWED:
	case EGRESS_PORT_NOT_ALLOWED:
	case EGRESS_PROTOCOL_NOT_ALLOWED:
	case EGRESS_PATH_NOT_ALLOWED:
	case EGRESS_METHOD_NOT_ALLOWED:
	case EGRESS_HEADER_NOT_ALLOWED:
	case EGRESS_AMBIGUOUS_PATH:
	case EGRESS_NAME_MISMATCH:
	case EGRESS_PLAINTEXT_AUTH:
	case EGRESS_PRIVATE_ADDRESS:
		return true;
	default:
		return false;
	}
}

/* ---- what each text may hold ---------------------------------------------------------------- */

static bool all_of(struct span text, const char *more)
{
	for (size_t i = 0; i < text.length; i++) {
		char c = text.data[i];

		/* strchr(3) would find a NUL, too: the one at the end of `more`. */
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    (c == '\0' || !strchr(more, c)))
			return false;
	}
	return true;
}

bool refusal_host_valid(struct span host)
{
	return host.length > 0 && host.length <= HOST_MAX && all_of(host, ".-_");
}

bool refusal_method_valid(struct span method)
{
	return method.length > 0 && method.length <= REFUSAL_METHOD_MAX &&
	       all_of(method, "!#$%&'*+-.^_`|~");
}

static bool is_path_byte(char c)
{
	return c > 0x20 && c < 0x7f && c != '?' && c != '#';
}

bool refusal_path_valid(struct span path)
{
	if (path.length == 0 || path.length > REFUSAL_PATH_MAX || path.data[0] != '/')
		return false;
	for (size_t i = 0; i < path.length; i++)
		if (!is_path_byte(path.data[i]))
			return false;
	return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

static uint16_t put(char **at, struct span text, size_t limit)
{
	/* Left out, not cut: half of a host's name is another host's. */
	if (text.length > limit)
		return 0;
	if (text.length > 0)
		memcpy(*at, text.data, text.length);
	*at += text.length;
	return (uint16_t)text.length;
}

/* Up to the query; says whether that is not the path as it was. */
static uint16_t put_path(char **at, const struct refusal *refusal, uint16_t *ret_cut)
{
	struct span path = refusal->path;
	const char *query = path.length > 0 ? memchr(path.data, '?', path.length) : NULL;
	char *to = *at;

	if (path.length == 0 || path.data[0] != '/')
		return 0;
	/* Tokens stand in queries, and no grant can name one. */
	if (query)
		path.length = (size_t)(query - path.data);
	*ret_cut = path.length > REFUSAL_PATH_MAX;
	if (path.length > REFUSAL_PATH_MAX)
		path.length = REFUSAL_PATH_MAX;
	for (size_t i = 0; i < path.length; i++) {
		bool fine = is_path_byte(path.data[i]);

		*to++ = fine ? path.data[i] : '_';
		*ret_cut |= !fine;
	}
	*at = to;
	return (uint16_t)path.length;
}

size_t refusal_pack(const struct refusal *refusal, char ret[REFUSAL_PACKED_MAX])
{
	struct packed head = {
		.id = refusal->id,
		.reason = refusal->reason,
		.port = refusal->port,
	};
	char *at = ret + sizeof(head);

	head.protocol = put(&at, refusal->protocol, PROTOCOL_MAX);
	if (refusal_host_valid(refusal->host))
		head.host = put(&at, refusal->host, HOST_MAX);
	head.address = put(&at, refusal->address, ADDRESS_MAX);
	if (refusal_method_valid(refusal->method))
		head.method = put(&at, refusal->method, REFUSAL_METHOD_MAX);
	head.path = put_path(&at, refusal, &head.path_cut);
	memcpy(ret, &head, sizeof(head));
	return (size_t)(at - ret);
}

/* ---- reading -------------------------------------------------------------------------------- */

static struct span take(struct span *rest, uint16_t length)
{
	struct span text = {rest->data, length};

	rest->data += length;
	rest->length -= length;
	return text;
}

static bool valid(const struct refusal *r)
{
	if (r->protocol.length > PROTOCOL_MAX || !all_of(r->protocol, "") ||
	    r->address.length > ADDRESS_MAX || !all_of(r->address, ".:"))
		return false;
	return (r->host.length == 0 || refusal_host_valid(r->host)) &&
	       (r->method.length == 0 || refusal_method_valid(r->method)) &&
	       (r->path.length == 0 || refusal_path_valid(r->path));
}

bool refusal_unpack(struct span packed, struct refusal *ret)
{
	struct packed head;
	struct refusal refusal;

	if (packed.length < sizeof(head))
		return false;
	/* Not by a pointer: `packed` is aligned for nothing. */
	memcpy(&head, packed.data, sizeof(head));
	packed.data += sizeof(head);
	packed.length -= sizeof(head);
	/* Lengths of 16 bits, added up in a size_t, do not wrap. */
	if (packed.length != (size_t)head.protocol + head.host + head.address + head.method + head.path ||
	    head.reason >= EGRESS_REASON_COUNT)
		return false;
	refusal = (struct refusal){
		.id = head.id,
		.reason = (enum egress_reason)head.reason,
		.port = head.port,
		.path_cut = head.path_cut != 0,
	};
	refusal.protocol = take(&packed, head.protocol);
	refusal.host = take(&packed, head.host);
	refusal.address = take(&packed, head.address);
	refusal.method = take(&packed, head.method);
	refusal.path = take(&packed, head.path);
	if (!valid(&refusal))
		return false;
	*ret = refusal;
	return true;
}
