// SPDX-License-Identifier: BSD-2-Clause
#include "ready.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[64];

static char *in_directory(char path[100], const char *name)
{
	snprintf(path, 100, "%s/%s", directory, name);
	return path;
}

static int listen_at(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, name, strlen(name));
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	assert_return_code(bind(fd, (struct sockaddr *)&at, length + (name[0] != '@')), errno);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	return fd;
}

static void expect(int fd, const char *text)
{
	char got[600];
	ssize_t length = recv(fd, got, sizeof(got) - 1, 0);

	assert_return_code(length, errno);
	got[length] = '\0';
	assert_int_equal(strncmp(got, text, strlen(text)), 0);
}

static void speaks_to(const char *name)
{
	struct ready *ready = NULL;
	int fd = listen_at(name);
	char byte;

	assert_int_equal(ready_open(NULL, &ready, NULL), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_int_equal(ready_say(ready, "serving", NULL), 0);
	ready_reloading(ready);
	ready_alive(ready);
	ready_stopping(ready);
	expect(fd, "READY=1\nSTATUS=serving");
	expect(fd, "RELOADING=1\nMONOTONIC_USEC=");
	expect(fd, "WATCHDOG=1");
	expect(fd, "STOPPING=1");
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	ready_free(ready);
	close(fd);
}

static void test_path_and_abstract(void **state)
{
	char path[100], name[40];

	(void)state;
	speaks_to(in_directory(path, "notify"));
	unlink(path);
	snprintf(name, sizeof(name), "@egress-unit-%d", (int)getpid());
	speaks_to(name);
}

static unsigned watchdog_of(const char *usec, const char *pid)
{
	struct ready *ready = NULL;
	unsigned ms;

	setenv("NOTIFY_SOCKET", "/nowhere", 1);
	setenv("WATCHDOG_USEC", usec, 1);
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(ready_open(NULL, &ready, NULL), 0);
	ms = ready_watchdog_ms(ready);
	ready_alive(ready); /* nobody there: no harm */
	ready_free(ready);
	return ms;
}

static void test_watchdog(void **state)
{
	char pid[16];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(watchdog_of("30000000", NULL), 15000);
	assert_int_equal(watchdog_of("30000000", pid), 15000);
	assert_int_equal(watchdog_of("30000000", "1"), 0);
	assert_int_equal(watchdog_of("nonsense", NULL), 0);
	assert_int_equal(watchdog_of("-5", NULL), 0);
	assert_int_equal(watchdog_of("99999999999999999999", NULL), 0);
	assert_null(getenv("WATCHDOG_USEC"));
}

static void test_odd_socket_names(void **state)
{
	static const char *const names[] = {"", "/", "@", "relative", "vsock:2:1"};
	char long_name[300];

	(void)state;
	memset(long_name, 'a', sizeof(long_name));
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
		struct ready *ready = NULL;

		setenv("NOTIFY_SOCKET", i < 5 ? names[i] : long_name, 1);
		assert_int_equal(ready_open(NULL, &ready, NULL), 0);
		assert_int_equal(ready_say(ready, "serving", NULL), 0);
		ready_free(ready);
	}
}

static void test_file(void **state)
{
	struct ready *ready = NULL;
	char path[100], text[32] = "";
	FILE *file;

	(void)state;
	file = fopen(in_directory(path, "ready"), "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(ready_open(path, &ready, NULL), 0);
	assert_int_equal(access(path, F_OK), -1); /* the stale one */
	assert_int_equal(ready_say(ready, "serving", NULL), 0);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_int_equal(atoi(text), getpid());
	ready_stopping(ready);
	assert_int_equal(access(path, F_OK), -1);
	ready_free(ready);
}

static void test_file_that_cannot_be_made(void **state)
{
	struct ready *ready = NULL;
	struct error error = {0};
	char path[100];

	(void)state;
	assert_int_equal(ready_open(in_directory(path, "missing/ready"), &ready, NULL), 0);
	assert_int_equal(ready_say(ready, "serving", &error), -1);
	assert_non_null(strstr(error.text, "missing/ready"));
	ready_free(ready);
	ready = NULL;
	error.text[0] = '\0';
	assert_int_equal(ready_open(directory, &ready, &error), -1); /* a directory is in its place */
	assert_non_null(strstr(error.text, directory));
	assert_null(ready);
}

static void test_nobody(void **state)
{
	(void)state;
	assert_int_equal(ready_say(NULL, "serving", NULL), 0);
	ready_reloading(NULL);
	ready_stopping(NULL);
	ready_alive(NULL);
	assert_int_equal(ready_watchdog_ms(NULL), 0);
	ready_free(NULL);
}

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/egress-ready-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path_and_abstract),
		cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_odd_socket_names),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_that_cannot_be_made),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests_name("ready", tests, make_directory, remove_directory);
}
