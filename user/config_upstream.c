// SPDX-License-Identifier: BSD-2-Clause
/* The way out: resolvers, roots, and another proxy. */
#include "config_upstream.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "config_values.h"

struct draft_proxy_auth {
	int line; /* 0: absent */
	struct config_text username, token_env, token_file;
};
struct draft_upstream {
	struct config_text proxy, proxy_ca_file, ca_file;
	struct draft_proxy_auth proxy_auth;
	struct config_texts no_proxy, resolvers;
};

#define KEY(type, name, parser) {#name, parser, offsetof(struct type, name)}

/* The line tells an empty mapping from none. */
static void parse_proxy_auth(struct config_context *context, const struct config_node *node,
			     void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_proxy_auth, username, config_parse_text),
		KEY(draft_proxy_auth, token_env, config_parse_text),
		KEY(draft_proxy_auth, token_file, config_parse_text),
	};

	((struct draft_proxy_auth *)ret)->line = node->line;
	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), ret);
}

static const struct config_key upstream_keys[] = {
	KEY(draft_upstream, proxy, config_parse_text),
	KEY(draft_upstream, proxy_ca_file, config_parse_text),
	KEY(draft_upstream, proxy_auth, parse_proxy_auth),
	KEY(draft_upstream, no_proxy, config_parse_texts),
	KEY(draft_upstream, ca_file, config_parse_text),
	KEY(draft_upstream, resolvers, config_parse_texts),
};

/* ---- resolvers ------------------------------------------------------------------------------ */

static void free_resolvers(struct config *config)
{
	for (size_t i = 0; i < config->upstream.resolver_count; i++)
		free(config->upstream.resolvers[i]);
	free(config->upstream.resolvers);
	config->upstream.resolvers = NULL;
	config->upstream.resolver_count = 0;
}

/* As config_alloc(), for what outlives the arena. */
static void *new_list(struct config_context *context, size_t count, size_t size)
{
	void *list = calloc(count, size);

	context->arena->failed |= !list;
	return list;
}

/* A later source replaces the list whole; two halves would be nobody's intention. */
static void apply_resolvers(struct config_context *context, const struct config_texts *list,
			    struct config *config)
{
	size_t mark = config_enter(context, "resolvers");

	free_resolvers(config);
	config->upstream.resolvers = new_list(context, list->count, sizeof(char *));
	for (size_t i = 0; config->upstream.resolvers && i < list->count; i++) {
		size_t inner = config_enter_index(context, i);

		if (config_resolver(context, &list->list[i]))
			config_replace_text(
				context, &config->upstream.resolvers[config->upstream.resolver_count++],
				list->list[i].value);
		config_leave(context, inner);
	}
	config_leave(context, mark);
}

/* ---- the proxy ------------------------------------------------------------------------------ */

static void free_secret(struct policy_secret *secret)
{
	free(secret->source);
	free((char *)secret->file);
	if (secret->value)
		OPENSSL_clear_free(secret->value, strlen(secret->value));
	*secret = (struct policy_secret){0};
}

/* Wipes the password, when it was loaded. */
static void free_proxy(struct config *config)
{
	for (size_t i = 0; i < config->upstream.no_proxy_count; i++)
		free(config->upstream.no_proxy[i].name);
	free(config->upstream.no_proxy);
	free(config->upstream.proxy);
	free(config->upstream.proxy_ca_file);
	free(config->upstream.proxy_user);
	free_secret(&config->upstream.proxy_password);
	config->upstream.no_proxy = NULL;
	config->upstream.no_proxy_count = 0;
	config->upstream.proxy = config->upstream.proxy_ca_file = config->upstream.proxy_user = NULL;
}

/* The file's name is copied: the secret outlives the source. */
static void apply_password(struct config_context *context, const struct draft_proxy_auth *auth,
			   struct config *config)
{
	struct policy_secret *secret = &config->upstream.proxy_password;
	bool by_file = auth->token_file.value != NULL;
	char *file = NULL;

	/* By their lines, not their values: a key with a bad value is there all the same, and
	 * has been reported. */
	if (auth->token_env.line && auth->token_file.line)
		config_fault(context, auth->token_file.line, "one of them",
			     "has both token_env and token_file");
	else if (!auth->token_env.line && !auth->token_file.line)
		config_fault(context, auth->line,
			     "token_env: VARIABLE or token_file: /PATH beside it",
			     "has neither token_env nor token_file for the password");
	if (auth->token_env.value && !config_variable(context, &auth->token_env))
		return;
	if (by_file && !config_file_path(context, "token_file", &auth->token_file,
					 "/run/secrets/proxy"))
		return;
	if (!auth->token_env.value && !by_file)
		return;
	secret->kind = by_file ? POLICY_SECRET_FILE : POLICY_SECRET_ENV;
	secret->line = by_file ? auth->token_file.line : auth->token_env.line;
	config_replace_text(context, &secret->source, by_file ? auth->token_file.value
						     : auth->token_env.value);
	config_replace_text(context, &file, context->source);
	secret->file = file;
}

static void apply_proxy_auth(struct config_context *context, const struct draft_proxy_auth *auth,
			     struct config *config)
{
	size_t mark = config_enter(context, "proxy_auth");

	if (!auth->username.line)
		config_fault(context, auth->line, "{username: NAME, token_env: VARIABLE}",
			     "has no username");
	/* RFC 7617, 2: the first colon ends the name. */
	else if (auth->username.value && strchr(auth->username.value, ':'))
		config_fault(context, auth->username.line, "a name without a colon",
			     "the username holds a colon");
	else if (auth->username.value)
		config_replace_text(context, &config->upstream.proxy_user, auth->username.value);
	apply_password(context, auth, config);
	config_leave(context, mark);
}

/* "10.0.0.0" without a prefix is no host name either, and is reported as one. */
static bool read_no_proxy(struct config_context *context, const struct config_text *text,
			  struct config_no_proxy *ret)
{
	const char *host;

	if (cidr_parse(text->value, &ret->cidr))
		return true;
	if (strchr(text->value, '/') && !strstr(text->value, "://"))
		return config_cidr(context, text, &ret->cidr);
	if (!config_host(context, text, &host))
		return false;
	config_replace_text(context, &ret->name, host);
	return true;
}

static void apply_no_proxy(struct config_context *context, const struct config_texts *list,
			   struct config *config)
{
	size_t mark = config_enter(context, "no_proxy");

	config->upstream.no_proxy = new_list(context, list->count, sizeof(struct config_no_proxy));
	for (size_t i = 0; config->upstream.no_proxy && i < list->count; i++) {
		size_t inner = config_enter_index(context, i);

		if (read_no_proxy(context, &list->list[i],
				  &config->upstream.no_proxy[config->upstream.no_proxy_count]))
			config->upstream.no_proxy_count++;
		config_leave(context, inner);
	}
	config_leave(context, mark);
}

/* They mean something only beside `proxy`, in the same source. */
static void check_alone(struct config_context *context, const struct draft_upstream *draft)
{
	const struct {
		const char *key;
		int line;
	} keys[] = {
		{"proxy_auth", draft->proxy_auth.line},
		{"proxy_ca_file", draft->proxy_ca_file.line},
		{"no_proxy", draft->no_proxy.line},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t mark = config_enter(context, keys[i].key);

		if (keys[i].line)
			config_fault(context, keys[i].line, "proxy: http://HOST:PORT beside it",
				     "there is no upstream.proxy");
		config_leave(context, mark);
	}
}

/* What an earlier source said about another proxy goes, its password too: that must not be sent to
 * this one. */
static void apply_proxy(struct config_context *context, const struct draft_upstream *draft,
			struct config *config)
{
	size_t mark = config_enter(context, "proxy");
	bool fine = config_proxy_url(context, &draft->proxy);

	config_leave(context, mark);
	free_proxy(config);
	if (fine)
		config_replace_text(context, &config->upstream.proxy, draft->proxy.value);
	if (draft->proxy_auth.line)
		apply_proxy_auth(context, &draft->proxy_auth, config);
	if (draft->no_proxy.count > 0)
		apply_no_proxy(context, &draft->no_proxy, config);
	if (!draft->proxy_ca_file.value)
		return;
	if (config_file_path(context, "proxy_ca_file", &draft->proxy_ca_file, "/etc/egress/ca.pem"))
		config_replace_text(context, &config->upstream.proxy_ca_file, draft->proxy_ca_file.value);
	if (fine && strncmp(draft->proxy.value, "https://", 8) != 0)
		config_fault(context, draft->proxy_ca_file.line, "https://HOST:PORT as proxy",
			     "proxy_ca_file is of no use for a proxy without TLS");
}

char *config_no_proxy_text(const struct config *config)
{
	char address[ADDRESS_TEXT_SIZE], *text;
	struct bytes list = {0};
	bool fine = true;

	for (size_t i = 0; fine && i < config->upstream.no_proxy_count; i++) {
		const struct config_no_proxy *one = &config->upstream.no_proxy[i];
		const char *comma = i ? ", " : "";

		if (one->name)
			fine = bytes_printf(&list, "%s%s", comma, one->name);
		else
			/* IPv4 is kept mapped: its prefix is 96 bits longer. */
			fine = bytes_printf(&list, "%s%s/%u", comma,
					    address_format(&one->cidr.address, address),
					    one->cidr.prefix_length -
						    (address_is_v4(&one->cidr.address) ? 96 : 0));
	}
	text = fine ? span_copy(bytes_span(&list)) : NULL;
	bytes_free(&list);
	return text;
}

/* ---- all of it ------------------------------------------------------------------------------ */

void config_upstream(struct config_context *context, const struct config_node *node,
		     struct config *config)
{
	struct draft_upstream draft = {0};
	size_t mark = config_enter(context, "upstream");

	config_mapping(context, node, upstream_keys,
		       sizeof(upstream_keys) / sizeof(upstream_keys[0]), &draft);
	if (draft.proxy.value)
		apply_proxy(context, &draft, config);
	else if (!draft.proxy.line)
		check_alone(context, &draft);
	if (draft.ca_file.value &&
	    config_file_path(context, "ca_file", &draft.ca_file, "/etc/egress/ca.pem"))
		config_replace_text(context, &config->upstream.ca_file, draft.ca_file.value);
	if (draft.resolvers.count > 0)
		apply_resolvers(context, &draft.resolvers, config);
	config_leave(context, mark);
}

void config_upstream_free(struct config *config)
{
	free_resolvers(config);
	free_proxy(config);
	free(config->upstream.ca_file);
}
