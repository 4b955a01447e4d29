/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* ICMP errors (RFC 792, RFC 4443) past the tc wall, inward only: about a flow that was let out, told by
 * the headers they quote. Outward they would carry whatever they claim to quote. */
#ifndef ICMP_BPF_H
#define ICMP_BPF_H

#include "packet.bpf.h"

/* RFC 792. No redirect, no source quench: they would move the bottle's traffic, or slow it. */
#define ICMP4_UNREACHABLE 3 /* with "fragmentation needed" */
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_LAST_ERROR 4 /* from 1 on: unreachable, too big, time exceeded, parameter problem */
#define IPV4_OFFSET 0x1fff

struct icmp_head {
	__u8 type, code;
	__be16 checksum;
	__be32 more;
};

/* What 8 bytes of a TCP or UDP header begin with; a router need not quote more. */
struct quoted_ports {
	__be16 source, destination;
};

/* Both families without options or extension headers around the quoted packet: more than that is
 * not let through. */
struct icmp_error4 {
	struct iphdr outer;
	struct icmp_head icmp;
	struct iphdr quoted;
	struct quoted_ports ports;
};

struct icmp_error6 {
	struct ipv6hdr outer;
	struct icmp_head icmp;
	struct ipv6hdr quoted;
	struct quoted_ports ports;
};

static __always_inline void quoted_ports_set(struct packet *p, const struct quoted_ports *ports)
{
	p->source_port = bpf_ntohs(ports->source);
	p->destination_port = bpf_ntohs(ports->destination);
}

static __always_inline bool is_error4(__u8 type)
{
	return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED ||
	       type == ICMP4_PARAMETER_PROBLEM;
}

/* The packet that the error is about, as it was sent. False when this is no error, or is sent to
 * somebody else than the quoted sender; a fragment but the first (offset not 0) has no ports to judge
 * by. */
static __always_inline bool quoted4(struct __sk_buff *skb, struct packet *ret)
{
	struct icmp_error4 e;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &e, sizeof(e)) || e.outer.version != 4 ||
	    e.outer.ihl != 5 || (e.outer.frag_off & bpf_htons(IPV4_FRAGMENT)) ||
	    e.outer.protocol != IPPROTO_ICMP || !is_error4(e.icmp.type))
		return false;
	if (e.quoted.version != 4 || e.quoted.ihl != 5 || e.quoted.saddr != e.outer.daddr ||
	    (e.quoted.frag_off & bpf_htons(IPV4_OFFSET)))
		return false;
	ret->protocol = e.quoted.protocol;
	address_set4(&ret->source, e.quoted.saddr);
	address_set4(&ret->destination, e.quoted.daddr);
	quoted_ports_set(ret, &e.ports);
	return true;
}

static __always_inline bool quoted6(struct __sk_buff *skb, struct packet *ret)
{
	struct icmp_error6 e;
	struct egress_address to;
	struct words a, b;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &e, sizeof(e)) || e.outer.version != 6 ||
	    e.outer.nexthdr != IPPROTO_ICMPV6 || !e.icmp.type || e.icmp.type > ICMP6_LAST_ERROR ||
	    e.quoted.version != 6)
		return false;
	__builtin_memcpy(&to, &e.outer.daddr, sizeof(to));
	__builtin_memcpy(&ret->source, &e.quoted.saddr, sizeof(ret->source));
	__builtin_memcpy(&ret->destination, &e.quoted.daddr, sizeof(ret->destination));
	a = words_of(&to);
	b = words_of(&ret->source);
	if (a.w[0] != b.w[0] || a.w[1] != b.w[1] || a.w[2] != b.w[2] || a.w[3] != b.w[3])
		return false;
	ret->protocol = e.quoted.nexthdr;
	quoted_ports_set(ret, &e.ports);
	return true;
}

#endif
