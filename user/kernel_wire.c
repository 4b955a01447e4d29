// SPDX-License-Identifier: BSD-2-Clause
/* The tc wall's programs for one policy. Whatever opens it is frozen, and looked at again when it is:
 * who holds the host's CAP_SYS_ADMIN in the bottle may write any map in between. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wire.skel.h"

static int failed(const char *what, struct error *error)
{
	return error_set(error, "tc programs: %s: %s", what, strerror(errno));
}

/* Only who holds CAP_SYS_ADMIN or CAP_BPF on the host can: the policy is not put in force then. */
static int tampered(const char *what, struct error *error)
{
	return error_set(error, "tc programs: somebody else writes our %s", what);
}

/* ---- before they are loaded ---------------------------------------------------------------------- */

/* All of the array, for check_published() compares all of it. */
static void fill_rodata(const struct kernel *kernel, struct wire *skeleton)
{
	skeleton->rodata->skb_at = kernel_skb_offsets();
	skeleton->rodata->published_count = kernel->published_count;
	for (size_t i = 0; i < EGRESS_MAX_PUBLISHED; i++)
		skeleton->rodata->published[i] = kernel->published[i];
}

static int share_map(const struct kernel *kernel, struct bpf_map *map, enum kernel_map which,
		     struct error *error)
{
	return bpf_map__reuse_fd(map, kernel->maps[which]) < 0 ? failed(bpf_map__name(map), error)
							       : 0;
}

/* A wall that lets nothing pass has no map but that of the counters. */
static int choose(const struct kernel *kernel, struct wire *skeleton, bool closed, size_t count,
		  struct error *error)
{
	bpf_program__set_autoload(skeleton->progs.wire_closed, closed);
	bpf_program__set_autoload(skeleton->progs.wire_out, !closed);
	bpf_program__set_autoload(skeleton->progs.wire_in, !closed);
	bpf_map__set_autocreate(skeleton->maps.rodata, !closed);
	bpf_map__set_autocreate(skeleton->maps.cidrs, !closed);
	bpf_map__set_autocreate(skeleton->maps.peers, !closed);
	/* A map has room for one at least, or is refused with EINVAL. */
	bpf_map__set_max_entries(skeleton->maps.cidrs, (__u32)(count ? count : 1));
	if (share_map(kernel, skeleton->maps.counters, KERNEL_MAP_COUNTERS, error) < 0)
		return -1;
	return closed ? 0 : share_map(kernel, skeleton->maps.peers, KERNEL_MAP_PEERS, error);
}

/* ---- the policy ---------------------------------------------------------------------------------- */

/* Frozen after it is filled: from then on no system call writes it, ours neither. */
static int fill_cidrs(int fd, const struct egress_cidr_key *keys,
		      const struct egress_target *targets, size_t count, struct error *error)
{
	for (size_t i = 0; i < count; i++)
		if (bpf_map_update_elem(fd, &keys[i], &targets[i], BPF_ANY) < 0)
			return failed("map 'cidrs'", error);
	return bpf_map_freeze(fd) < 0 ? failed("map 'cidrs'", error) : 0;
}

/* Every entry is ours and there is no other. Two of our keys may be one to a trie. */
static int check_cidrs(int fd, const struct egress_cidr_key *keys,
		       const struct egress_target *targets, size_t count, struct error *error)
{
	struct egress_cidr_key key, *previous = NULL;
	struct egress_target target;

	for (; bpf_map_get_next_key(fd, previous, &key) == 0; previous = &key) {
		size_t i = count;

		if (bpf_map_lookup_elem(fd, &key, &target) < 0)
			return failed("map 'cidrs'", error);
		while (i-- > 0)
			if (memcmp(&keys[i], &key, sizeof(key)) == 0 &&
			    memcmp(&targets[i], &target, sizeof(target)) == 0)
				break;
		if (i == (size_t)-1)
			return tampered("address blocks", error);
	}
	return errno == ENOENT ? 0 : failed("map 'cidrs'", error);
}

/* libbpf freezes .rodata as it loads; this is what was written before that. */
static int check_published(const struct kernel *kernel, const struct wire *skeleton,
			   struct error *error)
{
	const struct egress_skb_offsets skb_at = kernel_skb_offsets();
	struct wire__rodata rodata;
	const uint32_t key = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.rodata), &key, &rodata) < 0)
		return failed("map 'rodata'", error);
	if (memcmp(&rodata.skb_at, &skb_at, sizeof(skb_at)) != 0 ||
	    rodata.published_count != kernel->published_count ||
	    memcmp(rodata.published, kernel->published, sizeof(rodata.published)) != 0)
		return tampered("published ports", error);
	return 0;
}

/* Blocks that are steered to the proxy need no wire. */
static bool lets_pass(const struct kernel *kernel, const struct egress_target *targets,
		      size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (targets[i].flags & EGRESS_TARGET_DIRECT)
			return true;
	return kernel->published_count > 0;
}

/* ---- loading ------------------------------------------------------------------------------------- */

static int keep(int kept[KERNEL_DIRECTIONS], const struct bpf_program *out,
		const struct bpf_program *in, struct error *error)
{
	/* Copies, for the skeleton closes its own when it goes. */
	kept[KERNEL_WIRE_OUT] = fcntl(bpf_program__fd(out), F_DUPFD_CLOEXEC, 3);
	kept[KERNEL_WIRE_IN] = fcntl(bpf_program__fd(in), F_DUPFD_CLOEXEC, 3);
	if (kept[KERNEL_WIRE_OUT] >= 0 && kept[KERNEL_WIRE_IN] >= 0)
		return 0;
	for (size_t i = 0; i < KERNEL_DIRECTIONS; i++)
		if (kept[i] >= 0)
			close(kept[i]);
	return failed("cannot keep them", error);
}

static int load_open(const struct kernel *kernel, struct wire *skeleton,
		     const struct egress_cidr_key *keys, const struct egress_target *targets,
		     size_t count, struct error *error)
{
	int cidrs;

	fill_rodata(kernel, skeleton);
	if (kernel_load(skeleton->obj, error) < 0 || check_published(kernel, skeleton, error) < 0)
		return -1;
	cidrs = bpf_map__fd(skeleton->maps.cidrs);
	if (fill_cidrs(cidrs, keys, targets, count, error) < 0)
		return -1;
	return check_cidrs(cidrs, keys, targets, count, error);
}

static int load_one(const struct kernel *kernel, struct wire *skeleton,
		    const struct egress_cidr_key *keys, const struct egress_target *targets,
		    size_t count, int kept[KERNEL_DIRECTIONS], struct error *error)
{
	bool closed = !lets_pass(kernel, targets, count);

	if (choose(kernel, skeleton, closed, count, error) < 0)
		return -1;
	if (closed)
		return kernel_load(skeleton->obj, error) < 0
			       ? -1
			       : keep(kept, skeleton->progs.wire_closed,
				      skeleton->progs.wire_closed, error);
	if (load_open(kernel, skeleton, keys, targets, count, error) < 0)
		return -1;
	return keep(kept, skeleton->progs.wire_out, skeleton->progs.wire_in, error);
}

int kernel_wire_load(const struct kernel *kernel, const struct egress_cidr_key *keys,
		     const struct egress_target *targets, size_t count,
		     int ret_programs[KERNEL_DIRECTIONS], struct error *error)
{
	struct wire *skeleton = wire__open();
	int kept[KERNEL_DIRECTIONS] = {-1, -1}, result;

	if (!skeleton)
		return failed("cannot open them", error);
	result = load_one(kernel, skeleton, keys, targets, count, kept, error);
	wire__destroy(skeleton);
	if (result == 0)
		memcpy(ret_programs, kept, sizeof(kept));
	return result;
}

int kernel_wire_policy(struct kernel *kernel, const struct egress_cidr_key *keys,
		       const struct egress_target *targets, size_t count, struct error *error)
{
	bool closed = !lets_pass(kernel, targets, count);
	int programs[KERNEL_DIRECTIONS] = {-1, -1};

	if (closed && kernel->wires_closed)
		return 0;
	/* All of it is loaded and looked at before the first filter is replaced: what fails leaves
	 * the old policy in force everywhere. */
	if (kernel_wire_load(kernel, keys, targets, count, programs, error) < 0)
		return -1;
	for (size_t i = 0; i < KERNEL_DIRECTIONS; i++) {
		close(kernel->wire_programs[i]);
		kernel->wire_programs[i] = programs[i];
	}
	kernel->wires_closed = false;
	if (kernel_tc_replace(kernel, error) < 0)
		return -1;
	kernel->wires_closed = closed;
	return 0;
}
