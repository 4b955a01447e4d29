// SPDX-License-Identifier: BSD-2-Clause
/* What who writes a journal can do with it: write at its end, and nothing else. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define FIRST "{\"host\":\"a.example\",\"reason\":\"allowed\"}\n"
#define SECOND "{\"host\":\"b.example\",\"reason\":\"allowed\"}\n"

static void test_writer(void **state)
{
	struct error error = {0};
	int fd = journal_file(&error), writer = journal_writer(fd, &error);
	struct journal journal;
	char byte;

	(void)state;
	assert_true(fd >= 0);
	assert_true(writer >= 0);
	assert_int_equal(write(writer, FIRST, strlen(FIRST)), strlen(FIRST));
	assert_int_equal(lseek(writer, 0, SEEK_SET), 0);
	assert_int_equal(write(writer, SECOND, strlen(SECOND)), strlen(SECOND));

	assert_int_equal(fcntl(writer, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	assert_int_equal(fcntl(writer, F_GETFD), FD_CLOEXEC);
	assert_int_equal(pread(writer, &byte, 1, 0), -1);
	assert_ptr_equal(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, writer, 0), MAP_FAILED);
	assert_int_equal(errno, EACCES);

	close(writer);
	assert_int_equal(journal_read(fd, &journal, &error), 0);
	assert_int_equal(journal.entry_count, 2);
	assert_int_equal(journal.lost, 0);
	assert_string_equal(journal.entries[0].host, "a.example");
	assert_string_equal(journal.entries[1].host, "b.example");
	journal_release(&journal);
	close(fd);
}

/* What says that others are missing is no decision itself: none is made up for it. */
static void test_lost_alone(void **state)
{
	static const char lost[] = "{\"source\":\"kernel\",\"lost\":7}\n{\"lost\":1}\n";
	struct error error = {0};
	int fd = journal_file(&error);
	struct journal journal;

	(void)state;
	assert_int_equal(write(fd, lost, strlen(lost)), strlen(lost));
	assert_int_equal(journal_read(fd, &journal, &error), 0);
	assert_int_equal(journal.entry_count, 0);
	assert_int_equal(journal.lost, 8);
	journal_release(&journal);
	close(fd);
}

static void test_no_file(void **state)
{
	struct error error = {0};

	(void)state;
	assert_int_equal(journal_writer(-1, &error), -1);
	assert_non_null(strstr(error.text, "cannot open the file for what happens"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_lost_alone),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
