/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Our own cgroup below the bottle's: a sidecar in a pod is in the cgroup that the wall is round. */
#ifndef SPARED_BPF_H
#define SPARED_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Its id, exactly: not those below it, and none that a bottle could make. Ids are never used twice.
 * Read-only data: with 0 the verifier takes the look-ups out of the programs. */
const volatile __u64 spared_cgroup = 0;

/* For programs that run in the caller's context. */
static __always_inline bool task_spared(void)
{
	return spared_cgroup && bpf_get_current_cgroup_id() == spared_cgroup;
}

/* By the cgroup that the socket was made in, whoever holds it now. */
static __always_inline bool packet_spared(struct __sk_buff *skb)
{
	return spared_cgroup && bpf_skb_cgroup_id(skb) == spared_cgroup;
}

#endif
