/* SPDX-License-Identifier: BSD-2-Clause */
/* What the supervisor hands over in a sealed memfd, and the policy that is read from one. Its routes
 * can be read ahead: while the supervisor still judges them and finds the secrets. Nothing comes into
 * force by that; a policy that is handed over later and begins with the same bytes is only sooner
 * read. */
#ifndef SERVER_MEMFD_H
#define SERVER_MEMFD_H

#include "attributes.h"
#include "config.h"

/* The content, mapped: secrets are not copied, and gone when it is unmapped. Empty on failure. */
struct span memfd_map(int fd);
void memfd_unmap(struct span mapped); /* accepts an empty one */

/* Zero-initialised is empty. Belongs to one thread. */
struct ahead {
	struct span blob; /* of config_pack_sources() */
	struct config *config; /* without secrets; NULL: nothing is of use */
};
/* Forgets what was read before, and reads this. `fd` stays the caller's; -1: forgets only. */
void ahead_read(struct ahead *ahead, int fd);
/* config_unpack() of what config_pack() made, with what was read ahead when that is its beginning.
 * Leaves `ahead` empty. NULL with `error` set; the caller's. */
struct config *ahead_unpack(struct ahead *ahead, int fd, struct error *error) WARN_UNUSED;

#endif
