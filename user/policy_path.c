// SPDX-License-Identifier: BSD-2-Clause
/*
 * Paths as rules see them. The upstream gets the bytes as they came, so whatever two servers
 * could read differently must not pass where a path decides.
 */
#include "policy_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986, 2.3: these alone mean the same encoded and plain. */
static bool is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

/* The octet that "%XY" at `at` stands for, or -1. */
static int percent_decode(const char *at, const char *end)
{
	int high, low;

	if (end - at < 3 || at[0] != '%')
		return -1;
	high = hex_value(at[1]);
	low = hex_value(at[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Decodes what may be decoded; NULL, or what makes the octets themselves ambiguous. */
static const char *decode_unreserved(struct span path, char *ret, size_t *ret_length)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *at = path.data, *end = path.data + path.length;
	char *to = ret;

	for (; at < end; at++) {
		unsigned char c = (unsigned char)*at;
		int octet;

		if (c <= 0x20 || c == 0x7f)
			return "a control character or a space";
		if (c >= 0x80)
			return "a byte that is not ASCII";
		if (c == '\\' || c == '#')
			return c == '#' ? "a fragment (#)" : "a backslash";
		if (c != '%') {
			*to++ = *at;
			continue;
		}
		octet = percent_decode(at, end);
		if (octet < 0)
			return "a malformed percent escape";
		at += 2;
		if (octet < 0x20 || octet == 0x7f)
			return "an encoded control character";
		if (octet == '\\')
			return "an encoded backslash";
		if (is_unreserved((unsigned char)octet)) {
			*to++ = (char)octet;
			continue;
		}
		*to++ = '%';
		*to++ = digits[octet >> 4];
		*to++ = digits[octet & 15];
	}
	*to = '\0';
	*ret_length = (size_t)(to - ret);
	return NULL;
}

/* "%25" before "2e", "2f", "5c" or "00", however often the percent sign itself was encoded: an
 * upstream that decodes twice would see another path. */
static bool is_double_encoded(const char *at)
{
	static const char *const tails[] = {"2e", "2f", "5c", "00"};

	if (strncmp(at, "%25", 3) != 0)
		return false;
	at += 3;
	while (strncmp(at, "25", 2) == 0)
		at += 2;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		if (strncasecmp(at, tails[i], 2) == 0)
			return true;
	}
	return false;
}

/* Octets from 0x80 must be UTF-8 in its shortest form (RFC 3629): "%C0%AE" is a dot to some. */
static bool is_utf8(const char *at, const char *end, size_t *ret_escapes)
{
	int first = percent_decode(at, end), octet;
	size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
	unsigned code;

	if (first < 0xc2 || first > 0xf4)
		return false;
	code = (unsigned)first & (0x3fu >> more);
	for (size_t i = 1; i <= more; i++) {
		octet = (size_t)(end - at) > 3 * i ? percent_decode(at + 3 * i, end) : -1;
		if (octet < 0x80 || octet > 0xbf)
			return false;
		code = code << 6 | ((unsigned)octet & 0x3f);
	}
	*ret_escapes = more + 1;
	return code >= (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u) && code <= 0x10ffff &&
	       (code < 0xd800 || code > 0xdfff);
}

/* After decoding: what is still escaped here stays so on the way to the upstream. */
static const char *check_escapes(const char *at, const char *end)
{
	while (at < end) {
		size_t escapes = 1;

		if (*at != '%') {
			at++;
			continue;
		}
		if (is_double_encoded(at))
			return "an escape that is encoded twice";
		if (percent_decode(at, end) >= 0x80 && !is_utf8(at, end, &escapes))
			return "an escape that is not UTF-8";
		at += 3 * escapes;
	}
	return NULL;
}

/* What a path is cut at, by servers that drop parameters, or that decode it and parse it again. */
static bool is_cut(const char *at, const char *end)
{
	static const char *const cuts[] = {"%3B", "%3F", "%23"};

	if (*at == ';')
		return true;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
		if (end - at >= 3 && memcmp(at, cuts[i], 3) == 0)
			return true;
	return false;
}

/* "." or "..", also with something behind that some servers drop: "..;x", "..%3Fx", spaces. */
static bool is_dot_segment(const char *segment, const char *end)
{
	size_t dots = 0;

	while (segment < end && *segment == '.') {
		segment++;
		dots++;
	}
	while (end - segment >= 3 && memcmp(segment, "%20", 3) == 0)
		segment += 3;
	if (dots < 1 || dots > 2)
		return false;
	return segment == end || is_cut(segment, end);
}

/* The separator at `at`: 1 for "/", 3 for "%2F", which some servers decode first, else 0. */
static size_t separator(const char *at, const char *end)
{
	if (*at == '/')
		return 1;
	return end - at >= 3 && memcmp(at, "%2F", 3) == 0 ? 3 : 0;
}

/* An empty segment is ambiguous since many servers fold "//" into "/". A slash at the end is
 * none. */
static const char *check_segments(const char *at, const char *end, bool *ret_encoded_slash)
{
	const char *segment = at + 1; /* behind the first slash */
	size_t length;

	for (at++; at <= end; at += length ? length : 1) {
		length = at < end ? separator(at, end) : 0;
		if (at < end && length == 0)
			continue;
		if (is_dot_segment(segment, at))
			return "a dot segment";
		if (at < end && at == segment)
			return "an empty segment (//)";
		if (length == 3)
			*ret_encoded_slash = true;
		segment = at + length;
	}
	return NULL;
}

/* First what is ambiguous in itself, then the encoded slash, which a route may allow. */
enum policy_path_state policy_path_normalise(struct span path, char *ret, size_t *ret_length,
					     const char **ret_why)
{
	bool encoded_slash = false;
	const char *why = decode_unreserved(path, ret, ret_length);

	if (!why)
		why = check_escapes(ret, ret + *ret_length);
	if (!why)
		why = check_segments(ret, ret + *ret_length, &encoded_slash);
	*ret_why = why ? why : encoded_slash ? "an encoded slash" : NULL;
	if (why)
		return POLICY_PATH_AMBIGUOUS;
	return encoded_slash ? POLICY_PATH_ENCODED_SLASH : POLICY_PATH_PLAIN;
}

/* Anchored at both ends: a pattern that is meant for the whole path must not match within one. \C
 * would split UTF-8; DOLLAR_ENDONLY keeps "$" from matching before a line break. */
static int compile_regex(struct policy_path *path, struct error *error)
{
	PCRE2_UCHAR message[128];
	PCRE2_SIZE offset;
	int code;

	path->regex = pcre2_compile((PCRE2_SPTR)path->text, path->length,
				    PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY |
					    PCRE2_NEVER_BACKSLASH_C,
				    &code, &offset, NULL);
	if (path->regex)
		return 0;
	if (code == PCRE2_ERROR_HEAP_FAILED)
		return error_set(error, "out of memory");
	pcre2_get_error_message(code, message, sizeof(message));
	return error_set(error, "the regex \"%.100s\" does not compile: %s at character %zu",
			 path->text, (const char *)message, (size_t)offset + 1);
}

/* Exact paths and prefixes are kept in the form that requests are brought into, in `copy`, which is
 * the spec's text; NULL is an error. */
static int path_init(struct policy_path *path, const struct policy_path_spec *spec, char *copy,
		     struct error *error)
{
	struct span text = span_from(spec->value);
	const char *why;

	path->type = spec->type;
	path->length = text.length;
	path->text = copy;
	if (!copy)
		return error_set(error, "out of memory");
	if (spec->type == POLICY_PATH_REGEX)
		return compile_regex(path, error);
	if (text.length == 0 || text.data[0] != '/')
		return error_set(error, "the path \"%.100s\" does not start with /", spec->value);
	if (strchr(spec->value, '?'))
		return error_set(error, "the path \"%.100s\" holds a query", spec->value);
	if (policy_path_normalise(text, path->text, &path->length, &why) == POLICY_PATH_AMBIGUOUS)
		return error_set(error, "the path \"%.100s\" holds %s", spec->value, why);
	return 0;
}

int policy_path_init(struct policy_path *path, const struct policy_path_spec *spec,
		     struct arena *arena, struct error *error)
{
	return path_init(path, spec, arena_text(arena, span_from(spec->value)), error);
}

void policy_path_release(struct policy_path *path)
{
	pcre2_code_free(path->regex);
	*path = (struct policy_path){0};
}

int policy_check_path(const struct policy_path_spec *spec, bool *ret_encoded_slash,
		      struct error *error)
{
	struct policy_path path = {0};
	char *copy = span_copy(span_from(spec->value));
	int result = path_init(&path, spec, copy, error);

	if (result == 0)
		*ret_encoded_slash = spec->type != POLICY_PATH_REGEX && strstr(path.text, "%2F");
	policy_path_release(&path);
	free(copy);
	return result;
}

/* Match data for each call, since the policy is shared between threads. */
int policy_path_regex(const struct policy_path *path, struct span normal,
		      pcre2_match_context *limits)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	int count;

	if (!data)
		return -1;
	count = pcre2_match(path->regex, (PCRE2_SPTR)normal.data, normal.length, 0, 0, data, limits);
	pcre2_match_data_free(data);
	if (count >= 0)
		return 1;
	return count == PCRE2_ERROR_NOMATCH ? 0 : -1;
}
