/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Refusing: a counter, a record for people, and the errno. */
#ifndef REFUSE_BPF_H
#define REFUSE_BPF_H

#include "maps.bpf.h"
#include "request.bpf.h"

/* Linux 5.18 has bpf_set_retval(); the loader tries with it first. Before, every refusal is EPERM.
 * With it UDP is refused by ECONNREFUSED: QUIC clients take that for 'nobody there' and fall back
 * to TCP without a retry. All else stays EPERM, which is how a policy says no. */
const volatile __u32 has_set_retval = 0;

static __always_inline void process_read(struct egress_process *p)
{
	__u64 ids = bpf_get_current_pid_tgid();

	p->pid = (__u32)ids;
	p->tgid = ids >> 32;
	p->uid = (__u32)bpf_get_current_uid_gid();
	p->padding = 0;
	bpf_get_current_comm(p->comm, sizeof(p->comm));
}

/* What a full ring costs is the record, never the refusal. The caller fills in the process and
 * submits. */
static __always_inline struct egress_denial *denial_begin(const struct request *r, __u32 reason,
							  __u32 host_id)
{
	struct egress_denial *event = bpf_ringbuf_reserve(&denials, sizeof(*event), 0);

	if (!event) {
		count(EGRESS_COUNTER_LOST);
		return NULL;
	}
	event->time_ns = bpf_ktime_get_boot_ns();
	event->destination = r->destination;
	event->destination_port = r->port;
	event->protocol = r->protocol;
	event->hook = r->hook;
	event->reason = reason;
	event->host_id = host_id;
	event->padding = 0;
	return event;
}

static __always_inline void report(const struct request *r, __u32 reason, __u32 host_id)
{
	struct egress_denial *event = denial_begin(r, reason, host_id);

	if (!event)
		return;
	process_read(&event->process);
	bpf_ringbuf_submit(event, 0);
}

/* A packet has no current process: it is the one that connect() saw, if any. */
static __always_inline void report_packet(const struct request *r, __u32 reason,
					  const struct egress_socket *socket)
{
	struct egress_denial *event = denial_begin(r, reason, socket ? socket->flow.host_id : 0);

	if (!event)
		return;
	if (socket)
		event->process = socket->flow.process;
	else
		__builtin_memset(&event->process, 0, sizeof(event->process));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void set_errno(const struct request *r)
{
	if (has_set_retval && r->protocol == IPPROTO_UDP && r->hook != EGRESS_HOOK_BIND)
		bpf_set_retval(-111 /* ECONNREFUSED */);
}

/* For hooks that run in the process that asked. Returns what the hook has to return. Global, as
 * parse() is. */
__noinline int refuse(const struct request *r, __u32 reason, __u32 host_id)
{
	if (!r)
		return 0;
	count(reason);
	if (host_id)
		count_host_refused(host_id);
	report(r, reason, host_id);
	set_errno(r);
	return 0;
}

/* For packets. The sender sees a packet that is lost, not an errno. */
__noinline int drop(const struct request *r, __u32 reason, const struct egress_socket *socket)
{
	if (!r)
		return 0;
	count(reason);
	report_packet(r, reason, socket);
	return 0;
}

#endif
