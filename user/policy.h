/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What may be reached and with which credential. Pure: no I/O, no clock, no globals; safe to read
 * from any thread once built. config.c builds it; secrets are put in afterwards.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "address.h"
#include "attributes.h"
#include "bytes.h"
#include "client_cert.h"
#include "diag.h"
#include "reason.h"

/* How bytes to a host are treated; one per host, checked when the policy is built. */
enum policy_mode {
	POLICY_INTERCEPT,   /* HTTP, in TLS or plain: judged request by request */
	POLICY_PASSTHROUGH, /* TLS with the SNI checked, spliced */
	POLICY_TCP,	    /* spliced */
};

enum policy_path_type { POLICY_PATH_EXACT, POLICY_PATH_PREFIX, POLICY_PATH_REGEX };

enum policy_auth_scheme {
	POLICY_AUTH_BEARER, /* Authorization: Bearer SECRET */
	POLICY_AUTH_TOKEN,  /* Authorization: token SECRET */
	POLICY_AUTH_BASIC,  /* Authorization: Basic base64(username:SECRET); RFC 7617 */
	POLICY_AUTH_HEADER, /* the route's own header: SECRET */
};

/* Where a secret comes from: one per distinct source, shared by the routes that name it. */
enum policy_secret_kind { POLICY_SECRET_ENV, POLICY_SECRET_FILE };
struct policy_secret {
	enum policy_secret_kind kind;
	char *source;	 /* variable name or path */
	const char *file; /* where the first route that names it stands, for messages */
	int line;
	char *value; /* NULL until policy_set_secret(); never logged */
};

/* ---- building (config.c only) ------------------------------------------------------------- */

struct policy_path_spec {
	enum policy_path_type type;
	const char *value;
};
struct policy_header_spec {
	const char *name, *value;
};
/* One alternative of a route; empty lists mean 'any'. */
struct policy_match_spec {
	const struct policy_path_spec *paths;
	size_t path_count;
	const char *const *methods;
	size_t method_count;
	const struct policy_header_spec *headers;
	size_t header_count;
};
struct policy_auth_spec {
	enum policy_auth_scheme scheme;
	const char *header;   /* POLICY_AUTH_HEADER */
	/* POLICY_AUTH_BASIC; may be "". NULL: the secret is the whole "user:password", as it is or
	 * in base64. */
	const char *username;
	enum policy_secret_kind kind;
	const char *source;
};
struct policy_route_spec {
	const char *host;	  /* "name", "*.name"; NULL when cidr is set; already normalised */
	const struct cidr *cidr;
	const uint16_t *ports;
	size_t port_count; /* none: 443 and 80; passthrough 443; POLICY_TCP must name some */
	enum policy_mode mode;
	const struct policy_match_spec *matches; /* none: everything on the host */
	size_t match_count;
	const struct policy_auth_spec *auth; /* may be NULL */
	const char *client_cert, *client_key; /* paths; both or neither */
	bool allow_private, allow_plaintext, allow_encoded_slash, keep_authorization, direct;
	bool audit; /* what no route of the host takes passes without a credential, and is said */
	bool uses_matches; /* written as `matches`: hints then say so */
	const char *file; /* shown by `why` and in the log; copied */
	int line;
};

/* Whether policy_add() takes the path; -1 with `error` set. A path with "%2F" is fine here, though
 * only a route with allow_encoded_slash can ever see one: `ret_encoded_slash` says so. */
int policy_check_path(const struct policy_path_spec *spec, bool *ret_encoded_slash,
		      struct error *error) WARN_UNUSED;

struct policy;
struct policy *policy_new(void) WARN_UNUSED;
bool policy_expect(struct policy *policy, size_t hosts) WARN_UNUSED; /* makes room for more names */
/* Adds a copy of `spec`. -1 with `error` set when it conflicts with what is there (two modes on
 * one port of a host, too many ports, a bad regex) or when memory is out; the policy is then only
 * good for more errors and policy_unref(). */
int policy_add(struct policy *policy, const struct policy_route_spec *spec, struct error *error)
	WARN_UNUSED;
/* Of the whole policy, before policy_finish(): names that no route allows are treated so, too, on
 * the ports that HTTP is spoken on. Addresses and protocols are refused as ever. */
void policy_set_audit(struct policy *policy);
bool policy_is_audit(const struct policy *policy);
/* Sorts and indexes; after it the policy is immutable but for secrets. */
int policy_finish(struct policy *policy, struct error *error) WARN_UNUSED;

/* From any thread. The last policy_unref() wipes the secrets. */
struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy *policy);
bool policy_is_shared(const struct policy *policy); /* others hold a reference beside the caller */

/* ---- secrets ------------------------------------------------------------------------------ */

#define POLICY_SECRET_SIZE 65536 /* bytes at most */

/* One per distinct source; the index is stable for the policy's life. Borrowed. */
size_t policy_secret_count(const struct policy *policy);
const struct policy_secret *policy_secret_at(const struct policy *policy, size_t index);
/* -1 with `error` set for an empty value, one that is too long, or one with control characters; the
 * message names the source, never the value. */
int policy_check_secret(const struct policy_secret *secret, struct span value, struct error *error)
	WARN_UNUSED;
/* Stores a copy and prepares the header lines. -1 as policy_check_secret(). */
int policy_set_secret(struct policy *policy, size_t index, struct span value, struct error *error)
	WARN_UNUSED;

/* What a route shows to hosts that ask for a certificate: one per distinct pair of files. */
struct policy_client {
	char *certificate;	   /* its path */
	struct policy_secret key;  /* its path, and where the first route that names it stands */
	struct client_cert *loaded; /* NULL until policy_set_client() */
};
size_t policy_client_count(const struct policy *policy);
const struct policy_client *policy_client_at(const struct policy *policy, size_t index);
/* Takes over the reference. */
void policy_set_client(struct policy *policy, size_t index, struct client_cert *cert);

/* ---- asking ------------------------------------------------------------------------------- */

/* Lower-cases, drops one trailing dot, checks RFC 1123 form (underscores allowed). `ret` has
 * EGRESS_NAME_SIZE bytes. IDNA is config.c's business: here names are A-labels already. */
bool policy_normalise_host(struct span host, char *ret) WARN_UNUSED;

/* The proxy's own pages have a name that every bottle may ask for, on one port, without a route; what
 * it leads to is us, and no routes of that name are asked. */
#define POLICY_LOCAL_HOST "_egress.local"
#define POLICY_LOCAL_PORT 80
bool policy_is_local(const char *name); /* `name` is normalised */

/* The host's rules: exact name first, then the longest wildcard; NULL when nothing names it. */
struct policy_host;
const struct policy_host *policy_find_host(const struct policy *policy, const char *name);
/* True when the rules are those of a wildcard: the bottle can make up names under it. */
bool policy_host_is_wildcard(const struct policy_host *host);
/* POLICY_INTERCEPT for a port that no route names: what is not allowed is never spliced. */
enum policy_mode policy_host_mode(const struct policy_host *host, uint16_t port);
bool policy_host_allows_port(const struct policy_host *host, uint16_t port);
/* True when what goes to that port is spliced, unseen: raw TCP, or TLS on a passthrough port. */
bool policy_host_splices(const struct policy_host *host, uint16_t port, bool tls);
#define POLICY_MAX_HEADERS 16 /* of one match */
/* The union of the ports of the host's routes; at most EGRESS_MAX_PORTS. Returns the count. */
size_t policy_host_ports(const struct policy_host *host, uint16_t ports[EGRESS_MAX_PORTS]);
/* Whether some route with the port lets it be dialled at private addresses; false for a port of
 * none. */
bool policy_host_allows_private(const struct policy_host *host, uint16_t port);

struct policy_cidr {
	struct cidr cidr;
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t port_count;
	bool direct, allow_private;
	const char *file;
	int line;
};
/* After policy_finish() the longest prefix comes first. Borrowed from the policy. */
size_t policy_cidr_count(const struct policy *policy);
const struct policy_cidr *policy_cidr_at(const struct policy *policy, size_t index);
/* The longest prefix that contains the address, if it allows the port; else NULL. It decides
 * alone, as in the kernel's LPM map: a narrower block replaces a wider one. */
const struct policy_cidr *policy_find_cidr(const struct policy *policy,
					   const struct egress_address *address, uint16_t port);

struct policy_header {
	struct span name, value;
};
struct policy_request {
	const char *host; /* normalised */
	uint16_t port;
	bool tls;
	struct span method;
	struct span target; /* origin-form, with query; as it came */
	const struct policy_header *headers;
	size_t header_count;
};

struct policy_route; /* opaque: ask with the functions below */

struct policy_verdict {
	enum egress_reason reason;	  /* EGRESS_ALLOWED or why not */
	enum egress_reason audited;	  /* allowed by audit alone: what it would be; else _ALLOWED */
	const struct policy_host *host;	  /* whose rules were asked; NULL: nobody's */
	const struct policy_route *route; /* that allowed, or that came closest; may be NULL */
	struct span path;		  /* of the target, without the query */
	char hint[256];			  /* what would allow it; "" when there is nothing to say */
};
/* Judges one request by the rules of one name: the exact one, else the longest wildcard. Of these
 * the most specific that takes path, method and headers decides: exact path, longest prefix,
 * regex, any path; ties go to the first in the file. TRACE never passes where a credential is
 * injected: its answer would hold it. Never fails: a fault is a refusal (EGRESS_INTERNAL). */
void policy_decide(const struct policy *policy, const struct policy_request *request,
		   struct policy_verdict *ret_verdict);

const char *policy_route_host(const struct policy_route *route); /* "*.example.com", say */
const char *policy_route_file(const struct policy_route *route); /* where it stands */
int policy_route_line(const struct policy_route *route);
/* The header to inject: name and prepared value; both empty when the route has no auth. When
 * the secret was never set this is false and the request must be refused as internal. */
bool policy_route_credential(const struct policy_route *route, struct span *ret_name,
			     struct span *ret_value) WARN_UNUSED;
/* Whose secret the route injects, in which header; NULL without auth. For `why`, outside. */
const struct policy_secret *policy_route_secret(const struct policy_route *route,
						const char **ret_header);
/* The certificate to show to the host, NULL when the route has none; borrowed from the policy. When
 * it was never set this is false and the request must be refused as internal. */
bool policy_route_client(const struct policy_route *route, struct client_cert **ret) WARN_UNUSED;
/* Who the bottle is to this host before a request has chosen a route: the first certificate that its
 * routes of this port name, or NULL; borrowed from the policy. */
struct client_cert *policy_host_client(const struct policy_host *host, uint16_t port);
/* True for a header that must not pass to this host: it names another host, or another path where paths
 * were judged; or is Authorization, or what any route of the host injects, unless the route keeps these. */
bool policy_route_strips(const struct policy_route *route, struct span header_name);
/* The same of a trailer: what the route's rules judge is none. */
bool policy_route_strips_trailer(const struct policy_route *route, struct span name);

size_t policy_route_count(const struct policy *policy); /* as they were added */
size_t policy_host_count(const struct policy *policy);	/* names and wildcards, each once */
/* The routes without secrets as JSON text for `_egress.local/allowlist`; caller frees. */
char *policy_describe(const struct policy *policy) WARN_UNUSED;
/* The entries of `routes` as YAML with every default written out, in the order in which ties are
 * broken: config_parse() makes the same policy of it. Names where secrets come from, holds none.
 * NULL when out of memory; caller frees. */
char *policy_effective(const struct policy *policy) WARN_UNUSED;
/* A text as a YAML scalar; "?" for what is no UTF-8, which YAML cannot say. */
void policy_print_quoted(FILE *to, const char *text);

#endif
