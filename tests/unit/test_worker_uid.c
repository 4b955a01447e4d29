// SPDX-License-Identifier: BSD-2-Clause
/* Needs to write to /run; elsewhere it says so in words that help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker_uid.h"

static int claim(const char *name, uid_t *uid)
{
	struct error error = {0};
	int fd = worker_uid_claim(name, uid, &error);

	if (fd < 0 && geteuid() != 0) {
		assert_non_null(strstr(error.text, "/run/egress-bpf"));
		return -1;
	}
	if (fd < 0)
		fail_msg("%s", error.text);
	return fd;
}

/* In two processes that have hashed nothing yet: a restarted supervisor is another process. */
static void same_after_a_restart(void **state)
{
	uid_t uids[2] = {0, 0};
	int told[2], status;

	(void)state;
	assert_int_equal(pipe(told), 0);
	for (int i = 0; i < 2; i++) {
		pid_t child = fork();

		if (child == 0) {
			if (claim("ci-of-a-restart", &uids[0]) >= 0)
				(void)!write(told[1], &uids[0], sizeof(uids[0]));
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (geteuid() == 0)
			assert_int_equal(read(told[0], &uids[i], sizeof(uids[i])), sizeof(uids[i]));
	}
	assert_int_equal(uids[0], uids[1]);
	close(told[0]);
	close(told[1]);
}

static void each_has_its_own(void **state)
{
	uid_t uids[64];
	int fds[64];

	(void)state;
	for (int i = 0; i < 64; i++) {
		/* The same name twice: two bottles of one name are still two. */
		fds[i] = claim(i % 2 ? "ci-1" : "ci-2", &uids[i]);
		if (fds[i] < 0)
			return;
		assert_true(uids[i] >= WORKER_UID_SMALL_FIRST);
		for (int k = 0; k < i; k++)
			assert_int_not_equal(uids[i], uids[k]);
	}
	for (int i = 0; i < 64; i++)
		close(fds[i]);
}

static void taken_while_the_holder_lives(void **state)
{
	uid_t mine, again;
	int fd = claim("ci-of-a-test", &mine), other, status, told[2];
	char byte = 0;

	(void)state;
	if (fd < 0)
		return;
	close(fd);
	assert_int_equal(pipe(told), 0);
	pid_t child = fork();
	if (child == 0) {
		byte = claim("ci-of-a-test", &again) >= 0 && again == mine ? 'y' : 'n';
		(void)!write(told[1], &byte, 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	other = claim("ci-of-a-test", &again);
	assert_int_not_equal(again, mine);
	close(other);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	fd = claim("ci-of-a-test", &again);
	assert_int_equal(again, mine);
	close(fd);
	close(told[0]);
	close(told[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_after_a_restart), /* first: see there */
		cmocka_unit_test(each_has_its_own),
		cmocka_unit_test(taken_while_the_holder_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
