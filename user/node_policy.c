// SPDX-License-Identifier: BSD-2-Clause
/* `run` is given a file of the agent's own and never the ConfigMap's: so it cannot be given one that is
 * broken, a policy that is missing is a file as well, and a restart finds what was in force last. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cert_authority.h"
#include "config.h"
#include "node_pod.h"

static const struct span deny_all = {"routes: []\n", sizeof("routes: []\n") - 1};

static bool same_content(const char *path, struct span text)
{
	struct bytes old = {0};
	bool same = access(path, F_OK) == 0 && config_read_file(path, &old, NULL) == 0 &&
		    span_equal(bytes_span(&old), text);

	bytes_free(&old);
	return same;
}

/* As `run` will judge it, secrets included: it is to be started with nothing it would refuse. The
 * first of what is wrong is the error. Only what the text itself says is wrong for good. */
static bool is_good(const struct node_options *options, struct node_state *state, const char *path,
		    struct span text, struct error *error)
{
	const char *name = state->record.policy;
	const struct config_source source = {path, text};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);
	char tokens[PATH_MAX];
	bool good = config != NULL;
	struct error roots = {0};

	/* Without --tokens a directory that is not there, and not the agent's environment. */
	snprintf(tokens, sizeof(tokens), "%s/%s", options->tokens ? options->tokens : "/nonexistent",
		 name);
	if (good)
		good = config_load_secrets_from(config, tokens, &errors);
	if (good)
		good = cert_authority_check_roots(config->upstream.ca_file,
						  config->upstream.proxy_ca_file, &roots) == 0;
	if (roots.text[0])
		error_set(error, "%s.yaml: %s", name, roots.text);
	else if (!good)
		error_set(error, "%s.yaml:%d: %s", name, errors.kept ? errors.items[0].line : 0,
			  errors.kept	     ? errors.items[0].text
			  : errors.no_memory ? "out of memory"
					     : "cannot be read");
	state->passing = config != NULL || errors.no_memory;
	config_free(config);
	diag_list_free(&errors);
	return good;
}

/* A good policy was in force, now or before the agent's last death. */
static bool has_good(const struct node_state *state, const char *installed)
{
	return access(installed, F_OK) == 0 && state->denied[0] == '\0';
}

/* Nothing else than taken away: a volume's files change by one rename, in which no file is missing, and
 * a ConfigMap that is deleted as a whole leaves the files of its volume as they are. A directory
 * that cannot be looked into says nothing of its files. */
static bool is_gone(const struct node_options *options, const char *path)
{
	return access(options->policies, R_OK | X_OK) == 0 && access(path, F_OK) < 0 &&
	       errno == ENOENT;
}

/* An edit that goes wrong must neither open nor cut off what runs; a pod that has nothing yet has
 * nothing to lose. Who takes a policy away wants it to end: a pod that came now would get nothing
 * either. */
static int keep_or_deny(struct node_state *state, const char *installed, bool gone,
			const struct error *why, struct error *error)
{
	if (!gone && has_good(state, installed)) {
		snprintf(state->note, sizeof(state->note), "%.200s; the old policy stays", why->text);
		return 0;
	}
	state->note[0] = '\0';
	snprintf(state->denied, sizeof(state->denied), "%.250s", why->text);
	if (same_content(installed, deny_all))
		return 0;
	return node_state_write_file(installed, deny_all, error) < 0 ? -1 : 1;
}

static int take(struct node_state *state, const char *installed, struct span text,
		struct error *error)
{
	state->denied[0] = state->note[0] = '\0';
	state->passing = false;
	if (same_content(installed, text))
		return 0;
	return node_state_write_file(installed, text, error) < 0 ? -1 : 1;
}

int node_policy_install(const struct node_options *options, struct node_state *state,
			struct error *error)
{
	const char *name = state->record.policy;
	char path[PATH_MAX], installed[PATH_MAX];
	struct bytes text = {0};
	struct error why = {0};
	int result;

	if (node_state_path(options->state_directory, state->record.uid, ".yaml", installed,
			    sizeof(installed), error) < 0)
		return -1;
	if (snprintf(path, sizeof(path), "%s/%s.yaml", options->policies, name) >= (int)sizeof(path))
		return error_set(error, "%s: the path is too long", options->policies);
	if (!node_policy_valid(name))
		error_set(&why, "its label '" NODE_LABEL "' names no policy");
	else if (config_read_file(path, &text, &why) == 0)
		(void)is_good(options, state, path, bytes_span(&text), &why);
	else
		state->passing = !is_gone(options, path);
	result = why.text[0] ? keep_or_deny(state, installed, is_gone(options, path), &why, error)
			     : take(state, installed, bytes_span(&text), error);
	bytes_free(&text);
	return result;
}
