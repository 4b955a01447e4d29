// SPDX-License-Identifier: BSD-2-Clause
/* A grant that is to stay: one entry more in the policy's file. Changed is what is in the file now,
 * whatever policy is in force: an edit that nobody has reloaded yet is not lost by it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config_edit.h"
#include "grant.h"

#define TRIES 5 /* others may write the same file at the same moment */

static struct config *parse(const char *path, struct span text, struct error *error)
{
	const struct config_source source = {path, text};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);
	struct error first = {0};

	if (!config) {
		diag_list_first(&errors, &first);
		error_set(error, "%s; nothing was written", first.text);
	}
	diag_list_free(&errors);
	return config;
}

static char *make_entry(const struct config *config, const struct grant *grant,
			const struct config_place *place, struct error *error)
{
	time_t now = time(NULL);
	struct tm tm;
	char date[16], comment[80];
	const struct policy_permit_style style = {
		.indent = place->flow ? NULL : place->indent,
		.comment = comment,
	};

	strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&now, &tm));
	snprintf(comment, sizeof(comment), "egress-bpf allow %s, %s", grant->id, date);
	return policy_permit_route(config->policy, &grant->permit, &style, error);
}

static int write_entry(const char *path, struct span old, const struct config *config,
		       struct grant *grant, struct error *error)
{
	CLEANUP(bytes_free) struct bytes text = {0};
	struct config_place place;
	struct config *edited;
	char *entry;
	int result = -1;

	if (config_find_place(old, &place, error) < 0)
		return -1;
	entry = make_entry(config, grant, &place, error);
	if (!entry)
		return -1;
	if (!config_insert(old, &place, entry, &text))
		error_set(error, "out of memory");
	free(entry);
	edited = text.length > 0 ? parse(path, bytes_span(&text), error) : NULL;
	/* Read back as a policy and compared before anything is written: the text was put together
	 * by hand, and layout, anchors or a duplicate could give it another meaning. */
	if (edited && policy_permit_check(config->policy, edited->policy, &grant->permit, error) == 0)
		result = config_replace_file(path, old, bytes_span(&text), error);
	config_free(edited);
	if (result == 0)
		grant->line = place.line;
	return result;
}

/* 1: the file was written meanwhile. */
static int try_once(const char *path, struct grant *grant, struct error *error)
{
	CLEANUP(bytes_free) struct bytes old = {0};
	struct config *config;
	int result;

	if (config_read_file_within(path, CONFIG_PATIENCE_MS, &old, error) < 0)
		return -1;
	config = parse(path, bytes_span(&old), error);
	if (!config)
		return -1;
	/* By a second grant at the same time, or by an edit, it may be there by now. */
	result = policy_permit_allowed(config->policy, &grant->permit)
			 ? 0 : write_entry(path, bytes_span(&old), config, grant, error);
	config_free(config);
	return result;
}

int grant_persist(const char *path, struct grant *grant, struct error *error)
{
	int result = 1;

	for (int i = 0; i < TRIES && result > 0; i++)
		result = try_once(path, grant, error);
	if (result > 0)
		return error_set(error, "%s: somebody else is writing it; try again", path);
	return result;
}
