// SPDX-License-Identifier: BSD-2-Clause
/* The pins: bpffs, directories, the lock, and taking everything down. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BPFFS "/sys/fs/bpf"
#define WIRE_ATTEMPTS 300 /* of 10 ms: the kernel takes network namespaces down in its own time */
#define LOCK_ATTEMPTS 20 /* a reader of the status may hold the lock for a moment */
#define MOUNT_ATTEMPTS 100

const char *const kernel_map_names[KERNEL_MAP_COUNT] = {
#define X(symbol, name) #name,
	KERNEL_MAPS(X)
#undef X
};

bool kernel_name_valid(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t length = name ? strlen(name) : 0;

	/* It becomes a directory of bpffs and part of other paths: no slash, no leading dot. */
	return length >= 1 && length <= 64 && name[0] != '.' && strspn(name, allowed) == length;
}

/* bpffs reserves dots in names: '+', which no NAME has, stands for them. */
static void swap_character(char *text, char from, char to)
{
	for (; *text; text++)
		if (*text == from)
			*text = to;
}

void kernel_pins_directory(char path[KERNEL_PATH_SIZE], const char *name)
{
	char encoded[65];

	snprintf(encoded, sizeof(encoded), "%s", name);
	swap_character(encoded, '.', '+');
	snprintf(path, KERNEL_PATH_SIZE, "%s/%s", KERNEL_PIN_ROOT, encoded);
}

const char *kernel_pin_path(char path[KERNEL_PATH_SIZE], const char *name, const char *kind,
			    const char *item)
{
	size_t length;

	kernel_pins_directory(path, name);
	length = strlen(path);
	snprintf(path + length, KERNEL_PATH_SIZE - length, "/%s-%s", kind, item);
	return path;
}

int kernel_pin_open(const char *name, const char *kind, const char *item)
{
	char path[KERNEL_PATH_SIZE];

	return bpf_obj_get(kernel_pin_path(path, name, kind, item));
}

static bool pinned(const char *name, const char *kind, const char *item)
{
	char path[KERNEL_PATH_SIZE];

	return access(kernel_pin_path(path, name, kind, item), F_OK) == 0;
}

size_t kernel_pinned_maps(const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		count += pinned(name, "map", kernel_map_names[i]);
	return count;
}

/* Calls back for each pin of NAME that begins with `prefix`; returns how many there were, or -1 with
 * errno of the first that failed. */
static int each_pin(const char *name, const char *prefix, int (*each)(const char *path))
{
	char directory[KERNEL_PATH_SIZE], path[KERNEL_PATH_SIZE + 256];
	const struct dirent *entry;
	int count = 0;
	DIR *pins;

	kernel_pins_directory(directory, name);
	pins = opendir(directory);
	if (!pins)
		return errno == ENOENT ? 0 : -1;
	while (count >= 0 && (entry = readdir(pins))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		count = each && each(path) < 0 ? -1 : count + 1;
	}
	closedir(pins);
	return count;
}

size_t kernel_pinned_links(const char *name)
{
	int count = each_pin(name, "link-", NULL);

	return count < 0 ? 1 : (size_t)count; /* unknown: rather a wall that stands */
}

/* /sys/fs/bpf is an empty directory of sysfs until something is mounted on it. */
static bool is_bpffs(void)
{
	struct statfs fs;

	return statfs(BPFFS, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

/* 10 ms, between attempts. */
static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000L}, NULL);
}

/* Two mounts on top of each other would hide one's pins: look and mount under one lock. Every user may
 * lock that directory: whoever holds it for longer than a mount takes is passed over. */
int kernel_bpffs_mount(struct error *error)
{
	int lock, result = 0;

	if (is_bpffs())
		return 0;
	lock = open("/sys/fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		return error_set(error, "/sys/fs: %s", strerror(errno));
	for (int i = 0; flock(lock, LOCK_EX | LOCK_NB) < 0 && i < MOUNT_ATTEMPTS; i++)
		pause_briefly();
	if (!is_bpffs() && mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		result = error_set(error, "cannot mount bpffs on " BPFFS ": %s", strerror(errno));
	close(lock);
	return result;
}

/* An open directory, made if need be. All may write to a bpffs that was mounted with no mode: who made
 * the directory before us could remove the pins in it, and with them the wall. */
static int open_own(const char *path)
{
	struct stat status;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || (fstat(fd, &status) == 0 && status.st_uid == geteuid() &&
		       !(status.st_mode & (S_IWGRP | S_IWOTH))))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

/* That of NAME. A detach may take it away in between. */
static int open_directory(const char *name)
{
	char path[KERNEL_PATH_SIZE];
	int root = open_own(KERNEL_PIN_ROOT);

	if (root < 0)
		return -1;
	close(root);
	kernel_pins_directory(path, name);
	return open_own(path);
}

/* The lock is on the inode: a detach may have removed it and a start made a new one of the same
 * name. */
static bool still_there(int fd, const char *name)
{
	char path[KERNEL_PATH_SIZE];
	struct stat held, named;

	kernel_pins_directory(path, name);
	return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

/* The pid is as the settings have it; 0 when they cannot be read. */
static int held_error(const char *name, struct error *error)
{
	struct egress_settings settings = {0};
	int fd = kernel_pin_open(name, "map", "settings");

	if (fd >= 0 && kernel_settings_read(fd, &settings) < 0)
		settings.supervisor_pid = 0;
	if (fd >= 0)
		close(fd);
	return error_set(error, "'%s' is in use by process %u: end that first", name,
			 settings.supervisor_pid);
}

int kernel_pins_lock(const char *name, int *ret_fd, struct error *error)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
		int fd = open_directory(name);

		if (fd < 0 && errno == EPERM)
			return error_set(error, KERNEL_PIN_ROOT " or '%s' in it is another user's, or others "
					 "may write to it: remove it", name);
		if (fd < 0 && errno != ENOENT)
			return error_set(error, KERNEL_PIN_ROOT "/%s: %s", name, strerror(errno));
		/* A lock on the directory itself needs no file that could be left behind, and the
		 * kernel gives it back at kill -9. */
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && still_there(fd, name)) {
			*ret_fd = fd;
			return 0;
		}
		if (fd >= 0)
			close(fd);
		pause_briefly();
	}
	return held_error(name, error);
}

/* By a shared lock, so that two readers do not take each other for a supervisor. */
bool kernel_pins_locked(const char *name)
{
	char path[KERNEL_PATH_SIZE];
	bool locked;
	int fd;

	kernel_pins_directory(path, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return locked;
}

static int unpin(const char *path)
{
	return unlink(path) < 0 && errno != ENOENT ? -1 : 0;
}

/* Unpinning alone lets the kernel detach in its own time. Links to security hooks do not know
 * detach (EOPNOTSUPP): these go when unpinned. */
static int detach_link(const char *path)
{
	int link = bpf_obj_get(path);

	if (link >= 0) {
		bpf_link_detach(link);
		close(link);
	}
	return 0;
}

/* Links before maps, so that what fails half way leaves a wall that refuses, or none. */
static int remove_pins(const char *name, bool detach, struct error *error)
{
	char path[KERNEL_PATH_SIZE];

	kernel_pins_directory(path, name);
	kernel_tc_remove(name);
	if ((detach && each_pin(name, "link-", detach_link) < 0) ||
	    each_pin(name, "link-", unpin) < 0 || each_pin(name, "", unpin) < 0 ||
	    (rmdir(path) < 0 && errno != ENOENT))
		return error_set(error, "%s: %s", path, strerror(errno));
	rmdir(KERNEL_PIN_ROOT); /* stays while others live there */
	return 0;
}

int kernel_pins_remove(const char *name, struct error *error)
{
	return remove_pins(name, true, error);
}

bool kernel_pinned(const char *name)
{
	char path[KERNEL_PATH_SIZE];

	kernel_pins_directory(path, name);
	return access(path, F_OK) == 0;
}

static int take_down(const char *name, bool force, bool elsewhere, struct error *error)
{
	char path[KERNEL_PATH_SIZE];
	int result, lock = -1;

	if (!kernel_name_valid(name))
		return error_set(error, "'%s' is not a valid name", name);
	kernel_pins_directory(path, name);
	if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 1;
	if (!force && kernel_pins_lock(name, &lock, error) < 0)
		return -1;
	if (elsewhere)
		kernel_tc_remove_elsewhere(name);
	result = kernel_pins_remove(name, error);
	if (lock >= 0)
		close(lock);
	return result;
}

int kernel_detach(const char *name, bool force, struct error *error)
{
	return take_down(name, force, true, error);
}

/* To detach a link takes the kernel a tenth of a millisecond, in which it stops every processor to
 * change its code: what nobody is behind any more may wait for the kernel's own leisure. */
int kernel_let_go(const char *name, struct error *error)
{
	return kernel_pinned(name) ? remove_pins(name, false, error) : 0;
}

int kernel_detach_ended(const char *name, bool wait, struct error *error)
{
	for (int i = 0; kernel_tc_walled(name, 0) > 0; i++) {
		if (!wait || i == WIRE_ATTEMPTS)
			return 2;
		pause_briefly();
	}
	return take_down(name, false, false, error);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_add(char ***list, size_t *count, const char *encoded)
{
	char **more = realloc(*list, (*count + 2) * sizeof(*more));

	if (!more)
		return false;
	*list = more;
	more[*count] = strdup(encoded);
	if (!more[*count])
		return false;
	swap_character(more[*count], '+', '.');
	more[++*count] = NULL;
	return true;
}

char **kernel_list(void)
{
	DIR *directory = opendir(KERNEL_PIN_ROOT);
	struct dirent *entry;
	char **list = NULL;
	size_t count = 0;

	if (!directory)
		return NULL;
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && !list_add(&list, &count, entry->d_name))
			break;
	closedir(directory);
	if (list)
		qsort(list, count, sizeof(*list), by_text);
	else
		errno = ENOENT;
	return list;
}
