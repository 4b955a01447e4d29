// SPDX-License-Identifier: BSD-2-Clause
/* The compiled policy as YAML, every default written out. */
#include "policy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static bool is_utf8(const char *text)
{
	size_t left = strlen(text), length;

	for (; left > 0; text += length, left -= length) {
		length = (unsigned char)*text < 0x80 ? 1
						     : utf8_length((const unsigned char *)text, left);
		if (length == 0)
			return false;
	}
	return true;
}

/* Not jansson's, which may be out of memory, and cannot tell the stream. */
void policy_print_quoted(FILE *to, const char *text)
{
	if (!is_utf8(text))
		text = "?";
	fputc('"', to);
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20) {
			fprintf(to, "\\u%04X", (unsigned)*text);
			continue;
		}
		if (*text == '"' || *text == '\\')
			fputc('\\', to);
		fputc(*text, to);
	}
	fputc('"', to);
}

static void print_ports(FILE *to, const uint16_t *ports, size_t count)
{
	fputs("    ports: [", to);
	for (size_t i = 0; i < count; i++)
		fprintf(to, "%s%u", i ? ", " : "", ports[i]);
	fputs("]\n", to);
}

static void print_paths(FILE *to, const struct policy_match *match)
{
	static const char *const types[] = {
		[POLICY_PATH_EXACT] = "exact",
		[POLICY_PATH_PREFIX] = "prefix",
		[POLICY_PATH_REGEX] = "regex",
	};

	fputs("paths: [", to);
	for (size_t i = 0; i < match->path_count; i++) {
		fprintf(to, "%s{type: %s, value: ", i ? ", " : "", types[match->paths[i].type]);
		policy_print_quoted(to, match->paths[i].text);
		fputs("}", to);
	}
	fputs("]", to);
}

/* Flow style, one alternative a line; `next` is what has to come before the next key. */
static void print_match(FILE *to, const struct policy_match *match)
{
	const char *next = "      - {";

	if (match->path_count > 0) {
		fputs(next, to);
		print_paths(to, match);
		next = ", ";
	}
	for (size_t i = 0; i < match->method_count; i++) {
		fprintf(to, "%s%s", i ? ", " : next, i ? "" : "methods: [");
		policy_print_quoted(to, match->methods[i]);
	}
	if (match->method_count > 0) {
		fputs("]", to);
		next = ", ";
	}
	for (size_t i = 0; i < match->header_count; i++) {
		fprintf(to, "%s%s{name: ", i ? ", " : next, i ? "" : "headers: [");
		policy_print_quoted(to, match->headers[i].name);
		fputs(", value: ", to);
		policy_print_quoted(to, match->headers[i].value);
		fputs("}", to);
	}
	if (match->header_count > 0) {
		fputs("]", to);
		next = ", ";
	}
	/* An alternative without a rule is {}: left out, it would allow less. */
	fprintf(to, "%s}\n", next[0] == ',' ? "" : next);
}

/* One alternative without any rule is "everything", as no `matches` at all. */
static void print_matches(FILE *to, const struct policy_route *route)
{
	const struct policy_match *only = &route->matches[0];

	if (route->match_count == 1 && only->path_count == 0 && only->method_count == 0 &&
	    only->header_count == 0)
		return;
	fputs("    matches:\n", to);
	for (size_t i = 0; i < route->match_count; i++)
		print_match(to, &route->matches[i]);
}

/* The names of sources only: this text may be pasted into a ticket. */
void policy_print_auth(FILE *to, const struct policy_auth *auth)
{
	static const char *const schemes[] = {
		[POLICY_AUTH_BEARER] = "Bearer",
		[POLICY_AUTH_TOKEN] = "token",
		[POLICY_AUTH_BASIC] = "Basic",
	};
	const struct policy_secret *secret = &auth->secret->shown;

	fputs("    auth: {", to);
	if (auth->scheme == POLICY_AUTH_HEADER) {
		fputs("header: ", to);
		policy_print_quoted(to, auth->header);
	} else {
		fprintf(to, "scheme: %s", schemes[auth->scheme]);
	}
	if (auth->username) {
		fputs(", username: ", to);
		policy_print_quoted(to, auth->username);
	}
	fputs(secret->kind == POLICY_SECRET_ENV ? ", token_env: " : ", token_file: ", to);
	policy_print_quoted(to, secret->source);
	fputs("}\n", to);
}

void policy_print_client(FILE *to, const struct policy_client *client)
{
	fputs("    client_cert: ", to);
	policy_print_quoted(to, client->certificate);
	fputs("\n    client_key: ", to);
	policy_print_quoted(to, client->key.source);
	fputs("\n", to);
}

/* False is the default of every flag, and is left out. */
static void print_flag(FILE *to, const char *name, bool value)
{
	if (value)
		fprintf(to, "    %s: true\n", name);
}

/* As a comment: a file's name may hold anything, a line break too. */
static void print_place(FILE *to, const char *file, int line)
{
	fputs(" # ", to);
	for (; *file; file++)
		fputc((unsigned char)*file < 0x20 || *file == 0x7f ? '?' : *file, to);
	fprintf(to, ":%d\n", line);
}

void policy_print_route(FILE *to, const struct policy_route *route, const char *host)
{
	fputs("  - host: ", to);
	policy_print_quoted(to, host);
	print_place(to, route->file, route->line);
	print_ports(to, route->ports, route->port_count);
	if (route->mode == POLICY_PASSTHROUGH)
		fputs("    tls: passthrough\n", to);
	else if (route->mode == POLICY_TCP)
		fputs("    protocol: tcp\n", to);
	print_matches(to, route);
	if (route->has_auth)
		policy_print_auth(to, &route->auth);
	if (route->client)
		policy_print_client(to, route->client);
	/* The route's own word; that of the whole policy is config_effective()'s to print. */
	if (route->audit)
		fputs("    enforcement: audit\n", to);
	print_flag(to, "allow_private", route->allow_private);
	print_flag(to, "allow_plaintext", route->allow_plaintext);
	print_flag(to, "allow_encoded_slash", route->allow_encoded_slash);
	print_flag(to, "keep_authorization", route->keep_authorization);
}

static void print_cidr(FILE *to, const struct policy_cidr *cidr)
{
	bool v4 = address_is_v4(&cidr->cidr.address);
	char text[ADDRESS_TEXT_SIZE];

	fprintf(to, "  - cidr: \"%s/%u\"", address_format(&cidr->cidr.address, text),
		cidr->cidr.prefix_length - (v4 ? 96 : 0));
	print_place(to, cidr->file, cidr->line);
	print_ports(to, cidr->ports, cidr->port_count);
	fputs("    protocol: tcp\n", to);
	print_flag(to, "allow_private", cidr->allow_private);
	print_flag(to, "direct", cidr->direct);
}

/* By host, then in the order of the file: what was written between two routes of one host does not
 * matter to either. */
char *policy_effective(const struct policy *policy)
{
	size_t length;
	char *text = NULL;
	FILE *to = open_memstream(&text, &length);
	bool failed;

	if (!to)
		return NULL;
	for (size_t i = 0; i < policy->host_count; i++) {
		const struct policy_host *host = policy->hosts[i];

		for (size_t j = 0; j < host->route_count; j++)
			policy_print_route(to, host->routes[j], host->name);
	}
	for (size_t i = 0; i < policy->cidr_count; i++)
		print_cidr(to, &policy->cidrs[i]);
	/* Before fclose(3), after which there is nobody to ask. */
	failed = ferror(to) != 0;
	if (fclose(to) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}
