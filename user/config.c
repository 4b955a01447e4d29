// SPDX-License-Identifier: BSD-2-Clause
/* From texts to a policy. Every error of every source is collected before the whole is refused:
 * nothing is half applied, and who mends the file sees all of it at once. Without memory the
 * whole is refused, too, since a policy that lost a rule could allow more: the arena knows of it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_document.h"
#include "config_keys.h"
#include "config_route.h"
#include "config_upstream.h"
#include "config_values.h"

#define MAX_FILE ((size_t)16 << 20)
#define MAX_ERRORS 200 /* of one source; nobody reads more */
/* For tests of devices (RFC 2544): no host on the Internet has an address of it. */
#define DEFAULT_POOL "198.18.0.0/15"
#define DEFAULT_NAME "egress"
/* More than programs need under a wildcard; an end to what names of its own invention can make a
 * bottle use up: memory, and addresses of the pool. */
#define DEFAULT_NAME_LIMIT 4096

/* A thousand readers that stall, or a hundred that are fast and far away. */
#define DEFAULT_BUFFERED_MIB 512
#define LEAST_BUFFERED_MIB 16 /* one connection of HTTP/2 with a hundred streams */
#define MOST_BUFFERED_MIB 65536

/* What one source says; routes go to the policy at once. */
struct draft_dns {
	struct config_text mode, pool, name;
	struct config_number name_limit;
};
struct draft_limits {
	struct config_number buffered_mib;
};
struct draft {
	const struct config_node *routes, *upstream;
	struct draft_dns dns;
	struct draft_limits limits;
	struct config_flag hints;
	struct config_text enforcement;
};

#define KEY(type, name, parser) {#name, parser, offsetof(struct type, name)}

/* Kept for later: what a node means may depend on its siblings. */
static void parse_node(struct config_context *context, const struct config_node *node, void *ret)
{
	(void)context;
	*(const struct config_node **)ret = node;
}

static void parse_dns(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_dns, mode, config_parse_text),
		KEY(draft_dns, pool, config_parse_text),
		KEY(draft_dns, name, config_parse_text),
		KEY(draft_dns, name_limit, config_parse_number),
	};

	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), ret);
}

static void parse_limits(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_limits, buffered_mib, config_parse_number),
	};

	config_mapping(context, node, keys, sizeof(keys) / sizeof(keys[0]), ret);
}

static const struct config_key top_keys[] = {
	KEY(draft, routes, parse_node),
	KEY(draft, upstream, parse_node),
	KEY(draft, dns, parse_dns),
	KEY(draft, limits, parse_limits),
	KEY(draft, hints, config_parse_flag),
	KEY(draft, enforcement, config_parse_text),
};

/* ---- applying ------------------------------------------------------------------------------- */

/* A list that is none has no routes, and is an error: a file that was cut must not become "refuse
 * everything" unseen. */
static void apply_routes(struct config_context *context, const struct config_node *routes,
			 struct config *config)
{
	size_t index = 0, mark = config_enter(context, "routes"), before = context->errors->count;
	struct config_arena *tree = context->arena, draft = {0};

	if (routes->kind != CONFIG_SEQUENCE && routes->kind != CONFIG_INVALID)
		config_fault(context, routes->line,
			     "a list of {host: NAME}; [] to refuse everything", "is not a list");
	draft.failed = !policy_expect(config->policy, routes->count);
	/* The policy copies what it keeps. For a hundred thousand drafts the kernel need not find fresh
	 * memory. */
	/* cppcheck-suppress autoVariables ; put back below */
	context->arena = &draft;
	for (const struct config_node *node = routes->first; node && !draft.failed; node = node->next) {
		size_t inner = config_enter_index(context, index++);

		if (context->errors->count - before >= MAX_ERRORS) {
			config_fault(context, node->line, "these first",
				     "is not looked at after so many errors");
			break;
		}
		if (routes->kind == CONFIG_SEQUENCE)
			config_route(context, node, config->policy);
		arena_clear(&draft.memory);
		config_leave(context, inner);
	}
	context->arena = tree;
	tree->failed |= draft.failed;
	config_arena_free(&draft);
	config_leave(context, mark);
}

static void apply_dns_mode(struct config_context *context, const struct config_text *mode,
			   struct config *config)
{
	if (strcmp(mode->value, "synthetic") == 0)
		config->dns.mode = CONFIG_DNS_SYNTHETIC;
	else if (strcmp(mode->value, "real") == 0)
		config->dns.mode = CONFIG_DNS_REAL;
	else
		config_fault(context, mode->line, "synthetic (the default) or real",
			     "mode \"%.40s\" is unknown", mode->value);
}

/* Programs dial what looks like an address, and never ask for it by DNS. */
static void apply_dns_name(struct config_context *context, const struct config_text *name,
			   struct config *config)
{
	char normal[EGRESS_NAME_SIZE];
	struct egress_address address;

	if (policy_normalise_host(span_from(name->value), normal) &&
	    !address_parse(name->value, &address))
		config_replace_text(context, &config->dns.proxy_name, normal);
	else
		config_fault(context, name->line, "a host name, such as egress",
			     "name \"%.80s\" is not a host name", name->value);
}

static void apply_dns(struct config_context *context, const struct draft_dns *draft,
		      struct config *config)
{
	const struct config_number *limit = &draft->name_limit;
	size_t outer = config_enter(context, "dns"), mark;
	struct cidr pool;

	if (draft->mode.value)
		apply_dns_mode(context, &draft->mode, config);
	if (draft->name.value)
		apply_dns_name(context, &draft->name, config);
	if (draft->pool.value) {
		mark = config_enter(context, "pool");
		if (config_pool(context, &draft->pool, &pool))
			config->dns.pool = pool;
		config_leave(context, mark);
	}
	if (limit->line && limit->value >= 1 && limit->value <= EGRESS_MAX_ADDRESSES)
		config->dns.name_limit = limit->value;
	else if (limit->line)
		config_fault(context, limit->line, "a number from 1 to 131072, such as 4096",
			     "name_limit %lu is out of range", limit->value);
	config_leave(context, outer);
}

static void apply_limits(struct config_context *context, const struct draft_limits *draft,
			 struct config *config)
{
	const struct config_number *mib = &draft->buffered_mib;
	size_t outer = config_enter(context, "limits");

	if (mib->line && mib->value >= LEAST_BUFFERED_MIB && mib->value <= MOST_BUFFERED_MIB)
		config->buffered_mib = mib->value;
	else if (mib->line)
		config_fault(context, mib->line, "a number from 16 to 65536, such as 512",
			     "buffered_mib %lu is out of range", mib->value);
	config_leave(context, outer);
}

/* True when the document had `routes`. Errors do not end it: the next key may have others. */
static bool apply_document(struct config_context *context, const struct config_node *root,
			   struct config *config)
{
	struct draft draft = {0};

	config_mapping(context, root, top_keys, sizeof(top_keys) / sizeof(top_keys[0]), &draft);
	if (draft.routes)
		apply_routes(context, draft.routes, config);
	if (draft.upstream)
		config_upstream(context, draft.upstream, config);
	apply_dns(context, &draft.dns, config);
	apply_limits(context, &draft.limits, config);
	if (draft.hints.line)
		config->hints = draft.hints.value;
	if (config_enforcement(context, &draft.enforcement))
		policy_set_audit(config->policy);
	if (context->arena->failed)
		diag_list_no_memory(context->errors);
	return draft.routes != NULL;
}

static bool parse_source(const struct config_source *source, struct config *config,
			 struct diag_list *errors)
{
	struct config_arena arena = {0};
	struct config_context context = {.arena = &arena, .errors = errors, .source = source->name};
	const struct config_node *root;
	bool routes = false;

	root = config_tree_parse(&arena, source->name, source->text, errors);
	if (root)
		routes = apply_document(&context, root, config);
	config_arena_free(&arena);
	return routes;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* NULL, and said, when memory is out. */
static struct config *config_new(struct diag_list *errors)
{
	struct config *config = calloc(1, sizeof(*config));

	if (config) {
		config->policy = policy_new();
		config->hints = true;
		config->dns.proxy_name = strdup(DEFAULT_NAME);
		config->dns.name_limit = DEFAULT_NAME_LIMIT;
		config->buffered_mib = DEFAULT_BUFFERED_MIB;
		if (config->policy && config->dns.proxy_name &&
		    cidr_parse(DEFAULT_POOL, &config->dns.pool))
			return config;
	}
	config_free(config);
	diag_list_no_memory(errors);
	return NULL;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	policy_unref(config->policy);
	config_upstream_free(config);
	free(config->dns.proxy_name);
	free(config);
}

/* For `status` and logs, to tell policies apart; not a signature. */
static bool hash_sources(const struct config_source *sources, size_t count, uint8_t ret_hash[16])
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char hash[EVP_MAX_MD_SIZE];
	/* libcrypto crashes where its first call of all was out of memory, and went on. */
	bool fine = OSSL_LIB_CTX_get0_global_default() && digest &&
		    EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; fine && i < count; i++) {
		uint64_t length = sources[i].text.length; /* or "ab", "c" would be "a", "bc" */

		fine = EVP_DigestUpdate(digest, &length, sizeof(length)) == 1 &&
		       EVP_DigestUpdate(digest, sources[i].text.data, sources[i].text.length) == 1;
	}
	fine = fine && EVP_DigestFinal_ex(digest, hash, NULL) == 1;
	if (fine)
		memcpy(ret_hash, hash, 16);
	else
		ERR_clear_error(); /* it would be blamed on this thread's next connection */
	EVP_MD_CTX_free(digest);
	return fine;
}

/* What all sources have to give together; NULL, and `config` freed, when there was an error. */
static struct config *finish(struct config *config, const char *source, bool routes, size_t before,
			     struct diag_list *errors)
{
	struct error error = {0};

	if (!routes && errors->count == before)
		diag_list_add(errors, source, 0,
			      "routes: is missing; would be right: routes: [{host: NAME}], or [] to "
			      "refuse everything");
	/* The responder answers that name with the proxy's address: the route would never be
	 * asked. */
	if (policy_find_host(config->policy, config->dns.proxy_name))
		diag_list_add(errors, source, 0,
			      "dns.name: \"%s\" is a host of the routes too; would be right: another "
			      "name for the proxy",
			      config->dns.proxy_name);
	if (errors->count == before && policy_finish(config->policy, &error) < 0)
		diag_list_add_error(errors, source, 0, &error);
	if (errors->count == before)
		return config;
	config_free(config);
	return NULL;
}

struct config *config_parse(const struct config_source *sources, size_t count,
			    struct diag_list *errors)
{
	size_t before = errors->count;
	struct config *config = config_new(errors);
	bool routes = false;

	if (!config)
		return NULL;
	for (size_t i = 0; i < count; i++)
		routes |= parse_source(&sources[i], config, errors);
	config = finish(config, count > 0 ? sources[0].name : "policy", routes, before, errors);
	if (!config || hash_sources(sources, count, config->hash))
		return config;
	diag_list_no_memory(errors);
	config_free(config);
	return NULL;
}

/* Paths in messages begin where the document stands in its file. */
struct config *config_from_documents(const struct config_document *documents, size_t count,
				     struct diag_list *errors)
{
	size_t before = errors->count;
	struct config *config = config_new(errors);
	struct config_arena arena = {0};
	bool routes = false;

	if (!config)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		struct config_context context = {
			.arena = &arena, .errors = errors, .source = documents[i].source};

		config_enter(&context, documents[i].path);
		routes |= apply_document(&context, documents[i].root, config);
	}
	config_arena_free(&arena);
	return finish(config, count > 0 ? documents[0].source : "policy", routes, before, errors);
}

/* poll(2) also waits for the first writer of a pipe, where read(2) would call it ended. */
static int read_patiently(struct bytes *content, int fd, int patience_ms)
{
	struct pollfd input = {.fd = fd, .events = POLLIN};

	for (;;) {
		int count = poll(&input, 1, patience_ms);

		if (count > 0 && bytes_read(content, fd, MAX_FILE) == 0)
			return 0;
		if (count == 0)
			errno = EAGAIN;
		if (count == 0 || errno != (count > 0 ? EAGAIN : EINTR))
			return -1;
	}
}

/* No limit by fstat(): it may be a pipe, as in --policy <(...). */
int config_read_file_within(const char *path, int patience_ms, struct bytes *ret_content,
			    struct error *error)
{
	struct bytes content = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int result = -1;

	if (fd < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	if (read_patiently(&content, fd, patience_ms) == 0)
		result = 0;
	else if (errno == EFBIG)
		error_set(error, "%s: larger than 16 MiB", path);
	else if (errno == EAGAIN)
		error_set(error, "%s: a pipe that nothing comes out of", path);
	else
		error_set(error, "%s: %s", path, strerror(errno));
	close(fd);
	if (result == 0)
		*ret_content = content;
	else
		bytes_free(&content);
	return result;
}

int config_read_file(const char *path, struct bytes *ret_content, struct error *error)
{
	return config_read_file_within(path, -1, ret_content, error);
}

struct config *config_open(const char *path, struct diag_list *errors)
{
	struct config_source source = {.name = path};
	struct bytes content = {0};
	struct error error = {0};
	struct config *config;

	if (config_read_file(path, &content, &error) < 0) {
		/* The list says the name itself. */
		diag_list_add(errors, path, 0, "%s", error.text + strlen(path) + 2);
		return NULL;
	}
	source.text = bytes_span(&content);
	config = config_parse(&source, 1, errors);
	bytes_free(&content);
	return config;
}
