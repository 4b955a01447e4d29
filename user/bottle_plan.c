// SPDX-License-Identifier: BSD-2-Clause
/* The plan's way through a pipe, from exec to the init. JSON, since both ends have it and the texts
 * may hold anything but NUL. */
#include <errno.h>
#include <jansson.h>
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
	else if (span_write(span_from(text), fd) < 0)
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

int bottle_plan_read(int fd, struct bottle_plan *ret_plan, struct error *error)
{
	struct bottle_plan plan = {0};
	json_t *secrets, *hidden;
	json_t *json = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);

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
