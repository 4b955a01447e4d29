// SPDX-License-Identifier: BSD-2-Clause
/* The same for blocks of addresses, where the longest prefix decides alone. */
#include <stdio.h>
#include <string.h>

#include "policy_diff.h"
#include "policy_space.h"

struct blocks {
	const struct policy *before, *after;
	policy_change_seen *seen;
	void *context;
};

/* The first address behind the block; false when there is none. */
static bool address_behind(const struct cidr *cidr, struct egress_address *ret)
{
	struct egress_address address = cidr->address;
	unsigned bit = cidr->prefix_length;

	while (bit-- > 0) {
		uint8_t mask = (uint8_t)(0x80 >> (bit % 8));

		/* One is added at the prefix's last bit; a bit that becomes 1 takes up the
		 * carry. */
		address.bytes[bit / 8] ^= mask;
		if (address.bytes[bit / 8] & mask) {
			*ret = address;
			return true;
		}
	}
	return false;
}

/* Blocks either nest or do not meet. */
static bool is_narrower(const struct cidr *inner, const struct cidr *outer)
{
	return inner->prefix_length > outer->prefix_length &&
	       cidr_contains(outer, &inner->address);
}

static bool has_narrower(const struct policy *policy, const struct cidr *outer,
			 const struct egress_address *address)
{
	for (size_t i = 0; i < policy->cidr_count; i++) {
		const struct cidr *inner = &policy->cidrs[i].cidr;

		if (is_narrower(inner, outer) && cidr_contains(inner, address))
			return true;
	}
	return false;
}

/* True for an address that this block decides on, and no narrower one of either policy. */
static bool is_witness(const struct blocks *d, const struct cidr *block,
		       const struct egress_address *address)
{
	return cidr_contains(block, address) && !has_narrower(d->before, block, address) &&
	       !has_narrower(d->after, block, address);
}

static bool find_behind(const struct blocks *d, const struct policy *policy, const struct cidr *block,
			struct egress_address *ret)
{
	for (size_t i = 0; i < policy->cidr_count; i++) {
		if (is_narrower(&policy->cidrs[i].cidr, block) &&
		    address_behind(&policy->cidrs[i].cidr, ret) && is_witness(d, block, ret))
			return true;
	}
	return false;
}

/* The block's first address, or the first behind a narrower block; false when those cover it. */
static bool find_witness(const struct blocks *d, const struct cidr *block,
			 struct egress_address *ret)
{
	*ret = block->address;
	return is_witness(d, block, ret) || find_behind(d, d->before, block, ret) ||
	       find_behind(d, d->after, block, ret);
}

/* A direct block that has private addresses cannot be without allow_private (config_route.c); where
 * it has none the flag changes nothing today, and is still what a review wants to see: the next
 * wider block would go through with it. */
static const char *cidr_outcome(const struct policy_cidr *cidr)
{
	static const char *const words[2][2] = {
		{"allowed, as raw TCP", "allowed, as raw TCP, also at private addresses"},
		{"allowed, past the proxy", "allowed, past the proxy, also at private addresses"},
	};

	return cidr ? words[cidr->direct][cidr->allow_private] : "refused";
}

/* `ports` has room for those of two blocks. */
static size_t add_ports(const struct policy *policy, const struct egress_address *address,
			uint16_t *ports, size_t count)
{
	for (size_t i = 0; i < policy->cidr_count; i++) {
		const struct policy_cidr *cidr = &policy->cidrs[i];

		if (!cidr_contains(&cidr->cidr, address))
			continue;
		for (size_t j = 0; j < cidr->port_count; j++)
			ports[count++] = cidr->ports[j];
		break; /* the longest prefix decides alone */
	}
	return count;
}

static enum policy_change_kind kind_of(const struct policy_cidr *before,
				       const struct policy_cidr *after)
{
	if (before && after)
		return POLICY_CHANGE_OTHER;
	return after ? POLICY_CHANGE_WIDER : POLICY_CHANGE_NARROWER;
}

static enum egress_reason reason_of(const struct policy_cidr *cidr)
{
	return cidr ? EGRESS_ALLOWED : EGRESS_ADDRESS_NOT_ALLOWED;
}

static void report_port(const struct blocks *d, const char *target, uint16_t number,
			const struct policy_cidr *before, const struct policy_cidr *after)
{
	const struct policy_cidr *shown = after ? after : before;
	char ports[8];

	snprintf(ports, sizeof(ports), "%u", number);
	d->seen(d->context, &(struct policy_change){
				    .kind = kind_of(before, after),
				    .target = target,
				    .methods = "",
				    .paths = "",
				    .ports = ports,
				    .headers = "",
				    .before = cidr_outcome(before),
				    .after = cidr_outcome(after),
				    .before_reason = reason_of(before),
				    .after_reason = reason_of(after),
				    .file = shown->file,
				    .line = shown->line,
			    });
}

/* One address stands for all that this block decides on. */
static void diff_cidr(const struct blocks *d, const struct cidr *block)
{
	unsigned bits = address_is_v4(&block->address) ? 96 : 0;
	char text[ADDRESS_TEXT_SIZE], target[ADDRESS_TEXT_SIZE + 8];
	uint16_t ports[2 * EGRESS_MAX_PORTS];
	struct egress_address witness;
	size_t count;

	if (!find_witness(d, block, &witness))
		return;
	snprintf(target, sizeof(target), "%s/%u", address_format(&block->address, text),
		 block->prefix_length - bits);
	count = add_ports(d->before, &witness, ports, 0);
	count = add_ports(d->after, &witness, ports, count);
	for (size_t i = 0; i < count; i++) {
		const struct policy_cidr *before = policy_find_cidr(d->before, &witness, ports[i]);
		const struct policy_cidr *after = policy_find_cidr(d->after, &witness, ports[i]);
		bool again = false;

		for (size_t j = 0; j < i; j++)
			again |= ports[j] == ports[i];
		/* By what people are told, as in policy_diff.c. */
		if (again || strcmp(cidr_outcome(before), cidr_outcome(after)) == 0)
			continue;
		report_port(d, target, ports[i], before, after);
	}
}

static bool names_cidr(const struct policy *policy, const struct cidr *block)
{
	for (size_t i = 0; i < policy->cidr_count; i++) {
		if (memcmp(&policy->cidrs[i].cidr, block, sizeof(*block)) == 0)
			return true;
	}
	return false;
}

void policy_diff_cidrs(const struct policy *before, const struct policy *after,
		       policy_change_seen *seen, void *context)
{
	const struct blocks d = {before, after, seen, context};

	for (size_t i = 0; i < before->cidr_count; i++)
		diff_cidr(&d, &before->cidrs[i].cidr);
	for (size_t i = 0; i < after->cidr_count; i++) {
		if (!names_cidr(before, &after->cidrs[i].cidr))
			diff_cidr(&d, &after->cidrs[i].cidr);
	}
}
