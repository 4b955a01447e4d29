/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A packet whose checksum is still to be filled in says itself where: a packet socket in the bottle
 * (PACKET_VNET_HDR) can name the port, or an address in ARP, and the next network card writes there
 * after the packet was judged. What helpers do with such packets tells, with no look into the kernel's
 * structures, which would need BTF. */
#ifndef CHECKSUM_BPF_H
#define CHECKSUM_BPF_H

#include <linux/if_ether.h>

#include "packet.bpf.h"
#include "wire_policy.bpf.h"

#define TCP_CHECKSUM_END 18
#define UDP_CHECKSUM_END 8
#define INVALID (-22) /* EINVAL */

/* CHECKSUM_PARTIAL: of the others, one step up makes CHECKSUM_UNNECESSARY, which can be asked for. */
static __always_inline bool checksum_missing(struct __sk_buff *skb)
{
	if (!judges_checksums || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return false;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return true;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return false;
}

/* Whether what is filled in leaves the headers as they were judged: no packet can be cut before the end
 * of its missing checksum. Where this one is cut it is spoiled, and must be dropped. */
static __always_inline bool checksum_in_place(struct __sk_buff *skb, __u8 protocol, bool four)
{
	__u32 end = ETH_HLEN + (four ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
		    (protocol == IPPROTO_TCP ? TCP_CHECKSUM_END : UDP_CHECKSUM_END);

	return !checksum_missing(skb) || bpf_skb_change_tail(skb, end - 1, 0) == INVALID;
}

#endif
