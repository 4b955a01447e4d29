/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A packet whose checksum is still to be filled in says itself where: a packet socket in the bottle
 * (PACKET_VNET_HDR) can name the port, or an address in ARP, and the next network card writes there
 * after the packet was judged. No helper tells the place on every kernel (bpf_skb_change_tail() did,
 * and stopped to in the stable kernels of 2026), so it is read from the kernel's own structure, at
 * offsets that user space looked up in BTF. */
#ifndef CHECKSUM_BPF_H
#define CHECKSUM_BPF_H

#include <linux/if_ether.h>

#include "packet.bpf.h"
#include "wire_policy.bpf.h"

#define TCP_CHECKSUM 16
#define UDP_CHECKSUM 6
#define CHECKSUM_PARTIAL 3 /* linux/skbuff.h */

/* In bytes from the packet's buffer (sk_buff.head): where the sum begins, and the frame. */
struct checksum_place {
	__u16 start, offset; /* offset: from `start` to the field */
	__u64 frame;
};

static __always_inline bool checksum_missing(struct __sk_buff *skb)
{
	__u8 bits = 0;

	if (!skb_at.known)
		return false;
	if (bpf_probe_read_kernel(&bits, sizeof(bits), (const void *)skb + skb_at.ip_summed))
		return true;
	return ((bits >> skb_at.ip_summed_shift) & 3) == CHECKSUM_PARTIAL;
}

static __always_inline bool checksum_place(struct __sk_buff *skb, struct checksum_place *ret)
{
	__u16 start_offset[2];
	__u64 head_data[2];

	if (bpf_probe_read_kernel(start_offset, sizeof(start_offset),
				  (const void *)skb + skb_at.csum_start) ||
	    bpf_probe_read_kernel(head_data, sizeof(head_data), (const void *)skb + skb_at.head))
		return false;
	ret->start = start_offset[0];
	ret->offset = start_offset[1];
	ret->frame = head_data[1] - head_data[0];
	return true;
}

/* Whether what is filled in leaves the headers as they were judged: it goes where TCP and UDP have
 * their checksum, and sums up what they say. */
static __always_inline bool checksum_in_place(struct __sk_buff *skb, __u8 protocol, bool four)
{
	__u32 header = ETH_HLEN + (four ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	struct checksum_place place;

	if (!checksum_missing(skb))
		return true;
	return checksum_place(skb, &place) && place.start == place.frame + header &&
	       place.offset == (protocol == IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM);
}

#endif
