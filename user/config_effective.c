// SPDX-License-Identifier: BSD-2-Clause
/* The configuration in force as one file, for `check --effective` and for diffs: what it prints
 * parses to the same policy, and holds no secret. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static void print_key(FILE *to, const char *key, const char *value)
{
	fprintf(to, "  %s: ", key);
	policy_print_quoted(to, value);
	fputc('\n', to);
}

/* Names where the password comes from. `direct` is config_no_proxy_text(), and taken apart. */
static void print_proxy(FILE *to, const struct config *config, char *direct)
{
	const struct policy_secret *password = &config->upstream.proxy_password;

	print_key(to, "proxy", config->upstream.proxy);
	if (config->upstream.proxy_ca_file)
		print_key(to, "proxy_ca_file", config->upstream.proxy_ca_file);
	if (config->upstream.proxy_user) {
		fputs("  proxy_auth:\n  ", to);
		print_key(to, "username", config->upstream.proxy_user);
		fputs("  ", to);
		print_key(to, password->kind == POLICY_SECRET_ENV ? "token_env" : "token_file",
			  password->source);
	}
	if (!*direct)
		return;
	fputs("  no_proxy:\n", to);
	for (char *one; (one = strsep(&direct, ","));)
		fprintf(to, "    - \"%s\"\n", one + (*one == ' '));
}

static void print_upstream(FILE *to, const struct config *config, char *direct)
{
	if (!config->upstream.proxy && !config->upstream.ca_file &&
	    config->upstream.resolver_count == 0)
		return;
	fputs("upstream:\n", to);
	if (config->upstream.proxy)
		print_proxy(to, config, direct);
	if (config->upstream.ca_file)
		print_key(to, "ca_file", config->upstream.ca_file);
	for (size_t i = 0; i < config->upstream.resolver_count; i++)
		fprintf(to, "%s\"%s\"", i ? ", " : "  resolvers: [",
			config->upstream.resolvers[i]);
	if (config->upstream.resolver_count > 0)
		fputs("]\n", to);
}

/* The pool is IPv4, kept with a mapped prefix. */
static void print_dns(FILE *to, const struct config *config)
{
	const struct cidr *pool = &config->dns.pool;
	char text[ADDRESS_TEXT_SIZE];

	fprintf(to, "dns:\n  mode: %s\n  pool: %s/%u\n  name_limit: %zu\n",
		config->dns.mode == CONFIG_DNS_REAL ? "real" : "synthetic",
		address_format(&pool->address, text), pool->prefix_length - 96,
		config->dns.name_limit);
	print_key(to, "name", config->dns.proxy_name);
	fprintf(to, "limits:\n  buffered_mib: %zu\n", config->buffered_mib);
}

char *config_effective(const struct config *config)
{
	char *routes = policy_effective(config->policy), *text = NULL;
	char *direct = config_no_proxy_text(config);
	size_t length;
	FILE *to = routes && direct ? open_memstream(&text, &length) : NULL;
	bool failed;

	if (to) {
		fprintf(to, "routes:%s%s", routes[0] ? "\n" : " []\n", routes);
		print_upstream(to, config, direct);
		print_dns(to, config);
		fprintf(to, "hints: %s\n", config->hints ? "true" : "false");
		fprintf(to, "enforcement: %s\n",
			policy_is_audit(config->policy) ? "audit" : "enforce");
		/* Before fclose(3), after which there is nobody to ask. */
		failed = ferror(to) != 0;
		if (fclose(to) != 0 || failed) {
			free(text);
			text = NULL;
		}
	}
	free(routes);
	free(direct);
	return text;
}
