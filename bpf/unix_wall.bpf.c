// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The wall between the unix sockets of one bottle and all others: a connection or a datagram has both
 * its ends in the bottle, or neither. An address tells nothing (paths are relative, mounts differ),
 * so the two sockets are judged, where the kernel has found them both: at its security hooks, whose
 * result a program may replace whatever security modules are in use. These run for the whole machine.
 *
 * The only object that reads structures of the kernel (CO-RE): it loads where there is BTF, and the
 * rest of the wall does not need it.
 */
#include <linux/bpf.h>
#include <linux/stddef.h>
#include <linux/un.h>
#include <stdbool.h>

#include "refuse.bpf.h"

#include <bpf/bpf_core_read.h>

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Not in a map: what cannot be read must refuse the bottle, and nobody else. */
const volatile __u64 bottle_cgroup = 0;
const volatile __u32 bottle_level = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node {
	__u64 id;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct sock_cgroup_data {
	struct cgroup *cgroup;
};
struct sock {
	struct sock_cgroup_data sk_cgrp_data;
};
struct socket {
	struct sock *sk;
};
struct super_block {
	__u32 s_dev;
};
struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct dentry {
	struct inode *d_inode;
};
struct path {
	struct dentry *dentry;
};
struct unix_address {
	int len;
	struct sockaddr_un name[0];
};
struct unix_sock {
	struct unix_address *addr;
	struct path path;
};
#pragma clang attribute pop

/* Made in the bottle: a socket keeps the cgroup of its making. The bottle has no cgroup below its
 * own, and what claims to be in one is taken for a stranger's. */
static __always_inline bool made_inside(const struct sock *sk)
{
	return sk->sk_cgrp_data.cgroup->kn->id == bottle_cgroup;
}

/* By file, not by path: a path inside the bottle's mounts may name anything. A socket with no file
 * (abstract, unnamed) is never let in. */
static __always_inline bool is_let_in(const struct sock *sk)
{
	const struct unix_sock *u = (const void *)sk;
	struct inode *inode = BPF_CORE_READ(u, path.dentry, d_inode);
	struct egress_unix_file file = {};

	if (!inode)
		return false;
	file.inode = BPF_CORE_READ(inode, i_ino);
	file.device = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&let_in, &file);
}

/* For the report alone. An abstract name begins with NUL and is shown as it is. */
static __always_inline void read_path(const struct sock *sk, struct egress_unix_denial *event)
{
	const struct unix_sock *u = (const void *)sk;
	struct unix_address *address = BPF_CORE_READ(u, addr);

	__builtin_memset(event->path, 0, sizeof(event->path));
	if (address)
		(void)bpf_probe_read_kernel_str(event->path, UNIX_PATH_MAX,
						&address->name[0].sun_path);
}

/* Refuses even when the event is lost. -1 is the hook's result: EPERM to who connects or sends. */
static __always_inline int refuse_socket(const struct sock *to, bool inside)
{
	struct egress_unix_denial *event;

	count(EGRESS_SOCKET_NOT_ALLOWED);
	event = bpf_ringbuf_reserve(&denials, sizeof(*event), 0);
	if (!event) {
		count(EGRESS_COUNTER_LOST);
		return -1 /* EPERM */;
	}
	__builtin_memset(&event->denial, 0, sizeof(event->denial));
	event->denial.time_ns = bpf_ktime_get_boot_ns();
	event->denial.hook = inside ? EGRESS_HOOK_UNIX_OUT : EGRESS_HOOK_UNIX_IN;
	event->denial.reason = EGRESS_SOCKET_NOT_ALLOWED;
	process_read(&event->denial.process);
	read_path(to, event);
	bpf_ringbuf_submit(event, 0);
	return -1;
}

/* Who sends counts as inside by its process as well: it may use a socket that it was born with. */
static __always_inline int judge(const struct sock *from, const struct sock *to)
{
	bool inside = bpf_get_current_ancestor_cgroup_id(bottle_level) == bottle_cgroup ||
		      made_inside(from);

	if (inside == made_inside(to) || is_let_in(to) || is_let_in(from))
		return 0;
	return refuse_socket(to, inside);
}

/* (struct sock *from, struct sock *to, struct sock *accepted): stream and seqpacket. */
SEC("fmod_ret/security_unix_stream_connect")
int unix_connect(__u64 *arguments)
{
	return judge((const struct sock *)arguments[0], (const struct sock *)arguments[1]);
}

/* (struct socket *from, struct socket *to): each datagram, also on a connected socket. */
SEC("fmod_ret/security_unix_may_send")
int unix_send(__u64 *arguments)
{
	const struct socket *from = (const void *)arguments[0], *to = (const void *)arguments[1];

	return judge(from->sk, to->sk);
}
