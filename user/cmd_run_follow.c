// SPDX-License-Identifier: BSD-2-Clause
/* A bottle that an engine starts and ends: found by name, served while its first process lives,
 * and found again. Between two lives nothing is open; the wall of the last one went with its
 * processes. */
#include "cmd_run_follow.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "diag.h"
#include "exit_status.h"
#include "supervisor.h"

#define EMPTY_ATTEMPTS 250 /* of 20 ms */

/* Before the container is looked for, so that none is lost between looking and waiting. */
static void block_signals(int how)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP); /* what it would read is read when the bottle is there */
	sigprocmask(how, &signals, NULL);
}

static int stop_descriptor(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The policy is read when the container is there anyway. */
static void forget_reloads(void)
{
	const struct timespec now = {0};
	sigset_t reload;

	sigemptyset(&reload);
	sigaddset(&reload, SIGHUP);
	while (sigtimedwait(&reload, NULL, &now) > 0)
		;
}

/* 1 found, 0 told to stop before it was there, -1 failed. Signals are blocked. */
static int find(struct run_follow *follow, struct container_finder *finder, struct error *error)
{
	int stop_fd, result;

	if (!follow->wait) {
		result = container_find(finder, &follow->found, error);
		return result ? result
			      : error_set(error, "no container '%s' is running; --wait waits for it",
					  follow->container);
	}
	diag_notice("waiting for container '%s'", follow->container);
	stop_fd = stop_descriptor();
	if (stop_fd < 0)
		return error_set(error, "signalfd: %s", strerror(errno));
	result = container_await(finder, stop_fd, &follow->found, error);
	close(stop_fd);
	forget_reloads();
	return result;
}

/* 0 when it is gone, which no cgroup has. */
static uint64_t id_of(const char *cgroup_path)
{
	uint64_t id = 0;
	uint32_t level;

	return cgroup_identity(cgroup_path, &id, &level, NULL) == 0 ? id : 0;
}

/* What is pending when the signals are let through ends us by default: nothing was begun yet. */
static int serve_once(struct run_follow *follow, struct container_finder *finder,
		      int (*serve)(void *context), void *context)
{
	struct error error = {0};
	int found, status;

	block_signals(SIG_BLOCK);
	found = find(follow, finder, &error);
	if (found == 1)
		block_signals(SIG_UNBLOCK);
	if (found < 0)
		diag_error("run: %s", error.text);
	if (found != 1)
		return found < 0 ? EXIT_FAILED : EXIT_OK;
	follow->cgroup_id = id_of(follow->found.cgroup_path);
	status = serve(context);
	container_clear(&follow->found);
	return status;
}

int run_follow(struct run_follow *follow, int (*serve)(void *context), void *context)
{
	struct container_finder *finder = NULL;
	struct error error = {0};
	int status = EXIT_FAILED;

	follow->found = CONTAINER_NONE;
	if (container_finder_new(follow->engine, follow->container, &finder, &error) < 0) {
		diag_error("run: --container: %s", error.text);
		return EXIT_FAILED;
	}
	if (follow->wait)
		diag_notice("--wait: unless '%s' is only created when it is found, its program runs for "
			    "a moment before its wall is up; 'egress-bpf start' and 'egress-bpf hook' "
			    "put the wall up first",
			    follow->container);
	do {
		follow->ended = false;
		status = serve_once(follow, finder, serve, context);
	} while (status == EXIT_OK && follow->wait && follow->ended);
	container_finder_free(finder);
	return status;
}

int run_follow_process(struct run_follow *follow, const char *cgroup_path, int pidfd,
		       struct error *error)
{
	char *path = strdup(cgroup_path);

	if (!path) {
		close(pidfd);
		return error_set(error, "out of memory");
	}
	follow->found = (struct container){.pidfd = pidfd, .cgroup_path = path, .netns_fd = -1};
	follow->cgroup_id = id_of(path);
	return 0;
}

/* ---- its end ---------------------------------------------------------------------------------- */

struct watch {
	struct run_follow *follow;
	struct supervisor *supervisor;
};

static void on_end(evutil_socket_t fd, short what, void *context)
{
	struct watch *watch = context;

	(void)fd;
	(void)what;
	watch->follow->ended = true;
	supervisor_quit(watch->supervisor);
}

int run_follow_loop(struct run_follow *follow, struct supervisor *supervisor)
{
	struct watch watch = {follow, supervisor};
	struct event *end = event_new(supervisor_base(supervisor), follow->found.pidfd, EV_READ,
				      on_end, &watch);
	int status = EXIT_FAILED;

	if (!end || event_add(end, NULL) < 0)
		diag_error("run: cannot watch the container");
	else
		status = supervisor_loop(supervisor);
	if (end)
		event_free(end);
	return status;
}

/* A pidfd can be read when its process has ended (pidfd_open(2)). */
bool run_follow_over(const struct run_follow *follow)
{
	struct pollfd end = {.fd = follow->found.pidfd, .events = POLLIN};

	return poll(&end, 1, 0) > 0;
}

/* Five seconds; a wall that stays for a straggler does no harm. */
bool run_follow_empty(const struct run_follow *follow)
{
	const struct timespec pause = {.tv_nsec = 20000000L};
	const char *path = follow->found.cgroup_path;

	for (int i = 0; i < EMPTY_ATTEMPTS; i++) {
		/* By the id: an engine that restarts the container makes another cgroup of the same
		 * path. */
		if (id_of(path) != follow->cgroup_id || cgroup_any_pid(path) == 0)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}
