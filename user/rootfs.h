/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files below a root directory that belongs to somebody hostile: a bottle that runs on while we
 * write. Nothing of it is executed and its namespaces are not entered; every path is resolved by
 * openat2(2) with RESOLVE_IN_ROOT, so that no symbolic link and no ".." leads out, and files are
 * replaced by rename, so that a hard link's other names keep their content. Calls nothing of ours.
 */
#ifndef ROOTFS_H
#define ROOTFS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

struct rootfs;
/* A directory of ours that holds a root file system. The host's own root is refused. */
int rootfs_open_directory(const char *path, struct rootfs **ret, struct error *error) WARN_UNUSED;
/* The root of a process, with the mounts that it sees. From here on this thread's file-system uid
 * and gid are those of the bottle's root (setfsuid(2)), so that a link into a volume of the host
 * gives the bottle no rights that it does not have. A process with the host's own root is refused. */
int rootfs_open_process(pid_t pid, struct rootfs **ret, struct error *error) WARN_UNUSED;
void rootfs_close(struct rootfs *root);
/* True when both lead to the same directory. */
bool rootfs_same(const struct rootfs *a, const struct rootfs *b);

bool rootfs_has(const struct rootfs *root, const char *path);
/* The names in a directory, at most `limit`, sorted; none when there is no such directory. */
int rootfs_list(const struct rootfs *root, const char *path, size_t limit, char ***ret_names,
		size_t *ret_count, struct error *error) WARN_UNUSED;
void rootfs_names_free(char **names, size_t count);

/* A file that is to change: what it holds, and what it shall hold. */
enum rootfs_action { ROOTFS_KEEP, ROOTFS_WRITE, ROOTFS_REMOVE };
struct rootfs_file {
	char *path; /* as asked for, "/etc/ssl/cert.pem" */
	int dir_fd; /* where it really is, links followed */
	char name[NAME_MAX + 1];
	bool exists;
	struct stat status; /* of the file, or of its directory when there is none */
	struct bytes before;
	enum rootfs_action action;
	struct bytes after;
};
/* Finds and reads the file, at most 16 MiB. 1 when its directory is not there. -1 with `error` set:
 * not a regular file, links in a circle, or a directory that is the host's own, mounted there. */
int rootfs_file_open(const struct rootfs *root, const char *path, struct rootfs_file **ret,
		     struct error *error) WARN_UNUSED;
/* The file of the same directory whose name is longer by `suffix`; no link is followed. */
int rootfs_file_beside(const struct rootfs_file *file, const char *suffix,
		       struct rootfs_file **ret, struct error *error) WARN_UNUSED;
void rootfs_file_free(struct rootfs_file *file);
/* True when both are one file. */
bool rootfs_file_same(const struct rootfs_file *a, const struct rootfs_file *b);
/* Carries out all actions. When one fails, those before it are undone. New files get mode 0644 and
 * their directory's owner; others keep mode and owner. */
int rootfs_apply(struct rootfs_file *const *files, size_t count, struct error *error) WARN_UNUSED;
/* Makes a directory and those above it (0755). */
int rootfs_make_directory(const struct rootfs *root, const char *path, struct error *error)
	WARN_UNUSED;

#endif
