// SPDX-License-Identifier: BSD-2-Clause
/* exec's side of the bottle: pipes, one clone3(2), and waiting. The init is born in its namespaces
 * and its cgroup, so no instant passes in which something of the bottle could reach the host's
 * network; it goes on only when it is told that the walls stand. */
#include "bottle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bottle_broker.h"
#include "bottle_launch.h"
#include "bytes.h"
#include "descriptor.h"

struct bottle {
	pid_t pid; /* 0 when it was waited for */
	int pidfd;
	int plan, report, life; /* our ends */
	pid_t broker;		/* 0 when it was waited for */
	int broker_pidfd;
	int status;
};

/* ours[0] and theirs[0]: the plan, [1]: the report, [2]: life. */
static int make_pipes(struct bottle *bottle, struct launch_pipes *pipes)
{
	int plan[2], report[2], life[2];

	if (pipe2(plan, O_CLOEXEC) < 0)
		return -1;
	pipes->plan = plan[0];
	bottle->plan = plan[1];
	if (pipe2(report, O_CLOEXEC) < 0)
		return -1;
	bottle->report = report[0];
	pipes->report = report[1];
	if (pipe2(life, O_CLOEXEC) < 0)
		return -1;
	pipes->life = life[0];
	bottle->life = life[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pipes->broker) < 0)
		return -1;
	return 0;
}

/* fork() into the cgroup and new namespaces. Both in one call: there is no moment outside. A user
 * namespace is not made: the bottle's root would hold capabilities in it. */
static pid_t clone_into(int cgroup_fd, int *ret_pidfd)
{
	struct clone_args arguments = {
		.flags = CLONE_INTO_CGROUP | CLONE_PIDFD | CLONE_NEWNET | CLONE_NEWNS |
			 CLONE_NEWPID | CLONE_NEWIPC,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_fd,
	};

	return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static int start_init(struct bottle *bottle, const struct bottle_options *options,
		      const struct launch_pipes *pipes, struct error *error)
{
	int cgroup_fd = open(options->cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pid;

	if (cgroup_fd < 0)
		return error_set(error, "cannot open %s: %s", options->cgroup_path,
				 strerror(errno));
	pid = clone_into(cgroup_fd, &bottle->pidfd);
	if (pid == 0)
		bottle_init(options, pipes);
	if (pid < 0)
		error_set(error, "cannot make a process in namespaces of its own: %s",
			  strerror(errno));
	else
		bottle->pid = pid;
	close(cgroup_fd);
	return pid < 0 ? -1 : 0;
}

/* Before it is known whether one is needed: later there would be secrets in its memory. */
static int start_broker(struct bottle *bottle, const struct bottle_options *options,
			const struct launch_pipes *pipes, struct error *error)
{
	pid_t pid = bottle_broker_start(options, bottle->pid, pipes->broker[1]);

	if (pid < 0)
		return error_set(error, "cannot start a process: %s", strerror(errno));
	bottle->broker = pid;
	bottle->broker_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (bottle->broker_pidfd < 0)
		return error_set(error, "pidfd_open: %s", strerror(errno));
	return 0;
}

/* The first octet: 0 when the bottle's loopback is up. The proxy's sockets can only be opened where
 * `lo` is up, so this is waited for. */
static int await_loopback(struct bottle *bottle, struct error *error)
{
	struct error inside = {0};
	unsigned char octet;
	ssize_t got;

	do {
		got = read(bottle->report, &octet, 1);
	} while (got < 0 && errno == EINTR);
	if (got == 1 && octet == 0)
		return 0;
	if (got == 1 && read(bottle->report, inside.text, sizeof(inside.text) - 1) > 0)
		return error_set(error, "%s", inside.text);
	return error_set(error, "the sandbox's first process ended at once");
}

/* Their ends of the pipes are closed here, or we would never read the end of a dead init. */
int bottle_start(const struct bottle_options *options, struct bottle **ret, struct error *error)
{
	struct launch_pipes pipes = {-1, -1, -1, {-1, -1}};
	struct bottle *bottle = calloc(1, sizeof(*bottle));
	int rc = -1;

	if (!bottle)
		return error_set(error, "out of memory");
	bottle->pidfd = bottle->plan = bottle->report = bottle->life = -1;
	bottle->broker_pidfd = -1;
	if (make_pipes(bottle, &pipes) < 0)
		error_set(error, "cannot make a pipe: %s", strerror(errno));
	else
		rc = start_init(bottle, options, &pipes, error);
	if (rc == 0)
		rc = start_broker(bottle, options, &pipes, error);
	descriptor_close(&pipes.plan);
	descriptor_close(&pipes.report);
	descriptor_close(&pipes.life);
	descriptor_close(&pipes.broker[0]);
	descriptor_close(&pipes.broker[1]);
	if (rc == 0)
		rc = await_loopback(bottle, error);
	if (rc < 0) {
		bottle_free(bottle);
		return -1;
	}
	*ret = bottle;
	return 0;
}

pid_t bottle_pid(const struct bottle *bottle)
{
	return bottle->pid;
}

int bottle_pidfd(const struct bottle *bottle)
{
	return bottle->pidfd;
}

int bottle_prepare(struct bottle *bottle, const struct bottle_plan *plan, struct error *error)
{
	return bottle_plan_write(bottle->plan, plan, error);
}

int bottle_report_fd(const struct bottle *bottle)
{
	return bottle->report;
}

/* Text from inside, but from before the command: our own code wrote it. */
int bottle_read_report(struct bottle *bottle, struct error *error)
{
	char text[1 + sizeof(error->text)];
	size_t length = 0;
	ssize_t got;

	while (length < sizeof(text) - 1) {
		got = read(bottle->report, text + length, sizeof(text) - 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	descriptor_close(&bottle->report);
	if (length == 0)
		return 0;
	text[length] = '\0';
	error_set(error, "%s", text + 1);
	return (unsigned char)text[0];
}

/* Before its release, an init that lives has nothing to report. */
static bool has_reported(const struct bottle *bottle)
{
	struct pollfd pollfd = {.fd = bottle->report, .events = POLLIN};

	return poll(&pollfd, 1, 0) > 0;
}

/* One that has ended may have left a report, which says more than a broken pipe. The pipe is whole as
 * long as the broker has not closed what it was born with. */
int bottle_release(struct bottle *bottle, bool brokered, struct error *error)
{
	const char go = brokered ? LAUNCH_BROKERED : LAUNCH;
	bool released = !has_reported(bottle) &&
			span_write((struct span){&go, 1}, bottle->plan) == 0;

	descriptor_close(&bottle->plan);
	if (released)
		return 0;
	return bottle_read_report(bottle, error)
		       ? -1
		       : error_set(error, "the sandbox's first process has ended");
}

int bottle_broker_pidfd(const struct bottle *bottle)
{
	return bottle->broker_pidfd;
}

/* It ends in order when it is not needed, or nobody is left to need it. */
bool bottle_broker_failed(struct bottle *bottle)
{
	int status = 0;

	/* It has ended, or we were not asked: this waits for nobody but a tracer of it (strace). */
	if (bottle->broker == 0 || waitpid(bottle->broker, &status, 0) != bottle->broker)
		return false;
	bottle->broker = 0;
	return status != 0;
}

void bottle_signal(const struct bottle *bottle, int signal)
{
	/* By descriptor: the number may be somebody else's by now. */
	syscall(SYS_pidfd_send_signal, bottle->pidfd, signal, NULL, 0);
}

int bottle_wait(struct bottle *bottle)
{
	int status;
	pid_t pid;

	if (bottle->pid == 0)
		return bottle->status;
	do {
		pid = waitpid(bottle->pid, &status, 0);
	} while (pid < 0 && errno == EINTR);
	bottle->pid = 0;
	if (pid < 0)
		bottle->status = BOTTLE_NO_SANDBOX;
	else
		bottle->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
						     : WEXITSTATUS(status);
	return bottle->status;
}

/* Killing process 1 of a pid namespace kills all of it. */
void bottle_free(struct bottle *bottle)
{
	if (!bottle)
		return;
	if (bottle->pid) {
		bottle_signal(bottle, SIGKILL);
		bottle_wait(bottle);
	}
	/* It ends by itself when nobody is left to serve; not for that should anyone wait. */
	if (bottle->broker) {
		kill(bottle->broker, SIGKILL);
		while (waitpid(bottle->broker, NULL, 0) < 0 && errno == EINTR)
			;
	}
	descriptor_close(&bottle->pidfd);
	descriptor_close(&bottle->broker_pidfd);
	descriptor_close(&bottle->plan);
	descriptor_close(&bottle->report);
	descriptor_close(&bottle->life);
	free(bottle);
}
