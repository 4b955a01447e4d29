// SPDX-License-Identifier: BSD-2-Clause
/* A file that people edit, replaced under their eyes. Three things keep an edit of theirs from being
 * lost: a read lease tells of whoever has the file open for writing, or opens it (fcntl(2), F_SETLEASE);
 * the new file and the old change places in one step, so that what was replaced is known for certain
 * (renameat2(2), RENAME_EXCHANGE); and when that is not what was read, they change back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "config_edit.h"

#define FILE_MAX ((size_t)16 << 20)
#define ATTRIBUTE_MAX 65536
#define NAMES_MAX 100 /* tried for the other file: those that are taken may be of crashes, see below */

struct replacement {
	char path[PATH_MAX]; /* without symbolic links */
	char other[PATH_MAX]; /* beside it: the new file, then the old */
	const char *name;
	int fd; /* of the old file */
	bool leased;
	bool keep_other; /* it holds an edit that could not be put back */
	struct stat status;
};

static int failed(const struct replacement *r, const char *what, struct error *error)
{
	if (errno == EBUSY)
		return error_set(error, "%s is a mount of its own and cannot be replaced from here: "
				 "change it where it comes from", r->name);
	return error_set(error, "cannot %s %s: %s", what, r->name, strerror(errno));
}

/* 1: another content. */
static int compare(int fd, struct span old)
{
	struct bytes content = {0};
	int own = lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
	bool same = own >= 0 && bytes_read(&content, own, FILE_MAX) == 0 &&
		    span_equal(bytes_span(&content), old);

	bytes_free(&content);
	return same ? 0 : 1;
}

/* SIGURG, which nobody hears, in the place of SIGIO, which would end us. A file system without leases
 * goes without: what is left open is a write through a descriptor that was open all the time. */
static int take_lease(struct replacement *r)
{
	if (fcntl(r->fd, F_SETSIG, SIGURG) < 0)
		return 0;
	if (fcntl(r->fd, F_SETLEASE, F_RDLCK) == 0) {
		r->leased = true;
		return 0;
	}
	return errno == EAGAIN ? 1 : 0;
}

/* 1: another file has its name by now. */
static int open_old(struct replacement *r, struct error *error)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK;

	if (!realpath(r->name, r->path))
		return failed(r, "find", error);
	r->fd = open(r->path, flags);
	if (r->fd < 0 || fstat(r->fd, &r->status) < 0)
		return failed(r, "read", error);
	if (r->status.st_nlink == 0)
		return 1;
	if (!S_ISREG(r->status.st_mode) || r->status.st_nlink != 1)
		return error_set(error, "%s is no file of one name: it cannot be replaced by a rename",
				 r->name);
	return 0;
}

/* Labels and access lists; what cannot be copied is made by the file system. */
static void copy_attributes(int from, int to)
{
	char *names = malloc(ATTRIBUTE_MAX), *value = malloc(ATTRIBUTE_MAX);
	ssize_t length = names && value ? flistxattr(from, names, ATTRIBUTE_MAX) : 0, size;

	for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
		size = fgetxattr(from, name, value, ATTRIBUTE_MAX);
		if (size >= 0)
			(void)fsetxattr(to, name, value, (size_t)size, 0);
	}
	free(names);
	free(value);
}

/* What is there already was left by a process of our number that was killed, in a container by one of
 * its last life. It stays: it may hold an edit that was made in that very moment. `link_to`: a file to
 * be given the name; -1: a new one is made. The descriptor, or -1 with errno set. */
static int take_name(struct replacement *r, int link_to)
{
	char from[64];
	int fd = -1;

	snprintf(from, sizeof(from), "/proc/self/fd/%d", link_to);
	errno = EEXIST;
	for (unsigned i = 0; i < NAMES_MAX && fd < 0 && errno == EEXIST; i++) {
		if ((size_t)snprintf(r->other, sizeof(r->other), "%s.egress-bpf-%d-%u", r->path,
				     getpid(), i) >= sizeof(r->other)) {
			errno = ENAMETOOLONG;
			break;
		}
		if (link_to < 0)
			fd = open(r->other, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		else if (linkat(AT_FDCWD, from, AT_FDCWD, r->other, AT_SYMLINK_FOLLOW) == 0)
			fd = link_to;
	}
	return fd;
}

/* Without a name as long as it is being written, so that nothing is left of it when we are killed. */
static int open_nameless(const struct replacement *r)
{
	char directory[PATH_MAX], *slash;

	memcpy(directory, r->path, sizeof(directory));
	slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	return open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
}

/* The owner before the mode: chown(2) takes set-user-ID bits away. */
static int fill(const struct replacement *r, struct span text, int fd)
{
	if (span_write(text, fd) < 0 || fchown(fd, r->status.st_uid, r->status.st_gid) < 0 ||
	    fchmod(fd, r->status.st_mode & 07777) < 0)
		return -1;
	copy_attributes(r->fd, fd);
	return fsync(fd);
}

/* Not every file system has files without a name: there it has one from the beginning. */
static int write_new(struct replacement *r, struct span text, struct error *error)
{
	int fd = open_nameless(r), result = -1;
	bool named = fd < 0;

	if (named)
		fd = take_name(r, -1);
	if (fd >= 0)
		result = fill(r, text, fd);
	if (result == 0 && !named && take_name(r, fd) < 0)
		result = -1;
	if (result < 0) {
		failed(r, "write beside", error);
		if (named && fd >= 0)
			(void)unlink(r->other);
	}
	if (fd >= 0)
		close(fd);
	return result;
}

/* Whether what is under the other name is what was read, and nobody is about to write it. */
static bool is_old(const struct replacement *r, struct span old)
{
	struct stat status;

	return lstat(r->other, &status) == 0 && status.st_ino == r->status.st_ino &&
	       status.st_dev == r->status.st_dev && compare(r->fd, old) == 0 &&
	       (!r->leased || fcntl(r->fd, F_GETLEASE) == F_RDLCK);
}

static int exchange(struct replacement *r, struct span old, struct error *error)
{
	if (renameat2(AT_FDCWD, r->other, AT_FDCWD, r->path, RENAME_EXCHANGE) == 0) {
		if (is_old(r, old))
			return 0;
		if (renameat2(AT_FDCWD, r->other, AT_FDCWD, r->path, RENAME_EXCHANGE) == 0)
			return 1;
		r->keep_other = true;
		return error_set(error, "%s was written meanwhile: what was written is %s now", r->name,
				 r->other);
	}
	if (errno != EINVAL && errno != ENOSYS)
		return failed(r, "replace", error);
	if (compare(r->fd, old) != 0)
		return 1;
	return rename(r->other, r->path) == 0 ? 0 : failed(r, "replace", error);
}

static void sync_directory(char *path)
{
	char *slash = strrchr(path, '/');
	int fd;

	slash[slash == path] = '\0';
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

int config_replace_file(const char *path, struct span old, struct span text, struct error *error)
{
	struct replacement r = {.name = path, .fd = -1};
	int result = open_old(&r, error);

	if (result == 0)
		result = take_lease(&r) || compare(r.fd, old) ? 1 : write_new(&r, text, error);
	if (result == 0) {
		result = exchange(&r, old, error);
		if (!r.keep_other)
			(void)unlink(r.other);
	}
	if (result == 0)
		sync_directory(r.path);
	if (r.fd >= 0)
		close(r.fd); /* and with it the lease */
	return result;
}
