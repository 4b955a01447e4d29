// SPDX-License-Identifier: BSD-2-Clause
/* A route: first its keys as they stand, then what they mean together. */
#include "config_route.h"

#include <string.h>
#include <strings.h>

#include "config_values.h"

/* As written, each with its line; what is wrong with a value has been reported by its parser.
 * `unclear`: what config_mapping() said of it; the first field of what parse_list() reads. */
struct draft_auth {
	int line;    /* 0: absent */
	bool unclear;
	bool broken; /* no mapping, or an empty one: that is reported */
	struct config_text scheme, header, username, token_env, token_file;
};
struct draft_path {
	bool unclear;
	struct config_text type, value;
};
struct draft_header {
	bool unclear;
	struct config_text name, value;
};
struct draft_paths {
	const struct draft_path *list;
	size_t count;
};
struct draft_headers {
	const struct draft_header *list;
	size_t count;
};
struct draft_match {
	bool unclear;
	struct draft_paths paths;
	struct config_texts methods;
	struct draft_headers headers;
};
struct draft_matches {
	const struct draft_match *list;
	size_t count;
	int line;
};
struct draft_route {
	int line;
	bool unclear;
	struct config_text host, cidr, tls, protocol, auth_scheme, token_env, enforcement;
	struct config_ports ports, port;
	struct config_texts path_allowlist, methods;
	struct draft_matches matches;
	struct draft_auth auth;
	struct config_text client_cert, client_key;
	struct config_flag allow_private, allow_plaintext, allow_encoded_slash, keep_authorization,
		direct;
};

/* ---- tables of keys ------------------------------------------------------------------------- */

#define KEY(type, name, parser) {#name, parser, offsetof(struct type, name)}

static const struct config_key auth_keys[] = {
	KEY(draft_auth, scheme, config_parse_text),
	KEY(draft_auth, header, config_parse_text),
	KEY(draft_auth, username, config_parse_text),
	KEY(draft_auth, token_env, config_parse_text),
	KEY(draft_auth, token_file, config_parse_text),
};

static void parse_auth(struct config_context *context, const struct config_node *node, void *ret)
{
	struct draft_auth *auth = ret;

	auth->line = node->line;
	auth->broken = node->kind != CONFIG_MAPPING || node->count == 0;
	/* "auth: {}" may be meant as no credential, or wait for one that was forgotten. */
	if (node->kind == CONFIG_MAPPING && node->count == 0)
		config_fault(context, node->line,
			     "{scheme: Bearer, token_env: VARIABLE}, or no such key: then nothing is "
			     "injected",
			     "is empty");
	auth->unclear = !config_mapping(context, node, auth_keys,
					sizeof(auth_keys) / sizeof(auth_keys[0]), auth);
}

/* A list of mappings into an array of `size`-byte drafts; NULL when it is not one. */
static void *parse_list(struct config_context *context, const struct config_node *node,
			const struct config_key *keys, size_t key_count, size_t size,
			const char *example)
{
	char *list;
	size_t index = 0;

	if (!config_is_list(context, node, example))
		return NULL;
	list = config_alloc(context->arena, node->count * size);
	if (!list)
		return NULL;
	for (const struct config_node *child = node->first; child; child = child->next) {
		size_t mark = config_enter_index(context, index);
		char *draft = list + index * size;

		*(bool *)draft = !config_mapping(context, child, keys, key_count, draft);
		config_leave(context, mark);
		index++;
	}
	return list;
}

static void parse_paths(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_path, type, config_parse_text),
		KEY(draft_path, value, config_parse_text),
	};
	struct draft_paths *paths = ret;

	paths->list = parse_list(context, node, keys, sizeof(keys) / sizeof(keys[0]),
				 sizeof(struct draft_path), "[{type: prefix, value: /v1/}]");
	paths->count = paths->list ? node->count : 0;
}

static void parse_headers(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_header, name, config_parse_text),
		KEY(draft_header, value, config_parse_text),
	};
	struct draft_headers *headers = ret;

	headers->list = parse_list(context, node, keys, sizeof(keys) / sizeof(keys[0]),
				   sizeof(struct draft_header), "[{name: x-version, value: \"1\"}]");
	headers->count = headers->list ? node->count : 0;
	if (headers->count > POLICY_MAX_HEADERS)
		config_fault(context, node->line, "at most 16 headers of one match", "has %zu headers",
			     headers->count);
}

static void parse_matches(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_match, paths, parse_paths),
		KEY(draft_match, methods, config_parse_texts),
		KEY(draft_match, headers, parse_headers),
	};
	struct draft_matches *matches = ret;

	matches->line = node->line;
	matches->list = parse_list(context, node, keys, sizeof(keys) / sizeof(keys[0]),
				   sizeof(struct draft_match),
				   "[{paths: [{type: prefix, value: /v1/}], methods: [GET]}]");
	matches->count = matches->list ? node->count : 0;
}

static const struct config_key route_keys[] = {
	KEY(draft_route, host, config_parse_text),
	KEY(draft_route, cidr, config_parse_text),
	KEY(draft_route, ports, config_parse_ports),
	KEY(draft_route, port, config_parse_port),
	KEY(draft_route, path_allowlist, config_parse_texts),
	KEY(draft_route, matches, parse_matches),
	KEY(draft_route, methods, config_parse_texts),
	KEY(draft_route, auth, parse_auth),
	KEY(draft_route, auth_scheme, config_parse_text),
	KEY(draft_route, token_env, config_parse_text),
	KEY(draft_route, client_cert, config_parse_text),
	KEY(draft_route, client_key, config_parse_text),
	KEY(draft_route, tls, config_parse_text),
	KEY(draft_route, protocol, config_parse_text),
	KEY(draft_route, allow_private, config_parse_flag),
	KEY(draft_route, allow_plaintext, config_parse_flag),
	KEY(draft_route, allow_encoded_slash, config_parse_flag),
	KEY(draft_route, keep_authorization, config_parse_flag),
	KEY(draft_route, direct, config_parse_flag),
	KEY(draft_route, enforcement, config_parse_text),
};

/* ---- what the keys mean --------------------------------------------------------------------- */

/* A fault at one key of the route. */
#define FAULT_AT(context, key, line, cure, ...)                                                    \
	do {                                                                                       \
		size_t fault_mark = config_enter((context), (key));                                \
		config_fault((context), (line), (cure), __VA_ARGS__);                              \
		config_leave((context), fault_mark);                                               \
	} while (0)

static const char *read_host(struct config_context *context, const struct config_text *text)
{
	const char *host = NULL;
	size_t mark = config_enter(context, "host");

	if (!config_host(context, text, &host))
		host = NULL;
	config_leave(context, mark);
	return host;
}

/* The rest is checked even without a target, so that all errors come at once; the route is not
 * added then. */
static void build_target(struct config_context *context, const struct draft_route *draft,
			 struct policy_route_spec *spec, struct cidr *cidr)
{
	size_t mark;

	if (draft->host.line && draft->cidr.line)
		config_fault(context, draft->cidr.line, "one of them; one route for each",
			     "has both host and cidr");
	/* By the line: a key with a bad value is there all the same, and has been reported. */
	else if (!draft->host.line && !draft->cidr.line && !draft->unclear)
		config_fault(context, draft->line,
			     "host: NAME, such as api.example.com, or cidr: BLOCK",
			     "has neither host nor cidr");
	if (draft->host.value)
		spec->host = read_host(context, &draft->host);
	if (!draft->cidr.value)
		return;
	mark = config_enter(context, "cidr");
	if (config_cidr(context, &draft->cidr, cidr))
		spec->cidr = cidr;
	config_leave(context, mark);
}

/* A cidr is raw TCP by itself: without a name there is no SNI and no Host to check. */
static void build_mode(struct config_context *context, const struct draft_route *draft,
		       struct policy_route_spec *spec)
{
	const struct config_text *tls = &draft->tls, *protocol = &draft->protocol;

	spec->mode = draft->cidr.line ? POLICY_TCP : POLICY_INTERCEPT;
	if (tls->line && protocol->line)
		config_fault(context, protocol->line,
			     "tls: passthrough for TLS that is not looked into, protocol: tcp for "
			     "anything else",
			     "has both tls and protocol");
	if (tls->value && strcmp(tls->value, "passthrough") == 0)
		spec->mode = POLICY_PASSTHROUGH;
	else if (tls->value && strcmp(tls->value, "intercept") != 0)
		FAULT_AT(context, "tls", tls->line, "intercept (the default) or passthrough",
			 "\"%.40s\" is unknown", tls->value);
	if (protocol->value && strcmp(protocol->value, "tcp") == 0)
		spec->mode = POLICY_TCP;
	else if (protocol->value && strcmp(protocol->value, "http") != 0)
		FAULT_AT(context, "protocol", protocol->line, "http (the default) or tcp",
			 "\"%.40s\" is unknown", protocol->value);
	if (draft->cidr.line && tls->line)
		FAULT_AT(context, "tls", tls->line, "host: NAME for TLS; a cidr is raw TCP",
			 "does not go with cidr");
	else if (draft->cidr.line && protocol->value && strcmp(protocol->value, "http") == 0)
		FAULT_AT(context, "protocol", protocol->line,
			 "host: NAME for HTTP; a cidr is raw TCP", "http does not go with cidr");
}

static void build_ports(struct config_context *context, const struct draft_route *draft,
			struct policy_route_spec *spec)
{
	const struct config_ports *ports = draft->port.line ? &draft->port : &draft->ports;

	if (draft->port.line && draft->ports.line)
		config_fault(context, draft->port.line, "ports alone", "has both port and ports");
	if (spec->mode == POLICY_TCP && !ports->line)
		config_fault(context, draft->line, "ports: [PORT, ...]", "raw TCP has no ports");
	spec->ports = ports->list;
	spec->port_count = ports->count;
}

/* Only intercepted HTTP has paths, methods, headers and credentials. */
static void check_not_http(struct config_context *context, const struct draft_route *draft,
			   const struct policy_route_spec *spec)
{
	const struct {
		const char *key;
		int line;
	} keys[] = {
		{"path_allowlist", draft->path_allowlist.line},
		{"matches", draft->matches.line},
		{"methods", draft->methods.line},
		{"auth", draft->auth.line},
		{"auth_scheme", draft->auth_scheme.line},
		{"token_env", draft->token_env.line},
		{"client_cert", draft->client_cert.line},
		{"client_key", draft->client_key.line},
		{"allow_plaintext", draft->allow_plaintext.line},
		{"allow_encoded_slash", draft->allow_encoded_slash.line},
		{"keep_authorization", draft->keep_authorization.line},
		{"enforcement", draft->enforcement.line},
	};
	const char *why = draft->cidr.line ? "cidr" : "protocol: tcp";

	if (spec->mode == POLICY_INTERCEPT)
		return;
	if (spec->mode == POLICY_PASSTHROUGH)
		why = "tls: passthrough";
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (keys[i].line)
			FAULT_AT(context, keys[i].key, keys[i].line,
				 "a route without it, or a host that is intercepted (no tls, no "
				 "protocol)",
				 "does not go with %s, where requests are not seen", why);
	}
}

/* A private block needs to be named as such: it is how one reaches the cloud's metadata, the host,
 * the neighbours. Steered blocks are checked again at each dial, direct ones only here, so these
 * may not even contain a private one. */
static void build_flags(struct config_context *context, const struct draft_route *draft,
			struct policy_route_spec *spec)
{
	spec->allow_private = draft->allow_private.value;
	spec->allow_plaintext = draft->allow_plaintext.value;
	spec->allow_encoded_slash = draft->allow_encoded_slash.value;
	spec->keep_authorization = draft->keep_authorization.value;
	spec->direct = draft->direct.value;
	spec->audit = config_enforcement(context, &draft->enforcement);
	if (spec->direct && !draft->cidr.line)
		FAULT_AT(context, "direct", draft->direct.line, "cidr: BLOCK instead of host",
			 "only addresses (cidr) can be let out directly");
	if (!spec->cidr || spec->allow_private)
		return;
	if (address_is_private(&spec->cidr->address) ||
	    (spec->direct && config_cidr_is_private(spec->cidr)))
		FAULT_AT(context, "cidr", draft->cidr.line,
			 "allow_private: true, if these addresses are meant",
			 "\"%.80s\" holds private addresses", draft->cidr.value);
}

/* ---- path rules ------------------------------------------------------------------------------ */

static void build_methods(struct config_context *context, const struct config_texts *texts,
			  struct policy_match_spec *match)
{
	const char **methods = config_alloc(context->arena, (texts->count + 1) * sizeof(*methods));
	size_t mark = config_enter(context, "methods");

	for (size_t i = 0; methods && i < texts->count; i++) {
		if (config_method(context, &texts->list[i]))
			methods[match->method_count++] = texts->list[i].value;
	}
	match->methods = methods;
	config_leave(context, mark);
}

static bool path_type(struct config_context *context, const struct config_text *text,
		      enum policy_path_type *ret_type)
{
	static const char *const names[] = {
		[POLICY_PATH_EXACT] = "exact",
		[POLICY_PATH_PREFIX] = "prefix",
		[POLICY_PATH_REGEX] = "regex",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text->value, names[i]) == 0) {
			*ret_type = (enum policy_path_type)i;
			return true;
		}
	}
	FAULT_AT(context, "type", text->line, "exact, prefix or regex", "\"%.40s\" is unknown",
		 text->value);
	return false;
}

/* A wrong path becomes "/" so that the rest can be checked; the error keeps the policy from being
 * used. */
static void build_path(struct config_context *context, const struct draft_path *draft, int line,
		       bool allow_encoded_slash, struct policy_path_spec *spec)
{
	if (!draft->type.line && !draft->unclear)
		config_fault(context, line, "type: exact, prefix or regex", "has no type");
	if (!draft->value.line && !draft->unclear)
		config_fault(context, line, "value: /path", "has no value");
	if (!draft->type.value || !draft->value.value ||
	    !path_type(context, &draft->type, &spec->type))
		return;
	spec->value = draft->value.value;
	if (!config_path(context, draft->value.line, spec, allow_encoded_slash))
		spec->value = "/";
}

static void build_paths(struct config_context *context, const struct draft_paths *draft, int line,
			bool allow_encoded_slash, struct policy_match_spec *match)
{
	struct policy_path_spec *paths =
		config_alloc(context->arena, (draft->count + 1) * sizeof(*paths));
	size_t mark = config_enter(context, "paths");

	for (size_t i = 0; paths && i < draft->count; i++) {
		size_t inner = config_enter_index(context, i);

		paths[i].value = "/";
		build_path(context, &draft->list[i], line, allow_encoded_slash, &paths[i]);
		config_leave(context, inner);
	}
	match->paths = paths;
	match->path_count = draft->count;
	config_leave(context, mark);
}

static void build_headers(struct config_context *context, const struct draft_headers *draft,
			  int line, struct policy_match_spec *match)
{
	struct policy_header_spec *headers =
		config_alloc(context->arena, (draft->count + 1) * sizeof(*headers));
	size_t mark = config_enter(context, "headers");

	for (size_t i = 0; headers && i < draft->count; i++) {
		const struct draft_header *header = &draft->list[i];
		size_t inner = config_enter_index(context, i);

		if ((!header->name.line || !header->value.line) && !header->unclear)
			config_fault(context, line, "{name: x-version, value: \"1\"}",
				     "has no %s", header->name.line ? "value" : "name");
		else if (header->name.value && header->value.value &&
			 config_header_name(context, &header->name))
			headers[match->header_count++] = (struct policy_header_spec){
				header->name.value, header->value.value};
		config_leave(context, inner);
	}
	match->headers = headers;
	config_leave(context, mark);
}

static void build_matches(struct config_context *context, const struct draft_route *draft,
			  struct policy_route_spec *spec)
{
	struct policy_match_spec *matches =
		config_alloc(context->arena, draft->matches.count * sizeof(*matches));

	for (size_t i = 0; matches && i < draft->matches.count; i++) {
		const struct draft_match *match = &draft->matches.list[i];
		size_t outer = config_enter(context, "matches");

		config_enter_index(context, i);
		build_paths(context, &match->paths, draft->matches.line, spec->allow_encoded_slash,
			    &matches[i]);
		build_methods(context, &match->methods, &matches[i]);
		build_headers(context, &match->headers, draft->matches.line, &matches[i]);
		config_leave(context, outer);
	}
	spec->matches = matches;
	spec->match_count = draft->matches.count;
	/* For hints, which name the key that the file has. */
	spec->uses_matches = true;
}

/* In other tools' lists a segment that is a star stands for any: here it would stand for a star, and the
 * route would never take what was meant. */
static bool check_no_star(struct config_context *context, const struct config_text *text)
{
	for (const char *at = text->value; (at = strstr(at, "/*")); at++) {
		const size_t stars = strspn(at + 1, "*");

		if (at[1 + stars] != '/' && at[1 + stars] != '\0')
			continue;
		config_fault(context, text->line,
			     "the path before it, /repos/acme/ say, which allows all below; or a regex in "
			     "matches",
			     "the path \"%.100s\" holds a star, which stands for nothing else here",
			     text->value);
		return false;
	}
	return true;
}

/* path_allowlist and the route's own methods are one match with prefixes. */
static void build_allowlist(struct config_context *context, const struct draft_route *draft,
			    struct policy_route_spec *spec)
{
	const struct config_texts *list = &draft->path_allowlist;
	struct policy_match_spec *match = config_alloc(context->arena, sizeof(*match));
	struct policy_path_spec *paths =
		config_alloc(context->arena, (list->count + 1) * sizeof(*paths));

	if (!match || !paths)
		return;
	for (size_t i = 0; i < list->count; i++) {
		size_t mark = config_enter(context, "path_allowlist");

		config_enter_index(context, i);
		paths[i] = (struct policy_path_spec){POLICY_PATH_PREFIX, list->list[i].value};
		if (!check_no_star(context, &list->list[i]) ||
		    !config_path(context, list->list[i].line, &paths[i], spec->allow_encoded_slash))
			paths[i].value = "/"; /* the file has an error now; more may follow */
		config_leave(context, mark);
	}
	match->paths = paths;
	match->path_count = list->count;
	build_methods(context, &draft->methods, match);
	spec->matches = match;
	spec->match_count = list->line || draft->methods.line ? 1 : 0;
}

static void build_rules(struct config_context *context, const struct draft_route *draft,
			struct policy_route_spec *spec)
{
	if (spec->mode != POLICY_INTERCEPT)
		return;
	if (draft->matches.line && draft->path_allowlist.line)
		config_fault(context, draft->path_allowlist.line,
			     "matches alone, with a prefix for each path",
			     "has both path_allowlist and matches");
	/* A condition on each match, or one match more: it could be read either way. */
	if (draft->matches.line && draft->methods.line)
		FAULT_AT(context, "methods", draft->methods.line, "methods inside of matches",
			 "does not go with matches");
	if (draft->matches.line)
		build_matches(context, draft, spec);
	else
		build_allowlist(context, draft, spec);
}

/* ---- auth ------------------------------------------------------------------------------------ */

/* Exact spelling: the scheme is what goes on the wire. The value is not shown when unknown, for it
 * may be a secret. */
static bool read_scheme(struct config_context *context, const struct config_text *text,
			enum policy_auth_scheme *ret_scheme)
{
	static const char *const names[] = {
		[POLICY_AUTH_BEARER] = "Bearer",
		[POLICY_AUTH_TOKEN] = "token",
		[POLICY_AUTH_BASIC] = "Basic",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text->value, names[i]) == 0) {
			*ret_scheme = (enum policy_auth_scheme)i;
			return true;
		}
		if (strcasecmp(text->value, names[i]) == 0) {
			config_fault(context, text->line, names[i],
				     "the scheme \"%s\" is spelled otherwise", text->value);
			return false;
		}
	}
	config_fault(context, text->line,
		     "Bearer, token or Basic; for another header, auth: {header: NAME, token_env: "
		     "VARIABLE}",
		     "the scheme is unknown");
	return false;
}

/* `flat`: auth_scheme and token_env stand in the route itself, as the seeds have them. */
static void build_scheme(struct config_context *context, const struct draft_auth *auth, bool flat,
			 struct policy_auth_spec *spec)
{
	size_t mark;

	if (auth->scheme.line && auth->header.line)
		config_fault(context, auth->header.line,
			     "scheme for Authorization, or header for another header",
			     "has both scheme and header");
	else if (!auth->scheme.line && !auth->header.line && !auth->unclear)
		config_fault(context, auth->line, "scheme: Bearer, or header: x-api-key",
			     "has neither scheme nor header");
	if (auth->scheme.value) {
		mark = config_enter(context, flat ? "auth_scheme" : "scheme");
		if (!read_scheme(context, &auth->scheme, &spec->scheme))
			spec->scheme = POLICY_AUTH_BASIC; /* no second complaint about a username */
		config_leave(context, mark);
	}
	if (auth->header.value) {
		mark = config_enter(context, "header");
		spec->scheme = POLICY_AUTH_HEADER;
		if (config_header_name(context, &auth->header))
			spec->header = auth->header.value;
		config_leave(context, mark);
	}
	if (!auth->username.value)
		return;
	spec->username = auth->username.value;
	if (spec->scheme != POLICY_AUTH_BASIC)
		FAULT_AT(context, "username", auth->username.line, "scheme: Basic, or no username",
			 "\"%.40s\" goes with Basic only", spec->username);
	/* RFC 7617, 2: the first colon ends the name. */
	else if (strchr(spec->username, ':'))
		FAULT_AT(context, "username", auth->username.line, "a name without a colon",
			 "\"%.40s\" holds a colon", spec->username);
}

static void build_source(struct config_context *context, const struct draft_auth *auth,
			 struct policy_auth_spec *spec)
{
	size_t mark;

	if (auth->token_env.line && auth->token_file.line)
		config_fault(context, auth->token_file.line, "one of them",
			     "has both token_env and token_file");
	else if (!auth->token_env.line && !auth->token_file.line && !auth->unclear)
		config_fault(context, auth->line, "token_env: VARIABLE or token_file: /PATH beside it",
			     "half an auth: has neither token_env nor token_file");
	if (auth->token_env.value) {
		mark = config_enter(context, "token_env");
		spec->kind = POLICY_SECRET_ENV;
		if (config_variable(context, &auth->token_env))
			spec->source = auth->token_env.value;
		config_leave(context, mark);
	}
	if (auth->token_file.value) {
		spec->kind = POLICY_SECRET_FILE;
		spec->source = auth->token_file.value;
		/* A relative one would hang on the directory that somebody started us in. */
		if (spec->source[0] != '/')
			FAULT_AT(context, "token_file", auth->token_file.line,
				 "an absolute path, such as /run/secrets/token",
				 "\"%.80s\" is not absolute", spec->source);
	}
}

/* The seed form: auth_scheme and token_env at the route itself. False when half of it is there. */
static bool read_flat_auth(struct config_context *context, const struct draft_route *draft,
			   struct draft_auth *ret_auth)
{
	if (!draft->auth_scheme.line) {
		FAULT_AT(context, "token_env", draft->token_env.line,
			 "auth_scheme: Bearer (or token, Basic) beside it",
			 "half an auth: there is no auth_scheme");
		return false;
	}
	if (!draft->token_env.line) {
		FAULT_AT(context, "auth_scheme", draft->auth_scheme.line,
			 "token_env: VARIABLE beside it",
			 "half an auth: there is no token_env");
		return false;
	}
	*ret_auth = (struct draft_auth){
		.line = draft->auth_scheme.line,
		.scheme = draft->auth_scheme,
		.token_env = draft->token_env,
	};
	return true;
}

/* Half an auth is an error, never a route without credential: requests would pass unauthenticated,
 * or as the bottle. */
static void build_auth(struct config_context *context, const struct draft_route *draft,
		       struct policy_route_spec *spec, struct policy_auth_spec *auth_spec)
{
	bool flat = draft->auth_scheme.line || draft->token_env.line;
	struct draft_auth auth = draft->auth;
	const size_t mark = strlen(context->path);

	if (spec->mode != POLICY_INTERCEPT || (!auth.line && !flat))
		return;
	if (auth.line && flat) {
		config_fault(context, auth.line, "auth alone: {scheme, token_env}",
			     "has both auth and auth_scheme or token_env");
		return;
	}
	if (!flat && auth.broken)
		return;
	if (draft->keep_authorization.value)
		FAULT_AT(context, "keep_authorization", draft->keep_authorization.line,
			 "auth, or keep_authorization: true, not both",
			 "the bottle's own Authorization does not go with an injected one");
	if (flat && !read_flat_auth(context, draft, &auth))
		return;
	if (!flat)
		config_enter(context, "auth");
	build_scheme(context, &auth, flat, auth_spec);
	build_source(context, &auth, auth_spec);
	config_leave(context, mark);
	spec->auth = auth_spec;
}

/* One without the other is refused here, where the key can be named. */
static void build_client(struct config_context *context, const struct draft_route *draft,
			 struct policy_route_spec *spec)
{
	const struct config_text *cert = &draft->client_cert, *key = &draft->client_key;

	if (spec->mode != POLICY_INTERCEPT || (!cert->line && !key->line))
		return;
	if (!cert->line)
		FAULT_AT(context, "client_key", key->line, "client_cert: /PATH beside it",
			 "there is no client_cert");
	if (!key->line)
		FAULT_AT(context, "client_cert", cert->line, "client_key: /PATH beside it",
			 "there is no client_key");
	if (cert->value &&
	    config_file_path(context, "client_cert", cert, "/etc/egress/client.pem"))
		spec->client_cert = cert->value;
	if (key->value && config_file_path(context, "client_key", key, "/etc/egress/client.key"))
		spec->client_key = key->value;
}

/* Added only when nothing was wrong with it, since policy_add() wants a consistent one. */
void config_route(struct config_context *context, const struct config_node *node,
		  struct policy *policy)
{
	struct draft_route draft = {.line = node->line};
	struct policy_auth_spec auth = {0};
	struct policy_route_spec spec = {.file = context->source, .line = node->line, .auth = NULL};
	struct cidr cidr;
	struct error error = {0};
	size_t before = context->errors->count;

	draft.unclear = !config_mapping(context, node, route_keys,
					sizeof(route_keys) / sizeof(route_keys[0]), &draft);
	if (node->kind != CONFIG_MAPPING)
		return;
	build_target(context, &draft, &spec, &cidr);
	build_mode(context, &draft, &spec);
	build_ports(context, &draft, &spec);
	check_not_http(context, &draft, &spec);
	build_flags(context, &draft, &spec);
	build_rules(context, &draft, &spec);
	build_auth(context, &draft, &spec, &auth);
	build_client(context, &draft, &spec);
	if (context->errors->count != before || context->arena->failed || (!spec.host && !spec.cidr) ||
	    policy_add(policy, &spec, &error) == 0)
		return;
	if (error_is_no_memory(&error))
		context->arena->failed = true;
	else
		config_fault(context, node->line,
			     "routes of one host that agree: one mode for a port, at most 16 ports",
			     "%s", error.text);
}
