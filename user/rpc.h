/* SPDX-License-Identifier: BSD-2-Clause */
/* What supervisor and worker say to each other, over two SOCK_SEQPACKET pairs:
 *   calls:   the worker asks and waits (short, local, bounded by a timeout);
 *   control: the supervisor tells, the worker answers when it has done so.
 * The supervisor trusts no field: every name is judged against its own policy. */
#ifndef RPC_H
#define RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/egress_abi.h"
#include "ask.h"
#include "attributes.h"
#include "bytes.h"

/* ---- calls: the worker's side --------------------------------------------------------------- */

struct rpc_host {
	uint32_t id;
	uint32_t reason; /* enum egress_reason: EGRESS_ALLOWED, or why it has no address */
	struct egress_address address;
	char name[EGRESS_NAME_SIZE];
};
/* The address bound to a name, bound now if it is new. 0, or -1 when the supervisor is gone;
 * refusals are in ret->reason. */
int rpc_bind_name(int fd, const char *name, struct rpc_host *ret) WARN_UNUSED;
/* The name bound to a host id; reason is EGRESS_INTERNAL when there is none. */
int rpc_host_by_id(int fd, uint32_t id, struct rpc_host *ret) WARN_UNUSED;
#define RPC_MAX_ADDRESSES 64
/* dns.mode real: lets the name's real addresses through to the proxy; the first 64 of them. */
int rpc_bind_addresses(int fd, const char *name, const struct egress_address *addresses,
		       size_t count, struct rpc_host *ret) WARN_UNUSED;
/* A leaf certificate; appends its DER. -1 also when the supervisor refuses. */
int rpc_sign_leaf(int fd, const char *host, struct span public_key, struct bytes *ret_der)
	WARN_UNUSED;

/* What the bottle asks for; and what became of that. -1: the supervisor is gone. */
int rpc_ask(int fd, const struct ask *ask, struct ask_answer *ret) WARN_UNUSED;
int rpc_ask_state(int fd, const char *id, struct ask_answer *ret) WARN_UNUSED;

/* ---- calls: the supervisor's side ----------------------------------------------------------- */

/* What is NULL, but for sign_leaf, is refused as internal. */
struct rpc_service {
	void (*bind_name)(void *context, const char *name, struct rpc_host *ret);
	void (*host_by_id)(void *context, uint32_t id, struct rpc_host *ret);
	void (*bind_addresses)(void *context, const char *name,
			       const struct egress_address *addresses, size_t count,
			       struct rpc_host *ret);
	void (*ask)(void *context, const struct ask *ask, struct ask_answer *ret);
	void (*ask_state)(void *context, const char *id, struct ask_answer *ret);
	int (*sign_leaf)(void *context, const char *host, struct span public_key,
			 struct bytes *ret_der);
	void *context;
};
/* Answers one call; blocks only as `fd` does, and never to send. 1 answered (or nothing there to
 * read), 0 the worker closed, -1 a malformed call or replies not taken: kill the worker. */
int rpc_serve(int fd, const struct rpc_service *service) WARN_UNUSED;

/* ---- control -------------------------------------------------------------------------------- */

enum rpc_control_type {
	RPC_CONTROL_CONFIG = 1, /* to the worker; a memfd with config_pack()'s blob is attached, and the
				 * text of the first is tickets_format()'s */
	RPC_CONTROL_DONE,	/* from the worker: in force (or, first, ready to serve) */
	RPC_CONTROL_FAILED,	/* from the worker: text says why; the old one stays in force */
	RPC_CONTROL_STOP,	/* to the worker: finish what is under way, then exit */
	RPC_CONTROL_PING,	/* to the worker: are you there? */
	RPC_CONTROL_PONG,	/* from the worker: yes */
	RPC_CONTROL_LOG,	/* to the worker: write the log to the descriptor attached from now on */
	RPC_CONTROL_AHEAD,	/* to the worker: a memfd with config_pack_sources()'s blob, which the
				 * next RPC_CONTROL_CONFIG may begin with; none: it does not. No answer */
};
struct rpc_control {
	uint32_t type;
	char text[508];
};
/* `fd_to_send` -1 for none; only RPC_CONTROL_CONFIG, _LOG and _AHEAD carry one. Never blocks. 0 or -errno. */
int rpc_control_send(int fd, const struct rpc_control *message, int fd_to_send) WARN_UNUSED;
/* 1 received (ret_fd is the caller's, -1 when none came), 0 peer closed, -errno; -EPROTO for what
 * is malformed, with every descriptor of it closed. Blocks as `fd` does. */
int rpc_control_receive(int fd, struct rpc_control *ret_message, int *ret_fd) WARN_UNUSED;

#endif
