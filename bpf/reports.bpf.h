/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Socket options that make the kernel report a group to the network. */
#ifndef REPORTS_BPF_H
#define REPORTS_BPF_H

#include <linux/types.h>
#include <stdbool.h>

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

#endif
