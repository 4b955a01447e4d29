// SPDX-License-Identifier: BSD-2-Clause
/* Where this kernel keeps what the wires' programs have to read of a packet: from its own description
 * (BTF). Not by CO-RE: an object with such relocations would not load where there is no BTF, and the
 * rest of the wall needs none. */
#include "kernel_private.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <string.h>

#define NOT_FOUND UINT32_MAX
#define DEEPEST 8 /* sk_buff nests four anonymous structures and unions in 6.18 */

/* In bits from the start of `type`, through members that have no name of their own. */
static uint32_t bits_to(const struct btf *btf, uint32_t type, const char *name, int depth)
{
	const struct btf_type *t = btf__type_by_id(btf, btf__resolve_type(btf, type));
	const struct btf_member *member = t && btf_is_composite(t) ? btf_members(t) : NULL;

	for (uint32_t i = 0; member && depth > 0 && i < btf_vlen(t); i++, member++) {
		uint32_t here = btf_member_bit_offset(t, i), below;
		const char *called = btf__name_by_offset(btf, member->name_off);

		if (called && *called) {
			if (strcmp(called, name) == 0)
				return here;
			continue;
		}
		below = bits_to(btf, member->type, name, depth - 1);
		if (below != NOT_FOUND)
			return here + below;
	}
	return NOT_FOUND;
}

/* The programs read each pair at once, and take bit fields as little-endian machines lay them out. */
static struct egress_skb_offsets offsets_in(const struct btf *btf)
{
	struct egress_skb_offsets none = {0}, at = {.known = 1};
	int32_t type = btf__find_by_name_kind(btf, "sk_buff", BTF_KIND_STRUCT);
	uint32_t summed, start, offset, head, data;

	if (type < 0 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return none;
	summed = bits_to(btf, (uint32_t)type, "ip_summed", DEEPEST);
	start = bits_to(btf, (uint32_t)type, "csum_start", DEEPEST);
	offset = bits_to(btf, (uint32_t)type, "csum_offset", DEEPEST);
	head = bits_to(btf, (uint32_t)type, "head", DEEPEST);
	data = bits_to(btf, (uint32_t)type, "data", DEEPEST);
	if (summed == NOT_FOUND || start == NOT_FOUND || head == NOT_FOUND || summed % 8 > 6 ||
	    offset != start + 16 || data != head + 64)
		return none;
	at.ip_summed = summed / 8;
	at.ip_summed_shift = summed % 8;
	at.csum_start = start / 8;
	at.head = head / 8;
	return at;
}

/* Once for the process: reading megabytes of BTF takes longer than all the rest of a reload. */
struct egress_skb_offsets kernel_skb_offsets(void)
{
	static struct egress_skb_offsets found;
	static bool looked;
	libbpf_print_fn_t previous;
	struct btf *btf;

	if (looked)
		return found;
	previous = libbpf_set_print(NULL);
	btf = btf__load_vmlinux_btf();
	libbpf_set_print(previous);
	if (btf)
		found = offsets_in(btf);
	btf__free(btf);
	looked = true;
	return found;
}
