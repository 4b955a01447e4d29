// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What root in the bottle may not ask of the kernel, whatever capabilities it holds: sockets that send
 * past the cgroup's programs, links by the id of another namespace, and BPF; and what anybody in there
 * may not ask by 32-bit system calls. Each is refused where it is asked for, before it is there;
 * afterwards it could only be taken away. As unix_wall.bpf.c, at the kernel's security hooks, for the
 * whole machine, and only where there is BTF.
 */
#include <linux/bpf.h>
#include <linux/stddef.h>
#include <stdbool.h>

#include "shared_maps.bpf.h"

#include <bpf/bpf_core_read.h>

#include "asker.bpf.h"
#include "reports.bpf.h"
#include "rtnetlink.bpf.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PERMITTED 0
#define REFUSED (-1) /* EPERM */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock {
	__u16 sk_protocol;
};
struct sk_buff {
	unsigned int len;
	unsigned char *data;
};
#pragma clang attribute pop

static __always_inline int refused(void)
{
	count(EGRESS_PROTOCOL_NOT_ALLOWED);
	return REFUSED;
}

/* ---- sockets --------------------------------------------------------------------------------------- */

/* linux/socket.h. Internet sockets are for the programs on the cgroup, and AF_ALG sends nothing. */
#define UNIX 1
static __always_inline bool family_judged(int family)
{
	return family == UNIX || family == 2 /* AF_INET */ || family == 10 /* AF_INET6 */ ||
	       family == 16 /* AF_NETLINK */ || family == 38 /* AF_ALG */;
}

/* (int family, int type, int protocol, int kern) */
SEC("fmod_ret/security_socket_create")
int root_socket(__u64 *arguments)
{
	int family = (int)arguments[0];

	if (family == UNIX || (int)arguments[3] || (family_judged(family) && !is_at_home()))
		return PERMITTED;
	return bottle_asks() ? refused() : PERMITTED;
}

/* (struct socket *sock, int level, int optname): the kernel asks the cgroup's program for options about
 * those of 64-bit system calls alone. */
SEC("fmod_ret/security_socket_setsockopt")
int root_option(__u64 *arguments)
{
	if (!option_reports((__s32)arguments[1], (__s32)arguments[2]))
		return PERMITTED;
	return bottle_asks() ? refused() : PERMITTED;
}

/* ---- rtnetlink --------------------------------------------------------------------------------------- */

/* (struct sock *sk, struct sk_buff *skb): before the kernel has done anything about it. */
SEC("fmod_ret/security_netlink_send")
int root_netlink(__u64 *arguments)
{
	struct sock *sk = (void *)arguments[0];
	struct sk_buff *skb = (void *)arguments[1];
	struct walk w = {};

	if (BPF_CORE_READ(sk, sk_protocol) != NETLINK_ROUTE || !bottle_asks())
		return PERMITTED;
	w.data = BPF_CORE_READ(skb, data);
	w.length = BPF_CORE_READ(skb, len);
	return names_a_namespace(&w) ? refused() : PERMITTED;
}

/* ---- bpf(2) ------------------------------------------------------------------------------------------ */

/* A container engine inside limits the devices of its own containers by programs. */
static __always_inline bool about_devices(int command, const __u32 attr[3])
{
	if (command == BPF_PROG_LOAD)
		return attr[0] == BPF_PROG_TYPE_CGROUP_DEVICE;
	if (command == BPF_PROG_QUERY)
		return attr[1] == BPF_CGROUP_DEVICE;
	if (command == BPF_PROG_ATTACH || command == BPF_PROG_DETACH || command == BPF_LINK_CREATE)
		return attr[2] == BPF_CGROUP_DEVICE;
	return command == BPF_PROG_GET_FD_BY_ID || command == BPF_OBJ_GET_INFO_BY_FD;
}

/* (int cmd, union bpf_attr *attr, unsigned int size): `attr` is the kernel's copy. */
SEC("fmod_ret/security_bpf")
int root_bpf(__u64 *arguments)
{
	__u32 attr[3] = {};

	if (!bottle_asks())
		return PERMITTED;
	if (bpf_probe_read_kernel(attr, sizeof(attr), (const void *)arguments[1]) ||
	    !about_devices((int)arguments[0], attr))
		return refused();
	return PERMITTED;
}
