// SPDX-License-Identifier: BSD-2-Clause
/* The checked nodes as routes.yaml, by libyaml's own emitter, so that what one half of the library
 * quotes the other half unquotes; and plan.json. */
#include <jansson.h>
#include <string.h>
#include <yaml.h>

#include "plan_make.h"

#define FLOW_LIMIT 8 /* a longer list stands one entry a line */

struct writer {
	yaml_emitter_t emitter;
	bool failed;
};

static int take_output(void *context, unsigned char *data, size_t length)
{
	return bytes_append(context, data, length) ? 1 : 0;
}

/* yaml_emitter_emit() owns the event, also when it fails; after that we free it. */
static void emit(struct writer *w, yaml_event_t *event, int made)
{
	if (made && w->failed)
		yaml_event_delete(event);
	else
		w->failed = !made || !yaml_emitter_emit(&w->emitter, event);
}

/* Plain stays plain: quoted, `true` and numbers would become text. */
static void put_scalar(struct writer *w, const char *text, bool plain)
{
	yaml_event_t event;

	emit(w, &event,
	     yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
					  (int)strlen(text), plain, 1,
					  plain ? YAML_PLAIN_SCALAR_STYLE
						: YAML_DOUBLE_QUOTED_SCALAR_STYLE));
}

static void open_list(struct writer *w, bool flow)
{
	yaml_event_t event;

	emit(w, &event,
	     yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
						  flow ? YAML_FLOW_SEQUENCE_STYLE
						       : YAML_BLOCK_SEQUENCE_STYLE));
}

static void close_list(struct writer *w)
{
	yaml_event_t event;

	emit(w, &event, yaml_sequence_end_event_initialize(&event));
}

static void open_mapping(struct writer *w)
{
	yaml_event_t event;

	emit(w, &event,
	     yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
}

static void close_mapping(struct writer *w)
{
	yaml_event_t event;

	emit(w, &event, yaml_mapping_end_event_initialize(&event));
}

/* Keys are unique: config_tree_parse() saw to it. */
static const struct config_node *child_of(const struct config_node *node, const char *key)
{
	for (const struct config_node *child = node->first; child; child = child->next) {
		if (strcmp(child->key, key) == 0)
			return child;
	}
	return NULL;
}

/* The form that the seeds read, where it says all there is to say. */
static bool put_flat_auth(struct writer *w, const struct config_node *auth)
{
	const struct config_node *scheme = child_of(auth, "scheme");
	const struct config_node *token_env = child_of(auth, "token_env");

	if (!scheme || !token_env || auth->count != 2)
		return false;
	put_scalar(w, "auth_scheme", true);
	put_scalar(w, scheme->text, scheme->plain);
	put_scalar(w, "token_env", true);
	put_scalar(w, token_env->text, token_env->plain);
	return true;
}

static bool has_scalars_only(const struct config_node *list)
{
	for (const struct config_node *child = list->first; child; child = child->next) {
		if (child->kind != CONFIG_SCALAR)
			return false;
	}
	return true;
}

/* Depth is bounded by the tree's own limit of 16. */
static void put_node(struct writer *w, const struct config_node *node)
{
	if (node->kind == CONFIG_SCALAR) {
		put_scalar(w, node->text, node->plain);
	} else if (node->kind == CONFIG_SEQUENCE) {
		open_list(w, node->count <= FLOW_LIMIT && has_scalars_only(node));
		for (const struct config_node *child = node->first; child; child = child->next)
			put_node(w, child);
		close_list(w);
	} else {
		open_mapping(w);
		for (const struct config_node *child = node->first; child; child = child->next) {
			if (strcmp(child->key, "auth") == 0 && child->kind == CONFIG_MAPPING &&
			    put_flat_auth(w, child))
				continue;
			put_scalar(w, child->key, true);
			put_node(w, child);
		}
		close_mapping(w);
	}
}

static void put_document(struct writer *w, const struct plan_draft *draft)
{
	yaml_event_t event;

	emit(w, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
	emit(w, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
	open_mapping(w);
	put_scalar(w, "routes", true);
	open_list(w, draft->route_count == 0);
	for (size_t i = 0; i < draft->route_count; i++)
		put_node(w, draft->routes[i].node);
	close_list(w);
	/* The manifest's document is the last; the providers' have routes alone. */
	for (const struct config_node *child =
		     draft->documents[draft->document_count - 1].root->first;
	     child; child = child->next) {
		if (strcmp(child->key, "routes") == 0)
			continue;
		put_scalar(w, child->key, true);
		put_node(w, child);
	}
	close_mapping(w);
	emit(w, &event, yaml_document_end_event_initialize(&event, 1));
	emit(w, &event, yaml_stream_end_event_initialize(&event));
}

bool plan_render_routes(const struct plan_draft *draft, struct bytes *ret)
{
	struct writer w = {.failed = false};

	if (!yaml_emitter_initialize(&w.emitter))
		return false;
	yaml_emitter_set_output(&w.emitter, take_output, ret);
	yaml_emitter_set_unicode(&w.emitter, 1);
	yaml_emitter_set_width(&w.emitter, -1); /* a folded text would be another text */
	put_document(&w, draft);
	w.failed |= !yaml_emitter_flush(&w.emitter);
	yaml_emitter_delete(&w.emitter);
	return !w.failed;
}

/* ---- plan.json ------------------------------------------------------------------------------ */

static json_t *describe_route(const struct plan_route *route)
{
	json_t *object = json_object(), *roles = json_array();

	for (size_t i = 0; i < route->role_count; i++)
		json_array_append_new(roles, json_string(route->roles[i]));
	json_object_set_new(object, route->host ? "host" : "cidr",
			    json_string(route->host ? route->host : route->cidr));
	json_object_set_new(object, "from",
			    json_string(route->origin == PLAN_FROM_PROVIDER ? "provider"
									    : "manifest"));
	json_object_set_new(object, "role", roles);
	json_object_set_new(object, "token_env",
			    route->token_env ? json_string(route->token_env) : json_null());
	return object;
}

static json_t *describe_paths(const char *directory)
{
	if (!directory)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:o}", "directory", directory, "routes",
			 json_sprintf("%s/" PLAN_ROUTES, directory), "ca",
			 json_sprintf("%s/" PLAN_CA, directory), "ca_cert",
			 json_sprintf("%s/" PLAN_CA_CERT, directory));
}

/* What the sidecar has to see of the host's files, each once: an object's keys are a set, in the order
 * of insertion. */
static json_t *describe_files(const struct config *config)
{
	json_t *set = json_object(), *list = json_array();

	if (config->upstream.ca_file)
		json_object_set_new(set, config->upstream.ca_file, json_null());
	if (config->upstream.proxy_ca_file)
		json_object_set_new(set, config->upstream.proxy_ca_file, json_null());
	for (size_t i = 0; i < policy_client_count(config->policy); i++) {
		const struct policy_client *client = policy_client_at(config->policy, i);

		json_object_set_new(set, client->certificate, json_null());
		json_object_set_new(set, client->key.source, json_null());
	}
	for (void *at = json_object_iter(set); at; at = json_object_iter_next(set, at))
		json_array_append_new(list, json_string(json_object_iter_key(at)));
	json_decref(set);
	return list;
}

/* jansson's "o" takes the references over, also when json_pack() fails. */
bool plan_render_json(const struct plan_draft *draft, const char *directory, struct bytes *ret)
{
	json_t *routes = json_array(), *tokens = json_array(), *root;
	char digest[65], *text;
	bool done;

	plan_digest(bytes_span(&draft->routes_text), digest);
	for (size_t i = 0; i < draft->route_count; i++)
		json_array_append_new(routes, describe_route(&draft->routes[i]));
	for (size_t i = 0; i < draft->slot_count; i++)
		json_array_append_new(tokens, json_pack("{s:s, s:s}", "token_env",
							draft->slots[i].token_env, "token_ref",
							draft->slots[i].token_ref));
	root = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:{s:s, s:s}, s:s?, s:o, s:s}", "version", 1,
			 "bottle", draft->bottle, "slug", draft->slug, "paths",
			 describe_paths(directory), "routes", routes, "tokens", tokens, "networks",
			 "bottle", draft->network_bottle, "sidecar", draft->network_sidecar,
			 "upstream_proxy", draft->config->upstream.proxy, "files",
			 describe_files(draft->config), "routes_sha256", digest);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	done = text && bytes_append_text(ret, text) && bytes_append_text(ret, "\n");
	free(text);
	json_decref(root);
	return done;
}
