/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The maps that the programs on the cgroup and those on the wires share. */
#ifndef SHARED_MAPS_BPF_H
#define SHARED_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "egress_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EGRESS_COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, EGRESS_MAX_PEERS);
	__type(key, struct egress_peer);
	__type(value, __u8);
} peers SEC(".maps");

/* Atomic although per CPU: a packet hook may interrupt a connect hook. */
static __always_inline void count(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		__sync_fetch_and_add(value, 1);
}

#endif
