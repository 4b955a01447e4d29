// SPDX-License-Identifier: BSD-2-Clause
/* The bottle is running, root in it may rename and link while we work, and we are root outside. So
 * nothing is checked by name and used by name later: directories are held open, files replaced by
 * rename, and file-system ids are the bottle's. */
#include "rootfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_LIMIT ((size_t)16 << 20)
/* Half of the kernel's 40; real images need two. */
#define LINK_LIMIT 16

struct rootfs {
	int fd;
	struct stat status;
};

/* ---- roots ---------------------------------------------------------------------------------- */

/* The host's root by device and inode, however it was named. */
static int open_root(const char *path, const char *what, struct rootfs **ret, struct error *error)
{
	struct rootfs *root = calloc(1, sizeof(*root));
	struct stat host;

	if (!root)
		return error_set(error, "out of memory");
	root->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0 || fstat(root->fd, &root->status) < 0 || stat("/", &host) < 0) {
		error_set(error, "%s: %s", what, strerror(errno));
		rootfs_close(root);
		return -1;
	}
	if (root->status.st_dev == host.st_dev && root->status.st_ino == host.st_ino) {
		rootfs_close(root);
		return error_set(error, "%s: its files are the host's own, and the host is to trust "
					"nothing new; 'egress-bpf exec' trusts the CA inside alone",
				 what);
	}
	*ret = root;
	return 0;
}

int rootfs_open_directory(const char *path, struct rootfs **ret, struct error *error)
{
	return open_root(path, path, ret, error);
}

/* Whom id 0 inside is outside; -1 when nobody, or when it cannot be read. */
static long outside_id(pid_t pid, const char *map)
{
	unsigned long inside, outside, count;
	char path[64];
	FILE *file;
	long id = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, map);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (id < 0 && fscanf(file, "%lu %lu %lu", &inside, &outside, &count) == 3) {
		if (inside == 0)
			id = (long)outside;
	}
	fclose(file);
	return id;
}

/* A file-system uid other than 0 also takes CAP_DAC_OVERRIDE and its like out of effect. */
static int become(long uid, long gid, struct error *error)
{
	if (uid != 0 && setgroups(0, NULL) < 0)
		return error_set(error, "cannot drop groups: %s", strerror(errno));
	setfsgid((gid_t)gid);
	setfsuid((uid_t)uid);
	/* setfsuid(2) tells no error: asked with an id that is none it returns what is in force. */
	if (setfsgid((gid_t)-1) != gid || setfsuid((uid_t)-1) != uid)
		return error_set(error, "cannot take the file-system ids %ld and %ld", uid, gid);
	return 0;
}

int rootfs_open_process(pid_t pid, struct rootfs **ret, struct error *error)
{
	char path[64], what[32];
	struct rootfs *root = NULL;
	long uid, gid;
	int result = -1, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	snprintf(what, sizeof(what), "process %d", pid);
	if (pidfd < 0)
		return error_set(error, "%s: %s", what, strerror(errno));
	uid = outside_id(pid, "uid_map");
	gid = outside_id(pid, "gid_map");
	if (open_root(path, what, &root, error) < 0) {
		close(pidfd);
		return -1;
	}
	/* Still there: then what was read by number was this process's. */
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		error_set(error, "%s has ended", what);
	else if (uid < 0 || gid < 0)
		error_set(error, "%s: its user namespace has no root", what);
	else
		result = become(uid, gid, error);
	close(pidfd);
	if (result == 0 && root)
		*ret = root;
	else
		rootfs_close(root);
	return result;
}

void rootfs_close(struct rootfs *root)
{
	if (!root)
		return;
	if (root->fd >= 0)
		close(root->fd);
	free(root);
}

/* By device and inode, as they were when it was opened. */
bool rootfs_same(const struct rootfs *a, const struct rootfs *b)
{
	return a->status.st_dev == b->status.st_dev && a->status.st_ino == b->status.st_ino;
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* Magic links (/proc/PID/root) are refused: RESOLVE_IN_ROOT would follow them out. */
static int open_inside(const struct rootfs *root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (__u64)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	int fd = -1;

	/* EAGAIN: something was renamed or mounted while a ".." was resolved (openat2(2)). */
	for (int tries = 0; tries < 64; tries++) {
		fd = (int)syscall(SYS_openat2, root->fd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

bool rootfs_has(const struct rootfs *root, const char *path)
{
	int fd = open_inside(root, path, O_PATH);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

void rootfs_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Without memory for a name the list ends there; what is missing is not changed. */
int rootfs_list(const struct rootfs *root, const char *path, size_t limit, char ***ret_names,
		size_t *ret_count, struct error *error)
{
	int fd = open_inside(root, path, O_RDONLY | O_DIRECTORY);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	char **names = calloc(limit + 1, sizeof(*names));
	const struct dirent *entry;
	size_t count = 0;

	if (!directory && fd >= 0)
		close(fd);
	while (directory && names && count < limit && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		names[count] = strdup(entry->d_name);
		if (!names[count])
			break;
		count++;
	}
	if (directory)
		closedir(directory);
	if (!names)
		return error_set(error, "out of memory");
	qsort(names, count, sizeof(*names), by_text);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

/* By the umask, not by chmod(2) afterwards: what has the name by then may be a link of the bottle's. */
static int make_one(int parent, const char *name)
{
	const mode_t mask = umask(022);
	const int result = mkdirat(parent, name, 0755) < 0 && errno != EEXIST ? -1 : 0;

	umask(mask);
	return result;
}

/* Part by part, each resolved anew inside the root. */
int rootfs_make_directory(const struct rootfs *root, const char *path, struct error *error)
{
	char part[PATH_MAX];
	size_t length = 0;

	while (path[length] == '/' || path[length]) {
		const char *name = path + length + (path[length] == '/');
		size_t name_length = strcspn(name, "/");
		int parent;

		snprintf(part, sizeof(part), "%.*s", length ? (int)length : 1, length ? path : "/");
		parent = open_inside(root, part, O_RDONLY | O_DIRECTORY);
		length = (size_t)(name - path) + name_length;
		snprintf(part, sizeof(part), "%.*s", (int)name_length, name);
		if (parent < 0 || make_one(parent, part) < 0) {
			error_set(error, "cannot make %s in the bottle: %s", path, strerror(errno));
			if (parent >= 0)
				close(parent);
			return -1;
		}
		close(parent);
	}
	return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* "dir" and "name" of "/dir/name"; false when there is no name or it is too long. */
static bool split(const char *path, char *ret_directory, char *ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash ? strlen(slash + 1) : 0;

	if (!slash || length == 0 || length > NAME_MAX || strcmp(slash + 1, "..") == 0 ||
	    strcmp(slash + 1, ".") == 0)
		return false;
	memcpy(ret_name, slash + 1, length + 1);
	snprintf(ret_directory, PATH_MAX, "%.*s/", (int)(slash - path), path);
	return true;
}

/* The next path of a link: the kernel resolves the directory and its "..", we only join texts. */
static bool join(const char *directory, const char *target, char *ret_path)
{
	int length = snprintf(ret_path, PATH_MAX, "%s%s", target[0] == '/' ? "" : directory, target);

	return length > 0 && length < PATH_MAX;
}

/* Follows the links of the last component by hand: the directory is needed for rename(2). The
 * bottle may change them meanwhile; then another file of the bottle is replaced. */
static int find_directory(const struct rootfs *root, struct rootfs_file *file)
{
	char path[PATH_MAX], directory[PATH_MAX], target[PATH_MAX];
	ssize_t length;

	if (!join("", file->path, path))
		return -ENAMETOOLONG;
	for (int links = 0; links < LINK_LIMIT; links++) {
		if (!split(path, directory, file->name))
			return -EINVAL;
		file->dir_fd = open_inside(root, directory, O_RDONLY | O_DIRECTORY);
		if (file->dir_fd < 0)
			return -errno;
		length = readlinkat(file->dir_fd, file->name, target, sizeof(target) - 1);
		if (length < 0)
			return errno == EINVAL || errno == ENOENT ? 0 : -errno;
		target[length] = '\0';
		close(file->dir_fd);
		file->dir_fd = -1;
		if (!join(directory, target, path))
			return -ENAMETOOLONG;
	}
	return -ELOOP;
}

/* Something of the host that is mounted into the bottle at the same place. */
static bool is_of_host(const struct rootfs_file *file)
{
	char directory[PATH_MAX], name[NAME_MAX + 1];
	struct stat here, host;

	return fstat(file->dir_fd, &here) == 0 && split(file->path, directory, name) &&
	       stat(directory, &host) == 0 && here.st_dev == host.st_dev &&
	       here.st_ino == host.st_ino;
}

/* O_NONBLOCK and no symbolic link: a FIFO would hold us, a link lead elsewhere in the bottle. */
static int read_file(struct rootfs_file *file, struct error *error)
{
	int fd = openat(file->dir_fd, file->name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int result = 0;

	if (fd < 0 && errno == ENOENT) {
		file->exists = false;
		return fstat(file->dir_fd, &file->status) < 0
			       ? error_set(error, "%s: %s", file->path, strerror(errno))
			       : 0;
	}
	if (fd < 0)
		return error_set(error, "%s in the bottle: %s", file->path, strerror(errno));
	file->exists = true;
	if (fstat(fd, &file->status) < 0 || !S_ISREG(file->status.st_mode))
		result = error_set(error, "%s in the bottle is not a regular file", file->path);
	else if (bytes_read(&file->before, fd, FILE_LIMIT) < 0)
		result = error_set(error, "%s in the bottle cannot be read, or is larger than 16 MiB",
				   file->path);
	close(fd);
	return result;
}

int rootfs_file_open(const struct rootfs *root, const char *path, struct rootfs_file **ret,
		     struct error *error)
{
	struct rootfs_file *file = calloc(1, sizeof(*file));
	int result;

	if (!file)
		return error_set(error, "out of memory");
	file->dir_fd = -1;
	file->path = strdup(path);
	result = file->path ? find_directory(root, file) : -ENOMEM;
	if (result == -ENOENT || result == -ENOTDIR)
		result = 1;
	else if (result < 0)
		result = error_set(error, "%s in the bottle: %s", path, strerror(-result));
	else if (is_of_host(file))
		result = error_set(error, "%s in the bottle lies in a directory of the host that is "
					  "mounted there",
				   path);
	else
		result = read_file(file, error);
	if (result == 0)
		*ret = file;
	else
		rootfs_file_free(file);
	return result;
}

int rootfs_file_beside(const struct rootfs_file *file, const char *suffix,
		       struct rootfs_file **ret, struct error *error)
{
	struct rootfs_file *other = calloc(1, sizeof(*other));
	int result = -1;

	if (!other || asprintf(&other->path, "%s%s", file->path, suffix) < 0) {
		free(other);
		return error_set(error, "out of memory");
	}
	other->dir_fd = fcntl(file->dir_fd, F_DUPFD_CLOEXEC, 3);
	if (other->dir_fd < 0)
		error_set(error, "%s: %s", other->path, strerror(errno));
	else if ((size_t)snprintf(other->name, sizeof(other->name), "%s%s", file->name, suffix) >=
		 sizeof(other->name))
		error_set(error, "%s: the name is too long", other->path);
	else
		result = read_file(other, error);
	if (result == 0)
		*ret = other;
	else
		rootfs_file_free(other);
	return result;
}

void rootfs_file_free(struct rootfs_file *file)
{
	if (!file)
		return;
	if (file->dir_fd >= 0)
		close(file->dir_fd);
	bytes_free(&file->before);
	bytes_free(&file->after);
	free(file->path);
	free(file);
}

bool rootfs_file_same(const struct rootfs_file *a, const struct rootfs_file *b)
{
	struct stat x, y;

	return strcmp(a->name, b->name) == 0 && fstat(a->dir_fd, &x) == 0 &&
	       fstat(b->dir_fd, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* ---- changing ------------------------------------------------------------------------------- */

/* On the descriptor, before it has the name: nobody sees another owner or mode. */
static int fill(int fd, const struct rootfs_file *file, struct span content)
{
	mode_t mode = file->exists ? file->status.st_mode & 0777 : 0644;

	if (span_write(content, fd) < 0)
		return -errno;
	/* With another file-system uid than root's the file is the bottle's root's already. */
	if (fchown(fd, file->status.st_uid, file->status.st_gid) < 0 && errno != EPERM)
		return -errno;
	return fchmod(fd, mode) < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* A new file and rename: a hard link's other names, maybe in a volume of the host, keep their
 * content. */
static int replace(const struct rootfs_file *file, struct span content)
{
	char temporary[64];
	int fd, result;

	snprintf(temporary, sizeof(temporary), ".egress-bpf.%d.new", getpid());
	/* Of one that was killed, or put there by the bottle: O_EXCL then finds no name. */
	unlinkat(file->dir_fd, temporary, 0);
	fd = openat(file->dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -errno;
	result = fill(fd, file, content);
	close(fd);
	if (result == 0 && renameat(file->dir_fd, temporary, file->dir_fd, file->name) < 0)
		result = -errno;
	if (result < 0)
		unlinkat(file->dir_fd, temporary, 0);
	return result;
}

static int carry_out(const struct rootfs_file *file)
{
	if (file->action == ROOTFS_WRITE)
		return replace(file, bytes_span(&file->after));
	if (file->action == ROOTFS_REMOVE && unlinkat(file->dir_fd, file->name, 0) < 0 &&
	    errno != ENOENT)
		return -errno;
	return 0;
}

/* As far as it goes; the error that led here is what is reported. */
static void undo(const struct rootfs_file *file)
{
	if (file->action == ROOTFS_KEEP)
		return;
	if (file->exists)
		replace(file, bytes_span(&file->before));
	else
		unlinkat(file->dir_fd, file->name, 0);
}

static const char *cure_of(int problem)
{
	if (problem == EROFS)
		return " (mount a bundle there instead, or start it without --read-only)";
	return problem == EBUSY ? " (the file is a mount of its own: change what is mounted)" : "";
}

int rootfs_apply(struct rootfs_file *const *files, size_t count, struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		int result = carry_out(files[i]);

		if (result == 0)
			continue;
		error_set(error, "%s in the bottle: %s%s", files[i]->path, strerror(-result),
			  cure_of(-result));
		while (i-- > 0)
			undo(files[i]);
		return -1;
	}
	return 0;
}
