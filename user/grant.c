// SPDX-License-Identifier: BSD-2-Clause
#include "grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ------------------------------------------------------------------------------- */

static void release(struct grant *grant)
{
	free((char *)grant->permit.host);
	free((char *)grant->permit.method);
	free((char *)grant->permit.path);
}

static bool copy_text(const char **text)
{
	const char *from = *text;

	*text = from ? strdup(from) : NULL;
	return !from || *text;
}

static bool copy(const struct grant *from, struct grant *ret)
{
	/* All three are copied even after one failed: release() must find no text of `from`, which
	 * is another's to free. */
	bool fine;

	*ret = *from;
	fine = copy_text(&ret->permit.host);
	fine &= copy_text(&ret->permit.method);
	fine &= copy_text(&ret->permit.path);
	if (!fine)
		release(ret);
	return fine;
}

int grants_add(struct grants *grants, const struct grant *grant, struct error *error)
{
	struct grant *list;

	if (grants->count == GRANTS_MAX)
		return error_set(error, "%d grants are in force: write routes, or end some with "
				 "'egress-bpf deny'", GRANTS_MAX);
	list = reallocarray(grants->list, grants->count + 1, sizeof(*list));
	/* Kept also when the copy fails: realloc(3) has freed the old array by then. */
	if (list)
		grants->list = list;
	if (!list || !copy(grant, &list[grants->count]))
		return error_set(error, "out of memory");
	grants->count++;
	return 0;
}

void grants_remove(struct grants *grants, size_t index)
{
	release(&grants->list[index]);
	grants->count--;
	memmove(&grants->list[index], &grants->list[index + 1],
		(grants->count - index) * sizeof(*grants->list));
}

void grants_free(struct grants *grants)
{
	while (grants->count > 0)
		grants_remove(grants, grants->count - 1);
	free(grants->list);
	*grants = (struct grants){0};
}

struct grant *grants_find(const struct grants *grants, const char *id)
{
	for (size_t i = 0; i < grants->count; i++)
		if (strcmp(grants->list[i].id, id) == 0)
			return &grants->list[i];
	return NULL;
}

/* A load works on a copy of its own, since 'deny' and timers change the list while a policy is read
 * on the other thread. */
bool grants_select(const struct grants *grants, bool (*wanted)(void *context, const struct grant *),
		   void *context, struct grants *ret)
{
	struct grants selected = {0};

	for (size_t i = 0; i < grants->count; i++) {
		if (!wanted(context, &grants->list[i]))
			continue;
		if (grants_add(&selected, &grants->list[i], NULL) < 0) {
			grants_free(&selected);
			return false;
		}
	}
	*ret = selected;
	return true;
}

/* ---- as sources of a policy ------------------------------------------------------------------- */

void grant_sources_free(struct grant_sources *sources)
{
	/* The first ones belong to who gave them: arguments of the command, the bytes of a file. */
	for (size_t i = sources->borrowed; i < sources->count; i++) {
		free((char *)sources->list[i].name);
		free((char *)sources->list[i].text.data);
	}
	free(sources->list);
	*sources = (struct grant_sources){0};
}

/* "grant ID" is what `why` and the log show as the file. The route is made for the policy as it is
 * now: what it takes over from the host's other routes is theirs of today. */
static bool add_source(struct grant_sources *sources, struct grant *grant, const struct policy *base)
{
	const struct policy_permit_style style = {.indent = "  "};
	char *route = policy_permit_route(base, &grant->permit, &style, NULL), *name, *text;

	/* Noted now, from the policy that the route is made for: the operator is told which secret
	 * goes along, and after a reload that may be another. */
	policy_permit_credential(base, &grant->permit, grant->credential);
	if (!route)
		return false;
	if (asprintf(&name, "grant %s", grant->id) < 0)
		name = NULL;
	if (asprintf(&text, "routes:\n%s", route) < 0)
		text = NULL;
	free(route);
	if (!name || !text) {
		free(name);
		free(text);
		return false;
	}
	sources->list[sources->count++] = (struct config_source){name, span_from(text)};
	return true;
}

static bool make_sources(const struct config_source *sources, size_t count, struct grants *grants,
			 const struct policy *base, struct grant_sources *ret)
{
	struct grant_sources made = {
		.list = calloc(count + grants->count + 1, sizeof(*made.list)),
		.count = count,
		.borrowed = count,
	};

	if (!made.list)
		return false;
	memcpy(made.list, sources, count * sizeof(*sources));
	for (size_t i = 0; i < grants->count; i++) {
		if (!add_source(&made, &grants->list[i], base)) {
			grant_sources_free(&made);
			return false;
		}
	}
	*ret = made;
	return true;
}

/* Removes the grants that an error is about. False: it is about something else. */
static bool drop_faulty(struct grants *grants, const struct diag_list *errors, struct error *first)
{
	bool any = false;

	/* That is no fault of theirs. */
	if (errors->no_memory)
		return false;
	/* Backwards, as grants_remove() moves those behind down. */
	for (size_t i = grants->count; i-- > 0;) {
		for (size_t j = 0; j < errors->kept; j++) {
			const struct diag_item *item = &errors->items[j];

			if (strncmp(item->source, "grant ", 6) != 0 ||
			    strcmp(item->source + 6, grants->list[i].id) != 0)
				continue;
			/* A grant must not keep a new policy out of force: the grant goes. */
			diag_warning("%s: %s; it ends", item->source, item->text);
			error_set(first, "the policy has no place for it: %s", item->text);
			grants_remove(grants, i);
			any = true;
			break;
		}
	}
	return any;
}

/* Once more for each round of grants that do not fit; at least one goes each time. */
struct config *grants_parse(struct grants *grants, const struct config_source *sources, size_t count,
			    struct grant_sources *ret_sources, struct diag_list *errors,
			    struct error *dropped)
{
	/* The file alone first: its own errors are told as those of a file, and grants are made for
	 * what it says, not for what other grants add to it. */
	struct config *base = config_parse(sources, count, errors), *config = NULL;
	struct grant_sources made = {0};
	struct diag_list found = {0};

	while (base && !config) {
		if (!make_sources(sources, count, grants, base->policy, &made)) {
			diag_list_add(errors, "grants", 0, "out of memory");
			break;
		}
		if (grants->count == 0) {
			config = base;
			base = NULL;
			break;
		}
		config = config_parse(made.list, made.count, &found);
		if (!config && !drop_faulty(grants, &found, dropped)) {
			if (found.no_memory)
				diag_list_no_memory(errors);
			for (size_t i = 0; i < found.kept; i++)
				diag_list_add(errors, found.items[i].source, found.items[i].line, "%s",
					      found.items[i].text);
			diag_list_free(&found);
			break;
		}
		diag_list_free(&found);
		if (!config)
			grant_sources_free(&made);
	}
	config_free(base);
	if (config)
		*ret_sources = made;
	else
		grant_sources_free(&made);
	return config;
}
