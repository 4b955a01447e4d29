// SPDX-License-Identifier: BSD-2-Clause
/* The process that goes into the bottle and reports over a pipe. It holds a copy of our memory: it
 * is not dumpable, and runs nothing but the attempts. */
#include "self_test_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* By alarm(2), in case we are killed before it. */
#define CHILD_SECONDS 20

enum { RECORD_SETUP = -1, RECORD_LOOPBACKS = -2, RECORD_QUERIES = -3 };
struct record {
	int index; /* of the attempt, or one of the above */
	int value;
};
#define RECORD_MAX (ATTEMPT_MAX + 2)

/* "0" is the writer itself (cgroups(7)). */
static int join(const char *cgroup_path)
{
	char path[4096];
	int fd, result;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup_path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = write(fd, "0", 1) == 1 ? 0 : -errno;
	close(fd);
	return result;
}

/* What the child is given. */
struct mission {
	const char *cgroup_path, *own_cgroup;
	bool in_cgroup; /* already */
	int netns_fd, report_fd;
	struct attempt_place place;
	enum attempt_set set;
};

/* A cgroup that hands controllers down takes no process itself: one below it is as good. */
static int enter(const struct mission *mission)
{
	int result = mission->in_cgroup ? 0 : join(mission->cgroup_path);

	if (result == -EBUSY) {
		if (mkdir(mission->own_cgroup, 0755) < 0 && errno != EEXIST)
			return -errno;
		result = join(mission->own_cgroup);
	}
	if (result == 0 && mission->netns_fd >= 0 && setns(mission->netns_fd, CLONE_NEWNET) < 0)
		result = -errno;
	return result;
}

/* The brief set is what each start tries; services are left out where there is no wall to serve. */
static bool is_in(const struct attempt *attempt, enum attempt_set set)
{
	return set == ATTEMPT_ALL || (set == ATTEMPT_BRIEF ? attempt->brief : !attempt->service);
}

static size_t make_attempts(struct mission *mission, struct record *records)
{
	size_t count = 0;

	for (size_t i = 0; i < attempt_count; i++)
		if (is_in(&attempts[i], mission->set))
			records[count++] =
				(struct record){(int)i, attempts[i].try(&mission->place)};
	records[count++] = (struct record){RECORD_LOOPBACKS, (int)mission->place.loopbacks};
	records[count++] = (struct record){RECORD_QUERIES, (int)mission->place.queries};
	return count;
}

NORETURN static void child_main(struct mission *mission)
{
	struct record records[RECORD_MAX];
	size_t length = sizeof(records[0]);
	int result;

	/* The parent's handlers would write to the parent's pipes. */
	for (int number = 1; number < SIGSYS; number++)
		signal(number, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CHILD_SECONDS);
	result = enter(mission);
	if (result < 0)
		records[0] = (struct record){RECORD_SETUP, -result};
	else
		length *= make_attempts(mission, records);
	_exit(write(mission->report_fd, records, length) == (ssize_t)length ? 0 : 1);
}

/* Born in the cgroup where that is possible: to move there later waits for a grace period of the
 * whole machine, some 7 ms. */
static pid_t start(struct mission *mission)
{
	int fd = open(mission->cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct clone_args arguments = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)fd,
	};
	pid_t pid = fd < 0 ? -1 : (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));

	mission->in_cgroup = pid == 0;
	if (pid < 0)
		pid = fork();
	if (pid == 0)
		child_main(mission);
	if (fd >= 0)
		close(fd);
	return pid;
}

int attempt_child_start(const char *cgroup_path, int netns_fd, const struct attempt_place *place,
			enum attempt_set set, struct attempt_child *ret, struct error *error)
{
	struct attempt_child child = {.fd = -1};
	struct mission mission = {
		.cgroup_path = cgroup_path, .netns_fd = netns_fd, .place = *place, .set = set};
	int ends[2];

	if (asprintf(&child.own_cgroup, "%s/egress-bpf-self-test.%d", cgroup_path,
		     (int)getpid()) < 0)
		return error_set(error, "out of memory");
	if (pipe2(ends, O_CLOEXEC) < 0) {
		free(child.own_cgroup);
		return error_set(error, "cannot make a pipe: %s", strerror(errno));
	}
	mission.own_cgroup = child.own_cgroup;
	mission.report_fd = ends[1];
	child.pid = start(&mission);
	close(ends[1]);
	if (child.pid < 0) {
		close(ends[0]);
		free(child.own_cgroup);
		return error_set(error, "cannot start a process: %s", strerror(errno));
	}
	child.fd = ends[0];
	*ret = child;
	return 0;
}

/* The bottle's root may write to the pipe as well: an index that is none is dropped, and a result
 * too many only fails the test. */
static void take_record(struct attempt_child *child, const struct record *record)
{
	if (record->index == RECORD_SETUP) {
		child->setup_error = record->value;
	} else if (record->index == RECORD_LOOPBACKS) {
		child->loopbacks = (unsigned)record->value;
	} else if (record->index == RECORD_QUERIES) {
		child->ended = true;
		child->queries = (unsigned)record->value;
	} else if (record->index >= 0 && (size_t)record->index < attempt_count) {
		child->results[record->index] = record->value;
		child->done[record->index] = true;
	}
}

/* All is written in one piece, as pipe(7) promises. */
bool attempt_child_read(struct attempt_child *child)
{
	struct record records[RECORD_MAX];
	ssize_t length = read(child->fd, records, sizeof(records));

	for (ssize_t i = 0; i < length / (ssize_t)sizeof(records[0]); i++)
		take_record(child, &records[i]);
	return length == 0 || (length < 0 && errno != EINTR && errno != EAGAIN);
}

/* Killed first: whatever it was told to say came before, or does not count. */
int attempt_child_finish(struct attempt_child *child, struct error *error)
{
	int status = 0;

	if (child->pid > 0) {
		kill(child->pid, SIGKILL);
		while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
			;
		rmdir(child->own_cgroup); /* where there is none there was no need */
	}
	if (child->fd >= 0)
		close(child->fd);
	free(child->own_cgroup);
	child->own_cgroup = NULL;
	child->pid = 0;
	child->fd = -1;
	if (child->setup_error)
		return error_set(error, "self-test: cannot enter the bottle: %s",
				 strerror(child->setup_error));
	if (!child->ended)
		return error_set(error, "self-test: the process in the bottle did not come to its "
				 "end");
	return 0;
}
