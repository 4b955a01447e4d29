/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The wall that does not care how a packet was made. Loopback is told by its interface alone. */
#ifndef PACKET_HOOKS_BPF_H
#define PACKET_HOOKS_BPF_H

#include "address_hooks.bpf.h"
#include "owner.bpf.h"
#include "packet.bpf.h"
#include "spared.bpf.h"

/* The constant bound is the verifier's, the count only what the map says. Global, as parse() is. */
__noinline int port_published(const struct egress_settings *s, __u16 port)
{
	if (!s)
		return false;
	for (__u32 i = 0; i < EGRESS_MAX_PUBLISHED; i++)
		if (i < s->published_count && s->published[i] == port)
			return true;
	return false;
}

/* A raw socket made before the wall may write any header: the packet must be its socket's kind. */
static __always_inline struct bpf_sock *packet_socket(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != p->protocol)
		return NULL;
	return sk;
}

/* Another socket's record is still there: its connection was reset and waits to be accepted, and who
 * accepts it takes the record of its port. So the SYN waits for the next, which comes after a second; once,
 * for a connection that never came into the queue leaves its record for good. */
static __always_inline bool record_must_wait(struct egress_socket *socket)
{
	const struct egress_flow *flow = bpf_map_lookup_elem(&flows, &socket->key);

	if (!flow || flow->socket == socket->flow.socket || (socket->flags & EGRESS_SOCKET_WAITED))
		return false;
	socket->flags |= EGRESS_SOCKET_WAITED;
	return true;
}

/* The record must be there before the proxy can accept. A SYN to the proxy without an identity
 * removes what an earlier user of the port may have left. */
static __always_inline int record_syn(const struct packet *p, struct egress_socket *socket)
{
	struct request r = request_of(p, EGRESS_HOOK_EGRESS);

	if (!socket)
		return drop(&r, EGRESS_INTERNAL, NULL);
	socket->key.source = p->source;
	socket->key.source_port = p->source_port;
	socket->key.protocol = IPPROTO_TCP;
	if (!(socket->flags & (EGRESS_SOCKET_STEERED | EGRESS_SOCKET_EXPLICIT))) {
		bpf_map_delete_elem(&flows, &socket->key);
		return 1;
	}
	if (bpf_map_update_elem(&flows, &socket->key, &socket->flow, BPF_NOEXIST)) {
		if (record_must_wait(socket))
			return 0;
		if (bpf_map_update_elem(&flows, &socket->key, &socket->flow, BPF_ANY))
			return drop(&r, EGRESS_LIMIT, socket);
	}
	socket->flags |= EGRESS_SOCKET_RECORDED;
	return 1;
}

/* Our ports: only to us, whoever squats there (listen() without bind() picks ports unasked). In a
 * shared namespace: only to us or to the bottle. Nobody there means a reset, at once. */
static __always_inline bool receiver_allowed(struct __sk_buff *skb, const struct packet *p,
					     const struct egress_settings *s)
{
	bool ours = port_is_ours(s, p->destination_port);
	enum owner owner;

	if (!ours && !s->shared_netns)
		return true;
	if (is_multicast(&p->destination)) /* the bottle may be one receiver, and others as well */
		return direct_allowed(&p->destination, p->destination_port);
	owner = receiver_owner(skb, p, s);
	if (ours)
		return owner == OWNER_US || owner == OWNER_NOBODY;
	return owner != OWNER_OTHER || direct_allowed(&p->destination, p->destination_port);
}

/* Only what opens is judged: the rest of a connection has no peer but the one its SYN was let
 * through to. */
static __always_inline int egress_loopback(struct __sk_buff *skb, const struct packet *p,
					   const struct egress_settings *s,
					   struct egress_socket *socket)
{
	struct request r = request_of(p, EGRESS_HOOK_EGRESS);

	if (p->protocol == IPPROTO_TCP && !p->opens)
		return 1;
	if (!receiver_allowed(skb, p, s))
		return drop(&r, EGRESS_ADDRESS_NOT_ALLOWED, socket);
	if (p->protocol == IPPROTO_TCP && p->destination_port == s->proxy_port)
		return record_syn(p, socket);
	return 1;
}

/* Answers from a published port may leave; a SYN from it may not, or the bottle would dial from
 * there. */
static __always_inline int egress_wire(const struct packet *p, const struct egress_settings *s,
				       const struct egress_socket *socket)
{
	struct request r = request_of(p, EGRESS_HOOK_EGRESS);

	if (direct_allowed(&p->destination, p->destination_port))
		return 1;
	if (p->protocol == IPPROTO_TCP && !p->opens && port_published(s, p->source_port))
		return 1;
	return drop(&r, EGRESS_ADDRESS_NOT_ALLOWED, socket);
}

/* 1 lets the packet pass. Unreadable settings, a packet that does not parse and one without a
 * socket of its kind are dropped, in this order. */
static __always_inline int on_egress(struct __sk_buff *skb)
{
	const struct egress_settings *s = current_settings();
	struct egress_socket *socket;
	struct packet p = {};
	bool parsed = parse(skb, &p);
	struct request r = request_of(&p, EGRESS_HOOK_EGRESS);
	struct bpf_sock *sk;

	if (packet_spared(skb))
		return 1;
	if (!s)
		return drop(&r, EGRESS_INTERNAL, NULL);
	sk = packet_socket(skb, &p);
	if (!parsed || !sk)
		return drop(&r, EGRESS_PROTOCOL_NOT_ALLOWED, NULL);
	if (skb->ifindex == LOOPBACK_IFINDEX && p.protocol == IPPROTO_TCP && !p.opens)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (skb->ifindex == LOOPBACK_IFINDEX)
		return egress_loopback(skb, &p, s, socket);
	return egress_wire(&p, s, socket);
}

/* Of loopback in a shared namespace: only what we or the bottle's own sockets send. */
static __always_inline bool ingress_allowed(struct __sk_buff *skb, const struct packet *p,
					    const struct egress_settings *s)
{
	enum owner owner;

	if (p->protocol == IPPROTO_TCP && port_published(s, p->destination_port))
		return true;
	if (!p->opens && direct_allowed(&p->source, p->source_port))
		return true;
	if (skb->ifindex != LOOPBACK_IFINDEX)
		return false;
	if (p->protocol == IPPROTO_TCP && !p->opens)
		return true;
	owner = sender_owner(skb, p, s);
	return owner == OWNER_US || owner == OWNER_BOTTLE;
}

/* In a namespace of the bottle's own, loopback carries only what its own sockets and ours send, so
 * it is not looked at. */
static __always_inline int on_ingress(struct __sk_buff *skb)
{
	const struct egress_settings *s = current_settings();
	struct packet p = {};
	struct request r;

	if (packet_spared(skb))
		return 1;
	if (s && !s->shared_netns && skb->ifindex == LOOPBACK_IFINDEX)
		return 1;
	if (parse(skb, &p) && s && ingress_allowed(skb, &p, s))
		return 1;
	r = request_of(&p, EGRESS_HOOK_INGRESS);
	return drop(&r, s ? EGRESS_ADDRESS_NOT_ALLOWED : EGRESS_INTERNAL, NULL);
}

#endif
