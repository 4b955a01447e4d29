// SPDX-License-Identifier: BSD-2-Clause
#include "pending_ids.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* More than are refused between two looks at the feed, which is what gets out of order at most. */
#define PLACES 16384
/* Between two refusals any number may be allowed, but not this many: else one record could use up all
 * the ids there are. */
#define JUMP_MAX ((uint64_t)1 << 32)

struct pending_ids {
	uint64_t newest;
	struct {
		uint64_t id;
		unsigned char digest[16];
	} places[PLACES];
};

struct pending_ids *pending_ids_new(void)
{
	return calloc(1, sizeof(struct pending_ids));
}

void pending_ids_free(struct pending_ids *ids)
{
	free(ids);
}

/* Who writes the records chooses their bytes: no hash for tables will do. */
static bool digest_of(struct span record, unsigned char ret[16])
{
	unsigned char hash[EVP_MAX_MD_SIZE];

	if (EVP_Digest(record.data, record.length, hash, NULL, EVP_sha256(), NULL) != 1)
		return false;
	memcpy(ret, hash, 16);
	return true;
}

/* An id's place only ever goes to a greater one, so that none comes back (as RFC 4303, 3.4.3, has it for
 * sequence numbers). */
bool pending_ids_bind(struct pending_ids *ids, uint64_t id, struct span record)
{
	const size_t at = id % PLACES;

	if (id <= ids->places[at].id || (id > ids->newest && id - ids->newest > JUMP_MAX) ||
	    !digest_of(record, ids->places[at].digest))
		return false;
	ids->places[at].id = id;
	if (id > ids->newest)
		ids->newest = id;
	return true;
}

bool pending_ids_same(const struct pending_ids *ids, uint64_t id, struct span record)
{
	const size_t at = id % PLACES;
	unsigned char digest[16];

	return id != 0 && ids->places[at].id == id && digest_of(record, digest) &&
	       memcmp(digest, ids->places[at].digest, sizeof(digest)) == 0;
}

uint64_t pending_ids_newest(const struct pending_ids *ids)
{
	return ids->newest;
}
