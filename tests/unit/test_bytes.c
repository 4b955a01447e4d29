// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <malloc.h>

#include "bytes.h"

static void queue(void **state)
{
	struct bytes b = {0};
	char expected[1000];

	(void)state;
	/* Consumes behind the writer for long enough to wrap to the front many times. */
	for (int i = 0; i < 5000; i++) {
		assert_true(bytes_append(&b, "abcdefghijklm", 13));
		if (i >= 10) {
			assert_memory_equal(bytes_span(&b).data, "abcdefghijklm", 13);
			bytes_consume(&b, 13);
		}
	}
	assert_int_equal(bytes_span(&b).length, 130);
	assert_true(b.capacity <= 512);
	assert_true(bytes_printf(&b, "%0*d", (int)sizeof(expected), 7));
	memset(expected, '0', sizeof(expected));
	expected[sizeof(expected) - 1] = '7';
	assert_memory_equal(bytes_span(&b).data + 130, expected, sizeof(expected));
	bytes_wipe(&b);
	assert_null(b.data);
	assert_int_equal(bytes_span(&b).length, 0);
	bytes_free(&b);
}

static void reserve_of_nothing(void **state)
{
	struct bytes b = {0};

	(void)state;
	assert_non_null(bytes_reserve(&b, 0));
	assert_null(bytes_reserve(&b, SIZE_MAX));
	bytes_free(&b);
}

static void spans(void **state)
{
	char *copy;

	(void)state;
	assert_true(span_equal_nocase(SPAN("Content-LENGTH"), SPAN("content-length")));
	assert_false(span_equal_nocase(SPAN("@"), SPAN("`"))); /* 0x40 and 0x60 */
	assert_true(span_equal_field(SPAN("X_Api-KEY"), SPAN("x-api_key")));
	assert_false(span_equal_field(SPAN("X_Api-KEY"), SPAN("x-api key")));
	assert_false(span_equal_field(SPAN("_"), SPAN("\x7f"))); /* lower-cased they would be one */
	for (const char *mark = "!#$%&'*+.^_`|~"; *mark; mark++) /* and "-": tokens, RFC 9110, 5.6.2 */
		assert_true(span_equal_field((struct span){mark, 1}, SPAN("-")));
	assert_false(span_equal_field(SPAN("a0"), SPAN("a-")));
	assert_false(span_equal(SPAN("a"), SPAN("A")));
	assert_true(span_equal(span_trim(SPAN(" \t a b \t")), SPAN("a b")));
	assert_int_equal(span_trim(SPAN(" \t ")).length, 0);
	copy = span_copy((struct span){"abc", 2});
	assert_string_equal(copy, "ab");
	free(copy);
}

/* Words of eight bytes are compared at once: each byte at each place against its neighbours in case. */
static void equality_everywhere(void **state)
{
	char a[21], b[21];

	(void)state;
	for (size_t length = 1; length <= sizeof(a); length++) {
		for (size_t at = 0; at < length; at++) {
			for (unsigned byte = 0; byte < 256; byte++) {
				struct span x = {a, length}, y = {b, length};
				bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';

				memset(a, 'q', sizeof(a));
				memcpy(b, a, sizeof(b));
				a[at] = b[at] = (char)byte;
				assert_true(span_equal_nocase(x, y) && span_equal_field(x, y));
				b[at] = (char)(byte ^ 0x20);
				assert_int_equal(span_equal_nocase(x, y), letter);
				b[at] = (char)(byte ^ 0x40);
				assert_false(span_equal_nocase(x, y));
			}
		}
	}
}

static void known_names(void **state)
{
	static span_names names = {[2] = {"te"}, [10] = {"connection", "keep-alive"}};

	(void)state;
	assert_true(span_is_one_of(SPAN("TE"), names));
	assert_true(span_is_one_of(SPAN("Keep-Alive"), names));
	assert_false(span_is_one_of(SPAN("Keep_Alive"), names));
	assert_true(span_is_field_of(SPAN("Keep_Alive"), names));
	assert_false(span_is_one_of(SPAN("keep-alivf"), names));
	assert_false(span_is_one_of(SPAN(""), names));
	assert_false(span_is_one_of(SPAN("keep-alive-but-longer-than-any"), names));
}

static void told(void *context)
{
	++*(int *)context;
}

/* What is said to others is never below what is held, and not above it by more than the grain; what
 * this thread sees is exact, and so is the limit. */
static void counting(void **state)
{
	static uint64_t place; /* for the rest of the process */
	int full = 0;

	(void)state;
	bytes_count_at(&place);
	bytes_own_thread();
	assert_int_equal(bytes_held(), 0);
	for (size_t held = 0, i = 0; i < 4000; i++) {
		ptrdiff_t change = i % 3 ? (ptrdiff_t)(i * 37 % 5000) : -(ptrdiff_t)(held / 2);

		bytes_count(change);
		held = (size_t)((ptrdiff_t)held + change);
		assert_int_equal(bytes_held(), held);
		assert_true(place >= held && place - held <= BYTES_GRAIN);
	}
	bytes_count(-(ptrdiff_t)bytes_held());
	bytes_set_limit(3000, told, &full);
	bytes_count(2999);
	assert_int_equal(bytes_room(), 1);
	bytes_count(1);
	assert_int_equal(bytes_room(), 0);
	assert_int_equal(full, 1);
	bytes_count(-3000);
	bytes_set_limit(0, NULL, NULL);
}

/* Kept blocks are handed out once each, and are large enough for all who share their class. */
static void blocks(void **state)
{
	static const size_t sizes[] = {1, 1024, 1025, 2048, 2049, 4096, 4097, 16384, 16385, 18432, 18433};
	void *held[40];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int turn = 0; turn < 2; turn++) {
			for (size_t k = 0; k < 40; k++) {
				held[k] = bytes_block(sizes[i]);
				assert_non_null(held[k]);
				memset(held[k], (int)k + 1, sizes[i]);
			}
			for (size_t k = 0; k < 40; k++) {
				const unsigned char *block = held[k];

				assert_true(block[0] == k + 1 && block[sizes[i] - 1] == k + 1);
				bytes_block_free(held[k]);
			}
		}
		held[0] = bytes_block_zeroed(sizes[i]);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(((char *)held[0])[k], 0);
		bytes_block_free(held[0]);
	}
	bytes_block_free(NULL);
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>

size_t __sanitizer_get_current_allocated_bytes(void); /* in a header that gcc does not install */

static size_t given(void)
{
	return __sanitizer_get_current_allocated_bytes();
}

/* No room that was not asked for hides a write past the end, and none that was freed is handed out. */
static void blocks_are_watched(void **state)
{
	(void)state;
	for (size_t size = 1; size < 20000; size += 1 + size / 16) {
		char *block = bytes_block(size);

		assert_non_null(block);
		assert_ptr_equal(__asan_region_is_poisoned(block, size + 1), block + size);
		bytes_block_free(block);
		assert_true(__asan_address_is_poisoned(block));
	}
}
#else
/* What malloc(3) has given to somebody; blocks of more than 1 KiB are in no cache of its own. */
static size_t given(void)
{
	return mallinfo2().uordblks;
}

static void blocks_are_watched(void **state)
{
	char *first, *second;

	(void)state;
	/* The thread is bytes_own_thread()'s by now: what it gives back is what it gets. */
	first = bytes_block(700);
	bytes_block_free(first);
	second = bytes_block(1000);
	assert_ptr_equal(first, second);
	bytes_block_free(second);
	for (size_t size = 17000; size <= 68000; size *= 4) {
		first = bytes_block(size);
		assert_int_equal((uintptr_t)first % BYTES_RECORD_ALIGNED, 0);
		bytes_block_free(first);
		second = bytes_block(size + 500);
		assert_ptr_equal(first, second);
		bytes_block_free(second);
	}
}
#endif

static void blocks_are_given_back(void **state)
{
	enum { COUNT = 1500, SIZE = 4096 };
	void **held = calloc(COUNT, sizeof(*held));
	size_t before = given(), most = 4096 * 1024;

	(void)state;
	bytes_block_trim();
	for (size_t i = 0; i < COUNT; i++)
		held[i] = bytes_block(SIZE);
	assert_true(given() - before > COUNT * SIZE / 2);
	for (size_t i = 0; i < COUNT; i++)
		bytes_block_free(held[i]);
	assert_true(given() <= before + most + most / 16); /* the rest at once */
	bytes_block_trim();
	assert_true(given() <= before + SIZE);
	bytes_block_trim();
	held[0] = bytes_block(SIZE);
	assert_non_null(held[0]);
	bytes_block_free(held[0]);
	free(held);
}

static void hash(void **state)
{
	char data[64] = {0};

	(void)state;
	assert_int_equal(bytes_hash("name", 4), bytes_hash("name", 4));
	for (size_t length = 0; length < sizeof(data); length++)
		assert_true(bytes_hash(data, length) != bytes_hash(data, length + 1) ||
			    length + 1 == sizeof(data));
}

static void ports(void **state)
{
	static const char *const bad[] = {"", "0", "65536", "+1", " 1", "1 ", "000080", "0x50"};
	uint16_t port = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(span_port(span_from(bad[i]), &port));
	assert_int_equal(port, 7);
	assert_true(span_port(SPAN("65535"), &port));
	assert_int_equal(port, 65535);
}

static void files(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct bytes content = {0};
	char block[100000];

	(void)state;
	memset(block, 'x', sizeof(block));
	assert_int_equal(span_write((struct span){block, sizeof(block)}, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(bytes_read(&content, fd, sizeof(block)), 0);
	assert_int_equal(content.length, sizeof(block));
	assert_memory_equal(bytes_span(&content).data, block, sizeof(block));
	bytes_free(&content);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(bytes_read(&content, fd, sizeof(block) - 1), -1);
	assert_int_equal(errno, EFBIG);
	bytes_free(&content);
	close(fd);
	assert_int_equal(bytes_read(&content, -1, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(span_write(SPAN("x"), -1), -1);
	bytes_free(&content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue),
		cmocka_unit_test(reserve_of_nothing),
		cmocka_unit_test(spans),
		cmocka_unit_test(equality_everywhere),
		cmocka_unit_test(known_names),
		cmocka_unit_test(counting),
		cmocka_unit_test(blocks),
		cmocka_unit_test(blocks_are_watched),
		cmocka_unit_test(blocks_are_given_back),
		cmocka_unit_test(hash),
		cmocka_unit_test(ports),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
