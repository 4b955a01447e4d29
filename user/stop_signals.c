// SPDX-License-Identifier: BSD-2-Clause
#include "stop_signals.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t stop;

static void on_stop(int number)
{
	(void)number;
	stop = 1;
}

/* Blocked but while we wait: none comes between the look at `stop` and the wait. */
void stop_signals_catch(bool hangup)
{
	const struct sigaction action = {.sa_handler = on_stop};
	const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	const size_t count = hangup ? 3 : 2;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < count; i++)
		sigaction(numbers[i], &action, NULL);
}

bool stop_signals_wait(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	sigset_t none;

	sigemptyset(&none);
	while (!stop)
		if (ppoll(&wait, 1, NULL, &none) > 0)
			return true;
	return false;
}

bool stop_signals_came(void)
{
	return stop;
}
