// SPDX-License-Identifier: BSD-2-Clause
/* connect() and bind() in the bottle's stead: on a duplicate of its socket, as its user, in its mount
 * namespace, with a copy of its address. Nothing is looked at twice. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bottle_broker_private.h"
#include "sockets.h"

/* One at a time makes directories in the hidden file system, and removes them. */
static pthread_mutex_t hidden_lock = PTHREAD_MUTEX_INITIALIZER;

static int result_of(int rc)
{
	return rc < 0 ? -errno : rc;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

bool broker_call_waits(const struct broker_call *call)
{
	return seccomp_notify_id_valid(call->broker->listener, call->request.id) == 0;
}

static pid_t caller(const struct broker_call *call)
{
	return (pid_t)call->request.pid;
}

/* A standard stream may be a socket of the host's: abstract names would be the host's, too. */
static bool is_bottles(const struct broker_call *call)
{
	uint64_t cookie = sockets_netns_cookie(call->socket);

	return cookie != 0 && cookie == call->broker->netns_cookie;
}

static int read_address(const struct broker_call *call, struct broker_address *ret)
{
	const __u64 *arguments = call->request.data.args;
	int rc = broker_target_address(caller(call), arguments[1], (int)arguments[2], ret);

	/* Only now is it sure that all of this was the caller's, and not a later process's. */
	return rc == 0 && !broker_call_waits(call) ? -ESRCH : rc;
}

/* unix(7), pathname. Others, also those that are not valid, mean no file. */
static bool names_a_file(const struct broker_address *address)
{
	return address->any.sa_family == AF_UNIX &&
	       address->length > offsetof(struct sockaddr_un, sun_path) &&
	       address->length <= sizeof(struct sockaddr_un) && address->un.sun_path[0] != '\0';
}

/* The path that the caller means, from `ret_base` if it is relative. */
static int find_path(const struct broker_call *call, const struct broker_address *address,
		     char ret[PATH_MAX], int *ret_base)
{
	char path[sizeof(address->un.sun_path) + 1] = "";
	int rc;

	memcpy(path, address->un.sun_path,
	       address->length - offsetof(struct sockaddr_un, sun_path));
	rc = broker_target_path(call->broker, caller(call), path, ret, PATH_MAX);
	if (rc < 0)
		return rc;
	rc = broker_target_directory(call->broker, caller(call));
	if (rc < 0)
		return rc;
	*ret_base = rc;
	return 0;
}

/* ---- connect --------------------------------------------------------------------------------- */

/* It may wait for room in the other end's queue, as long as the caller would: until it is gone, or
 * has a signal to take. The main thread wakes us for either. */
static int connect_waiting(struct broker_call *call, const struct sockaddr *address, socklen_t length)
{
	for (;;) {
		int rc = result_of(connect(call->socket, address, length));

		if (rc != -EINTR || atomic_load(&call->interrupted) || !broker_call_waits(call))
			return rc;
	}
}

/* By descriptor: whatever becomes of the path, this is the file that was judged. */
static int connect_to(struct broker_call *call, int real)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "self/fd/%d", real);
	return connect_waiting(call, (const struct sockaddr *)&address, sizeof(address));
}

/* Nobody listens there, so the kernel would say the same; but it would be counted, and programs ask nscd,
 * resolved or D-Bus in passing. */
static bool is_closed(const struct broker *broker, const struct stat *status)
{
	return status->st_dev == broker->closed_device && status->st_ino == broker->closed_inode;
}

/* The kernel's own checks, in its order: unix_find_bsd(). Those of the socket itself come after. */
static int connect_file(struct broker_call *call, int file)
{
	struct stat status;
	int real, rc;

	if (fstat(file, &status) < 0)
		return -errno;
	if (faccessat(file, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) < 0)
		return -errno;
	if (!S_ISSOCK(status.st_mode) || is_closed(call->broker, &status))
		return -ECONNREFUSED;
	real = broker_names_find(&call->broker->names, &status);
	if (real == -ENOENT)
		return 1; /* not the bottle's: refused where it is counted and logged */
	if (real < 0)
		return real;
	rc = connect_to(call, real);
	close(real);
	return rc;
}

int broker_connect(struct broker_call *call)
{
	struct broker_address address;
	char path[PATH_MAX];
	int rc = read_address(call, &address), base = -1, file;

	if (rc < 0)
		return rc;
	if (!is_bottles(call))
		return -EPERM;
	if (!names_a_file(&address))
		return connect_waiting(call, &address.any, address.length);
	rc = find_path(call, &address, path, &base);
	if (rc < 0)
		return rc;
	file = openat(base, path, O_PATH | O_CLOEXEC);
	rc = file < 0 ? -errno : connect_file(call, file);
	close_fd(file);
	close(base);
	return rc;
}

/* ---- bind ------------------------------------------------------------------------------------ */

/* `path` in place; each of its directories. ".." is one that exists. */
static void make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
}

/* In the reverse order, in which each is found and empty. One that fails was named by "..". */
static void remove_parents(char *path)
{
	char *slash;

	while ((slash = strrchr(path, '/')) && slash != path) {
		*slash = '\0';
		(void)rmdir(path);
	}
}

/* Binds where nobody finds it, under a root of our own, so that getsockname() tells what was asked
 * for. The file is needed only to get hold of it. Who may call is decided by the mode of the file that
 * is seen, which may change: none of the caller's umask here, and a socket that we may always call. */
static int bind_hidden(struct broker_call *call, const struct broker_address *address, int *ret_real)
{
	char path[sizeof(address->un.sun_path) + 1] = "";
	int rc;

	memcpy(path, address->un.sun_path,
	       address->length - offsetof(struct sockaddr_un, sun_path));
	if (fchdir(call->broker->hidden) < 0 || chroot(".") < 0)
		return -errno;
	umask(0);
	pthread_mutex_lock(&hidden_lock);
	make_parents(path);
	rc = result_of(bind(call->socket, &address->any, address->length));
	if (rc == 0) {
		(void)chmod(path, 0600);
		*ret_real = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		(void)unlink(path);
		rc = *ret_real < 0 ? -EIO : 0;
	}
	remove_parents(path);
	pthread_mutex_unlock(&hidden_lock);
	return rc;
}

/* Somebody may have put another file there meanwhile: then that leads to the bottle's own socket,
 * which is nobody's loss. */
static int enter_name(struct broker_call *call, int visible, int real)
{
	struct stat status;

	if (visible >= 0 && fstat(visible, &status) == 0 && S_ISSOCK(status.st_mode))
		return broker_names_add(&call->broker->names, &status, visible, real);
	close_fd(visible);
	close(real);
	return 0;
}

/* What is seen at the path is a socket's file with no socket. It is made first: that is where most
 * errors come from, and what decides between two who bind the same. */
static int bind_in(struct broker_call *call, const struct broker_address *address, int directory,
		   const char *name)
{
	struct stat status;
	int rc, visible, real = -1;

	if (fstat(call->socket, &status) < 0 ||
	    mknodat(directory, name, S_IFSOCK | (status.st_mode & 07777), 0) < 0)
		return errno == EEXIST ? -EADDRINUSE : -errno;
	visible = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	rc = bind_hidden(call, address, &real);
	if (rc == 0)
		return enter_name(call, visible, real);
	(void)unlinkat(directory, name, 0);
	close_fd(visible);
	return rc;
}

/* The umask, the root and the working directory are this thread's own from here on. */
static int bind_path(struct broker_call *call, const struct broker_address *address, char *path, int base)
{
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path, *parent = slash ? path : ".";
	int directory, rc;
	mode_t mask;

	rc = broker_target_umask(call->broker, caller(call), &mask);
	if (rc < 0)
		return rc;
	/* The umask and the directory, too, were those of a caller that still waits. */
	if (!broker_call_waits(call))
		return -ESRCH;
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(mask);
	if (path[strspn(path, "/")] == '\0')
		name = "."; /* the root itself, which exists */
	if (slash == path)
		parent = "/";
	else if (slash)
		*slash = '\0';
	directory = openat(base, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	rc = bind_in(call, address, directory, name);
	close(directory);
	return rc;
}

int broker_bind(struct broker_call *call)
{
	struct broker_address address;
	char path[PATH_MAX];
	int rc = read_address(call, &address), base = -1;

	if (rc < 0)
		return rc;
	if (call->domain != AF_UNIX)
		return result_of(bind(call->socket, &address.any, address.length));
	if (!is_bottles(call))
		return -EPERM;
	if (!names_a_file(&address))
		return result_of(bind(call->socket, &address.any, address.length));
	rc = find_path(call, &address, path, &base);
	if (rc < 0)
		return rc;
	rc = bind_path(call, &address, path, base);
	close(base);
	return rc;
}
