// SPDX-License-Identifier: BSD-2-Clause
/* A policy out of what was seen. It allows what was asked for and little more; where it cannot say
 * that exactly it says less in rules and more in comments. Hosts, paths and methods come from the
 * bottle: each is quoted, or checked before it is written plainly. */
#include "learn.h"

#include <inttypes.h>
#include <jansson.h>
#include <libpsl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host_port.h"
#include "learn_paths.h"
#include "policy.h"

/* For people to read; the log has all. */
#define MAX_REFUSED 100 /* lines of what was refused */
#define LONG_PATH 8000	/* the log may have cut it */

/* ---- text ----------------------------------------------------------------------------------- */

/* In a comment nothing may end the line, which for YAML U+0085, U+2028 and U+2029 do, too, and no byte may be
 * other than UTF-8. */
static void print_plain(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc(*text >= 0x20 && *text < 0x7f ? *text : '?', to);
}

static void print_count(FILE *to, uint64_t count, const char *what)
{
	fprintf(to, "%" PRIu64 " %s%s", count, what, count == 1 ? "" : "s");
}

/* ---- one route: entries of one host and port -------------------------------------------------- */

struct group {
	const struct journal_entry *entries;
	size_t count;
	bool odd;	    /* a path that no rule can name, so that no rule may name any */
	bool encoded_slash; /* %2F in some path */
};

/* As config.c would judge the rule: what is written must be read back. */
static void look_at_paths(struct group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		const char *path = group->entries[i].path;
		const struct policy_path_spec spec = {POLICY_PATH_EXACT, path};
		struct error error = {0};
		bool encoded = false;

		if (path[0] != '/' || strlen(path) > LONG_PATH ||
		    policy_check_path(&spec, &encoded, &error) < 0)
			group->odd = true;
		group->encoded_slash |= encoded;
	}
}

/* Others would need quotes, and are more likely noise than needed. */
static bool is_plain_method(const char *method)
{
	return method[0] && method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")] == '\0';
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The methods of the rule's entries as a YAML list, in order, each once; "" when one of them cannot
 * be named. NULL when memory is out. */
static char *methods_of(const struct group *group, const struct learn_rule *rule)
{
	size_t count = rule->end - rule->first, size;
	const char **methods = calloc(count + 1, sizeof(char *));
	char *text = NULL;
	FILE *to = methods ? open_memstream(&text, &size) : NULL;
	bool plain = true;

	for (size_t i = 0; to && i < count; i++) {
		methods[i] = group->entries[rule->first + i].method;
		plain &= is_plain_method(methods[i]);
	}
	if (to)
		qsort(methods, count, sizeof(char *), by_text);
	for (size_t i = 0; to && plain && i < count; i++) {
		if (i == 0 || strcmp(methods[i], methods[i - 1]) != 0)
			fprintf(to, "%s%s", i ? ", " : "[", methods[i]);
	}
	if (to && plain)
		fputs("]", to);
	if (to && fclose(to) != 0) {
		free(text);
		text = NULL;
	}
	free(methods);
	return text;
}

/* Counts, for the reader to weigh a rule by. */
static uint64_t requests_of(const struct group *group, size_t first, size_t end)
{
	uint64_t count = 0;

	for (size_t i = first; i < end; i++)
		count += group->entries[i].count;
	return count;
}

static size_t paths_of(const struct group *group, const struct learn_rule *rule)
{
	size_t count = 0;

	for (size_t i = rule->first; i < rule->end; i++)
		count += i == rule->first ||
			 strcmp(group->entries[i].path, group->entries[i - 1].path) != 0;
	return count;
}

static void print_rule(FILE *to, const struct group *group, const struct learn_rule *rule)
{
	fprintf(to, "          - {type: %s, value: ", rule->prefix ? "prefix" : "exact");
	policy_print_quoted(to, rule->path);
	fputs("} # ", to);
	print_count(to, requests_of(group, rule->first, rule->end), "request");
	if (rule->prefix) {
		fputs(" for ", to);
		print_count(to, paths_of(group, rule), "path");
	}
	fputc('\n', to);
}

/* One alternative for each set of methods, with the paths that were asked for with these. */
static void print_matches(FILE *to, const struct group *group, const struct learn_rules *rules,
			  char **methods)
{
	bool everything = rules->count == 1 && !rules->list[0].path;

	if (everything && methods[0][0]) {
		fprintf(to, "    methods: %s\n", methods[0]);
		return;
	}
	if (everything)
		return;
	fputs("    matches:\n", to);
	for (size_t i = 0; i < rules->count; i++) {
		bool done = false;

		for (size_t j = 0; j < i && !done; j++)
			done = strcmp(methods[j], methods[i]) == 0;
		if (done)
			continue;
		if (methods[i][0])
			fprintf(to, "      - methods: %s\n        paths:\n", methods[i]);
		else
			fputs("      - paths:\n", to);
		for (size_t j = i; j < rules->count; j++) {
			if (strcmp(methods[j], methods[i]) == 0)
				print_rule(to, group, &rules->list[j]);
		}
	}
}

/* One odd path leaves the host without path rules, since a rule could only be too narrow or
 * wrong. */
static bool print_rules(FILE *to, struct group *group)
{
	struct learn_rules rules = {0};
	const struct learn_rule everything = {.prefix = true, .end = group->count};
	char **methods = NULL;
	bool fine;

	look_at_paths(group);
	if (group->odd) {
		rules.list = malloc(sizeof(*rules.list));
		fine = rules.list != NULL;
		if (fine)
			rules.list[rules.count++] = everything;
		fputs("    # a path was asked for that no rule can name, so that there are none\n", to);
	} else {
		fine = learn_paths(group->entries, group->count, &rules);
	}
	methods = fine ? calloc(rules.count + 1, sizeof(*methods)) : NULL;
	fine = methods != NULL;
	for (size_t i = 0; fine && i < rules.count; i++) {
		methods[i] = methods_of(group, &rules.list[i]);
		fine = methods[i] != NULL;
	}
	if (fine)
		print_matches(to, group, &rules, methods);
	if (group->encoded_slash && !group->odd && fine)
		fputs("    allow_encoded_slash: true\n", to);
	for (size_t i = 0; methods && i < rules.count; i++)
		free(methods[i]);
	free(methods);
	learn_rules_release(&rules);
	return fine;
}

/* Spliced protocols have no requests to make rules from. */
static bool print_route(FILE *to, struct group *group)
{
	const struct journal_entry *first = &group->entries[0];
	uint64_t up = 0, down = 0;

	for (size_t i = 0; i < group->count; i++) {
		up += group->entries[i].bytes_up;
		down += group->entries[i].bytes_down;
	}
	fputs("  # ", to);
	print_count(to, requests_of(group, 0, group->count), "request");
	fprintf(to, ", %" PRIu64 " bytes up, %" PRIu64 " down\n  - host: ", up, down);
	policy_print_quoted(to, first->host);
	fprintf(to, "\n    ports: [%u]\n", first->port);
	if (strcmp(first->protocol, "tcp") == 0 || strcmp(first->protocol, "tls") == 0) {
		fputs(first->protocol[1] == 'c' ? "    protocol: tcp\n" : "    tls: passthrough\n",
		      to);
		return true;
	}
	return print_rules(to, group);
}

/* ---- the whole -------------------------------------------------------------------------------- */

/* As the proxy has it, or widen_hosts(). */
static bool is_name(const char *host)
{
	const char *name = strncmp(host, "*.", 2) == 0 ? host + 2 : host;
	char normal[EGRESS_NAME_SIZE];

	return policy_normalise_host(span_from(name), normal) && strcmp(name, normal) == 0;
}

/* A request, or a connection to a host that a route of the policy splices. */
static bool is_learnt(const struct journal_entry *entry)
{
	/* A port of the host's is let in by an option, and no policy could; a CONNECT says
	 * nothing that the requests inside of it do not. */
	if (entry->reason != EGRESS_ALLOWED || strcmp(entry->source, "proxy") != 0 ||
	    !is_name(entry->host) || strcmp(entry->host, HOST_PORT_NAME) == 0 ||
	    strcmp(entry->method, "CONNECT") == 0)
		return false;
	return entry->method[0] || strcmp(entry->protocol, "tls") == 0 ||
	       strcmp(entry->protocol, "tcp") == 0;
}

static void print_refused(FILE *to, const struct journal *journal)
{
	size_t shown = 0;

	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i];

		if (entry->reason == EGRESS_ALLOWED)
			continue;
		if (shown == 0)
			fputs("\n# What did not get out, and is not in this policy:\n", to);
		if (shown++ == MAX_REFUSED) {
			fputs("# and more\n", to);
			return;
		}
		fprintf(to, "# %" PRIu64 "x %s: ", entry->count, reason_name(entry->reason));
		print_plain(to, entry->method);
		fputs(entry->method[0] ? " " : "", to);
		print_plain(to, entry->host[0] ? entry->host : entry->address);
		if (entry->port)
			fprintf(to, ":%u", entry->port);
		fputs(entry->protocol[0] ? " (" : "", to);
		print_plain(to, entry->protocol);
		fputs(entry->protocol[0] ? ")\n" : "\n", to);
	}
}

/* A policy that may be incomplete says so in its first lines. */
static void print_head(FILE *to, const struct journal *journal, const struct learn_options *options)
{
	time_t now = time(NULL);
	struct tm tm;
	char date[32] = "";

	if (gmtime_r(&now, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	fprintf(to, "# Learned by egress-bpf on %s from: ", date);
	print_plain(to, options->what);
	fputs("\n# It allows what was seen, no less and hardly more: read it before you rely on it.\n"
	      "# Credentials are not learned; see auth in egress-bpf-routes(5).\n",
	      to);
	if (journal->lost > 0)
		fprintf(to, "# NOT COMPLETE: %" PRIu64 " decisions are missing.\n", journal->lost);
}

/* "cdn.example.com" of "a.cdn.example.com"; NULL where a wildcard would be anybody's. */
static const char *wildcard_domain(const char *host)
{
	const char *dot = strchr(host, '.');

	if (!dot || !strchr(dot + 1, '.') || psl_is_public_suffix(psl_builtin(), dot + 1))
		return NULL;
	return dot + 1;
}

/* True when at least three names right below the domain were seen. The journal is sorted. */
static bool has_siblings(const struct journal *journal, const char *domain)
{
	const char *last = "";
	size_t count = 0;

	for (size_t i = 0; i < journal->entry_count && count < LEARN_SIBLINGS; i++) {
		const struct journal_entry *entry = &journal->entries[i];
		const char *own = is_learnt(entry) ? wildcard_domain(entry->host) : NULL;

		if (!own || strcmp(own, domain) != 0 || strcmp(last, entry->host) == 0)
			continue;
		last = entry->host;
		count++;
	}
	return count >= LEARN_SIBLINGS;
}

/* A list of names beside the entries, for these borrow their texts. */
static bool widen_hosts(struct journal *journal)
{
	char **names = calloc(journal->entry_count + 1, sizeof(*names));

	if (!names)
		return false;
	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i];
		const char *domain = is_learnt(entry) ? wildcard_domain(entry->host) : NULL;

		if (domain && has_siblings(journal, domain) &&
		    asprintf(&names[i], "*.%s", domain) < 0)
			names[i] = NULL;
	}
	/* Only now: has_siblings() counts the names as they were. */
	for (size_t i = 0; i < journal->entry_count; i++) {
		if (names[i])
			journal->entries[i].host = names[i];
	}
	journal->names = names;
	journal->name_count = journal->entry_count;
	return true;
}

/* The journal is sorted by host and port. */
static size_t group_end(const struct journal_entry *list, size_t first, size_t count)
{
	size_t end = first;

	while (end < count && strcmp(list[end].host, list[first].host) == 0 &&
	       list[end].port == list[first].port)
		end++;
	return end;
}

bool learn_write(FILE *to, struct journal *journal, const struct learn_options *options)
{
	struct journal_entry *list = calloc(journal->entry_count + 1, sizeof(*list));
	size_t count = 0;
	bool fine = list != NULL;

	journal_sort(journal);
	if (fine && options->wildcards) {
		fine = widen_hosts(journal);
		/* Again: the wider names have other places. */
		journal_sort(journal);
	}
	for (size_t i = 0; fine && i < journal->entry_count; i++) {
		if (is_learnt(&journal->entries[i]))
			list[count++] = journal->entries[i];
	}
	print_head(to, journal, options);
	fputs(count > 0 ? "routes:\n" : "routes: []\n", to);
	for (size_t i = 0; fine && i < count;) {
		size_t end = group_end(list, i, count);
		struct group group = {.entries = &list[i], .count = end - i};

		fine = print_route(to, &group);
		i = end;
	}
	print_refused(to, journal);
	free(list);
	return fine && !ferror(to);
}
