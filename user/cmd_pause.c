// SPDX-License-Identifier: BSD-2-Clause
/* Holds the namespaces of a bottle for as long as it is there, as the first process of a container,
 * and buries who dies in it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "cmd.h"

static const char help_text[] =
	"usage: egress-bpf pause\n"
	"\n"
	"Does nothing until SIGTERM: the program of a container whose network namespace others join.\n";

int cmd_pause(int argc, char **argv)
{
	sigset_t signals;
	int got = 0;

	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(help_text, stdout);
		return EXIT_OK;
	}
	if (argc > 1)
		return cmd_usage("pause", "'%s': it takes no arguments", argv[1]);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* Blocked, signals are queued for the first process of a pid namespace, too; with their
	 * default action it would be sent none (pid_namespaces(7)). */
	while (sigwait(&signals, &got) == 0 && got == SIGCHLD)
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	return EXIT_OK;
}
