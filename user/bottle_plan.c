// SPDX-License-Identifier: BSD-2-Clause
/* The plan's way through a pipe, from exec to the init. JSON, since both ends have it and the texts
 * may hold anything but NUL. */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bottle_launch.h"
#include "bytes.h"

/* A text that is not UTF-8 makes a list that json_pack() refuses to dump: the error is said, and
 * nothing runs. */
static json_t *list_json(const char *const *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(items[i]));
	return list;
}

/* Told first, for the reader must not read on into what follows. */
static int write_length(size_t length, int fd)
{
	return span_write((struct span){(const char *)&length, sizeof(length)}, fd);
}

int bottle_plan_write(int fd, const struct bottle_plan *plan, struct error *error)
{
	json_t *json = json_pack("{s:s, s:s, s:o, s:o}", "ca_pem", plan->ca_pem, "proxy_name",
				 plan->proxy_name, "secrets",
				 list_json(plan->secrets, plan->secret_count), "hidden",
				 list_json(plan->hidden, plan->hidden_count));
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int rc = 0;

	if (!text)
		rc = error_set(error, "cannot describe the sandbox (a path is not UTF-8?)");
	else if (write_length(strlen(text), fd) < 0 || span_write(span_from(text), fd) < 0)
		rc = error_set(error, "cannot reach the sandbox: %s", strerror(errno));
	free(text);
	json_decref(json);
	return rc;
}

/* The strings stay owned by `list`. What is no string becomes NULL; only our own process writes
 * here. */
static int read_list(json_t *list, const char *const **ret_items, size_t *ret_count)
{
	size_t count = json_array_size(list);
	const char **items = calloc(count + 1, sizeof(*items));

	if (!items)
		return -1;
	for (size_t i = 0; i < count; i++)
		items[i] = json_string_value(json_array_get(list, i));
	*ret_items = items;
	*ret_count = count;
	return 0;
}

static bool read_all(int fd, char *data, size_t length)
{
	while (length > 0) {
		ssize_t got = read(fd, data, length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		data += got;
		length -= (size_t)got;
	}
	return true;
}

/* NULL when the supervisor ended first. */
static json_t *read_json(int fd)
{
	size_t length;
	json_t *json = NULL;
	char *text;

	if (!read_all(fd, (char *)&length, sizeof(length)))
		return NULL;
	text = malloc(length);
	if (text && read_all(fd, text, length))
		json = json_loadb(text, length, 0, NULL);
	free(text);
	return json;
}

int bottle_plan_read(int fd, struct bottle_plan *ret_plan, struct error *error)
{
	struct bottle_plan plan = {0};
	json_t *secrets, *hidden;
	json_t *json = read_json(fd);

	/* `json` is kept: the plan's strings are its own, and the process ends with them. */
	if (!json || json_unpack(json, "{s:s, s:s, s:o, s:o}", "ca_pem", &plan.ca_pem,
				 "proxy_name", &plan.proxy_name, "secrets", &secrets, "hidden",
				 &hidden) < 0) {
		json_decref(json);
		return error_set(error, "the supervisor gave up");
	}
	if (read_list(secrets, &plan.secrets, &plan.secret_count) < 0)
		return error_set(error, "out of memory");
	if (read_list(hidden, &plan.hidden, &plan.hidden_count) < 0) {
		free((void *)plan.secrets);
		return error_set(error, "out of memory");
	}
	*ret_plan = plan;
	return 0;
}
