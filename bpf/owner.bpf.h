/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Whose socket is at the other end of a loopback packet. */
#ifndef OWNER_BPF_H
#define OWNER_BPF_H

#include "maps.bpf.h"
#include "packet.bpf.h"

/* OWNER_OTHER is whoever else shares the loopback: the host, or another bottle on it. */
enum owner { OWNER_NOBODY, OWNER_US, OWNER_BOTTLE, OWNER_OTHER };

/* By what was marked at the socket's making; nobody in the bottle can mark one, or lose its
 * mark. */
static __always_inline enum owner owner_by_mark(struct bpf_sock *sk)
{
	const struct egress_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (socket && (socket->flags & EGRESS_SOCKET_LISTENER))
		return OWNER_US;
	return socket && (socket->flags & EGRESS_SOCKET_BOTTLE) ? OWNER_BOTTLE : OWNER_OTHER;
}

/* Also what was made in the bottle before the wall stood, and has no mark for it. */
static __always_inline enum owner owner_of(struct bpf_sock *sk, const struct egress_settings *s)
{
	enum owner owner = owner_by_mark(sk);

	if (owner == OWNER_OTHER &&
	    bpf_sk_ancestor_cgroup_id(sk, s->bottle_level) == s->bottle_cgroup)
		return OWNER_BOTTLE;
	return owner;
}

/* Seen from the socket that is looked for: `local` is its own address. */
struct endpoints {
	struct egress_address remote, local;
	__u16 remote_port, local_port;
};

/* The size of the tuple is how the kernel's helper tells IPv4 from IPv6. */
static __always_inline __u32 tuple_fill(const struct endpoints *e, struct bpf_sock_tuple *t)
{
	if (is_mapped(&e->local)) {
		t->ipv4.saddr = words_of(&e->remote).w[3];
		t->ipv4.daddr = words_of(&e->local).w[3];
		t->ipv4.sport = bpf_htons(e->remote_port);
		t->ipv4.dport = bpf_htons(e->local_port);
		return sizeof(t->ipv4);
	}
	__builtin_memcpy(t->ipv6.saddr, &e->remote, sizeof(t->ipv6.saddr));
	__builtin_memcpy(t->ipv6.daddr, &e->local, sizeof(t->ipv6.daddr));
	t->ipv6.sport = bpf_htons(e->remote_port);
	t->ipv6.dport = bpf_htons(e->local_port);
	return sizeof(t->ipv6);
}

/* `ctx` is a packet or a sock_addr context; release what this returns. */
static __always_inline struct bpf_sock *socket_at(void *ctx, const struct endpoints *e,
						  __u8 protocol)
{
	struct bpf_sock_tuple t = {};

	if (tuple_fill(e, &t) == sizeof(t.ipv4))
		return protocol == IPPROTO_TCP
			       ? bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0)
			       : bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	return protocol == IPPROTO_TCP
		       ? bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0)
		       : bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* Global, as parse() is. What it cannot tell is another's. */
__noinline int owner_at(struct __sk_buff *skb, const struct endpoints *e, __u8 protocol,
			const struct egress_settings *s)
{
	enum owner owner = OWNER_NOBODY;
	struct bpf_sock *sk;

	if (!e || !s)
		return OWNER_OTHER;
	sk = socket_at(skb, e, protocol);
	if (sk) {
		owner = owner_of(sk, s);
		bpf_sk_release(sk);
	}
	return owner;
}

/* Both are for packets on loopback, where either end is a socket of this namespace. What is left of a
 * connection that ended (TIME_WAIT) is nobody's to the look-up, and passes a SYN on to the listener:
 * that is looked for by an address that nobody connects from. */
static __always_inline enum owner receiver_owner(struct __sk_buff *skb, const struct packet *p,
						 const struct egress_settings *s)
{
	struct endpoints e = {p->source, p->destination, p->source_port, p->destination_port};
	enum owner owner = owner_at(skb, &e, p->protocol, s);

	if (owner != OWNER_NOBODY || p->protocol != IPPROTO_TCP)
		return owner;
	__builtin_memset(&e.remote, 0, sizeof(e.remote));
	e.remote_port = 0;
	return owner_at(skb, &e, IPPROTO_TCP, s);
}

static __always_inline enum owner sender_owner(struct __sk_buff *skb, const struct packet *p,
					       const struct egress_settings *s)
{
	struct endpoints e = {p->destination, p->source, p->destination_port, p->source_port};

	return owner_at(skb, &e, p->protocol, s);
}

/* Who listens where a connect() wants to go, or already has what a bind() wants. By marks alone:
 * sock_addr programs cannot ask for a socket's cgroup. Of a connect() the packet hook has the last
 * word; this one answers at once. */
static __always_inline enum owner listener_owner(struct bpf_sock_addr *ctx,
						 const struct request *r)
{
	struct endpoints e = {.local = r->destination, .local_port = r->port};
	enum owner owner = OWNER_NOBODY;
	struct bpf_sock *sk;

	if (is_loopback(&e.local) && !words_of(&e.local).w[3]) /* unspecified means loopback */
		e.local = our_address(&r->destination);
	sk = socket_at(ctx, &e, r->protocol);
	if (sk) {
		owner = owner_by_mark(sk);
		bpf_sk_release(sk);
	}
	return owner;
}

#endif
