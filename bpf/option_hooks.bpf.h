/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Socket options that make the kernel itself speak on the wire. */
#ifndef OPTION_HOOKS_BPF_H
#define OPTION_HOOKS_BPF_H

#include "refuse.bpf.h"
#include "reports.bpf.h"

/* The kernel hands over a page of a value at most; a longer one it takes from the caller as it was
 * only when the program says 0. */
#define OPTION_PAGE 4096

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
