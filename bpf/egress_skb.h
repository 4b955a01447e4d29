/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What user space tells the wires' programs about the kernel that they run on. */
#ifndef EGRESS_SKB_H
#define EGRESS_SKB_H

#include <linux/types.h>

/* Where the kernel keeps of a packet whether, and where, its checksum is to be filled in: bytes from the
 * start of struct sk_buff, and bits in that byte. csum_offset follows csum_start, and data follows head. */
struct egress_skb_offsets {
	__u32 known; /* 0: nothing below is */
	__u32 ip_summed, ip_summed_shift;
	__u32 csum_start;
	__u32 head;
};

#endif
