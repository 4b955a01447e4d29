/* SPDX-License-Identifier: BSD-2-Clause */
/* Values that mean something: hosts, blocks of addresses, URLs; only config*.c and plan_*.c include
 * it. Each function reports what is wrong and returns false. */
#ifndef CONFIG_VALUES_H
#define CONFIG_VALUES_H

#include "config_keys.h"

/* A host or "*.host": A-labels, lower case; arena memory. */
bool config_host(struct config_context *context, const struct config_text *text,
		 const char **ret_host) WARN_UNUSED;
/* The address must be the block's first: bits behind the prefix are a mistake that would widen
 * it. */
bool config_cidr(struct config_context *context, const struct config_text *text,
		 struct cidr *ret_cidr) WARN_UNUSED;
/* True when private addresses lie in the block. */
bool config_cidr_is_private(const struct cidr *cidr);
/* A token in capitals, as methods are case-sensitive (RFC 9110, 9.1). Not CONNECT: it is never
 * forwarded. */
bool config_method(struct config_context *context, const struct config_text *text) WARN_UNUSED;
/* Of the application: not one that frames the message or belongs to the connection. */
bool config_header_name(struct config_context *context, const struct config_text *text)
	WARN_UNUSED;
bool config_variable(struct config_context *context, const struct config_text *text) WARN_UNUSED;
/* `line` is where the path stands. With "%2F" only on a route that lets it through. */
bool config_path(struct config_context *context, int line, const struct policy_path_spec *spec,
		 bool allow_encoded_slash) WARN_UNUSED;
/* True for `enforcement: audit`; false for enforce, for none, and for what is reported. */
bool config_enforcement(struct config_context *context, const struct config_text *text) WARN_UNUSED;
/* "http://host:port" or "https://host:port". */
bool config_proxy_url(struct config_context *context, const struct config_text *text) WARN_UNUSED;
/* An absolute path; `key` names it and `example` is the cure. */
bool config_file_path(struct config_context *context, const char *key,
		      const struct config_text *text, const char *example) WARN_UNUSED;
/* Puts a copy of `value` in the place of *text, which is freed. Without memory it stays, and the arena
 * has failed. */
void config_replace_text(struct config_context *context, char **text, const char *value);
/* An address, with or without a port: a name would need a resolver itself. */
bool config_resolver(struct config_context *context, const struct config_text *text) WARN_UNUSED;
/* IPv4, /8 to /24, private throughout: nobody outside may have an address that means a name
 * inside. */
bool config_pool(struct config_context *context, const struct config_text *text,
		 struct cidr *ret_pool) WARN_UNUSED;

#endif
