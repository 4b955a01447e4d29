/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel wall: probe, load, attach, pin, adopt, verify, and its maps. The only module that
 * includes the skeleton. Every function that can fail returns -1 and sets `error`. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/egress_abi.h"
#include "address.h"
#include "attributes.h"
#include "diag.h"

#define KERNEL_PIN_ROOT "/sys/fs/bpf/egress-bpf"

struct kernel;

/* "NAME" as it may appear in a pin path: 1 to 64 of [A-Za-z0-9._-], not starting with '.'. */
bool kernel_name_valid(const char *name);

/* What stands between the bottle and the world, from the pins alone. */
struct kernel_open_options {
	const char *name;	  /* pins live in KERNEL_PIN_ROOT/NAME */
	const char *cgroup_path;  /* the bottle's cgroup v2 directory */
	bool shared_netns;
	uint64_t spared_cgroup;	  /* below it, and not walled: our own; 0: none */
	const uint16_t *published;
	size_t published_count;
	uint32_t supervisor_pid;
	uint8_t policy_hash[16];
	/* Unix sockets: none outside but `let_in` may be called from the bottle, and none inside from
	 * elsewhere. Only for a new wall. On a kernel that cannot there is none of that, and
	 * kernel_unix_missing() says so, unless it is required. */
	bool unix_wall, unix_wall_required;
	/* How many names a new wall has room for, and with that little of everything else: what has no
	 * wires, ends with us and is adopted by nobody. 0: as much as any policy may need. Room for
	 * all takes longer to make than everything else of a short command. */
	uint32_t host_room;
	/* Somebody stands ready to make the bottle's connections to unix sockets for it, should
	 * kernel_unix_brokered() say that this kernel needs it. */
	bool unix_broker;
	const struct egress_unix_file *let_in;
	size_t let_in_count;
	/* Whatever its capabilities, the bottle makes no sockets but unix, internet and netlink ones, no
	 * links by the id of another namespace, and no bpf(2) but what limits devices. Where the kernel
	 * takes programs at its security hooks; kernel_root_walled() tells. */
	bool root_wall;
	uint32_t pid_namespace; /* the bottle's, by inode, for who leaves the cgroup; 0: it shares ours */
};

/* The first half: makes bpffs available (mounts it when it is missing), and makes the maps, or opens
 * those of NAME's pins: then a wall stands already, and goes on as it does. With nothing of a new wall
 * in force, others can begin what needs its maps. Holds a lock on the pin directory: a second one of
 * a live NAME fails and names its pid. */
int kernel_prepare(const struct kernel_open_options *options, struct kernel **ret_kernel,
		   struct error *error) WARN_UNUSED;
/* The second, with the same options: loads every program, and either attaches and pins links and maps,
 * or adopts: each link's program is replaced by bpf_link_update(). On failure nothing new stays behind
 * and a wall that stood stands; kernel_close() is the caller's. The wall is up, and denies everything,
 * when this returns; ports come with set_ports. */
int kernel_raise(struct kernel *kernel, const struct kernel_open_options *options,
		 struct error *error) WARN_UNUSED;
/* Both. */
int kernel_open(const struct kernel_open_options *options, struct kernel **ret_kernel,
		struct error *error) WARN_UNUSED;
/* Whether the wall stood before kernel_prepare(): then a failed start must leave it standing. */
bool kernel_adopted(const struct kernel *kernel);
bool kernel_root_walled(const struct kernel *kernel);
/* Why there is no wall for unix sockets although it was asked for; NULL when nothing is missing. */
const char *kernel_unix_missing(const struct kernel *kernel);
/* The bottle cannot call any unix socket by itself; whoever is outside of its cgroup can for it. */
bool kernel_unix_brokered(const struct kernel *kernel);
/* Closes our handles; the pinned wall stays. Also frees, and gives up the lock on NAME. Accepts
 * NULL. */
void kernel_close(struct kernel *kernel);
/* Where the bottle's connections go. Ports of our listening sockets, host order. */
int kernel_set_ports(struct kernel *kernel, uint16_t proxy_port, uint16_t dns_port,
		     struct error *error) WARN_UNUSED;
/* The ports an adopted wall used last; 0 when it is new. */
void kernel_get_ports(const struct kernel *kernel, uint16_t *ret_proxy, uint16_t *ret_dns);
/* For `status` alone: nothing is decided by it. */
int kernel_set_policy_hash(struct kernel *kernel, const uint8_t hash[16], struct error *error);
/* Marks a listening socket as ours: connections to our ports pass to no other, and in a shared
 * namespace they pass to it at all. */
int kernel_mark_listener(struct kernel *kernel, int socket_fd, struct error *error) WARN_UNUSED;

/* ---- hosts and addresses ------------------------------------------------------------------ */

struct kernel_host {
	uint32_t id;
	struct egress_address address;
	char name[EGRESS_NAME_SIZE];
};
/* Binds a synthetic address to a name and opens `ports` at it. `id` and address must be new.
 * Host entry and counters first, address last, so that a half-done binding refuses. */
int kernel_bind_host(struct kernel *kernel, const struct kernel_host *host, const uint16_t *ports,
		     size_t port_count, struct error *error) WARN_UNUSED;
/* Replaces the ports of a bound host; none marks it removed and refuses. */
int kernel_set_host_ports(struct kernel *kernel, const struct kernel_host *host,
			  const uint16_t *ports, size_t port_count, struct error *error) WARN_UNUSED;
/* dns.mode real: opens the union of `ports` and those already open at an address that several
 * names may share (EGRESS_HOST_MANY). */
int kernel_bind_shared(struct kernel *kernel, const struct egress_address *address,
		       const uint16_t *ports, size_t port_count, struct error *error) WARN_UNUSED;
/* The same, but these ports and no others; none removes the address. */
int kernel_set_shared(struct kernel *kernel, const struct egress_address *address,
		      const uint16_t *ports, size_t port_count, struct error *error) WARN_UNUSED;
/* Removes every address bound by kernel_bind_shared(). */
int kernel_forget_shared(struct kernel *kernel, struct error *error) WARN_UNUSED;
/* Calls back for each host the maps know, in no order; stops when the callback returns non-zero
 * and returns that. */
int kernel_each_host(const struct kernel *kernel,
		     int (*each)(void *context, const struct kernel_host *host), void *context);
/* Replaces the whole set of cidr routes: first what is no longer there is removed, then the new
 * are added; the wires' programs come last. */
int kernel_set_cidrs(struct kernel *kernel, const struct egress_cidr_key *keys,
		     const struct egress_target *targets, size_t count, struct error *error)
	WARN_UNUSED;

/* ---- flows: the worker's side, with nothing but the map's descriptor ----------------------- */

int kernel_flows_fd(const struct kernel *kernel); /* borrowed */
/* Reads and deletes the record of one accepted connection. 1 found, 0 none, -1 failed. */
int kernel_take_flow(int flows_fd, const struct egress_flow_key *key, struct egress_flow *ret_flow)
	WARN_UNUSED;
/* Of connections that nobody will accept any more, since who listened is gone: without its record a
 * connection is nobody's. Call it before any listening socket is marked. */
int kernel_forget_flows(const struct kernel *kernel, struct error *error) WARN_UNUSED;

/* Maps that the worker maps into its memory and counts in; borrowed. */
int kernel_verdicts_fd(const struct kernel *kernel);
int kernel_host_verdicts_fd(const struct kernel *kernel);

/* ---- the tc wall: the host's ends of the bottle's wires ------------------------------------ */

/* Puts the programs for both directions in force on an interface of our own namespace, and pins
 * them. 0 at once when they stand already. They let pass what kernel_set_cidrs() said last. */
int kernel_wall_wire(struct kernel *kernel, uint32_t ifindex, struct error *error) WARN_UNUSED;
/* What `status` is to show, instead of what was set before; at most EGRESS_MAX_WIRES. Also forgets
 * the pins of interfaces that are no more. */
int kernel_set_wires(struct kernel *kernel, const struct egress_wire *wires, size_t count,
		     struct error *error) WARN_UNUSED;

/* ---- denials ------------------------------------------------------------------------------ */

/* The ring buffer's pollable descriptor (borrowed), and its events: returns how many were handed
 * over, or -1. At most KERNEL_DENIALS_AT_ONCE: a bottle that makes them faster than we read keeps
 * nobody from other work. What is left makes the descriptor ready again. */
#define KERNEL_DENIALS_AT_ONCE 256
/* For one loop only: the ring buffer has a single reader's position. -1 when it cannot be
 * opened. */
int kernel_denials_fd(struct kernel *kernel);
int kernel_read_denials(struct kernel *kernel,
			void (*each)(void *context, const struct egress_denial *denial),
			void *context);

/* ---- status, from pins alone, also when everything of ours is dead ------------------------- */

struct kernel_host_status {
	struct kernel_host host;
	struct egress_host_counters counters;
	struct egress_host_verdicts verdicts;
	bool removed;
};
struct kernel_status {
	char name[65];
	struct egress_settings settings;
	uint64_t counters[EGRESS_COUNTER_COUNT];  /* the kernel's */
	uint64_t verdicts[EGRESS_REASON_COUNT];	  /* the proxy's and the responder's */
	struct kernel_host_status *hosts;
	size_t host_count;
	/* every program by name, and whether its link is pinned and attached to the cgroup */
	struct kernel_link_status {
		char name[32];
		bool attached;
	} links[24];
	size_t link_count;
	struct kernel_wire_status {
		struct egress_wire wire;
		bool walled; /* as the pins have it */
	} wires[EGRESS_MAX_WIRES];
	size_t wire_count;
	size_t walled_ends; /* also those whose inner end is out of sight by now */
	bool cgroup_alive;	/* the bottle's cgroup still exists */
	uint32_t supervisor_pid; /* 0 when nobody holds the lock */
};
/* Names under KERNEL_PIN_ROOT, NULL-terminated; free each and the array. NULL when there are none
 * (errno ENOENT) or one cannot look. */
char **kernel_list(void) WARN_UNUSED;
/* A snapshot, counter by counter, while the wall goes on counting. Needs no lock, so it works
 * beside a living supervisor. Free with kernel_status_free(); untouched on failure. */
int kernel_read_status(const char *name, struct kernel_status *ret_status, struct error *error)
	WARN_UNUSED;
/* How full a table of the wall is. */
struct kernel_fill {
	const char *map; /* "addresses", ... */
	uint64_t entries, limit;
};
#define KERNEL_FILLS 3
/* Returns how many of them could be read; also of a wall whose sidecar is dead. */
size_t kernel_read_fill(const char *name, struct kernel_fill ret[KERNEL_FILLS]);

void kernel_status_free(struct kernel_status *status);
/* Whether NAME has a directory of pins: a wall, whoever serves it, or what is left of one. */
bool kernel_pinned(const char *name);
/* Takes the wall down: unpins everything of NAME. Refuses while a supervisor lives, unless
 * `force`. 1 when there was nothing. */
int kernel_detach(const char *name, bool force, struct error *error) WARN_UNUSED;
/* The same for a bottle whose cgroup is gone. 2 while its wires stand, and then nothing is done: somebody
 * may be behind them who left the cgroup before it was removed. With `wait` they have 3 s to follow it. */
int kernel_detach_ended(const char *name, bool wait, struct error *error) WARN_UNUSED;
/* Unpins everything of NAME, whose cgroup was removed just now and which had no wires. Its programs end
 * a moment later, by the kernel's own hand. */
int kernel_let_go(const char *name, struct error *error) WARN_UNUSED;

/* ---- for the self-test ---------------------------------------------------------------------- */

/* What this kernel can do, found by loading. */
struct kernel_probe {
	bool set_retval; /* refusals can choose their errno */
	struct kernel_probe_program {
		char name[32];
		const char *since; /* the first Linux that has its hook */
		int error;	   /* 0: it loads */
	} programs[24];
	size_t program_count;
};
/* Loads and forgets: attaches and pins nothing. Cannot fail; what does not load is the finding. */
void kernel_probe(struct kernel_probe *ret);
/* Whether this kernel can hold unix sockets apart: 0 by itself, 1 with a broker; the reason for that is
 * in `error`, as it is for -1. */
int kernel_unix_probe(struct error *error);
/* Sums of all CPUs, by enum egress_reason and then enum egress_counter. One alone: 0 or -errno, and then the
 * sum stays as it was. */
int kernel_read_counter(const struct kernel *kernel, uint32_t index, uint64_t *ret_sum) WARN_UNUSED;
int kernel_read_counters(const struct kernel *kernel, uint64_t ret_counters[EGRESS_COUNTER_COUNT],
			 struct error *error) WARN_UNUSED;
/* Takes `amount` off a counter, while the wall goes on counting. */
int kernel_uncount(struct kernel *kernel, uint32_t index, uint64_t amount, struct error *error)
	WARN_UNUSED;

#endif
