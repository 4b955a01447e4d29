/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The tc wall, on the host's end of a bottle's wire: out of the bottle's reach, whatever it may do in
 * its own namespace. Lets through what a direct route or a published port explains, as much of ARP and
 * IPv6 neighbour discovery as these need, and the errors that come back for them. */
#ifndef TC_BPF_H
#define TC_BPF_H

#include <linux/pkt_cls.h>

#include "checksum.bpf.h"
#include "icmp.bpf.h"
#include "neighbour.bpf.h"

/* The headers that are looked at have to be in the linear part. False when they cannot be. */
static __always_inline bool pull_headers(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < sizeof(struct nd_frame) ? skb->len : sizeof(struct nd_frame);

	return !bpf_skb_pull_data(skb, wanted);
}

/* The same packet to everybody on the link would be no packet to an allowed address. */
static __always_inline bool addressed_to_many(const struct ethhdr *eth, const struct packet *p)
{
	return (eth->h_dest[0] & 1) && !is_multicast(&p->destination);
}

/* A published port answers only who came to it (`peers`): else it would be a way to send
 * anywhere. */
static __always_inline bool ip_out_allowed(const struct packet *p)
{
	if (direct_allowed(&p->destination, p->destination_port))
		return true;
	return p->protocol == IPPROTO_TCP && !p->opens && port_published(p->source_port) &&
	       peer_known(&p->destination, p->destination_port, p->source_port);
}

/* Remembers who comes to a published port, so that the answer may leave. */
static __always_inline bool ip_in_allowed(const struct packet *p)
{
	if (!p->opens && direct_allowed(&p->source, p->source_port))
		return true;
	if (p->protocol != IPPROTO_TCP || !port_published(p->destination_port))
		return false;
	peer_remember(&p->source, p->source_port, p->destination_port);
	return true;
}

/* The quoted packet is what the bottle sent; an error is welcome exactly if that was allowed
 * out. */
static __always_inline bool error_in_allowed(struct __sk_buff *skb, bool four)
{
	struct packet quoted = {};

	if (four ? !quoted4(skb, &quoted) : !quoted6(skb, &quoted))
		return false;
	return (quoted.protocol == IPPROTO_TCP || quoted.protocol == IPPROTO_UDP) &&
	       ip_out_allowed(&quoted);
}

/* What does not parse may still be an error that comes in; outward it is nothing that we let
 * pass. */
static __always_inline bool ip_allowed(struct __sk_buff *skb, bool out)
{
	const struct ethhdr *eth = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	struct packet p = {};
	bool parsed, four;

	if ((const void *)(eth + 1) > end)
		return false;
	four = eth->h_proto == bpf_htons(ETH_P_IP);
	parsed = four ? parse4(eth + 1, end, &p) : parse6(eth + 1, end, &p);
	if (!parsed)
		return !out && error_in_allowed(skb, four);
	if (out && addressed_to_many(eth, &p))
		return false;
	if (!out)
		return ip_in_allowed(&p);
	return ip_out_allowed(&p) && checksum_in_place(skb, p.protocol, four);
}

/* A VLAN tag would take the frame to another network than the one that the policy is about. */
static __always_inline bool frame_allowed(struct __sk_buff *skb, bool out)
{
	const struct ethhdr *eth;

	if (skb->vlan_present || !pull_headers(skb))
		return false;
	eth = (const void *)(long)skb->data;
	if ((const void *)(eth + 1) > (const void *)(long)skb->data_end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_ARP))
		return arp_allowed(skb, out) && !(out && checksum_missing(skb));
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return ip_allowed(skb, out);
	if (eth->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	if (nd_allowed(skb, out))
		return !(out && checksum_missing(skb));
	return ip_allowed(skb, out);
}

/* Counted and not reported: a flood on the wire must not push the bottle's own denials out of the
 * ring. */
static __always_inline int drop_frame(void)
{
	count(EGRESS_COUNTER_WIRE);
	return TC_ACT_SHOT;
}

/* What passes goes on to whatever else the host has attached. */
static __always_inline int on_wire(struct __sk_buff *skb, bool out)
{
	return frame_allowed(skb, out) ? TC_ACT_UNSPEC : drop_frame();
}

#endif
