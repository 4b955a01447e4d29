// SPDX-License-Identifier: BSD-2-Clause
/* A permission is a route like any other, so that nothing but policy_decide() decides; what this
 * file knows is how to write the one that gives no more than was meant. */
#include "policy_permit.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_diff.h"
#include "policy_internal.h"

static const char *const types[] = {
	[POLICY_PATH_EXACT] = "exact",
	[POLICY_PATH_PREFIX] = "prefix",
	[POLICY_PATH_REGEX] = "regex",
};

/* ---- what the host's routes add -------------------------------------------------------------- */

static bool has_port(const struct policy_route *route, uint16_t port)
{
	for (size_t i = 0; i < route->port_count; i++)
		if (route->ports[i] == port)
			return true;
	return false;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Whether both let the upstream see the same identity. */
static bool same_identity(const struct policy_route *a, const struct policy_route *b)
{
	if (a->has_auth != b->has_auth || a->client != b->client ||
	    a->keep_authorization != b->keep_authorization)
		return false;
	return !a->has_auth || (a->auth.secret == b->auth.secret && a->auth.scheme == b->auth.scheme &&
				same_text(a->auth.header, b->auth.header) &&
				same_text(a->auth.username, b->auth.username));
}

/* What stands for any: no rule is likely to name it, so that it passes where all of them do. */
#define ANY_METHOD "EGRESS-ANY"
#define ANY_PATH "/egress-any"

static void decide_path(const struct policy *policy, const struct policy_permit *permit,
			const char *path, struct policy_verdict *ret)
{
	const struct policy_request request = {
		.host = permit->host,
		.port = permit->port,
		.tls = permit->tls,
		.method = span_from(permit->method ? permit->method : ANY_METHOD),
		.target = span_from(path),
	};

	policy_decide(policy, &request, ret);
}

static void decide(const struct policy *policy, const struct policy_permit *permit,
		   struct policy_verdict *ret)
{
	decide_path(policy, permit, permit->path ? permit->path : ANY_PATH, ret);
}

static bool passes(const struct policy_verdict *verdict)
{
	return verdict->reason == EGRESS_ALLOWED && verdict->audited == EGRESS_ALLOWED;
}

/* Of a prefix what is below it, too: an exact path of the same text is a part of it. */
bool policy_permit_allowed(const struct policy *policy, const struct policy_permit *permit)
{
	struct policy_verdict verdict;
	bool allowed, ends;
	size_t length;
	char *below;

	decide(policy, permit, &verdict);
	if (!passes(&verdict) || !permit->path || permit->path_type != POLICY_PATH_PREFIX)
		return passes(&verdict);
	length = strlen(permit->path);
	ends = length > 0 && permit->path[length - 1] == '/';
	if (asprintf(&below, "%s%s", permit->path, ends ? ANY_PATH + 1 : ANY_PATH) < 0)
		return false;
	decide_path(policy, permit, below, &verdict);
	allowed = passes(&verdict);
	free(below);
	return allowed;
}

bool policy_permit_makes_strict(const struct policy *before, const struct policy_permit *permit)
{
	const struct policy_host *host = policy_find_host(before, permit->host);

	return host && !host->strict && permit->path;
}

/* The route that came closest, where its path is the request's: a method or a header is missing. */
static const struct policy_route *closest(const struct policy *policy,
					  const struct policy_permit *permit)
{
	struct policy_verdict verdict;

	decide(policy, permit, &verdict);
	return verdict.reason == EGRESS_METHOD_NOT_ALLOWED || verdict.reason == EGRESS_HEADER_NOT_ALLOWED
		       ? verdict.route : NULL;
}

/* Whose credential goes with the permission: that of the host's routes on the port, when they all
 * have the same; of several, the one whose path it is. In doubt none: the operator did not say
 * whose. */
static const struct policy_route *model_of(const struct policy *policy,
					   const struct policy_permit *permit)
{
	const struct policy_host *host = policy_find_host(policy, permit->host);
	const struct policy_route *model = NULL;

	/* Without TLS a credential would be refused (plaintext_auth), and so would the
	 * permission. */
	if (!permit->credential || !permit->tls || !host)
		return NULL;
	for (size_t i = 0; i < host->route_count; i++) {
		const struct policy_route *route = host->routes[i];

		if (!has_port(route, permit->port) || route->mode != POLICY_INTERCEPT)
			continue;
		if (model && !same_identity(model, route))
			return closest(policy, permit);
		model = route;
	}
	return model;
}

void policy_permit_credential(const struct policy *policy, const struct policy_permit *permit,
			      char ret[512])
{
	const struct policy_route *model = model_of(policy, permit);

	ret[0] = '\0';
	if (model && (model->has_auth || model->client || model->keep_authorization))
		snprintf(ret, 512, "%s (%s:%d)", model->host->name, model->file, model->line);
}

/* ---- the route as text ------------------------------------------------------------------------ */

static void print_block(FILE *to, const struct policy_permit *permit,
			const struct policy_route *model, const char *comment)
{
	fprintf(to, "  - host: %s%s%s\n    ports: [%u]\n", permit->host, comment ? " # " : "",
		comment ? comment : "", permit->port);
	if (permit->path || permit->method)
		fputs("    matches:\n      - ", to);
	if (permit->path) {
		fprintf(to, "paths: [{type: %s, value: ", types[permit->path_type]);
		policy_print_quoted(to, permit->path);
		fputs("}]\n", to);
	}
	if (permit->method) {
		fprintf(to, "%smethods: [", permit->path ? "        " : "");
		policy_print_quoted(to, permit->method);
		fputs("]\n", to);
	}
	if (model && model->has_auth)
		policy_print_auth(to, &model->auth);
	if (model && model->client)
		policy_print_client(to, model->client);
	if (model && model->keep_authorization)
		fputs("    keep_authorization: true\n", to);
}

static json_t *auth_object(const struct policy_auth *auth)
{
	static const char *const schemes[] = {
		[POLICY_AUTH_BEARER] = "Bearer",
		[POLICY_AUTH_TOKEN] = "token",
		[POLICY_AUTH_BASIC] = "Basic",
	};
	const struct policy_secret *secret = &auth->secret->shown;
	bool header = auth->scheme == POLICY_AUTH_HEADER;
	json_t *object = json_pack("{s:s, s:s}", header ? "header" : "scheme",
				   header ? auth->header : schemes[auth->scheme],
				   secret->kind == POLICY_SECRET_ENV ? "token_env" : "token_file",
				   secret->source);

	if (auth->username)
		(void)json_object_set_new(object, "username", json_string(auth->username));
	return object;
}

/* On one line, as JSON: it stands in a list in brackets, which may be a JSON file's. */
static void print_flow(FILE *to, const struct policy_permit *permit, const struct policy_route *model)
{
	json_t *match = json_object(), *object;

	if (permit->path)
		(void)json_object_set_new(match, "paths",
					  json_pack("[{s:s, s:s}]", "type", types[permit->path_type],
						    "value", permit->path));
	if (permit->method)
		(void)json_object_set_new(match, "methods", json_pack("[s]", permit->method));
	object = json_pack("{s:s, s:[i]}", "host", permit->host, "ports", (int)permit->port);
	if (json_object_size(match) > 0)
		(void)json_object_set_new(object, "matches", json_pack("[O]", match));
	if (model && model->has_auth)
		(void)json_object_set_new(object, "auth", auth_object(&model->auth));
	if (model && model->client)
		(void)json_object_update_new(object,
					     json_pack("{s:s, s:s}", "client_cert",
						       model->client->certificate, "client_key",
						       model->client->key.source));
	if (model && model->keep_authorization)
		(void)json_object_set_new(object, "keep_authorization", json_true());
	json_dumpf(object, to, 0);
	json_decref(object);
	json_decref(match);
}

/* Each line is indented by two at least: that becomes `indent`. */
static bool reindent(const char *text, const char *indent, FILE *to)
{
	while (*text) {
		const char *end = strchr(text, '\n');

		if (strncmp(text, "  ", 2) != 0 || !end)
			return false;
		fprintf(to, "%s%.*s\n", indent, (int)(end - text - 2), text + 2);
		text = end + 1;
	}
	return true;
}

/* Its own routes would hide the wildcard's, so they begin with a copy of those. */
static void print_wildcard(FILE *to, const struct policy_host *host, const char *name)
{
	for (size_t i = 0; i < host->route_count; i++)
		policy_print_route(to, host->routes[i], name);
}

static bool print_all(FILE *to, const struct policy *policy, const struct policy_permit *permit,
		      const struct policy_permit_style *style)
{
	const struct policy_host *host = policy_find_host(policy, permit->host);
	const struct policy_route *model = model_of(policy, permit);
	char *text = NULL;
	size_t length;
	FILE *plain;
	bool fine;

	if (!style->indent) {
		print_flow(to, permit, model);
		return true;
	}
	plain = open_memstream(&text, &length);
	if (!plain)
		return false;
	if (host && policy_host_is_wildcard(host))
		print_wildcard(plain, host, permit->host);
	print_block(plain, permit, model, style->comment);
	fine = fclose(plain) == 0 && reindent(text, style->indent, to);
	free(text);
	return fine;
}

char *policy_permit_route(const struct policy *policy, const struct policy_permit *permit,
			  const struct policy_permit_style *style, struct error *error)
{
	const struct policy_host *host = policy_find_host(policy, permit->host);
	char *text = NULL;
	size_t length;
	FILE *to;
	bool fine;

	if (!style->indent && host && policy_host_is_wildcard(host)) {
		error_set(error, "%s is allowed by a wildcard alone, whose routes would have to be "
			  "repeated for it: write the route yourself", permit->host);
		return NULL;
	}
	to = open_memstream(&text, &length);
	fine = to && print_all(to, policy, permit, style);
	if (to && fclose(to) == 0 && fine)
		return text;
	free(text);
	error_set(error, "out of memory");
	return NULL;
}

/* ---- whether it is that and nothing else -------------------------------------------------------- */

struct check {
	const struct policy_permit *permit;
	char *path; /* as rules have it; NULL: any */
	bool fine;
	char what[256]; /* the first that is not the permission's */
};

/* Below a prefix there are several points, which all begin with it. */
static bool is_ours(const struct check *check, const struct policy_change *change)
{
	const struct policy_permit *permit = check->permit;
	const char *paths = change->paths;

	if (change->kind != POLICY_CHANGE_WIDER || strcmp(change->target, permit->host) != 0)
		return false;
	if (permit->method && strcmp(change->methods, permit->method) != 0)
		return false;
	if (!check->path)
		return true;
	if (permit->path_type == POLICY_PATH_EXACT)
		return strcmp(paths, check->path) == 0;
	if (strncmp(paths, "below ", 6) == 0)
		paths += 6;
	return strncmp(paths, check->path, strlen(check->path)) == 0;
}

static void look(void *context, const struct policy_change *change)
{
	struct check *check = context;

	if (!check->fine || is_ours(check, change))
		return;
	check->fine = false;
	snprintf(check->what, sizeof(check->what), "%.80s %.60s %.60s", change->target, change->methods,
		 change->paths);
}

static int check_request(const struct policy *after, const struct policy_permit *permit,
			 struct error *error)
{
	struct policy_verdict verdict;

	decide(after, permit, &verdict);
	if (verdict.reason == EGRESS_ALLOWED)
		return 0;
	return error_set(error, "a route of its own would not let it pass (%s): %s",
			 reason_name(verdict.reason),
			 verdict.hint[0] ? verdict.hint : reason_cure(verdict.reason));
}

int policy_permit_check(const struct policy *before, const struct policy *after,
			const struct policy_permit *permit, struct error *error)
{
	struct check check = {.permit = permit, .fine = true};
	const char *why;
	size_t length;
	int result;

	if (permit->path) {
		struct span path = span_from(permit->path);

		check.path = calloc(1, path.length + 1);
		if (!check.path)
			return error_set(error, "out of memory");
		/* Rules are kept in this form, and policy_diff() tells its changes in it. */
		if (policy_path_normalise(path, check.path, &length, &why) == POLICY_PATH_AMBIGUOUS) {
			free(check.path);
			return error_set(error, "the path holds %s", why);
		}
		check.path[length] = '\0';
	}
	result = policy_diff(before, after, look, &check, error);
	free(check.path);
	if (result < 0 || check_request(after, permit, error) < 0)
		return -1;
	if (!check.fine)
		return error_set(error, "a route for it would change more than that (%s): write it "
				 "yourself", check.what);
	return 0;
}
