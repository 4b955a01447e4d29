// SPDX-License-Identifier: BSD-2-Clause
/* Markdown for the page that a CI shows of a job. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

/* CI pages cut long summaries; this keeps the end, with the proof, on them. */
#define MAX_ROWS 100

/* Whatever means something to Markdown or HTML becomes a character reference. */
static void print_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		/* Bytes of UTF-8 pass: jansson, which read the journal, takes nothing else. */
		if (isalnum(c) || c >= 0x80 || strchr("./:-", c))
			fputc(c, to);
		else
			fprintf(to, "&#%u;", c < 0x20 || c == 0x7f ? (unsigned)'?' : c);
	}
}

static void print_bytes(FILE *to, uint64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1000;
		unit++;
	}
	fprintf(to, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* Sums are printed at the last entry of each host. */
static bool is_last_of_host(const struct journal *journal, size_t i)
{
	return i + 1 == journal->entry_count ||
	       strcmp(journal->entries[i].host, journal->entries[i + 1].host) != 0;
}

static void print_hosts(FILE *to, const struct journal *journal)
{
	uint64_t allowed = 0, refused = 0, up = 0, down = 0;
	size_t rows = 0;

	fputs("| host | allowed | refused | sent | received |\n|---|--:|--:|--:|--:|\n", to);
	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i];

		*(entry->reason == EGRESS_ALLOWED ? &allowed : &refused) += entry->count;
		up += entry->bytes_up;
		down += entry->bytes_down;
		if (!is_last_of_host(journal, i))
			continue;
		if (rows++ < MAX_ROWS) {
			fputs("| ", to);
			print_text(to, entry->host[0] ? entry->host : "(no name)");
			fprintf(to, " | %" PRIu64 " | %" PRIu64 " | ", allowed, refused);
			print_bytes(to, up);
			fputs(" | ", to);
			print_bytes(to, down);
			fputs(" |\n", to);
		}
		allowed = refused = up = down = 0;
	}
	if (rows > MAX_ROWS)
		fprintf(to, "\nand %zu more hosts\n", rows - MAX_ROWS);
}

static void print_decision(FILE *to, const struct journal_entry *entry, enum egress_reason reason)
{
	fprintf(to, "| %" PRIu64 " | %s | ", entry->count, reason_name(reason));
	print_text(to, entry->method);
	fputs(entry->method[0] ? " " : "", to);
	print_text(to, entry->host[0] ? entry->host : entry->address);
	if (entry->port)
		fprintf(to, ":%u", entry->port);
	print_text(to, entry->path);
	fprintf(to, " | %s |\n", reason_cure(reason));
}

/* What was refused, or would be but for audit. */
static void print_refused(FILE *to, const struct journal *journal, bool audited)
{
	size_t rows = 0;

	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i];
		enum egress_reason reason = audited ? entry->audited : entry->reason;

		if (reason == EGRESS_ALLOWED)
			continue;
		if (rows == 0)
			fprintf(to, "\n**%s**\n\n| times | reason | what | what would allow it |\n"
				"|--:|---|---|---|\n",
				audited ? "Would be refused (audit)" : "Refused");
		if (rows++ < MAX_ROWS)
			print_decision(to, entry, reason);
	}
	if (rows > MAX_ROWS)
		fprintf(to, "\nand %zu more\n", rows - MAX_ROWS);
}

bool report_write_summary(FILE *to, const struct report *report)
{
	char proof[1024];
	bool holds = report_proof(report, proof, sizeof(proof));

	fputs("### Egress of ", to);
	print_text(to, report->command ? report->command : report->bottle);
	fprintf(to, "\n\nexit status %d%s\n\n", report->exit_status,
		report->audit ? "; **audit: names, paths and methods were not refused**" : "");
	if (report->journal->entry_count > 0)
		print_hosts(to, report->journal);
	else
		fputs("It asked for nothing.\n", to);
	print_refused(to, report->journal, false);
	/* In a table of its own: what audit let pass did go out. */
	print_refused(to, report->journal, true);
	if (report->journal->lost > 0)
		fprintf(to, "\n**Not complete: %" PRIu64 " decisions are missing.**\n",
			report->journal->lost);
	fprintf(to, "\n%s %s\n\n", holds ? "✔" : "⚠", proof);
	return !ferror(to);
}
