/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The maps of egress_abi.h, and the counters. `peers` is here only to be made, pinned and adopted. */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared_maps.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct egress_settings);
} settings SEC(".maps");

/* Not preallocated: room for a whole /15 of names is much memory for a bottle that asks for a
 * dozen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EGRESS_MAX_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct egress_address);
	__type(value, struct egress_target);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, EGRESS_MAX_CIDRS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct egress_cidr_key);
	__type(value, struct egress_target);
} cidrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EGRESS_MAX_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct egress_host);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, EGRESS_MAX_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct egress_host_counters);
} host_counters SEC(".maps");

/* The proxy's own counters; here only so that they are made, pinned and adopted with the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EGRESS_REASON_COUNT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EGRESS_MAX_COUNTED_HOSTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct egress_host_verdicts);
} host_verdicts SEC(".maps");

/* Not an LRU: a flood must not evict somebody's record. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EGRESS_MAX_FLOWS);
	__type(key, struct egress_flow_key);
	__type(value, struct egress_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct egress_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EGRESS_MAX_WIRES);
	__type(key, __u32);
	__type(value, struct egress_wire);
} wires SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EGRESS_RING_SIZE);
} denials SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EGRESS_MAX_LET_IN);
	__type(key, struct egress_unix_file);
	__type(value, __u8);
} let_in SEC(".maps");

/* Atomic for the same reason as count(). A host without an entry (it could not be made) is served
 * and not counted. */
static __always_inline void count_host_steered(__u32 host_id)
{
	struct egress_host_counters *value = bpf_map_lookup_elem(&host_counters, &host_id);

	if (value)
		__sync_fetch_and_add(&value->steered, 1);
}

static __always_inline void count_host_refused(__u32 host_id)
{
	struct egress_host_counters *value = bpf_map_lookup_elem(&host_counters, &host_id);

	if (value)
		__sync_fetch_and_add(&value->refused, 1);
}

/* NULL also when user space has not filled them in, or wrote another layout: then refuse. */
static __always_inline const struct egress_settings *current_settings(void)
{
	__u32 zero = 0;
	const struct egress_settings *s = bpf_map_lookup_elem(&settings, &zero);

	return s && s->abi == EGRESS_ABI_VERSION ? s : NULL;
}

#endif
