/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of policy share; nobody else includes it. */
#ifndef POLICY_INTERNAL_H
#define POLICY_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "arena.h"
#include "policy.h"

/* ---- policy_table.c: names to pointers, open addressing ------------------------------------ */

struct policy_slot {
	struct span key;
	uint64_t hash;
	void *value; /* NULL: free */
};
struct policy_table {
	struct policy_slot *slots;
	size_t capacity, count;
	struct arena *arena; /* where the slots are */
};
void *policy_table_get(const struct policy_table *table, struct span key);
/* Room for so many keys, so that it need not grow. False when out of memory. */
bool policy_table_reserve(struct policy_table *table, size_t count) WARN_UNUSED;
/* The key is borrowed for the table's life and must be new. False when out of memory. */
bool policy_table_put(struct policy_table *table, struct span key, void *value) WARN_UNUSED;

/* ---- policy_path.c -------------------------------------------------------------------------- */

struct policy_path {
	enum policy_path_type type;
	char *text;	   /* exact and prefix: normalised; regex: as written */
	size_t length;
	pcre2_code *regex; /* regex only */
	struct policy_path *next_regex; /* of the policy's, which frees them */
};
enum policy_path_state {
	POLICY_PATH_PLAIN,
	POLICY_PATH_ENCODED_SLASH, /* plain but for %2F, which only some routes take */
	POLICY_PATH_AMBIGUOUS,
};
/* Writes the form that rules are compared with to `ret` (path.length + 1 bytes): percent-encoded
 * unreserved characters decoded, hex digits in upper case. `ret_why` says what is ambiguous. */
enum policy_path_state policy_path_normalise(struct span path, char *ret, size_t *ret_length,
					     const char **ret_why);
/* Its text is the arena's; its regex, also after a failure, for policy_path_release(). */
int policy_path_init(struct policy_path *path, const struct policy_path_spec *spec,
		     struct arena *arena, struct error *error) WARN_UNUSED;
void policy_path_release(struct policy_path *path);
/* 1 the regex matches the whole path, 0 it does not, -1 a limit was hit: refuse. */
int policy_path_regex(const struct policy_path *path, struct span normal,
		      pcre2_match_context *limits) WARN_UNUSED;

/* ---- the policy itself ---------------------------------------------------------------------- */

struct policy_rule_header {
	const char *name, *value;
};
struct policy_match {
	struct policy_path *paths;
	size_t path_count;
	const char **methods;
	size_t method_count;
	struct policy_rule_header *headers;
	size_t header_count;
};
struct policy_secret_entry {
	struct policy_secret shown;
	char *key;		     /* "e" or "f", then the source */
	struct policy_route *routes; /* that inject it, by next_of_secret */
};
struct policy_auth {
	enum policy_auth_scheme scheme;
	const char *header, *username; /* username NULL: the secret is the whole pair */
	struct policy_secret_entry *secret;
	char *value; /* prepared; NULL until the secret is set */
};
struct policy_route {
	struct policy_host *host;
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t port_count;
	enum policy_mode mode;
	struct policy_match *matches;
	size_t match_count;
	bool has_auth;
	struct policy_auth auth;
	struct policy_route *next_of_secret;
	struct policy_client *client; /* the policy's; may be NULL */
	bool allow_private, allow_plaintext, allow_encoded_slash, keep_authorization, uses_matches;
	bool audit;
	const char *file;
	int line;
};
/* One path of one alternative of one route; `path` NULL takes every path. */
struct policy_rule {
	const struct policy_route *route;
	const struct policy_match *match;
	const struct policy_path *path;
	size_t order; /* in the file */
};
struct policy_host_port {
	uint16_t port;
	bool allow_private;		 /* some route says so */
	const struct policy_route *first; /* the first route with the port; its mode is all routes' */
};
struct policy_host {
	const char *name; /* "api.example.com" or "*.example.com" */
	struct policy_route **routes;
	size_t route_count;
	struct policy_host_port *ports;
	size_t port_count;
	const char **injected; /* names of the headers that routes inject, each once */
	size_t injected_count;
	struct policy_rule *rules; /* exact, prefix, regex, any; made by policy_finish() */
	size_t rule_count, first_regex, first_any, longest_prefix;
	struct policy_table exact, prefixes; /* path to the first of its rules */
	struct policy_route *audit; /* takes what the routes refuse; NULL: nothing does */
	bool strict; /* some route has path rules or auth: an ambiguous path is refused */
};
/* What has no destructor of its own is the arena's: hosts, routes, rules, texts and tables. */
struct policy {
	struct arena arena;
	size_t references, route_count;
	const char *file; /* of the route before: most have the same */
	struct policy_path *regexes; /* by next_regex */
	struct policy_host **hosts; /* in the order they were added */
	size_t host_count;
	struct policy_table names, suffixes; /* suffixes: of "*.", without it */
	struct policy_host *others; /* names that no route allows, in audit; "*" */
	bool audit;
	struct policy_cidr *cidrs; /* policy_finish() sorts them, the longest prefix first */
	size_t cidr_count;
	struct policy_secret_entry **secrets;
	size_t secret_count;
	struct policy_client **clients;
	size_t client_count;
	struct policy_table secret_index;
	pcre2_match_context *limits;
};

/* ---- policy_audit.c ------------------------------------------------------------------------- */

/* Gives `policy->others`, and the hosts where `enforcement: audit` says so, the route that takes what
 * is refused. False when out of memory. */
bool policy_audit_finish(struct policy *policy) WARN_UNUSED;
/* Lets a refusal that audit covers pass without a credential. */
void policy_audit(const struct policy *policy, const struct policy_host *host,
		  struct policy_verdict *verdict);

/* ---- policy_host.c -------------------------------------------------------------------------- */

/* NULL when no route of the host has the port. */
const struct policy_host_port *policy_host_port(const struct policy_host *host, uint16_t port);
/* Some route of the host lets %2F pass as a literal. */
bool policy_host_takes_encoded_slash(const struct policy_host *host);

/* ---- policy.c ------------------------------------------------------------------------------- */

/* The array with room for one more; it doubles at powers of two. NULL when out of memory: the old
 * array is then as it was. */
void *policy_grow(void *array, size_t count, size_t item_size) WARN_UNUSED;

/* ---- policy_secret.c ------------------------------------------------------------------------ */

/* Copies the route's auth and enters it under its secret. */
int policy_auth_init(struct policy *policy, struct policy_route *route,
		     const struct policy_auth_spec *spec, struct error *error) WARN_UNUSED;
void policy_secret_free(struct policy_secret_entry *entry); /* wipes, in its routes too */

/* ---- policy_client.c ------------------------------------------------------------------------ */

/* Enters the route's certificate and key. */
int policy_client_init(struct policy *policy, struct policy_route *route,
		       const struct policy_route_spec *spec, struct error *error) WARN_UNUSED;
void policy_client_free(struct policy_client *client); /* accepts NULL */

/* ---- policy_effective.c --------------------------------------------------------------------- */

/* An entry of `routes`, indented by two, as a route of `host`; and two of its parts. */
void policy_print_route(FILE *to, const struct policy_route *route, const char *host);
void policy_print_auth(FILE *to, const struct policy_auth *auth);
void policy_print_client(FILE *to, const struct policy_client *client);

/* ---- policy_override.c ---------------------------------------------------------------------- */

/* The value, as it came, of the first header or parameter of the query from `at` on by which frameworks let
 * a client name the method; moves `at` behind it. data is NULL when there is none. */
struct span policy_overriding_method(const struct policy_request *request, size_t *at);

/* By its request line or one of those: the answer would repeat the request, with the credential
 * that we put in. */
bool policy_asks_for_trace(const struct policy_request *request);
/* In the same ways, for what has a second path (WebDAV: RFC 4918, 9.8 and 9.9). */
bool policy_asks_for_move(const struct policy_request *request);

/* That path, of the first header Destination from `at` on; moves `at` behind it. It is the header's text when
 * that names another host, or no path. data is NULL when there is none. */
struct span policy_destination(const struct policy_request *request, size_t *at);

/* Whether a header of this name may have another method or a second path in it. */
bool policy_is_overriding(struct span name);

/* ---- policy_hint.c -------------------------------------------------------------------------- */

/* What would allow a request, in the verdict's hint. */
void policy_hint(const struct policy_request *request, const char *ambiguity,
		 struct policy_verdict *verdict);

#endif
