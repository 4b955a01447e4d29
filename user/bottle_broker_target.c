// SPDX-License-Identifier: BSD-2-Clause
/* What the broker asks about a caller. All of it is hostile and may change at any moment: it is read
 * once, and seccomp_unotify(2)'s check that the caller still waits comes after. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bottle_broker_private.h"

#define THREAD_OF_ITS_OWN O_EXCL /* PIDFD_THREAD, Linux 6.9 */

/* In the kernel's own order: move_addr_to_kernel(). */
int broker_target_address(pid_t thread, uint64_t pointer, int length, struct broker_address *ret)
{
	struct iovec here = {ret->bytes, (size_t)length};
	struct iovec there = {(void *)(uintptr_t)pointer, (size_t)length};

	if (length < 0 || (size_t)length > sizeof(struct sockaddr_storage))
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	ret->length = (socklen_t)length;
	/* A part that can be read is EFAULT, too: copy_from_user() is all or nothing. */
	if (length > 0 && process_vm_readv(thread, &here, 1, &there, 1, 0) != length)
		return -EFAULT;
	return 0;
}

int broker_target_directory(const struct broker *broker, pid_t thread)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "%d/cwd", (int)thread);
	/* By a descriptor of the broker's own /proc: no mount of the bottle's is in the way. */
	fd = openat(broker->processes, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static FILE *open_status(const struct broker *broker, pid_t thread)
{
	char path[32];
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "%d/status", (int)thread);
	fd = openat(broker->processes, path, O_RDONLY | O_CLOEXEC);
	file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file && fd >= 0)
		close(fd);
	return file;
}

/* In our own pid namespace; -1. */
static pid_t process_of(const struct broker *broker, pid_t thread)
{
	FILE *file = open_status(broker, thread);
	int process = -1;
	char line[256];

	while (file && process < 0 && fgets(line, sizeof(line), file))
		(void)sscanf(line, "Tgid: %d", &process);
	if (file)
		fclose(file);
	return process;
}

/* Before Linux 6.9 there are none of threads, only of processes (EINVAL): with the process's table of
 * descriptors, which is the thread's, too, unless it left that by unshare(2). */
static int open_pidfd(const struct broker *broker, pid_t thread)
{
	int fd = (int)syscall(SYS_pidfd_open, thread, THREAD_OF_ITS_OWN);

	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_pidfd_open, process_of(broker, thread), 0);
	return fd;
}

int broker_target_socket(const struct broker *broker, pid_t thread, int fd)
{
	int pidfd = open_pidfd(broker, thread), duplicate;

	if (pidfd < 0)
		return -EPERM;
	duplicate = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (duplicate < 0)
		duplicate = -errno;
	close(pidfd);
	return duplicate;
}

int broker_target_umask(const struct broker *broker, pid_t thread, mode_t *ret)
{
	FILE *file = open_status(broker, thread);
	unsigned value = 0;
	char line[256];
	bool found = false;

	/* No system call tells another's umask; /proc does since Linux 4.7. */
	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "Umask: %o", &value) == 1;
	if (file)
		fclose(file);
	if (!found)
		return -ESRCH;
	*ret = (mode_t)value;
	return 0;
}

/* The last number of a line is that of the innermost namespace: the bottle's. */
static int read_ids(const struct broker *broker, pid_t thread, int *ret_process, int *ret_thread)
{
	FILE *file = open_status(broker, thread);
	int found = 0;
	char line[256];

	while (file && found < 2 && fgets(line, sizeof(line), file)) {
		const char *last = strrchr(line, '\t');

		if (last && strncmp(line, "NStgid:", 7) == 0)
			found += sscanf(last, "%d", ret_process) == 1;
		else if (last && strncmp(line, "NSpid:", 6) == 0)
			found += sscanf(last, "%d", ret_thread) == 1;
	}
	if (file)
		fclose(file);
	return found == 2 ? 0 : -ESRCH;
}

/* Links that lead to /proc/self by another name find nobody there: ENOENT, which refuses. */
int broker_target_path(const struct broker *broker, pid_t thread, const char *path, char *ret,
		       size_t size)
{
	static const char self[] = "/proc/self/", own[] = "/proc/thread-self/", fds[] = "/dev/fd/";
	int process = 0, number = 0, length, rc;

	if (strncmp(path, self, sizeof(self) - 1) != 0 && strncmp(path, own, sizeof(own) - 1) != 0 &&
	    strncmp(path, fds, sizeof(fds) - 1) != 0) {
		length = snprintf(ret, size, "%s", path);
		return length < (int)size ? 0 : -ENAMETOOLONG;
	}
	rc = read_ids(broker, thread, &process, &number);
	if (rc < 0)
		return rc;
	if (strncmp(path, self, sizeof(self) - 1) == 0)
		length = snprintf(ret, size, "/proc/%d/%s", process, path + sizeof(self) - 1);
	else if (strncmp(path, own, sizeof(own) - 1) == 0)
		length = snprintf(ret, size, "/proc/%d/task/%d/%s", process, number,
				  path + sizeof(own) - 1);
	else
		length = snprintf(ret, size, "/proc/%d/fd/%s", process, path + sizeof(fds) - 1);
	return length < (int)size ? 0 : -ENAMETOOLONG;
}

bool broker_target_interrupted(const struct broker *broker, pid_t thread)
{
	uint64_t pending = 0, blocked = 0, ignored = 0, value;
	FILE *file = open_status(broker, thread);
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "SigPnd: %" SCNx64, &value) == 1 ||
		    sscanf(line, "ShdPnd: %" SCNx64, &value) == 1)
			pending |= value;
		else if (sscanf(line, "SigBlk: %" SCNx64, &value) == 1)
			blocked = value;
		else if (sscanf(line, "SigIgn: %" SCNx64, &value) == 1)
			ignored = value;
	}
	if (file)
		fclose(file);
	/* What is blocked or ignored would not have ended the call either. */
	return pending & ~blocked & ~ignored;
}
