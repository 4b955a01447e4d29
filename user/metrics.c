// SPDX-License-Identifier: BSD-2-Clause
#include "metrics.h"

#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "feed.h"
#include "kernel.h"
#include "reason.h"

/* What is known of one bottle. */
struct bottle_facts {
	const char *name; /* valid in a label as it is: kernel_name_valid() */
	struct kernel_status status;
	int asked;	 /* where its sidecar answers; -1: nowhere */
	json_t *sidecar; /* NULL: dead */
};

/* The text goes family by family, all bottles of each beside each other, as the format asks. */
struct scrape {
	struct bytes *out;
	struct bottle_facts *bottles;
	size_t count;
	bool fine;
};

static void PRINTF(2, 3) say(struct scrape *s, const char *format, ...);

static void say(struct scrape *s, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	/* No line is longer: a host's name has 253 characters at most. */
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	s->fine = s->fine && bytes_append_text(s->out, text);
}

static void family(struct scrape *s, const char *name, const char *type, const char *help)
{
	say(s, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ---- kernel and proxy --------------------------------------------------------------------------- */

static void say_verdicts(struct scrape *s)
{
	family(s, "egress_verdicts_total", "counter", "Decisions by reason, of the kernel and the proxy.");
	for (size_t b = 0; b < s->count; b++) {
		const struct bottle_facts *facts = &s->bottles[b];

		for (int i = 0; i < EGRESS_REASON_COUNT; i++) {
			/* The kernel has no such counter: what it lets pass is steered, direct or
			 * loopback, and counted as that. */
			if (i != EGRESS_ALLOWED)
				say(s, "egress_verdicts_total{bottle=\"%s\",source=\"kernel\",reason=\"%s\"} "
				    "%" PRIu64 "\n", facts->name, reason_name(i),
				    facts->status.counters[i]);
			say(s, "egress_verdicts_total{bottle=\"%s\",source=\"proxy\",reason=\"%s\"} "
			    "%" PRIu64 "\n", facts->name, reason_name(i), facts->status.verdicts[i]);
		}
	}
}

static void say_kernel(struct scrape *s)
{
	static const struct {
		enum egress_counter counter;
		const char *name, *help;
	} counters[] = {
		{EGRESS_COUNTER_STEERED, "egress_connections_steered_total",
		 "Connections that the kernel led to the proxy."},
		{EGRESS_COUNTER_DNS, "egress_dns_sockets_steered_total",
		 "Sockets that the kernel led to the DNS responder."},
		{EGRESS_COUNTER_DIRECT, "egress_direct_total", "Let out by a direct route."},
		{EGRESS_COUNTER_LOST, "egress_ring_buffer_lost_total",
		 "Refusals that the ring buffer had no room for; they are counted all the same."},
		{EGRESS_COUNTER_WIRE, "egress_wire_dropped_total", "Frames dropped by the tc wall."},
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		family(s, counters[i].name, "counter", counters[i].help);
		for (size_t b = 0; b < s->count; b++)
			say(s, "%s{bottle=\"%s\"} %" PRIu64 "\n", counters[i].name,
			    s->bottles[b].name, s->bottles[b].status.counters[counters[i].counter]);
	}
}

static void say_walls(struct scrape *s)
{
	family(s, "egress_wall_programs", "gauge",
	       "Kernel programs of the wall, by whether they are attached.");
	for (size_t b = 0; b < s->count; b++) {
		const struct kernel_status *status = &s->bottles[b].status;
		size_t attached = 0;

		for (size_t i = 0; i < status->link_count; i++)
			attached += status->links[i].attached;
		say(s, "egress_wall_programs{bottle=\"%s\",state=\"attached\"} %zu\n", status->name,
		    attached);
		say(s, "egress_wall_programs{bottle=\"%s\",state=\"missing\"} %zu\n", status->name,
		    status->link_count - attached);
	}
	family(s, "egress_names_bound", "gauge", "Names that have an address of the bottle's pool.");
	for (size_t b = 0; b < s->count; b++)
		say(s, "egress_names_bound{bottle=\"%s\"} %zu\n", s->bottles[b].name,
		    s->bottles[b].status.host_count);
}

static void say_fill(struct scrape *s)
{
	static const char *const names[] = {"egress_map_entries", "egress_map_max_entries"};
	struct kernel_fill (*fills)[KERNEL_FILLS] = calloc(s->count + 1, sizeof(*fills));
	size_t *counts = calloc(s->count + 1, sizeof(*counts));

	for (size_t b = 0; fills && counts && b < s->count; b++)
		counts[b] = kernel_read_fill(s->bottles[b].name, fills[b]);
	for (int which = 0; which < 2 && fills && counts; which++) {
		family(s, names[which], "gauge",
		       which ? "Entries that a table of the wall has room for; then it refuses."
			     : "Entries of a table of the wall.");
		for (size_t b = 0; b < s->count; b++)
			for (size_t i = 0; i < counts[b]; i++)
				say(s, "%s{bottle=\"%s\",map=\"%s\"} %" PRIu64 "\n", names[which],
				    s->bottles[b].name, fills[b][i].map,
				    which ? fills[b][i].limit : fills[b][i].entries);
	}
	s->fine = s->fine && fills && counts;
	free(fills);
	free(counts);
}

/* ---- hosts ---------------------------------------------------------------------------------------- */

struct host_family {
	const char *name, *help, *label, *values[2];
	size_t offsets[2]; /* in struct egress_host_verdicts */
};

static uint64_t value_of(const struct kernel_host_status *host, const struct host_family *f, int which)
{
	return *(const uint64_t *)((const char *)&host->verdicts + f->offsets[which]);
}

static void say_host_family(struct scrape *s, const struct host_family *f)
{
	family(s, f->name, "counter", f->help);
	for (size_t b = 0; b < s->count; b++) {
		const struct kernel_status *status = &s->bottles[b].status;

		for (int which = 0; which < 2; which++) {
			uint64_t others = 0;

			for (size_t i = 0; i < status->host_count; i++) {
				/* By id, and ids are never given twice: a host has its label for
				 * good, or never. A wildcard and a bottle that asks for thousands
				 * of names must not make a time series of each. */
				if (status->hosts[i].host.id > METRICS_HOSTS)
					others += value_of(&status->hosts[i], f, which);
				else
					say(s, "%s{bottle=\"%s\",host=\"%s\",%s=\"%s\"} %" PRIu64 "\n",
					    f->name, status->name, status->hosts[i].host.name, f->label,
					    f->values[which], value_of(&status->hosts[i], f, which));
			}
			if (status->host_count > METRICS_HOSTS)
				say(s, "%s{bottle=\"%s\",host=\"\",%s=\"%s\"} %" PRIu64 "\n", f->name,
				    status->name, f->label, f->values[which], others);
		}
	}
}

static void say_hosts(struct scrape *s)
{
	static const struct host_family families[] = {
		{"egress_host_verdicts_total", "The proxy's decisions by host.", "verdict",
		 {"allowed", "refused"},
		 {offsetof(struct egress_host_verdicts, allowed),
		  offsetof(struct egress_host_verdicts, refused)}},
		{"egress_host_bytes_total", "Bytes of bodies and tunnels by host; up is to the host.",
		 "direction", {"up", "down"},
		 {offsetof(struct egress_host_verdicts, bytes_up),
		  offsetof(struct egress_host_verdicts, bytes_down)}},
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		say_host_family(s, &families[i]);
}

/* ---- the sidecar ----------------------------------------------------------------------------------- */

static json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static json_int_t reload_went_well(const json_t *sidecar)
{
	const char *error =
		json_string_value(json_object_get(json_object_get(sidecar, "reload"), "error"));

	return !error || !*error;
}

static void say_gauge(struct scrape *s, const char *name, const char *type, const char *help,
		      json_int_t (*value)(const json_t *sidecar))
{
	family(s, name, type, help);
	for (size_t b = 0; b < s->count; b++)
		if (s->bottles[b].sidecar)
			say(s, "%s{bottle=\"%s\"} %lld\n", name, s->bottles[b].name,
			    (long long)value(s->bottles[b].sidecar));
}

static json_int_t workers_ready(const json_t *sidecar)
{
	return number_of(sidecar, "workers_ready");
}

static json_int_t restarts(const json_t *sidecar)
{
	return number_of(sidecar, "restarts");
}

static json_int_t policy_since(const json_t *sidecar)
{
	return number_of(sidecar, "policy_since");
}

static json_int_t worker_ready(const json_t *sidecar)
{
	return json_is_true(json_object_get(sidecar, "worker_ready"));
}

static const json_t *buffers_of(const json_t *sidecar)
{
	return json_object_get(sidecar, "buffers");
}

static json_int_t buffers_held(const json_t *sidecar)
{
	return number_of(buffers_of(sidecar), "bytes");
}

static json_int_t buffers_limit(const json_t *sidecar)
{
	return number_of(buffers_of(sidecar), "limit");
}

static json_int_t buffers_ended(const json_t *sidecar)
{
	return number_of(buffers_of(sidecar), "ended");
}

/* Sums of what the connections of all workers counted. */
static void say_tallies(struct scrape *s)
{
	static const struct {
		const char *name, *type, *help;
		struct {
			const char *labels, *key;
		} series[5];
	} families[] = {
		{"egress_tls_handshakes_total", "counter", "TLS handshakes, with the bottle and with hosts.",
		 {{"side=\"client\",result=\"full\"", "client_handshakes"},
		  {"side=\"client\",result=\"failed\"", "client_handshakes_failed"},
		  {"side=\"upstream\",result=\"full\"", "upstream_handshakes"},
		  {"side=\"upstream\",result=\"resumed\"", "upstream_handshakes_resumed"},
		  {"side=\"upstream\",result=\"failed\"", "upstream_handshakes_failed"}}},
		{"egress_upstream_requests_total", "counter",
		 "Times a connection to a host was needed, by whether one was there.",
		 {{"connection=\"reused\"", "upstream_reused"},
		  {"connection=\"new\"", "upstream_dialled"}}},
		{"egress_upstream_idle_connections", "gauge", "Connections to hosts that wait for a request.",
		 {{NULL, "pool_idle"}}},
		{"egress_log_lost_records_total", "counter",
		 "Records that could not be written to the log: a full disk, or a reader that is slow.",
		 {{NULL, "log_lost"}}},
	};

	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		family(s, families[f].name, families[f].type, families[f].help);
		for (size_t b = 0; b < s->count; b++) {
			const json_t *tallies = json_object_get(s->bottles[b].sidecar, "tallies");

			for (size_t i = 0; i < 5 && families[f].series[i].key && tallies; i++)
				say(s, "%s{bottle=\"%s\"%s%s} %lld\n", families[f].name, s->bottles[b].name,
				    families[f].series[i].labels ? "," : "",
				    families[f].series[i].labels ? families[f].series[i].labels : "",
				    (long long)number_of(tallies, families[f].series[i].key));
		}
	}
}

static void say_sidecars(struct scrape *s)
{
	family(s, "egress_up", "gauge", "Whether the bottle's sidecar is alive; its wall stands without it.");
	for (size_t b = 0; b < s->count; b++)
		say(s, "egress_up{bottle=\"%s\"} %d\n", s->bottles[b].name,
		    s->bottles[b].sidecar != NULL);
	say_gauge(s, "egress_worker_up", "gauge", "Whether the worker serves.", worker_ready);
	say_gauge(s, "egress_workers", "gauge", "Processes that speak to the network and are ready.",
		  workers_ready);
	say_gauge(s, "egress_worker_restarts_total", "counter", "Workers that ended and were replaced.",
		  restarts);
	say_gauge(s, "egress_policy_loaded_timestamp_seconds", "gauge",
		  "When the policy in force was loaded.", policy_since);
	say_gauge(s, "egress_policy_last_reload_successful", "gauge", "Whether the last reload went well.",
		  reload_went_well);
	say_gauge(s, "egress_buffers_bytes", "gauge", "What the proxy's buffers hold.", buffers_held);
	say_gauge(s, "egress_buffers_limit_bytes", "gauge", "What they may hold.", buffers_limit);
	say_gauge(s, "egress_buffers_ended_total", "counter",
		  "Requests and tunnels that were ended for holding most when the buffers were full.",
		  buffers_ended);
}

/* The buckets of all hosts together; by host they would be too many. */
static void say_latency(struct scrape *s)
{
	static const char name[] = "egress_added_latency_seconds";

	family(s, name, "histogram", "The proxy's own time until a request was on its way.");
	for (size_t b = 0; b < s->count; b++) {
		const json_t *sidecar = s->bottles[b].sidecar;
		const json_t *counts = json_object_get(sidecar, "latency_buckets");
		uint64_t total = 0;

		/* A sidecar of another version may count otherwise: no histogram rather than a
		 * wrong one. */
		if (!sidecar || json_array_size(counts) != FEED_BUCKETS)
			continue;
		for (unsigned i = 0; i < FEED_BUCKETS; i++) {
			total += (uint64_t)json_integer_value(json_array_get(counts, i));
			/* The last bucket has no end, and is the one of +Inf below. */
			if (i + 1 < FEED_BUCKETS)
				say(s, "%s_bucket{bottle=\"%s\",le=\"%.9g\"} %" PRIu64 "\n", name,
				    s->bottles[b].name, (double)feed_bucket_end(i) / 1e6, total);
		}
		say(s, "%s_bucket{bottle=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, s->bottles[b].name,
		    total);
		say(s, "%s_sum{bottle=\"%s\"} %.6f\n", name, s->bottles[b].name,
		    (double)number_of(sidecar, "latency_sum_us") / 1e6);
		say(s, "%s_count{bottle=\"%s\"} %" PRIu64 "\n", name, s->bottles[b].name, total);
	}
}

/* ---- collecting ------------------------------------------------------------------------------------ */

static bool read_bottle(const char *name, struct bottle_facts *ret)
{
	if (kernel_read_status(name, &ret->status, NULL) < 0)
		return false;
	ret->name = ret->status.name;
	/* Of a dead one's socket nobody answers; the pins alone say that it is dead, without
	 * waiting. */
	ret->asked = ret->status.supervisor_pid
			     ? control_ask_at_once(name, json_pack("{s:s}", "command", "status")) : -1;
	return true;
}

/* All were asked before one is waited for: those that hang, CONTROL_SECONDS for all of them. */
static void read_answers(struct scrape *s)
{
	const uint64_t end = clock_ms(CLOCK_MONOTONIC) + CONTROL_SECONDS * UINT64_C(1000);

	for (size_t i = 0; i < s->count; i++) {
		struct pollfd answer = {.fd = s->bottles[i].asked, .events = POLLIN};
		uint64_t now = clock_ms(CLOCK_MONOTONIC);

		if (answer.fd < 0)
			continue;
		if (poll(&answer, 1, now < end ? (int)(end - now) : 0) > 0)
			s->bottles[i].sidecar = control_answer(answer.fd, NULL);
		else
			close(answer.fd);
	}
}

bool metrics_collect(const char *name, struct bytes *ret)
{
	char **names = name ? NULL : kernel_list();
	struct scrape s = {.out = ret, .fine = true};
	size_t count = 0;

	while (names && names[count])
		count++;
	s.bottles = calloc(count + 1, sizeof(*s.bottles));
	/* A bottle that goes between the list and the look is left out: no error of the others. */
	for (size_t i = 0; s.bottles && i < (name ? 1 : count); i++)
		s.count += read_bottle(name ? name : names[i], &s.bottles[s.count]);
	read_answers(&s);
	if (s.bottles) {
		family(&s, "egress_build_info", "gauge", "The version, as a label.");
		say(&s, "egress_build_info{version=\"%s\"} 1\n", EGRESS_VERSION);
		say_sidecars(&s);
		say_verdicts(&s);
		say_hosts(&s);
		say_kernel(&s);
		say_walls(&s);
		say_fill(&s);
		say_tallies(&s);
		say_latency(&s);
	}
	for (size_t i = 0; i < s.count; i++) {
		kernel_status_free(&s.bottles[i].status);
		json_decref(s.bottles[i].sidecar);
	}
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free((void *)names);
	s.fine = s.fine && s.bottles;
	free(s.bottles);
	return s.fine;
}
