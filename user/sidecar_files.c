// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bytes.h"
#include "sidecar.h"
#include "trust.h"

#define DIRECTORY "egress-bpf-sidecars"
#define MARK "starting"
#define CURRENT "current"

/* ---- where ------------------------------------------------------------------------------------ */

static bool in_memory(const char *path)
{
	/* By the file system's type, as a mount point's name proves nothing: in containers /run may
	 * be on the disk. */
	struct statfs fs;

	return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* In /dev/shm anybody may make a directory of our name. */
static int check_ours(const char *path, struct error *error)
{
	struct stat status;

	/* lstat(2): a link to a directory of root's, made by somebody else, would pass
	 * otherwise. */
	if (lstat(path, &status) < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077))
		return error_set(error, "%s is not a directory that is ours alone (mode 0700): "
				 "somebody else made it; remove it", path);
	return 0;
}

static int make_directory(const char *path, struct error *error)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set(error, "%s: %s", path, strerror(errno));
	return check_ours(path, error);
}

static const char *find_place(void)
{
	static const char *const places[] = {"/run", "/dev/shm"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (in_memory(places[i]))
			return places[i];
	return NULL;
}

static int name_directory(const char *slug, char **ret_base, char **ret_path, struct error *error)
{
	const char *place = find_place();
	char *base, *path;

	if (!place) {
		error_set(error, "neither /run nor /dev/shm is a tmpfs, and tokens are not to be written "
				 "to a disk: mount one, 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm'");
		return -1;
	}
	if (asprintf(&base, "%s/" DIRECTORY, place) < 0)
		base = NULL;
	if (!base || asprintf(&path, "%s/%s", base, slug) < 0) {
		free(base);
		error_set(error, "out of memory");
		return -1;
	}
	*ret_base = base;
	*ret_path = path;
	return 0;
}

/* ---- files ------------------------------------------------------------------------------------ */

static int write_file(const char *path, struct span text, mode_t mode, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	ssize_t written;

	if (fd < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	written = write(fd, text.data, text.length);
	/* The umask may have taken bits of 0644 away, which the container's user needs to read the
	 * bundle. */
	if (fchmod(fd, mode) < 0 || close(fd) < 0 || written != (ssize_t)text.length)
		return error_set(error, "%s: cannot be written", path);
	return 0;
}

static int write_inside(const char *directory, const char *name, struct span text, mode_t mode,
			struct error *error)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return error_set(error, "%s: too long a path", directory);
	return write_file(path, text, mode, error);
}

bool sidecar_tokens_check(const struct plan *plan, struct diag_list *errors)
{
	bool all = true;

	for (size_t i = 0; i < plan->token_count; i++) {
		const char *name = plan->tokens[i].token_ref, *value = getenv(name);

		if (value && *value)
			continue;
		all = false;
		if (!value)
			diag_list_add(errors, plan->bottle, 0,
				      "the variable %s is not set; would be right: %s=SECRET in the "
				      "environment of 'egress-bpf start' (sudo --preserve-env=%s)",
				      name, name, name);
		else
			diag_list_add(errors, plan->bottle, 0,
				      "the variable %s is set, but empty; would be right: its secret",
				      name);
	}
	return all;
}

static int write_tokens(const struct plan *plan, const char *directory, struct error *error)
{
	for (size_t i = 0; i < plan->token_count; i++) {
		const char *value = getenv(plan->tokens[i].token_ref);

		/* sidecar_tokens_check() said so before; asked again, since an empty file would be
		 * an empty credential. */
		if (!value || !*value)
			return error_set(error, "the variable %s has no value",
					 plan->tokens[i].token_ref);
		if (write_inside(directory, plan->tokens[i].token_env, span_from(value), 0600, error) < 0)
			return -1;
	}
	return 0;
}

/* A host without roots of its own gives the bottle our CA alone. */
static int write_bundle(const struct plan *plan, const char *path, struct error *error)
{
	struct trust_paths bundles = {0};
	struct bytes ca = {0}, all = {0};
	int result = -1;

	if (trust_merge(plan->ca_cert_file, SPAN(""), &ca, error) == 0 &&
	    trust_find_bundles(&bundles, error) == 0 &&
	    trust_merge(bundles.count ? bundles.items[0] : NULL, bytes_span(&ca), &all, error) == 0)
		result = write_file(path, bytes_span(&all), 0644, error);
	trust_paths_free(&bundles);
	bytes_free(&ca);
	bytes_free(&all);
	return result;
}

static bool name_files(struct sidecar_files *files)
{
	return asprintf(&files->plan, "%s/plan", files->directory) >= 0 &&
	       asprintf(&files->state, "%s/state", files->directory) >= 0 &&
	       asprintf(&files->bundle, "%s/ca-bundle.pem", files->directory) >= 0;
}

static bool mark_path(char path[4096], const char *directory)
{
	return snprintf(path, 4096, "%s/" MARK, directory) < 4096;
}

static int remove_tree(char *path, struct error *error)
{
	char *const roots[] = {path, NULL};
	/* FTS_PHYSICAL: links are removed, never followed. FTS_XDEV: nothing that is mounted below
	 * is emptied. */
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	FTSENT *entry;
	int result = 0;

	if (!tree)
		return error_set(error, "%s: %s", path, strerror(errno));
	/* Directories on the way back, when they are empty. ENOENT: another stop was faster. */
	while ((entry = fts_read(tree)))
		if (entry->fts_info != FTS_D && remove(entry->fts_accpath) < 0 && errno != ENOENT)
			result = error_set(error, "%s: %s", entry->fts_path, strerror(errno));
	fts_close(tree);
	return result;
}

/* ---- one start at a time ---------------------------------------------------------------------- */

static int open_lock(const char *base, const char *path, struct error *error)
{
	int fd;

	if (make_directory(base, error) < 0)
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	/* ENOENT: who had it removed the directory meanwhile. */
	return fd < 0 && errno != ENOENT ? error_set(error, "%s: %s", path, strerror(errno)) : fd;
}

/* Who had the lock before us may have removed the file that we wait at. */
static bool is_there(int fd, const char *path)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
	       ours.st_dev == there.st_dev;
}

int sidecar_files_lock(const char *slug, bool wait, struct error *error)
{
	const int how = LOCK_EX | (wait ? 0 : LOCK_NB);
	char *base = NULL, *directory = NULL, path[PATH_MAX];
	struct error why = {0};
	int fd = -1;

	if (name_directory(slug, &base, &directory, error) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s.lock", directory);
	while (!why.text[0]) {
		fd = open_lock(base, path, &why);
		if (fd >= 0 && flock(fd, how) < 0)
			error_set(&why, "%s: %s", path, strerror(errno));
		else if (fd >= 0 && is_there(fd, path))
			break;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(base);
	free(directory);
	return fd >= 0 ? fd : error_set(error, "%s", why.text);
}

void sidecar_files_unlock(const char *slug, int fd)
{
	char *base = NULL, *directory = NULL, path[PATH_MAX];

	if (fd < 0)
		return;
	if (name_directory(slug, &base, &directory, NULL) == 0) {
		snprintf(path, sizeof(path), "%s.lock", directory);
		unlink(path);
		rmdir(base); /* stays while others live there */
	}
	close(fd);
	free(base);
	free(directory);
}

/* ---- generations ------------------------------------------------------------------------------ */

static bool name_generation(char path[PATH_MAX], const struct sidecar_files *files,
			    unsigned generation)
{
	return snprintf(path, PATH_MAX, "%s/%u", files->plan, generation) < PATH_MAX;
}

/* 0: there is none yet. */
static unsigned current_generation(const struct sidecar_files *files)
{
	char path[PATH_MAX], target[32];
	ssize_t length = -1;

	if (snprintf(path, sizeof(path), "%s/" CURRENT, files->plan) < (int)sizeof(path))
		length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return 0;
	target[length] = '\0';
	return (unsigned)strtoul(target, NULL, 10);
}

static int write_plan(const struct plan *plan, const char *directory, struct error *error)
{
	struct bytes ca = {0}, certificate = {0};
	int result = plan_read_ca(plan, &ca, &certificate, error);

	if (result == 0 &&
	    (write_inside(directory, PLAN_ROUTES, bytes_span(&plan->routes), 0600, error) < 0 ||
	     write_inside(directory, PLAN_FILE, bytes_span(&plan->text), 0600, error) < 0 ||
	     write_inside(directory, PLAN_CA, bytes_span(&ca), 0600, error) < 0 ||
	     write_inside(directory, PLAN_CA_CERT, bytes_span(&certificate), 0644, error) < 0))
		result = -1;
	/* It has the key. */
	bytes_wipe(&ca);
	bytes_free(&certificate);
	return result;
}

int sidecar_files_put(const struct sidecar_files *files, const struct plan *plan,
		      unsigned *ret_generation, struct error *error)
{
	unsigned generation = current_generation(files) + 1;
	char path[PATH_MAX], tokens[PATH_MAX + sizeof(SIDECAR_TOKENS)];

	if (!name_generation(path, files, generation))
		return error_set(error, "%s: too long a path", files->plan);
	snprintf(tokens, sizeof(tokens), "%s/" SIDECAR_TOKENS, path);
	/* Of a start that was killed before it switched: half a generation, with tokens perhaps of
	 * another plan. */
	if ((access(path, F_OK) == 0 && remove_tree(path, error) < 0) ||
	    make_directory(path, error) < 0 || make_directory(tokens, error) < 0 ||
	    write_plan(plan, path, error) < 0 || write_tokens(plan, tokens, error) < 0)
		return -1;
	*ret_generation = generation;
	return 0;
}

/* By rename: a sidecar that restarts meanwhile has the one or the other. */
int sidecar_files_switch(const struct sidecar_files *files, unsigned generation,
			 struct error *error)
{
	char link[PATH_MAX], beside[PATH_MAX], target[32];

	if (snprintf(link, sizeof(link), "%s/" CURRENT, files->plan) >= (int)sizeof(link) ||
	    snprintf(beside, sizeof(beside), "%s/" CURRENT ".new", files->plan) >=
		    (int)sizeof(beside))
		return error_set(error, "%s: too long a path", files->plan);
	snprintf(target, sizeof(target), "%u", generation);
	/* Of a switch that was killed between the two calls. */
	unlink(beside);
	if (symlink(target, beside) < 0 || rename(beside, link) < 0)
		return error_set(error, "%s: %s", link, strerror(errno));
	return 0;
}

void sidecar_files_sweep(const struct sidecar_files *files)
{
	const unsigned current = current_generation(files);
	char path[PATH_MAX];

	/* One each side of it is all there can be: the last one, and one that was put but never
	 * switched to. */
	for (unsigned i = current > 1 ? current - 1 : 1; i <= current + 1; i++) {
		if (i != current && name_generation(path, files, i) && access(path, F_OK) == 0)
			(void)!remove_tree(path, NULL);
	}
}

unsigned sidecar_files_current(const struct sidecar_files *files, char **ret_path)
{
	const unsigned generation = current_generation(files);

	if (generation == 0 || asprintf(ret_path, "%s/%u", files->plan, generation) < 0)
		return 0;
	return generation;
}

/* ---- all of it -------------------------------------------------------------------------------- */

int sidecar_files_find(const char *slug, struct sidecar_files *ret, struct error *error)
{
	struct sidecar_files files = {0};
	char *base = NULL;
	int result = name_directory(slug, &base, &files.directory, error);

	if (result == 0 && !name_files(&files))
		result = error_set(error, "out of memory");
	/* The base, too: who owns it could have renamed the bottle's directory away and made
	 * another. */
	if (result == 0)
		result = check_ours(base, error) < 0 ? -1 : check_ours(files.directory, error);
	free(base);
	if (result == 0)
		*ret = files;
	else
		sidecar_files_free(&files);
	return result;
}

static int fill(const struct plan *plan, const struct sidecar_files *files, struct error *error)
{
	unsigned generation = 0;

	if (make_directory(files->plan, error) < 0 || make_directory(files->state, error) < 0 ||
	    sidecar_files_put(files, plan, &generation, error) < 0 ||
	    sidecar_files_switch(files, generation, error) < 0)
		return -1;
	return write_bundle(plan, files->bundle, error);
}

int sidecar_files_make(const struct plan *plan, struct sidecar_files *ret, struct error *error)
{
	struct sidecar_files files = {0};
	char *base = NULL, mark[4096];
	int result = -1;

	/* Nothing of an earlier start is taken over: its tokens may be of routes that are gone. */
	if (sidecar_files_remove(plan->slug, error) < 0 ||
	    name_directory(plan->slug, &base, &files.directory, error) < 0)
		return -1;
	if (!name_files(&files) || !mark_path(mark, files.directory))
		error_set(error, "out of memory");
	else if (make_directory(base, error) == 0 && make_directory(files.directory, error) == 0 &&
		 write_file(mark, SPAN(""), 0600, error) == 0)
		result = fill(plan, &files, error);
	free(base);
	if (result == 0) {
		*ret = files;
		return 0;
	}
	sidecar_files_free(&files);
	(void)!sidecar_files_remove(plan->slug, NULL);
	return -1;
}

void sidecar_files_finish(const struct sidecar_files *files)
{
	char path[4096];

	if (mark_path(path, files->directory))
		unlink(path);
}

bool sidecar_files_unfinished(const char *slug)
{
	char *base = NULL, *directory = NULL, path[4096];
	bool found;

	if (name_directory(slug, &base, &directory, NULL) < 0)
		return false;
	found = mark_path(path, directory) && access(path, F_OK) == 0;
	free(base);
	free(directory);
	return found;
}

void sidecar_files_free(struct sidecar_files *files)
{
	free(files->directory);
	free(files->plan);
	free(files->state);
	free(files->bundle);
	*files = (struct sidecar_files){0};
}

int sidecar_files_remove(const char *slug, struct error *error)
{
	char *base = NULL, *path = NULL;
	int result;

	if (name_directory(slug, &base, &path, error) < 0)
		return -1;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		result = 0;
	else
		result = check_ours(base, error) < 0 ? -1 : remove_tree(path, error);
	rmdir(base); /* stays while others live there */
	free(base);
	free(path);
	return result;
}
