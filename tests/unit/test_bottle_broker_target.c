// SPDX-License-Identifier: BSD-2-Clause
/* What the broker learns of a caller, on a kernel that has no pidfds of threads: Linux 6.7 and 6.8 have
 * the programs on the cgroup, but PIDFD_THREAD came with 6.9. A filter of our own plays such a kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bottle_broker_private.h"

static struct broker broker;
static int stream[2], to_thread[2];

/* The kernel's number for itself, once it runs; it stays until it is told. */
static void *report_number(void *context)
{
	char octet;

	*(pid_t *)context = (pid_t)syscall(SYS_gettid);
	if (write(stream[1], "", 1) != 1 || read(to_thread[0], &octet, 1) != 1)
		return context;
	return NULL;
}

static void forbid_pidfds_of_threads(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(pidfd_open), 1,
					SCMP_A1(SCMP_CMP_NE, 0)) < 0 ||
	    seccomp_load(filter) < 0)
		_exit(2);
	seccomp_release(filter);
}

/* 0 when the descriptor of a second thread is had by the thread's number. */
static int take_from_thread(bool old_kernel)
{
	pid_t number = 0;
	pthread_t thread;
	char octet;
	int fd;

	if (old_kernel)
		forbid_pidfds_of_threads();
	if (pthread_create(&thread, NULL, report_number, &number) != 0 ||
	    read(stream[0], &octet, 1) != 1)
		return 3;
	fd = broker_target_socket(&broker, number, stream[0]);
	if (write(to_thread[1], "", 1) != 1)
		return 4;
	pthread_join(thread, NULL);
	return fd >= 0 && fd != stream[0] ? 0 : 1;
}

static int in_a_process(bool old_kernel)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(take_from_thread(old_kernel));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int prepare(void **state)
{
	(void)state;
	broker.processes = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return broker.processes < 0 || pipe(stream) < 0 || pipe(to_thread) < 0;
}

static void thread_by_itself(void **state)
{
	(void)state;
	assert_int_equal(in_a_process(false), 0);
}

static void thread_by_its_process(void **state)
{
	(void)state;
	assert_int_equal(in_a_process(true), 0);
}

static void nobody(void **state)
{
	(void)state;
	assert_int_equal(broker_target_socket(&broker, 0x7ffffff0, 0), -EPERM);
	assert_int_equal(broker_target_socket(&broker, getpid(), 9999), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thread_by_itself),
		cmocka_unit_test(thread_by_its_process),
		cmocka_unit_test(nobody),
	};

	return cmocka_run_group_tests(tests, prepare, NULL);
}
