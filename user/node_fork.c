// SPDX-License-Identifier: BSD-2-Clause
/* libevent's handler writes the signal's number to a socket, which a child has, too, until it closes it or
 * calls execve(2): a child that is told to end before that told its agent to. */
#include "node_fork.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* Those of node.c. What a sanitizer handles stays. */
static void forget_handlers(void)
{
	static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};

	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		signal(handled[i], SIG_DFL);
}

/* What is sent to the child meanwhile waits, and meets the default. */
pid_t node_fork(void)
{
	sigset_t all, none, before;
	pid_t pid;

	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		forget_handlers();
	sigprocmask(SIG_SETMASK, pid == 0 ? &none : &before, NULL);
	return pid;
}
