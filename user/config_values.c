// SPDX-License-Identifier: BSD-2-Clause
/* Values with a meaning of their own. A value that is refused is named together with what would be
 * right; one that might be a secret is never shown. */
#include "config_values.h"

#include <ctype.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_EXTRA "!#$%&'*+-.^_`|~" /* RFC 9110, 5.6.2: tchar */

/* Not isalpha(): the locale has no say in a policy. */
static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- hosts ---------------------------------------------------------------------------------- */

/* Digits alone, or 0x: inet_aton() and browsers read such a name as an address. */
static bool looks_numeric(const char *name)
{
	const char *label = strrchr(name, '.');

	label = label ? label + 1 : name;
	return label[strspn(label, "0123456789")] == '\0' || strncasecmp(label, "0x", 2) == 0;
}

static bool is_address(const char *text)
{
	struct egress_address address;
	struct cidr cidr;

	return text[0] == '[' || address_parse(text, &address) ||
	       (strchr(text, '/') && cidr_parse(text, &cidr));
}

/* The mistakes that deserve an answer of their own; true when it was none of them. */
static bool check_host_text(struct config_context *context, const struct config_text *text)
{
	const char *host = text->value, *scheme = strstr(host, "://"), *star = strchr(host, '*');
	char cure[160];

	if (scheme) {
		int length = (int)strcspn(scheme + 3, "/:?#");

		snprintf(cure, sizeof(cure), "the name alone, \"%.*s\"", length > 100 ? 100 : length,
			 scheme + 3);
		config_fault(context, text->line, cure, "\"%.80s\" is a URL", host);
	} else if (is_address(host)) {
		int bracket = host[0] == '[';

		snprintf(cure, sizeof(cure), "cidr: %.*s with ports, instead of host",
			 bracket ? (int)strcspn(host + 1, "]") % 100 : 100, host + bracket);
		config_fault(context, text->line, cure, "\"%.80s\" is an address", host);
	} else if (strpbrk(host, " \t")) {
		config_fault(context, text->line, "one host name; one route for each host",
			     "\"%.80s\" holds a space", host);
	} else if (strpbrk(host, "/?#")) {
		config_fault(context, text->line, "the name alone, the path in path_allowlist",
			     "\"%.80s\" holds a path", host);
	} else if (strchr(host, ':')) {
		config_fault(context, text->line, "the name alone, the port in ports: [PORT]",
			     "\"%.80s\" holds a port", host);
	} else if (star && (star != host || host[1] != '.' || host[2] == '\0' ||
			    strchr(star + 1, '*'))) {
		config_fault(context, text->line,
			     "\"*.example.com\": one star, then a dot and the rest of the name",
			     "\"%.80s\" is not a wildcard", host);
	} else {
		return true;
	}
	return false;
}

/* IDNA 2008 for what is not ASCII; libidn2 would refuse underscores, so ASCII passes it by. */
static bool to_a_labels(struct config_context *context, const char *host, char ret[EGRESS_NAME_SIZE])
{
	char *ascii = NULL;
	bool fine;
	int result;

	for (const char *at = host; *at; at++) {
		if (!((unsigned char)*at & 0x80))
			continue;
		/* Nontransitional, as browsers do: by the older mapping another name would be
		 * dialled. */
		result = idn2_to_ascii_8z(host, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
		context->arena->failed |= result == IDN2_MALLOC;
		if (result != IDN2_OK)
			return false;
		fine = policy_normalise_host(span_from(ascii), ret);
		idn2_free(ascii);
		return fine;
	}
	return policy_normalise_host(span_from(host), ret);
}

/* The name is stored as DNS has it, so that what is compared later are A-labels in lower case. */
bool config_host(struct config_context *context, const struct config_text *text,
		 const char **ret_host)
{
	bool wildcard = strncmp(text->value, "*.", 2) == 0;
	char name[EGRESS_NAME_SIZE], *host;
	size_t size;

	if (!check_host_text(context, text))
		return false;
	if (!to_a_labels(context, text->value + (wildcard ? 2 : 0), name)) {
		config_fault(context, text->line,
			     "letters, digits, \"-\" and \"_\" in parts of at most 63, 253 in all, "
			     "joined by dots",
			     "\"%.80s\" is not a host name", text->value);
		return false;
	}
	if (looks_numeric(name)) {
		config_fault(context, text->line, "a host name, or cidr: for an address",
			     "\"%.80s\" looks like an address", text->value);
		return false;
	}
	if (!wildcard && policy_is_local(name)) {
		config_fault(context, text->line, "no route: every bottle may ask for it",
			     "\"%.80s\" is the name of the proxy's own pages", text->value);
		return false;
	}
	size = strlen(name) + 3;
	host = config_alloc(context->arena, size);
	if (!host)
		return false;
	stpcpy(stpcpy(host, wildcard ? "*." : ""), name);
	*ret_host = host;
	return true;
}

/* ---- blocks of addresses -------------------------------------------------------------------- */

bool config_cidr(struct config_context *context, const struct config_text *text,
		 struct cidr *ret_cidr)
{
	char address_text[ADDRESS_TEXT_SIZE];
	const char *slash = strchr(text->value, '/');
	size_t length = slash ? (size_t)(slash - text->value) : strlen(text->value);
	struct egress_address address;

	if (cidr_parse(text->value, ret_cidr))
		return true;
	snprintf(address_text, sizeof(address_text), "%.*s", length > 60 ? 60 : (int)length,
		 text->value);
	if (slash && address_parse(address_text, &address) && is_digit(slash[1]) &&
	    slash[1 + strspn(slash + 1, "0123456789")] == '\0' &&
	    atoi(slash + 1) <= (strchr(address_text, ':') ? 128 : 32))
		config_fault(context, text->line,
			     "the block's first address, such as 10.20.0.0/16 or 2001:db8::/32",
			     "\"%.80s\" has bits set behind its prefix", text->value);
	else
		config_fault(context, text->line, "an address and a prefix, such as 203.0.113.0/24 "
						  "or 2001:db8::/32",
			     "\"%.80s\" is not a block of addresses", text->value);
	return false;
}

/* Meeting is enough: a block that holds one private address leads there. */
bool config_cidr_is_private(const struct cidr *cidr)
{
	/* The first address of each private block: blocks meet only if one holds the other's. */
	static const char *const first[] = {
		"0.0.0.0",     "10.0.0.0",    "100.64.0.0",  "127.0.0.0",	"169.254.0.0",
		"168.63.129.16", "172.16.0.0", "192.0.0.0",  "192.88.99.0", "192.168.0.0",
		"198.18.0.0",  "224.0.0.0",   "240.0.0.0",   "::",	"100::",
		"fc00::",      "fe80::",      "fec0::",	     "ff00::",	"2001::",
		"2002::",      "64:ff9b::",   "64:ff9b:1::", "5f00::",
	};

	if (address_is_private(&cidr->address))
		return true;
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		struct egress_address address;

		if (address_parse(first[i], &address) && cidr_contains(cidr, &address))
			return true;
	}
	return false;
}

/* Blocks that the kernel or resolvers treat in their own way (0/8, 127/8, link-local, multicast)
 * would not be dialled. */
bool config_pool(struct config_context *context, const struct config_text *text,
		 struct cidr *ret_pool)
{
	static const char cure[] = "198.18.0.0/15, the default, or another private IPv4 block of /8 to "
				   "/24";
	struct cidr pool;
	struct egress_address last;
	uint32_t v4, size;

	if (!config_cidr(context, text, &pool))
		return false;
	if (!address_is_v4(&pool.address) || pool.prefix_length < 96) {
		config_fault(context, text->line, cure, "\"%.80s\" is not IPv4", text->value);
		return false;
	}
	if (pool.prefix_length < 96 + 8 || pool.prefix_length > 96 + 24) {
		config_fault(context, text->line, cure, "\"%.80s\" is too %s", text->value,
			     pool.prefix_length < 96 + 8 ? "large" : "small");
		return false;
	}
	v4 = address_to_v4(&pool.address);
	size = UINT32_MAX >> (pool.prefix_length - 96);
	last = address_from_v4(v4 | size);
	if (!address_is_private(&pool.address) || !address_is_private(&last)) {
		config_fault(context, text->line, cure,
			     "\"%.80s\" holds public addresses, which hosts outside have", text->value);
		return false;
	}
	if (v4 >> 24 == 0 || v4 >> 24 == 127 || v4 >> 24 >= 224 || v4 >> 16 == 0xa9fe) {
		config_fault(context, text->line, cure, "\"%.80s\" is not an ordinary unicast block",
			     text->value);
		return false;
	}
	*ret_pool = pool;
	return true;
}

/* ---- HTTP ----------------------------------------------------------------------------------- */

static bool is_token(const char *text)
{
	for (const char *at = text; *at; at++) {
		if (!is_letter(*at) && !is_digit(*at) && !strchr(TOKEN_EXTRA, *at))
			return false;
	}
	return text[0] != '\0';
}

bool config_method(struct config_context *context, const struct config_text *text)
{
	char cure[64];
	size_t length = strlen(text->value);
	bool lower = false;

	for (size_t i = 0; i < length; i++)
		lower |= text->value[i] >= 'a' && text->value[i] <= 'z';
	/* CONNECT never comes to a route: host and port alone decide about it. */
	if (is_token(text->value) && !lower && length <= 32 && strcmp(text->value, "CONNECT") != 0)
		return true;
	if (is_token(text->value) && lower && length <= 32) {
		snprintf(cure, sizeof(cure), "%s", text->value);
		for (char *at = cure; *at; at++)
			*at = (char)toupper((unsigned char)*at);
	} else {
		snprintf(cure, sizeof(cure), "GET, POST and so on, in capitals");
	}
	config_fault(context, text->line, cure, "\"%.40s\" is not a method that routes can allow",
		     text->value);
	return false;
}

bool config_header_name(struct config_context *context, const struct config_text *text)
{
	/* What frames or routes a message is ours to write. */
	static const char *const ours[] = {
		"host",		     "content-length", "transfer-encoding", "connection",
		"proxy-connection",  "keep-alive",     "te",		    "trailer",
		"upgrade",	     "expect",	       "proxy-authorization",
		"proxy-authenticate",
	};

	if (!is_token(text->value) || strlen(text->value) > 128) {
		config_fault(context, text->line, "a header's name, such as x-api-key",
			     "\"%.80s\" is not a header name", text->value);
		return false;
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcasecmp(text->value, ours[i]) != 0)
			continue;
		config_fault(context, text->line, "a header of the application, such as x-api-key",
			     "\"%s\" belongs to the connection", text->value);
		return false;
	}
	return true;
}

/* The value is not shown: somebody may have put the secret itself here. */
bool config_variable(struct config_context *context, const struct config_text *text)
{
	const char *at = text->value;
	bool fine = is_letter(*at) || *at == '_';

	for (; fine && *at; at++)
		fine = is_letter(*at) || is_digit(*at) || *at == '_';
	if (fine && strlen(text->value) <= 255)
		return true;
	config_fault(context, text->line,
		     "the name of the variable that holds the secret, such as EGRESS_TOKEN_0",
		     "the value is not the name of an environment variable");
	return false;
}

bool config_path(struct config_context *context, int line, const struct policy_path_spec *spec,
		 bool allow_encoded_slash)
{
	struct error error = {0};
	bool encoded_slash;

	if (policy_check_path(spec, &encoded_slash, &error) < 0) {
		context->arena->failed |= error_is_no_memory(&error);
		config_fault(context, line,
			     spec->type == POLICY_PATH_REGEX
				     ? "a PCRE2 pattern for the whole path, such as /repos/[^/]+/x"
				     : "a plain path without query, such as /repos/acme/",
			     "%s", error.text);
		return false;
	}
	if (!encoded_slash || allow_encoded_slash)
		return true;
	config_fault(context, line, "allow_encoded_slash: true on the route",
		     "the path \"%.80s\" holds an encoded slash and would never match", spec->value);
	return false;
}

/* ---- the way out ---------------------------------------------------------------------------- */

/* At most five digits, so atoi() cannot overflow. */
static bool is_port(const char *text)
{
	size_t length = strspn(text, "0123456789");

	return length > 0 && length <= 5 && text[length] == '\0' && atoi(text) > 0 &&
	       atoi(text) <= UINT16_MAX;
}

/* "name:port", "v4:port" or "[v6]:port". */
static bool is_host_port(const char *text, bool names)
{
	char host[EGRESS_NAME_SIZE], name[EGRESS_NAME_SIZE];
	const char *colon = strrchr(text, ':');
	struct egress_address address;
	size_t length;

	if (!colon || !is_port(colon + 1))
		return false;
	length = (size_t)(colon - text);
	if (length == 0 || length >= sizeof(host))
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		return strchr(host, ':') && address_parse(host + 1, &address);
	}
	/* IPv6 without brackets: where its port begins would be a guess. */
	if (strchr(host, ':'))
		return false;
	return address_parse(host, &address) ||
	       (names && policy_normalise_host(span_from(host), name));
}

/* The value is not shown: it may hold a password. */
bool config_proxy_url(struct config_context *context, const struct config_text *text)
{
	static const char cure[] = "http://HOST:PORT or https://HOST:PORT";
	const char *url = text->value, *authority = strstr(url, "://");

	/* First, so that no other message is about a URL with a password in it. */
	if (strchr(url, '@'))
		config_fault(context, text->line,
			     "http://HOST:PORT, and proxy_auth: {username: NAME, token_env: VARIABLE} "
			     "or token_file beside it",
			     "the URL holds a user name or a password, which this file must not");
	else if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		config_fault(context, text->line, cure,
			     "the URL does not begin with http:// or https://");
	else if (!is_host_port(authority + 3, true))
		config_fault(context, text->line, cure, "the URL is not a host and a port");
	else
		return true;
	return false;
}

bool config_file_path(struct config_context *context, const char *key,
		      const struct config_text *text, const char *example)
{
	size_t mark = config_enter(context, key);
	bool absolute = text->value[0] == '/';
	char cure[128];

	snprintf(cure, sizeof(cure), "an absolute path, such as %s", example);
	if (!absolute)
		config_fault(context, text->line, cure, "\"%.80s\" is not absolute", text->value);
	config_leave(context, mark);
	return absolute;
}

void config_replace_text(struct config_context *context, char **text, const char *value)
{
	char *copy = strdup(value);

	if (!copy) {
		context->arena->failed = true;
		return;
	}
	free(*text);
	*text = copy;
}

bool config_resolver(struct config_context *context, const struct config_text *text)
{
	struct egress_address address;

	if (address_parse(text->value, &address) || is_host_port(text->value, false))
		return true;
	config_fault(context, text->line, "192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53",
		     "\"%.80s\" is not the address of a resolver", text->value);
	return false;
}

bool config_enforcement(struct config_context *context, const struct config_text *text)
{
	size_t mark;

	if (!text->value || strcmp(text->value, "enforce") == 0)
		return false;
	if (strcmp(text->value, "audit") == 0)
		return true;
	mark = config_enter(context, "enforcement");
	config_fault(context, text->line, "enforce (the default) or audit", "\"%.40s\" is unknown",
		     text->value);
	config_leave(context, mark);
	return false;
}
