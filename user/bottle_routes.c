// SPDX-License-Identifier: BSD-2-Clause
/* Options as routes. They become text, and go through config.c like any file, so that --allow means
 * exactly what the same route in routes.yaml means, errors included. */
#include "bottle_routes.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bytes.h"

struct rule {
	char *host, *path; /* path NULL: all */
	uint16_t port;	   /* 0: the defaults */
	const struct url_scheme *scheme;
	/* of a secret: */
	char *env, *auth_scheme, *username, *header;
};

struct rules {
	struct rule *items;
	size_t count;
};

struct bottle_routes {
	struct rules allows, secrets;
};

static const struct url_scheme {
	const char *prefix;
	uint16_t port;
	const char *key, *value; /* of the route */
} url_schemes[] = {
	{"https://", 443, NULL, NULL},
	{"http://", 80, NULL, NULL},
	{"tls://", 0, "tls", "passthrough"},
	{"tcp://", 0, "protocol", "tcp"},
};

static void rule_free(struct rule *rule)
{
	free(rule->host);
	free(rule->path);
	free(rule->env);
	free(rule->auth_scheme);
	free(rule->username);
	free(rule->header);
}

static void rules_free(struct rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		rule_free(&rules->items[i]);
	free(rules->items);
}

struct bottle_routes *bottle_routes_new(void)
{
	return calloc(1, sizeof(struct bottle_routes));
}

void bottle_routes_free(struct bottle_routes *routes)
{
	if (!routes)
		return;
	rules_free(&routes->allows);
	rules_free(&routes->secrets);
	free(routes);
}

/* A new, empty last rule; NULL when out of memory. */
static struct rule *rules_append(struct rules *rules)
{
	struct rule *items = reallocarray(rules->items, rules->count + 1, sizeof(*items));

	if (!items)
		return NULL;
	rules->items = items;
	items[rules->count] = (struct rule){0};
	return &items[rules->count++];
}

static void rules_drop_last(struct rules *rules)
{
	rule_free(&rules->items[--rules->count]);
}

/* Blanks are a sign of a forgotten quote. */
static bool plain_text(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

/* Any scheme else is part of the host, which config.c refuses. */
static const char *parse_scheme(const char *text, struct rule *rule)
{
	for (size_t i = 0; i < sizeof(url_schemes) / sizeof(url_schemes[0]); i++) {
		const char *prefix = url_schemes[i].prefix;

		if (strncasecmp(text, prefix, strlen(prefix)) != 0)
			continue;
		rule->scheme = &url_schemes[i];
		rule->port = url_schemes[i].port;
		return text + strlen(prefix);
	}
	return text;
}

/* [SCHEME://]HOST[:PORT][/PATH] into `rule`. */
static int parse_target(const char *text, struct rule *rule, struct error *error)
{
	const char *host = parse_scheme(text, rule);
	const char *path = strchrnul(host, '/');
	const char *colon = memchr(host, ':', (size_t)(path - host));
	const char *host_end = colon ? colon : path;

	/* What stands before '@' in a URL is a name and a password: --secret is for that. */
	if (host_end == host || !plain_text(text) || strchr(host, '@') || strstr(host, "://"))
		return error_set(error, "'%s' is not HOST[:PORT][/PATH]", text);
	if (colon && !span_port((struct span){colon + 1, (size_t)(path - colon - 1)}, &rule->port))
		return error_set(error, "'%s': the port must be a number from 1 to 65535", text);
	rule->host = strndup(host, (size_t)(host_end - host));
	/* "HOST/" is what people paste from a browser; it means the whole host. */
	if (path[0] && path[1])
		rule->path = strdup(path);
	if (!rule->host || (path[0] && path[1] && !rule->path))
		return error_set(error, "out of memory");
	if (rule->path && rule->scheme && rule->scheme->key)
		return error_set(error, "'%s': paths are not visible in what is passed through",
				 text);
	return 0;
}

int bottle_routes_allow(struct bottle_routes *routes, const char *text, struct error *error)
{
	struct rule *rule = rules_append(&routes->allows);

	if (!rule)
		return error_set(error, "out of memory");
	if (parse_target(text, rule, error) < 0) {
		rules_drop_last(&routes->allows);
		return -1;
	}
	return 0;
}

/* One "key=value" of a secret's suffix. The last of two wins, as with most options. */
static int parse_secret_option(const char *option, struct rule *rule, struct error *error)
{
	const char *value = strchr(option, '=');
	struct {
		const char *key;
		char **field;
	} table[] = {
		{"scheme", &rule->auth_scheme},
		{"username", &rule->username},
		{"header", &rule->header},
	};

	for (size_t i = 0; value && i < sizeof(table) / sizeof(table[0]); i++) {
		if (strlen(table[i].key) != (size_t)(value - option) ||
		    strncmp(option, table[i].key, (size_t)(value - option)) != 0)
			continue;
		free(*table[i].field);
		*table[i].field = strdup(value + 1);
		return *table[i].field ? 0 : error_set(error, "out of memory");
	}
	return error_set(error, "'%s' is not scheme=, username= or header=", option);
}

static int parse_secret_options(char *options, struct rule *rule, struct error *error)
{
	char *save = NULL;

	for (char *option = strtok_r(options, ",", &save); option;
	     option = strtok_r(NULL, ",", &save)) {
		if (parse_secret_option(option, rule, error) < 0)
			return -1;
	}
	if (rule->header && (rule->auth_scheme || rule->username))
		return error_set(error, "header= stands alone, without scheme= and username=");
	if (rule->username && !rule->auth_scheme)
		rule->auth_scheme = strdup("Basic");
	return 0;
}

static bool env_name_valid(const char *name, size_t length)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";

	return length > 0 && (name[0] < '0' || name[0] > '9') && strspn(name, letters) == length;
}

/* The value of a secret on a command line could be read by everybody (ps); it is refused by
 * form. */
static int parse_secret(char *text, struct rule *rule, struct error *error)
{
	char *at = strchr(text, '@');
	char *options;

	if (!at || !env_name_valid(text, (size_t)(at - text)))
		return error_set(error, "a secret is ENV@HOST, where ENV is the name of an "
					"environment variable (never the value)");
	/* So a path with a comma needs a policy file. */
	options = strchr(at, ',');
	if (options)
		*options++ = '\0';
	rule->env = strndup(text, (size_t)(at - text));
	if (!rule->env)
		return error_set(error, "out of memory");
	if (parse_target(at + 1, rule, error) < 0)
		return -1;
	if (rule->scheme && rule->scheme->key)
		return error_set(error, "no secret can be put into what is passed through");
	return options ? parse_secret_options(options, rule, error) : 0;
}

int bottle_routes_secret(struct bottle_routes *routes, const char *text, struct error *error)
{
	struct rule *rule = rules_append(&routes->secrets);
	char *copy = strdup(text);
	int rc = -1;

	if (!rule || !copy)
		error_set(error, "out of memory");
	else
		rc = parse_secret(copy, rule, error);
	if (rc < 0 && rule)
		rules_drop_last(&routes->secrets);
	free(copy);
	return rc;
}

/* A secret that says no more than its host. */
static bool secret_is_bare(const struct rule *secret)
{
	return !secret->path && !secret->port;
}

/* There is at most one for a host: check_secrets(). */
static const struct rule *bare_secret(const struct rules *secrets, const char *host)
{
	for (size_t i = 0; i < secrets->count; i++) {
		const struct rule *secret = &secrets->items[i];

		if (secret_is_bare(secret) && strcasecmp(secret->host, host) == 0)
			return secret;
	}
	return NULL;
}

/* What a service's own documents call the variable, and the only header in which it takes that key. */
static const struct {
	const char *env, *header;
} known_headers[] = {
	{"ANTHROPIC_API_KEY", "x-api-key"},
	{"GEMINI_API_KEY", "x-goog-api-key"},
};

/* NULL: none. */
static const char *header_of(const struct rule *secret)
{
	if (secret->auth_scheme || secret->header)
		return secret->header;
	for (size_t i = 0; i < sizeof(known_headers) / sizeof(known_headers[0]); i++)
		if (strcmp(secret->env, known_headers[i].env) == 0)
			return known_headers[i].header;
	return NULL;
}

/* Bearer where nothing is said: most tokens are. */
static json_t *auth_json(const struct rule *secret)
{
	json_t *auth = json_pack("{s:s}", "token_env", secret->env);
	const char *header = header_of(secret);

	if (header)
		json_object_set_new(auth, "header", json_string(header));
	else
		json_object_set_new(auth, "scheme",
				    json_string(secret->auth_scheme ? secret->auth_scheme
								    : "Bearer"));
	if (secret->username)
		json_object_set_new(auth, "username", json_string(secret->username));
	return auth;
}

/* One route: `where` says host, port and path, `secret` (may be NULL) the credential. */
static int append_route(struct bytes *text, const struct rule *where, const struct rule *secret,
			bool first)
{
	json_t *route = json_pack("{s:s}", "host", where->host);
	char *line;
	bool ok;

	if (where->port)
		json_object_set_new(route, "ports", json_pack("[i]", (int)where->port));
	if (where->path)
		json_object_set_new(route, "path_allowlist", json_pack("[s]", where->path));
	if (where->scheme && where->scheme->key)
		json_object_set_new(route, where->scheme->key, json_string(where->scheme->value));
	if (secret)
		json_object_set_new(route, "auth", auth_json(secret));
	/* In ASCII, as YAML 1.1 also breaks lines at U+0085, U+2028 and U+2029, which JSON leaves
	 * alone: line N has to stay option N. */
	line = route ? json_dumps(route, JSON_ENSURE_ASCII) : NULL;
	json_decref(route);
	ok = line && bytes_printf(text, "%s%s", first ? "" : ", ", line);
	free(line);
	return ok ? 0 : -1;
}

/* A route that passes bytes through can carry no secret, so it stays as --allow wrote it. */
static bool takes_secret(const struct rules *secrets, const struct rule *allow)
{
	return !(allow->scheme && allow->scheme->key) && bare_secret(secrets, allow->host);
}

/* An empty line for a route that its secret writes instead, so that line N stays option N. */
static int append_allows(const struct bottle_routes *routes, struct bytes *text)
{
	bool first = true;

	for (size_t i = 0; i < routes->allows.count; i++) {
		const struct rule *allow = &routes->allows.items[i];

		if (!takes_secret(&routes->secrets, allow)) {
			if (append_route(text, allow, NULL, first) < 0)
				return -1;
			first = false;
		}
		if (!bytes_append_text(text, "\n"))
			return -1;
	}
	return 0;
}

/* The routes of one secret: one for each --allow of its host, or its own. */
static int append_secret(const struct bottle_routes *routes, const struct rule *secret,
			 struct bytes *text, bool *first)
{
	bool inherited = false;

	for (size_t i = 0; secret_is_bare(secret) && i < routes->allows.count; i++) {
		const struct rule *allow = &routes->allows.items[i];

		if (strcasecmp(allow->host, secret->host) != 0 ||
		    !takes_secret(&routes->secrets, allow))
			continue;
		if (append_route(text, allow, secret, *first) < 0)
			return -1;
		inherited = true;
		*first = false;
	}
	if (!inherited && append_route(text, secret, secret, *first) < 0)
		return -1;
	*first = false;
	return bytes_append_text(text, "\n") ? 0 : -1;
}

static int append_secrets(const struct bottle_routes *routes, struct bytes *text)
{
	bool first = true;

	for (size_t i = 0; i < routes->secrets.count; i++) {
		if (append_secret(routes, &routes->secrets.items[i], text, &first) < 0)
			return -1;
	}
	return 0;
}

/* Which of the two would be sent could not be told. */
static int check_secrets(const struct rules *secrets, struct error *error)
{
	for (size_t i = 0; i < secrets->count; i++) {
		const struct rule *secret = &secrets->items[i];
		const struct rule *other = bare_secret(secrets, secret->host);

		if (secret_is_bare(secret) && other != secret)
			return error_set(error,
					 "--secret: %s and %s are both for all of %s; "
					 "give each its path, as in %s@%s/PATH",
					 other->env, secret->env, secret->host, secret->env,
					 secret->host);
	}
	return 0;
}

static char *text_of(const struct bottle_routes *routes,
		     int (*append)(const struct bottle_routes *, struct bytes *))
{
	struct bytes text = {0};
	char *copy = NULL;

	if (bytes_append_text(&text, "{\"routes\": [") && append(routes, &text) == 0 &&
	    bytes_append_text(&text, "]}\n"))
		copy = span_copy(bytes_span(&text));
	bytes_free(&text);
	return copy;
}

int bottle_routes_texts(const struct bottle_routes *routes, char **ret_allow, char **ret_secret,
			struct error *error)
{
	char *allow, *secret;

	if (check_secrets(&routes->secrets, error) < 0)
		return -1;
	allow = text_of(routes, append_allows);
	secret = text_of(routes, append_secrets);
	if (!allow || !secret) {
		free(allow);
		free(secret);
		return error_set(error, "out of memory");
	}
	*ret_allow = allow;
	*ret_secret = secret;
	return 0;
}
