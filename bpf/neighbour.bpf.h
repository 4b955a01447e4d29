/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861) past the tc wall: only about neighbours that
 * the bottle may talk to, and with no field left to carry anything else. */
#ifndef NEIGHBOUR_BPF_H
#define NEIGHBOUR_BPF_H

#include "packet.bpf.h"
#include "wire_policy.bpf.h"

#include "target.bpf.h"

#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ND_OPTION_SOURCE 1 /* its target twin is 2 */

struct arp_frame {
	struct ethhdr eth;
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_link[ETH_ALEN];
	__be32 sender;
	__u8 target_link[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

struct nd_frame {
	struct ethhdr eth;
	__be32 version_class_label;
	__be16 payload_length;
	__u8 next, hop_limit;
	__u8 source[16], destination[16];
	__u8 type, code;
	__be16 checksum;
	__u8 flags, reserved[3];
	__u8 target[16];
	__u8 option, option_length, link[ETH_ALEN]; /* absent when payload_length is 24 */
} __attribute__((packed));

#define ND_BARE 24 /* bytes of ICMPv6 without the option */
#define ND_FULL 32

/* ---- whom the bottle may talk to -------------------------------------------------------------- */

static __always_inline bool peer_known(const struct egress_address *a, __u16 port, __u16 published)
{
	struct egress_peer peer = {.address = *a, .port = port, .published = published};

	return bpf_map_lookup_elem(&peers, &peer) != NULL;
}

/* Looked up first: an update of an LRU map takes a lock, and this is done for each packet that
 * comes. */
static __always_inline void peer_remember(const struct egress_address *a, __u16 port,
					  __u16 published)
{
	struct egress_peer peer = {.address = *a, .port = port, .published = published};
	__u8 one = 1;

	if (!bpf_map_lookup_elem(&peers, &peer))
		bpf_map_update_elem(&peers, &peer, &one, BPF_ANY);
}

/* Of a `direct` block, at any port: link addresses know none. */
static __always_inline bool direct_neighbour(const struct egress_address *a)
{
	const struct egress_target *target = cidr_of(a);

	return target && (target->flags & EGRESS_TARGET_DIRECT) &&
	       !(target->flags & EGRESS_TARGET_REMOVED) && target->port_count;
}

static __always_inline bool neighbour_known(const struct egress_address *a)
{
	return direct_neighbour(a) || peer_known(a, 0, 0);
}

/* Whoever wants to reach a published port has to find it on the link first. */
static __always_inline bool neighbour_came(const struct egress_address *a)
{
	if (!published_count)
		return false;
	peer_remember(a, 0, 0);
	return true;
}

static __always_inline bool same_link(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < ETH_ALEN; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/* ---- ARP ---------------------------------------------------------------------------------------- */

/* Ethernet and IPv4 (RFC 826), request or reply. */
static __always_inline bool arp_well_formed(const struct arp_frame *f)
{
	return f->hardware == bpf_htons(1) && f->protocol == bpf_htons(ETH_P_IP) &&
	       f->hardware_length == ETH_ALEN && f->protocol_length == 4 &&
	       (f->operation == bpf_htons(1) || f->operation == bpf_htons(2));
}

/* Outward the frame must have no padding and the true sender: 18 bytes of padding for each request
 * would be a channel. */
static __always_inline bool arp_allowed(struct __sk_buff *skb, bool out)
{
	const struct arp_frame *f = (const void *)(long)skb->data;
	struct egress_address other;

	if ((const void *)(f + 1) > (const void *)(long)skb->data_end || !arp_well_formed(f))
		return false;
	address_set4(&other, out ? f->target : f->sender);
	if (!out)
		return direct_neighbour(&other) || neighbour_came(&other);
	return skb->len == sizeof(*f) && same_link(f->sender_link, f->eth.h_source) &&
	       neighbour_known(&other);
}

/* ---- neighbour discovery ------------------------------------------------------------------------- */

static __always_inline struct egress_address address_at(const __u8 *bytes)
{
	struct egress_address a;

	__builtin_memcpy(&a, bytes, sizeof(a));
	return a;
}

/* The target itself or its solicited-node group, ff02::1:ff00:0/104. */
static __always_inline bool solicits(const struct egress_address *destination,
				     const struct egress_address *target)
{
	struct words d = words_of(destination), t = words_of(target);

	if (d.w[0] == t.w[0] && d.w[1] == t.w[1] && d.w[2] == t.w[2] && d.w[3] == t.w[3])
		return true;
	return d.w[0] == bpf_htonl(0xff020000) && !d.w[1] && d.w[2] == bpf_htonl(1) &&
	       d.w[3] == (t.w[3] | bpf_htonl(0xff000000));
}

static __always_inline bool is_link_local(const struct egress_address *a)
{
	return (words_of(a).w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* From the bottle: no field is free but those that the receiver needs. The optional link address,
 * which may not be there, is read from the packet again. */
static __always_inline bool nd_tight(struct __sk_buff *skb, const struct nd_frame *f)
{
	__u32 length = bpf_ntohs(f->payload_length);
	__u8 option[2 + ETH_ALEN];

	if (f->version_class_label != bpf_htonl(0x60000000) || f->code ||
	    f->reserved[0] || f->reserved[1] || f->reserved[2] ||
	    (f->type == ND_SOLICIT && f->flags) || (f->flags & 0x1f))
		return false;
	if (skb->len != sizeof(*f) - ND_FULL + length || (length != ND_BARE && length != ND_FULL))
		return false;
	if (length == ND_BARE)
		return true;
	if (bpf_skb_load_bytes(skb, sizeof(*f) - sizeof(option), option, sizeof(option)))
		return false;
	return option[0] == ND_OPTION_SOURCE + (f->type == ND_ADVERT) && option[1] == 1 &&
	       same_link(option + 2, f->eth.h_source);
}

/* An advertisement answers the neighbour that asked, or from its link-local address about one that
 * we know. */
static __always_inline bool nd_out_allowed(const struct nd_frame *f)
{
	struct egress_address target = address_at(f->target);
	struct egress_address destination = address_at(f->destination);

	if (f->type == ND_SOLICIT)
		return neighbour_known(&target) && solicits(&destination, &target);
	return neighbour_known(&destination) ||
	       (is_link_local(&destination) && neighbour_known(&target));
}

static __always_inline bool nd_in_allowed(const struct nd_frame *f)
{
	struct egress_address source = address_at(f->source), target = address_at(f->target);

	return direct_neighbour(&source) || direct_neighbour(&target) || neighbour_came(&source);
}

/* Hop limit 255 proves that no router forwarded it (RFC 4861, 7.1.1). */
static __always_inline bool nd_allowed(struct __sk_buff *skb, bool out)
{
	const struct nd_frame *f = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;

	if ((const __u8 *)f + sizeof(*f) - (ND_FULL - ND_BARE) > (const __u8 *)end)
		return false;
	if (f->next != IPPROTO_ICMPV6 || f->hop_limit != 255 ||
	    (f->type != ND_SOLICIT && f->type != ND_ADVERT))
		return false;
	return out ? nd_tight(skb, f) && nd_out_allowed(f) : nd_in_allowed(f);
}

#endif
