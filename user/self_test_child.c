// SPDX-License-Identifier: BSD-2-Clause
/* The process that goes into the bottle and reports over a pipe. It holds a copy of our memory: it
 * is not dumpable, and runs nothing but the attempts. */
#include "self_test_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 20

enum { RECORD_SETUP = -1, RECORD_LOOPBACKS = -2, RECORD_QUERIES = -3 };
struct record {
	int index; /* of the attempt, or one of the above */
	int value;
};

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

/* A cgroup that hands controllers down takes no process itself: one below it is as good. */
static int enter(const char *cgroup_path, const char *own_cgroup, int netns_fd)
{
	int result = join(cgroup_path);

	if (result == -EBUSY) {
		if (mkdir(own_cgroup, 0755) < 0 && errno != EEXIST)
			return -errno;
		result = join(own_cgroup);
	}
	if (result == 0 && netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) < 0)
		result = -errno;
	return result;
}

static void say(int fd, int index, int value)
{
	const struct record record = {index, value};

	if (write(fd, &record, sizeof(record)) != (ssize_t)sizeof(record))
		_exit(1);
}

static bool is_in(const struct attempt *attempt, enum attempt_set set)
{
	return set == ATTEMPT_ALL || (set == ATTEMPT_BRIEF ? attempt->brief : !attempt->service);
}

NORETURN static void child_main(const char *cgroup_path, const char *own_cgroup, int netns_fd,
				struct attempt_place *place, enum attempt_set set, int fd)
{
	int result;

	/* The parent's handlers would write to the parent's pipes. */
	for (int number = 1; number < SIGSYS; number++)
		signal(number, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CHILD_SECONDS);
	result = enter(cgroup_path, own_cgroup, netns_fd);
	if (result < 0) {
		say(fd, RECORD_SETUP, -result);
		_exit(1);
	}
	for (size_t i = 0; i < attempt_count; i++)
		if (is_in(&attempts[i], set))
			say(fd, (int)i, attempts[i].try(place));
	say(fd, RECORD_LOOPBACKS, (int)place->loopbacks);
	say(fd, RECORD_QUERIES, (int)place->queries);
	_exit(0);
}

int attempt_child_start(const char *cgroup_path, int netns_fd, const struct attempt_place *place,
			enum attempt_set set, struct attempt_child *ret, struct error *error)
{
	struct attempt_child child = {.fd = -1};
	struct attempt_place own = *place;
	int ends[2];

	if (asprintf(&child.own_cgroup, "%s/egress-bpf-self-test.%d", cgroup_path,
		     (int)getpid()) < 0)
		return error_set(error, "out of memory");
	if (pipe2(ends, O_CLOEXEC) < 0) {
		free(child.own_cgroup);
		return error_set(error, "cannot make a pipe: %s", strerror(errno));
	}
	child.pid = fork();
	if (child.pid == 0)
		child_main(cgroup_path, child.own_cgroup, netns_fd, &own, set, ends[1]);
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

/* A record is written in one piece, as pipe(7) promises. */
bool attempt_child_read(struct attempt_child *child)
{
	struct record records[ATTEMPT_MAX];
	ssize_t length = read(child->fd, records, sizeof(records));

	for (ssize_t i = 0; i < length / (ssize_t)sizeof(records[0]); i++)
		take_record(child, &records[i]);
	return length == 0 || (length < 0 && errno != EINTR && errno != EAGAIN);
}

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
