/* SPDX-License-Identifier: BSD-2-Clause */
/* Who asked for what: the kernel's flow record of an accepted connection, with the host's name. */
#ifndef IDENTIFY_H
#define IDENTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "address.h"
#include "attributes.h"
#include "host_port.h"

enum identity_kind {
	IDENTITY_EXPLICIT, /* the program chose the proxy; a name comes with CONNECT */
	IDENTITY_STRANGER, /* no record, on loopback: not the bottle's, serve nothing */
	IDENTITY_NAME,	   /* steered by a bound address: `host` is what the kernel knows */
	IDENTITY_ADDRESS,  /* steered by a cidr route: `address` is all there is */
	IDENTITY_HOST_PORT, /* accepted at a port that leads to the host's `address` and `port` */
	IDENTITY_UNNAMED,  /* dns.mode real: an address of allowed names; SNI and Host must tell */
};
struct identity {
	enum identity_kind kind;
	char host[EGRESS_NAME_SIZE];
	uint32_t host_id; /* 0 when the kernel did not say */
	uint16_t port; /* destination; 0 for explicit */
	struct egress_address address;
	bool has_process;
	struct egress_process process;
};

/* A connection, as accept4(2) tells of it. */
struct accepted {
	int fd;
	struct sockaddr_storage peer;
	uint64_t netns_cookie; /* of the listening socket, and so of this one; 0: unknown */
};

struct identify;
/* `flows_fd` -1: no kernel wall, everything is explicit. So is what comes without a record to an
 * address that is not loopback: the operator asked for that with --listen. Both descriptors are borrowed. */
struct identify *identify_new(int flows_fd, int calls_fd) WARN_UNUSED;
/* What is accepted at these ports of loopback is for the host. Borrowed. */
void identify_host_ports(struct identify *identify, const struct host_port *ports, size_t count);
void identify_free(struct identify *identify);
/* Takes the record of an accepted socket. -1 when a record names a host that nobody knows or when
 * the look-up failed: close the connection. */
int identify_accepted(struct identify *identify, const struct accepted *accepted,
		      struct identity *ret) WARN_UNUSED;
/* The id of an allowed name that came by CONNECT or absolute-form; the supervisor binds it when it
 * is new. 0 when there is none, or no wall. */
uint32_t identify_host_id(struct identify *identify, const char *name);

#endif
