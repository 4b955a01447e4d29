// SPDX-License-Identifier: BSD-2-Clause
#include "supervisor_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "json_text.h"
#include "question.h"

/* ---- what is asked --------------------------------------------------------------------------------- */

static json_t *refusal(const char *text)
{
	return json_pack("{s:s}", "error", text);
}

/* {"method", "url"}: what the policy in force answers now. */
static json_t *answer_why(const struct supervisor *s, const json_t *request)
{
	const char *method = json_string_value(json_object_get(request, "method"));
	const char *url = json_string_value(json_object_get(request, "url"));
	struct question question = {0};
	struct answer answer;
	json_t *object;

	if (!method || !url || !question_set_url(&question, url))
		return refusal("why: say method and url");
	question.method = span_from(method);
	question_ask(&question, s->config->policy, &answer);
	object = json_pack("{s:b, s:s, s:o}", "allowed", answer.verdict.reason == EGRESS_ALLOWED,
			   "reason", reason_name(answer.verdict.reason), "route",
			   json_text(answer.place));
	if (answer.verdict.reason != EGRESS_ALLOWED)
		(void)json_object_set_new(object, "hint",
					  json_string(answer.verdict.hint[0]
							      ? answer.verdict.hint
							      : reason_cure(answer.verdict.reason)));
	question_release(&question);
	return object;
}

/* ---- state ------------------------------------------------------------------------------------------ */

/* What the workers have counted, each in memory of its own. */
static void sum_latencies(const struct supervisor *s, uint32_t host_id, uint64_t ret[FEED_BUCKETS])
{
	uint64_t counts[FEED_BUCKETS];

	memset(ret, 0, sizeof(counts));
	for (unsigned k = 0; k < s->slot_count; k++) {
		if (!s->slots[k]->feed)
			continue;
		feed_latencies(s->slots[k]->feed, host_id, counts);
		for (unsigned i = 0; i < FEED_BUCKETS; i++)
			ret[i] += counts[i];
	}
}

static json_t *json_latency(const struct supervisor *s, uint32_t host_id)
{
	uint64_t counts[FEED_BUCKETS], total = 0;

	sum_latencies(s, host_id, counts);
	for (unsigned i = 0; i < FEED_BUCKETS; i++)
		total += counts[i];
	if (total == 0)
		return NULL;
	return json_pack("{s:I, s:I, s:I}", "count", (json_int_t)total, "p50_us",
			 (json_int_t)feed_quantile(counts, 0.5), "p99_us",
			 (json_int_t)feed_quantile(counts, 0.99));
}

/* By host id, as `status` has the hosts' names from the pins. */
static json_t *json_latencies(const struct supervisor *s)
{
	json_t *object = json_object(), *one;
	char id[16];

	for (uint32_t i = 0; i < EGRESS_MAX_COUNTED_HOSTS; i++) {
		one = json_latency(s, i);
		snprintf(id, sizeof(id), "%u", i);
		if (one)
			(void)json_object_set_new(object, id, one);
	}
	return object;
}

static json_t *json_buckets(const struct supervisor *s)
{
	uint64_t counts[FEED_BUCKETS];
	json_t *list = json_array();

	/* Host 0 is all of them together: feed.h. */
	sum_latencies(s, 0, counts);
	for (unsigned i = 0; i < FEED_BUCKETS; i++)
		(void)json_array_append_new(list, json_integer((json_int_t)counts[i]));
	return list;
}

static json_t *json_latency_sum(const struct supervisor *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->slot_count; i++)
		sum += s->slots[i]->feed ? feed_latency_sum(s->slots[i]->feed) : 0;
	return json_integer((json_int_t)sum);
}

/* The limit is that of the bottle, which each of them writes. */
static json_t *json_buffers(const struct supervisor *s)
{
	struct feed_buffers buffers = {0}, one;
	uint64_t held = 0;

	for (unsigned i = 0; i < s->slot_count; i++) {
		if (!s->slots[i]->feed)
			return json_null();
		one = feed_buffers(s->slots[i]->feed);
		held += *shares_held(s->shares, i);
		buffers.ended += one.ended;
		buffers.limit = one.limit;
	}
	return json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)held, "limit",
			 (json_int_t)buffers.limit, "ended", (json_int_t)buffers.ended);
}

/* What `metrics` asks for. */
static json_t *json_tallies(const struct supervisor *s)
{
	static const char *const names[TALLY_COUNT] = {
		[TALLY_CLIENT_HANDSHAKES] = "client_handshakes",
		[TALLY_CLIENT_HANDSHAKES_FAILED] = "client_handshakes_failed",
		[TALLY_UPSTREAM_HANDSHAKES] = "upstream_handshakes",
		[TALLY_UPSTREAM_HANDSHAKES_RESUMED] = "upstream_handshakes_resumed",
		[TALLY_UPSTREAM_HANDSHAKES_FAILED] = "upstream_handshakes_failed",
		[TALLY_UPSTREAM_REUSED] = "upstream_reused",
		[TALLY_UPSTREAM_DIALLED] = "upstream_dialled",
		[TALLY_POOL_IDLE] = "pool_idle",
		[TALLY_LOG_LOST] = "log_lost",
	};
	json_t *object = json_object();

	for (int i = 0; i < TALLY_COUNT; i++) {
		/* What the kernel refuses is logged by ourselves. */
		uint64_t sum = s->kernel_feed ? feed_tally(s->kernel_feed, (enum tally)i) : 0;

		for (unsigned k = 0; k < s->slot_count; k++)
			sum += s->slots[k]->feed ? feed_tally(s->slots[k]->feed, (enum tally)i) : 0;
		(void)json_object_set_new(object, names[i], json_integer((json_int_t)sum));
	}
	return object;
}

static json_t *json_grants(const struct supervisor *s)
{
	json_t *list = json_array();

	for (size_t i = 0; s->approvals && i < s->approvals->grants.count; i++)
		(void)json_array_append_new(list,
					    supervisor_describe_grant(&s->approvals->grants.list[i]));
	return list;
}

static json_t *answer_status(const struct supervisor *s)
{
	const char *file = supervisor_policy_file(&s->options);
	json_t *reload = s->reload_at ? json_pack("{s:I, s:s}", "at", (json_int_t)s->reload_at, "error",
						  s->reload_error) : json_null();
	char hash[2 * sizeof(s->config->hash) + 1];

	for (size_t i = 0; i < sizeof(s->config->hash); i++)
		snprintf(hash + 2 * i, 3, "%02x", s->config->hash[i]);
	return json_pack("{s:s, s:I, s:o, s:o, s:i, s:b, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "policy_hash", hash, "policy_since", (json_int_t)s->policy_since, "policy_file",
			 json_text(file ? file : ""), "reload", reload,
			 "restarts", (int)s->restarts, "worker_ready", supervisor_ready_count(s) > 0,
			 "workers", (int)s->slot_count, "workers_ready",
			 (int)supervisor_ready_count(s), "latency", json_latencies(s),
			 "latency_buckets", json_buckets(s), "buffers", json_buffers(s), "tallies",
			 json_tallies(s), "grants", json_grants(s), "latency_sum_us",
			 json_latency_sum(s));
}

/* So much of all sources together is shown: an answer has an end. */
#define POLICY_TEXT_MAX ((size_t)1 << 20)

static json_t *json_source(const struct config_source *source, size_t *left)
{
	size_t length = source->text.length;
	json_t *text;

	/* Cut at the end of a line, for the page shows the text by its lines' numbers. */
	if (length > *left)
		for (length = *left; length > 0 && source->text.data[length - 1] != '\n'; length--)
			;
	*left -= length;
	text = json_stringn(source->text.data, length);
	/* YAML may be UTF-16, which the parser reads and a page cannot. */
	return json_pack("{s:o, s:o, s:b}", "name", json_text(source->name), "text",
			 text ? text : json_string("# not UTF-8"), "cut",
			 length < source->text.length);
}

/* The policy in force as it was read, to the line: what the numbers in verdicts' routes mean. The files
 * may have changed since. Secrets' values are not in the sources. */
static json_t *answer_policy(const struct supervisor *s)
{
	size_t count = 0, left = POLICY_TEXT_MAX;
	struct config_source *sources = config_packed_sources(bytes_span(&s->blob), &count);
	json_t *list = json_array();

	for (size_t i = 0; sources && i < count; i++)
		(void)json_array_append_new(list, json_source(&sources[i], &left));
	config_free_sources(sources, sources ? count : 0);
	return json_pack("{s:o, s:I}", "sources", list, "since", (json_int_t)s->policy_since);
}

static json_t *answer(void *context, const char *command, const json_t *request)
{
	struct supervisor *s = context;

	if (strcmp(command, "why") == 0)
		return answer_why(s, request);
	if (strcmp(command, "status") == 0)
		return answer_status(s);
	if (strcmp(command, "policy") == 0)
		return answer_policy(s);
	if (strcmp(command, "pending") == 0)
		return supervisor_answer_pending(s, request);
	if (strcmp(command, "allow") == 0)
		return supervisor_answer_allow(s, request);
	if (strcmp(command, "deny") == 0)
		return supervisor_answer_deny(s, request);
	return refusal("no such command: another version?");
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* Ids of one life of ours are told from those of another, which may stand in the same log. */
void supervisor_open_feed(struct supervisor *s)
{
	char kernel_mark[8];
	unsigned short number = 0;
	int fd = feed_memory();

	/* Without luck it is 0: two logs could share ids, and nothing else is lost. */
	(void)!getrandom(&number, sizeof(number), 0);
	snprintf(s->mark, sizeof(s->mark), "%04x-", number);
	snprintf(kernel_mark, sizeof(kernel_mark), "%04x-k", number);
	if (fd >= 0) {
		s->kernel_feed = feed_open(fd, kernel_mark);
		close(fd);
	}
	if (!s->kernel_feed)
		diag_warning("no memory for events: 'egress-bpf events' will show none");
}

/* One for each place: two writers of one would have to trust each other. */
void supervisor_open_slot_feed(struct slot *slot)
{
	struct supervisor *s = slot->s;

	slot->feed_fd = s->kernel_feed ? feed_memory() : -1;
	if (slot->feed_fd >= 0)
		slot->feed = feed_open(slot->feed_fd, s->mark);
	if (slot->feed) {
		feed_set_writer(slot->feed, slot->index);
		control_add_feed(s->control, slot->feed);
		return;
	}
	if (s->kernel_feed)
		diag_warning("no memory for a worker's events: 'egress-bpf events' will lack them");
	if (slot->feed_fd >= 0)
		close(slot->feed_fd);
	slot->feed_fd = -1;
}

void supervisor_open_control(struct supervisor *s)
{
	const struct control_options options = {
		.name = s->options.name,
		.cgroup_path = s->options.cgroup_path,
		.base = s->base,
		.answer = answer,
		.context = s,
	};
	struct error error = {0};

	s->control_missed = control_new(&options, &s->control, &error) < 0;
	if (s->control_missed)
		diag_warning("%s; 'egress-bpf events' and its like cannot ask%s", error.text,
			     s->options.forward_signals ? "" : "; it is tried again at each SIGHUP");
	for (unsigned i = 0; i < s->slot_count; i++)
		control_add_feed(s->control, s->slots[i]->feed);
	control_add_feed(s->control, s->kernel_feed);
}

void supervisor_close_control(struct supervisor *s)
{
	/* The last verdicts are in the feed already; followers have them before their connection
	 * ends. */
	control_flush(s->control);
	control_free(s->control);
	s->control = NULL;
}
