/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A socket's first and last moment. */
#ifndef SOCKET_HOOKS_BPF_H
#define SOCKET_HOOKS_BPF_H

#include "refuse.bpf.h"
#include "socket.bpf.h"
#include "spared.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7

/* TCP and UDP alone: raw, ping, UDP-Lite, MPTCP, SCTP and other families reach the wire, or the
 * host, by ways that no address hook sees. By now the kernel has turned protocol 0 into the family's
 * own. */
static __always_inline bool kind_allowed(__u32 family, __u32 type, __u32 protocol)
{
	if (family != AF_INET && family != AF_INET6)
		return false;
	return (type == SOCK_STREAM && protocol == IPPROTO_TCP) ||
	       (type == SOCK_DGRAM && protocol == IPPROTO_UDP);
}

/* The mark is what later tells the bottle's listeners from the host's; a socket that cannot be
 * marked is not made. */
static __always_inline int on_sock_create(struct bpf_sock *sk)
{
	const volatile struct bpf_sock *c = sk;
	__u32 family = c->family, type = c->type, protocol = c->protocol;
	const struct egress_settings *s = current_settings();
	struct request r = {.protocol = (__u8)protocol, .hook = EGRESS_HOOK_SOCK_CREATE};

	barrier();
	if (task_spared())
		return 1;
	if (!s)
		return refuse(&r, EGRESS_INTERNAL, 0);
	if (!kind_allowed(family, type, protocol))
		return refuse(&r, EGRESS_PROTOCOL_NOT_ALLOWED, 0);
	if (s->shared_netns && !socket_mark(sk))
		return refuse(&r, EGRESS_INTERNAL, 0);
	return 1;
}

/* A connection that never was leaves no record; one that was may still wait to be accepted. */
static __always_inline int on_sock_release(struct bpf_sock *sk)
{
	const volatile struct bpf_sock *c = sk;
	__u32 state = c->state, protocol = c->protocol;
	struct egress_socket *socket;

	barrier();
	if (protocol != IPPROTO_TCP || state == TCP_ESTABLISHED)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (socket && (state == TCP_SYN_SENT || state == TCP_CLOSE))
		record_forget(socket);
	return 1;
}

#endif
