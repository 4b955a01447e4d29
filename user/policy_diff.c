// SPDX-License-Identifier: BSD-2-Clause
/* Two policies are asked the same questions, one of each class that a rule of either can tell
 * apart; whatever policy_decide() learns to look at is then compared by itself. Regexes cannot be
 * asked, and are compared as text. */
#include "policy_diff.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_space.h"

/* Answers are compared as they are shown: room for the two paths of a client's certificate, or for a
 * user and the path of a secret, so that neither is cut where two begin to differ. */
#define OUTCOME_SIZE (3 * PATH_MAX)
#define PROBE_LABEL "egress-diff-probe" /* a name below a wildcard that nothing else names */

/* What one policy answers to one question. */
struct outcome {
	enum egress_reason reason;
	char text[OUTCOME_SIZE];
	const struct policy_route *route;
};
/* Two answers that differ. */
struct pair {
	struct outcome before, after;
};
struct diff {
	const struct policy *before, *after;
	policy_change_seen *seen;
	void *context;
	const char *target;
	struct policy_space space;
	uint32_t *cells; /* per combination of points: 0 no change, else index + 1 into `pairs` */
	struct pair *pairs;
	size_t pair_count;
};

/* ---- one question --------------------------------------------------------------------------- */

/* Where the secret comes from, for the operator; never the secret. */
static void describe_auth(const struct policy_route *route, struct outcome *ret)
{
	static const char *const schemes[] = {
		[POLICY_AUTH_BEARER] = " (Bearer)",
		[POLICY_AUTH_TOKEN] = " (token)",
		[POLICY_AUTH_BASIC] = " (Basic",
		[POLICY_AUTH_HEADER] = "",
	};
	const struct policy_auth *auth = &route->auth;
	const struct policy_secret *secret = &auth->secret->shown;
	size_t length = strlen(ret->text);

	snprintf(ret->text + length, sizeof(ret->text) - length, ", %s%s%s%.4000s%s from the %s %s",
		 auth->header, schemes[auth->scheme], auth->username ? ", user " : "",
		 auth->username ? auth->username : "",
		 auth->scheme == POLICY_AUTH_BASIC ? ")" : "",
		 secret->kind == POLICY_SECRET_ENV ? "variable" : "file", secret->source);
}

static void add_words(struct outcome *outcome, const char *words)
{
	size_t length = strlen(outcome->text);

	snprintf(outcome->text + length, sizeof(outcome->text) - length, "%s", words);
}

static void describe_client(const struct policy_client *client, struct outcome *ret)
{
	size_t length = strlen(ret->text);

	snprintf(ret->text + length, sizeof(ret->text) - length,
		 ", client certificate from %.4095s and %.4095s", client->certificate,
		 client->key.source);
}

static void describe_allowed(const struct policy_route *route, bool private, struct outcome *ret)
{
	if (route->mode != POLICY_INTERCEPT)
		add_words(ret, route->mode == POLICY_TCP ? ", as raw TCP" : ", as TLS passthrough");
	else if (route->has_auth)
		describe_auth(route, ret);
	if (route->client)
		describe_client(route->client, ret);
	if (route->keep_authorization)
		add_words(ret, ", with the program's own Authorization");
	if (private)
		add_words(ret, ", also at private addresses");
}

/* Spliced ports have no requests to judge, so their verdict is that of the connection. */
static void ask(const struct policy *policy, const struct policy_request *request,
		struct outcome *ret)
{
	const struct policy_host *host = policy_find_host(policy, request->host);
	struct policy_verdict verdict;

	policy_decide(policy, request, &verdict);
	if (host && policy_host_splices(host, request->port, request->tls))
		verdict.reason = EGRESS_ALLOWED;
	/* Field by field: the text is long, and mostly unused. */
	ret->reason = verdict.reason;
	ret->route = verdict.route;
	ret->text[0] = '\0';
	if (verdict.reason != EGRESS_ALLOWED) {
		add_words(ret, "refused");
		return;
	}
	add_words(ret, "allowed");
	if (verdict.audited != EGRESS_ALLOWED) {
		add_words(ret, " by audit, else ");
		add_words(ret, reason_name(verdict.audited));
	}
	describe_allowed(verdict.route, policy_host_allows_private(host, request->port), ret);
}

/* ---- the table of answers ------------------------------------------------------------------- */

/* 0 when the answers are the same; UINT32_MAX when out of memory. By text: two answers are the same
 * if people are told the same. */
static uint32_t pair_index(struct diff *d, const struct pair *pair)
{
	struct pair *pairs;

	if (strcmp(pair->before.text, pair->after.text) == 0)
		return 0;
	for (size_t i = 0; i < d->pair_count; i++) {
		if (strcmp(d->pairs[i].before.text, pair->before.text) == 0 &&
		    strcmp(d->pairs[i].after.text, pair->after.text) == 0)
			return (uint32_t)i + 1;
	}
	pairs = policy_grow(d->pairs, d->pair_count, sizeof(*pairs));
	if (!pairs)
		return UINT32_MAX;
	d->pairs = pairs;
	d->pairs[d->pair_count++] = *pair;
	return (uint32_t)d->pair_count;
}

static uint32_t ask_both(struct diff *d, const char *name, const size_t at[POLICY_AXES])
{
	const struct policy_point *port = &d->space.axes[POLICY_AXIS_PORT].points[at[POLICY_AXIS_PORT]];
	const struct policy_match *match =
		d->space.axes[POLICY_AXIS_HEADERS].points[at[POLICY_AXIS_HEADERS]].match;
	struct policy_header headers[POLICY_MAX_HEADERS];
	struct policy_request request = {
		.host = name,
		.port = port->port,
		.tls = port->tls,
		.method = span_from(
			d->space.axes[POLICY_AXIS_METHOD].points[at[POLICY_AXIS_METHOD]].key),
		.target = span_from(d->space.axes[POLICY_AXIS_PATH].points[at[POLICY_AXIS_PATH]].key),
		.headers = headers,
	};
	struct pair pair;

	for (size_t i = 0; match && i < match->header_count && i < POLICY_MAX_HEADERS; i++)
		headers[request.header_count++] = (struct policy_header){
			span_from(match->headers[i].name), span_from(match->headers[i].value)};
	ask(d->before, &request, &pair.before);
	ask(d->after, &request, &pair.after);
	return pair_index(d, &pair);
}

/* Steps through the combinations of selected points as an odometer does; false after the last. */
static bool step(const struct policy_space *space, size_t at[POLICY_AXES])
{
	for (unsigned i = POLICY_AXES; i-- > 0;) {
		const struct policy_axis *axis = &space->axes[i];

		while (++at[i] < axis->count && !axis->selected[at[i]])
			;
		if (at[i] < axis->count)
			return true;
		for (at[i] = 0; at[i] < axis->count && !axis->selected[at[i]];)
			at[i]++;
	}
	return false;
}

/* The first combination of selected points; false when some axis has none. */
static bool first(const struct policy_space *space, size_t at[POLICY_AXES])
{
	for (unsigned i = 0; i < POLICY_AXES; i++) {
		for (at[i] = 0; at[i] < space->axes[i].count && !space->axes[i].selected[at[i]];)
			at[i]++;
		if (at[i] == space->axes[i].count)
			return false;
	}
	return true;
}

/* Row-major over all points of all axes. */
static uint32_t *cell(const struct diff *d, const size_t at[POLICY_AXES])
{
	size_t index = 0;

	for (unsigned i = 0; i < POLICY_AXES; i++)
		index = index * d->space.axes[i].count + at[i];
	return &d->cells[index];
}

static void select_all(const struct policy_axis *axis, bool value)
{
	memset(axis->selected, value, axis->count * sizeof(bool));
}

/* As many questions as the product of the axes' points. */
static bool fill_cells(struct diff *d, const char *name)
{
	size_t at[POLICY_AXES], size = 1;

	for (unsigned i = 0; i < POLICY_AXES; i++) {
		select_all(&d->space.axes[i], true);
		if (__builtin_mul_overflow(size, d->space.axes[i].count, &size))
			return false;
	}
	d->cells = calloc(size, sizeof(*d->cells));
	if (!d->cells || !first(&d->space, at))
		return d->cells != NULL;
	do {
		uint32_t index = ask_both(d, name, at);

		if (index == UINT32_MAX)
			return false;
		*cell(d, at) = index;
	} while (step(&d->space, at));
	return true;
}

/* ---- the changes, as few and as large sets as a greedy walk finds ----------------------------- */

static bool selection_is(const struct diff *d, uint32_t value)
{
	size_t at[POLICY_AXES];

	if (!first(&d->space, at))
		return false;
	do {
		if (*cell(d, at) != value)
			return false;
	} while (step(&d->space, at));
	return true;
}

/* Adds each point of the axis with which the selection's other points all change the same way. */
static bool grow(struct diff *d, struct policy_axis *axis, uint32_t value)
{
	bool *grown = calloc(axis->count + 1, sizeof(bool)), *kept = axis->selected;

	if (!grown)
		return false;
	for (size_t i = 0; i < axis->count; i++) {
		bool *only = calloc(axis->count + 1, sizeof(bool));

		if (!only) {
			free(grown);
			return false;
		}
		only[i] = true;
		axis->selected = only;
		grown[i] = selection_is(d, value);
		axis->selected = kept;
		free(only);
	}
	memcpy(axis->selected, grown, axis->count * sizeof(bool));
	free(grown);
	return true;
}

static enum policy_change_kind kind_of(const struct outcome *before, const struct outcome *after)
{
	if (before->reason == EGRESS_ALLOWED && after->reason == EGRESS_ALLOWED)
		return POLICY_CHANGE_OTHER;
	return after->reason == EGRESS_ALLOWED ? POLICY_CHANGE_WIDER : POLICY_CHANGE_NARROWER;
}

static bool report(struct diff *d, const struct pair *pair)
{
	const struct policy_route *route =
		pair->after.reason == EGRESS_ALLOWED ? pair->after.route : pair->before.route;
	char *words[POLICY_AXES];
	bool fine = true;

	for (unsigned i = 0; i < POLICY_AXES; i++) {
		words[i] = policy_space_words(&d->space, i);
		fine &= words[i] != NULL;
	}
	if (fine)
		d->seen(d->context, &(struct policy_change){
					    .kind = kind_of(&pair->before, &pair->after),
					    .target = d->target,
					    .methods = words[POLICY_AXIS_METHOD],
					    .paths = words[POLICY_AXIS_PATH],
					    .ports = words[POLICY_AXIS_PORT],
					    .headers = words[POLICY_AXIS_HEADERS],
					    .before = pair->before.text,
					    .after = pair->after.text,
					    .before_reason = pair->before.reason,
					    .after_reason = pair->after.reason,
					    .file = route ? route->file : NULL,
					    .line = route ? route->line : 0,
				    });
	for (unsigned i = 0; i < POLICY_AXES; i++)
		free(words[i]);
	return fine;
}

/* Takes the largest set round one changed cell that growing axis by axis finds, and clears it. */
static bool take_set(struct diff *d, const size_t start[POLICY_AXES])
{
	static const unsigned order[POLICY_AXES] = {POLICY_AXIS_HEADERS, POLICY_AXIS_PORT,
						    POLICY_AXIS_METHOD, POLICY_AXIS_PATH};
	uint32_t value = *cell(d, start);
	size_t at[POLICY_AXES];

	for (unsigned i = 0; i < POLICY_AXES; i++) {
		select_all(&d->space.axes[i], false);
		d->space.axes[i].selected[start[i]] = true;
	}
	for (unsigned i = 0; i < POLICY_AXES; i++) {
		if (!grow(d, &d->space.axes[order[i]], value))
			return false;
	}
	if (!report(d, &d->pairs[value - 1]) || !first(&d->space, at))
		return false;
	do {
		/* Told: no set that follows may hold it again. */
		*cell(d, at) = 0;
	} while (step(&d->space, at));
	return true;
}

/* All points are selected again after each set, for step() walks the selected ones only. */
static bool report_cells(struct diff *d)
{
	size_t at[POLICY_AXES] = {0};
	bool more = true, fine = true;

	for (unsigned i = 0; i < POLICY_AXES; i++)
		more &= d->space.axes[i].count > 0;
	while (more && fine) {
		if (*cell(d, at) != 0)
			fine = take_set(d, at);
		for (unsigned i = 0; i < POLICY_AXES; i++)
			select_all(&d->space.axes[i], true);
		more = step(&d->space, at);
	}
	return fine;
}

/* ---- rules that cannot be asked --------------------------------------------------------------- */

static bool has_text(char *const *list, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i], text) == 0)
			return true;
	}
	return false;
}

/* "^/v1/.*$ (GET, POST; x-version: 1)" and what the route does, as one text. */
static char *regex_text(const struct policy_rule *rule)
{
	struct outcome outcome = {.text = "allowed"};
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	if (!to)
		return NULL;
	describe_allowed(rule->route, rule->route->allow_private, &outcome);
	fprintf(to, "%s", rule->path->text);
	for (size_t i = 0; i < rule->match->method_count; i++)
		fprintf(to, "%s%s", i ? ", " : ", methods ", rule->match->methods[i]);
	for (size_t i = 0; i < rule->match->header_count; i++)
		fprintf(to, "%s%s: %s", i ? ", " : ", header ", rule->match->headers[i].name,
			rule->match->headers[i].value);
	for (size_t i = 0; i < rule->route->port_count; i++)
		fprintf(to, "%s%u", i ? ", " : ", ports ", rule->route->ports[i]);
	fprintf(to, ": %s", outcome.text);
	return fclose(to) == 0 ? text : NULL;
}

struct regexes {
	char **texts;
	const struct policy_rule **rules;
	size_t count;
};

/* In the order in which they are tried, which matters as well: the first that matches decides. */
static bool regexes_init(struct regexes *regexes, const struct policy_host *host)
{
	size_t count = host ? host->first_any - host->first_regex : 0;

	*regexes = (struct regexes){
		.texts = calloc(count + 1, sizeof(char *)),
		.rules = calloc(count + 1, sizeof(void *)),
	};
	for (; regexes->texts && regexes->rules && regexes->count < count; regexes->count++) {
		const struct policy_rule *rule = &host->rules[host->first_regex + regexes->count];

		regexes->rules[regexes->count] = rule;
		regexes->texts[regexes->count] = regex_text(rule);
		if (!regexes->texts[regexes->count])
			return false;
	}
	return regexes->texts && regexes->rules;
}

static void regexes_release(struct regexes *regexes)
{
	for (size_t i = 0; i < regexes->count; i++)
		free(regexes->texts[i]);
	free(regexes->texts);
	free(regexes->rules);
}

static void report_regex(struct diff *d, enum policy_change_kind kind, const char *text,
			 const struct policy_rule *rule)
{
	static const char *const words[][2] = {
		[POLICY_CHANGE_WIDER] = {"no such rule", "a rule"},
		[POLICY_CHANGE_NARROWER] = {"a rule", "no such rule"},
		[POLICY_CHANGE_OTHER] = {"tried in another order", "tried in this order"},
	};

	d->seen(d->context, &(struct policy_change){
				    .kind = kind,
				    .target = d->target,
				    .methods = "",
				    .paths = text,
				    .ports = "",
				    .headers = "",
				    .before = words[kind][0],
				    .after = words[kind][1],
				    .file = rule->route->file,
				    .line = rule->route->line,
			    });
}

/* A changed order is reported once for the host; which requests it concerns cannot be told. */
static void report_regexes(struct diff *d, const struct regexes *before,
			   const struct regexes *after)
{
	bool same = before->count == after->count;

	for (size_t i = 0; i < before->count; i++) {
		if (has_text(after->texts, after->count, before->texts[i]))
			continue;
		report_regex(d, POLICY_CHANGE_NARROWER, before->texts[i], before->rules[i]);
		same = false;
	}
	for (size_t i = 0; i < after->count; i++) {
		if (has_text(before->texts, before->count, after->texts[i]))
			continue;
		report_regex(d, POLICY_CHANGE_WIDER, after->texts[i], after->rules[i]);
		same = false;
	}
	for (size_t i = 0; same && i < after->count; i++) {
		if (strcmp(before->texts[i], after->texts[i]) == 0)
			continue;
		report_regex(d, POLICY_CHANGE_OTHER, after->texts[i], after->rules[i]);
		return;
	}
}

static bool diff_regexes(struct diff *d, const struct policy_host *before,
			 const struct policy_host *after)
{
	struct regexes a = {0}, b = {0};
	bool fine = regexes_init(&a, before) && regexes_init(&b, after);

	if (fine)
		report_regexes(d, &a, &b);
	regexes_release(&a);
	regexes_release(&b);
	return fine;
}

/* ---- hosts ------------------------------------------------------------------------------------ */

/* A wildcard is asked by a name below it that nothing else names. */
static bool diff_host(struct diff *d, const char *target)
{
	bool wildcard = strncmp(target, "*.", 2) == 0;
	const struct policy_host *before, *after;
	char *name;
	bool fine;

	if (asprintf(&name, "%s%s", wildcard ? PROBE_LABEL : "", target + wildcard) < 0)
		return false;
	/* As a request finds it: what one policy writes out may be below a wildcard of the
	 * other. */
	before = policy_find_host(d->before, name);
	after = policy_find_host(d->after, name);
	d->target = target;
	fine = policy_space_init(&d->space, before, after) && fill_cells(d, name) &&
	       report_cells(d) && diff_regexes(d, before, after);
	policy_space_free(&d->space);
	free(d->cells);
	free(d->pairs);
	d->target = NULL;
	d->cells = NULL;
	d->pairs = NULL;
	d->pair_count = 0;
	free(name);
	return fine;
}

static bool names_host(const struct policy *policy, const char *name)
{
	bool wildcard = strncmp(name, "*.", 2) == 0;
	const struct policy_table *table = wildcard ? &policy->suffixes : &policy->names;

	return policy_table_get(table, span_from(name + (wildcard ? 2 : 0))) != NULL;
}

/* Hosts of `before` first, then those that are new. */
static bool diff_hosts(struct diff *d)
{
	for (size_t i = 0; i < d->before->host_count; i++) {
		if (!diff_host(d, d->before->hosts[i]->name))
			return false;
	}
	for (size_t i = 0; i < d->after->host_count; i++) {
		const char *name = d->after->hosts[i]->name;

		if (!names_host(d->before, name) && !diff_host(d, name))
			return false;
	}
	return true;
}

int policy_diff(const struct policy *before, const struct policy *after, policy_change_seen *seen,
		void *context, struct error *error)
{
	struct diff d = {.before = before, .after = after, .seen = seen, .context = context};

	if (!diff_hosts(&d))
		return error_set(error, "out of memory");
	policy_diff_cidrs(before, after, seen, context);
	return 0;
}
