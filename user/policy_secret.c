// SPDX-License-Identifier: BSD-2-Clause
/* Secrets, and the header lines made from them. No message holds a value. */
#include "policy_internal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(struct error *error)
{
	return error_set(error, "out of memory");
}

static void wipe(char *text)
{
	if (text)
		OPENSSL_clear_free(text, strlen(text));
}

void policy_secret_free(struct policy_secret_entry *entry)
{
	if (!entry)
		return;
	for (struct policy_route *route = entry->routes; route; route = route->next_of_secret)
		wipe(route->auth.value);
	wipe(entry->shown.value);
	free(entry->key);
	free(entry);
}

static struct policy_secret_entry *secret_new(struct policy *policy, char *key)
{
	struct policy_secret_entry *entry = calloc(1, sizeof(*entry));
	void *secrets = arena_grow(&policy->arena, policy->secrets, policy->secret_count,
				   sizeof(void *));

	if (secrets)
		policy->secrets = secrets;
	if (!entry || !secrets ||
	    !policy_table_put(&policy->secret_index, span_from(key), entry)) {
		free(entry);
		return NULL;
	}
	entry->key = key;
	entry->shown.source = key + 1;
	policy->secrets[policy->secret_count++] = entry;
	return entry;
}

/* The one entry for a source, made when it is new. The key's first letter keeps a variable and a
 * file of one name apart. */
static struct policy_secret_entry *secret_for(struct policy *policy,
					      const struct policy_auth_spec *spec)
{
	struct policy_secret_entry *entry;
	char *key;

	if (asprintf(&key, "%c%s", spec->kind == POLICY_SECRET_ENV ? 'e' : 'f', spec->source) < 0)
		return NULL;
	entry = policy_table_get(&policy->secret_index, span_from(key));
	if (!entry) {
		entry = secret_new(policy, key);
		if (entry)
			entry->shown.kind = spec->kind;
		else
			free(key);
	} else {
		free(key);
	}
	return entry;
}

/* The entry's place is that of the first route that names it. */
int policy_auth_init(struct policy *policy, struct policy_route *route,
		     const struct policy_auth_spec *spec, struct error *error)
{
	struct policy_auth *auth = &route->auth;
	struct policy_secret_entry *entry = secret_for(policy, spec);

	auth->scheme = spec->scheme;
	auth->header = spec->scheme == POLICY_AUTH_HEADER
			       ? arena_text(&policy->arena, span_from(spec->header))
			       : "Authorization";
	auth->username = spec->username ? arena_text(&policy->arena, span_from(spec->username)) : NULL;
	if (!entry || !auth->header || (spec->username && !auth->username))
		return out_of_memory(error);
	if (!entry->shown.file) {
		entry->shown.file = route->file;
		entry->shown.line = route->line;
	}
	auth->secret = entry;
	route->has_auth = true;
	route->next_of_secret = entry->routes;
	entry->routes = route;
	return 0;
}

size_t policy_secret_count(const struct policy *policy)
{
	return policy->secret_count;
}

const struct policy_secret *policy_secret_at(const struct policy *policy, size_t index)
{
	return &policy->secrets[index]->shown;
}

/* Not by asprintf(3), which frees what it has outgrown, or could not shrink, with the secret in it. */
static char *join(const char *a, const char *b, const char *c)
{
	char *text = malloc(strlen(a) + strlen(b) + strlen(c) + 1);

	if (text)
		stpcpy(stpcpy(stpcpy(text, a), b), c);
	return text;
}

/* EVP_EncodeBlock() writes its own NUL, for which sizeof("Basic ") has room. */
static char *basic_encode(const char *username, const char *password)
{
	size_t length = strlen(username) + 1 + strlen(password);
	char *pair = join(username, ":", password);
	char *value = malloc(sizeof("Basic ") + (length + 2) / 3 * 4);

	if (!value || !pair) {
		wipe(pair);
		free(value);
		return NULL;
	}
	memcpy(value, "Basic ", sizeof("Basic "));
	EVP_EncodeBlock((unsigned char *)value + strlen("Basic "), (const unsigned char *)pair,
			(int)length);
	OPENSSL_clear_free(pair, length);
	return value;
}

/* True for base64 of something with a colon: credentials that are encoded already. Without the
 * colon a token that happens to be base64 would be sent as a credential that it is not. */
static bool is_encoded_pair(const char *secret, struct error *error)
{
	size_t length = strlen(secret);
	unsigned char *decoded = malloc(length + 1);
	int count;
	bool pair;

	if (!decoded) {
		out_of_memory(error);
		return false;
	}
	if (length % 4 != 0) {
		free(decoded);
		return false;
	}
	count = EVP_DecodeBlock(decoded, (const unsigned char *)secret, (int)length);
	pair = count > 0 && memchr(decoded, ':', (size_t)count);
	OPENSSL_clear_free(decoded, length + 1);
	return pair;
}

/* RFC 7617. Without a username the secret is the whole "user:password", or its base64, which
 * cannot be mistaken for one as it has no colon. NULL with `error` set when it is neither. */
static char *basic_value(const struct policy_auth *auth, const char *secret, struct error *error)
{
	const char *colon = strchr(secret, ':');
	char *value = NULL, *user;

	if (auth->username)
		return basic_encode(auth->username, secret);
	if (colon) {
		user = strndup(secret, (size_t)(colon - secret));
		value = user ? basic_encode(user, colon + 1) : NULL;
		wipe(user);
		return value;
	}
	if (!is_encoded_pair(secret, error))
		error_set(error,
			  "the secret %s is no \"user:password\", which Basic needs without a username",
			  auth->secret->shown.source);
	else
		value = join("Basic ", secret, "");
	return value;
}

/* NULL also when memory is out, then without an error of its own. */
static char *header_value(const struct policy_auth *auth, const char *secret, struct error *error)
{
	static const char *const prefixes[] = {
		[POLICY_AUTH_BEARER] = "Bearer ",
		[POLICY_AUTH_TOKEN] = "token ",
		[POLICY_AUTH_HEADER] = "",
	};

	if (auth->scheme == POLICY_AUTH_BASIC)
		return basic_value(auth, secret, error);
	return join(prefixes[auth->scheme], secret, "");
}

/* A line break would end the header and begin another of somebody's choice; spaces at the ends
 * would be trimmed by the receiver. */
int policy_check_secret(const struct policy_secret *secret, struct span value, struct error *error)
{
	const char *kind = secret->kind == POLICY_SECRET_ENV ? "the variable" : "the file";

	if (value.length == 0)
		return error_set(error, "%s %s is empty", kind, secret->source);
	if (value.length > POLICY_SECRET_SIZE)
		return error_set(error, "%s %s holds more than %d bytes", kind, secret->source,
				 POLICY_SECRET_SIZE);
	for (size_t i = 0; i < value.length; i++) {
		unsigned char c = (unsigned char)value.data[i];

		if (c < 0x20 || c == 0x7f)
			return error_set(error, "%s %s holds a control character or a line break",
					 kind, secret->source);
	}
	if (span_trim(value).length != value.length)
		return error_set(error, "%s %s begins or ends with a space", kind, secret->source);
	return 0;
}

/* Every route that names the source gets its own header value: schemes differ. */
int policy_set_secret(struct policy *policy, size_t index, struct span value, struct error *error)
{
	struct policy_secret_entry *entry = policy->secrets[index];
	char *copy;

	if (policy_check_secret(&entry->shown, value, error) < 0)
		return -1;
	copy = span_copy(value);
	if (!copy)
		return out_of_memory(error);
	/* Only now: without memory for the new one the old one stays. */
	wipe(entry->shown.value);
	entry->shown.value = copy;
	for (struct policy_route *route = entry->routes; route; route = route->next_of_secret) {
		wipe(route->auth.value);
		route->auth.value = header_value(&route->auth, copy, error);
		if (!route->auth.value)
			return out_of_memory(error);
	}
	return 0;
}

/* False only when the secret is missing: an empty or placeholder credential is never sent. */
bool policy_route_credential(const struct policy_route *route, struct span *ret_name,
			     struct span *ret_value)
{
	if (route->has_auth && !route->auth.value)
		return false;
	*ret_name = route->has_auth ? span_from(route->auth.header) : (struct span){"", 0};
	*ret_value = route->has_auth ? span_from(route->auth.value) : (struct span){"", 0};
	return true;
}

const struct policy_secret *policy_route_secret(const struct policy_route *route,
						const char **ret_header)
{
	if (!route->has_auth)
		return NULL;
	*ret_header = route->auth.header;
	return &route->auth.secret->shown;
}
