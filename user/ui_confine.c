// SPDX-License-Identifier: BSD-2-Clause
#include "ui_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "privileges.h"

#define NOBODY 65534
#define OPEN_FILES 256

/* Bytes written to a terminal are commands to it, and it is root's. */
static bool leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	bool fine = fd >= 0 && dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0;

#ifndef SANITIZED
	fine = fine && dup2(fd, STDERR_FILENO) >= 0;
#endif
	if (fd > STDERR_FILENO)
		close(fd);
	return fine;
}

/* A copy came with fork(2), and there are tokens among them. */
static void forget_environment(void)
{
	for (char **at = environ; *at; at++)
		OPENSSL_cleanse(*at, strlen(*at));
}

/* Beside privileges_limit_calls(), which is a worker's: this one dials nobody and opens nothing. Refused
 * rather than deadly, as libc tries the time zone's file. */
static bool limit_further(void)
{
#ifdef SANITIZED
	return true;
#else
	static const int calls[] = {SCMP_SYS(open),   SCMP_SYS(openat),	 SCMP_SYS(socket),
				    SCMP_SYS(connect), SCMP_SYS(bind),	 SCMP_SYS(bpf),
				    SCMP_SYS(clone),   SCMP_SYS(socketpair)};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc = filter ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), calls[i], 0);
	if (rc == 0)
		rc = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return rc == 0;
#endif
}

/* In this order: a change of ids forgets the signal of the parent's death, prctl(2); privileges_drop()
 * raises the limit of files; and under privileges_limit_calls() no other filter is loaded. */
bool ui_confine(pid_t parent)
{
	const struct rlimit files = {OPEN_FILES, OPEN_FILES}, nothing = {0, 0};

	forget_environment();
	return leave_terminal() && privileges_drop(NOBODY, NOBODY, -1, NULL) == 0 &&
	       setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_FSIZE, &nothing) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && limit_further() &&
	       privileges_limit_calls(NULL, 0, NULL) == 0;
}
