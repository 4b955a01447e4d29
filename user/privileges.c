// SPDX-License-Identifier: BSD-2-Clause
/* What the worker gives up before it reads its configuration or any byte from the network. Each
 * step that fails ends the worker. */
#include "privileges.h"

#include <bpf/bpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../bpf/egress_abi.h"

void privileges_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Without effective capabilities: is a look-up by descriptor refused? */
static bool look_up_needs_capability(int map_fd)
{
	struct egress_flow_key key = {0};
	struct egress_flow flow;

	return map_fd >= 0 && bpf_map_lookup_elem(map_fd, &key, &flow) < 0 && errno == EPERM;
}

/* In a container we may have none to keep: then the look-up has to do without. CAP_BPF is tried
 * without first: where the kernel does not want it, a worker that was taken over does not have
 * it. */
static int drop_capabilities(int map_fd)
{
	bool have = capng_get_caps_process() == 0 &&
		    capng_have_capability(CAPNG_PERMITTED, CAP_BPF) == 1;

	capng_clear(CAPNG_SELECT_CAPS);
	if (map_fd >= 0 && have)
		(void)capng_update(CAPNG_ADD, CAPNG_PERMITTED, CAP_BPF);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return -1;
	if (look_up_needs_capability(map_fd))
		(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_BPF);
	else
		capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -1 : 0;
}

/* Groups first: without root nobody may drop them. */
static int leave_root(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0)
		return -1;
	/* setresuid() from 0 clears what is permitted; drop_capabilities() decides that. */
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setresuid(uid, uid, uid) < 0)
		return -1;
	return 0;
}

/* The bounding set is emptied while we are root; DUMPABLE comes last, since a change of ids resets
 * it. */
int privileges_drop(uid_t uid, gid_t gid, int map_fd, struct error *error)
{
	bool root = geteuid() == 0;

	privileges_raise_file_limit(); /* a connection takes two and, spliced, pipes */
	if (root) {
		capng_clear(CAPNG_SELECT_BOUNDS);
		if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
			return error_set(error, "cannot empty the capability bounding set");
		if (leave_root(uid, gid) < 0)
			return error_set(error, "cannot become uid %u: %s", uid, strerror(errno));
	}
	if (drop_capabilities(map_fd) < 0)
		return error_set(error, "cannot drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return error_set(error, "cannot harden the worker: %s", strerror(errno));
	return 0;
}
