// SPDX-License-Identifier: BSD-2-Clause
/* A manifest has many owners: what stands beside `egress` is other tools'. What stands in it is ours,
 * and there an unknown key is an error. */
#include <stdio.h>
#include <string.h>

#include "config_keys.h"
#include "plan_make.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define KEY(type, name, parser) {#name, parser, offsetof(struct type, name)}

/* Keys of a bottle, or of the whole manifest, that launchers read; nothing in them opens a way out. */
static const char *const foreign[] = {
	"agent",   "agent_provider", "agents",	   "args",	 "build",    "command",
	"cpus",	   "description",    "dockerfile", "entrypoint", "env",	     "env_file",
	"git",	   "git_gate",	     "hostname",   "image",	 "labels",   "memory",
	"model",   "mounts",	     "prompt",	   "resources",	 "runtime",  "skills",
	"supervise", "tags",	     "user",	   "version",	 "volumes",  "workdir",
};

/* What the ancestors called it. */
static const struct {
	const char *name, *cure;
} old_keys[] = {
	{"cred_proxy", "egress.routes with auth: {scheme: Bearer, token_ref: VARIABLE} at the host"},
	{"egress_proxy", "egress: {routes: [{host: NAME}], upstream: {proxy: \"http://HOST:PORT\"}}"},
};

/* "x-" is everybody's own, as in Compose files. */
static bool is_foreign(const char *key)
{
	if (strncmp(key, "x-", 2) == 0)
		return true;
	for (size_t i = 0; i < COUNT(foreign); i++) {
		if (strcmp(key, foreign[i]) == 0)
			return true;
	}
	return false;
}

/* Passed over, an old key would be a way out, or a credential, that is silently missing. */
static bool is_old(struct config_context *context, const struct config_node *node)
{
	for (size_t i = 0; i < COUNT(old_keys); i++) {
		if (strcmp(node->key, old_keys[i].name) != 0)
			continue;
		config_fault(context, node->key_line, old_keys[i].cure,
			     "%s is a key of older manifests and has moved", node->key);
		return true;
	}
	return false;
}

/* A mapping without the keys of others; old ones are reported. What is no mapping stays. */
static const struct config_node *own_keys(struct config_context *context,
					  const struct config_node *node, bool shared)
{
	struct config_node *copy = plan_alloc(context->arena, sizeof(*copy)), **end;

	if (node->kind != CONFIG_MAPPING)
		return node;
	*copy = *node;
	copy->first = NULL;
	copy->count = 0;
	end = &copy->first;
	for (const struct config_node *child = node->first; child; child = child->next) {
		if (is_old(context, child) || (shared && is_foreign(child->key)))
			continue;
		*end = plan_alloc(context->arena, sizeof(**end));
		**end = *child;
		(*end)->next = NULL;
		end = &(*end)->next;
		copy->count++;
	}
	return copy;
}

static void take_node(struct config_context *context, const struct config_node *node, void *ret)
{
	(void)context;
	*(const struct config_node **)ret = node;
}

/* ---- which bottle --------------------------------------------------------------------------- */

struct draft_manifest {
	const struct config_node *bottle, *bottles;
};
struct draft_bottle {
	struct config_text name;
	const struct config_node *egress;
};

/* Lower case, and one hyphen for all that is not a letter or digit. At most 48, so that prefixes
 * and suffixes still fit a container's name of 63. */
static void make_slug(const char *name, char ret[49])
{
	size_t used = 0;

	for (; *name && used < 48; name++) {
		char c = *name >= 'A' && *name <= 'Z' ? (char)(*name | 0x20) : *name;

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			ret[used++] = c;
		else if (used > 0 && ret[used - 1] != '-')
			ret[used++] = '-';
	}
	while (used > 0 && ret[used - 1] == '-')
		used--;
	ret[used] = '\0';
}

/* Without complaints: choose() looks at all bottles, and only one is asked for. */
static const char *bottle_name(const struct config_node *node)
{
	if (node->key) /* of `bottles: {NAME: ...}` */
		return node->key;
	for (const struct config_node *child = node->first;
	     node->kind == CONFIG_MAPPING && child; child = child->next) {
		if (strcmp(child->key, "name") == 0 && child->kind == CONFIG_SCALAR)
			return child->text;
	}
	return NULL;
}

/* Two bottles with one slug would share a sidecar's name, and its wall. */
static void check_names(struct config_context *context, const struct config_node *list,
			const struct config_node *chosen, const char *slug)
{
	for (const struct config_node *node = list->first; node; node = node->next) {
		const char *name = bottle_name(node);
		char other[49];

		if (node == chosen || !name)
			continue;
		make_slug(name, other);
		if (strcmp(other, slug) == 0)
			config_fault(context, node->line, "names that differ in letters or digits",
				     "the bottles \"%.40s\" and \"%.40s\" have the same short name "
				     "\"%s\"",
				     bottle_name(chosen), name, slug);
	}
}

/* The answer to a wrong name is the list of right ones. */
static const struct config_node *choose(struct config_context *context,
					const struct config_node *list, const char *name,
					struct plan_draft *draft)
{
	char names[200] = "";
	size_t index = 0;

	if (list->kind != CONFIG_MAPPING && list->kind != CONFIG_SEQUENCE) {
		if (list->kind != CONFIG_INVALID)
			config_fault(context, list->line, "bottles: {NAME: {egress: {routes: []}}}",
				     "is neither a mapping nor a list");
		return NULL;
	}
	for (const struct config_node *node = list->first; node; node = node->next, index++) {
		const char *own = bottle_name(node);
		size_t used = strlen(names);

		if (!own && !node->key)
			config_fault(context, node->line, "name: NAME in each entry of the list",
				     "bottle %zu has no name", index);
		if (own && strcmp(own, name) == 0) {
			check_names(context, list, node, draft->slug);
			if (node->key)
				config_enter(context, node->key);
			else
				config_enter_index(context, index);
			return node;
		}
		if (own && used < 100)
			snprintf(names + used, sizeof(names) - used, "%s%.40s", used ? ", " : "", own);
	}
	config_fault(context, list->line, names[0] ? names : "a bottle", "has no bottle \"%.80s\"",
		     name);
	return NULL;
}

static const struct config_node *find_bottle(struct config_context *context,
					     const struct config_node *root, const char *name,
					     struct plan_draft *draft)
{
	static const struct config_key keys[] = {
		KEY(draft_manifest, bottle, take_node),
		KEY(draft_manifest, bottles, take_node),
	};
	struct draft_manifest manifest = {0};

	config_mapping(context, own_keys(context, root, true), keys, COUNT(keys), &manifest);
	if (manifest.bottle && manifest.bottles)
		config_fault(context, manifest.bottles->key_line, "one of them",
			     "there are both bottle and bottles");
	else if (manifest.bottle)
		config_enter(context, "bottle");
	else if (manifest.bottles) {
		config_enter(context, "bottles");
		return choose(context, manifest.bottles, name, draft);
	} else if (root->kind == CONFIG_MAPPING)
		config_fault(context, root->line,
			     "bottle: {egress: {routes: [{host: NAME}]}}, or bottles: {NAME: ...}",
			     "there is no bottle");
	return manifest.bottles ? NULL : manifest.bottle;
}

/* ---- what is ours of it --------------------------------------------------------------------- */

struct draft_networks {
	struct config_text bottle, sidecar;
};
struct draft_egress {
	const struct config_node *routes, *upstream, *dns, *hints;
	struct draft_networks networks;
};

/* Docker's rule for names; the value becomes an argument of the engine's client. */
static const char *check_network(struct config_context *context, const struct config_text *text)
{
	static const char allowed[] = "_.-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const char *name = text->value;
	size_t length = name ? strlen(name) : 0;

	if (length == 0)
		return NULL;
	if (length <= 64 && strspn(name, allowed) == length && !strchr("_.-", name[0]))
		return name;
	config_fault(context, text->line, "none, or the name of one of the engine's networks",
		     "\"%.80s\" is not the name of a network", name);
	return NULL;
}

static void take_networks(struct config_context *context, const struct config_node *node, void *ret)
{
	static const struct config_key keys[] = {
		KEY(draft_networks, bottle, config_parse_text),
		KEY(draft_networks, sidecar, config_parse_text),
	};

	config_mapping(context, node, keys, COUNT(keys), ret);
}

/* No `routes` is an empty list: the bottle reaches nothing. */
static void read_egress(struct config_context *context, const struct config_node *node,
			struct plan_bottle *bottle)
{
	static const struct config_key keys[] = {
		KEY(draft_egress, routes, take_node),	 KEY(draft_egress, upstream, take_node),
		KEY(draft_egress, dns, take_node),	 KEY(draft_egress, hints, take_node),
		KEY(draft_egress, networks, take_networks),
	};
	struct draft_egress egress = {0};

	config_mapping(context, own_keys(context, node, false), keys, COUNT(keys), &egress);
	bottle->routes = egress.routes;
	bottle->upstream = egress.upstream;
	bottle->dns = egress.dns;
	bottle->hints = egress.hints;
	config_enter(context, "networks");
	bottle->networks_line = egress.networks.bottle.line ? egress.networks.bottle.line
							    : egress.networks.sidecar.line;
	bottle->network_bottle = check_network(context, &egress.networks.bottle);
	bottle->network_sidecar = check_network(context, &egress.networks.sidecar);
}

static void read_bottle(struct config_context *context, const struct config_node *node,
			const char *name, struct plan_bottle *bottle)
{
	static const struct config_key keys[] = {
		KEY(draft_bottle, name, config_parse_text),
		KEY(draft_bottle, egress, take_node),
	};
	struct draft_bottle found = {0};

	config_mapping(context, own_keys(context, node, true), keys, COUNT(keys), &found);
	if (found.name.value && strcmp(found.name.value, name) != 0)
		config_fault(context, found.name.line, found.name.value,
			     "the bottle's name is \"%.80s\", not \"%.80s\"", found.name.value, name);
	bottle->line = node->line;
	config_enter(context, "egress");
	snprintf(bottle->path, sizeof(bottle->path), "%s", context->path);
	if (found.egress)
		read_egress(context, found.egress, bottle);
}

/* The slug is made first, for check_names() compares with it. */
bool plan_find_bottle(struct plan_draft *draft, const struct config_source *manifest,
		      const char *name, struct plan_bottle *ret, struct diag_list *errors)
{
	struct config_context context = {
		.arena = &draft->arena, .errors = errors, .source = manifest->name};
	const struct config_node *root, *node = NULL;
	size_t before = errors->count;

	make_slug(name, draft->slug);
	draft->bottle = name;
	if (draft->slug[0] == '\0')
		diag_list_add(errors, manifest->name, 0,
			      "the bottle's name \"%.80s\" has no letters a to z and no digits; would "
			      "be right: a name such as agent-1",
			      name);
	root = config_tree_parse(&draft->arena, manifest->name, manifest->text, errors);
	if (root)
		node = find_bottle(&context, root, name, draft);
	*ret = (struct plan_bottle){.line = 0};
	if (node)
		read_bottle(&context, node, name, ret);
	return node && errors->count == before;
}

const struct config_node *plan_find_provider(struct plan_draft *draft,
					     const struct config_source *file,
					     struct diag_list *errors)
{
	static const struct config_key keys[] = {{"routes", take_node, 0}};
	struct config_context context = {
		.arena = &draft->arena, .errors = errors, .source = file->name};
	const struct config_node *root, *routes = NULL;
	size_t before = errors->count;

	root = config_tree_parse(&draft->arena, file->name, file->text, errors);
	if (!root || root->kind == CONFIG_SEQUENCE)
		return root;
	config_mapping(&context, own_keys(&context, root, true), keys, COUNT(keys), &routes);
	if (!routes && errors->count == before)
		config_fault(&context, root->line, "routes: [{host: NAME, auth: {scheme: Bearer, "
						   "token_ref: VARIABLE}}]",
			     "routes is missing");
	return routes;
}
