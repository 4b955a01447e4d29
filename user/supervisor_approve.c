// SPDX-License-Identifier: BSD-2-Clause
/* What an operator allows beside the file. A grant is one source more of the policy, which goes into
 * force as a reload does; who asked hears of it only then. One new grant at a time, so that what goes
 * wrong is known to be its own. */
#include "supervisor_private.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json_text.h"

static json_t *refusal_of(const struct error *error)
{
	return json_pack("{s:s}", "error", error->text);
}

json_t *supervisor_describe_grant(const struct grant *grant)
{
	const struct policy_permit *permit = &grant->permit;
	json_t *object = json_pack("{s:s, s:s, s:i, s:b, s:I, s:b, s:b, s:s}", "id", grant->id, "host",
				   permit->host, "port", (int)permit->port, "tls", permit->tls, "since",
				   (json_int_t)grant->since_ms, "persist", grant->persist, "in_force",
				   grant->state != GRANT_NEW, "credential", grant->credential);

	(void)json_object_set_new(object, "until", grant->until_ms
							   ? json_integer((json_int_t)grant->until_ms)
							   : json_null());
	if (permit->method)
		(void)json_object_set_new(object, "method", json_string(permit->method));
	if (permit->path) {
		(void)json_object_set_new(object, "path", json_string(permit->path));
		(void)json_object_set_new(object, "path_type",
					  json_string(permit->path_type == POLICY_PATH_EXACT ? "exact"
											     : "prefix"));
	}
	return object;
}

/* ---- their ends -------------------------------------------------------------------------------- */

/* What has no end never comes first. One that is not in force yet ends when it is: a timer for it would
 * go off all the while. */
static void arm_timer(struct approvals *a)
{
	/* The machine's sleep counts: an hour is an hour. */
	uint64_t next = UINT64_MAX, now = clock_ms(CLOCK_BOOTTIME);
	struct timeval delay;

	for (size_t i = 0; i < a->grants.count; i++) {
		const struct grant *grant = &a->grants.list[i];

		if (grant->expires_ms && grant->state == GRANT_IN_FORCE && grant->expires_ms < next)
			next = grant->expires_ms;
	}
	evtimer_del(a->timer);
	if (next == UINT64_MAX)
		return;
	next = next > now ? next - now : 0;
	delay = (struct timeval){(time_t)(next / 1000), (suseconds_t)(next % 1000) * 1000};
	/* Else the next pulse ends them. */
	(void)evtimer_add(a->timer, &delay);
}

static void expire(struct supervisor *s)
{
	struct approvals *a = s->approvals;
	const uint64_t now = clock_ms(CLOCK_BOOTTIME);

	for (size_t i = 0; i < a->grants.count; i++) {
		struct grant *grant = &a->grants.list[i];

		/* A new one is left: the load that brings it into force answers who asked for
		 * it. */
		if (grant->expires_ms && grant->expires_ms <= now && grant->state == GRANT_IN_FORCE)
			grant->state = GRANT_ENDING;
	}
	arm_timer(a);
	supervisor_reload_pending(s);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	expire(context);
}

void supervisor_approvals_pulse(struct supervisor *s)
{
	if (!s->approvals)
		return;
	supervisor_drain_refusals(s);
	/* What was to end and could not, for want of a readable policy, is tried again with each
	 * pulse, not in a loop. */
	s->approvals->failed = false;
	expire(s);
}

/* ---- on their way into force -------------------------------------------------------------------- */

/* From the file the grants that are in it, too, come back, if they still are; and a new one waits
 * until the file is read. */
struct selection {
	bool reread, one_is_new;
};

static bool is_wanted(void *context, const struct grant *grant)
{
	struct selection *selection = context;

	if (grant->state == GRANT_IN_FORCE)
		return !(selection->reread && grant->persist);
	if (grant->state != GRANT_NEW || selection->reread || selection->one_is_new)
		return false;
	selection->one_is_new = true;
	return true;
}

bool supervisor_approvals_select(struct supervisor *s, bool reread, struct grants *ret)
{
	struct selection selection = {.reread = reread};

	return !s->approvals || grants_select(&s->approvals->grants, is_wanted, &selection, ret);
}

void supervisor_approvals_next(struct supervisor *s)
{
	struct approvals *a = s->approvals;
	bool new = false, ending = false;

	for (size_t i = 0; a && i < a->grants.count; i++) {
		new |= a->grants.list[i].state == GRANT_NEW;
		ending |= a->grants.list[i].state == GRANT_ENDING;
	}
	if (new || (ending && !a->failed))
		supervisor_regrant(s);
}

static void say(const struct grant *grant, const char *what)
{
	const struct policy_permit *permit = &grant->permit;

	diag_notice("%s: %s %s://%s:%u%s%s (%s)", what, permit->method ? permit->method : "any method of",
		    permit->tls ? "https" : "http", permit->host, permit->port,
		    permit->path ? permit->path : "",
		    permit->path && permit->path_type == POLICY_PATH_PREFIX ? " and below" : "", grant->id);
}

static void ended(struct supervisor *s, size_t index, const char *why)
{
	struct grant *grant = &s->approvals->grants.list[index];
	json_t *answer = why ? json_pack("{s:s}", "error", why) : json_pack("{s:b}", "ok", true);

	say(grant, why ? "not allowed" : "allowed no longer");
	control_finish(s->control, grant->ticket, answer);
	grants_remove(&s->approvals->grants, index);
}

static void begun(struct supervisor *s, struct grant *grant, const struct grant *made)
{
	static const char strict_note[] = "the host's routes had no paths: from now on those that servers "
					  "read differently (.., //, %2F) are refused";
	json_t *answer;

	grant->state = GRANT_IN_FORCE;
	memcpy(grant->credential, made->credential, sizeof(grant->credential));
	/* Told there is none: a route that a reload brings must not give it one. */
	grant->permit.credential = grant->credential[0] != '\0';
	say(grant, "allowed");
	answer = supervisor_describe_grant(grant);
	(void)json_object_set_new(answer, "ok", json_true());
	if (grant->persist)
		(void)json_object_update_new(answer, json_pack("{s:o, s:i}", "file",
							       json_text(s->options.policy_path), "line",
							       made->line));
	if (made->makes_strict)
		(void)json_object_set_new(answer, "note", json_string(strict_note));
	control_finish(s->control, grant->ticket, answer);
	grant->ticket = 0;
}

/* The file is written by then, if it is: who asked has to know. */
static void failed(struct supervisor *s, size_t index, const struct grant *made, const char *why)
{
	char text[640];

	snprintf(text, sizeof(text), made && made->line ? "%s; but %s has it, from line %d" : "%s", why,
		 s->options.policy_path, made ? made->line : 0);
	ended(s, index, text);
}

/* Without a policy the new one is not to be had; what was to end is tried again. */
void supervisor_approvals_ended(struct supervisor *s, const char *why)
{
	struct approvals *a = s->approvals;
	bool tried = s->next_reread; /* the new one, by this load */

	for (size_t i = 0; a && i < a->grants.count;) {
		struct grant *grant = &a->grants.list[i];
		const struct grant *made = grants_find(&s->next_grants, grant->id);
		size_t before = a->grants.count;

		if (why && grant->state == GRANT_NEW && !tried) {
			tried = true;
			failed(s, i, made, why);
		} else if (!why && made && grant->state == GRANT_NEW) {
			begun(s, grant, made);
		} else if (!why && !made && grant->state != GRANT_NEW) {
			ended(s, i, NULL);
		}
		/* ended() has removed this one and moved the next into its place. */
		i += a->grants.count == before;
	}
	if (!a)
		return;
	a->failed = why != NULL;
	arm_timer(a);
}

/* ---- allow --------------------------------------------------------------------------------------- */

/* What the operator says beside the id. */
struct wish {
	const char *id, *method, *path;
	json_int_t seconds; /* 0: until the run ends */
	bool persist, credential;
};

static int read_wish(const json_t *request, struct wish *ret, struct error *error)
{
	const json_t *seconds = json_object_get(request, "for");
	const json_t *credential = json_object_get(request, "credential");

	*ret = (struct wish){
		.id = json_string_value(json_object_get(request, "id")),
		.method = json_string_value(json_object_get(request, "method")),
		.path = json_string_value(json_object_get(request, "path")),
		.seconds = json_integer_value(seconds),
		.persist = json_is_true(json_object_get(request, "persist")),
		.credential = !json_is_false(credential),
	};
	if (!ret->id || strlen(ret->id) >= FEED_ID_SIZE)
		return error_set(error, "say the id of a refusal");
	if (seconds && (ret->seconds < 1 || ret->seconds > GRANT_SECONDS_MAX))
		return error_set(error, "a grant is for 1 second to 31 days");
	if (ret->persist && seconds)
		return error_set(error, "for a time, or persistently: not both");
	/* Who asks is root, but what he says becomes YAML: no octet that could end a scalar. */
	if (ret->method && strcmp(ret->method, "*") != 0 && !refusal_method_valid(span_from(ret->method)))
		return error_set(error, "'%.40s' is not a method", ret->method);
	if (ret->path && !refusal_path_valid(span_from(ret->path)))
		return error_set(error, "'%.80s' is not a path: one begins with /, and has no query",
				 ret->path);
	return 0;
}

/* A prefix ends where a segment does, as in policy_decide(). */
static bool is_below(const char *path, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(path, prefix, length) == 0 &&
	       (path[length] == '\0' || path[length] == '/' || prefix[length - 1] == '/');
}

/* This host and port, and of method and path those that were shown; wider only by the operator's
 * word. */
static int make_permit(const struct wish *wish, const struct asked *asked, struct policy_permit *ret,
		       struct error *error)
{
	*ret = (struct policy_permit){
		.host = asked->host,
		.port = asked->port,
		.tls = asked->tls,
		.credential = wish->credential,
	};
	if (wish->method)
		ret->method = strcmp(wish->method, "*") == 0 ? NULL : wish->method;
	else if (asked->method[0])
		ret->method = asked->method;
	if (wish->path) {
		ret->path = wish->path;
		ret->path_type = POLICY_PATH_PREFIX;
		/* A prefix that does not hold the refused path would open something else, and leave
		 * what was asked for refused. */
		if (asked->path[0] && !is_below(asked->path, wish->path))
			return error_set(error, "%s was for %s, which is not below %.80s", wish->id,
					 asked->path, wish->path);
	} else if (asked->path_cut) {
		return error_set(error, "the path is too long, or no text, to be allowed as it is: say "
				 "--path PREFIX");
	} else if (asked->partial) {
		return error_set(error, "%s was no request for a path: say --path PREFIX", wish->id);
	} else if (asked->path[0]) {
		ret->path = asked->path;
		ret->path_type = POLICY_PATH_EXACT;
	}
	return 0;
}

static int add_grant(struct supervisor *s, const struct wish *wish, const struct policy_permit *permit,
		     struct error *error)
{
	struct grant grant = {
		.permit = *permit,
		.since_ms = clock_ms(CLOCK_REALTIME),
		.persist = wish->persist,
		.ticket = control_later(s->control),
	};

	snprintf(grant.id, sizeof(grant.id), "%s", wish->id);
	if (wish->seconds > 0) {
		grant.until_ms = grant.since_ms + (uint64_t)wish->seconds * 1000;
		/* Two clocks: UNTIL_MS is for people; the end itself must not move when somebody
		 * sets the time. */
		grant.expires_ms = clock_ms(CLOCK_BOOTTIME) + (uint64_t)wish->seconds * 1000;
	}
	return grants_add(&s->approvals->grants, &grant, error);
}

static int allow(struct supervisor *s, const json_t *request, struct error *error)
{
	struct pending_group *group = NULL;
	struct policy_permit permit;
	struct asked asked;
	struct wish wish;

	if (!s->approvals)
		return error_set(error, "the sidecar has no memory for grants");
	if (read_wish(request, &wish, error) < 0 ||
	    supervisor_find_refusal(s, wish.id, &asked, &group, error) < 0)
		return -1;
	if (asked_never(&asked))
		return error_set(error, "%s cannot be allowed so (%s): %s", wish.id,
				 reason_name(asked.reason), asked_never(&asked));
	/* The id is the source's name in the policy, and 'deny' finds by it: two of one id could
	 * not be told apart. */
	if (grants_find(&s->approvals->grants, wish.id))
		return error_set(error, "%s is allowed already; to change that, end it first: 'egress-bpf "
				 "deny %s %s'", wish.id, s->options.name, wish.id);
	if (asked_is_allowed(&asked, s->config->policy))
		return error_set(error, "the policy in force lets %s pass by now", wish.id);
	if (wish.persist && !s->options.policy_path)
		return error_set(error, "there is no policy file: what --allow said is no file");
	if (wish.persist && s->options.policy_name)
		return error_set(error, "the policy is a copy of %s, and would be written over: add the "
				 "route there; without --persist it is allowed until the sidecar ends",
				 s->options.policy_name);
	if (make_permit(&wish, &asked, &permit, error) < 0 || add_grant(s, &wish, &permit, error) < 0)
		return -1;
	if (group)
		pending_undeny(s->approvals->pending, group);
	supervisor_decide_ask(s, wish.id, false);
	arm_timer(s->approvals);
	supervisor_reload_pending(s);
	return 0;
}

json_t *supervisor_answer_allow(struct supervisor *s, const json_t *request)
{
	struct error error = {0};

	return allow(s, request, &error) < 0 ? refusal_of(&error) : NULL;
}

/* ---- deny ----------------------------------------------------------------------------------------- */

/* 1: the answer comes when the grant has ended. */
static int deny(struct supervisor *s, const json_t *request, struct error *error)
{
	const char *id = json_string_value(json_object_get(request, "id"));
	struct pending_group *group = NULL;
	struct grant *grant;
	struct asked asked;
	int result;

	if (!s->approvals)
		return error_set(error, "the sidecar has no memory for grants");
	if (!id || strlen(id) >= FEED_ID_SIZE)
		return error_set(error, "say the id of a refusal");
	grant = grants_find(&s->approvals->grants, id);
	/* The refusal may be too old to be known: a grant of it has to be endable all the same. */
	result = supervisor_find_refusal(s, id, &asked, &group, grant ? NULL : error);
	if (result < 0 && !grant)
		return -1;
	/* Who hears that it is denied must not find it allowed a moment later. */
	if (grant && grant->state == GRANT_NEW)
		return error_set(error, "%s is being allowed at this moment: say it again when it is", id);
	/* A grant ends also when the table of what is silenced is full. */
	if (group && !pending_deny(s->approvals->pending, group) && !grant)
		return error_set(error, "%d lines are silenced already, and no more can be", PENDING_DENIED);
	supervisor_decide_ask(s, id, true);
	if (!grant || grant->state != GRANT_IN_FORCE)
		return 0;
	grant->state = GRANT_ENDING;
	grant->ticket = control_later(s->control);
	supervisor_reload_pending(s);
	return 1;
}

json_t *supervisor_answer_deny(struct supervisor *s, const json_t *request)
{
	struct error error = {0};
	int result = deny(s, request, &error);

	if (result < 0)
		return refusal_of(&error);
	return result > 0 ? NULL : json_pack("{s:b}", "ok", true);
}

/* ---- life ------------------------------------------------------------------------------------------ */

void supervisor_open_approvals(struct supervisor *s)
{
	struct approvals *a = calloc(1, sizeof(*a));

	if (a) {
		a->pending = pending_new();
		a->timer = evtimer_new(s->base, on_timer, s);
	}
	s->approvals = a;
	if (a && a->pending && a->timer)
		return;
	/* The bottle is served without: approvals are a comfort, and what they would allow stays
	 * refused. */
	diag_warning("no memory for what is refused: 'egress-bpf pending' and its like will not answer");
	supervisor_close_approvals(s);
}

void supervisor_close_approvals(struct supervisor *s)
{
	struct approvals *a = s->approvals;

	if (!a)
		return;
	s->approvals = NULL;
	supervisor_event_free(a->timer);
	pending_free(a->pending);
	grants_free(&a->grants);
	free(a);
}
