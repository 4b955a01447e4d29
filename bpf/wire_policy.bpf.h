/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What may pass the wires. Made anew with each policy and frozen before a packet is judged by it: who
 * holds the host's CAP_SYS_ADMIN in the bottle finds every map by its id, and may write the others. */
#ifndef WIRE_POLICY_BPF_H
#define WIRE_POLICY_BPF_H

#include "egress_skb.h"
#include "shared_maps.bpf.h"

const volatile __u32 published_count;
/* See checksum.bpf.h; not known of a kernel without BTF. */
const volatile struct egress_skb_offsets skb_at;
const volatile __u16 published[EGRESS_MAX_PUBLISHED];

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, EGRESS_MAX_CIDRS);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG); /* no program may write it either */
	__type(key, struct egress_cidr_key);
	__type(value, struct egress_target);
} cidrs SEC(".maps");

static __always_inline bool port_published(__u16 port)
{
	for (__u32 i = 0; i < EGRESS_MAX_PUBLISHED; i++)
		if (i < published_count && published[i] == port)
			return true;
	return false;
}

#endif
