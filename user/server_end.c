// SPDX-License-Identifier: BSD-2-Clause
#include "server_end.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Only what is async-signal-safe: the loop may hang anywhere. */
static void on_parent_end(int number)
{
	(void)number;
	alarm(SERVER_END_S);
}

/* Not SIGKILL, as elsewhere: lines of the log are still to be written, which the control socket's end is
 * for. SA_RESTART: for who does not hang nothing has happened. */
void server_end_with_parent(void)
{
	struct sigaction action = {.sa_handler = on_parent_end, .sa_flags = SA_RESTART};

	/* The caller of the supervisor may ignore it, which exec(2) hands down. */
	(void)signal(SIGALRM, SIG_DFL);
	if (sigaction(SIGUSR2, &action, NULL) == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGUSR2);
}

void server_end_soon(void)
{
	alarm(SERVER_END_S);
}
