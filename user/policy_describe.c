// SPDX-License-Identifier: BSD-2-Clause
/* The routes as the bottle may see them: no secret, and no name of a variable or file. */
#include "policy_internal.h"

#include <jansson.h>

static json_t *describe_ports(const uint16_t *ports, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_integer(ports[i]));
	return list;
}

static json_t *describe_paths(const struct policy_match *match)
{
	static const char *const types[] = {
		[POLICY_PATH_EXACT] = "exact",
		[POLICY_PATH_PREFIX] = "prefix",
		[POLICY_PATH_REGEX] = "regex",
	};
	json_t *list = json_array();

	for (size_t i = 0; i < match->path_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "type",
						      types[match->paths[i].type], "value",
						      match->paths[i].text));
	return list;
}

/* Empty lists are kept: "any" is what they mean in a policy as well. */
static json_t *describe_match(const struct policy_match *match)
{
	json_t *object = json_object(), *methods = json_array(), *headers = json_array();

	for (size_t i = 0; i < match->method_count; i++)
		json_array_append_new(methods, json_string(match->methods[i]));
	for (size_t i = 0; i < match->header_count; i++)
		json_array_append_new(headers, json_pack("{s:s, s:s}", "name",
							 match->headers[i].name, "value",
							 match->headers[i].value));
	json_object_set_new(object, "paths", describe_paths(match));
	json_object_set_new(object, "methods", methods);
	json_object_set_new(object, "headers", headers);
	return object;
}

static const char *mode_word(enum policy_mode mode)
{
	static const char *const words[] = {
		[POLICY_INTERCEPT] = "intercept",
		[POLICY_PASSTHROUGH] = "passthrough",
		[POLICY_TCP] = "tcp",
	};

	return words[mode];
}

/* `authenticated` says that a credential is added, not which. */
static json_t *describe_route(const struct policy_route *route)
{
	json_t *object = json_object(), *matches = json_array();

	for (size_t i = 0; i < route->match_count; i++)
		json_array_append_new(matches, describe_match(&route->matches[i]));
	json_object_set_new(object, "host", json_string(route->host->name));
	json_object_set_new(object, "ports", describe_ports(route->ports, route->port_count));
	json_object_set_new(object, "mode", json_string(mode_word(route->mode)));
	json_object_set_new(object, "matches", matches);
	json_object_set_new(object, "authenticated", json_boolean(route->has_auth));
	return object;
}

/* As written: the 96 bits of the mapped prefix are ours alone. */
static json_t *describe_cidr(const struct policy_cidr *cidr)
{
	bool v4 = address_is_v4(&cidr->cidr.address);
	char text[ADDRESS_TEXT_SIZE];

	return json_pack("{s:s, s:i, s:o, s:b}", "cidr", address_format(&cidr->cidr.address, text),
			 "prefix_length", (int)cidr->cidr.prefix_length - (v4 ? 96 : 0), "ports",
			 describe_ports(cidr->ports, cidr->port_count), "direct", cidr->direct);
}

/* Where memory runs out a part may be missing, for jansson takes a NULL and fails: this is text for
 * the bottle to read, and decides nothing. */
char *policy_describe(const struct policy *policy)
{
	json_t *routes = json_array(), *object;
	char *text;

	for (size_t i = 0; i < policy->host_count; i++) {
		const struct policy_host *host = policy->hosts[i];

		for (size_t j = 0; j < host->route_count; j++)
			json_array_append_new(routes, describe_route(host->routes[j]));
	}
	for (size_t i = 0; i < policy->cidr_count; i++)
		json_array_append_new(routes, describe_cidr(&policy->cidrs[i]));
	object = json_pack("{s:o}", "routes", routes);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}
