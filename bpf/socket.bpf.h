/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What is remembered with a socket, and the flow record that its SYN leaves behind. */
#ifndef SOCKET_BPF_H
#define SOCKET_BPF_H

#include "maps.bpf.h"
#include "refuse.bpf.h"
#include "request.bpf.h"

/* Takes the record back, unless another socket has written its own there since. */
static __always_inline void record_forget(struct egress_socket *socket)
{
	const struct egress_flow *flow;

	if (!(socket->flags & EGRESS_SOCKET_RECORDED))
		return;
	flow = bpf_map_lookup_elem(&flows, &socket->key);
	if (flow && flow->socket == socket->flow.socket)
		bpf_map_delete_elem(&flows, &socket->key);
	socket->flags &= ~EGRESS_SOCKET_RECORDED;
}

/* A new connect() starts without the identity of an earlier one. */
static __always_inline void socket_reset(struct bpf_sock_addr *ctx)
{
	struct egress_socket *socket = bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0);

	if (!socket)
		return;
	record_forget(socket);
	socket->flags &= EGRESS_SOCKET_BOTTLE;
}

/* Made only for sockets that come to us: it is the dearest step of all. NULL: out of memory. */
static __always_inline struct egress_socket *socket_make(struct bpf_sock_addr *ctx)
{
	struct egress_socket *socket;

	socket = bpf_sk_storage_get(&sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (socket)
		socket->key.netns_cookie = bpf_get_netns_cookie(ctx);
	return socket;
}

/* The record that the SYN will publish: all of it but the client's own address, which is not chosen
 * yet. */
static __always_inline void socket_remember(struct bpf_sock_addr *ctx,
					    struct egress_socket *socket, const struct request *r,
					    __u32 host_id, __u32 flags)
{
	socket->flow.destination = r->destination;
	socket->flow.destination_port = r->port;
	socket->flow.host_id = host_id;
	socket->flow.socket = bpf_get_socket_cookie(ctx);
	process_read(&socket->flow.process);
	socket->flags |= flags;
}

/* In a shared namespace: ours and the bottle's listeners are told from the rest by this. */
static __always_inline bool socket_mark(struct bpf_sock *sk)
{
	struct egress_socket *socket;

	socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket)
		return false;
	socket->flags |= EGRESS_SOCKET_BOTTLE;
	return true;
}

/* The peer that the program asked for, when (address, port) is where we steered it instead. */
static __always_inline const struct egress_flow *original_peer(struct bpf_sock_addr *ctx,
							       const struct request *seen,
							       __u32 kinds)
{
	const struct egress_settings *s = current_settings();
	struct egress_socket *socket;

	if (!s || !is_loopback(&seen->destination))
		return NULL;
	if (seen->port != s->dns_port && seen->port != s->proxy_port)
		return NULL;
	socket = bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0);
	return socket && (socket->flags & kinds) ? &socket->flow : NULL;
}

/* `hook` is for request_read4() alone: nothing here refuses. getpeername() and recvmsg() show the
 * peer that was asked for, since clients compare it (resolvers drop replies from elsewhere). */
static __always_inline int show_original4(struct bpf_sock_addr *ctx, __u8 hook, __u32 kinds)
{
	const struct egress_flow *flow;
	struct request seen = {};

	request_read4(ctx, hook, &seen);
	flow = original_peer(ctx, &seen, kinds);
	if (flow)
		rewrite4(ctx, &flow->destination, flow->destination_port);
	return 1;
}

static __always_inline int show_original6(struct bpf_sock_addr *ctx, __u8 hook, __u32 kinds)
{
	const struct egress_flow *flow;
	struct request seen = {};

	request_read6(ctx, hook, &seen);
	flow = original_peer(ctx, &seen, kinds);
	if (flow)
		rewrite6(ctx, &flow->destination, flow->destination_port);
	return 1;
}

#endif
