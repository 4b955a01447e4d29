// SPDX-License-Identifier: BSD-2-Clause
/* prepare: a plan out of a manifest. Reads no token: it may run where there are none. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "plan_make.h"

#define MAX_PROVIDERS 16

static const char help_text[] =
	"usage: egress-bpf prepare MANIFEST --bottle NAME --out DIR [OPTIONS]\n"
	"       egress-bpf prepare MANIFEST --bottle NAME --print [OPTIONS]\n"
	"\n"
	"Makes the plan of one bottle out of a manifest (YAML or JSON) that has a bottle or many:\n"
	"  bottles: {NAME: {egress: {routes: [{host: api.example.com,\n"
	"                                      auth: {scheme: Bearer, token_ref: VARIABLE}}]}}}\n"
	"\n"
	"  DIR/routes.yaml  the policy, 0600; names slots (EGRESS_TOKEN_0), not the host's variables\n"
	"  DIR/ca.pem       the bottle's CA with its key, 0600; kept when there is one\n"
	"  DIR/ca-cert.pem  its certificate, for the bottle to trust\n"
	"  DIR/plan.json    for 'egress-bpf start': short name, slots and variables, networks\n"
	"No token is read or written: that is for 'start'.\n"
	"\n"
	"  --provider NAME         the routes of a provider's preset first: codex\n"
	"  --provider-dir DIR      where presets are, as NAME.yaml\n"
	"  --provider-routes FILE  routes of a provider from a file; a provider owns its hosts, and\n"
	"                          the manifest's routes for them are left out, with a notice\n"
	"  --print                 print routes.yaml (with --json, plan.json) and write nothing\n"
	"  --json                  print plan.json\n"
	"  --new-ca                a new CA; what trusts the old one stops working\n"
	"  --help                  this text\n"
	"\n"
	"Exit status: 0 made, 1 failed, 2 usage error or error in a file.\n";

struct prepare {
	const char *manifest, *bottle, *out, *provider_dir;
	bool print, json, new_ca;
	char *files[MAX_PROVIDERS]; /* owned */
	const char *presets[MAX_PROVIDERS]; /* the preset's name, NULL where a file was given */
	size_t file_count;
	struct bytes contents[MAX_PROVIDERS + 1]; /* the manifest's is the last */
	struct config_source sources[MAX_PROVIDERS + 1];
	char *directory;
};

static void release(struct prepare *p)
{
	for (size_t i = 0; i < p->file_count; i++)
		free(p->files[i]);
	for (size_t i = 0; i <= p->file_count; i++)
		bytes_free(&p->contents[i]);
	free(p->directory);
}

/* ---- providers ------------------------------------------------------------------------------ */

static bool is_plain_name(const char *name)
{
	/* It becomes part of a path: neither slash nor dot. */
	return *name && strlen(name) <= 64 &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* Beside the program: PREFIX/bin and PREFIX/share, and the same in the build tree. By
 * /proc/self/exe and not by argv[0], which anybody sets. */
static char *preset_path(const char *directory, const char *name)
{
	char self[4096], *path = NULL, *slash;
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (directory)
		return asprintf(&path, "%s/%s.yaml", directory, name) < 0 ? NULL : path;
	if (length <= 0)
		return NULL;
	self[length] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	if (asprintf(&path, "%s/../share/egress-bpf/providers/%s.yaml", self, name) < 0)
		return NULL;
	return path;
}

static int find_presets(struct prepare *p, struct error *error)
{
	for (size_t i = 0; i < p->file_count; i++) {
		if (!p->presets[i])
			continue;
		p->files[i] = preset_path(p->provider_dir, p->presets[i]);
		if (!p->files[i])
			return error_set(error, "cannot find out where presets are");
		if (access(p->files[i], R_OK) < 0)
			return error_set(error, "no preset \"%s\": %s: %s", p->presets[i],
					 p->files[i], strerror(errno));
	}
	return 0;
}

static int read_sources(struct prepare *p, struct error *error)
{
	for (size_t i = 0; i <= p->file_count; i++) {
		const char *path = i < p->file_count ? p->files[i] : p->manifest;

		if (config_read_file(path, &p->contents[i], error) < 0)
			return -1;
		p->sources[i] = (struct config_source){path, bytes_span(&p->contents[i])};
	}
	return 0;
}

/* ---- the command ---------------------------------------------------------------------------- */

static void print_text(struct span text)
{
	fwrite(text.data, 1, text.length, stdout);
}

static void print_summary(const struct prepare *p, const struct plan_draft *draft)
{
	printf("%s: plan of bottle %s (%s)\n", p->directory, draft->bottle, draft->slug);
	printf("  routes.yaml  %zu route%s\n  ca.pem       certificate and private key: keep it out "
	       "of the bottle\n  ca-cert.pem  certificate: for the bottle to trust\n",
	       draft->route_count, draft->route_count == 1 ? "" : "s");
	for (size_t i = 0; i < draft->slot_count; i++)
		printf("  %s  from the host's %s, when it is started\n", draft->slots[i].token_env,
		       draft->slots[i].token_ref);
}

/* Twenty at most; a manifest of thousands of routes may have as many. */
static void print_notices(const struct diag_list *notices)
{
	for (size_t i = 0; i < notices->count; i++) {
		if (i == 20) {
			diag_notice("and %zu more", notices->count - i);
			return;
		}
		diag_notice("%s:%d: %s", notices->items[i].source, notices->items[i].line,
			    notices->items[i].text);
	}
}

/* Standard output is checked at the end: a full disk must not pass for a plan. */
static int deliver(const struct prepare *p, const struct plan_draft *draft)
{
	struct error error = {0};

	print_notices(&draft->notices);
	if (draft->route_count == 0)
		diag_notice("%s: bottle %s has no routes: it will reach nothing", p->manifest,
			    p->bottle);
	/* Written before anything is printed: who reads the output finds what it tells of. */
	if (!p->print && plan_write(draft, p->directory, p->new_ca, &error) < 0) {
		diag_error("prepare: %s", error.text);
		return EXIT_FAILED;
	}
	if (p->json)
		print_text(bytes_span(&draft->plan_text));
	else if (p->print)
		print_text(bytes_span(&draft->routes_text));
	else
		print_summary(p, draft);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		diag_error("prepare: cannot write to standard output");
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

/* Wrong input is 2, also where it is a file that cannot be read. */
static int prepare(struct prepare *p)
{
	struct plan_draft draft = {.bottle = NULL};
	struct diag_list errors = {0};
	struct error error = {0};
	int status = EXIT_USAGE;

	if (find_presets(p, &error) < 0 || read_sources(p, &error) < 0 ||
	    (p->out && plan_directory(p->out, &p->directory, &error) < 0)) {
		diag_error("prepare: %s", error.text);
		return EXIT_USAGE;
	}
	if (plan_make(&draft, &p->sources[p->file_count], p->bottle, p->sources, p->file_count,
		      p->directory, &errors))
		status = deliver(p, &draft);
	else
		diag_list_print(&errors);
	diag_list_free(&errors);
	plan_draft_free(&draft);
	return status;
}

static int add_provider(struct prepare *p, const char *preset, const char *file)
{
	if (p->file_count == MAX_PROVIDERS)
		return cmd_usage("prepare", "at most %d providers", MAX_PROVIDERS);
	if (preset && !is_plain_name(preset))
		return cmd_usage("prepare", "--provider %s: a preset's name has a-z 0-9 and -",
				 preset);
	p->files[p->file_count] = file ? strdup(file) : NULL;
	p->presets[p->file_count++] = preset;
	return EXIT_OK;
}

static int take_preset(void *context, const char *text)
{
	return add_provider(context, text, NULL);
}

static int take_routes(void *context, const char *text)
{
	return add_provider(context, NULL, text);
}

/* -1 to go on, else the exit status. */
static int read_options(struct prepare *p, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"bottle", .text = &p->bottle},
		{"out", .text = &p->out},
		{"provider", .take = take_preset, .context = p},
		{"provider-dir", .text = &p->provider_dir},
		{"provider-routes", .take = take_routes, .context = p},
		{"print", .flag = &p->print},
		{"json", .flag = &p->json},
		{"new-ca", .flag = &p->new_ca},
		{0},
	};
	int status = cmd_options("prepare", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return cmd_usage("prepare", "say one MANIFEST");
	p->manifest = argv[optind];
	if (!p->bottle || !*p->bottle)
		return cmd_usage("prepare", "say which: --bottle NAME");
	if (!p->out && !p->print)
		return cmd_usage("prepare", "say where: --out DIR, or --print to look only");
	return -1;
}

int cmd_prepare(int argc, char **argv)
{
	struct prepare p = {.manifest = NULL};
	int status;

	/* A CA's key is made here: no core file is to have it. */
	cmd_guard_memory();
	status = read_options(&p, argc, argv);
	if (status < 0)
		status = prepare(&p);
	release(&p);
	return status;
}
