/* SPDX-License-Identifier: BSD-2-Clause */
/* routes.yaml: libyaml events, through a table of keys, to a validated policy. */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "diag.h"
#include "policy.h"

enum config_dns_mode { CONFIG_DNS_SYNTHETIC, CONFIG_DNS_REAL };

/* A name, "*.name", or a block of addresses. */
struct config_no_proxy {
	char *name; /* normalised; NULL: cidr */
	struct cidr cidr;
};

struct config {
	struct policy *policy; /* owned */
	bool hints;	       /* default true: refusals say what would allow them */
	struct {
		char *proxy;	     /* "http://host:port", "https://host:port" or NULL */
		char *proxy_ca_file; /* the only roots for a https:// proxy; NULL: as for origins */
		char *proxy_user;    /* NULL: no credential for the proxy */
		struct policy_secret proxy_password;
		struct config_no_proxy *no_proxy; /* what is dialled directly all the same */
		size_t no_proxy_count;
		char *ca_file;	  /* more roots, or NULL */
		char **resolvers; /* "192.0.2.53" or "192.0.2.53:5353" */
		size_t resolver_count;
	} upstream;
	struct {
		enum config_dns_mode mode;
		struct cidr pool;    /* IPv4; default 198.18.0.0/15 */
		char *proxy_name;    /* default "egress"; `dns.name` */
		size_t name_limit;   /* names a bottle may ever be given; default 4096 */
	} dns;
	size_t buffered_mib; /* limits.buffered_mib: what the proxy's buffers may hold; default 512 */
	uint8_t hash[16]; /* of the sources' bytes: SHA-256, truncated */
};

/* A text and what to call it in messages: a file's path, or the option it was made from. */
struct config_source {
	const char *name;
	struct span text;
};

/* Parses all sources as one policy, routes in order. Every error of every source is added to
 * `errors`; NULL when there was one. Reads nothing but its arguments. Caller frees. */
struct config *config_parse(const struct config_source *sources, size_t count,
			    struct diag_list *errors) WARN_UNUSED;
/* Wipes the secrets (with the policy's last reference). Accepts NULL. */
void config_free(struct config *config);

/* The whole as YAML with every default written out, that config_parse() reads back as the same
 * policy; without secrets. NULL when out of memory; caller frees. */
char *config_effective(const struct config *config) WARN_UNUSED;

/* "a.test, 10.0.0.0/8", as in the file; "" when there is none. Caller frees; NULL when out of
 * memory. */
char *config_no_proxy_text(const struct config *config) WARN_UNUSED;

/* The content of a file, at most 16 MiB; -1 with `error` set. Caller frees `ret_content`. */
int config_read_file(const char *path, struct bytes *ret_content, struct error *error) WARN_UNUSED;
/* The same beside a loop that has to be able to end: -1 when nothing comes out of a pipe for so long. */
#define CONFIG_PATIENCE_MS 3000
int config_read_file_within(const char *path, int patience_ms, struct bytes *ret_content,
			    struct error *error) WARN_UNUSED;

/* Reads and parses one file; what is wrong, reading included, is added to `errors`. Caller frees. */
struct config *config_open(const char *path, struct diag_list *errors) WARN_UNUSED;

/* Fills every secret of the policy from the environment and from files. Adds to `errors`: unset
 * and empty are different errors, each naming the variable or file and the route's line. */
bool config_load_secrets(struct config *config, struct diag_list *errors) WARN_UNUSED;
/* The same, with the files of `directory` for the environment's variables, unless it is NULL: the
 * content of DIRECTORY/NAME is what `token_env: NAME` names. */
bool config_load_secrets_from(struct config *config, const char *directory,
			      struct diag_list *errors) WARN_UNUSED;

/* The same, from a configuration that has them all: nothing is read. False when one is missing or
 * memory is out. */
bool config_copy_secrets(struct config *config, const struct config *from) WARN_UNUSED;

/* Whatever the configuration takes a secret from, the policy's secrets first: what must not be
 * found in the bottle. */
size_t config_secret_count(const struct config *config);
const struct policy_secret *config_secret_at(const struct config *config, size_t index);

/* The sources and the secrets as one blob, for the worker, and back. The blob holds secrets:
 * wipe it. config_unpack() validates as config_parse() does; NULL with `error` set. */
bool config_pack(const struct config_source *sources, size_t count, const struct config *config,
		 struct bytes *ret_blob) WARN_UNUSED;
struct config *config_unpack(struct span blob, struct error *error) WARN_UNUSED;
/* The two in halves. A blob begins with its sources, which hold no secret and can be known before the
 * secrets are: config_pack_sources() makes that beginning alone, and config_unpack_sources() a policy
 * of it, and of `blob` what follows. That is for config_unpack_secrets(), without which the policy
 * is not to be used; -1 with `error` set: it is still the caller's to free. */
bool config_pack_sources(const struct config_source *sources, size_t count, struct bytes *ret_blob)
	WARN_UNUSED;
struct config *config_unpack_sources(struct span *blob, struct error *error) WARN_UNUSED;
int config_unpack_secrets(struct span rest, struct config *config, struct error *error) WARN_UNUSED;
/* The sources of a blob, without its secrets; their texts are the blob's. NULL: it is damaged, or
 * memory is out. Caller frees: config_free_sources(). */
struct config_source *config_packed_sources(struct span blob, size_t *ret_count) WARN_UNUSED;
void config_free_sources(struct config_source *sources, size_t count);

#endif
