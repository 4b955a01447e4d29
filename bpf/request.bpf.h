/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What a program asks of the kernel, in one form for IPv4, IPv6 and mapped addresses. */
#ifndef REQUEST_BPF_H
#define REQUEST_BPF_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "egress_abi.h"

#define PORT_DNS 53
#define PORT_HTTPS 443

struct request {
	struct egress_address destination;
	__u16 port;
	__u8 protocol;
	__u8 hook;
};

/* The words of an address, network order. */
struct words {
	__u32 w[4];
};

static __always_inline struct words words_of(const struct egress_address *a)
{
	struct words out;

	__builtin_memcpy(&out, a, sizeof(out));
	return out;
}

static __always_inline void address_set4(struct egress_address *a, __u32 ip)
{
	struct words in = {{0, 0, bpf_htonl(0xffff), ip}};

	__builtin_memcpy(a, &in, sizeof(in));
}

static __always_inline bool is_mapped(const struct egress_address *a)
{
	struct words w = words_of(a);

	return !w.w[0] && !w.w[1] && w.w[2] == bpf_htonl(0xffff);
}

/* 127/8, ::1, and the unspecified addresses, which the kernel takes for loopback. */
static __always_inline bool is_loopback(const struct egress_address *a)
{
	struct words w = words_of(a);

	if (w.w[0] || w.w[1])
		return false;
	if (w.w[2] == bpf_htonl(0xffff))
		return !w.w[3] || (w.w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !w.w[2] && (!w.w[3] || w.w[3] == bpf_htonl(1));
}

/* Datagrams to many receivers cannot be judged by looking up one. */
static __always_inline bool is_multicast(const struct egress_address *a)
{
	struct words w = words_of(a);

	if (!is_mapped(a))
		return (w.w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
	return (w.w[3] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000) ||
	       w.w[3] == bpf_htonl(0x7fffffff);
}

/* Reads of the context go through volatile and end in a barrier: else clang 14 moves them behind
 * pointer arithmetic on the context, which the verifier refuses. */
static __always_inline void request_read4(struct bpf_sock_addr *ctx, __u8 hook, struct request *r)
{
	const volatile struct bpf_sock_addr *c = ctx;
	__u32 ip = c->user_ip4, port = c->user_port, protocol = c->protocol;

	barrier();
	address_set4(&r->destination, ip);
	r->port = bpf_ntohs((__u16)port);
	r->protocol = (__u8)protocol;
	r->hook = hook;
}

static __always_inline void request_read6(struct bpf_sock_addr *ctx, __u8 hook, struct request *r)
{
	const volatile struct bpf_sock_addr *c = ctx;
	struct words in = {{c->user_ip6[0], c->user_ip6[1], c->user_ip6[2], c->user_ip6[3]}};
	__u32 port = c->user_port, protocol = c->protocol;

	barrier();
	__builtin_memcpy(&r->destination, &in, sizeof(in));
	r->port = bpf_ntohs((__u16)port);
	r->protocol = (__u8)protocol;
	r->hook = hook;
}

/* Volatile, since the verifier takes only stores of the field's own width: clang would merge
 * neighbours. */
static __always_inline void rewrite4(struct bpf_sock_addr *ctx, const struct egress_address *a,
				     __u16 port)
{
	volatile struct bpf_sock_addr *c = ctx;

	c->user_ip4 = words_of(a).w[3];
	c->user_port = bpf_htons(port);
}

static __always_inline void rewrite6(struct bpf_sock_addr *ctx, const struct egress_address *a,
				     __u16 port)
{
	volatile struct bpf_sock_addr *c = ctx;
	struct words w = words_of(a);

	c->user_ip6[0] = w.w[0];
	c->user_ip6[1] = w.w[1];
	c->user_ip6[2] = w.w[2];
	c->user_ip6[3] = w.w[3];
	c->user_port = bpf_htons(port);
}

/* 127.0.0.1 for IPv4 (mapped for a mapped one), ::1 for IPv6. */
static __always_inline struct egress_address our_address(const struct egress_address *asked)
{
	struct egress_address ours;
	struct words in = {{0, 0, 0, bpf_htonl(1)}};

	if (is_mapped(asked))
		address_set4(&ours, bpf_htonl(0x7f000001));
	else
		__builtin_memcpy(&ours, &in, sizeof(in));
	return ours;
}

#endif
