/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Socket options that make the kernel itself speak on the wire. */
#ifndef OPTION_HOOKS_BPF_H
#define OPTION_HOOKS_BPF_H

#include "refuse.bpf.h"

/* linux/in.h and linux/in6.h; both families share the MCAST_ numbers. */
#define LEVEL_IP 0
#define LEVEL_IPV6 41
#define IP_ADD_MEMBERSHIP_ 35
#define IP_ADD_SOURCE_MEMBERSHIP_ 39
#define IP_MSFILTER_ 41
#define IPV6_ADD_MEMBERSHIP_ 20
#define IPV6_JOIN_ANYCAST_ 27
#define MCAST_JOIN_GROUP_ 42
#define MCAST_JOIN_SOURCE_GROUP_ 46
#define MCAST_MSFILTER_ 48

/* The kernel hands over a page of a value at most; a longer one it takes from the caller as it was
 * only when the program says 0. */
#define OPTION_PAGE 4096

/* Joining a group sends an IGMP or MLD report with bytes of the caller's choice, and no packet hook
 * of the bottle sees it: the report is from a socket of the kernel's own. */
static __always_inline bool option_reports(__s32 level, __s32 name)
{
	if (level != LEVEL_IP && level != LEVEL_IPV6)
		return false;
	if (name == MCAST_JOIN_GROUP_ || name == MCAST_JOIN_SOURCE_GROUP_ || name == MCAST_MSFILTER_)
		return true;
	if (level == LEVEL_IPV6)
		return name == IPV6_ADD_MEMBERSHIP_ || name == IPV6_JOIN_ANYCAST_;
	return name == IP_ADD_MEMBERSHIP_ || name == IP_ADD_SOURCE_MEMBERSHIP_ ||
	       name == IP_MSFILTER_;
}

/* 1 lets the kernel take the option. Any other option is as harmless as the packets it leads to,
 * and these are judged when they leave. Reported without the process: Linux 5.15 does not give it to
 * this kind of program. */
static __always_inline int on_setsockopt(struct bpf_sockopt *ctx)
{
	__s32 level = ctx->level, name = ctx->optname, length = ctx->optlen;
	struct request r = {.protocol = IPPROTO_UDP, .hook = EGRESS_HOOK_SETSOCKOPT};

	if (option_reports(level, name))
		return drop(&r, EGRESS_PROTOCOL_NOT_ALLOWED, NULL);
	if (length > OPTION_PAGE)
		ctx->optlen = 0;
	return 1;
}

#endif
