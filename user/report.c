// SPDX-License-Identifier: BSD-2-Clause
/* The report for programs. Its numbers are the proxy's log and the kernel's counters, kept apart:
 * who doubts the one has the other. */
#include "report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_SIZE 1024
/* Raised when a key changes its meaning; new keys do not. */
#define REPORT_VERSION 1

/* Texts are what the bottle and the origins chose: what is no UTF-8 cannot come from JSON. */
static void set_text(json_t *object, const char *key, const char *text)
{
	if (text[0])
		json_object_set_new(object, key, json_string(text));
}

/* JSON's integers are signed; nothing here comes near. */
static void set_count(json_t *object, const char *key, uint64_t count)
{
	json_object_set_new(object, key, json_integer((json_int_t)count));
}

static void set_time(json_t *object, const char *key, time_t when)
{
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&when, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		json_object_set_new(object, key, json_string(text));
}

static json_t *describe_entry(const struct journal_entry *entry)
{
	bool allowed = entry->reason == EGRESS_ALLOWED;
	json_t *object = json_pack("{s:s, s:s}", "verdict", allowed ? "allowed" : "refused",
				   "reason", reason_name(entry->reason));

	if (entry->audited != EGRESS_ALLOWED)
		set_text(object, "audit", reason_name(entry->audited));
	set_text(object, "source", entry->source);
	set_text(object, "protocol", entry->protocol);
	set_text(object, "address", entry->address);
	if (entry->port)
		set_count(object, "port", entry->port);
	set_text(object, "method", entry->method);
	set_text(object, "path", entry->path);
	set_count(object, "count", entry->count);
	set_count(object, "bytes_up", entry->bytes_up);
	set_count(object, "bytes_down", entry->bytes_down);
	return object;
}

struct sums {
	uint64_t allowed, refused, up, down;
};

static void add_sums(struct sums *sums, const struct journal_entry *entry)
{
	*(entry->reason == EGRESS_ALLOWED ? &sums->allowed : &sums->refused) += entry->count;
	sums->up += entry->bytes_up;
	sums->down += entry->bytes_down;
}

static void set_sums(json_t *object, const struct sums *sums)
{
	set_count(object, "allowed", sums->allowed);
	set_count(object, "refused", sums->refused);
	set_count(object, "bytes_up", sums->up);
	set_count(object, "bytes_down", sums->down);
}

/* One object per host; what has none, addresses and protocols, is under the host "". */
static json_t *describe_hosts(const struct journal *journal)
{
	json_t *hosts = json_array(), *decisions = NULL;
	struct sums sums;

	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i], *next = entry + 1;

		/* The journal is sorted: the entries of one host stand together. */
		if (!decisions) {
			decisions = json_array();
			sums = (struct sums){0};
		}
		add_sums(&sums, entry);
		json_array_append_new(decisions, describe_entry(entry));
		if (i + 1 == journal->entry_count || strcmp(next->host, entry->host) != 0) {
			json_t *host = json_pack("{s:s}", "host", entry->host);

			set_sums(host, &sums);
			json_object_set_new(host, "decisions", decisions);
			json_array_append_new(hosts, host);
			decisions = NULL;
		}
	}
	return hosts;
}

static json_t *describe_kernel(const struct kernel_status *status)
{
	static const struct {
		const char *name;
		enum egress_counter counter;
	} extra[] = {
		{"steered", EGRESS_COUNTER_STEERED}, {"dns", EGRESS_COUNTER_DNS},
		{"loopback", EGRESS_COUNTER_LOOPBACK}, {"direct", EGRESS_COUNTER_DIRECT},
		{"probe", EGRESS_COUNTER_PROBE}, {"lost", EGRESS_COUNTER_LOST},
		{"wire", EGRESS_COUNTER_WIRE},
	};
	json_t *object = json_object(), *refused = json_object();

	for (int i = EGRESS_ALLOWED + 1; i < EGRESS_REASON_COUNT; i++) {
		if (status->counters[i])
			set_count(refused, reason_name((enum egress_reason)i), status->counters[i]);
	}
	json_object_set_new(object, "refused", refused);
	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++)
		set_count(object, extra[i].name, status->counters[extra[i].counter]);
	return object;
}

/* The same digest as in `status`. */
static void set_policy(json_t *object, const struct kernel_status *status)
{
	char hex[2 * sizeof(status->settings.policy_hash) + 1];

	for (size_t i = 0; i < sizeof(status->settings.policy_hash); i++)
		snprintf(hex + 2 * i, 3, "%02x", status->settings.policy_hash[i]);
	json_object_set_new(object, "policy", json_string(hex));
}

bool report_write_json(FILE *to, const struct report *report)
{
	json_t *object = json_pack("{s:i, s:s, s:i, s:s}", "version", REPORT_VERSION, "bottle",
				   report->bottle, "exit_status", report->exit_status, "enforcement",
				   report->audit ? "audit" : "enforce");
	struct sums sums = {0};
	char proof[PROOF_SIZE];
	bool holds = report_proof(report, proof, sizeof(proof));
	int rc;

	set_text(object, "command", report->command ? report->command : "");
	set_time(object, "started", report->started);
	set_time(object, "ended", report->ended);
	for (size_t i = 0; i < report->journal->entry_count; i++)
		add_sums(&sums, &report->journal->entries[i]);
	set_sums(object, &sums);
	set_count(object, "missing", report->journal->lost);
	json_object_set_new(object, "hosts", describe_hosts(report->journal));
	if (report->status) {
		set_policy(object, report->status);
		json_object_set_new(object, "kernel", describe_kernel(report->status));
	}
	json_object_set_new(object, "proof", json_pack("{s:b, s:s}", "holds", holds, "text", proof));
	rc = json_dumpf(object, to, JSON_INDENT(1));
	fputc('\n', to);
	json_decref(object);
	return rc == 0 && !ferror(to);
}
