// SPDX-License-Identifier: BSD-2-Clause
/* The bottle's mount tree: private, and without what would reach round the walls. */
#include <errno.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bottle_launch.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HARMLESS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Filesystems through which the walls could be touched, wherever they are mounted. */
static const char *const hidden_types[] = {"cgroup",  "cgroup2",  "bpf",	     "debugfs",
					   "tracefs", "configfs", "binfmt_misc"};
/* These but for our own: others belong to the host's processes and network (chroots have them). */
static const char *const replaced_types[] = {"proc", "sysfs"};

/* Parts of /proc that act on the whole machine; root inside would own their files. */
static const char *const proc_read_only[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq",
					     "/proc/bus", "/proc/fs"};

/* Drivers that carry packets, or another machine's, past the socket layer, and so past all walls: RDMA,
 * a network card's registers, the sockets of virtual machines (by udev some are for everybody), PPP. */
static const char *const network_devices[] = {"/dev/infiniband", "/dev/vfio", "/dev/vduse",
					      "/dev/vhost-net", "/dev/vhost-vsock", "/dev/ppp"};

static int failed(struct error *error, const char *what, const char *path)
{
	return error_set(error, "cannot %s %s: %s", what, path, strerror(errno));
}

/* First of all: what is mounted from here on must not appear on the host. */
int launch_private_mounts(struct launch *launch, struct error *error)
{
	(void)launch;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return failed(error, "make the mounts private below", "/");
	return 0;
}

/* That of the new pid namespace: processes outside are not in it. */
int launch_proc(struct launch *launch, struct error *error)
{
	(void)launch;
	if (mount("proc", "/proc", "proc", HARMLESS, NULL) < 0)
		return failed(error, "mount", "/proc");
	for (size_t i = 0; i < COUNT(proc_read_only); i++) {
		const char *path = proc_read_only[i];

		/* Twice: with MS_BIND mount(2) looks at no flag but MS_REC, so read-only takes a
		 * remount. */
		if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
			if (errno == ENOENT)
				continue;
			return failed(error, "bind", path);
		}
		if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | HARMLESS, NULL) < 0)
			return failed(error, "make read-only", path);
	}
	return 0;
}

/* A sysfs of the new network namespace; cgroupfs, bpffs and debugfs are not on it. The host's goes first,
 * with all that is mounted below it: merely covered it would stay in mountinfo, where Java looks for its
 * cgroup, and fails when nothing is there. EINVAL: it is no mount, in a chroot, or is locked. */
int launch_sys(struct launch *launch, struct error *error)
{
	(void)launch;
	while (umount2("/sys", MNT_DETACH) == 0)
		;
	if (errno != EINVAL)
		return failed(error, "unmount", "/sys");
	if (mount("sysfs", "/sys", "sysfs", HARMLESS | MS_RDONLY, NULL) < 0)
		return failed(error, "mount", "/sys");
	return 0;
}

/* The real path, since a mount over a symbolic link would be over its target anyway. */
int bottle_cover(const struct launch *launch, const char *path, struct error *error)
{
	char *real = realpath(path, NULL);
	struct stat status;
	int rc = 0;

	if (!real || stat(real, &status) < 0) {
		free(real);
		return errno == ENOENT || errno == ENOTDIR ? 0 : failed(error, "look at", path);
	}
	if (S_ISDIR(status.st_mode)) {
		if (mount("tmpfs", real, "tmpfs", HARMLESS | MS_RDONLY, "size=4k,mode=755") < 0)
			rc = failed(error, "hide", real);
	} else {
		rc = bottle_place(launch, "empty", NULL, 0, real, error);
	}
	free(real);
	return rc;
}

static bool is_listed(const char *type, const char *const *types, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(type, types[i]) == 0)
			return true;
	}
	return false;
}

static bool is_at(const char *path, const char *top)
{
	size_t length = strlen(top);

	return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* cgroupfs could move a process out of the cgroup, bpffs opens the pins, tracefs and debugfs show
 * kernel memory. What lies below our own /proc and /sys is ours, or covered by them. */
static bool is_hidden(const struct mntent *entry)
{
	if (is_listed(entry->mnt_type, hidden_types, COUNT(hidden_types)))
		return true;
	return is_listed(entry->mnt_type, replaced_types, COUNT(replaced_types)) &&
	       !is_at(entry->mnt_dir, "/proc") && !is_at(entry->mnt_dir, "/sys");
}

static void free_list(char **list)
{
	for (char **item = list; item && *item; item++)
		free(*item);
	free(list);
}

/* Where such filesystems are mounted; NULL when that cannot be told. */
static char **find_mount_points(FILE *mounts)
{
	char **points = calloc(1, sizeof(*points)), **more;
	size_t count = 0;
	const struct mntent *entry;

	while (points && (entry = getmntent(mounts))) {
		if (!is_hidden(entry))
			continue;
		more = reallocarray(points, count + 2, sizeof(*points));
		if (!more)
			break;
		points = more;
		points[count + 1] = NULL;
		points[count] = strdup(entry->mnt_dir);
		if (!points[count++])
			break;
	}
	if (points && !feof(mounts)) {
		free_list(points);
		return NULL;
	}
	return points;
}

/* The mount points first, then the mounts: the list changes while we mount. */
int launch_hide_filesystems(struct launch *launch, struct error *error)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char **points = mounts ? find_mount_points(mounts) : NULL;
	int rc = 0;

	if (mounts)
		endmntent(mounts);
	if (!points)
		return error_set(error, "cannot read /proc/self/mounts");
	for (size_t i = 0; rc == 0 && points[i]; i++)
		rc = bottle_cover(launch, points[i], error);
	free_list(points);
	return rc;
}

int launch_hide_devices(struct launch *launch, struct error *error)
{
	for (size_t i = 0; i < COUNT(network_devices); i++) {
		if (bottle_cover(launch, network_devices[i], error) < 0)
			return -1;
	}
	return 0;
}

/* Files of the policy's secrets, the CA's key, logs; a copy elsewhere is the operator's. */
int launch_hide_secrets(struct launch *launch, struct error *error)
{
	for (size_t i = 0; i < launch->plan.hidden_count; i++) {
		if (bottle_cover(launch, launch->plan.hidden[i], error) < 0)
			return -1;
	}
	return 0;
}
