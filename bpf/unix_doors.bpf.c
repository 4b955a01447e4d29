// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The second best wall between the unix sockets of one bottle and all others, for kernels that take
 * no programs at their security hooks but know those on the cgroup (Linux 6.7). These run before the
 * kernel has found the other end, so they cannot judge it: no process of the bottle may name a unix
 * address at all. exec's broker, which is outside of the cgroup, names it for them once it has found
 * who is there (user/bottle_broker.c). A datagram on a connected socket names nobody, and passes.
 *
 * No structure of the kernel is read, not even the context: neither BTF nor its layout is needed.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "refuse.bpf.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Refuses even when the event is lost. ECONNREFUSED, since a socket file that an earlier program left
 * behind gets here, too, and that is the error at which programs replace it. */
static __always_inline int refuse_naming(void)
{
	struct egress_unix_denial *event;

	count(EGRESS_SOCKET_NOT_ALLOWED);
	bpf_set_retval(-111 /* ECONNREFUSED */);
	event = bpf_ringbuf_reserve(&denials, sizeof(*event), 0);
	if (!event) {
		count(EGRESS_COUNTER_LOST);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->denial.time_ns = bpf_ktime_get_boot_ns();
	event->denial.hook = EGRESS_HOOK_UNIX_OUT;
	event->denial.reason = EGRESS_SOCKET_NOT_ALLOWED;
	process_read(&event->denial.process);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The socket is the bottle's, or we would not be called: a link on a cgroup goes by the socket. */
static __always_inline int judge(void)
{
	const struct egress_settings *s = current_settings();

	if (s && bpf_get_current_ancestor_cgroup_id((int)s->bottle_level) != s->bottle_cgroup)
		return 1;
	return refuse_naming();
}

/* Loaded as BPF_CGROUP_UNIX_CONNECT and BPF_CGROUP_UNIX_SENDMSG, which this libbpf has no section
 * for. */
SEC("cgroup/connect4")
int unix_connect(struct bpf_sock_addr *ctx)
{
	(void)ctx;
	return judge();
}

SEC("cgroup/sendmsg4")
int unix_send(struct bpf_sock_addr *ctx)
{
	(void)ctx;
	return judge();
}
