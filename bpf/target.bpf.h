/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Address blocks of the policy, in a map `cidrs` that the including object defines. */
#ifndef TARGET_BPF_H
#define TARGET_BPF_H

#include "egress_abi.h"

/* The constant bound is the verifier's; `port_count` comes from a map and could be anything. */
static __always_inline bool port_listed(const struct egress_target *target, __u16 port)
{
	for (int i = 0; i < EGRESS_MAX_PORTS; i++)
		if (i < target->port_count && target->ports[i] == port)
			return true;
	return false;
}

/* The longest prefix that has the address, or NULL. */
static __always_inline const struct egress_target *cidr_of(const struct egress_address *a)
{
	struct egress_cidr_key key = {.prefix_length = 128, .address = *a};

	return bpf_map_lookup_elem(&cidrs, &key);
}

/* The wall behind connect(): may packets go there by the bottle's own wire? Global, so that the
 * verifier looks at it once; for that it takes `a` for a pointer that may be NULL. */
__noinline int direct_allowed(const struct egress_address *a, __u16 port)
{
	const struct egress_target *target = a ? cidr_of(a) : NULL;

	return target && (target->flags & EGRESS_TARGET_DIRECT) &&
	       !(target->flags & EGRESS_TARGET_REMOVED) && port_listed(target, port);
}

#endif
