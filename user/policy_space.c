// SPDX-License-Identifier: BSD-2-Clause
/* The axes on which requests to one host differ, with one point for each class that some rule can
 * tell from the others, and one for all the rest. */
#include "policy_space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stands for what no rule names. */
#define PROBE "egress-diff-probe"

/* Takes over `key` and `shown`; drops them when the axis has the key. False when out of memory, or
 * when one of them is NULL. */
static bool add_point(struct policy_axis *axis, struct policy_table *index,
		      struct policy_point point)
{
	struct policy_point *points;

	if (point.key && point.shown && policy_table_get(index, span_from(point.key))) {
		free(point.key);
		free(point.shown);
		return true;
	}
	points = policy_grow(axis->points, axis->count, sizeof(*points));
	if (points)
		axis->points = points;
	if (!points || !point.key || !point.shown ||
	    !policy_table_put(index, span_from(point.key), point.key)) {
		free(point.key);
		free(point.shown);
		return false;
	}
	axis->points[axis->count++] = point;
	return true;
}

static char *print_text(const char *format, const char *a, const char *b)
{
	char *text;

	return asprintf(&text, format, a, b) < 0 ? NULL : text;
}

/* A prefix splits the paths into itself, what is below, and, where some route takes them, what is
 * below with an encoded slash. */
static bool add_path(struct policy_axis *axis, struct policy_table *index,
		     const struct policy_path *path, bool encoded_slashes)
{
	const char *slash = path->length > 0 && path->text[path->length - 1] == '/' ? "" : "/";
	char below[2 * sizeof(PROBE) + 8];

	if (path->type == POLICY_PATH_REGEX)
		return true;
	if (!add_point(axis, index, (struct policy_point){.key = strdup(path->text),
							  .shown = strdup(path->text)}))
		return false;
	if (path->type == POLICY_PATH_EXACT)
		return true;
	snprintf(below, sizeof(below), "%s" PROBE, slash);
	if (!add_point(axis, index,
		       (struct policy_point){.key = print_text("%s%s", path->text, below),
					     .shown = print_text("below %s%s", path->text, ""),
					     .below = true}))
		return false;
	if (!encoded_slashes)
		return true;
	snprintf(below, sizeof(below), "%s" PROBE "%%2F" PROBE, slash);
	return add_point(axis, index,
			 (struct policy_point){.key = print_text("%s%s", path->text, below),
					       .shown = print_text("below %s with %s", path->text,
								   "%2F")});
}

/* The headers of a match, "name: value, ..."; NULL when out of memory. */
static char *headers_text(const struct policy_match *match)
{
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	if (!to)
		return NULL;
	for (size_t i = 0; i < match->header_count; i++)
		fprintf(to, "%s%s: %s", i ? ", " : "", match->headers[i].name,
			match->headers[i].value);
	return fclose(to) == 0 ? text : NULL;
}

static bool add_match(struct policy_space *space, struct policy_table *index,
		      const struct policy_match *match, bool encoded_slashes)
{
	bool fine = true;

	for (size_t i = 0; i < match->path_count; i++)
		fine &= add_path(&space->axes[POLICY_AXIS_PATH], &index[POLICY_AXIS_PATH],
				 &match->paths[i], encoded_slashes);
	for (size_t i = 0; i < match->method_count; i++)
		fine &= add_point(&space->axes[POLICY_AXIS_METHOD], &index[POLICY_AXIS_METHOD],
				  (struct policy_point){.key = strdup(match->methods[i]),
							.shown = strdup(match->methods[i])});
	if (match->header_count > 0)
		fine &= add_point(&space->axes[POLICY_AXIS_HEADERS], &index[POLICY_AXIS_HEADERS],
				  (struct policy_point){.key = headers_text(match),
							.shown = headers_text(match),
							.match = match});
	return fine;
}

/* Each port twice, for TLS decides about plaintext credentials and passthrough. */
static bool add_port(struct policy_space *space, struct policy_table *index, uint16_t port)
{
	bool fine = true;

	for (int tls = 1; tls >= 0; tls--) {
		char text[32];

		snprintf(text, sizeof(text), "%u by %s", port, tls ? "https" : "http");
		fine &= add_point(&space->axes[POLICY_AXIS_PORT], &index[POLICY_AXIS_PORT],
				  (struct policy_point){.key = strdup(text),
							.shown = strdup(text),
							.port = port,
							.tls = tls});
	}
	return fine;
}

/* Goes on after a failure, so that each point is freed by the one rule of add_point(). */
static bool add_host(struct policy_space *space, struct policy_table *index,
		     const struct policy_host *host, bool encoded_slashes)
{
	bool fine = true;

	for (size_t i = 0; host && i < host->port_count; i++)
		fine &= add_port(space, index, host->ports[i].port);
	for (size_t i = 0; host && i < host->route_count; i++) {
		const struct policy_route *route = host->routes[i];

		for (size_t j = 0; j < route->match_count; j++)
			fine &= add_match(space, index, &route->matches[j], encoded_slashes);
	}
	return fine;
}

/* The point for the rest comes last on its axis; ports have none, for another port is refused
 * anyway. */
bool policy_space_init(struct policy_space *space, const struct policy_host *a,
		       const struct policy_host *b)
{
	static const struct {
		const char *key, *shown;
	} others[POLICY_AXES] = {
		[POLICY_AXIS_PATH] = {"/" PROBE, "paths that no rule names"},
		[POLICY_AXIS_METHOD] = {"EGRESS-DIFF-PROBE", "other methods"},
		[POLICY_AXIS_HEADERS] = {"", "no header"},
	};
	struct policy_table index[POLICY_AXES] = {0};
	struct arena arena = {0}; /* the tables' */
	/* Else there is nothing to tell apart, and twice as many questions. */
	bool encoded_slashes = (a && policy_host_takes_encoded_slash(a)) ||
			       (b && policy_host_takes_encoded_slash(b));
	bool fine;

	*space = (struct policy_space){0};
	for (unsigned i = 0; i < POLICY_AXES; i++)
		index[i].arena = &arena;
	fine = add_host(space, index, a, encoded_slashes) &&
	       add_host(space, index, b, encoded_slashes);
	for (unsigned i = 0; i < POLICY_AXES && fine; i++) {
		if (others[i].key)
			fine = add_point(&space->axes[i], &index[i],
					 (struct policy_point){.key = strdup(others[i].key),
							       .shown = strdup(others[i].shown)});
		space->axes[i].selected = calloc(space->axes[i].count + 1, sizeof(bool));
		fine = fine && space->axes[i].selected;
	}
	arena_free(&arena);
	return fine;
}

void policy_space_free(struct policy_space *space)
{
	for (unsigned i = 0; i < POLICY_AXES; i++) {
		struct policy_axis *axis = &space->axes[i];

		for (size_t j = 0; j < axis->count; j++) {
			free(axis->points[j].key);
			free(axis->points[j].shown);
		}
		free(axis->points);
		free(axis->selected);
	}
	*space = (struct policy_space){0};
}

/* ---- words ---------------------------------------------------------------------------------- */

/* "443" for both "443 by https" and "443 by http", which stand together; "/v1 and below". */
static size_t print_point(FILE *to, const struct policy_axis *axis, size_t i)
{
	const struct policy_point *point = &axis->points[i], *next = point + 1;
	bool pair = i + 1 < axis->count && axis->selected[i + 1];

	if (pair && point->port && next->port == point->port) {
		fprintf(to, "%u", point->port);
		return 2;
	}
	if (pair && !point->below && next->below) {
		fprintf(to, "%s and below", point->shown);
		return 2;
	}
	fputs(point->shown, to);
	return 1;
}

/* True when exactly the points with (or without) TLS are selected. */
static bool is_scheme(const struct policy_axis *axis, bool tls)
{
	for (size_t i = 0; i < axis->count; i++) {
		if (!axis->points[i].port || axis->selected[i] != (axis->points[i].tls == tls))
			return false;
	}
	return axis->count > 0;
}

char *policy_space_words(const struct policy_space *space, unsigned axis_index)
{
	const struct policy_axis *axis = &space->axes[axis_index];
	size_t length, selected = 0;
	const char *comma = "";
	char *text = NULL;
	FILE *to;

	for (size_t i = 0; i < axis->count; i++)
		selected += axis->selected[i];
	if (selected == axis->count)
		return strdup("");
	if (is_scheme(axis, true) || is_scheme(axis, false))
		return strdup(is_scheme(axis, true) ? "by https" : "by http");
	to = open_memstream(&text, &length);
	if (!to)
		return NULL;
	for (size_t i = 0; i < axis->count;) {
		if (!axis->selected[i]) {
			i++;
			continue;
		}
		fputs(comma, to);
		i += print_point(to, axis, i);
		comma = ", ";
	}
	return fclose(to) == 0 ? text : NULL;
}
