/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink(7): what interfaces a namespace has, and which of them lead out of it. */
#ifndef TC_WALL_LINKS_H
#define TC_WALL_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"
#include "diag.h"

/* A socket of the namespace we are in; `changes`: that is told of changes of links. */
int links_socket(bool changes, struct error *error) WARN_UNUSED;
/* Reads and forgets what has come. */
void links_drain(int fd);

/* State of a link whose other end is in the namespace that was asked about, and which is no veth: nobody
 * there sees its frames before they are sent on. Not for `status`. */
#define LINKS_INTRUDES 16u

/* Reads what a `changes` socket has, and calls back for each link that came or changed and has its other
 * end, `outside`, in the namespace that `other_fd` names: EGRESS_WIRE_WALLED for a veth, which is for the
 * caller to make true, or LINKS_INTRUDES. `ask_fd`: another socket of the same namespace. What was lost
 * in an overrun is not told. */
void links_hear(int fd, int ask_fd, int other_fd,
		void (*each)(void *context, const struct egress_wire *wire), void *context);
/* The links of the socket's namespace that intrude on that of `other_fd`. Caller frees; NULL when there
 * are none. */
int links_into(int fd, int other_fd, struct egress_wire **ret, size_t *ret_count,
	       struct error *error) WARN_UNUSED;
/* Deletes one of the socket's namespace. */
int links_remove(int fd, uint32_t ifindex, struct error *error) WARN_UNUSED;

/* The interfaces of the socket's namespace that packets can leave it by: state is
 * EGRESS_WIRE_WALLED where the outer end is a veth in the namespace that `home_fd` names, which is
 * for the caller to make true; LINKS_INTRUDES; or EGRESS_WIRE_FOREIGN. Those that can be walled come
 * first. Names are printable. Caller frees; NULL when there are none. */
int links_out(int fd, int home_fd, struct egress_wire **ret, size_t *ret_count,
	      struct error *error) WARN_UNUSED;

#endif
