// SPDX-License-Identifier: BSD-2-Clause
/* Unix sockets of the host: a service behind one would resolve, connect or start something on a
 * program's behalf. Those with a path are found in three ways and covered; directories in which
 * new ones appear are replaced. Abstract ones are another network namespace's. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
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
/* As deep as daemons put them: /run/NAME/INSTANCE/x.sock. */
#define WALK_DEPTH 4
#define COVER_TRIES 4

/* Sessions make their sockets here, also after we have looked. The bottle gets its own. */
static const char *const replaced[] = {
	"/run/user",	 "/run/screen",	   "/run/tmux",	      "/tmp/.X11-unix",
	"/tmp/.ICE-unix", "/tmp/ssh-*",	   "/tmp/tmux-*",     "/tmp/dbus-*",
};

/* Sockets of containers and of hosts outside our container have a path here, but no process that
 * we could see. */
static const char *const walked[] = {"/run", "/tmp", "/var/tmp", "/dev/shm"};

struct list {
	char **items;
	size_t count;
};

struct let_in {
	int fd; /* O_PATH, from before anything was covered */
	char *path;
	struct stat status;
};

struct bottle_sockets {
	struct list paths;   /* may be sockets; absolute */
	struct list walked;  /* were sockets a moment ago; real paths, each once */
	struct list names;   /* relative to somebody's working directory */
	struct let_in *let_in;
	size_t let_in_count;
	struct stat closed; /* what covers them */
};

static int out_of_memory(struct error *error)
{
	return error_set(error, "out of memory");
}

/* Of errno. A process or directory that is gone meanwhile, or that we may not look into, is no error. */
static bool cannot_look(void)
{
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

static int not_looked(struct error *error)
{
	return error_set(error, "cannot look for unix sockets: %s", strerror(errno));
}

/* NULL at the end, and with errno set where it was cut short. */
static const struct dirent *next_entry(DIR *directory)
{
	errno = 0;
	return readdir(directory);
}

static int list_append(struct list *list, const char *text)
{
	char **items;

	/* Doubled at each power of two: /tmp may hold thousands. */
	if ((list->count & (list->count + 1)) == 0) {
		items = reallocarray(list->items, 2 * (list->count + 1), sizeof(*items));
		if (!items)
			return -1;
		list->items = items;
	}
	list->items[list->count] = strdup(text);
	return list->items[list->count] ? (list->count++, 0) : -1;
}

/* Each once: a listening socket's path is also that of all it accepted. */
static int list_add(struct list *list, const char *text)
{
	for (size_t i = list->count; i > 0; i--) {
		if (strcmp(list->items[i - 1], text) == 0)
			return 0;
	}
	return list_append(list, text);
}

/* Leaves it empty. */
static void list_free(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct list){0};
}

/* ---- what the kernel lists ------------------------------------------------------------------- */

/* "ADDRESS: REFCOUNT PROTOCOL FLAGS TYPE STATE INODE PATH"; '@' begins an abstract name. */
static int read_line(struct bottle_sockets *sockets, char *line)
{
	int offset = 0;
	const char *path;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %n", &offset) < 0 || offset == 0)
		return 0;
	path = line + offset;
	if (*path == '\0' || *path == '@')
		return 0;
	return list_add(*path == '/' ? &sockets->paths : &sockets->names, path);
}

static int read_table(struct bottle_sockets *sockets, const char *pid)
{
	char path[64], *line = NULL;
	size_t size = 0;
	FILE *table;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%.20s/net/unix", pid);
	table = fopen(path, "re");
	if (!table)
		return cannot_look() ? -1 : 0;
	/* getline(3) without memory sets no ferror(3). */
	errno = 0;
	while (rc == 0 && getline(&line, &size, table) >= 0)
		rc = read_line(sockets, line);
	if (rc == 0 && cannot_look())
		rc = -1;
	free(line);
	fclose(table);
	return rc;
}

/* Where /proc/PID/LINK leads. 1 not seen before, 0 seen or gone, -1 cannot be told. */
static int new_target(struct list *seen, const char *pid, const char *link, char ret[PATH_MAX])
{
	char path[64];
	size_t before = seen->count;
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, link);
	length = readlink(path, ret, PATH_MAX - 1);
	if (length <= 0)
		return length < 0 && cannot_look() ? -1 : 0;
	ret[length] = '\0';
	if (list_add(seen, ret) < 0)
		return -1;
	return seen->count > before;
}

/* Reads the table of each network namespace once. */
static int visit_netns(struct bottle_sockets *sockets, struct list *seen, const char *pid)
{
	char name[PATH_MAX];
	int found = new_target(seen, pid, "ns/net", name);

	return found > 0 ? read_table(sockets, pid) : found;
}

/* Who bound a relative name is not told, so it is looked for wherever a process works. */
static int visit_cwd(struct bottle_sockets *sockets, struct list *seen, const char *pid)
{
	char cwd[PATH_MAX];
	int found = new_target(seen, pid, "cwd", cwd);

	for (size_t i = 0; found > 0 && i < sockets->names.count; i++) {
		char *joined;
		int rc;

		if (asprintf(&joined, "%s/%s", cwd, sockets->names.items[i]) < 0)
			return -1;
		rc = access(joined, F_OK) == 0 ? list_add(&sockets->paths, joined)
					       : cannot_look() ? -1 : 0;
		free(joined);
		if (rc < 0)
			return -1;
	}
	return found < 0 ? -1 : 0;
}

typedef int (*visit_fn)(struct bottle_sockets *sockets, struct list *seen, const char *pid);

/* /proc is still the host's here, and shows every process of the machine. */
static int visit_processes(struct bottle_sockets *sockets, visit_fn visit, struct error *error)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	struct list seen = {0};
	int rc = 0;

	if (!proc)
		return error_set(error, "cannot read /proc: %s", strerror(errno));
	while (rc == 0 && (entry = next_entry(proc))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			rc = visit(sockets, &seen, entry->d_name);
	}
	if (rc < 0 || errno != 0)
		rc = not_looked(error);
	closedir(proc);
	list_free(&seen);
	return rc;
}

/* ---- what is let in -------------------------------------------------------------------------- */

/* Held open from before anything is covered: the path may lead elsewhere then. */
static int open_let_in(const char *path, struct let_in *ret, struct error *error)
{
	struct let_in let_in = {.fd = open(path, O_PATH | O_CLOEXEC)};

	if (let_in.fd < 0 || fstat(let_in.fd, &let_in.status) < 0)
		return error_set(error, "--bind-socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(let_in.status.st_mode))
		return error_set(error, "--bind-socket %s: not a unix socket", path);
	let_in.path = realpath(path, NULL);
	if (!let_in.path)
		return error_set(error, "--bind-socket %s: %s", path, strerror(errno));
	*ret = let_in;
	return 0;
}

static int open_all_let_in(struct launch *launch, struct error *error)
{
	const struct bottle_options *options = launch->options;
	struct bottle_sockets *sockets = launch->sockets;

	sockets->let_in = calloc(options->socket_count + 1, sizeof(*sockets->let_in));
	if (!sockets->let_in)
		return out_of_memory(error);
	for (size_t i = 0; i < options->socket_count; i++) {
		if (open_let_in(options->sockets[i], &sockets->let_in[i], error) < 0)
			return -1;
		sockets->let_in_count++;
	}
	return 0;
}

/* By the file: the same socket may have several paths. */
static bool is_let_in(const struct bottle_sockets *sockets, const struct stat *status)
{
	for (size_t i = 0; i < sockets->let_in_count; i++) {
		if (sockets->let_in[i].status.st_dev == status->st_dev &&
		    sockets->let_in[i].status.st_ino == status->st_ino)
			return true;
	}
	return false;
}

int launch_find_sockets(struct launch *launch, struct error *error)
{
	launch->sockets = calloc(1, sizeof(*launch->sockets));
	if (!launch->sockets)
		return out_of_memory(error);
	if (open_all_let_in(launch, error) < 0 ||
	    visit_processes(launch->sockets, visit_netns, error) < 0)
		return -1;
	if (launch->sockets->names.count == 0)
		return 0;
	return visit_processes(launch->sockets, visit_cwd, error);
}

/* ---- replacing directories ------------------------------------------------------------------- */

/* `from` is behind the directory that was replaced; what is above it exists. */
static int make_parents(char *path, size_t from)
{
	for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -1;
		*slash = '/';
	}
	return 0;
}

/* The socket again, at its own path in the directory that took the place of its own. */
static int show_again(struct let_in *let_in, size_t directory_length, struct error *error)
{
	char source[32];
	int fd = -1;

	snprintf(source, sizeof(source), "/proc/self/fd/%d", let_in->fd);
	if (make_parents(let_in->path, directory_length + 1) == 0)
		fd = open(let_in->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(error, "--bind-socket %s: %s", let_in->path, strerror(errno));
	close(fd);
	if (mount(source, let_in->path, NULL, MS_BIND, NULL) < 0)
		return error_set(error, "--bind-socket %s: %s", let_in->path, strerror(errno));
	return 0;
}

/* Empty, writable, and with the same owner: an X server or tmux may be started inside, too. */
static int replace_directory(struct launch *launch, const char *path, struct error *error)
{
	struct bottle_sockets *sockets = launch->sockets;
	char *real = realpath(path, NULL), options[96];
	struct stat status;
	size_t length;
	int rc = 0;

	if (!real || stat(real, &status) < 0) {
		rc = cannot_look() ? not_looked(error) : 0;
		free(real);
		return rc;
	}
	if (!S_ISDIR(status.st_mode)) {
		free(real);
		return 0;
	}
	length = strlen(real);
	snprintf(options, sizeof(options), "size=16m,mode=%o,uid=%u,gid=%u",
		 (unsigned)status.st_mode & 07777, (unsigned)status.st_uid, (unsigned)status.st_gid);
	if (mount("egress-bpf", real, "tmpfs", HARMLESS, options) < 0)
		rc = error_set(error, "cannot mount a tmpfs on %s: %s", real, strerror(errno));
	for (size_t i = 0; rc == 0 && i < sockets->let_in_count; i++) {
		struct let_in *let_in = &sockets->let_in[i];

		if (strncmp(let_in->path, real, length) == 0 && let_in->path[length] == '/')
			rc = show_again(let_in, length, error);
	}
	free(real);
	return rc;
}

/* For glob(3): whether that is the end of it. */
static int stops(const char *path, int number)
{
	(void)path;
	errno = number;
	return cannot_look();
}

/* A pattern that nothing matches is left as it is. */
static int replace_directories(struct launch *launch, struct error *error)
{
	for (size_t i = 0; i < COUNT(replaced); i++) {
		glob_t found = {0};
		int rc = glob(replaced[i], GLOB_NOSORT, stops, &found);

		rc = rc == 0 || rc == GLOB_NOMATCH ? 0 : not_looked(error);
		for (size_t k = 0; rc == 0 && k < found.gl_pathc; k++)
			rc = replace_directory(launch, found.gl_pathv[k], error);
		globfree(&found);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ---- covering sockets ------------------------------------------------------------------------ */

/* What the directory says it is; only file systems that do not say cost a system call per file, of
 * which /tmp may have thousands, and the command waits for us. */
static unsigned char kind_of(int directory_fd, const struct dirent *entry)
{
	struct stat status;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type;
	return fstatat(directory_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0
		       ? IFTODT(status.st_mode)
		       : DT_UNKNOWN;
}

/* `path` has `length` octets, and room for PATH_MAX; it is as before when this returns. A symbolic
 * link is followed by nobody here; what cannot be opened is passed over. */
static int walk_directory(struct bottle_sockets *sockets, int parent_fd, char *path, size_t length,
			  size_t name_at, int level)
{
	int fd = openat(parent_fd, path + name_at,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int rc = 0;

	if (!directory) {
		rc = cannot_look() ? -1 : 0;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (entry = next_entry(directory))) {
		size_t more = strlen(entry->d_name);
		unsigned char kind = kind_of(fd, entry);

		if ((kind != DT_SOCK && kind != DT_DIR) || length + more + 2 > PATH_MAX ||
		    strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		path[length] = '/';
		memcpy(path + length + 1, entry->d_name, more + 1);
		if (kind == DT_SOCK)
			rc = list_append(&sockets->walked, path);
		else if (level < WALK_DEPTH)
			rc = walk_directory(sockets, fd, path, length + 1 + more, length + 1,
					    level + 1);
		path[length] = '\0';
	}
	if (rc == 0 && cannot_look())
		rc = -1;
	closedir(directory);
	return rc;
}

static int walk(struct bottle_sockets *sockets, struct error *error)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < COUNT(walked); i++) {
		snprintf(path, sizeof(path), "%s", walked[i]);
		if (walk_directory(sockets, AT_FDCWD, path, strlen(path), 0, 1) < 0)
			return not_looked(error);
	}
	return 0;
}

static bool is_missing(int number)
{
	return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG;
}

/* A socket at which nobody listens: ECONNREFUSED is what programs know how to take. */
static int make_closed_socket(const struct launch *launch, struct error *error)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", launch->directory, BOTTLE_CLOSED_SOCKET);
	if (mknod(path, S_IFSOCK | 0666, 0) < 0 || chmod(path, 0666) < 0 ||
	    stat(path, &launch->sockets->closed) < 0)
		return error_set(error, "cannot make %s: %s", path, strerror(errno));
	return 0;
}

/* `real`: no part of it is a symbolic link. A socket that went away since it was listed needs no cover,
 * and one that has it no other. */
static int try_to_cover(struct launch *launch, const char *path, bool real, struct error *error)
{
	const struct stat *closed = &launch->sockets->closed;
	struct stat status;
	char *found = NULL;
	int rc;

	if (stat(path, &status) < 0)
		return is_missing(errno) ? 0
					 : error_set(error, "cannot look at %s: %s", path,
						     strerror(errno));
	if (!S_ISSOCK(status.st_mode) || is_let_in(launch->sockets, &status) ||
	    (status.st_dev == closed->st_dev && status.st_ino == closed->st_ino))
		return 0;
	if (!real) {
		found = realpath(path, NULL);
		if (!found)
			return is_missing(errno) ? 0
						 : error_set(error, "cannot look at %s", path);
	}
	rc = bottle_place(launch, BOTTLE_CLOSED_SOCKET, NULL, 0, real ? path : found, error);
	free(found);
	return rc;
}

/* Containers on the host come and go: one may be gone between our look and the mount, or be made anew. */
static int cover_socket(struct launch *launch, const char *path, bool real, struct error *error)
{
	int rc = -1;

	for (int i = 0; rc < 0 && i < COVER_TRIES; i++)
		rc = try_to_cover(launch, path, real, error);
	return rc;
}

static int cover_sockets(struct launch *launch, const struct list *list, bool real,
			 struct error *error)
{
	for (size_t i = 0; i < list->count; i++) {
		if (cover_socket(launch, list->items[i], real, error) < 0)
			return -1;
	}
	return 0;
}

int launch_hide_sockets(struct launch *launch, struct error *error)
{
	struct bottle_sockets *sockets = launch->sockets;

	if (make_closed_socket(launch, error) < 0 || replace_directories(launch, error) < 0 ||
	    walk(sockets, error) < 0 || cover_sockets(launch, &sockets->walked, true, error) < 0)
		return -1;
	return cover_sockets(launch, &sockets->paths, false, error);
}
