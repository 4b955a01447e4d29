/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Socket options that make the kernel itself speak on the wire, and those by which sockets share a port. */
#ifndef OPTION_HOOKS_BPF_H
#define OPTION_HOOKS_BPF_H

#include "refuse.bpf.h"
#include "reports.bpf.h"

/* asm-generic/socket.h */
#define LEVEL_SOCKET 1
#define SO_REUSEADDR_ 2
#define SO_REUSEPORT_ 15
#define SO_ATTACH_REUSEPORT_CBPF_ 51
#define SO_ATTACH_REUSEPORT_EBPF_ 52

/* The kernel hands over a page of a value at most; a longer one it takes from the caller as it was
 * only when the program says 0. */
#define OPTION_PAGE 4096

/* In a shared namespace a port that others share with the bottle has several receivers, and the wall's
 * look-up sees one. Of datagrams the port may be one that the kernel picks, which no hook is asked about,
 * or one that others join later. */
static __always_inline bool option_shares(struct bpf_sockopt *ctx, __s32 level, __s32 name)
{
	return level == LEVEL_SOCKET && (name == SO_REUSEADDR_ || name == SO_REUSEPORT_) && ctx->sk &&
	       ctx->sk->protocol == IPPROTO_UDP;
}

/* A program that picks who of those on a port gets a packet: the look-up does not ask it. */
static __always_inline bool option_picks(__s32 level, __s32 name)
{
	return level == LEVEL_SOCKET &&
	       (name == SO_ATTACH_REUSEPORT_CBPF_ || name == SO_ATTACH_REUSEPORT_EBPF_);
}

static __always_inline bool loopback_shared(void)
{
	const struct egress_settings *s = current_settings();

	return !s || s->shared_netns;
}

/* 1 lets the kernel take the option; sharing is passed over without a word, for programs ask for it as a
 * habit, and end where it is refused. Any other option is as harmless as the packets it leads to,
 * and these are judged when they leave. Reported without the process: Linux 5.15 does not give it to
 * this kind of program. */
static __always_inline int on_setsockopt(struct bpf_sockopt *ctx)
{
	__s32 level = ctx->level, name = ctx->optname, length = ctx->optlen;
	struct request r = {.protocol = IPPROTO_UDP, .hook = EGRESS_HOOK_SETSOCKOPT};

	if (option_reports(level, name))
		return drop(&r, EGRESS_PROTOCOL_NOT_ALLOWED, NULL);
	if (option_picks(level, name) && loopback_shared())
		return drop(&r, EGRESS_PROTOCOL_NOT_ALLOWED, NULL);
	if (option_shares(ctx, level, name) && loopback_shared()) {
		ctx->optlen = -1; /* the kernel does not look at it */
		return 1;
	}
	if (length > OPTION_PAGE)
		ctx->optlen = 0;
	return 1;
}

#endif
