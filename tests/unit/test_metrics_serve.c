// SPDX-License-Identifier: BSD-2-Clause
/* The server of the counters by its socket, over a metrics_collect() of ours that says as much as a
 * test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metrics.h"

#define LARGE ((size_t)17 << 20) /* more than is served */

static int asked;

/* Too much the first time, then nothing at all, then a line. */
bool metrics_collect(const char *name, struct bytes *ret)
{
	static const char zeros[4096];

	(void)name;
	asked++;
	for (size_t i = 0; asked == 1 && i < LARGE / sizeof(zeros); i++)
		if (!bytes_append(ret, zeros, sizeof(zeros)))
			abort();
	return asked != 2 && (asked == 1 || bytes_append_text(ret, "egress_up 1\n"));
}

static void say_ready(const char *address)
{
	(void)!write(STDOUT_FILENO, address, 1);
}

static void say_nothing(const char *address)
{
	(void)address;
}

/* The process that serves at `path`, leader of its group, when it listens. */
static pid_t serve(const char *path)
{
	struct error error = {0};
	int ends[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setpgid(0, 0);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		_exit(metrics_serve(path, NULL, say_ready, &error) < 0);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

/* The whole answer, to its end. */
static void get(const char *path, char *ret, size_t size)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t length = 0;
	ssize_t got;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	while (length < size - 1 && (got = read(fd, ret + length, size - 1 - length)) > 0)
		length += (size_t)got;
	ret[length] = '\0';
	close(fd);
}

static void check(const char *path, const char *status, const char *body)
{
	char answer[4096], *text;

	get(path, answer, sizeof(answer));
	text = strstr(answer, "\r\n\r\n");
	if (strncmp(answer + strlen("HTTP/1.1 "), status, strlen(status)) != 0 || !text ||
	    strcmp(text + 4, body) != 0)
		fail_msg("wanted %s with '%s', got '%s'", status, body, answer);
}

#define DIRECTORY "/tmp/egress-metrics-XXXXXX"
#define PATH_ROOM 64

/* Or the test is skipped. */
static void make_place(char *directory, char path[PATH_ROOM])
{
	if (geteuid() != 0) {
		print_message("needs root, to become nobody\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	snprintf(path, PATH_ROOM, "%s/socket", directory);
}

/* Whoever asks next is answered as ever. */
static void too_much(void **state)
{
	static const char refusal[] = "the counters take more than 16 MiB, or memory is out\n";
	char directory[] = DIRECTORY, path[PATH_ROOM];
	int status;
	pid_t pid;

	(void)state;
	make_place(directory, path);
	pid = serve(path);
	check(path, "500", refusal);
	check(path, "500", refusal);
	check(path, "200", "egress_up 1\n");
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(rmdir(directory), 0);
}

/* Ctrl-C in a terminal, and systemd, signal both processes. */
static void ends_in_order_with_its_group(void **state)
{
	char directory[] = DIRECTORY, path[PATH_ROOM];

	(void)state;
	make_place(directory, path);
	asked = 2;
	for (int i = 0; i < 50; i++) {
		pid_t pid = serve(path);
		int status;

		check(path, "200", "egress_up 1\n"); /* the other one is at work */
		assert_int_equal(kill(-pid, i % 2 ? SIGTERM : SIGINT), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(rmdir(directory), 0);
}

/* One wrong digit, and it would listen where nobody looks for it. */
static void says_what_is_no_place(void **state)
{
	static const char *const wrong[] = {
		"127.0.0.1",	    "127.0.0.1:",      "127.0.0.1:0",	 ":9469", "9469",
		"localhost:9469",   "127.0.0.1:9469x", "127.0.0.1:+94",  "127.0.0.1: 94",
		"127.0.0.1:65536",  "127.0.0.1:4294976765", "[::1]", "[::1]:", "metrics.sock",
		"127.1:9469",	    "[::1]x:9469",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct error error = {0};
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			alarm(2); /* for who does listen */
			_exit(metrics_serve(wrong[i], NULL, say_nothing, &error) == -1 &&
			      strstr(error.text, "is neither ADDR:PORT") ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status != 0)
			fail_msg("--listen '%s': taken", wrong[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_much),
		cmocka_unit_test(ends_in_order_with_its_group),
		cmocka_unit_test(says_what_is_no_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
