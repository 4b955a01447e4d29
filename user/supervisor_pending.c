// SPDX-License-Identifier: BSD-2-Clause
/* What was refused, for an operator to look at. The worker hands it over as fields in shared memory
 * (refusal.h); it may have been taken over, so what is listed is judged here once more, and nothing
 * is allowed by it but what an operator names. */
#include "supervisor_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reason.h"

/* A worker that writes faster than we read must not keep us here. */
#define AT_ONCE 20000
#define LIST_MAX ((size_t)3 << 20) /* of groups in an answer, which ends at 4 MiB: control.h */

/* ---- reading --------------------------------------------------------------------------------- */

/* The kernel's feed is written by us (`slot` NULL); of a worker's an id is what it was at first, and one
 * that is another's is none. */
static bool take_record(struct slot *slot, struct span record, struct refusal *ret)
{
	if (!refusal_unpack(record, ret))
		return false;
	if (!slot)
		return true;
	/* Many a worker never refuses anything. */
	if (!slot->ids)
		slot->ids = pending_ids_new();
	return slot->ids && feed_id_writer(ret->id) == slot->index &&
	       pending_ids_bind(slot->ids, feed_id_number(ret->id), record);
}

static void drain(struct supervisor *s, const struct feed *feed, struct feed_cursor *cursor,
		  struct slot *slot)
{
	struct feed_event event;
	struct refusal refusal;

	for (int i = 0; feed && i < AT_ONCE; i++) {
		const bool first = cursor->sequence == 0;

		if (!feed_next(feed, FEED_PENDING, cursor, &event))
			return;
		/* The first line read has no line before it to count from: its own number says how
		 * many were written over. */
		pending_lost(s->approvals->pending, first ? cursor->sequence - 1 : event.lost);
		if (take_record(slot, (struct span){event.line, event.length}, &refusal))
			(void)pending_add(s->approvals->pending, &refusal, event.time_ms, !slot);
		else
			pending_lost(s->approvals->pending, 1);
	}
}

void supervisor_drain_refusals(struct supervisor *s)
{
	if (!s->approvals)
		return;
	for (unsigned i = 0; i < s->slot_count; i++)
		drain(s, s->slots[i]->feed, &s->slots[i]->cursor, s->slots[i]);
	drain(s, s->kernel_feed, &s->approvals->cursor, NULL);
}

/* ---- one refusal ----------------------------------------------------------------------------- */

static void put(char *to, size_t size, struct span text)
{
	snprintf(to, size, "%.*s", (int)text.length, text.length ? text.data : "");
}

/* These two are said of a host before there is a request; all others are of one. */
static bool is_of_name(enum egress_reason reason)
{
	return reason == EGRESS_HOST_NOT_ALLOWED || reason == EGRESS_PORT_NOT_ALLOWED;
}

/* A name that no policy could hold is none. A record is a taken worker's word: one of a request without
 * its method or path ("OPTIONS *", too) must not become a grant of the whole host. */
static bool from_refusal(const struct refusal *r, struct asked *ret)
{
	struct asked asked = {.reason = r->reason, .port = r->port, .path_cut = r->path_cut};
	struct egress_address address;
	char host[EGRESS_NAME_SIZE];

	put(asked.protocol, sizeof(asked.protocol), r->protocol);
	put(asked.address, sizeof(asked.address), r->address);
	put(asked.method, sizeof(asked.method), r->method);
	put(asked.path, sizeof(asked.path), r->path);
	put(host, sizeof(host), r->host);
	/* An IP literal in a Host or CONNECT is an address, not a name: no host's grant may open
	 * it. */
	if (address_parse(host, &address))
		(void)address_format(&address, asked.address);
	else if (host[0] && !policy_normalise_host(r->host, asked.host))
		return false;
	asked.raw = !asked.host[0];
	if (strcmp(asked.method, "CONNECT") == 0 && !asked.path[0])
		asked.method[0] = '\0'; /* host and port, and what is in the tunnel is judged itself */
	asked.request = asked.method[0] && asked.path[0];
	asked.partial = !asked.request &&
			(asked.method[0] || asked.path[0] || !is_of_name(asked.reason));
	/* Where no request was read (DNS, a connect() that the kernel refused), the port is all
	 * there is to tell TLS by. */
	asked.tls = asked.request ? strcmp(asked.protocol, "http") != 0 : asked.port != 80;
	if (asked.port == 0)
		asked.port = 443; /* a name alone was asked for */
	*ret = asked;
	return asked.host[0] || asked.address[0];
}

static void from_group(const struct pending_group *group, const struct pending_sample *sample,
		       struct refusal *ret)
{
	*ret = (struct refusal){
		.id = sample->id,
		.reason = group->reason,
		.port = group->port,
		.protocol = span_from(group->protocol),
		.host = span_from(group->host ? group->host : ""),
		.address = span_from(group->address ? group->address : ""),
		.method = span_from(group->method ? group->method : ""),
		.path = span_from(sample->path ? sample->path : ""),
		.path_cut = sample->path_cut,
	};
}

/* What stands for any: no rule names it, so that it passes where everything does. */
#define NO_METHOD "EGRESS-ANY"
#define NO_PATH "/egress-any"

bool asked_is_allowed(const struct asked *asked, const struct policy *policy)
{
	const struct policy_request request = {
		.host = asked->host,
		.port = asked->port,
		.tls = asked->tls,
		.method = span_from(asked->method[0] ? asked->method : NO_METHOD),
		.target = span_from(asked->path[0] ? asked->path : NO_PATH),
	};
	const struct policy_host *host = policy_find_host(policy, asked->host);
	struct policy_verdict verdict;
	struct egress_address address;

	if (asked->raw)
		return address_parse(asked->address, &address) &&
		       strcmp(asked->protocol, "udp") != 0 &&
		       policy_find_cidr(policy, &address, asked->port);
	if (!asked->method[0] && !asked->path[0])
		return host && policy_host_allows_port(host, asked->port);
	policy_decide(policy, &request, &verdict);
	return verdict.reason == EGRESS_ALLOWED;
}

const char *asked_never(const struct asked *asked)
{
	if (strcmp(asked->protocol, "udp") == 0)
		return "a grant never opens UDP: have the program use TCP (QUIC falls back to it by itself)";
	if (asked->raw)
		return "a grant never opens a raw address: have the program use the host's name, or write a "
		       "route with 'cidr:' into the policy";
	switch (asked->reason) {
	case EGRESS_HOST_NOT_ALLOWED:
	case EGRESS_PORT_NOT_ALLOWED:
	case EGRESS_PATH_NOT_ALLOWED:
	case EGRESS_METHOD_NOT_ALLOWED:
	case EGRESS_HEADER_NOT_ALLOWED:
		return NULL;
	default:
		return reason_cure(asked->reason);
	}
}

/* ---- by its id --------------------------------------------------------------------------------- */

/* The second number of "3f2a-17.2". */
static bool parse_writer(const char *text, unsigned *ret)
{
	char *end;
	unsigned long number;

	/* As they are written, and in no other way. */
	if (*text < '1' || *text > '9' || strlen(text) > 2)
		return false;
	number = strtoul(text, &end, 10);
	*ret = (unsigned)number - 1;
	return *end == '\0' && number > 1;
}

/* "3f2a-17", "3f2a-17.2" for one of the second worker's, "3f2a-k17" for one of the kernel's. */
static int parse_id(const struct supervisor *s, const char *text, uint64_t *ret_id, bool *ret_kernel,
		    struct error *error)
{
	const size_t mark = strlen(s->mark), digits = strspn(text, "0123456789abcdef");
	const char *number = text + mark;
	unsigned writer = 0;
	bool kernel;
	char *end;

	if (digits != mark - 1 || text[digits] != '-')
		return error_set(error, "'%.40s' is not the id of a refusal: 'egress-bpf pending' has them, "
				 "and the refusal itself", text);
	if (strncmp(text, s->mark, mark) != 0)
		return error_set(error, "%.40s is of another sidecar, or of one before this", text);
	kernel = *number == 'k';
	number += kernel;
	/* Digits alone, and so few that they fit: strtoull(3) takes signs and blanks, too. */
	if (*number < '1' || *number > '9' || strcspn(number, ".") > 16)
		return error_set(error, "'%.40s' is not the id of a refusal", text);
	*ret_id = strtoull(number, &end, 10);
	if (*end && (kernel || *end != '.' || !parse_writer(end + 1, &writer)))
		return error_set(error, "'%.40s' is not the id of a refusal", text);
	*ret_id = feed_id(writer, *ret_id);
	*ret_kernel = kernel;
	return 0;
}

/* What is no sample any more may still be in the feed. */
static bool find_in_feed(const struct supervisor *s, bool kernel, uint64_t id, struct feed_event *event,
			 struct refusal *ret)
{
	const unsigned writer = feed_id_writer(id);
	const struct slot *slot = !kernel && writer < s->slot_count ? s->slots[writer] : NULL;
	const struct feed *feed = kernel ? s->kernel_feed : slot ? slot->feed : NULL;
	struct feed_cursor cursor = {0};

	for (int i = 0; feed && i < AT_ONCE && feed_next(feed, FEED_PENDING, &cursor, event); i++) {
		const struct span record = {event->line, event->length};

		if (refusal_unpack(record, ret) && ret->id == id &&
		    (!slot || (slot->ids &&
			       pending_ids_same(slot->ids, feed_id_number(id), record))))
			return true;
	}
	return false;
}

int supervisor_find_refusal(struct supervisor *s, const char *id, struct asked *ret,
			    struct pending_group **ret_group, struct error *error)
{
	const struct pending_sample *sample;
	struct pending_group *group;
	struct refusal refusal;
	struct feed_event event;
	uint64_t number = 0;
	bool kernel = false;

	/* Asks first: their ids ("3f2a-a5") are none for parse_id(). */
	if (supervisor_find_ask(s, id, ret))
		return 0;
	if (parse_id(s, id, &number, &kernel, error) < 0)
		return -1;
	/* The program reads its refusal's id in the answer a moment before the record is in the
	 * table. */
	supervisor_drain_refusals(s);
	group = pending_find(s->approvals->pending, number, kernel, &sample);
	if (group)
		from_group(group, sample, &refusal);
	else if (find_in_feed(s, kernel, number, &event, &refusal))
		group = pending_group_of(s->approvals->pending, &refusal);
	else
		return error_set(error, "%s is " CONTROL_UNKNOWN_ID ": it is too old, or was none; "
				 "'egress-bpf pending %s' lists what is", id, s->options.name);
	if (!from_refusal(&refusal, ret))
		return error_set(error, "%s names no host", id);
	*ret_group = group;
	return 0;
}

/* ---- the list ---------------------------------------------------------------------------------- */

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text && *text)
		(void)json_object_set_new(object, key, json_string(text));
}

static json_t *describe_sample(const struct supervisor *s, const struct pending_sample *sample,
			       bool allowed)
{
	const unsigned writer = feed_id_writer(sample->id);
	const struct feed *feed = sample->kernel || writer >= s->slot_count ? s->kernel_feed
									    : s->slots[writer]->feed;
	char id[FEED_ID_SIZE];
	json_t *object;

	feed_id_text(feed, sample->id, id);
	object = json_pack("{s:s, s:I, s:b}", "id", id, "time", (json_int_t)sample->time_ms, "allowed",
			   allowed);
	set_text(object, "path", sample->path);
	return object;
}

static int newest_first(const void *a, const void *b)
{
	const struct pending_sample *x = a, *y = b;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? 1 : -1;
	return (x->id < y->id) - (x->id > y->id);
}

/* "allowed" when every sample is by now; that needs no table of its own, and is so after a reload,
 * too. */
static json_t *describe_samples(const struct supervisor *s, const struct pending_group *group,
				const char **ret_state, const char **ret_cure)
{
	struct pending_sample samples[PENDING_SAMPLES];
	json_t *list = json_array();
	bool all = true, allowed;
	struct refusal refusal;
	struct asked asked;

	memcpy(samples, group->samples, sizeof(samples));
	qsort(samples, group->sample_count, sizeof(samples[0]), newest_first);
	for (size_t i = 0; i < group->sample_count; i++) {
		from_group(group, &samples[i], &refusal);
		if (!from_refusal(&refusal, &asked))
			continue;
		allowed = asked_is_allowed(&asked, s->config->policy);
		all = all && allowed;
		*ret_cure = asked_never(&asked);
		(void)json_array_append_new(list, describe_sample(s, &samples[i], allowed));
	}
	*ret_state = group->denied ? "denied" : all ? "allowed" : "pending";
	return list;
}

static json_t *describe_group(const struct supervisor *s, const struct pending_group *group, bool all)
{
	const char *state = "pending", *cure = NULL;
	json_t *samples = describe_samples(s, group, &state, &cure), *object;

	if (json_array_size(samples) == 0 || (!all && strcmp(state, "pending") != 0)) {
		json_decref(samples);
		return NULL;
	}
	object = json_pack("{s:O, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:b, s:o}", "id",
			   json_object_get(json_array_get(samples, 0), "id"), "state", state, "reason",
			   reason_name(group->reason), "port", (int)group->port, "one_path", group->one_path,
			   "count", (json_int_t)group->count, "first", (json_int_t)group->first_ms, "last",
			   (json_int_t)group->last_ms, "allowable", cure == NULL, "samples", samples);
	set_text(object, "host", group->host);
	set_text(object, "address", group->address);
	set_text(object, "protocol", group->protocol);
	set_text(object, "method", group->method);
	set_text(object, "path", group->prefix);
	set_text(object, "cure", cure);
	return object;
}

/* Paths may be long, and all quotes: a bottle must not make the answer longer than who asks reads. */
static size_t size_of(const struct pending_group *group)
{
	size_t size = 700 + (group->prefix ? 2 * strlen(group->prefix) : 0);

	for (size_t i = 0; i < group->sample_count; i++)
		size += 120 + (group->samples[i].path ? 2 * strlen(group->samples[i].path) : 0);
	return size;
}

static json_t *describe_grants(const struct grants *grants)
{
	json_t *list = json_array();

	for (size_t i = 0; i < grants->count; i++)
		(void)json_array_append_new(list, supervisor_describe_grant(&grants->list[i]));
	return list;
}

json_t *supervisor_answer_pending(struct supervisor *s, const json_t *request)
{
	const bool all = json_is_true(json_object_get(request, "all"));
	struct pending_group *groups[PENDING_GROUPS];
	json_t *list = json_array(), *one;
	size_t count, size = 0, unlisted = 0;

	if (!s->approvals) {
		json_decref(list);
		return json_pack("{s:s}", "error", "the sidecar has no memory for what is refused");
	}
	supervisor_drain_refusals(s);
	count = pending_list(s->approvals->pending, groups);
	for (size_t i = 0; i < count; i++) {
		one = describe_group(s, groups[i], all);
		size += one ? size_of(groups[i]) : 0;
		if (one && size > LIST_MAX) {
			json_decref(one);
			unlisted++;
		} else if (one) {
			(void)json_array_append_new(list, one);
		}
	}
	return json_pack("{s:o, s:o, s:I, s:o, s:I, s:I}", "groups", list, "asks",
			 supervisor_describe_asks(s, all), "unlisted", (json_int_t)unlisted, "grants",
			 describe_grants(&s->approvals->grants), "evicted",
			 (json_int_t)pending_evicted(s->approvals->pending), "lost",
			 (json_int_t)pending_lost_count(s->approvals->pending));
}

/* ---- at the end --------------------------------------------------------------------------------- */

#define TELL_MOST 5 /* lines: more would push the command's own last words off the terminal */

/* What other reasons ask for stands in the program's own answer; who speaks no HTTP reads none. */
static const char *cure_of(const struct pending_group *group)
{
	static const char *const proxied[] = {"http", "https", "tls"};

	for (size_t i = 0; group->reason == EGRESS_PROTOCOL_NOT_ALLOWED && group->host &&
			   i < sizeof(proxied) / sizeof(proxied[0]); i++)
		if (strcmp(group->protocol, proxied[i]) == 0)
			return "; what is neither HTTP nor TLS needs protocol: tcp on its route";
	return "";
}

static void tell_group(const struct pending_group *group)
{
	const char *host = group->host ? group->host : group->address;
	const bool plain = strcmp(group->protocol, "http") == 0, six = strchr(host, ':');
	char port[8] = "";

	if (group->port != 0 && !(group->host && group->port == (plain ? 80 : 443)))
		snprintf(port, sizeof(port), ":%u", group->port);
	if (group->method && group->prefix)
		diag_notice("refused %s http%s://%s%s%s%s: %s (%llu)", group->method, plain ? "" : "s",
			    host, port, group->prefix, group->one_path ? "" : "...",
			    reason_name(group->reason), (unsigned long long)group->count);
	else
		diag_notice("refused %s%s%s%s: %s (%llu)%s", six ? "[" : "", host, six ? "]" : "",
			    port, reason_name(group->reason), (unsigned long long)group->count,
			    cure_of(group));
}

void supervisor_tell_refused(struct supervisor *s)
{
	struct pending_group *groups[PENDING_GROUPS];
	size_t count, told = 0, more = 0;

	if (!s->approvals)
		return;
	supervisor_drain_refusals(s);
	count = pending_list(s->approvals->pending, groups);
	for (size_t i = 0; i < count; i++) {
		/* What an operator silenced; and a taken worker's record may name nothing. */
		if (groups[i]->denied || (!groups[i]->host && !groups[i]->address))
			continue;
		if (told++ < TELL_MOST)
			tell_group(groups[i]);
		else
			more++;
	}
	if (more > 0)
		diag_notice("refused %zu more; --log FILE has each, --report FILE the list", more);
}
