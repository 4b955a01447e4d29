/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* connect(), unconnected datagrams and bind(): decide, remember, steer. */
#ifndef ADDRESS_HOOKS_BPF_H
#define ADDRESS_HOOKS_BPF_H

#include "decide.bpf.h"
#include "owner.bpf.h"
#include "refuse.bpf.h"
#include "socket.bpf.h"
#include "spared.bpf.h"

/* Where to go instead; port 0: as asked. */
struct steering {
	struct egress_address address;
	__u16 port;
};

/* Fails closed: without storage for the socket, or before user space has told its ports, there is
 * nobody who could say later what was asked for, so nothing is steered. */
static __always_inline int steer(struct bpf_sock_addr *ctx, const struct request *r,
				 const struct verdict *v, const struct egress_settings *s,
				 struct steering *to)
{
	bool dns = v->action == STEER_DNS;
	struct egress_socket *socket = socket_make(ctx);

	to->port = dns ? s->dns_port : s->proxy_port;
	to->address = our_address(&r->destination);
	if (!socket || !to->port)
		return refuse(r, EGRESS_INTERNAL, v->host_id);
	socket->flags &= EGRESS_SOCKET_BOTTLE; /* an unconnected socket may have asked before */
	socket_remember(ctx, socket, r, v->host_id,
			dns ? EGRESS_SOCKET_DNS : EGRESS_SOCKET_STEERED);
	count(dns ? EGRESS_COUNTER_DNS : EGRESS_COUNTER_STEERED);
	if (v->host_id)
		count_host_steered(v->host_id);
	return 1;
}

/* Who uses the proxy knowingly leaves a record as well: the proxy serves the bottle alone, and
 * others may share its loopback. */
static __always_inline bool remember_explicit(struct bpf_sock_addr *ctx, const struct request *r)
{
	struct egress_socket *socket = socket_make(ctx);

	if (socket)
		socket_remember(ctx, socket, r, EGRESS_HOST_EXPLICIT, EGRESS_SOCKET_EXPLICIT);
	return socket;
}

/* In a shared namespace loopback is the host's, and its services are nobody's business in the
 * bottle: told here at once, and again on the SYN, where nothing can change any more. */
static __always_inline int pass_loopback(struct bpf_sock_addr *ctx, const struct request *r,
					 const struct egress_settings *s)
{
	if (s->shared_netns && r->protocol == IPPROTO_TCP &&
	    listener_owner(ctx, r) == OWNER_OTHER)
		return refuse(r, EGRESS_ADDRESS_NOT_ALLOWED, 0);
	if (r->protocol == IPPROTO_TCP && r->port == s->proxy_port && !remember_explicit(ctx, r))
		return refuse(r, EGRESS_INTERNAL, 0);
	count(EGRESS_COUNTER_LOOPBACK);
	return 1;
}

/* The whole of connect() and of an unconnected sendmsg(). 1 lets the call go on, to `to` where its
 * port is set; 0 refuses it, counted and reported. */
static __always_inline int carry_out(struct bpf_sock_addr *ctx, const struct request *r,
				     struct steering *to)
{
	const struct egress_settings *s = current_settings();
	struct verdict v = {};

	if (task_spared())
		return 1;
	if (!s)
		return refuse(r, EGRESS_INTERNAL, 0);
	decide(r, &v);
	switch (v.action) {
	case STEER_DNS:
	case STEER_PROXY:
		return steer(ctx, r, &v, s, to);
	case PASS_LOOPBACK:
		return pass_loopback(ctx, r, s);
	case PASS_DIRECT:
		count(EGRESS_COUNTER_DIRECT);
		return 1;
	case REFUSE_QUIETLY:
		count(EGRESS_COUNTER_PROBE);
		set_errno(r);
		return 0;
	}
	return refuse(r, v.reason, v.host_id);
}

/* A socket may connect() again (AF_UNSPEC, or after a failure): it must not keep the destination it
 * was given before. */
static __always_inline int on_connect(struct bpf_sock_addr *ctx, const struct request *r,
				      struct steering *to)
{
	socket_reset(ctx);
	return carry_out(ctx, r, to);
}

/* Port 0 is never ours: bind() uses it for 'any', and the settings have it until we listen. */
static __always_inline bool port_is_ours(const struct egress_settings *s, __u16 port)
{
	return port && (port == s->proxy_port || port == s->dns_port);
}

/* In a shared namespace: others may share their port (SO_REUSEADDR, SO_REUSEPORT), and who does so
 * chooses which of the sockets there gets a packet, after we have looked. Without bpf_set_retval() a
 * port that is simply in use would not look like that to programs that then try another. */
static __always_inline bool port_is_others(struct bpf_sock_addr *ctx, const struct request *r,
					   const struct egress_settings *s)
{
	return has_set_retval && s->shared_netns && r->port &&
	       listener_owner(ctx, r) == OWNER_OTHER;
}

/* So that nobody in the bottle takes the place of a proxy that is down, and gets what is steered to
 * it. */
static __always_inline int on_bind(struct bpf_sock_addr *ctx, const struct request *r)
{
	const struct egress_settings *s = current_settings();

	if (task_spared())
		return 1;
	if (!s)
		return refuse(r, EGRESS_INTERNAL, 0);
	if (port_is_ours(s, r->port))
		return refuse(r, EGRESS_PORT_NOT_ALLOWED, 0);
	if (port_is_others(ctx, r, s)) {
		bpf_set_retval(-98 /* EADDRINUSE */);
		return 0;
	}
	return 1;
}

#endif
