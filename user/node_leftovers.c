// SPDX-License-Identifier: BSD-2-Clause
/* Pins outlive everybody on purpose, so somebody has to take away those of bottles that are no more. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "node.h"
#include "node_tree.h"

static bool is_unknown_pod(const char *name, bool (*known)(void *context, const char *uid), void *context)
{
	const char *uid = name + strlen(NODE_WALL_PREFIX);

	return strncmp(name, NODE_WALL_PREFIX, strlen(NODE_WALL_PREFIX)) == 0 && node_uid_valid(uid) &&
	       !(known && known(context, uid));
}

/* By the kernel's word that the cgroup is gone, and not by the kubelet's: a pod that is no longer listed
 * may still run. Sockets that outlive it may keep the kernel from saying so for a while. */
static bool has_ended(const char *name)
{
	struct kernel_status status;
	bool ended;

	if (kernel_read_status(name, &status, NULL) < 0)
		return false;
	ended = !status.cgroup_alive && status.supervisor_pid == 0;
	kernel_status_free(&status);
	return ended;
}

/* False: it stays. Wires are not waited for: who comes to be walled would wait as well. */
static bool remove_one(const char *name)
{
	struct error error = {0};
	int result;

	if (!has_ended(name))
		return false;
	result = kernel_detach_ended(name, false, &error);
	if (result < 0)
		diag_error("%s", error.text);
	return result != 2;
}

bool node_remove_leftovers(bool (*known)(void *context, const char *uid), void *context)
{
	char **names = kernel_list();
	bool all = true;

	for (size_t i = 0; names && names[i]; i++) {
		if (is_unknown_pod(names[i], known, context) && !remove_one(names[i]))
			all = false;
		free(names[i]);
	}
	free(names);
	return all;
}
