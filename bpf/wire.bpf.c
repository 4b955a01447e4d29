// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The programs on the host's ends of the bottle's wires: loaded anew with each policy. */
#include <linux/stddef.h>
#include <stdbool.h>

#include "tc.bpf.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tc")
int wire_out(struct __sk_buff *skb)
{
	return on_wire(skb, true);
}

SEC("tc")
int wire_in(struct __sk_buff *skb)
{
	return on_wire(skb, false);
}

/* For a policy that lets nothing pass: no map that could be written to open it. */
SEC("tc")
int wire_closed(struct __sk_buff *skb)
{
	(void)skb;
	return drop_frame();
}
