// SPDX-License-Identifier: BSD-2-Clause
/* What is left when an exec is killed: nothing. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bottle_janitor.h"
#include "cgroup.h"
#include "kernel_private.h"

static char *root, name[64];

struct fake_exec {
	pid_t pid, janitor;
	char cgroup[512];
};

/* In the bottle until it is killed. */
static void sleep_inside(const char *cgroup, int ready)
{
	char path[600];
	FILE *file;

	/* the end of the janitor's pipe, as the bottle's init does */
	close_range((unsigned)ready + 1, ~0U, 0);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	file = fopen(path, "we");
	if (file && fprintf(file, "%d", (int)getpid()) > 0 && fclose(file) == 0 &&
	    write(ready, "", 1) == 1)
		pause();
	_exit(1);
}

static pid_t janitor_of(pid_t pid)
{
	char path[64], children[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(children, sizeof(children), file));
	fclose(file);
	return (pid_t)strtol(children, NULL, 10);
}

/* A process that holds a bottle as exec does. */
static struct fake_exec start(const char *bottle)
{
	struct fake_exec exec;
	int ready[2];
	char octet;

	assert_int_equal(pipe(ready), 0);
	exec.pid = fork();
	if (exec.pid == 0) {
		struct janitor *janitor = NULL;
		char own[64];

		snprintf(own, sizeof(own), "exec-%d", (int)getpid());
		if (janitor_start(root, bottle ? bottle : own, &janitor, NULL) < 0)
			_exit(1);
		if (fork() == 0)
			sleep_inside(janitor_cgroup(janitor), ready[1]);
		pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &octet, 1), 1);
	close(ready[0]);
	close(ready[1]);
	if (bottle)
		snprintf(exec.cgroup, sizeof(exec.cgroup), "%s/egress-bpf.%s", root, bottle);
	else
		snprintf(exec.cgroup, sizeof(exec.cgroup), "%s/egress-bpf.exec-%d", root,
			 (int)exec.pid);
	assert_true(cgroup_any_pid(exec.cgroup) > 0);
	exec.janitor = janitor_of(exec.pid);
	return exec;
}

static void kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void wait_until_gone(const char *path)
{
	for (int i = 0; i < 300 && access(path, F_OK) == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(access(path, F_OK), -1);
}

static void finish(struct janitor *janitor)
{
	struct error error = {0};

	if (janitor_finish(janitor, &error) < 0)
		fail_msg("%s", error.text);
}

static void test_killed_exec(void **state)
{
	struct fake_exec exec = start(NULL);

	(void)state;
	kill_and_wait(exec.pid);
	wait_until_gone(exec.cgroup);
}

/* Both killed: the next exec finds it, and leaves a living one alone. */
static void test_killed_with_its_janitor(void **state)
{
	struct fake_exec dead = start(NULL), alive = start(NULL);
	struct janitor *janitor = NULL;
	struct error error = {0};

	(void)state;
	kill(dead.janitor, SIGKILL);
	kill_and_wait(dead.pid);
	assert_int_equal(access(dead.cgroup, F_OK), 0);
	assert_int_equal(janitor_start(root, name, &janitor, &error), 0);
	assert_int_equal(access(dead.cgroup, F_OK), -1);
	assert_true(cgroup_any_pid(alive.cgroup) > 0);
	finish(janitor);
	kill_and_wait(alive.pid);
	wait_until_gone(alive.cgroup);
}

/* A bottle named as an exec in another pid namespace names it: a number that is nobody's here. Between
 * its cgroup and its wall nothing but the janitor's lock tells that it lives. */
static void test_other_pid_namespace(void **state)
{
	struct janitor *janitor = NULL;
	struct error error = {0};
	struct fake_exec alive;
	char foreign[64];
	pid_t ended = fork();

	(void)state;
	if (ended == 0)
		_exit(0);
	waitpid(ended, NULL, 0);
	snprintf(foreign, sizeof(foreign), "exec-%d", (int)ended);
	alive = start(foreign);
	assert_int_equal(janitor_start(root, name, &janitor, &error), 0);
	assert_true(cgroup_any_pid(alive.cgroup) > 0);
	finish(janitor);
	kill_and_wait(alive.pid);
	wait_until_gone(alive.cgroup);
}

static void test_names(void **state)
{
	struct fake_exec exec = start(name);
	struct janitor *janitor = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(janitor_start(root, name, &janitor, &error), -1);
	assert_non_null(strstr(error.text, "is running"));
	kill_and_wait(exec.pid);
	wait_until_gone(exec.cgroup);
	assert_int_equal(janitor_start(root, name, &janitor, &error), 0);
	assert_int_equal(access(janitor_cgroup(janitor), F_OK), 0);
	finish(janitor);
	assert_int_equal(access(exec.cgroup, F_OK), -1);
}

/* Its name is taken from the cgroup on, before anything runs in it: an exec of the same pid in another pid
 * namespace has the same one. */
static void test_name_of_an_empty_one(void **state)
{
	struct janitor *first = NULL, *second = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(janitor_start(root, name, &first, &error), 0);
	assert_int_equal(janitor_start(root, name, &second, &error), -1);
	assert_non_null(strstr(error.text, "is running; choose another --name"));
	assert_int_equal(access(janitor_cgroup(first), F_OK), 0);
	finish(first);
}

/* A process of another user, which holds a lock on the root of the cgroups for as long as `done` is open. */
static pid_t start_stranger(int done[2])
{
	int ready[2];
	char octet;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		close(done[1]);
		if (fd < 0 || setgid(65534) < 0 || setuid(65534) < 0 || flock(fd, LOCK_EX) < 0 ||
		    write(ready[1], "", 1) != 1 || read(done[0], &octet, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(done[0]);
	assert_int_equal(read(ready[0], &octet, 1), 1);
	close(ready[0]);
	return pid;
}

/* Whom the directories of the cgroups let in may lock them: nobody of ours waits for that long. */
static void test_locks_of_others(void **state)
{
	struct janitor *janitor = NULL;
	struct error error = {0};
	struct stat status;
	int done[2], ended;
	pid_t stranger = start_stranger(done);

	(void)state;
	alarm(20); /* ends the test where exec would wait for good */
	assert_int_equal(janitor_start(root, name, &janitor, &error), 0);
	assert_int_equal(stat(janitor_cgroup(janitor), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	finish(janitor);
	alarm(0);
	close(done[1]);
	assert_int_equal(waitpid(stranger, &ended, 0), stranger);
	assert_int_equal(ended, 0);
}

static int set_up(void **state)
{
	struct error error = {0};

	(void)state;
	snprintf(name, sizeof(name), "test-janitor-%d", (int)getpid());
	return cgroup_root(&root, &error);
}

static int tear_down(void **state)
{
	(void)state;
	free(root);
	return 0;
}


/* bpffs has no dots in names: the pins of a.b are in a+b. Nobody serves the wall, and it stands. */
static void test_wall_of_a_run(void **state)
{
	char dotted[64], pins[128];
	struct janitor *janitor = NULL;
	struct error error = {0};

	(void)state;
	snprintf(dotted, sizeof(dotted), "test.run-%d", (int)getpid());
	snprintf(pins, sizeof(pins), KERNEL_PIN_ROOT "/test+run-%d", (int)getpid());
	assert_int_equal(kernel_bpffs_mount(&error), 0);
	(void)mkdir(KERNEL_PIN_ROOT, 0700);
	assert_int_equal(mkdir(pins, 0700), 0);
	assert_int_equal(janitor_start(root, dotted, &janitor, &error), -1);
	assert_non_null(strstr(error.text, "is the wall of a 'run'"));
	assert_int_equal(access(pins, F_OK), 0);
	rmdir(pins);
	rmdir(KERNEL_PIN_ROOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_exec),
		cmocka_unit_test(test_killed_with_its_janitor),
		cmocka_unit_test(test_other_pid_namespace),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_name_of_an_empty_one),
		cmocka_unit_test(test_locks_of_others),
		cmocka_unit_test(test_wall_of_a_run),
	};

	if (geteuid() != 0) {
		puts("test_bottle_janitor: skipped, needs root");
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
