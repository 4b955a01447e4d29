/* SPDX-License-Identifier: BSD-2-Clause */
/* The listening sockets of a bottle, opened inside its network namespace. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "address.h"
#include "attributes.h"
#include "diag.h"
#include "host_port.h"

#define SOCKETS_MAX 4
#define SOCKETS_PROXY_PORT 9099
#define SOCKETS_DNS_PORT 9053

struct sockets {
	int proxy[SOCKETS_MAX], dns_udp[SOCKETS_MAX], dns_tcp[SOCKETS_MAX];
	int host[HOST_PORT_MAX]; /* as in the options */
	size_t host_count;
	size_t proxy_count, dns_count; /* as many for UDP as for TCP */
	uint16_t proxy_port, dns_port;
	int reserve_result; /* 0, or -errno: the ports are not reserved (a read-only /proc, say) */
};

/* Where to listen. */
struct sockets_place {
	struct egress_address address;
	uint16_t port; /* 0: nothing was said */
};

struct sockets_options {
	int netns_fd;	    /* -1: the namespace we are in */
	struct sockets_place listen; /* without a port: SOCKETS_PROXY_PORT on loopback */
	bool wall;	    /* loopback sockets and the DNS responder; else only `listen` */
	bool reserve;	    /* the namespace is the bottle's own: see below */
	uint16_t dns_port;  /* to try first; 0: the default */
	const struct host_port *host_ports; /* to listen at on 127.0.0.1 */
	size_t host_port_count;
};

/* Opens the sockets and brings the namespace's `lo` up. What is accepted at them has TCP_NODELAY and
 * SO_KEEPALIVE. When [::1] is not to be had only IPv4 is
 * served: steered IPv6 then meets a closed port. A taken proxy port is an error; a taken DNS port
 * is replaced by a free one. With `reserve` the kernel gives our ports to nobody who asks for any
 * port (net.ipv4.ip_local_reserved_ports), so that they are free when we come back; what was
 * reserved stays. When that fails only reserve_result says so. A bottle's namespace without any IPv4
 * address but loopback's gets 192.0.0.8, so that programs look names up. Caller frees: sockets_close(). */
int sockets_open(const struct sockets_options *options, struct sockets *ret, struct error *error)
	WARN_UNUSED;
void sockets_close(struct sockets *sockets);
/* Who has CAP_NET_ADMIN over the namespace may end the listening of any socket in there (SOCK_DESTROY,
 * sock_diag(7)). Those of ours that did end listen again, at the same port. How many these are, or -errno
 * of one that cannot (its port is another's meanwhile); to be called now and then. */
int sockets_relisten(const struct sockets *sockets) WARN_UNUSED;
/* "ADDR:PORT" or "[ADDR6]:PORT", in numbers. */
bool sockets_parse_place(const char *text, struct sockets_place *ret) WARN_UNUSED;
/* The same; port 0 is none. */
bool sockets_parse_listen(const char *text, struct sockets_place *ret) WARN_UNUSED;

/* A listening socket (SOCK_STREAM, O_NONBLOCK, FD_CLOEXEC) at `address`, which is `where` in the words
 * of whoever asked; the port that the kernel chose takes the place of port 0 in it. The descriptor, or
 * -1 with `error` set. */
int sockets_listen(const char *where, struct sockaddr *address, socklen_t size, struct error *error)
	WARN_UNUSED;
/* SO_NETNS_COOKIE (Linux 5.14) of any socket: a number of the network namespace that it is of, which no
 * other gets until the next boot; 0 when there is none. */
uint64_t sockets_netns_cookie(int fd);

#endif
