// SPDX-License-Identifier: BSD-2-Clause
/* Where the wall is pinned when other users of the machine came first. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel_private.h"

#define OTHER 65534

/* A bpffs as mount(8) makes it without options, for this process alone. */
static int set_up(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			       mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0
		       ? -1
		       : 0;
}

/* As another user; what that makes is there when this returns. */
static void make_as_other(const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setgid(OTHER) < 0 || setuid(OTHER) < 0 || mkdir(path, 0755) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void assert_refused(const char *name)
{
	struct error error = {0};
	int fd = -1;

	assert_int_equal(kernel_pins_lock(name, &fd, &error), -1);
	assert_non_null(strstr(error.text, "is another user's, or others may write to it"));
}

/* Whose directory it is may remove the pins, and the wall with them. */
static void test_directories_of_others(void **state)
{
	struct error error = {0};
	int fd = -1;

	(void)state;
	make_as_other(KERNEL_PIN_ROOT);
	assert_refused("x");
	assert_int_equal(rmdir(KERNEL_PIN_ROOT), 0);
	assert_int_equal(mkdir(KERNEL_PIN_ROOT, 0700), 0);
	assert_int_equal(chmod(KERNEL_PIN_ROOT, 0777), 0);
	assert_refused("x");
	make_as_other(KERNEL_PIN_ROOT "/x");
	assert_int_equal(chmod(KERNEL_PIN_ROOT, 0755), 0);
	assert_refused("x");
	assert_int_equal(kernel_pins_lock("y", &fd, &error), 0);
	close(fd);
	assert_int_equal(rmdir(KERNEL_PIN_ROOT "/x") + rmdir(KERNEL_PIN_ROOT "/y") + rmdir(KERNEL_PIN_ROOT), 0);
}

/* Any user may lock /sys/fs: nobody of ours waits for that for good. */
static void test_lock_of_another(void **state)
{
	struct error error = {0};
	int held = open("/sys/fs", O_RDONLY | O_DIRECTORY);

	(void)state;
	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
	assert_int_equal(flock(held, LOCK_EX), 0);
	alarm(20); /* ends the test where a start would wait */
	assert_int_equal(kernel_bpffs_mount(&error), 0);
	alarm(0);
	close(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directories_of_others),
		cmocka_unit_test(test_lock_of_another),
	};

	if (geteuid() != 0) {
		puts("test_pin_directories: skipped, needs root");
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, NULL);
}
