// SPDX-License-Identifier: BSD-2-Clause
/* Pins outlive everybody on purpose, so somebody has to take away those of bottles that are no more. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "node.h"
#include "node_tree.h"

/* By the kernel's word that the cgroup is gone, and not by the kubelet's: a pod that is no longer listed
 * may still run. */
static bool is_left(const char *name, bool (*known)(void *context, const char *uid), void *context)
{
	const char *uid = name + strlen(NODE_WALL_PREFIX);
	struct kernel_status status;
	bool left;

	if (strncmp(name, NODE_WALL_PREFIX, strlen(NODE_WALL_PREFIX)) != 0 || !node_uid_valid(uid) ||
	    (known && known(context, uid)) || kernel_read_status(name, &status, NULL) < 0)
		return false;
	left = !status.cgroup_alive && status.supervisor_pid == 0;
	kernel_status_free(&status);
	return left;
}

void node_remove_leftovers(bool (*known)(void *context, const char *uid), void *context)
{
	char **names = kernel_list();

	for (size_t i = 0; names && names[i]; i++) {
		struct error error = {0};

		if (is_left(names[i], known, context) && kernel_detach_ended(names[i], &error) < 0)
			diag_error("%s", error.text);
		free(names[i]);
	}
	free(names);
}
