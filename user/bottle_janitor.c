// SPDX-License-Identifier: BSD-2-Clause
/* Cleaning up after exec, whatever ends it. First the processes, then the wall, then the rest:
 * while something of the bottle lives its wall stands. What cannot be removed is left to the next
 * exec, and said. */
#include "bottle_janitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bottle.h"
#include "cgroup.h"
#include "kernel.h"
#include "public_directory.h"

#define CGROUP_PREFIX "egress-bpf."
#define NAME_PREFIX "exec-"
/* Stays: who removed it would split its users. With a dot, which no NAME begins with. */
#define LOCK_FILE BOTTLE_RUN_DIRECTORY "/.execs"
#define ROOT_ATTEMPTS 100			/* of 10 ms */

struct locks {
	int file, root;
};

struct janitor {
	pid_t pid;
	int pipe; /* end of file means: clean up; an octet before it: do not */
	char *cgroup_root, *name, *cgroup_path;
	uint64_t cgroup_id; /* the name may be somebody else's later; this may not */
	int held;	    /* the cgroup's directory, locked while we live; -1: none */
};

static char *cgroup_path_of(const char *cgroup_root, const char *name)
{
	char *path;

	return asprintf(&path, "%s/" CGROUP_PREFIX "%s", cgroup_root, name) < 0 ? NULL : path;
}

/* Closing the pipe without an octet would have the other process clean up: the callers have written
 * it, or want that. */
static void janitor_free(struct janitor *janitor)
{
	if (!janitor)
		return;
	if (janitor->pipe >= 0)
		close(janitor->pipe);
	if (janitor->held >= 0)
		close(janitor->held);
	free(janitor->cgroup_root);
	free(janitor->name);
	free(janitor->cgroup_path);
	free(janitor);
}

const char *janitor_cgroup(const struct janitor *janitor)
{
	return janitor->cgroup_path;
}

/* Nobody but root can open it, so nobody else can keep an exec from beginning. */
static int lock_file(struct error *error)
{
	int fd = -1, rc;

	if (public_directory_make(BOTTLE_RUN_DIRECTORY) == 0)
		fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, LOCK_FILE ": %s", strerror(errno));
	/* An older sidecar made it for root alone, and the command reads its roots below it. */
	(void)!chmod(BOTTLE_RUN_DIRECTORY, 0755);
	do {
		rc = flock(fd, LOCK_EX);
	} while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return fd;
	error_set(error, "cannot lock " LOCK_FILE ": %s", strerror(errno));
	close(fd);
	return -1;
}

/* For execs of containers that share the cgroups and not /run. Every user may lock a directory that
 * all can read: whoever holds it for longer than an exec would is passed over. */
static int lock_root(const char *cgroup_root)
{
	int fd = open(cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < ROOT_ATTEMPTS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return fd;
}

/* Execs and janitors make and remove cgroups one at a time. Closing the descriptors unlocks. */
static int lock(const char *cgroup_root, struct locks *ret, struct error *error)
{
	ret->file = lock_file(error);
	if (ret->file < 0)
		return -1;
	ret->root = lock_root(cgroup_root);
	if (ret->root >= 0)
		return 0;
	error_set(error, "cannot open %s: %s", cgroup_root, strerror(errno));
	close(ret->file);
	return -1;
}

static void unlock(const struct locks *locks)
{
	close(locks->root);
	close(locks->file);
}

/* And the control socket beside it, which a supervisor that was killed leaves. */
static void remove_directory(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), BOTTLE_RUN_DIRECTORY "/%s.sock", name);
	unlink(path);
	snprintf(path, sizeof(path), BOTTLE_RUN_DIRECTORY "/%s", name);
	rmdir(path);
}

/* Under the lock. */
static int clean(const char *cgroup_path, const char *name, struct error *error)
{
	if (cgroup_destroy(cgroup_path, error) < 0 || kernel_let_go(name, error) < 0)
		return -1;
	remove_directory(name);
	return 0;
}

/* What the janitor was made for, unless another bottle has the name by now. By the cgroup's id: the
 * same name may belong to a bottle that was started since. */
static int clean_own(const struct janitor *janitor, struct error *error)
{
	struct locks locks;
	uint64_t id = 0;
	uint32_t level;
	int rc = 0;

	if (lock(janitor->cgroup_root, &locks, error) < 0)
		return -1;
	if (cgroup_identity(janitor->cgroup_path, &id, &level, NULL) < 0 ||
	    id == janitor->cgroup_id)
		rc = clean(janitor->cgroup_path, janitor->name, error);
	unlock(&locks);
	return rc;
}

/* ---- the process that outlives exec --------------------------------------------------------- */

/* Holds nothing of exec's: a reader of exec's output must see its end when exec ends, and the next exec the
 * lock free. What cannot let go of it ends; exec and the next one clean up then. */
static void detach_from_caller(int *pipe_end)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	prctl(PR_SET_NAME, "egress-janitor", 0, 0, 0);
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			_exit(1);
	*pipe_end = dup2(*pipe_end, 3);
	if (*pipe_end < 0 || close_range(4, ~0U, 0) < 0 || chdir("/") < 0)
		_exit(1);
}

/* Five seconds; what is busy then (a mount, a dying process) is left to sweep(). */
static NORETURN void stand_by(const struct janitor *janitor, int pipe_end)
{
	struct error error = {0};
	char octet;
	ssize_t got;

	detach_from_caller(&pipe_end);
	do {
		got = read(pipe_end, &octet, 1);
	} while (got < 0 && errno == EINTR);
	if (got == 1)
		_exit(0);
	/* Processes that die just now may hold on for a moment; then the next exec sweeps. */
	for (int attempts = 0; attempts < 20; attempts++) {
		if (clean_own(janitor, &error) == 0)
			_exit(0);
		nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
	}
	_exit(1);
}

/* It is forked before secrets are read, so it holds none. */
static int start_process(struct janitor *janitor, struct error *error)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(error, "cannot make a pipe: %s", strerror(errno));
	janitor->pid = fork();
	if (janitor->pid == 0) {
		close(ends[1]);
		stand_by(janitor, ends[0]);
	}
	close(ends[0]);
	janitor->pipe = ends[1];
	if (janitor->pid < 0)
		return error_set(error, "cannot start a process: %s", strerror(errno));
	return 0;
}

int janitor_finish(struct janitor *janitor, struct error *error)
{
	int rc;

	if (!janitor)
		return 0;
	rc = clean_own(janitor, error);
	if (rc == 0 && write(janitor->pipe, "", 1) == 1) {
		while (waitpid(janitor->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	janitor_free(janitor);
	return rc;
}

/* ---- what others left ----------------------------------------------------------------------- */

/* Seconds since the epoch at which a process started, 0 when there is none. */
static time_t started_at(pid_t pid)
{
	char path[64], text[1024], *field;
	unsigned long long ticks = 0;
	struct timespec now, up;
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	/* The name may hold anything; the 20 fields from the state to the start time follow it. */
	field = strrchr(text, ')');
	for (int i = 0; field && i < 20; i++)
		field = strchr(field + 1, ' ');
	if (field)
		ticks = strtoull(field + 1, NULL, 10);
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return now.tv_sec - up.tv_sec + (time_t)(ticks / (unsigned long)sysconf(_SC_CLK_TCK));
}

/* True when the exec of that name is gone. A process of its number that is younger than the cgroup
 * is somebody else's. When in doubt it lives. */
static bool owner_is_gone(const char *name, const char *cgroup_path)
{
	struct stat status;
	char *end;
	long pid = strtol(name + strlen(NAME_PREFIX), &end, 10);
	time_t started;

	if (pid <= 0 || *end)
		return false;
	started = started_at((pid_t)pid);
	if (started == 0)
		return true;
	return stat(cgroup_path, &status) == 0 && started > status.st_ctime + 2;
}

/* By the lock on its pins, not by a pid. */
static bool has_supervisor(const char *name)
{
	struct kernel_status status;
	struct error error = {0};
	bool alive;

	if (kernel_read_status(name, &status, &error) < 0)
		return false;
	alive = status.supervisor_pid != 0;
	kernel_status_free(&status);
	return alive;
}

/* A pid says nothing to who lives in another pid namespace and shares the cgroups: the lock on the
 * bottle's cgroup does, which ends with its exec however that ends. */
static int hold(const char *cgroup_path)
{
	int fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed;

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	failed = errno;
	if (fd >= 0)
		close(fd);
	errno = failed;
	return -1;
}

static bool held_by_other(const char *cgroup_path)
{
	int fd = hold(cgroup_path);

	if (fd >= 0)
		close(fd);
	/* Whose lock cannot be looked at lives, for all that we know. */
	return fd < 0 && errno != ENOENT;
}

/* Only names that exec makes by itself: a name that somebody chose may be a bottle that is to
 * stay. */
static void sweep_name(const char *cgroup_root, const char *name)
{
	char *path = cgroup_path_of(cgroup_root, name);
	struct error error = {0};

	if (path && strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0 &&
	    owner_is_gone(name, path) && !held_by_other(path) && !has_supervisor(name) &&
	    clean(path, name, &error) < 0)
		diag_warning("cannot clean up after %s: %s", name, error.text);
	free(path);
}

/* Entries of a directory that start with `prefix`, without it. */
static void sweep_directory(const char *cgroup_root, const char *directory, const char *prefix)
{
	DIR *stream = opendir(directory);
	const struct dirent *entry;

	while (stream && (entry = readdir(stream))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			sweep_name(cgroup_root, entry->d_name + strlen(prefix));
	}
	if (stream)
		closedir(stream);
}

/* After execs of the name exec-PID whose process is gone, their janitors too. */
static void sweep(const char *cgroup_root)
{
	sweep_directory(cgroup_root, cgroup_root, CGROUP_PREFIX);
	sweep_directory(cgroup_root, KERNEL_PIN_ROOT, "");
	sweep_directory(cgroup_root, BOTTLE_RUN_DIRECTORY, "");
}

/* Makes sure that the name is free. Only an exec makes such a cgroup, so what a dead process left
 * under both is an exec's. */
static int claim(const struct janitor *janitor, struct error *error)
{
	if (held_by_other(janitor->cgroup_path) || has_supervisor(janitor->name) ||
	    cgroup_any_pid(janitor->cgroup_path) > 0)
		return error_set(error, "a bottle '%s' is running; choose another --name", janitor->name);
	if (access(janitor->cgroup_path, F_OK) == 0)
		return clean(janitor->cgroup_path, janitor->name, error);
	if (kernel_pinned(janitor->name))
		return error_set(error, "'%s' is the wall of a 'run' (egress-bpf detach %s)",
				 janitor->name, janitor->name);
	return 0;
}

/* Under the lock. */
static int begin(struct janitor *janitor, struct error *error)
{
	uint32_t level;

	sweep(janitor->cgroup_root);
	if (claim(janitor, error) < 0 || cgroup_create(janitor->cgroup_path, error) < 0)
		return -1;
	janitor->held = hold(janitor->cgroup_path);
	if (janitor->held < 0)
		error_set(error, "cannot lock %s: %s", janitor->cgroup_path, strerror(errno));
	else if (cgroup_identity(janitor->cgroup_path, &janitor->cgroup_id, &level, error) == 0 &&
		 start_process(janitor, error) == 0)
		return 0;
	rmdir(janitor->cgroup_path);
	return -1;
}

int janitor_start(const char *cgroup_root, const char *name, struct janitor **ret,
		  struct error *error)
{
	struct janitor *janitor = calloc(1, sizeof(*janitor));
	struct locks locks;
	int rc;

	if (!janitor)
		return error_set(error, "out of memory");
	janitor->pipe = janitor->held = -1;
	janitor->cgroup_root = strdup(cgroup_root);
	janitor->name = strdup(name);
	janitor->cgroup_path = cgroup_path_of(cgroup_root, name);
	if (!janitor->cgroup_root || !janitor->name || !janitor->cgroup_path) {
		janitor_free(janitor);
		return error_set(error, "out of memory");
	}
	rc = lock(cgroup_root, &locks, error);
	if (rc == 0) {
		rc = begin(janitor, error);
		unlock(&locks);
	}
	if (rc < 0)
		janitor_free(janitor);
	else
		*ret = janitor;
	return rc;
}
