/* SPDX-License-Identifier: BSD-2-Clause */
/* IP addresses as the kernel programs see them: 16 bytes, IPv4 mapped. Calls nothing of ours. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"

#define ADDRESS_TEXT_SIZE 64 /* "[v6]:port" with its NUL */

/* A block of addresses. */
struct cidr {
	struct egress_address address; /* host bits are zero */
	unsigned prefix_length;	       /* of the 128-bit form: IPv4 /16 is 112 */
};

bool address_parse(const char *text, struct egress_address *ret_address) WARN_UNUSED;
/* "10.0.0.0/8", "fd00::/8" or a bare address; false also when host bits are set. */
bool cidr_parse(const char *text, struct cidr *ret_cidr) WARN_UNUSED;
bool cidr_contains(const struct cidr *cidr, const struct egress_address *address);
bool address_is_loopback(const struct egress_address *address); /* 127/8 or ::1 */
bool address_is_v4(const struct egress_address *address);
/* Loopback, link-local, metadata, private, CGNAT, benchmark, multicast, reserved, and the same
 * inside NAT64, 6to4 and IPv4-compatible forms: nothing the proxy dials unless a route says so. */
bool address_is_private(const struct egress_address *address);

struct egress_address address_from_v4(uint32_t host_order);
uint32_t address_to_v4(const struct egress_address *address); /* host order; v4 only */
bool address_from_sockaddr(const struct sockaddr *sa, struct egress_address *ret_address,
			   uint16_t *ret_port) WARN_UNUSED;
/* AF_INET for mapped addresses, AF_INET6 otherwise. Returns the length. */
socklen_t address_to_sockaddr(const struct egress_address *address, uint16_t port,
			      struct sockaddr_storage *ret_sa);
/* "192.0.2.1" or "2001:db8::1" into `text`, which it returns. */
const char *address_format(const struct egress_address *address, char text[ADDRESS_TEXT_SIZE]);

#endif
