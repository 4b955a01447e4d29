// SPDX-License-Identifier: BSD-2-Clause
#include "http1_target.h"

#include <string.h>

/* "host", "host:port", "[v6]:port". */
struct authority {
	char host[EGRESS_NAME_SIZE]; /* "" for an address */
	bool literal, has_port;
	uint16_t port;
	struct egress_address address;
};

static bool parse_host(struct span text, struct authority *ret)
{
	char name[EGRESS_NAME_SIZE];

	if (text.length == 0 || text.length >= sizeof(name))
		return false;
	memcpy(name, text.data, text.length);
	name[text.length] = '\0';
	ret->literal = address_parse(name, &ret->address);
	return ret->literal || policy_normalise_host(text, ret->host);
}

static bool parse_authority(struct span text, struct authority *ret)
{
	struct span host = text, port;
	const char *end;

	*ret = (struct authority){.literal = false};
	if (text.length > 0 && text.data[0] == '[') {
		end = memchr(text.data, ']', text.length);
		if (!end)
			return false;
		host = (struct span){text.data + 1, (size_t)(end - text.data) - 1};
		port = (struct span){end + 1, text.length - host.length - 2};
		/* RFC 3986, 3.2.2: in brackets stand addresses of IPv6. "[name]" is read in two
		 * ways. */
		if (!memchr(host.data, ':', host.length))
			return false;
	} else {
		end = memchr(text.data, ':', text.length);
		host.length = end ? (size_t)(end - text.data) : text.length;
		port = (struct span){text.data + host.length, text.length - host.length};
	}
	if (port.length > 0) {
		if (port.data[0] != ':' ||
		    !span_port((struct span){port.data + 1, port.length - 1}, &ret->port))
			return false;
		ret->has_port = true;
	}
	return parse_host(host, ret);
}

struct span http1_path(struct span target)
{
	const char *query = target.length ? memchr(target.data, '?', target.length) : NULL;

	return (struct span){target.data,
			     query ? (size_t)(query - target.data) : target.length};
}

/* To the letter the name that is known, which was normalised. No address ends in a letter but one of
 * IPv6, and that has colons. */
static bool is_known_name(struct span text, const char *host)
{
	size_t length = strlen(host);
	char last = length > 0 ? host[length - 1] : '\0';

	return last >= 'a' && last <= 'z' && span_equal(text, (struct span){host, length});
}

/* The Host field against a name that is known; a missing port is no contradiction. */
static enum egress_reason check_host(const struct http1_head *head, const char *host, uint16_t port)
{
	struct authority named;

	if (!head->host.data)
		/* RFC 9112, 3.2: HTTP/1.0 may leave it out, and the connection's name stands. */
		return head->minor == 0 ? EGRESS_ALLOWED : EGRESS_BAD_REQUEST;
	if (is_known_name(head->host, host))
		return EGRESS_ALLOWED;
	if (!parse_authority(head->host, &named))
		return EGRESS_BAD_REQUEST;
	if (named.literal || strcmp(named.host, host) != 0 ||
	    (named.has_port && named.port != port))
		return EGRESS_NAME_MISMATCH;
	return EGRESS_ALLOWED;
}

/* Only OPTIONS may ask for the server as a whole. */
static bool is_origin_form(const struct http1_head *head)
{
	return head->target.data[0] == '/' || (span_equal(head->target, SPAN("*")) &&
					       span_equal(head->method, SPAN("OPTIONS")));
}

/* scheme://authority/path; false for another scheme, user names, and a query without a path. */
static bool split_absolute(struct span target, struct span scheme, struct span *ret_authority,
			   struct span *ret_origin)
{
	struct span rest, authority;
	const char *slash;

	if (target.length <= scheme.length ||
	    !span_equal_nocase((struct span){target.data, scheme.length}, scheme))
		return false;
	rest = (struct span){target.data + scheme.length, target.length - scheme.length};
	slash = memchr(rest.data, '/', rest.length);
	authority = (struct span){rest.data, slash ? (size_t)(slash - rest.data) : rest.length};
	if (memchr(authority.data, '?', authority.length))
		return false;
	*ret_authority = authority;
	*ret_origin = slash ? (struct span){slash, rest.length - authority.length} : SPAN("/");
	return true;
}

/* Servers must take the absolute-form too (RFC 9112 section 3.2.2): it has to name this host. */
static enum egress_reason steered_absolute(const struct http1_context *context,
					   const struct http1_head *head, struct http1_asked *ret,
					   const char **ret_hint)
{
	struct span scheme = context->tls ? SPAN("https://") : SPAN("http://");
	struct authority named;

	if (!split_absolute(head->target, scheme, &ret->authority, &ret->target) ||
	    !parse_authority(ret->authority, &named)) {
		*ret_hint = "send the request target in origin-form: /path";
		return EGRESS_BAD_REQUEST;
	}
	if (!named.has_port)
		named.port = context->tls ? 443 : 80;
	if (named.literal || strcmp(named.host, context->host) != 0 || named.port != context->port)
		return EGRESS_NAME_MISMATCH;
	return EGRESS_ALLOWED;
}

static enum egress_reason steered(const struct http1_context *context,
				  const struct http1_head *head, struct http1_asked *ret,
				  const char **ret_hint)
{
	enum egress_reason reason = EGRESS_ALLOWED;
	struct authority named;

	ret->kind = HTTP1_ASKED_HOST;
	ret->port = context->port;
	ret->tls = context->tls;
	ret->target = head->target;
	ret->authority = head->host;
	memcpy(ret->host, context->host, strlen(context->host) + 1);
	if (span_equal(head->method, SPAN("CONNECT")))
		return EGRESS_METHOD_NOT_ALLOWED;
	if (!is_origin_form(head))
		reason = steered_absolute(context, head, ret, ret_hint);
	if (reason != EGRESS_ALLOWED)
		return reason;
	if (policy_is_local(ret->host))
		ret->kind = HTTP1_ASKED_LOCAL;
	if (ret->host[0])
		return check_host(head, ret->host, ret->port);
	/* The kernel knew no name (dns.mode: real, and plain HTTP): Host is all there is. */
	if (!head->host.data || !parse_authority(head->host, &named))
		return EGRESS_BAD_REQUEST;
	/* Our own pages have an address of their own, at which the name is known. */
	if (named.literal || policy_is_local(named.host) ||
	    (named.has_port && named.port != ret->port))
		return EGRESS_NAME_MISMATCH;
	memcpy(ret->host, named.host, sizeof(ret->host));
	return EGRESS_ALLOWED;
}

static enum egress_reason connect_form(const struct http1_head *head, struct http1_asked *ret,
				       const char **ret_hint)
{
	struct authority named;

	ret->kind = HTTP1_ASKED_CONNECT;
	/* RFC 9110, 9.3.6: there is no default port. */
	if (!parse_authority(head->target, &named) || !named.has_port) {
		*ret_hint = "CONNECT needs host:port";
		return EGRESS_BAD_REQUEST;
	}
	memcpy(ret->host, named.host, sizeof(ret->host));
	ret->port = named.port;
	ret->by_address = named.literal;
	ret->address = named.address;
	return EGRESS_ALLOWED;
}

static bool is_local(const struct http1_context *context, const char *host)
{
	return policy_is_local(host) || strcmp(host, context->proxy_name) == 0;
}

/* http://authority/path: the authority decides, and Host must agree with it. */
static enum egress_reason absolute_form(const struct http1_context *context,
					const struct http1_head *head, struct http1_asked *ret,
					const char **ret_hint)
{
	struct authority named;

	if (!split_absolute(head->target, SPAN("http://"), &ret->authority, &ret->target) ||
	    !parse_authority(ret->authority, &named)) {
		*ret_hint = "the request target must be http://host/path, without user name";
		return EGRESS_BAD_REQUEST;
	}
	ret->port = named.has_port ? named.port : 80;
	memcpy(ret->host, named.host, sizeof(ret->host));
	ret->by_address = named.literal;
	ret->address = named.address;
	/* A cidr route is raw TCP, where no request is judged: CONNECT leads there. */
	if (named.literal)
		return EGRESS_ADDRESS_NOT_ALLOWED;
	if (is_local(context, ret->host)) {
		ret->kind = HTTP1_ASKED_LOCAL;
		return EGRESS_ALLOWED;
	}
	ret->kind = HTTP1_ASKED_HOST;
	return check_host(head, ret->host, ret->port);
}

static enum egress_reason own_page(const struct http1_context *context,
				   const struct http1_head *head, struct http1_asked *ret,
				   const char **ret_hint)
{
	struct authority named;

	if (!head->host.data || !parse_authority(head->host, &named) ||
	    !is_local(context, named.host)) {
		*ret_hint = "this is a proxy: use CONNECT, or http://host/path as request target";
		return EGRESS_BAD_REQUEST;
	}
	ret->kind = HTTP1_ASKED_LOCAL;
	ret->target = head->target;
	memcpy(ret->host, named.host, sizeof(ret->host));
	return EGRESS_ALLOWED;
}

enum egress_reason http1_target(const struct http1_context *context, const struct http1_head *head,
				struct http1_asked *ret, const char **ret_hint)
{
	/* Longer than the target, perhaps: compared only where that is longer. */
	struct span scheme = {head->target.data, sizeof("http://") - 1};

	*ret = (struct http1_asked){.kind = HTTP1_ASKED_HOST};
	*ret_hint = NULL;
	/* TRACE would show the bottle the credential that we put in. */
	if (span_equal(head->method, SPAN("TRACE")))
		return EGRESS_METHOD_NOT_ALLOWED;
	if (!context->explicit)
		return steered(context, head, ret, ret_hint);
	if (span_equal(head->method, SPAN("CONNECT")))
		return connect_form(head, ret, ret_hint);
	if (head->target.length > scheme.length && span_equal_nocase(scheme, SPAN("http://")))
		return absolute_form(context, head, ret, ret_hint);
	if (head->target.data[0] == '/')
		return own_page(context, head, ret, ret_hint);
	*ret_hint = "for https use CONNECT";
	return EGRESS_BAD_REQUEST;
}
