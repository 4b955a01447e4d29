// SPDX-License-Identifier: BSD-2-Clause
/* Other methods, and other paths, than the request line's, by which servers go: with a rule for them both
 * have to be allowed. */
#include "policy_internal.h"

#include <string.h>

/* Rack, and so Rails; Express; OData; Google's APIs. */
static bool is_method(struct span name)
{
	static span_names names = {[13] = {"x-http-method"},
				   [17] = {"x-method-override"},
				   [22] = {"x-http-method-override"}};

	return span_is_field_of(name, names);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 4918, 10.3. */
static bool is_destination(struct span name)
{
	return span_equal_field(name, SPAN("destination"));
}

bool policy_is_overriding(struct span name)
{
	return is_method(name) || is_destination(name);
}

/* The octet that two digits at `from` are, or -1. */
static int octet_at(struct span text, size_t from)
{
	int high = text.length >= from + 2 ? hex_value(text.data[from]) : -1;
	int low = high >= 0 ? hex_value(text.data[from + 1]) : -1;

	return low >= 0 ? high * 16 + low : -1;
}

/* One character of a parameter's name; moves `name` behind it. "%u005f", too, which ASP.NET decodes. An
 * escape that is none is as it came. */
static char take_char(struct span *name)
{
	bool escape = name->data[0] == '%', wide = escape && octet_at(*name, 2) == 0 &&
						   (name->data[1] | 0x20) == 'u';
	int octet = escape ? octet_at(*name, wide ? 4 : 1) : -1;
	char c = octet >= 0 ? (char)octet : name->data[0];
	size_t length = octet < 0 ? 1 : wide ? 6 : 3;

	name->data += length;
	name->length -= length;
	return c;
}

/* Neither an x nor what may stand for the dash or blank that the names below begin with. */
static bool begins_otherwise(struct span name)
{
	char c = name.length > 0 ? (char)(name.data[0] | 0x20) : 'x';

	return c >= 'a' && c <= 'z' && c != 'x';
}

/* Symfony and Laravel, WordPress, which also takes it of a GET; WAI; Salesforce; ASP.NET. PHP leaves blanks
 * in front out, has "_" for what a variable's name cannot hold, and ends it at a bracket or a NUL. */
static bool is_parameter(struct span name)
{
	static span_names names = {[7] = {"-method"}, [11] = {"-httpmethod"},
				   [13] = {"x-http-method"}, [16] = {"-method-override"},
				   [17] = {"x-method-override"}, [22] = {"x-http-method-override"}};
	char plain[SPAN_NAMES_MAX];
	size_t length = 0;

	if (begins_otherwise(name))
		return false;
	while (name.length > 0) {
		char c = take_char(&name);

		if (c == '\0' || (c == '[' && length > 0))
			break;
		if (length == 0 && (c == ' ' || c == '+'))
			continue;
		if (c == ' ' || c == '+' || c == '[')
			c = '_';
		if (length == sizeof(plain))
			return false;
		plain[length++] = c;
	}
	return span_is_field_of((struct span){plain, length}, names);
}

/* Behind the first question mark; a semicolon ends a parameter, too, for some. */
static struct span next_parameter(struct span target, size_t *at)
{
	size_t start = *at, end;

	for (end = start; end < target.length && target.data[end] != '&' && target.data[end] != ';';)
		end++;
	*at = end + 1;
	return (struct span){target.data + start, end - start};
}

static struct span overriding_parameter(struct span query, size_t *at)
{
	while (*at < query.length) {
		struct span name = next_parameter(query, at), value = {"", 0};
		const char *equals = memchr(name.data, '=', name.length);

		if (equals) {
			value = (struct span){equals + 1, name.length - (size_t)(equals - name.data) - 1};
			name.length = (size_t)(equals - name.data);
		}
		if (is_parameter(name))
			return value;
	}
	return (struct span){NULL, 0};
}

static struct span query_of(struct span target)
{
	const char *mark = target.length ? memchr(target.data, '?', target.length) : NULL;

	return mark ? (struct span){mark + 1, target.length - (size_t)(mark - target.data) - 1}
		    : (struct span){NULL, 0};
}

struct span policy_overriding_method(const struct policy_request *request, size_t *at)
{
	size_t within;
	struct span value;

	while (*at < request->header_count) {
		const struct policy_header *field = &request->headers[(*at)++];

		if (is_method(field->name))
			return span_trim(field->value);
	}
	within = *at - request->header_count;
	value = overriding_parameter(query_of(request->target), &within);
	*at = request->header_count + within;
	return value;
}

/* Within a list, too, of which frameworks take the first, and in small letters, which they turn. No
 * method needs an escape, behind which any could be. */
static bool may_be(struct span methods, struct span word)
{
	if (methods.length > 0 && memchr(methods.data, '%', methods.length))
		return true;
	for (; methods.length >= word.length; methods.data++, methods.length--)
		if (span_equal_nocase((struct span){methods.data, word.length}, word))
			return true;
	return false;
}

static bool asks_for(const struct policy_request *request, struct span a, struct span b)
{
	struct span other = request->method;
	size_t at = 0;

	do {
		if (may_be(other, a) || may_be(other, b))
			return true;
		other = policy_overriding_method(request, &at);
	} while (other.data);
	return false;
}

bool policy_asks_for_trace(const struct policy_request *request)
{
	return asks_for(request, SPAN("TRACE"), SPAN("TRACK"));
}

bool policy_asks_for_move(const struct policy_request *request)
{
	return asks_for(request, SPAN("COPY"), SPAN("MOVE"));
}

static bool cut(struct span *text, struct span prefix)
{
	if (text->length < prefix.length ||
	    !span_equal_nocase((struct span){text->data, prefix.length}, prefix))
		return false;
	text->data += prefix.length;
	text->length -= prefix.length;
	return true;
}

/* A path, or the URI with it. What leads to another host is left as it is, which is no
 * path. */
static struct span destination_path(struct span value, const char *host)
{
	struct span rest = value;
	const char *slash;

	if (!cut(&rest, SPAN("https://")) && !cut(&rest, SPAN("http://")))
		return value;
	slash = rest.length > 0 ? memchr(rest.data, '/', rest.length) : NULL;
	if (!slash || !cut(&rest, span_from(host)) || (rest.data != slash && rest.data[0] != ':'))
		return value;
	return (struct span){slash, (size_t)(value.data + value.length - slash)};
}

struct span policy_destination(const struct policy_request *request, size_t *at)
{
	while (*at < request->header_count) {
		const struct policy_header *field = &request->headers[(*at)++];

		if (is_destination(field->name))
			return destination_path(span_trim(field->value), request->host);
	}
	return (struct span){NULL, 0};
}
