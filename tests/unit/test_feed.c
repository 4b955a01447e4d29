// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "feed.h"
#include "feed_merge.h"

static struct feed_event event;

static struct feed *new_feed(int *ret_fd)
{
	struct feed *feed;

	*ret_fd = feed_memory();
	assert_true(*ret_fd >= 0);
	feed = feed_open(*ret_fd, "7f3a-");
	assert_non_null(feed);
	return feed;
}

static void write_number(struct feed *feed, unsigned long number, size_t length)
{
	char line[FEED_LINE_MAX];

	memset(line, '.', sizeof(line));
	snprintf(line, sizeof(line), "%020lu", number);
	line[20] = '.';
	feed_write(feed, FEED_ALL, number, (struct span){line, length});
}

static void lines_come_in_order(void **state)
{
	struct feed_cursor cursor = {0}, end;
	struct feed *feed, *reader;
	char text[FEED_ID_SIZE];
	int fd;

	(void)state;
	feed = new_feed(&fd);
	reader = feed_open(fd, NULL);
	assert_non_null(reader);
	close(fd);
	assert_false(feed_next(reader, FEED_ALL, &cursor, &event));
	feed_write(feed, FEED_ALL, 5, SPAN("{one}"));
	end = feed_end(reader, FEED_ALL);
	feed_write(feed, FEED_ALL, 6, SPAN("{two}"));
	feed_write(feed, FEED_REFUSED, 7, SPAN("{other}"));
	assert_true(feed_next(reader, FEED_ALL, &cursor, &event));
	assert_int_equal(event.length, 5);
	assert_memory_equal(event.line, "{one}", 5);
	assert_int_equal(event.time_ms, 5);
	assert_true(feed_next(reader, FEED_ALL, &cursor, &event));
	assert_memory_equal(event.line, "{two}", 5);
	assert_int_equal(event.lost, 0);
	assert_false(feed_next(reader, FEED_ALL, &cursor, &event));
	assert_true(feed_next(reader, FEED_ALL, &end, &event));
	assert_memory_equal(event.line, "{two}", 5);
	assert_int_equal(event.lost, 0);
	assert_int_equal(feed_take_id(feed), 1);
	assert_int_equal(feed_take_id(reader), 2);
	feed_id_text(reader, 2, text);
	assert_string_equal(text, "7f3a-2");
	feed_free(reader);
	feed_free(feed);
}

/* A reader that does not read loses the oldest, and learns how many. */
static void what_is_written_over_is_counted(void **state)
{
	struct feed_cursor cursor = {0};
	unsigned long expected, count = 100000, read = 0;
	struct feed *feed;
	int fd;

	(void)state;
	feed = new_feed(&fd);
	write_number(feed, 0, 200);
	assert_true(feed_next(feed, FEED_ALL, &cursor, &event));
	for (unsigned long i = 1; i <= count; i++)
		write_number(feed, i, 100 + i % 200);
	assert_true(feed_next(feed, FEED_ALL, &cursor, &event));
	expected = strtoul(event.line, NULL, 10);
	assert_true(expected > 1);
	assert_int_equal(event.lost, expected - 1);
	do {
		assert_int_equal(strtoul(event.line, NULL, 10), expected++);
		assert_int_equal(event.length, 100 + event.time_ms % 200);
		read++;
	} while (feed_next(feed, FEED_ALL, &cursor, &event));
	assert_int_equal(expected, count + 1);
	assert_true(read > 10000); /* of about 224 bytes each, in 4 MiB */
	feed_write(feed, FEED_ALL, 1, (struct span){event.line, FEED_LINE_MAX + 1});
	assert_false(feed_next(feed, FEED_ALL, &cursor, &event));
	feed_free(feed);
	close(fd);
}

/* A worker that was taken over writes anything anywhere: readers, and the next writer, may read
 * nonsense, but end, and stay inside. */
static void nonsense_in_the_memory(void **state)
{
	struct feed_cursor cursor = {0};
	struct feed *feed;
	uint64_t *words;
	size_t size;
	int fd;

	(void)state;
	feed = new_feed(&fd);
	size = (size_t)lseek(fd, 0, SEEK_END);
	assert_int_equal(ftruncate(fd, 4096), -1); /* nobody makes it shorter */
	assert_int_equal(errno, EPERM);
	words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(words, MAP_FAILED);
	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		write_number(feed, round, 100);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t *word = &words[(size_t)random() % (round % 2 ? 48 : 4096)];

			*word = round % 3 ? (uint64_t)random() : UINT64_MAX - (uint64_t)random() % 9;
		}
		for (unsigned i = 0; i < 50 && feed_next(feed, FEED_ALL, &cursor, &event); i++)
			assert_true(event.length <= FEED_LINE_MAX);
	}
	/* And it goes on being a feed. */
	memset(words, 0, size);
	cursor = (struct feed_cursor){0};
	write_number(feed, 77, 100);
	assert_true(feed_next(feed, FEED_ALL, &cursor, &event));
	assert_int_equal(strtoul(event.line, NULL, 10), 77);
	munmap(words, size);
	feed_free(feed);
	close(fd);
}

static void latencies(void **state)
{
	uint64_t counts[FEED_BUCKETS];
	struct feed *feed;
	int fd;

	(void)state;
	feed = new_feed(&fd);
	feed_latencies(feed, 0, counts);
	assert_int_equal(feed_quantile(counts, 0.5), 0);
	for (unsigned i = 0; i < 98; i++)
		feed_add_latency(feed, 7, 20);
	feed_add_latency(feed, 7, 16);
	feed_add_latency(feed, 7, UINT64_MAX);
	feed_add_latency(feed, UINT32_MAX, 5000);
	feed_latencies(feed, 7, counts);
	assert_int_equal(counts[0], 1);
	assert_int_equal(counts[1], 98);
	assert_int_equal(counts[FEED_BUCKETS - 1], 1);
	assert_int_equal(feed_quantile(counts, 0.5), 32);
	assert_int_equal(feed_quantile(counts, 0.99), 32);
	assert_int_equal(feed_quantile(counts, 0.995), feed_bucket_end(FEED_BUCKETS - 1));
	feed_latencies(feed, 0, counts);
	assert_int_equal(counts[1], 98);
	assert_int_equal(counts[9], 1);
	feed_latencies(feed, UINT32_MAX, counts);
	assert_int_equal(counts[9], 0);
	feed_free(feed);
	close(fd);
}

static atomic_bool stop;

static void *write_on(void *context)
{
	for (unsigned long i = 1; !stop; i++)
		write_number(context, i, 1000 + i % 3000);
	return NULL;
}

/* What is handed over beside a writer in full flight is whole, and in order. */
static void a_reader_beside_the_writer(void **state)
{
	struct feed_cursor cursor = {0};
	unsigned long last = 0, seen = 0, number;
	pthread_t writer;
	struct feed *feed;
	int fd;

	(void)state;
	feed = new_feed(&fd);
	stop = false;
	assert_int_equal(pthread_create(&writer, NULL, write_on, feed), 0);
	while (seen < 20000) {
		if (!feed_next(feed, FEED_ALL, &cursor, &event))
			continue;
		number = strtoul(event.line, NULL, 10);
		assert_int_equal(number, event.time_ms);
		assert_int_equal(event.length, 1000 + number % 3000);
		assert_int_equal(number, last + 1 + (last ? event.lost : number - 1));
		assert_int_equal(event.line[event.length - 1], '.');
		last = number;
		seen++;
	}
	stop = true;
	pthread_join(writer, NULL);
	feed_free(feed);
	close(fd);
}

/* One writes of 1970, and is never done; the others' lines come all the same. */
static void nobody_keeps_the_others_waiting(void **state)
{
	int fds[3];
	struct feed *feeds[3];
	struct feed_list list = {.count = 3};
	const struct feed_event *line;
	struct feed_merge *merge;
	unsigned turns = 0;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		list.feeds[i] = feeds[i] = new_feed(&fds[i]);
	merge = feed_merge_new(&list, FEED_ALL, false);
	assert_non_null(merge);
	write_number(feeds[0], 30, 100);
	write_number(feeds[2], 20, 100);
	write_number(feeds[0], 40, 100);
	for (unsigned long i = 20; i <= 40; i += 10) {
		line = feed_merge_next(merge);
		assert_non_null(line);
		assert_int_equal(line->time_ms, i);
	}
	assert_null(feed_merge_next(merge));
	for (unsigned long i = 50; i < 60; i++)
		write_number(feeds[i % 2 ? 0 : 2], i, 100);
	for (unsigned long i = 50; i < 60; turns++) {
		write_number(feeds[1], 1, 100);
		line = feed_merge_next(merge);
		assert_non_null(line);
		assert_true(turns <= FEED_MERGE_TURN + 10);
		if (line->time_ms == 1)
			continue;
		assert_int_equal(line->time_ms, i);
		i++;
	}
	/* It has another turn when they have nothing. */
	line = feed_merge_next(merge);
	assert_non_null(line);
	assert_int_equal(line->time_ms, 1);
	feed_merge_free(merge);
	feed_merge_free(NULL);
	for (size_t i = 0; i < 3; i++) {
		feed_free(feeds[i]);
		close(fds[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_come_in_order),
		cmocka_unit_test(what_is_written_over_is_counted),
		cmocka_unit_test(latencies),
		cmocka_unit_test(nonsense_in_the_memory),
		cmocka_unit_test(a_reader_beside_the_writer),
		cmocka_unit_test(nobody_keeps_the_others_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
