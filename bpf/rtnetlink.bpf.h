/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Whether a request to rtnetlink(7) names another network namespace by its id: read as the kernel is
 * going to read it, so that nothing is one thing here and another there. */
#ifndef RTNETLINK_BPF_H
#define RTNETLINK_BPF_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#define LINK_NETNSID 37	  /* linux/if_link.h: where the device below is */
#define TARGET_NETNSID 46 /* and where the new one goes to */
#define STEPS 256	  /* headers of messages and attributes looked at; who needs more is refused */

struct walk {
	const unsigned char *data;
	__u32 length; /* of it all */
	__u32 at;     /* the next header */
	__u32 end;    /* of the message that we are in; 0: before one */
	bool names;   /* that message may name a namespace */
};

static __always_inline __u32 aligned(__u32 length)
{
	return (length + NLMSG_ALIGNTO - 1) & ~(NLMSG_ALIGNTO - 1);
}

/* As netlink_rcv_skb() goes through it. False where that would stop. */
static __always_inline bool next_message(struct walk *w)
{
	struct nlmsghdr head;

	if (w->at > w->length || w->length - w->at < sizeof(head) ||
	    bpf_probe_read_kernel(&head, sizeof(head), w->data + w->at) ||
	    head.nlmsg_len < sizeof(head) || head.nlmsg_len > w->length - w->at)
		return false;
	w->end = w->at + head.nlmsg_len;
	w->names = head.nlmsg_type == RTM_NEWLINK || head.nlmsg_type == RTM_SETLINK ||
		   head.nlmsg_type == RTM_DELLINK;
	w->at = w->names ? w->at + aligned(sizeof(head)) + aligned(sizeof(struct ifinfomsg)) : w->end;
	return true;
}

/* True when it is one that names a namespace by id. What nla_ok() would not take ends the message. */
static __always_inline bool next_attribute(struct walk *w)
{
	struct nlattr head;
	__u32 type;

	if (w->at > w->end || w->end - w->at < sizeof(head) ||
	    bpf_probe_read_kernel(&head, sizeof(head), w->data + w->at) ||
	    head.nla_len < sizeof(head) || head.nla_len > w->end - w->at) {
		w->at = aligned(w->end);
		w->end = 0;
		return false;
	}
	w->at += aligned(head.nla_len);
	type = head.nla_type & NLA_TYPE_MASK;
	return type == LINK_NETNSID || type == TARGET_NETNSID;
}

static __always_inline bool names_a_namespace(struct walk *w)
{
	for (int i = 0; i < STEPS; i++) {
		if (!w->end) {
			if (!next_message(w))
				return false;
		} else if (next_attribute(w)) {
			return true;
		}
	}
	return true;
}

#endif
