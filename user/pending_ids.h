/* SPDX-License-Identifier: BSD-2-Clause */
/* Which record had an id first. An operator allows by an id what he was shown under it; a worker that was
 * taken over could write another record with that id, or write the one in the feed anew. */
#ifndef PENDING_IDS_H
#define PENDING_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "attributes.h"
#include "bytes.h"

struct pending_ids;
struct pending_ids *pending_ids_new(void) WARN_UNUSED; /* NULL when out of memory */
void pending_ids_free(struct pending_ids *ids); /* accepts NULL */
/* Binds the id to the record, for good. False: it was bound, or is too old or too far ahead to tell; the
 * record is then nobody's. */
bool pending_ids_bind(struct pending_ids *ids, uint64_t id, struct span record) WARN_UNUSED;
/* Whether that record, to the byte, was bound to the id, and is not too old to tell. */
bool pending_ids_same(const struct pending_ids *ids, uint64_t id, struct span record);
uint64_t pending_ids_newest(const struct pending_ids *ids); /* 0: none was bound */

#endif
