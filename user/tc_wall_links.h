/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink(7): what interfaces a namespace has, and which of them lead out of it. */
#ifndef TC_WALL_LINKS_H
#define TC_WALL_LINKS_H

#include <stdbool.h>
#include <stddef.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"
#include "diag.h"

/* A socket of the namespace we are in; `changes`: that is told of changes of links. */
int links_socket(bool changes, struct error *error) WARN_UNUSED;
/* Reads and forgets what has come. */
void links_drain(int fd);

/* The interfaces of the socket's namespace that packets can leave it by: state is
 * EGRESS_WIRE_WALLED where the outer end is a veth in the namespace that `home_fd` names, which is
 * for the caller to make true, else EGRESS_WIRE_FOREIGN. Those that can be walled come first. Names
 * are printable. Caller frees; NULL when there are none. */
int links_out(int fd, int home_fd, struct egress_wire **ret, size_t *ret_count,
	      struct error *error) WARN_UNUSED;

#endif
