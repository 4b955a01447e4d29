/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The specification that the kernel programs and user space share: map keys and values,
 * limits, byte order, named verdicts. Everything here is pinned and survives us, so a change
 * of layout or meaning raises EGRESS_ABI_VERSION.
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Ports are in host order.
 * Structures have no implicit padding: they are compared and hashed as bytes.
 */
#ifndef EGRESS_ABI_H
#define EGRESS_ABI_H

#include <linux/types.h>

#define EGRESS_ABI_VERSION 5

/* The one list of reasons: kernel counters, log lines, refusal bodies and `why` all use it.
 * Order is ABI (counter indices); append only, before EGRESS_REASON_COUNT. */
#define EGRESS_REASONS(X)                                                                          \
	X(ALLOWED, "allowed")                                                                      \
	X(HOST_NOT_ALLOWED, "host_not_allowed")                                                    \
	X(ADDRESS_NOT_ALLOWED, "address_not_allowed")                                              \
	X(PORT_NOT_ALLOWED, "port_not_allowed")                                                    \
	X(PROTOCOL_NOT_ALLOWED, "protocol_not_allowed")                                            \
	X(PATH_NOT_ALLOWED, "path_not_allowed")                                                    \
	X(METHOD_NOT_ALLOWED, "method_not_allowed")                                                \
	X(HEADER_NOT_ALLOWED, "header_not_allowed")                                                \
	X(AMBIGUOUS_PATH, "ambiguous_path")                                                        \
	X(NAME_MISMATCH, "name_mismatch")                                                          \
	X(PLAINTEXT_AUTH, "plaintext_auth")                                                        \
	X(BAD_REQUEST, "bad_request")                                                              \
	X(TOO_LARGE, "too_large")                                                                  \
	X(LIMIT, "limit")                                                                          \
	X(PRIVATE_ADDRESS, "private_address")                                                      \
	X(UPSTREAM_UNRESOLVED, "upstream_unresolved")                                              \
	X(UPSTREAM_UNREACHABLE, "upstream_unreachable")                                            \
	X(UPSTREAM_CERTIFICATE, "upstream_certificate")                                            \
	X(UPSTREAM_TIMEOUT, "upstream_timeout")                                                    \
	X(UPSTREAM_PROTOCOL, "upstream_protocol")                                                  \
	X(ROUTE_REMOVED, "route_removed")                                                          \
	X(INTERNAL, "internal")                                                                    \
	X(SOCKET_NOT_ALLOWED, "socket_not_allowed")                                                \
	X(UPSTREAM_REFUSED, "upstream_refused")

enum egress_reason {
#define X(symbol, text) EGRESS_##symbol,
	EGRESS_REASONS(X)
#undef X
	EGRESS_REASON_COUNT
};

/* Counters beside the reasons, in the same per-CPU array from index EGRESS_REASON_COUNT on. */
enum egress_counter {
	EGRESS_COUNTER_STEERED = EGRESS_REASON_COUNT, /* connections steered to the proxy */
	EGRESS_COUNTER_DNS,			      /* queries' sockets steered to the responder */
	EGRESS_COUNTER_LOOPBACK,		      /* the bottle talking to itself */
	EGRESS_COUNTER_DIRECT,			      /* let out by a `direct: true` route */
	EGRESS_COUNTER_PROBE,	 /* UDP connect() to a known name: getaddrinfo sorting */
	EGRESS_COUNTER_LOST,	 /* denials the ring buffer had no room for */
	EGRESS_COUNTER_WIRE,	 /* frames dropped by the tc wall, either way; not in the ring buffer */
	EGRESS_COUNTER_COUNT
};

/* Which hook refused. */
enum egress_hook {
	EGRESS_HOOK_CONNECT,
	EGRESS_HOOK_SENDMSG,
	EGRESS_HOOK_SOCK_CREATE,
	EGRESS_HOOK_BIND,
	EGRESS_HOOK_EGRESS,
	EGRESS_HOOK_INGRESS,
	EGRESS_HOOK_SETSOCKOPT,
	EGRESS_HOOK_UNIX_OUT, /* the bottle, to a unix socket outside */
	EGRESS_HOOK_UNIX_IN,  /* a process outside, to one of the bottle */
};

#define EGRESS_MAX_PORTS 16	   /* ports of one host or one cidr */
#define EGRESS_MAX_PUBLISHED 16	   /* ports of the bottle that others may connect to */
#define EGRESS_MAX_ADDRESSES 131072 /* a /15 */
#define EGRESS_MAX_CIDRS 4096
#define EGRESS_MAX_FLOWS 65536
#define EGRESS_MAX_PEERS 16384
#define EGRESS_MAX_WIRES 64 /* that `status` can name; more are walled, too */
#define EGRESS_NAME_SIZE 256 /* a host name with its NUL (RFC 1035: 253 characters) */
#define EGRESS_COMM_SIZE 16  /* TASK_COMM_LEN */
#define EGRESS_RING_SIZE (256 * 1024)

struct egress_address {
	__u8 bytes[16];
} __attribute__((aligned(4))); /* at a multiple of 4 in every structure: copied as words */

/* map `settings`, ARRAY of 1: written by the supervisor before any link is attached. */
struct egress_settings {
	__u32 abi;		/* EGRESS_ABI_VERSION */
	__u32 shared_netns;	/* 1: the bottle shares the host's network namespace, no wall 0 */
	__u64 bottle_cgroup;	/* cgroup v2 id of the bottle */
	__u32 bottle_level;	/* its depth, for bpf_*_ancestor_cgroup_id */
	__u16 proxy_port;	/* on 127.0.0.1 and ::1 in the bottle's namespace */
	__u16 dns_port;
	__u32 published_count;
	__u16 published[EGRESS_MAX_PUBLISHED];
	__u32 supervisor_pid;	/* for `status` only; pids in the supervisor's namespace */
	__u64 started_ns;	/* CLOCK_REALTIME, for `status` only */
	__u8 policy_hash[16];	/* for `status` only */
	__u32 unix_wall;	/* EGRESS_UNIX_*; for `status` only */
	__u32 root_wall;	/* the same for what root may not ask of the kernel; 0 in older walls */
};

#define EGRESS_UNIX_WALLED 1u /* unix sockets outside are refused, too */
#define EGRESS_UNIX_UNABLE 2u /* they should be, but this kernel cannot */
#define EGRESS_UNIX_BROKERED 3u /* refused unless exec's broker calls; see unix_doors.bpf.c */

/* What may be reached at an address: the ports, steered to the proxy or let out directly. */
#define EGRESS_TARGET_DIRECT 1u	 /* let out through the bottle's own network */
#define EGRESS_TARGET_REMOVED 2u /* its route is gone; the address stays taken */
#define EGRESS_HOST_MANY 0xffffffffu	 /* dns.mode real: several names may share the address */
#define EGRESS_HOST_EXPLICIT 0xfffffffeu /* in a flow: the program chose the proxy itself */
struct egress_target {
	__u32 host_id; /* 0: a cidr route */
	__u16 flags;
	__u16 port_count;
	__u16 ports[EGRESS_MAX_PORTS];
};

/* map `addresses`, HASH struct egress_address -> struct egress_target: synthetic addresses. */

/* map `cidrs`, LPM_TRIE struct egress_cidr_key -> struct egress_target. The tc wall has one of its own
 * for each policy, frozen and not pinned. */
struct egress_cidr_key {
	__u32 prefix_length; /* of the 128-bit form: IPv4 /16 is 112 */
	struct egress_address address;
};

/* map `hosts`, HASH __u32 host_id -> struct egress_host. Ids start at 1, never reused. */
struct egress_host {
	struct egress_address address;
	char name[EGRESS_NAME_SIZE]; /* lower case, no trailing dot, NUL-terminated */
};

/* map `host_counters`, PERCPU_HASH __u32 host_id -> struct egress_host_counters; user space
 * creates the entry with the host, the kernel only adds. */
struct egress_host_counters {
	__u64 steered;
	__u64 refused;
};

/* map `counters`, PERCPU_ARRAY of EGRESS_COUNTER_COUNT __u64. */

/* map `verdicts`, ARRAY with BPF_F_MMAPABLE of EGRESS_REASON_COUNT __u64: what proxy and responder
 * decided, added up by the workers in shared memory, kept when they die. The programs do not use it. */
/* map `host_verdicts`, ARRAY with BPF_F_MMAPABLE of EGRESS_MAX_COUNTED_HOSTS, by host id. */
#define EGRESS_MAX_COUNTED_HOSTS 8192
struct egress_host_verdicts {
	__u64 allowed;
	__u64 refused;
	__u64 bytes_up;
	__u64 bytes_down;
};

/* map `flows`, HASH struct egress_flow_key -> struct egress_flow: who asked for what, written on the SYN.
 * Deleted by who accepts. Without one a connection to the proxy's loopback sockets is not the bottle's. */
struct egress_flow_key {
	__u64 netns_cookie;
	struct egress_address source;
	__u16 source_port;
	__u8 protocol; /* IPPROTO_TCP */
	__u8 padding[5];
};

/* A process as the kernel saw it at connect(): ids in the initial namespaces. */
struct egress_process {
	__u32 pid; /* thread id */
	__u32 tgid;
	__u32 uid;
	__u32 padding;
	char comm[EGRESS_COMM_SIZE];
};

struct egress_flow {
	struct egress_address destination; /* what the program asked for */
	__u16 destination_port;
	__u16 padding;
	__u32 host_id; /* 0: reached by a cidr route; EGRESS_HOST_MANY, EGRESS_HOST_EXPLICIT */
	struct egress_process process;
	__u64 socket; /* cookie of the socket that wrote the record, so that only it takes it back */
};

/* map `sockets`, SK_STORAGE: what connect() decided, read on the SYN and by getpeername. */
#define EGRESS_SOCKET_STEERED 1u  /* TCP: destination and host_id hold the original */
#define EGRESS_SOCKET_DNS 2u	  /* UDP or TCP 53: destination is the server that was asked */
#define EGRESS_SOCKET_LISTENER 4u /* ours; set by user space on the listening sockets */
#define EGRESS_SOCKET_BOTTLE 8u	  /* made in the bottle; only in a shared network namespace */
#define EGRESS_SOCKET_RECORDED 16u /* `key` names a record this socket wrote */
#define EGRESS_SOCKET_EXPLICIT 32u /* TCP: asked for the proxy itself; recorded, not masked */
#define EGRESS_SOCKET_WAITED 64u   /* its first SYN was dropped: see record_must_wait() */
struct egress_socket {
	struct egress_flow_key key; /* netns_cookie from connect() on, the rest from the SYN on */
	struct egress_flow flow;
	__u32 flags;
	__u32 padding;
};

/* map `peers`, LRU_HASH struct egress_peer -> __u8: who came to a published port, past the tc wall.
 * Only what answers them may leave. Frozen for system calls. Port 0: an on-link neighbour that asked
 * for the bottle's link address. Evicting is harmless: the peer's next packet makes it anew. */
struct egress_peer {
	struct egress_address address;
	__u16 port;
	__u16 published;
};

/* map `wires`, ARRAY of EGRESS_MAX_WIRES: interfaces of the bottle's namespace that lead out of it, as
 * the supervisor last saw them; for `status` only. */
#define EGRESS_WIRE_WALLED 1u  /* by programs on `outside`; ask their pins whether it still holds */
#define EGRESS_WIRE_FOREIGN 2u /* no outside end that we could reach */
#define EGRESS_WIRE_FAILED 3u
struct egress_wire {
	__u32 state;   /* 0: no entry */
	__u32 inside;  /* interface index in the bottle's namespace */
	__u32 outside; /* that of its peer in the supervisor's namespace, or 0 */
	char name[16]; /* IFNAMSIZ; chosen by the bottle */
	char kind[16]; /* "veth", "macvlan", ...; empty for a device of hardware */
};

/* map `denials`, RINGBUF of struct egress_denial. */
struct egress_denial {
	__u64 time_ns; /* CLOCK_BOOTTIME or, before 5.8, CLOCK_MONOTONIC */
	struct egress_address destination;
	__u16 destination_port;
	__u8 protocol; /* IPPROTO_*; for sock_create the protocol asked for */
	__u8 hook;     /* enum egress_hook */
	__u32 reason;  /* enum egress_reason */
	__u32 host_id;
	__u32 padding;
	struct egress_process process;
};

struct egress_unix_denial {
	struct egress_denial denial; /* with one of the two hooks of unix sockets */
	char path[112]; /* sun_path of who was called: 108 octets, with no NUL when it is full */
};

/* map `let_in`, HASH struct egress_unix_file -> __u8: who outside may be called, and may call. */
#define EGRESS_MAX_LET_IN 256
struct egress_unix_file { /* the kernel's numbers, not those of stat(2) */
	__u64 inode;
	__u32 device, padding; /* major << 20 | minor */
};

#endif
