// SPDX-License-Identifier: BSD-2-Clause
/* What a bottle may not say to an origin in fields of its own. */
#include "policy_internal.h"

/* Another path than the request line has, which frameworks believe that know IIS (CVE-2018-14773,
 * Symfony). */
static bool is_path(struct span name)
{
	static span_names names = {[13] = {"x-rewrite-url"}, [14] = {"x-original-url"}};

	return span_is_field_of(name, names);
}

/* Another host than Host has, by which an origin that serves many chooses: Rails and Rack believe the
 * first two by default, others when they are told that a proxy is before them. Nobody but that proxy has
 * a use for them. */
static bool is_host(struct span name)
{
	static span_names names = {[9] = {"forwarded"}, [16] = {"x-forwarded-host"}, [6] = {"x-host"},
				   [15] = {"x-original-host"}, [20] = {"x-http-host-override"}};

	return span_is_field_of(name, names);
}

static bool has_paths(const struct policy_route *route)
{
	for (size_t i = 0; i < route->match_count; i++)
		if (route->matches[i].path_count > 0)
			return true;
	return false;
}

/* Compared as CGI reads names, so that "X_Api_Key" does not pass for another header than
 * "X-Api-Key". */
bool policy_route_strips(const struct policy_route *route, struct span header_name)
{
	const struct policy_host *host = route->host;

	if (is_host(header_name) || (is_path(header_name) && has_paths(route)))
		return true;
	if (route->keep_authorization)
		return false;
	if (span_equal_field(header_name, SPAN("authorization")))
		return true;
	for (size_t i = 0; i < host->injected_count; i++) {
		if (span_equal_field(header_name, span_from(host->injected[i])))
			return true;
	}
	return false;
}

static bool judges(const struct policy_match *match, struct span name)
{
	for (size_t i = 0; i < match->header_count; i++)
		if (span_equal_field(name, span_from(match->headers[i].name)))
			return true;
	return false;
}

/* An origin may put it with the headers that were judged (CVE-2013-5704, Apache httpd). */
bool policy_route_strips_trailer(const struct policy_route *route, struct span name)
{
	if (is_path(name) || policy_is_overriding(name))
		return true;
	for (size_t i = 0; i < route->match_count; i++)
		if (judges(&route->matches[i], name))
			return true;
	return policy_route_strips(route, name);
}
