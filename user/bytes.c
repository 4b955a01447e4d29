// SPDX-License-Identifier: BSD-2-Clause
/* Memory for bytes from outside. No function here trusts a length that it could check, and none
 * leaves a buffer half changed. */
#include "bytes.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

/* Most heads and messages fit, so they cost one allocation. */
#define BYTES_MIN_CAPACITY 256
#define READ_SIZE 65536

bool span_equal(struct span a, struct span b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* Not strncasecmp(): the comparison of names must not depend on a locale. */
static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Most names are written alike but for their first letters: from `at` on, are eight bytes the same? */
static bool same_word(struct span a, struct span b, size_t at)
{
	uint64_t x, y;

	if (a.length - at < sizeof(x))
		return false;
	memcpy(&x, a.data + at, sizeof(x));
	memcpy(&y, b.data + at, sizeof(y));
	return x == y;
}

/* CGI's spelling, by which many applications look fields up: most servers turn "-" alone into "_", lighttpd
 * all that a name may hold but letters and digits. */
static char field_char(char c)
{
	switch (c) {
	case '!': case '#': case '$': case '%': case '&': case '\'': case '*': case '+': case '.':
	case '^': case '_': case '`': case '|': case '~':
		return '-';
	default:
		return ascii_lower(c);
	}
}

/* Inlined, as is_among(): each caller has a loop of its own, without a call for each byte or name. */
static inline __attribute__((always_inline)) bool equal_by(char (*fold)(char), struct span a,
							   struct span b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length;) {
		if (same_word(a, b, i))
			i += sizeof(uint64_t);
		else if (a.data[i] == b.data[i] || fold(a.data[i]) == fold(b.data[i]))
			i++;
		else
			return false;
	}
	return true;
}

bool span_equal_nocase(struct span a, struct span b)
{
	return equal_by(ascii_lower, a, b);
}

bool span_equal_field(struct span a, struct span b)
{
	return equal_by(field_char, a, b);
}

static inline __attribute__((always_inline)) bool
is_among(bool (*equal)(struct span, struct span), struct span a, span_names names)
{
	for (size_t i = 0; a.length <= SPAN_NAMES_MAX && i < SPAN_NAMES_EACH; i++) {
		const char *name = names[a.length][i];

		if (!name)
			break;
		if (equal(a, (struct span){name, a.length}))
			return true;
	}
	return false;
}

bool span_is_one_of(struct span a, span_names names)
{
	return is_among(span_equal_nocase, a, names);
}

bool span_is_field_of(struct span a, span_names names)
{
	return is_among(span_equal_field, a, names);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
	while (s.length > 0 && is_blank(s.data[0])) {
		s.data++;
		s.length--;
	}
	while (s.length > 0 && is_blank(s.data[s.length - 1]))
		s.length--;
	return s;
}

bool span_port(struct span text, uint16_t *ret)
{
	unsigned port = 0;

	if (text.length == 0 || text.length > 5)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text.data[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

int span_write(struct span text, int fd)
{
	while (text.length > 0) {
		ssize_t count = write(fd, text.data, text.length);

		if (count < 0 && errno != EINTR)
			return -1;
		if (count > 0)
			text = (struct span){text.data + count, text.length - (size_t)count};
	}
	return 0;
}

char *span_copy(struct span s)
{
	char *copy = malloc(s.length + 1);

	if (!copy)
		return NULL;
	if (s.data && s.length > 0)
		memcpy(copy, s.data, s.length);
	copy[s.length] = '\0';
	return copy;
}

/* ---- how much all of them hold ---------------------------------------------------------------- */

static uint64_t own_count, *held = &own_count;
static struct {
	size_t limit;
	void (*full)(void *context);
	void *context;
} budget = {.limit = SIZE_MAX};

static __thread bool own_thread;
static __thread ptrdiff_t unsaid; /* of this thread, and not in *held yet: -BYTES_GRAIN to 0 */

void bytes_own_thread(void)
{
	own_thread = true;
}

/* A look at others' memory for each read would cost more than it tells. */
#define OTHERS_TURNS 16
static struct {
	uint64_t (*held)(void *context, unsigned *ret_sharers);
	void *context;
	unsigned turn;
	unsigned sharers; /* beside us */
	size_t last;
} others;

void bytes_count(ptrdiff_t change)
{
	/* Each request takes and gives back some KiB: a locked instruction for each would be for
	 * nothing. What is said is never less than what is held, so that nobody sees less than none. */
	if (own_thread) {
		unsaid += change;
		if (unsaid <= 0 && unsaid > -BYTES_GRAIN)
			return;
		change = unsaid + BYTES_GRAIN / 2;
		unsaid = -BYTES_GRAIN / 2;
	}
	/* Relaxed: nobody concludes anything about other memory from it. */
	__atomic_fetch_add(held, (uint64_t)change, __ATOMIC_RELAXED);
}

void bytes_count_at(uint64_t *place)
{
	/* What was counted moves along, or freeing it would count below zero. */
	__atomic_store_n(place, *held, __ATOMIC_RELAXED);
	held = place;
}

void bytes_count_others(uint64_t (*held_by)(void *context, unsigned *ret_sharers), void *context)
{
	others.held = held_by;
	others.context = context;
	others.sharers = 0;
	others.turn = 0;
}

size_t bytes_part(void)
{
	return budget.limit / (1 + others.sharers);
}

/* What they claim beyond the parts that are theirs takes nothing of ours. */
static void look_at_others(void)
{
	uint64_t claimed = others.held(others.context, &others.sharers);
	size_t most = budget.limit - bytes_part();

	others.last = claimed < most ? (size_t)claimed : most;
}

static inline size_t others_held(void)
{
	if (!others.held)
		return 0;
	if (others.turn++ % OTHERS_TURNS == 0)
		look_at_others();
	return others.last;
}

size_t bytes_held(void)
{
	/* A difference of wrong sign would be a fault of ours, not a reason to stop. */
	int64_t now = (int64_t)__atomic_load_n(held, __ATOMIC_RELAXED) + unsaid;

	return (now > 0 ? (size_t)now : 0) + others_held();
}

void bytes_set_limit(size_t limit, void (*full)(void *context), void *context)
{
	budget.limit = limit ? limit : SIZE_MAX;
	others.turn = 0;
	budget.full = full;
	budget.context = context;
}

size_t bytes_limit(void)
{
	return budget.limit;
}

size_t bytes_room(void)
{
	size_t now = bytes_held();

	if (now < budget.limit)
		return budget.limit - now;
	if (budget.full)
		budget.full(budget.context);
	return 0;
}

bool bytes_pressed(void)
{
	return bytes_held() > budget.limit / 2;
}

/* ---- blocks of memory ------------------------------------------------------------------------- */

/* Powers of two from 64 on; and OpenSSL's buffers for one TLS record and for four, with what it adds. */
#define KEPT_MIN 64
#define KEPT_POWERS 7
#define RECORD_MIN (16 * 1024)
#define RECORD_MAX (18 * 1024)
#define RECORDS_MIN (64 * 1024)
#define RECORDS_MAX (68 * 1024)
enum { RECORD = KEPT_POWERS, RECORDS, KEPT_CLASSES };
/* Of all together: what one turn of the loop takes for its streams, and the next one again: some 10 KiB
 * for each of several hundred. */
#define KEPT_BYTES (4 * 1024 * 1024)
struct kept {
	struct kept *next;
};
static __thread struct kept *kept[KEPT_CLASSES]; /* the last one first: the caches know it */
static __thread size_t kept_bytes;

static inline unsigned log2_of(size_t number)
{
	return 63 - (unsigned)__builtin_clzl(number);
}

static inline size_t class_size(unsigned class)
{
	return class == RECORDS ? RECORDS_MAX : class == RECORD ? RECORD_MAX : (size_t)KEPT_MIN << class;
}

/* AddressSanitizer shall see who uses what was freed, and who writes past what was asked for. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_BLOCKS false
#else
#define KEEPS_BLOCKS true
#endif

/* The class that has room for it; KEPT_CLASSES: none. */
static inline unsigned class_for(size_t size)
{
	if (!KEEPS_BLOCKS)
		return KEPT_CLASSES;
	if (size <= KEPT_MIN)
		return 0;
	if (size <= (size_t)KEPT_MIN << (KEPT_POWERS - 1))
		return log2_of(size - 1) + 1 - log2_of(KEPT_MIN);
	if (size > RECORD_MIN && size <= RECORD_MAX)
		return RECORD;
	return size > RECORDS_MIN && size <= RECORDS_MAX ? RECORDS : KEPT_CLASSES;
}

/* The class that the block can serve, and does not waste half of. */
static inline unsigned class_of(void *block)
{
	const size_t usable = malloc_usable_size(block);

	if (usable >= KEPT_MIN && usable < (size_t)KEPT_MIN << KEPT_POWERS)
		return log2_of(usable) - log2_of(KEPT_MIN);
	if ((uintptr_t)block % BYTES_RECORD_ALIGNED != 0)
		return KEPT_CLASSES;
	if (usable >= RECORD_MAX && usable < RECORD_MAX + KEPT_MIN)
		return RECORD;
	return usable >= RECORDS_MAX && usable < RECORDS_MAX + KEPT_MIN ? RECORDS : KEPT_CLASSES;
}

static void *new_block(unsigned class)
{
	void *block;

	if (class < RECORD)
		return malloc(class_size(class));
	return posix_memalign(&block, BYTES_RECORD_ALIGNED, class_size(class)) == 0 ? block : NULL;
}

/* Not inlined: of malloc(3) and memset(3) the compiler makes calloc(3), which in glibc 2.36 goes past
 * all caches. */
__attribute__((noinline)) void *bytes_block(size_t size)
{
	unsigned class = class_for(size);
	struct kept *block;

	if (class == KEPT_CLASSES)
		return malloc(size);
	block = kept[class];
	if (!block)
		return new_block(class);
	kept[class] = block->next;
	kept_bytes -= class_size(class);
	return block;
}

void *bytes_block_zeroed(size_t size)
{
	void *block = bytes_block(size);

	if (block)
		memset(block, 0, size);
	return block;
}

static void keep_or_free(void *block, unsigned class)
{
	struct kept *last = block;

	if (class == KEPT_CLASSES || kept_bytes + class_size(class) > KEPT_BYTES) {
		free(block);
		return;
	}
	last->next = kept[class];
	kept[class] = last;
	kept_bytes += class_size(class);
}

void bytes_block_free(void *block)
{
	/* malloc(3) gives a few bytes more than it is asked for, and says so. */
	keep_or_free(block, KEEPS_BLOCKS && own_thread && block ? class_of(block) : KEPT_CLASSES);
}

void bytes_block_trim(void)
{
	for (unsigned class = 0; class < KEPT_CLASSES; class++) {
		struct kept *next;

		for (struct kept *block = kept[class]; block; block = next) {
			next = block->next;
			free(block);
		}
		kept[class] = NULL;
	}
	kept_bytes = 0;
}

bool bytes_obtainable(size_t size)
{
	void *volatile room = malloc(size); /* volatile: compilers leave out what is only freed */
	bool had = room;

	free(room);
	return had;
}

/* A buffer's own block: bytes_grow() asked for so much, and malloc(3) need not be. */
static void free_data(const struct bytes *b)
{
	keep_or_free(b->data, own_thread ? class_for(b->capacity) : KEPT_CLASSES);
}

/* ---- buffers ---------------------------------------------------------------------------------- */

/* Moves the content to the front when that makes enough room, else to a larger block. */
static __attribute__((noinline)) bool bytes_grow(struct bytes *b, size_t needed)
{
	size_t capacity = b->capacity ? b->capacity : BYTES_MIN_CAPACITY;
	char *data;

	while (capacity < needed) {
		if (capacity > SIZE_MAX / 2)
			return false;
		capacity *= 2;
	}
	if (b->data && capacity == b->capacity) {
		memmove(b->data, b->data + b->start, b->length);
		b->start = 0;
		return true;
	}
	/* Not realloc(3), which would copy what was consumed, too. The old block is not wiped: a
	 * secret needs all its room at once, before it is appended. */
	data = bytes_block(capacity);
	if (!data)
		return false;
	if (b->data && b->length > 0)
		memcpy(data, b->data + b->start, b->length);
	if (b->data)
		free_data(b);
	bytes_count((ptrdiff_t)(capacity - b->capacity));
	*b = (struct bytes){.data = data, .length = b->length, .capacity = capacity};
	return true;
}

static inline char *reserve(struct bytes *b, size_t more)
{
	/* So that no sum below wraps. */
	if (more > SIZE_MAX / 2 - b->length)
		return NULL;
	if (b->start + b->length + more > b->capacity || !b->data) {
		if (!bytes_grow(b, b->length + more))
			return NULL;
	}
	return b->data + b->start + b->length;
}

char *bytes_reserve(struct bytes *b, size_t more)
{
	return reserve(b, more);
}

void bytes_added(struct bytes *b, size_t count)
{
	b->length += count;
}

int bytes_read(struct bytes *b, int fd, size_t limit)
{
	for (;;) {
		char *room = bytes_reserve(b, READ_SIZE);
		ssize_t count;

		if (!room) {
			errno = ENOMEM;
			return -1;
		}
		count = read(fd, room, READ_SIZE);
		if (count == 0)
			return 0;
		if (count < 0 && errno != EINTR)
			return -1;
		if (count > 0)
			bytes_added(b, (size_t)count);
		if (b->length > limit) {
			errno = EFBIG;
			return -1;
		}
	}
}

bool bytes_append(struct bytes *b, const void *data, size_t length)
{
	char *room = reserve(b, length);

	if (!room)
		return false;
	if (length > 0)
		memcpy(room, data, length);
	bytes_added(b, length);
	return true;
}

bool bytes_append_text(struct bytes *b, const char *text)
{
	return bytes_append(b, text, strlen(text));
}

bool bytes_append_number(struct bytes *b, uint64_t number)
{
	/* By hand: heads are made for each request, and vsnprintf(3) showed in them. */
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	return bytes_append(b, digits + at, sizeof(digits) - at);
}

/* Room for the NUL that vsnprintf(3) writes; it is not part of the content. */
bool bytes_printf(struct bytes *b, const char *format, ...)
{
	va_list arguments, again;
	char *room;
	int length;

	va_start(arguments, format);
	va_copy(again, arguments);
	/* Measured first: without memory the content stays as it was. */
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	room = length < 0 ? NULL : bytes_reserve(b, (size_t)length + 1);
	if (room) {
		vsnprintf(room, (size_t)length + 1, format, again);
		bytes_added(b, (size_t)length);
	}
	va_end(again);
	return room != NULL;
}

void bytes_consume(struct bytes *b, size_t count)
{
	b->start += count;
	b->length -= count;
	/* An empty queue starts at the front again, so that most never move their content. */
	if (b->length == 0)
		b->start = 0;
}

void bytes_free(struct bytes *b)
{
	if (b->data) {
		bytes_count(-(ptrdiff_t)b->capacity);
		free_data(b);
	}
	*b = (struct bytes){0};
}

/* All of the block: what was consumed lies before `start`. */
void bytes_wipe(struct bytes *b)
{
	if (b->data)
		explicit_bzero(b->data, b->capacity);
	bytes_free(b);
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"). */
struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

/* First called from one thread: config.c does, before there is a second. */
static const uint64_t *hash_key(void)
{
	static uint64_t key[2];
	static bool seeded;

	if (!seeded) {
		/* Fails only before the kernel's pool is up, where GRND_NONBLOCK is not asked for. */
		if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
			abort();
		seeded = true;
	}
	return key;
}

uint64_t bytes_hash(const void *data, size_t length)
{
	/* Keyed: names come from the bottle, which must not be able to choose ones that collide. */
	const uint64_t *key = hash_key();
	struct sip s = {
		key[0] ^ 0x736f6d6570736575u,
		key[1] ^ 0x646f72616e646f6du,
		key[0] ^ 0x6c7967656e657261u,
		key[1] ^ 0x7465646279746573u,
	};
	const char *at = data;
	uint64_t last = (uint64_t)length << 56, word;
	size_t rest = length;

	for (; rest >= 8; rest -= 8, at += 8) {
		memcpy(&word, at, 8);
		sip_word(&s, word);
	}
	for (size_t i = 0; i < rest; i++)
		last |= (uint64_t)(unsigned char)at[i] << (8 * i);
	sip_word(&s, last);
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
