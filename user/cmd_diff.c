// SPDX-License-Identifier: BSD-2-Clause
/* diff: what a change of policy changes, for whoever reviews it. Settings that change what becomes
 * of an allowed request are compared as well. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "config.h"
#include "diag.h"
#include "json_text.h"
#include "policy_diff.h"

static const char help_text[] =
	"usage: egress-bpf diff [--json] OLD NEW\n"
	"\n"
	"Says which requests get another verdict, or another credential, under the policy NEW than\n"
	"under OLD. Both policies are asked, so that routes which are only written otherwise are no\n"
	"difference. Rules with a regex are compared as text, too.\n"
	"\n"
	"  + refused before, allowed now      - allowed before, refused now\n"
	"  ! allowed before and now, with another credential or treatment; or another setting\n"
	"\n"
	"  --json  one JSON object per line\n"
	"  --help  this text\n"
	"\n"
	"Exit status, as diff(1): 0 no difference, 1 differences, 2 usage or policy error.\n";

struct output {
	bool json;
	size_t count;
};

static const char signs[] = {
	[POLICY_CHANGE_WIDER] = '+',
	[POLICY_CHANGE_NARROWER] = '-',
	[POLICY_CHANGE_OTHER] = '!',
};

/* A change of a setting has neither methods nor paths. */
static void print_text(const struct policy_change *change)
{
	bool http = change->methods[0] || change->paths[0];

	printf("%c %s: ", signs[change->kind], change->target);
	if (http)
		printf("%s of %s, ", change->methods[0] ? change->methods : "any method",
		       change->paths[0] ? change->paths : "any path");
	if (change->headers[0])
		printf("with %s, ", change->headers);
	if (change->ports[0])
		printf("%s%s, ", change->ports[0] == 'b' ? "" : "port ", change->ports);
	printf("%s -> %s", change->before, change->after);
	if (change->file)
		printf(" (%s:%d)", change->file, change->line);
	putchar('\n');
}

/* Every key is there, empty or not, so that two changes can be compared key by key. */
static void print_json(const struct policy_change *change)
{
	static const char *const kinds[] = {
		[POLICY_CHANGE_WIDER] = "allowed",
		[POLICY_CHANGE_NARROWER] = "refused",
		[POLICY_CHANGE_OTHER] = "changed",
	};
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:i}", "change",
		kinds[change->kind], "target", change->target, "methods", change->methods, "paths",
		change->paths, "ports", change->ports, "headers", change->headers, "before",
		json_text(change->before), "after", json_text(change->after), "file",
		change->file ? json_text(change->file) : json_null(), "line", change->line);

	if (!object)
		return;
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

static void seen(void *context, const struct policy_change *change)
{
	struct output *output = context;

	output->count++;
	(output->json ? print_json : print_text)(change);
}

/* ---- what is not a verdict, but changes what becomes of a request ----------------------------- */

/* Names of sources and files alone; no value of a secret is known here. */
static void setting(struct output *output, const char *name, const char *before, const char *after)
{
	before = before ? before : "none";
	after = after ? after : "none";
	if (strcmp(before, after) != 0)
		seen(output, &(struct policy_change){
				     .kind = POLICY_CHANGE_OTHER,
				     .target = name,
				     .methods = "",
				     .paths = "",
				     .ports = "",
				     .headers = "",
				     .before = before,
				     .after = after,
			     });
}

/* Half a list that is taken for the whole would be no difference. */
NORETURN static void no_memory(void)
{
	diag_error("out of memory");
	exit(EXIT_USAGE);
}

/* In the order of the file, which is the order in which they are asked. */
static void diff_resolvers(struct output *output, const struct config *before,
			   const struct config *after)
{
	struct bytes texts[2] = {0};
	const struct config *configs[] = {before, after};

	for (size_t i = 0; i < 2; i++) {
		for (size_t j = 0; j < configs[i]->upstream.resolver_count; j++) {
			if (!bytes_printf(&texts[i], "%s%s", j ? ", " : "",
					  configs[i]->upstream.resolvers[j]))
				no_memory();
		}
		if (!bytes_append(&texts[i], "", 1))
			no_memory();
	}
	setting(output, "upstream.resolvers", bytes_span(&texts[0]).data,
		bytes_span(&texts[1]).data);
	bytes_free(&texts[0]);
	bytes_free(&texts[1]);
}

static void diff_proxy(struct output *output, const struct config *before,
		       const struct config *after)
{
	char *lists[2] = {config_no_proxy_text(before), config_no_proxy_text(after)};

	if (!lists[0] || !lists[1])
		no_memory();
	setting(output, "enforcement", policy_is_audit(before->policy) ? "audit" : "enforce",
		policy_is_audit(after->policy) ? "audit" : "enforce");
	setting(output, "upstream.proxy", before->upstream.proxy, after->upstream.proxy);
	setting(output, "upstream.proxy_ca_file", before->upstream.proxy_ca_file,
		after->upstream.proxy_ca_file);
	setting(output, "upstream.proxy_auth.username", before->upstream.proxy_user,
		after->upstream.proxy_user);
	setting(output, "upstream.proxy_auth", before->upstream.proxy_password.source,
		after->upstream.proxy_password.source);
	setting(output, "upstream.no_proxy", lists[0], lists[1]);
	free(lists[0]);
	free(lists[1]);
}

/* Limits refuse nothing by themselves, but what is beyond them is refused. */
static void diff_number(struct output *output, const char *name, size_t before, size_t after)
{
	char texts[2][24];

	snprintf(texts[0], sizeof(texts[0]), "%zu", before);
	snprintf(texts[1], sizeof(texts[1]), "%zu", after);
	setting(output, name, texts[0], texts[1]);
}

static void diff_pool(struct output *output, const struct cidr *before, const struct cidr *after)
{
	const struct cidr *pools[2] = {before, after};
	char texts[2][ADDRESS_TEXT_SIZE + 8], address[ADDRESS_TEXT_SIZE];

	/* IPv4 in the form of IPv6, as everywhere: 96 bits are the form's own. */
	for (size_t i = 0; i < 2; i++)
		snprintf(texts[i], sizeof(texts[i]), "%s/%u",
			 address_format(&pools[i]->address, address), pools[i]->prefix_length - 96);
	setting(output, "dns.pool", texts[0], texts[1]);
}

static void diff_settings(struct output *output, const struct config *before,
			  const struct config *after)
{
	diff_proxy(output, before, after);
	setting(output, "upstream.ca_file", before->upstream.ca_file, after->upstream.ca_file);
	diff_resolvers(output, before, after);
	setting(output, "dns.mode", before->dns.mode == CONFIG_DNS_REAL ? "real" : "synthetic",
		after->dns.mode == CONFIG_DNS_REAL ? "real" : "synthetic");
	setting(output, "dns.name", before->dns.proxy_name, after->dns.proxy_name);
	diff_pool(output, &before->dns.pool, &after->dns.pool);
	diff_number(output, "dns.name_limit", before->dns.name_limit, after->dns.name_limit);
	diff_number(output, "limits.buffered_mib", before->buffered_mib, after->buffered_mib);
	setting(output, "hints", before->hints ? "true" : "false", after->hints ? "true" : "false");
}

/* As diff(1): 1 is 'they differ', which is no failure of ours. */
static int diff_files(char *const paths[2], struct output *output)
{
	struct diag_list errors = {0};
	struct error error = {0};
	struct config *before = config_open(paths[0], &errors);
	struct config *after = config_open(paths[1], &errors);
	int status = EXIT_USAGE;

	/* Both are read before either is judged: the errors of the two come together. */
	if (before && after) {
		diff_settings(output, before, after);
		if (policy_diff(before->policy, after->policy, seen, output, &error) < 0)
			diag_error("%s", error.text);
		else
			status = output->count > 0 ? EXIT_FAILED : EXIT_OK;
	} else {
		diag_list_print(&errors);
	}
	config_free(before);
	config_free(after);
	diag_list_free(&errors);
	return status;
}

int cmd_diff(int argc, char **argv)
{
	struct output output = {0};
	const struct cmd_option options[] = {{"json", .flag = &output.json}, {0}};
	int status = cmd_options("diff", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (argc - optind != 2)
		return cmd_usage("diff", "say two files, OLD and NEW");
	return diff_files(argv + optind, &output);
}
