/* SPDX-License-Identifier: BSD-2-Clause */
/* What the worker's connections count for `metrics`, one number each, wherever they are. Calls nothing
 * of ours. */
#ifndef TALLY_H
#define TALLY_H

#include <stdint.h>

enum tally {
	TALLY_CLIENT_HANDSHAKES, /* of TLS, towards the bottle */
	TALLY_CLIENT_HANDSHAKES_FAILED,
	TALLY_UPSTREAM_HANDSHAKES, /* full ones */
	TALLY_UPSTREAM_HANDSHAKES_RESUMED,
	TALLY_UPSTREAM_HANDSHAKES_FAILED,
	TALLY_UPSTREAM_REUSED, /* requests on a connection that was there */
	TALLY_UPSTREAM_DIALLED, /* requests that needed another */
	TALLY_POOL_IDLE, /* connections that wait for a request: of this worker, and now */
	TALLY_LOG_LOST, /* records that did not get into the log */
	TALLY_COUNT,
};

/* From now on counted there (TALLY_COUNT numbers, shared memory of somebody who outlives us); what a
 * worker before counted stays, but for what was true of itself alone. NULL: nowhere that is seen. */
void tally_count_at(uint64_t *counters);
/* What was true of a worker alone that has ended is so no longer. */
void tally_forget(uint64_t *counters);
/* From any thread. */
void tally_add(enum tally which, int64_t amount);

#endif
