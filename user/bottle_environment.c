// SPDX-License-Identifier: BSD-2-Clause
/* The command's environment, from ours. Secrets are known by the names that the policy gives, and
 * are searched for by value as well, since the same token often stands under two names. */
#include "bottle_environment.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "trust_variables.h"

/* Replaced when inherited: they would point the tool at roots without our CA. */
static const char *const ca_variables_if_set[] = {
	"NIX_SSL_CERT_FILE",          "SYSTEM_CERTIFICATE_PATH", "BUNDLE_SSL_CA_CERT",
	"npm_config_cafile",          "NPM_CONFIG_CAFILE",       "YARN_CAFILE",
	"WEBSOCKET_CLIENT_CA_BUNDLE",
};

/* Dropped: directories of roots, what sudo tells, and what points at the host's own sockets. */
static const char *const dropped[] = {
	"SSL_CERT_DIR",	   "GIT_SSL_CAPATH", "SUDO_UID", "SUDO_GID",
	"SUDO_USER",	   "SUDO_COMMAND",   "SUDO_HOME", "SUDO_PROMPT",
	"SUDO_ASKPASS",	   "SUDO_PS1",	     "DBUS_SESSION_BUS_ADDRESS",
	"XDG_RUNTIME_DIR",
};

static const char *const proxy_variables[] = {"http_proxy", "https_proxy", "all_proxy",
					      "ftp_proxy"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct builder {
	char **items;
	size_t count;
};

/* All of the entry when it has no '='. */
static size_t name_length(const char *entry)
{
	return strcspn(entry, "=");
}

static bool names(const char *entry, const char *name)
{
	size_t length = name_length(entry);

	return strlen(name) == length && strncmp(entry, name, length) == 0;
}

static bool listed(const char *entry, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (names(entry, list[i]))
			return true;
	}
	return false;
}

static const char *value_in(char *const *environment, const char *name)
{
	for (; *environment; environment++) {
		if (names(*environment, name) && (*environment)[strlen(name)] == '=')
			return *environment + strlen(name) + 1;
	}
	return NULL;
}

/* Left out when inherited, and added at the end: each name once. */
static bool is_set_by_us(const char *entry, const struct environment_options *options)
{
	if (listed(entry, trust_variables, trust_variable_count))
		return true;
	return (options->user && (names(entry, "USER") || names(entry, "LOGNAME"))) ||
	       (options->home && names(entry, "HOME")) ||
	       (options->shell && names(entry, "SHELL"));
}

/* The host's own proxy cannot be reached from the bottle; ours, by its name, can. */
static bool is_foreign_proxy(const char *entry, const struct environment_options *options)
{
	for (size_t i = 0; i < COUNT(proxy_variables); i++) {
		size_t length = strlen(proxy_variables[i]);
		const char *host = entry + length + 1;
		const char *end;

		if (name_length(entry) != length || entry[length] != '=' ||
		    strncasecmp(entry, proxy_variables[i], length) != 0)
			continue;
		end = strstr(host, "://");
		host = end ? end + 3 : host;
		end = host + strcspn(host, ":/");
		length = strlen(options->proxy_name);
		return (size_t)(end - host) != length ||
		       strncasecmp(host, options->proxy_name, length) != 0;
	}
	return false;
}

/* True for a variable that is a secret, or that carries the value of one under another name. A
 * value too short to be a secret is not searched for: it would match by chance. */
static bool holds_secret(const char *entry, char *const *inherited,
			 const struct environment_options *options)
{
	if (listed(entry, options->secrets, options->secret_count))
		return true;
	for (size_t i = 0; i < options->secret_count; i++) {
		const char *value = value_in(inherited, options->secrets[i]);

		if (value && strlen(value) >= 8 && strstr(entry + name_length(entry), value))
			return true;
	}
	return false;
}

/* The list ends in NULL at any time, so that it can be freed half built. */
static bool add(struct builder *builder, const char *name, size_t length, const char *value)
{
	char **items = reallocarray(builder->items, builder->count + 2, sizeof(*items));

	if (!items)
		return false;
	builder->items = items;
	items[builder->count] = NULL;
	if (asprintf(&items[builder->count], "%.*s=%s", (int)length, name, value) < 0) {
		items[builder->count] = NULL;
		return false;
	}
	items[++builder->count] = NULL;
	return true;
}

static bool add_named(struct builder *builder, const char *name, const char *value)
{
	return !value || add(builder, name, strlen(name), value);
}

/* One inherited variable: dropped, replaced or kept. */
static bool add_inherited(struct builder *builder, const char *entry, char *const *inherited,
			  const struct environment_options *options)
{
	size_t length = name_length(entry);

	if (entry[length] != '=' || is_set_by_us(entry, options) ||
	    listed(entry, dropped, COUNT(dropped)) || is_foreign_proxy(entry, options))
		return true;
	if (holds_secret(entry, inherited, options))
		return add(builder, entry, length, BOTTLE_PLACEHOLDER);
	if (listed(entry, ca_variables_if_set, COUNT(ca_variables_if_set)))
		return add(builder, entry, length, options->ca_bundle);
	return add(builder, entry, length, entry + length + 1);
}

char **environment_build(char *const *inherited, const struct environment_options *options)
{
	struct builder builder = {0};
	bool ok = true;

	for (char *const *entry = inherited; ok && *entry; entry++)
		ok = add_inherited(&builder, *entry, inherited, options);
	for (size_t i = 0; ok && i < trust_variable_count; i++)
		ok = add_named(&builder, trust_variables[i], options->ca_bundle);
	ok = ok && add_named(&builder, "USER", options->user) &&
	     add_named(&builder, "LOGNAME", options->user) &&
	     add_named(&builder, "HOME", options->home) &&
	     add_named(&builder, "SHELL", options->shell);
	if (ok)
		return builder.items;
	environment_free(builder.items);
	return NULL;
}

void environment_free(char **environment)
{
	for (char **entry = environment; entry && *entry; entry++)
		free(*entry);
	free(environment);
}

/* The octets alone: the entries keep their place, which is what /proc/PID/environ shows. */
void environment_wipe(char **environment)
{
	for (; *environment; environment++)
		explicit_bzero(*environment, strlen(*environment));
}
