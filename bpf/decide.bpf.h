/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What becomes of a connect() or an unconnected datagram. Deny is what is left. */
#ifndef DECIDE_BPF_H
#define DECIDE_BPF_H

#include "maps.bpf.h"
#include "request.bpf.h"
#include "target.bpf.h"

/* REFUSE comes first, so that a verdict that nobody filled in refuses. */
enum action { REFUSE, REFUSE_QUIETLY, PASS_LOOPBACK, PASS_DIRECT, STEER_PROXY, STEER_DNS };

struct verdict {
	__u32 action;
	__u32 reason;
	__u32 host_id;
};

#define VERDICT(action, reason, host_id) ((struct verdict){action, EGRESS_##reason, host_id})

/* port_listed(), global as parse() is. Not that itself: to the wires' programs the map of blocks is
 * read-only, and the verifier takes a global function for one that writes through its pointers. */
__noinline int lists_port(const struct egress_target *target, __u16 port)
{
	return target && port_listed(target, port);
}

/* An address that the responder gave out for a name. */
static __always_inline struct verdict decide_bound(const struct request *r,
						   const struct egress_target *target)
{
	if (target->flags & EGRESS_TARGET_REMOVED)
		return VERDICT(REFUSE, ROUTE_REMOVED, target->host_id);
	if (r->protocol == IPPROTO_TCP)
		return lists_port(target, r->port)
			       ? VERDICT(STEER_PROXY, ALLOWED, target->host_id)
			       : VERDICT(REFUSE, PORT_NOT_ALLOWED, target->host_id);
	/* glibc's getaddrinfo() connects a datagram socket to each answer, to sort them */
	if (r->hook == EGRESS_HOOK_CONNECT)
		return VERDICT(REFUSE_QUIETLY, PROTOCOL_NOT_ALLOWED, target->host_id);
	return VERDICT(REFUSE, PROTOCOL_NOT_ALLOWED, target->host_id);
}

/* An address block of the policy. Only `direct` lets datagrams out: the proxy carries TCP alone. */
static __always_inline struct verdict decide_cidr(const struct request *r,
						  const struct egress_target *target)
{
	if (target->flags & EGRESS_TARGET_REMOVED)
		return VERDICT(REFUSE, ROUTE_REMOVED, 0);
	if (!lists_port(target, r->port))
		return VERDICT(REFUSE, PORT_NOT_ALLOWED, 0);
	if (target->flags & EGRESS_TARGET_DIRECT)
		return VERDICT(PASS_DIRECT, ALLOWED, 0);
	if (r->protocol == IPPROTO_TCP)
		return VERDICT(STEER_PROXY, ALLOWED, 0);
	return VERDICT(REFUSE, PROTOCOL_NOT_ALLOWED, 0);
}

/* dns.mode real: a host's true address may lie in a cidr route's block. What the host does not allow
 * there the block may. */
static __always_inline bool only_cidr_allows(const struct request *r,
					     const struct egress_target *bound)
{
	const struct egress_target *block;

	if (decide_bound(r, bound).reason == EGRESS_ALLOWED)
		return false;
	block = cidr_of(&r->destination);
	return block && decide_cidr(r, block).reason == EGRESS_ALLOWED;
}

/* DNS comes before loopback, for resolvers such as Docker's 127.0.0.11 are on it; names before
 * blocks, since what is known of a name is exact. */
static __always_inline struct verdict decide_request(const struct request *r)
{
	const struct egress_target *target;

	if (r->protocol != IPPROTO_TCP && r->protocol != IPPROTO_UDP)
		return VERDICT(REFUSE, PROTOCOL_NOT_ALLOWED, 0);
	if (r->port == PORT_DNS)
		return VERDICT(STEER_DNS, ALLOWED, 0);
	if (is_loopback(&r->destination))
		return VERDICT(PASS_LOOPBACK, ALLOWED, 0);
	target = bpf_map_lookup_elem(&addresses, &r->destination);
	if (target && !(target->host_id == EGRESS_HOST_MANY && only_cidr_allows(r, target)))
		return decide_bound(r, target);
	target = cidr_of(&r->destination);
	if (target)
		return decide_cidr(r, target);
	if (r->protocol == IPPROTO_UDP && r->port == PORT_HTTPS)
		return VERDICT(REFUSE, PROTOCOL_NOT_ALLOWED, 0);
	return VERDICT(REFUSE, ADDRESS_NOT_ALLOWED, 0);
}

/* Global, as parse() is. `v` is zeroed by the caller: what is not written refuses. A copy of the
 * request that clang cannot see through, for on Linux 6.1 a map's key must lie on our own stack. */
__noinline int decide(const struct request *r, struct verdict *v)
{
	struct request own, *request = &own;

	if (!r || !v)
		return 0;
	own = *r;
	barrier_var(request);
	*v = decide_request(request);
	return 0;
}

#endif
