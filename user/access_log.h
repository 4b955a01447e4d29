/* SPDX-License-Identifier: BSD-2-Clause */
/* One JSON line per decision. Holds no header value, and no query unless asked to. */
#ifndef ACCESS_LOG_H
#define ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/egress_abi.h"
#include "attributes.h"
#include "bytes.h"
#include "feed.h"
#include "reason.h"

struct access_log;

/* Writes to `fd` (borrowed, opened O_APPEND, so that several processes share it line by line).
 * `fd` -1: drops everything. Caller frees. */
struct access_log *access_log_new(int fd, const char *bottle, bool log_query) WARN_UNUSED;
void access_log_free(struct access_log *log);
/* Every record is also counted there, by reason and host id, also when nothing is written.
 * Borrowed; NULL: nowhere. */
struct verdicts;
void access_log_count_in(struct access_log *log, struct verdicts *verdicts);

/* Every line goes there, too: a regular file (borrowed, O_APPEND). When it has `limit` bytes, whoever
 * wrote them, nothing more of ours goes there, and the last line says so: {"lost": 1}. */
#define ACCESS_LOG_ALSO_LIMIT ((uint64_t)512 << 20)
void access_log_also(struct access_log *log, int fd, uint64_t limit);

/* Every record goes there, too, and has an id in all places ("id"). Borrowed; NULL: nowhere. */
void access_log_feed(struct access_log *log, struct feed *feed);
/* For a record that is written later; 0 when there is no feed. The text is "" for 0. */
uint64_t access_log_take_id(struct access_log *log);
void access_log_id_text(const struct access_log *log, uint64_t id, char ret[FEED_ID_SIZE]);

struct access_record {
	uint64_t id; /* access_log_take_id(); 0: a new one */
	const char *source;		       /* "proxy", "dns" or "kernel" */
	const struct egress_process *process;  /* NULL when unknown */
	const char *host;		       /* NULL when unknown */
	uint32_t host_id;		       /* the kernel's, to count by; 0 when unknown */
	const struct egress_address *address;  /* instead of, or beside, a host */
	uint16_t port;
	const char *protocol;		       /* "https", "http", "tls", "tcp", "udp", "dns", ... */
	struct span method, target;	       /* empty when there is none; target may hold a query */
	const char *route, *route_file;	       /* its host, and where it stands; NULL when none */
	unsigned route_line;
	enum egress_reason reason;
	enum egress_reason audited; /* allowed by audit alone: what it would be; else _ALLOWED */
	const char *detail;		       /* e.g. the upstream's certificate error, or NULL */
	int status;			       /* HTTP status sent to the client; 0 when none */
	uint64_t bytes_up, bytes_down;
	uint64_t microseconds;
	uint64_t added_us;		       /* of those ours, before the request was on its way */
	bool reused;			       /* the upstream connection came from the pool */
};
/* Formats and writes one line with one write(2), or gathers it. Lines that do not fit in the pipe are
 * counted and the count is written with the next line that does ("lost"). Never blocks the caller. */
void access_log_write(struct access_log *log, const struct access_record *record);

/* A line without a verdict, everywhere: `count` records of `source` never came here ("lost"). */
void access_log_missed(struct access_log *log, const char *source, uint64_t count);

/* From now on lines for regular files are gathered, 8 KiB of them at most, and whole lines are written
 * at once: by access_log_flush(), for which `notify` asks with the first, or when they are freed. */
typedef void (*access_log_gathered_fn)(void *context);
void access_log_gather(struct access_log *log, access_log_gathered_fn notify, void *context);
void access_log_flush(struct access_log *log);
/* What a process that ended had gathered: by `feed`, which was its own, is written now. No byte of it is
 * trusted; what is no line of JSON is counted as lost. */
void access_log_recover(struct access_log *log, struct feed *feed);

#endif
