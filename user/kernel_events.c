// SPDX-License-Identifier: BSD-2-Clause
/* What the programs tell: flow records and denials. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

int kernel_flows_fd(const struct kernel *kernel)
{
	return kernel->maps[KERNEL_MAP_FLOWS];
}

int kernel_verdicts_fd(const struct kernel *kernel)
{
	return kernel->maps[KERNEL_MAP_VERDICTS];
}

int kernel_host_verdicts_fd(const struct kernel *kernel)
{
	return kernel->maps[KERNEL_MAP_HOST_VERDICTS];
}

/* In one step, so that a record which the port's next user writes meanwhile is not lost. Needs no
 * privilege since Linux 6.0; before, CAP_BPF while kernel.unprivileged_bpf_disabled is set. */
int kernel_take_flow(int flows_fd, const struct egress_flow_key *key, struct egress_flow *ret_flow)
{
	struct egress_flow flow;

	if (bpf_map_lookup_and_delete_elem(flows_fd, key, &flow) < 0)
		return errno == ENOENT ? 0 : -1;
	*ret_flow = flow;
	return 1;
}

/* The next key is asked for before one is deleted: behind a key that is gone the walk would begin anew. It
 * does when a socket takes its own record back meanwhile, and may so go on for ever: hence the limit. */
int kernel_forget_flows(const struct kernel *kernel, struct error *error)
{
	int fd = kernel->maps[KERNEL_MAP_FLOWS], end;
	struct egress_flow_key key, next;

	end = bpf_map_get_next_key(fd, NULL, &next);
	for (size_t left = 4 * EGRESS_MAX_FLOWS; end == 0 && left > 0; left--) {
		key = next;
		end = bpf_map_get_next_key(fd, &key, &next);
		(void)bpf_map_delete_elem(fd, &key);
	}
	if (end == -ENOENT)
		return 0;
	return error_set(error, "map 'flows': cannot be emptied: %s",
			 end == 0 ? "it is filled all the time" : strerror(-end));
}

static bool is_unix(const struct egress_denial *denial)
{
	return denial->hook == EGRESS_HOOK_UNIX_OUT || denial->hook == EGRESS_HOOK_UNIX_IN;
}

/* A size that we do not know is skipped, not an error: it must not stop the reading of others.
 * -EAGAIN ends this round and leaves the rest in the ring. */
static int on_denial(void *context, void *data, size_t size)
{
	struct kernel *kernel = context;

	if (size < sizeof(struct egress_denial) ||
	    (is_unix(data) && size < sizeof(struct egress_unix_denial)))
		return 0;
	kernel->each_denial(kernel->each_denial_context, data);
	return ++kernel->denials_read < KERNEL_DENIALS_AT_ONCE ? 0 : -EAGAIN;
}

static bool open_ring(struct kernel *kernel)
{
	libbpf_print_fn_t previous;

	if (kernel->ring)
		return true;
	previous = libbpf_set_print(NULL); /* what is to be said we say */
	kernel->ring = ring_buffer__new(kernel->maps[KERNEL_MAP_DENIALS], on_denial, kernel, NULL);
	libbpf_set_print(previous);
	return kernel->ring != NULL;
}

int kernel_denials_fd(struct kernel *kernel)
{
	return open_ring(kernel) ? ring_buffer__epoll_fd(kernel->ring) : -1;
}

int kernel_read_denials(struct kernel *kernel,
			void (*each)(void *context, const struct egress_denial *denial),
			void *context)
{
	if (!open_ring(kernel))
		return -1;
	kernel->each_denial = each;
	kernel->each_denial_context = context;
	kernel->denials_read = 0;
	/* Our own -EAGAIN comes back as an error, too: after a full round it is none. */
	if (ring_buffer__consume(kernel->ring) < 0 && kernel->denials_read < KERNEL_DENIALS_AT_ONCE)
		return -1;
	return kernel->denials_read;
}
