// SPDX-License-Identifier: BSD-2-Clause
/* What would allow a refused request. The bottle reads it: it holds what the bottle sent and one
 * route's place in the file, never a secret, a variable's name or another host. */
#include "policy_internal.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

#define SHOWN_TEXT 64 /* bytes shown of what the bottle sent */
#define PLACE_SIZE 128

/* A printable, bounded copy. */
static const char *show(struct span text, char ret[SHOWN_TEXT + 4])
{
	size_t length = text.length < SHOWN_TEXT ? text.length : SHOWN_TEXT;

	for (size_t i = 0; i < length; i++) {
		bool plain = text.data[i] > 0x20 && text.data[i] < 0x7f && text.data[i] != '"' &&
			     text.data[i] != '\\';

		ret[i] = '?';
		if (plain)
			ret[i] = text.data[i];
	}
	snprintf(ret + length, sizeof("..."), "%s", length < text.length ? "..." : "");
	return ret;
}

/* "api.github.com (routes.yaml:3)" */
static const char *show_route(const struct policy_route *route, char ret[PLACE_SIZE])
{
	/* The name alone: where it lies on the host is not the bottle's to know. */
	const char *slash = strrchr(route->file, '/');
	char host[SHOWN_TEXT + 4];

	snprintf(ret, PLACE_SIZE, "%s (%.40s:%d)", show(span_from(route->host->name), host),
		 slash ? slash + 1 : route->file, route->line);
	utf8_mend(ret); /* cut within a character, JSON would lose the whole hint */
	return ret;
}

static void hint_path(const struct policy_verdict *verdict, const char *place, char *hint,
		      size_t size)
{
	char path[SHOWN_TEXT + 4];
	const char *key = verdict->route->uses_matches ? "the paths in matches" : "path_allowlist";

	snprintf(hint, size, "add \"%s\" to %s of %s", show(verdict->path, path), key, place);
}

/* Only an encoded slash can be allowed; anything else has to be sent otherwise. */
static void hint_ambiguous(const char *why, const char *place, char *hint, size_t size)
{
	if (strcmp(why, "an encoded slash") == 0)
		snprintf(hint, size, "the path holds %s: set allow_encoded_slash: true on %s", why,
			 place);
	else
		snprintf(hint, size, "the path holds %s: send it in its plain form", why);
}

/* The method that is asked for besides, if another, or written with an escape; and where. */
static struct span overriding_method(const struct policy_request *request, bool escaped,
				     const char **ret_where)
{
	struct span method;
	size_t at = 0;

	do
		method = policy_overriding_method(request, &at);
	while (method.data && (escaped ? !memchr(method.data, '%', method.length)
				       : span_equal(method, request->method)));
	*ret_where = at > request->header_count ? "the query" : "a header";
	return method;
}

/* No route can allow TRACE with a credential, so none is proposed. */
static void hint_traced(const struct policy_request *request, char *hint, size_t size)
{
	char method[SHOWN_TEXT + 4];
	const char *where;
	struct span overriding = overriding_method(request, true, &where);

	if (overriding.data) {
		snprintf(hint, size, "%s asks for %.28s, which may be TRACE: send it in its plain form",
			 where, show(overriding, method));
		return;
	}
	overriding = overriding_method(request, false, &where);
	snprintf(hint, size, "%s is never sent with a credential",
		 overriding.data ? "TRACE" : show(request->method, method));
}

static void hint_method(const struct policy_request *request, const struct policy_route *route,
			const char *place, char *hint, size_t size)
{
	char method[SHOWN_TEXT + 4], other[SHOWN_TEXT + 4];
	const char *where;
	struct span overriding = overriding_method(request, false, &where);

	show(request->method, method);
	if (route->has_auth && policy_asks_for_trace(request))
		hint_traced(request, hint, size);
	else if (overriding.data)
		snprintf(hint, size, "%s asks for %.28s: leave it out, or add it and %.28s to methods of %s",
			 where, show(overriding, other), method, place);
	else
		snprintf(hint, size, "add %s to methods of %s", method, place);
}

/* The name of the header and not its value: it may be the kind of value that is known to few. */
static void hint_header(const struct policy_route *route, const char *place, char *hint, size_t size)
{
	char name[SHOWN_TEXT + 4];

	for (size_t i = 0; i < route->match_count; i++) {
		const struct policy_match *match = &route->matches[i];

		if (match->header_count > 0) {
			snprintf(hint, size,
				 "send the header %s once, with the value that matches of %s names",
				 show(span_from(match->headers[0].name), name), place);
			return;
		}
	}
}

/* Without a route there is nothing in the file to point at but the list itself. */
void policy_hint(const struct policy_request *request, const char *ambiguity,
		 struct policy_verdict *verdict)
{
	const struct policy_route *route = verdict->route;
	char place[PLACE_SIZE] = "", host[SHOWN_TEXT + 4], *hint = verdict->hint;
	const size_t size = sizeof(verdict->hint);

	if (verdict->reason == EGRESS_ALLOWED)
		return;
	if (verdict->reason == EGRESS_HOST_NOT_ALLOWED)
		snprintf(hint, size, "add \"- host: %s\" to routes",
			 show(span_from(request->host), host));
	if (!route)
		return;
	show_route(route, place);
	switch (verdict->reason) {
	case EGRESS_PORT_NOT_ALLOWED:
		snprintf(hint, size, "add %u to ports of %s", request->port, place);
		break;
	case EGRESS_PROTOCOL_NOT_ALLOWED:
		snprintf(hint, size, "HTTP is not judged here: remove tls or protocol from %s",
			 place);
		break;
	case EGRESS_PATH_NOT_ALLOWED:
		hint_path(verdict, place, hint, size);
		break;
	case EGRESS_METHOD_NOT_ALLOWED:
		hint_method(request, route, place, hint, size);
		break;
	case EGRESS_HEADER_NOT_ALLOWED:
		hint_header(route, place, hint, size);
		break;
	case EGRESS_AMBIGUOUS_PATH:
		hint_ambiguous(ambiguity ? ambiguity : "an encoded slash", place, hint, size);
		break;
	case EGRESS_PLAINTEXT_AUTH:
		snprintf(hint, size, "use https, or set allow_plaintext: true on %s", place);
		break;
	default:
		break;
	}
}
