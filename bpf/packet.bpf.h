/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Packet headers. What is not plain TCP or UDP over plain IP does not parse. */
#ifndef PACKET_BPF_H
#define PACKET_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "egress_abi.h"
#include "request.bpf.h"

#define LOOPBACK_IFINDEX 1 /* of every network namespace; it can be neither moved nor renumbered */
#define IPV4_FRAGMENT 0x3fff /* IP_MF and the offset */
#define TCP_SYN 0x02
#define TCP_ACK 0x10

struct packet {
	struct egress_address source, destination;
	__u16 source_port, destination_port;
	__u8 protocol;
	__u8 opens; /* a SYN that asks for a connection, with or without data */
};

/* A SYN with ACK does not open: it answers somebody who was let in. */
static __always_inline bool parse_ports(const void *transport, const void *end, struct packet *p)
{
	const struct udphdr *ports = transport; /* TCP begins with the same two fields */

	if (p->protocol == IPPROTO_TCP) {
		const __u8 *tcp = transport;

		if (tcp + sizeof(struct tcphdr) > (const __u8 *)end)
			return false;
		p->opens = (tcp[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	} else if (p->protocol != IPPROTO_UDP || (const void *)(ports + 1) > end) {
		return false;
	}
	p->source_port = bpf_ntohs(ports->source);
	p->destination_port = bpf_ntohs(ports->dest);
	return true;
}

/* Options (ihl above 5) can route by the sender's will; a fragment shows no ports. Both are
 * refused. */
static __always_inline bool parse4(const void *data, const void *end, struct packet *p)
{
	const struct iphdr *ip = data;

	if ((const void *)(ip + 1) > end)
		return false;
	p->protocol = ip->protocol;
	address_set4(&p->source, ip->saddr);
	address_set4(&p->destination, ip->daddr);
	if (ip->version != 4 || ip->ihl != 5 || (ip->frag_off & bpf_htons(IPV4_FRAGMENT)))
		return false;
	return parse_ports(ip + 1, end, p);
}

static __always_inline bool parse6(const void *data, const void *end, struct packet *p)
{
	const struct ipv6hdr *ip = data;

	if ((const void *)(ip + 1) > end)
		return false;
	p->protocol = ip->nexthdr;
	__builtin_memcpy(&p->source, &ip->saddr, sizeof(p->source));
	__builtin_memcpy(&p->destination, &ip->daddr, sizeof(p->destination));
	if (ip->version != 6)
		return false;
	return parse_ports(ip + 1, end, p); /* an extension header is neither TCP nor UDP */
}

/* `p` is zeroed by the caller; what could be read is filled in on failure too, for the report. Global,
 * so that the verifier looks at it once, and not at all that follows once per path through it; for
 * that it takes `p` for a pointer that may be NULL. */
__noinline int parse(struct __sk_buff *skb, struct packet *p)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	__u32 protocol = skb->protocol;

	if (!p)
		return false;
	if (protocol == bpf_htons(ETH_P_IP))
		return parse4(data, end, p);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse6(data, end, p);
	return false;
}

/* For the report: who is asked on the way out, who asks on the way in; always the receiver's port. */
static __always_inline struct request request_of(const struct packet *p, __u8 hook)
{
	return (struct request){
		.destination = hook == EGRESS_HOOK_INGRESS ? p->source : p->destination,
		.port = p->destination_port,
		.protocol = p->protocol,
		.hook = hook,
	};
}

#endif
