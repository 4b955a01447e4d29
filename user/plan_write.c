// SPDX-License-Identifier: BSD-2-Clause
/* A plan's directory on disk. A reader sees the old plan or the new one, never half of either:
 * files are written whole beside their place and renamed, the digest last. Where others may write,
 * nothing is written: the routes decide where secrets go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert_authority.h"
#include "plan_make.h"

int plan_directory(const char *path, char **ret, struct error *error)
{
	size_t length = strlen(path);
	char *copy, *slash, *parent, *name;
	int result = 0;

	while (length > 1 && path[length - 1] == '/')
		length--;
	copy = strndup(path, length);
	slash = copy ? strrchr(copy, '/') : NULL;
	name = slash ? slash + 1 : copy;
	if (!copy)
		return error_set(error, "out of memory");
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		error_set(error, "%s: name a directory for this plan alone, such as plans/agent", path);
		free(copy);
		return -1;
	}
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!parent)
		result = error_set(error, "%s: what is above it: %s", path, strerror(errno));
	else if (asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
		result = error_set(error, "out of memory");
	free(parent);
	free(copy);
	return result;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* A complete, synced file under a name of its own; what a killed run left there is replaced. The
 * mode is right from the first byte: the file never is more open than `mode`. */
static int write_new(int dir_fd, const char *name, mode_t mode, struct span text,
		     struct error *error)
{
	int fd, result = 0;

	unlinkat(dir_fd, name, 0);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return error_set(error, "cannot write %s: %s", name, strerror(errno));
	if (span_write(text, fd) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0)
		result = error_set(error, "cannot write %s: %s", name, strerror(errno));
	close(fd);
	return result;
}

static const struct plan_file {
	const char *name, *temporary;
	mode_t mode;
} files[] = {
	{PLAN_ROUTES, "." PLAN_ROUTES ".new", 0600},
	{PLAN_FILE, "." PLAN_FILE ".new", 0644}, /* last: it holds the digest of the other */
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

static int write_files(int dir_fd, const struct plan_draft *draft, struct error *error)
{
	const struct span texts[] = {bytes_span(&draft->routes_text),
				     bytes_span(&draft->plan_text)};

	for (size_t i = 0; i < FILE_COUNT; i++) {
		if (write_new(dir_fd, files[i].temporary, files[i].mode, texts[i], error) < 0)
			return -1;
	}
	return 0;
}

static int publish_files(int dir_fd, struct error *error)
{
	for (size_t i = 0; i < FILE_COUNT; i++) {
		if (renameat(dir_fd, files[i].temporary, dir_fd, files[i].name) < 0)
			return error_set(error, "cannot write %s: %s", files[i].name,
					 strerror(errno));
	}
	if (fsync(dir_fd) < 0)
		return error_set(error, "cannot sync the directory: %s", strerror(errno));
	return 0;
}

static void remove_temporaries(int dir_fd)
{
	for (size_t i = 0; i < FILE_COUNT; i++)
		unlinkat(dir_fd, files[i].temporary, 0);
}

/* ---- the CA --------------------------------------------------------------------------------- */

/* True when ca-cert.pem is the certificate of `ca`. */
static bool has_certificate(int dir_fd, const struct cert_authority *ca)
{
	struct bytes want = {0};
	char got[16384];
	int fd = openat(dir_fd, PLAN_CA_CERT, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, got, sizeof(got));
	bool same = length >= 0 && cert_authority_pem(ca, &want) == 0 &&
		    span_equal((struct span){got, (size_t)length}, bytes_span(&want));

	if (fd >= 0)
		close(fd);
	bytes_free(&want);
	return same;
}

/* The CA that is there, or a new one. It is kept with all its bytes: bottles trust it. The
 * certificate is written anew when it does not fit the key; bottles made before keep trusting the
 * same CA. */
static int settle_ca(int dir_fd, const char *directory, const char *common_name, bool new_ca,
		     struct error *error)
{
	struct cert_authority *ca = NULL;
	bool there = !new_ca && faccessat(dir_fd, PLAN_CA, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	int result = there ? cert_authority_load(directory, &ca, error)
			   : cert_authority_new(common_name, &ca, error);

	if (result == 0 && !(there && has_certificate(dir_fd, ca)))
		result = cert_authority_save(ca, directory, true, error);
	cert_authority_free(ca);
	return result;
}

/* ---- directories ---------------------------------------------------------------------------- */

static int fill(int dir_fd, const char *directory, const struct plan_draft *draft, bool new_ca,
		struct error *error)
{
	char common_name[64];
	int result;

	snprintf(common_name, sizeof(common_name), "egress-bpf %s", draft->slug);
	/* What may fail, for want of room or for a bad CA, comes before the first rename. */
	result = write_files(dir_fd, draft, error);
	if (result == 0)
		result = settle_ca(dir_fd, directory, common_name, new_ca, error);
	if (result == 0)
		result = publish_files(dir_fd, error);
	if (result < 0)
		remove_temporaries(dir_fd);
	return result;
}

/* Ours, and nobody else's to write: another owner could replace any file after we checked it. */
static int check_directory(int dir_fd, const char *directory, struct error *error)
{
	struct stat st;

	if (fstat(dir_fd, &st) < 0)
		return error_set(error, "%s: %s", directory, strerror(errno));
	if (st.st_uid == geteuid() && !(st.st_mode & 022))
		return 0;
	return error_set(error, "%s can be written by others: name a directory that is not there yet, "
				"or chmod go-w and chown this one",
			 directory);
}

static int update(const char *directory, const struct plan_draft *draft, bool new_ca,
		  struct error *error)
{
	int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), result = -1;

	if (dir_fd < 0)
		return error_set(error, "%s: %s", directory, strerror(errno));
	if (check_directory(dir_fd, directory, error) == 0) {
		/* Two runs at a time would mix their files. */
		if (flock(dir_fd, LOCK_EX) < 0)
			error_set(error, "%s: cannot lock: %s", directory, strerror(errno));
		else
			result = fill(dir_fd, directory, draft, new_ca, error);
	}
	close(dir_fd);
	return result;
}

/* Only what we made; rmdir() leaves the directory when there is more. */
static void remove_directory(int dir_fd, const char *directory)
{
	static const char *const names[] = {PLAN_ROUTES, PLAN_FILE, PLAN_CA, PLAN_CA_CERT};

	remove_temporaries(dir_fd);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(dir_fd, names[i], 0);
	rmdir(directory);
}

/* Not over a plan that is there; file systems without that flag replace an empty directory at most. */
static int move_into_place(const char *temporary, const char *directory, struct error *error)
{
	if (renameat2(AT_FDCWD, temporary, AT_FDCWD, directory, RENAME_NOREPLACE) == 0 ||
	    (errno == EINVAL && rename(temporary, directory) == 0))
		return 0;
	if (errno == EEXIST || errno == ENOTEMPTY)
		return -EEXIST;
	return error_set(error, "cannot make %s: %s", directory, strerror(errno));
}

/* All of it beside its place, then one rename. -EEXIST when somebody was faster. */
static int create(const char *directory, const struct plan_draft *draft, struct error *error)
{
	const char *slash = strrchr(directory, '/');
	char *temporary;
	int dir_fd, result;

	if (asprintf(&temporary, "%.*s/.%s.XXXXXX", (int)(slash - directory), directory,
		     slash + 1) < 0)
		return error_set(error, "out of memory");
	if (!mkdtemp(temporary)) {
		error_set(error, "cannot make %s: %s", directory, strerror(errno));
		free(temporary);
		return -1;
	}
	dir_fd = open(temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	result = dir_fd < 0 ? error_set(error, "cannot open %s: %s", temporary, strerror(errno))
			    : fill(dir_fd, temporary, draft, true, error);
	if (result == 0)
		result = move_into_place(temporary, directory, error);
	if (result < 0)
		remove_directory(dir_fd, temporary);
	if (dir_fd >= 0)
		close(dir_fd);
	free(temporary);
	return result;
}

int plan_write(const struct plan_draft *draft, const char *directory, bool new_ca,
	       struct error *error)
{
	struct stat st;
	/* lstat(2): a link that leads nowhere is there, too, and update() refuses it. */
	int result = lstat(directory, &st) < 0 && errno == ENOENT ? create(directory, draft, error)
								   : -EEXIST;

	return result == -EEXIST ? update(directory, draft, new_ca, error) : result;
}
