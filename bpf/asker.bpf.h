/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Whether it is the bottle that asks the kernel for something, and from where. */
#ifndef ASKER_BPF_H
#define ASKER_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Not in a map: see unix_wall.bpf.c. The number of its pid namespace, or 0 when that is ours, too. */
const volatile __u64 bottle_cgroup = 0;
const volatile __u32 bottle_level = 0;
const volatile __u32 bottle_pids = 0;
/* The supervisor's network namespace, or 0 when the bottle shares it. */
const volatile __u32 home_network = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct pid_namespace {
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};
struct net {
	struct ns_common ns;
};
struct nsproxy {
	struct net *net_ns;
};
struct task_struct {
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
};
#pragma clang attribute pop

#define DEEPEST 32 /* MAX_PID_NS_LEVEL of linux/pid_namespace.h */

/* Root may leave the cgroup, but no process leaves its pid namespace other than downwards. */
static __always_inline bool in_its_pids(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i <= DEEPEST && i <= level; i++) {
		struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				  i * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(at, ns, ns.inum) == bottle_pids)
			return true;
	}
	return false;
}

static __always_inline bool bottle_asks(void)
{
	return bpf_get_current_ancestor_cgroup_id(bottle_level) == bottle_cgroup ||
	       (bottle_pids && in_its_pids());
}

/* With the host's CAP_SYS_ADMIN one gets there: since Linux 6.18 by a handle that can be guessed
 * (open_by_handle_at(2) on nsfs). Container engines pass through on their way in, with unix sockets. */
static __always_inline bool is_at_home(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return home_network && BPF_CORE_READ(task, nsproxy, net_ns, ns.inum) == home_network;
}

#endif
