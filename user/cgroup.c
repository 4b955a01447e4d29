// SPDX-License-Identifier: BSD-2-Clause
/* cgroup v2 directories, wherever they are mounted. */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_ID_KERNFS 0xfe /* FILEID_KERNFS of linux/exportfs.h: the id alone */
#define DESTROY_ATTEMPTS 500 /* of 10 ms */

/* ---- where it is --------------------------------------------------------------------------- */

/* mountinfo writes space, tab, newline and backslash as \ooo (proc(5)). */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		unsigned value;

		if (from[0] == '\\' && sscanf(from + 1, "%3o", &value) == 1) {
			*to++ = (char)value;
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

/* The mount point of a line whose file system is cgroup2, else NULL. Changes the line. */
static char *mount_point_of(char *line)
{
	/* Before it stand optional fields, as many as there are: proc(5). */
	char *separator = strstr(line, " - "), *save = NULL, *field;

	if (!separator || strncmp(separator + 3, "cgroup2 ", 8) != 0)
		return NULL;
	field = strtok_r(line, " ", &save);
	for (int i = 0; field && i < 4; i++)
		field = strtok_r(NULL, " ", &save);
	if (field)
		unescape(field);
	return field;
}

/* The first mount in the list; there is one hierarchy, wherever it is seen. */
int cgroup_root(char **ret_path, struct error *error)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *found = NULL;
	size_t size = 0;

	if (!file)
		return error_set(error, "/proc/self/mountinfo: %s", strerror(errno));
	while (!found && getline(&line, &size, file) > 0) {
		const char *point = mount_point_of(line);

		if (point)
			found = strdup(point);
	}
	free(line);
	fclose(file);
	if (!found)
		return error_set(error, "cgroup v2 is not mounted");
	*ret_path = found;
	return 0;
}

/* "0::" is the unified hierarchy's line (cgroups(7)). */
static char *v2_path_of(pid_t pid)
{
	char name[64], *line = NULL, *found = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
	file = fopen(name, "re");
	if (!file)
		return NULL;
	while (!found && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0)
			found = strdup(line + 3);
	}
	free(line);
	fclose(file);
	if (!found)
		errno = ENOENT;
	return found;
}

int cgroup_of_pid(pid_t pid, char **ret_path, struct error *error)
{
	char *root = NULL, *relative, *path = NULL;
	int result;

	relative = v2_path_of(pid);
	if (!relative)
		return error_set(error, "process %d has no cgroup v2: %s", (int)pid,
				 strerror(errno));
	result = cgroup_root(&root, error);
	if (result == 0 && asprintf(&path, "%s%s", root, strcmp(relative, "/") ? relative : "") < 0)
		result = error_set(error, "out of memory");
	if (result == 0)
		*ret_path = path;
	free(relative);
	free(root);
	return result;
}

/* The depth is counted between the mount point, which may itself be below the hierarchy's root
 * (in a cgroup namespace), and the directory: exact where the host's root is mounted. */
static int depth_below_root(const char *path, uint32_t *ret_level, struct error *error)
{
	char real_root[PATH_MAX], real[PATH_MAX], *root = NULL;
	uint32_t level = 0;
	size_t length;

	if (cgroup_root(&root, error) < 0)
		return -1;
	if (!realpath(root, real_root) || !realpath(path, real)) {
		free(root);
		return error_set(error, "%s: %s", path, strerror(errno));
	}
	free(root);
	length = strlen(real_root);
	if (strncmp(real, real_root, length) != 0 || (real[length] != '/' && real[length] != '\0'))
		return error_set(error, "%s is not below the cgroup v2 mount %s", path, real_root);
	for (const char *at = real + length; *at; at++)
		level += *at == '/';
	*ret_level = level;
	return 0;
}

int cgroup_identity(const char *path, uint64_t *ret_id, uint32_t *ret_level, struct error *error)
{
	struct stat directory;
	uint32_t level = 0;

	if (stat(path, &directory) < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(directory.st_mode))
		return error_set(error, "%s is not a cgroup directory", path);
	if (depth_below_root(path, &level, error) < 0)
		return -1;
	/* kernfs numbers inodes by the id that bpf_get_current_cgroup_id() returns */
	*ret_id = directory.st_ino;
	*ret_level = level;
	return 0;
}

/* open_by_handle_at(2) says ESTALE for a removed one; any other failure proves nothing. */
bool cgroup_exists(uint64_t id)
{
	union {
		struct file_handle head;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} handle = {.head = {.handle_bytes = sizeof(id), .handle_type = FILE_ID_KERNFS}};
	char *path = NULL;
	int root, fd;

	/* In doubt it is there: no wall is taken down for a look that failed. */
	if (cgroup_root(&path, NULL) < 0 || !path)
		return true;
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	if (root < 0)
		return true;
	memcpy(handle.room + sizeof(handle.head), &id, sizeof(id));
	fd = open_by_handle_at(root, &handle.head, O_PATH | O_CLOEXEC);
	close(root);
	if (fd < 0)
		return errno != ESTALE;
	close(fd);
	return true;
}

/* ---- what is in it ------------------------------------------------------------------------- */

static FILE *open_in(const char *path, const char *file, const char *mode)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s/%s", path, file) >= (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(name, mode);
}

/* 0 also stands for a process that our pid namespace does not see. */
static pid_t first_pid(const char *path)
{
	FILE *file = open_in(path, "cgroup.procs", "re");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

/* Calls back for each directory in `path`; stops at the first that returns non-zero. */
static int each_child(const char *path, int (*each)(const char *child, void *context),
		      void *context)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	char child[PATH_MAX];
	int result = 0;

	if (!directory)
		return 0;
	while (result == 0 && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(child, sizeof(child), "%s/%s", path, entry->d_name) <
		    (int)sizeof(child))
			result = each(child, context);
	}
	closedir(directory);
	return result;
}

static int find_pid(const char *path, void *context)
{
	pid_t *pid = context;

	*pid = first_pid(path);
	return *pid ? 1 : each_child(path, find_pid, context);
}

pid_t cgroup_any_pid(const char *path)
{
	pid_t pid = 0;

	find_pid(path, &pid);
	return pid;
}

int cgroup_create(const char *path, struct error *error)
{
	/* EEXIST is an error: a cgroup that is there has processes or a wall of somebody else's. Closed to
	 * others, who could lock it (see bottle_janitor.c). */
	if (mkdir(path, 0700) < 0)
		return error_set(error, "cannot make cgroup %s: %s", path, strerror(errno));
	return 0;
}

/* ---- its end ------------------------------------------------------------------------------- */

/* cgroup.kill takes the children, too, and none can fork past it. */
static bool kill_at_once(const char *path)
{
	FILE *file = open_in(path, "cgroup.kill", "we");
	bool done;

	if (!file)
		return false;
	done = fputs("1", file) >= 0;
	return fclose(file) == 0 && done;
}

/* Before Linux 5.14. A process may fork meanwhile: the caller comes back until it is empty. */
static int kill_one_by_one(const char *path, void *context)
{
	FILE *file = open_in(path, "cgroup.procs", "re");
	int pid;

	while (file && fscanf(file, "%d", &pid) == 1)
		if (pid > 0)
			kill(pid, SIGKILL);
	if (file)
		fclose(file);
	return each_child(path, kill_one_by_one, context);
}

/* The deepest first; a cgroup with a dying process is EBUSY for a moment. */
static int remove_tree(const char *path, void *context)
{
	int result = each_child(path, remove_tree, context);

	if (rmdir(path) < 0 && errno != ENOENT)
		return errno;
	return result;
}

int cgroup_destroy(const char *path, struct error *error)
{
	int result = 0;

	for (int attempt = 0; attempt < DESTROY_ATTEMPTS; attempt++) {
		if (access(path, F_OK) < 0 && errno == ENOENT)
			return 0;
		if (cgroup_any_pid(path) && !kill_at_once(path))
			kill_one_by_one(path, NULL);
		result = remove_tree(path, NULL);
		if (result == 0)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 10000000L}, NULL);
	}
	return error_set(error, "cannot remove cgroup %s: %s", path, strerror(result));
}

/* ---- rights ---------------------------------------------------------------------------------- */

/* By inode; 0 when it cannot be told. */
static uint32_t namespace_of(const char *process, const char *kind)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "/proc/%s/ns/%s", process, kind);
	return stat(name, &st) == 0 ? (uint32_t)st.st_ino : 0;
}

/* The bounding set, of proc(5); all when it cannot be read. */
static uint64_t bounding_set(const char *process)
{
	unsigned long long set = UINT64_MAX;
	char name[64], line[256];
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%s/status", process);
	file = fopen(name, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapBnd: %llx", &set) == 1)
			break;
	if (file)
		fclose(file);
	return set;
}

struct cgroup_rights cgroup_rights(const char *path)
{
	const uint64_t over_us = 1ull << CAP_NET_ADMIN | 1ull << CAP_SYS_ADMIN;
	struct cgroup_rights rights = {0};
	pid_t pid = cgroup_any_pid(path);
	char process[16];
	uint32_t found;

	if (!pid)
		return rights;
	snprintf(process, sizeof(process), "%d", (int)pid);
	found = namespace_of(process, "pid");
	/* In our own every process of the host would be judged as the bottle's. */
	if (found != namespace_of("self", "pid"))
		rights.pid_namespace = found;
	rights.administers_us = namespace_of(process, "user") == namespace_of("self", "user") &&
				(bounding_set(process) & over_us);
	return rights;
}

/* ---- network namespaces -------------------------------------------------------------------- */

int netns_of_pid(pid_t pid, struct error *error)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/ns/net", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(error, "network namespace of process %d: %s", (int)pid,
				 strerror(errno));
	return fd;
}

bool netns_same(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}
