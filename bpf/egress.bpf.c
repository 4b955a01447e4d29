// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The kernel wall: the entry of each hook. Whatever is not understood is refused. */
#include <linux/stddef.h>
#include <stdbool.h>

#include "address_hooks.bpf.h"
#include "option_hooks.bpf.h"
#include "packet_hooks.bpf.h"
#include "socket_hooks.bpf.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct steering to = {};
	struct request r = {};
	int allowed;

	request_read4(ctx, EGRESS_HOOK_CONNECT, &r);
	allowed = on_connect(ctx, &r, &to);
	if (to.port)
		rewrite4(ctx, &to.address, to.port);
	return allowed;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct steering to = {};
	struct request r = {};
	int allowed;

	request_read6(ctx, EGRESS_HOOK_CONNECT, &r);
	allowed = on_connect(ctx, &r, &to);
	if (to.port)
		rewrite6(ctx, &to.address, to.port);
	return allowed;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct steering to = {};
	struct request r = {};
	int allowed;

	request_read4(ctx, EGRESS_HOOK_SENDMSG, &r);
	allowed = carry_out(ctx, &r, &to);
	if (to.port)
		rewrite4(ctx, &to.address, to.port);
	return allowed;
}

/* Mapped destinations come to sendmsg4. */
SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct steering to = {};
	struct request r = {};
	int allowed;

	request_read6(ctx, EGRESS_HOOK_SENDMSG, &r);
	allowed = carry_out(ctx, &r, &to);
	if (to.port)
		rewrite6(ctx, &to.address, to.port);
	return allowed;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return show_original4(ctx, EGRESS_HOOK_SENDMSG, EGRESS_SOCKET_DNS);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return show_original6(ctx, EGRESS_HOOK_SENDMSG, EGRESS_SOCKET_DNS);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return show_original4(ctx, EGRESS_HOOK_CONNECT,
			      EGRESS_SOCKET_DNS | EGRESS_SOCKET_STEERED);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return show_original6(ctx, EGRESS_HOOK_CONNECT,
			      EGRESS_SOCKET_DNS | EGRESS_SOCKET_STEERED);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct request r = {};

	request_read4(ctx, EGRESS_HOOK_BIND, &r);
	return on_bind(ctx, &r);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct request r = {};

	request_read6(ctx, EGRESS_HOOK_BIND, &r);
	return on_bind(ctx, &r);
}

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	return on_sock_create(ctx);
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	return on_sock_release(ctx);
}

SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *ctx)
{
	return on_setsockopt(ctx);
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return on_egress(skb);
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return on_ingress(skb);
}
