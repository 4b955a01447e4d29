// SPDX-License-Identifier: BSD-2-Clause
/* What people ask first: why does this pod reach nothing? Read from files and pins alone, so that it
 * answers when the agent is dead, too. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "node.h"
#include "node_state.h"

struct list {
	const char *directory;
	bool json;
	FILE *to;
};

/* Of the kernel, not of the notes: what an agent believed is not what stands. */
static const char *wall_state(const char *wall)
{
	struct kernel_status status;
	const char *text;

	if (kernel_read_status(wall, &status, NULL) < 0)
		return "none";
	text = !status.cgroup_alive ? "ended" : status.supervisor_pid ? "served" : "closed";
	kernel_status_free(&status);
	return text;
}

static void print_one(void *context, const char *uid)
{
	const struct list *list = context;
	struct node_state state;
	struct error error = {0};
	char wall[64];
	const char *stands;

	if (node_state_read(list->directory, uid, &state, &error) != 1) {
		if (error.text[0])
			diag_error("node: %s", error.text);
		return;
	}
	snprintf(wall, sizeof(wall), NODE_WALL_PREFIX "%s", uid);
	stands = wall_state(wall);
	if (list->json) {
		json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "pod", state.record.name,
					 "uid", uid, "policy", state.record.policy, "wall", stands,
					 "denied", state.denied, "note", state.note);
		char *text = json_dumps(line, JSON_COMPACT);

		fprintf(list->to, "%s\n", text ? text : "{}");
		free(text);
		json_decref(line);
		return;
	}
	fprintf(list->to, "%-40s %-20s %-7s %s%s\n", state.record.name, state.record.policy, stands,
		state.denied[0] ? "everything refused: " : "",
		state.denied[0] ? state.denied : state.note);
}

int node_list(const char *state_directory, bool json, FILE *to, struct error *error)
{
	struct list list = {state_directory, json, to};

	if (access(state_directory, F_OK) < 0)
		return error_set(error, "%s: %s: no agent has run here", state_directory,
				 strerror(errno));
	if (!json)
		fprintf(to, "%-40s %-20s %-7s %s\n", "POD", "POLICY", "WALL", "");
	return node_state_each(state_directory, print_one, &list, error);
}
