// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any request against a fixed policy. Input: "HOST METHOD TARGET". Whatever it is:
 *   - a path outside of /repos/acme never passes on the guarded host, also after one or two more
 *     rounds of percent-decoding and dot-segment removal, as upstreams may do;
 *   - hints are short and printable, and name neither secrets nor other hosts.
 */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_main.h"
#include "policy.h"

static struct policy *build(void)
{
	static const struct policy_path_spec prefix = {POLICY_PATH_PREFIX, "/repos/acme"};
	static const struct policy_path_spec regex = {POLICY_PATH_REGEX, "/(v[0-9]+/)*x(a+)+b"};
	static const char *const methods[] = {"GET"};
	static const struct policy_match_spec guarded = {.paths = &prefix, .path_count = 1};
	static const struct policy_match_spec pattern = {
		.paths = &regex, .path_count = 1, .methods = methods, .method_count = 1};
	static const struct policy_auth_spec auth = {.source = "HIDDEN VARIABLE"};
	static const struct policy_route_spec specs[] = {
		{.host = "guarded.test", .matches = &guarded, .match_count = 1, .auth = &auth},
		{.host = "slash.test", .matches = &guarded, .match_count = 1,
		 .allow_encoded_slash = true},
		{.host = "*.regex.test", .matches = &pattern, .match_count = 1},
		{.host = "free.test"},
	};
	struct policy *policy = policy_new();
	struct error error = {0};

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		assert(policy_add(policy, &specs[i], &error) == 0);
	assert(policy_finish(policy, &error) == 0);
	assert(policy_set_secret(policy, 0, SPAN("hun ter2"), &error) == 0);
	return policy;
}

/* What a careless server makes of a path: every escape decoded, back slashes turned. */
static size_t decode(char *path, size_t length)
{
	size_t to = 0;

	for (size_t i = 0; i < length; i++) {
		char hex[3] = {0};

		path[to] = path[i];
		if (path[i] == '%' && length - i > 2 && isxdigit((unsigned char)path[i + 1]) &&
		    isxdigit((unsigned char)path[i + 2])) {
			memcpy(hex, path + i + 1, 2);
			path[to] = (char)strtoul(hex, NULL, 16);
			i += 2;
		}
		if (path[to] == '\\')
			path[to] = '/';
		to++;
	}
	return to;
}

/* RFC 3986, 5.2.4, and with path parameters dropped from dot segments. */
static size_t remove_dots(const char *path, size_t length, char *ret)
{
	size_t out = 0;

	for (size_t at = 0; at < length;) {
		const char *segment = path + at + 1;
		size_t rest = length - at - 1, end = 0, name = 0;

		while (end < rest && segment[end] != '/')
			end++;
		while (name < end && segment[name] != ';')
			name++;
		if (name == 2 && memcmp(segment, "..", 2) == 0) {
			while (out > 0 && ret[--out] != '/')
				;
		} else if (!(name == 1 && segment[0] == '.') && end > 0) {
			ret[out++] = '/';
			memcpy(ret + out, segment, end);
			out += end;
		}
		at += end + 1;
	}
	return out;
}

static void check_inside(struct span path)
{
	char *decoded = malloc(path.length + 1), *clean = malloc(path.length + 1);
	size_t length = path.length, clean_length;

	assert(decoded && clean);
	memcpy(decoded, path.data, length);
	for (int round = 0; round < 3; round++) {
		clean_length = remove_dots(decoded, length, clean);
		assert(clean_length >= 11 && memcmp(clean, "/repos/acme", 11) == 0);
		assert(clean_length == 11 || clean[11] == '/');
		length = decode(decoded, length);
	}
	free(decoded);
	free(clean);
}

static struct span next_word(const uint8_t **at, const uint8_t *end)
{
	const uint8_t *start = *at;

	while (*at < end && **at != ' ')
		(*at)++;
	struct span word = {(const char *)start, (size_t)(*at - start)};
	if (*at < end)
		(*at)++;
	return word;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy *policy;
	const uint8_t *at = data, *end = data + size;
	struct policy_request request = {.port = 443, .tls = true};
	struct policy_verdict verdict;
	char host[EGRESS_NAME_SIZE];
	bool guarded;

	if (!policy)
		policy = build();
	if (!policy_normalise_host(next_word(&at, end), host))
		return 0;
	request.host = host;
	request.method = next_word(&at, end);
	request.target = (struct span){(const char *)at, (size_t)(end - at)};
	policy_decide(policy, &request, &verdict);
	guarded = strcmp(host, "guarded.test") == 0 || strcmp(host, "slash.test") == 0;
	if (verdict.reason == EGRESS_ALLOWED && guarded)
		check_inside(verdict.path);
	assert(verdict.reason != EGRESS_INTERNAL);
	assert(strlen(verdict.hint) < sizeof(verdict.hint));
	for (const char *c = verdict.hint; *c; c++)
		assert(*c >= 0x20 && *c < 0x7f);
	/* With spaces, which a hint never takes from the request. */
	assert(!strstr(verdict.hint, "hun ter2") && !strstr(verdict.hint, "HIDDEN VARIABLE"));
	return 0;
}
