/* SPDX-License-Identifier: BSD-2-Clause */
/* Growable byte buffers, spans of memory, their way from and to files, and hashing of names. Calls
 * nothing of ours. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "attributes.h"

/* A piece of somebody else's memory; not NUL-terminated. */
struct span {
	const char *data;
	size_t length;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
/* Inline, so that a literal's length is known when it is compiled. */
static inline struct span span_from(const char *text)
{
	return (struct span){text, strlen(text)};
}
bool span_equal(struct span a, struct span b);
/* ASCII case-insensitive, as HTTP field names and host names compare. */
bool span_equal_nocase(struct span a, struct span b);
/* The same, and "_" and each other mark of a token is "-", as CGI (RFC 3875, 4.1.18) and its successors
 * read field names. */
bool span_equal_field(struct span a, struct span b);
/* Known names in lower case by their length, up to SPAN_NAMES_EACH of each, with "-" and never "_". */
#define SPAN_NAMES_MAX 22
#define SPAN_NAMES_EACH 3
typedef const char *const span_names[SPAN_NAMES_MAX + 1][SPAN_NAMES_EACH];
/* Is it one of them, but for ASCII case? Most fields of a head are none, and cost no comparison. */
bool span_is_one_of(struct span a, span_names names);
/* The same, compared as span_equal_field() does. */
bool span_is_field_of(struct span a, span_names names);
struct span span_trim(struct span s); /* without SP and HTAB at both ends */
/* A TCP port: digits alone, 1 to 65535; signs and blanks, as strtoul(3) takes them, are none. */
bool span_port(struct span text, uint16_t *ret) WARN_UNUSED;
/* All of it, however often write(2) has to be called. -1 with errno set: some of it is written. */
int span_write(struct span text, int fd) WARN_UNUSED;
/* A NUL-terminated copy owned by the caller, NULL when out of memory. */
char *span_copy(struct span s) WARN_UNUSED;

/* A byte queue: append at the end, consume from the front. Zero-initialised is empty. */
struct bytes {
	char *data;
	size_t start, length, capacity; /* valid bytes: data[start .. start + length) */
};

/* Makes room for `more` bytes behind the content and returns where they go, or NULL when out of
 * memory (the content is then unchanged). bytes_added() says how many were written there. */
char *bytes_reserve(struct bytes *b, size_t more) WARN_UNUSED;
void bytes_added(struct bytes *b, size_t count);
/* Appends a copy; false when out of memory, the content is then unchanged. */
bool bytes_append(struct bytes *b, const void *data, size_t length) WARN_UNUSED;
bool bytes_append_text(struct bytes *b, const char *text) WARN_UNUSED;
bool bytes_append_number(struct bytes *b, uint64_t number) WARN_UNUSED; /* decimal */
bool bytes_printf(struct bytes *b, const char *format, ...) PRINTF(2, 3) WARN_UNUSED;
/* Appends what a blocking `fd` gives to its end. -1 with errno set; EFBIG when the content is more
 * than `limit` by then: a file may grow after it was looked at. */
int bytes_read(struct bytes *b, int fd, size_t limit) WARN_UNUSED;
static inline struct span bytes_span(const struct bytes *b)
{
	return (struct span){b->data ? b->data + b->start : "", b->length};
}
void bytes_consume(struct bytes *b, size_t count);
void bytes_free(struct bytes *b); /* also after zero-initialising only; leaves it empty */
void bytes_wipe(struct bytes *b); /* overwrites, then frees: for secrets */

/* ---- how much all of them hold ---------------------------------------------------------------- */

/* What struct bytes have allocated in this process, and what others have said by bytes_count(): the
 * memory that peers can make us use. Counted with each allocation, not with each byte; any thread. */
size_t bytes_held(void);
/* The calling thread stays until the process ends and does most of this: it sums up by itself, and the
 * common count is ahead of it by up to BYTES_GRAIN; it keeps blocks that it will want again. */
#define BYTES_GRAIN (16 * 1024)
void bytes_own_thread(void);
/* For libraries that hold bytes for us: nghttp2's frames. */
void bytes_count(ptrdiff_t change);
/* Counts at `place` from now on, which others may read; once, before there is a second thread. */
void bytes_count_at(uint64_t *place);
/* What others hold who share the limit, and how many share it with us: asked for now and then, and part
 * of bytes_held(). Whatever they say, a part of the limit is left to us. Once, as above. */
void bytes_count_others(uint64_t (*others)(void *context, unsigned *ret_sharers), void *context);
/* How much that may be (0: without limit), and who is told when somebody met it. */
void bytes_set_limit(size_t limit, void (*full)(void *context), void *context);
size_t bytes_limit(void);
size_t bytes_part(void); /* of the limit, when each who shares it has as much */
/* What is left; 0 tells `full`, and then nothing more should be read from anywhere. */
size_t bytes_room(void);
/* Half of it is used: time to be sparing. */
bool bytes_pressed(void);

/* ---- blocks of memory ------------------------------------------------------------------------- */

/* malloc(3) and free(3), for what each request takes and gives back: the thread of bytes_own_thread()
 * keeps more of it than glibc does, which has room for seven blocks of a size, and for none of more
 * than 1 KiB. Not counted. Blocks of malloc(3) may be given here, and these to free(3). */
void *bytes_block(size_t size) WARN_UNUSED;
#define BYTES_RECORD_ALIGNED 4096 /* where kept blocks for TLS records begin */
void *bytes_block_zeroed(size_t size) WARN_UNUSED;
void bytes_block_free(void *block); /* accepts NULL */
void bytes_block_trim(void);        /* all that is kept goes to free(3) */

/* Whether malloc(3) has that much now. For calls of libraries that do not look at what they get, and crash:
 * what could be had a moment ago in this thread can be had by them. */
bool bytes_obtainable(size_t size) WARN_UNUSED;

/* SipHash-like keyed hash, seeded once per process, so that names cannot be made to collide. */
uint64_t bytes_hash(const void *data, size_t length);

#endif
