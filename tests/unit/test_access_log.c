// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "access_log.h"
#include "address.h"
#include "utf8.h"

static int memory_file(void)
{
	char path[] = "/tmp/test_access_log.XXXXXX";
	int fd = mkostemp(path, O_APPEND);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

/* Everything in the file, parsed line by line: an array. */
static json_t *lines_of(int fd)
{
	json_t *all = json_array();
	FILE *file = fdopen(dup(fd), "r");
	char *line = NULL;
	size_t size = 0;

	rewind(file);
	while (getline(&line, &size, file) >= 0) {
		json_error_t error;
		json_t *object;

		if (strcmp(line, "\n") == 0)
			continue;
		object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
		if (!object)
			fail_msg("%s: %s", error.text, line);
		json_array_append_new(all, object);
	}
	free(line);
	fclose(file);
	return all;
}

static const char *text(json_t *lines, size_t index, const char *key)
{
	return json_string_value(json_object_get(json_array_get(lines, index), key));
}

static long long number(json_t *lines, size_t index, const char *key)
{
	json_t *value = json_object_get(json_array_get(lines, index), key);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static bool has(json_t *lines, size_t index, const char *key)
{
	return json_object_get(json_array_get(lines, index), key) != NULL;
}

/* One record to a file of its own. */
static json_t *logged(const struct access_record *record, bool log_query)
{
	int fd = memory_file();
	struct access_log *log = access_log_new(fd, "dev", log_query);
	json_t *lines;

	access_log_write(log, record);
	lines = lines_of(fd);
	assert_int_equal(json_array_size(lines), 1);
	access_log_free(log);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC & fcntl(fd, F_GETFD)); /* still open */
	close(fd);
	return lines;
}

/* Text is looked at eight bytes at a time: each byte of ASCII at each place comes out as it went in. */
static void escapes_everywhere(void **state)
{
	char path[20] = "/";
	int fd = memory_file();
	struct access_log *log = access_log_new(fd, "dev", true);
	json_t *lines;

	(void)state;
	for (size_t at = 1; at < sizeof(path); at++) {
		for (unsigned byte = 1; byte < 0x80; byte++) {
			struct access_record record = {.source = "proxy",
						       .target = {path, sizeof(path)}};

			memset(path + 1, 'p', sizeof(path) - 1);
			path[at] = (char)byte;
			access_log_write(log, &record);
		}
	}
	lines = lines_of(fd);
	for (size_t at = 1, i = 0; at < sizeof(path); at++) {
		for (unsigned byte = 1; byte < 0x80; byte++, i++) {
			const char *came = text(lines, i, "path");

			assert_int_equal(strlen(came), sizeof(path));
			assert_int_equal(came[at], byte);
			assert_int_equal(came[sizeof(path) - 1], at == sizeof(path) - 1 ? byte : 'p');
		}
	}
	json_decref(lines);
	access_log_free(log);
	close(fd);
}

static void whole_record(void **state)
{
	struct egress_process process = {.pid = 12, .tgid = 11, .comm = "curl"};
	struct egress_address address;
	struct access_record record = {
		.source = "proxy",
		.process = &process,
		.host = "api.example.com",
		.address = &address,
		.port = 443,
		.protocol = "https",
		.method = SPAN("POST"),
		.target = SPAN("/v1/x?key=secret"),
		.route = "api.example.com",
		.route_file = "routes.yaml",
		.route_line = 3,
		.reason = EGRESS_ALLOWED,
		.status = 200,
		.bytes_up = 10,
		.bytes_down = 18446744073709551ull,
		.microseconds = 1234005,
		.reused = true,
	};
	json_t *lines;
	struct tm tm;
	double ms;

	(void)state;
	assert_true(address_parse("203.0.113.9", &address));
	lines = logged(&record, false);
	assert_string_equal(text(lines, 0, "bottle"), "dev");
	assert_string_equal(text(lines, 0, "source"), "proxy");
	assert_int_equal(number(lines, 0, "pid"), 11);
	assert_string_equal(text(lines, 0, "command"), "curl");
	assert_string_equal(text(lines, 0, "host"), "api.example.com");
	assert_string_equal(text(lines, 0, "address"), "203.0.113.9");
	assert_int_equal(number(lines, 0, "port"), 443);
	assert_string_equal(text(lines, 0, "protocol"), "https");
	assert_string_equal(text(lines, 0, "method"), "POST");
	assert_string_equal(text(lines, 0, "path"), "/v1/x");
	assert_string_equal(text(lines, 0, "route"), "api.example.com (routes.yaml:3)");
	assert_string_equal(text(lines, 0, "verdict"), "allowed");
	assert_string_equal(text(lines, 0, "reason"), "allowed");
	assert_int_equal(number(lines, 0, "status"), 200);
	assert_int_equal(number(lines, 0, "bytes_up"), 10);
	assert_int_equal(number(lines, 0, "bytes_down"), 18446744073709551LL);
	ms = json_real_value(json_object_get(json_array_get(lines, 0), "ms"));
	assert_true(ms > 1234.0049 && ms < 1234.0051);
	assert_true(json_is_true(json_object_get(json_array_get(lines, 0), "reused")));
	assert_non_null(strptime(text(lines, 0, "time"), "%Y-%m-%dT%H:%M:%S", &tm));
	/* time(2) takes the coarse clock, which may still be in the second before. */
	assert_in_range(time(NULL) + 1 - timegm(&tm), 0, 3);
	assert_int_equal(strlen(text(lines, 0, "time")), 24);
	assert_string_equal(text(lines, 0, "time") + 23, "Z");
	json_decref(lines);
}

static void bare_record(void **state)
{
	struct access_record record = {.source = "kernel", .reason = EGRESS_HOST_NOT_ALLOWED};
	json_t *lines = logged(&record, false);
	static const char *const absent[] = {"pid",    "command", "host",    "address", "port",
					     "method", "path",    "route",   "status",  "lost",
					     "detail", "reused",  "protocol"};

	(void)state;
	assert_string_equal(text(lines, 0, "verdict"), "refused");
	assert_string_equal(text(lines, 0, "reason"), "host_not_allowed");
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		assert_false(has(lines, 0, absent[i]));
	json_decref(lines);
}

static void assert_path(const char *target, bool query, const char *expected)
{
	struct access_record record = {.target = span_from(target)};
	json_t *lines = logged(&record, query);

	assert_string_equal(text(lines, 0, "path"), expected);
	json_decref(lines);
}

static void queries_and_passwords(void **state)
{
	(void)state;
	assert_path("/a?b=c", false, "/a");
	assert_path("/a?b=c", true, "/a?b=c");
	assert_path("*", false, "*");
	assert_path("a.example:443", false, "a.example:443");
	assert_path("user:pass@a.example:443", false, "a.example:443");
	assert_path("http://user:pass@a.example/x?y", false, "/x");
	assert_path("http://user:pass@a.example", true, "/");
}

/* Every byte, and UTF-8 good and bad: what comes back must be valid and the same where it can. */
static void hostile_bytes(void **state)
{
	static const struct {
		struct span in;
		const char *out;
	} cases[] = {
		{SPAN("/\"\\\n\r\t\x1b[31m\x7f"), "/\"\\\n\r\t\x1b[31m\x7f"},
		{SPAN("/gr\xc3\xbc\xc3\x9f"), "/gr\xc3\xbc\xc3\x9f"},
		{SPAN("/\xf0\x9f\x90\xb3!"), "/\xf0\x9f\x90\xb3!"},
		{SPAN("/\xc2\x9b"
		      "31m"),
		 "/\xc2\x9b"
		 "31m"},
		{SPAN("/\x80"), "/\xef\xbf\xbd"},
		{SPAN("/\xc3"), "/\xef\xbf\xbd"},
		{SPAN("/\xc0\xaf"), "/\xef\xbf\xbd\xef\xbf\xbd"},
		{SPAN("/\xe0\x80\xaf"), "/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{SPAN("/\xed\xa0\x80"), "/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{SPAN("/\xf4\x90\x80\x80"), "/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{SPAN("/\xf0\x9f\x90"), "/\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct access_record record = {.target = cases[i].in};
		json_t *lines = logged(&record, false);

		assert_string_equal(text(lines, 0, "path"), cases[i].out);
		json_decref(lines);
	}
}

static void no_raw_controls(void **state)
{
	static const char turned[] = "\xe2\x80\xae\xe2\x80\xa9\xe2\x81\xa6\xd8\x9c\xef\xbb\xbf";
	char target[512], line[8192];
	struct access_record record = {.target = {target, sizeof(target)}};
	int fd = memory_file();
	struct access_log *log = access_log_new(fd, "dev", true);
	ssize_t count;

	(void)state;
	for (size_t i = 0; i < sizeof(target); i++)
		target[i] = (char)(i + 1);
	memcpy(target + sizeof(target) - strlen(turned), turned, strlen(turned));
	access_log_write(log, &record);
	count = pread(fd, line, sizeof(line), 0);
	assert_true(count > 512);
	for (ssize_t i = 0; i < count - 1; i++)
		assert_true(utf8_unsafe(line + i) == 0);
	line[count] = '\0';
	assert_non_null(strstr(line, "\\u202e\\u2029\\u2066\\u061c\\ufeff"));
	assert_int_equal(line[count - 1], '\n');
	access_log_free(log);
	close(fd);
}

/* The largest of everything, through a pipe: at most PIPE_BUF, so never torn. */
static void long_fields(void **state)
{
	char huge[40000], name[300], line[LINE_MAX + PIPE_BUF];
	struct egress_process process = {.tgid = 4294967295u};
	struct egress_address address;
	struct access_record record = {.source = "kernel",
				       .process = &process,
				       .host = name,
				       .address = &address,
				       .port = 65535,
				       .protocol = "https",
				       .method = {huge, sizeof(huge)},
				       .target = {huge, sizeof(huge)},
				       .route = name,
				       .route_file = name,
				       .route_line = UINT_MAX,
				       .detail = name,
				       .status = 599,
				       .bytes_up = INT64_MAX,
				       .bytes_down = INT64_MAX,
				       .microseconds = INT64_MAX,
				       .reused = true};
	int fds[2], fd = memory_file();
	struct access_log *log;
	json_t *lines;
	ssize_t count;

	(void)state;
	memset(huge, '\x01', sizeof(huge));
	memset(name, '\x02', sizeof(name));
	name[sizeof(name) - 1] = 0;
	memset(process.comm, '\x03', sizeof(process.comm));
	memset(&address, 0xfd, sizeof(address));
	assert_int_equal(pipe(fds), 0);
	log = access_log_new(fds[1], name, true);
	access_log_write(log, &record);
	count = read(fds[0], line, sizeof(line));
	assert_in_range(count, 3000, PIPE_BUF);
	assert_int_equal(write(fd, line, (size_t)count), count);
	lines = lines_of(fd);
	assert_int_equal(json_array_size(lines), 1);
	json_decref(lines);
	access_log_free(log);
	close(fd);
	close(fds[0]);
	close(fds[1]);
	/* A file takes more of a path, and says where it was cut. */
	memset(huge, 'a', sizeof(huge));
	lines = logged(&record, true);
	assert_int_equal(strlen(text(lines, 0, "path")), 16384 + 3);
	assert_string_equal(text(lines, 0, "path") + 16384, "...");
	json_decref(lines);
}

/* A reader that does not read: lines are lost and counted, the writer goes on at once. */
static void full_reader(int reader, int writer)
{
	struct access_record record = {.source = "proxy", .target = SPAN("/some/path")};
	struct access_log *log = access_log_new(writer, "dev", false);
	char block[65536];
	int fd = memory_file(), written = 20000;
	long long lost = 0;
	json_t *lines;
	ssize_t count;

	alarm(20); /* blocked: killed */
	for (int i = 0; i < written; i++)
		access_log_write(log, &record);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
		while ((count = read(reader, block, sizeof(block))) > 0)
			assert_int_equal(write(fd, block, (size_t)count), count);
		access_log_write(log, &record);
		written++;
	}
	while ((count = read(reader, block, sizeof(block))) > 0)
		assert_int_equal(write(fd, block, (size_t)count), count);
	alarm(0);
	lines = lines_of(fd);
	for (size_t i = 0; i < json_array_size(lines); i++)
		if (has(lines, i, "lost"))
			lost += number(lines, i, "lost");
	assert_true(lost > 0);
	assert_int_equal(lost + (long long)json_array_size(lines), written);
	json_decref(lines);
	access_log_free(log);
	close(fd);
	close(reader);
	close(writer);
}

static void full_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	full_reader(fds[0], fds[1]);
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	full_reader(fds[0], fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	full_reader(fds[0], fds[1]);
}

static void count_call(void *context)
{
	++*(int *)context;
}

static size_t lines_in(int fd)
{
	json_t *lines = lines_of(fd);
	size_t count = json_array_size(lines);

	json_decref(lines);
	return count;
}

static void lines_are_gathered(void **state)
{
	struct access_record record = {.source = "proxy", .target = SPAN("/some/path")};
	int fd = memory_file(), also = memory_file(), calls = 0, written = 1000;
	struct access_log *log = access_log_new(fd, "dev", false);
	size_t before;

	(void)state;
	access_log_also(log, also, ACCESS_LOG_ALSO_LIMIT);
	access_log_gather(log, count_call, &calls);
	access_log_write(log, &record);
	access_log_write(log, &record);
	assert_int_equal(calls, 1);
	assert_int_equal(lines_in(fd), 0);
	access_log_flush(log);
	access_log_flush(log);
	assert_int_equal(lines_in(fd), 2);
	assert_int_equal(lines_in(also), 2);
	/* A flood is written as it fills the room. */
	for (int i = 0; i < written; i++)
		access_log_write(log, &record);
	before = lines_in(fd);
	assert_in_range(before, written / 2, written + 1);
	access_log_free(log);
	assert_int_equal(lines_in(fd), written + 2);
	assert_int_equal(lines_in(also), written + 2);
	close(fd);
	close(also);
}

/* Two workers and one file: the limit is the file's. */
static void limit_is_shared(void **state)
{
	struct access_record record = {.source = "proxy", .target = SPAN("/some/path")};
	struct access_log *logs[2] = {access_log_new(-1, "dev", false), access_log_new(-1, "dev", false)};
	int also = memory_file();
	off_t size;

	(void)state;
	access_log_also(logs[0], also, 2000);
	access_log_also(logs[1], also, 2000);
	for (int i = 0; i < 100; i++)
		access_log_write(logs[i % 2], &record);
	size = lseek(also, 0, SEEK_END);
	assert_in_range(size, 1500, 2000 + 2 * strlen("{\"lost\":1}\n"));
	assert_in_range(lines_in(also), 5, 30);
	access_log_free(logs[0]);
	access_log_free(logs[1]);
	close(also);
}

static json_int_t lost_of_last(int fd)
{
	json_t *lines = lines_of(fd), *last = json_array_get(lines, json_array_size(lines) - 1);
	json_int_t lost = json_integer_value(json_object_get(last, "lost"));

	json_decref(lines);
	return lost;
}

static struct feed *new_feed(void)
{
	int fd = feed_memory();
	struct feed *feed = feed_open(fd, "t-");

	assert_non_null(feed);
	close(fd);
	return feed;
}

/* As when a worker is killed: its log is never flushed, and its feed is the supervisor's as well. */
static void gathered_lines_outlive_their_writer(void **state)
{
	struct access_record record = {.source = "proxy", .target = SPAN("/some/path")};
	static const char *const nonsense[] = {"", "{", "not JSON", "{}\n{}", "{\"half\":"};
	int fd = memory_file(), also = memory_file(), calls = 0;
	struct access_log *log = access_log_new(fd, "dev", false), *other = access_log_new(fd, "dev", false);
	struct feed *feed = new_feed();

	(void)state;
	access_log_also(log, also, ACCESS_LOG_ALSO_LIMIT);
	access_log_also(other, also, ACCESS_LOG_ALSO_LIMIT);
	access_log_feed(log, feed);
	access_log_gather(log, count_call, &calls);
	for (int i = 0; i < 3; i++)
		access_log_write(log, &record);
	access_log_flush(log);
	access_log_recover(other, feed);
	assert_int_equal(lines_in(fd), 3);
	access_log_write(log, &record);
	access_log_write(log, &record);
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		feed_write(feed, FEED_ALL, 0, (struct span){nonsense[i], strlen(nonsense[i])});
	access_log_recover(other, feed);
	assert_int_equal(lines_in(fd), 5);
	assert_int_equal(lines_in(also), 5);
	access_log_recover(other, feed);
	assert_int_equal(lines_in(fd), 5);
	access_log_write(other, &record);
	assert_int_equal(lost_of_last(fd), sizeof(nonsense) / sizeof(nonsense[0]));
	/* What a writer that was taken over says of its place. */
	feed_set_logged(feed, (struct feed_cursor){UINT64_MAX - 5, UINT64_MAX});
	access_log_recover(other, feed);
	assert_int_equal(lines_in(fd), 6 + 5);
	access_log_free(other);
	access_log_free(log);
	feed_free(feed);
	close(fd);
	close(also);
}

/* Each line of a log that gathers nothing is in the file before it is in the feed. */
static void lines_written_at_once_are_not_recovered(void **state)
{
	struct access_record record = {.source = "proxy"};
	int fd = memory_file();
	struct access_log *log = access_log_new(fd, "dev", false);
	struct feed *feed = new_feed();

	(void)state;
	access_log_feed(log, feed);
	access_log_write(log, &record);
	access_log_write(log, &record);
	access_log_missed(log, "kernel", 3);
	access_log_recover(log, feed);
	assert_int_equal(lines_in(fd), 3);
	access_log_free(log);
	feed_free(feed);
	close(fd);
}

/* The disk is full in the middle of what was gathered: what did not get there is counted. */
static void gathered_lines_are_lost(void **state)
{
	struct access_record record = {.source = "proxy", .target = SPAN("/some/path")};
	struct rlimit before, small = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
	int fd = memory_file(), calls = 0, written = 10;
	struct access_log *log = access_log_new(fd, "dev", false);
	char text[8192];
	ssize_t count, last;
	json_t *line;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	access_log_gather(log, count_call, &calls);
	for (int i = 0; i < written; i++)
		access_log_write(log, &record);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	access_log_flush(log);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	count = pread(fd, text, sizeof(text), 0);
	assert_int_equal(count, 1000);
	written = 10;
	for (ssize_t i = 0; i < count; i++)
		written -= text[i] == '\n';
	assert_in_range(written, 1, 9);
	access_log_write(log, &record);
	access_log_write(log, &record);
	access_log_free(log);
	count = pread(fd, text, sizeof(text) - 1, 1000);
	assert_int_equal(text[0], '\n');
	text[count] = 0;
	line = json_loadb(text + 1, strcspn(text + 1, "\n"), 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(line, "lost")), written);
	json_decref(line);
	last = (ssize_t)strcspn(text + 1, "\n") + 2;
	assert_null(strstr(text + last, "lost"));
	assert_int_equal(text[count - 1], '\n');
	close(fd);
}

/* What is said on standard error while three records are written, of which no more than `limit` bytes fit
 * in the file. */
static const char *said_while(struct access_log *log, rlim_t limit)
{
	static char text[2048];
	struct access_record record = {.source = "proxy"};
	struct rlimit before, small;
	int fds[2], error = dup(STDERR_FILENO);
	ssize_t length;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = limit, .rlim_max = before.rlim_max};
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 3; i++)
		access_log_write(log, &record);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	dup2(error, STDERR_FILENO);
	length = read(fds[0], text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = '\0';
	close(fds[0]);
	close(fds[1]);
	close(error);
	return text;
}

/* Once when it begins and once when it ends; when it begins again soon, not at all. */
static void full_disk_is_told(void **state)
{
	int fd = memory_file();
	struct access_log *log = access_log_new(fd, "dev", false);
	struct feed *feed = new_feed();
	const char *said;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	access_log_feed(log, feed);
	assert_string_equal(said_while(log, RLIM_INFINITY), "");
	said = said_while(log, 0);
	assert_string_equal(said, "egress-bpf: warning: dev: the log cannot be written (File too large): "
				  "records are LOST, what is decided stays the same\n");
	assert_int_equal(feed_tally(feed, TALLY_LOG_LOST), 3);
	assert_string_equal(said_while(log, RLIM_INFINITY),
			    "egress-bpf: warning: dev: the log is written again; 3 records are missing "
			    "before this\n");
	assert_string_equal(said_while(log, 0), "");
	assert_string_equal(said_while(log, RLIM_INFINITY), "");
	assert_int_equal(feed_tally(feed, TALLY_LOG_LOST), 6);
	access_log_free(log);
	feed_free(feed);
	close(fd);
}

static void flags_are_not_touched(void **state)
{
	int fds[2];
	struct access_log *log;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log = access_log_new(fds[1], "dev", false);
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	access_log_free(log);
	close(fds[0]);
	close(fds[1]);
}

static void nowhere(void **state)
{
	struct access_record record = {.source = "proxy"};
	struct access_log *log = access_log_new(-1, "dev", false);

	(void)state;
	assert_non_null(log);
	access_log_write(log, &record);
	access_log_free(log);
	access_log_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes_everywhere), cmocka_unit_test(whole_record),
		cmocka_unit_test(bare_record),
		cmocka_unit_test(queries_and_passwords),
		cmocka_unit_test(hostile_bytes),
		cmocka_unit_test(no_raw_controls),
		cmocka_unit_test(long_fields),
		cmocka_unit_test(full_pipe),
		cmocka_unit_test(lines_are_gathered),
		cmocka_unit_test(gathered_lines_outlive_their_writer),
		cmocka_unit_test(lines_written_at_once_are_not_recovered),
		cmocka_unit_test(gathered_lines_are_lost),
		cmocka_unit_test(full_disk_is_told),
		cmocka_unit_test(limit_is_shared),
		cmocka_unit_test(flags_are_not_touched),
		cmocka_unit_test(nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
