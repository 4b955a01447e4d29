// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

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
	assert_false(span_equal(SPAN("a"), SPAN("A")));
	assert_true(span_equal(span_trim(SPAN(" \t a b \t")), SPAN("a b")));
	assert_int_equal(span_trim(SPAN(" \t ")).length, 0);
	copy = span_copy((struct span){"abc", 2});
	assert_string_equal(copy, "ab");
	free(copy);
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
		cmocka_unit_test(hash),
		cmocka_unit_test(ports),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
