// SPDX-License-Identifier: BSD-2-Clause
/* Where systems keep their roots. Our CA is added to copies of them, never to the system's own
 * files. */
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const bundles[] = {TRUST_BUNDLES};

static const char *const java_stores[] = {TRUST_JAVA_STORES};

#define JVM_STORES "/usr/lib/jvm/*/lib/security/cacerts"
#define JRE_STORES "/usr/lib/jvm/*/jre/lib/security/cacerts" /* Java 8 */
/* Far above Mozilla's list, which has some 220 KiB. */
#define BUNDLE_LIMIT (16 * 1024 * 1024)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void trust_paths_free(struct trust_paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->items[i]);
	free(paths->items);
	*paths = (struct trust_paths){0};
}

static bool contains(const struct trust_paths *paths, const char *path)
{
	for (size_t i = 0; i < paths->count; i++) {
		if (strcmp(paths->items[i], path) == 0)
			return true;
	}
	return false;
}

/* Adds the real path of a regular file; what is not there is no error. */
static int add(struct trust_paths *paths, const char *path, struct error *error)
{
	char *real = realpath(path, NULL);
	struct stat status;
	char **items;

	/* Real paths, each once: distributions link these to each other, and each is covered by a
	 * bind mount, of which the second would lie on the first. */
	if (!real || stat(real, &status) < 0 || !S_ISREG(status.st_mode) ||
	    contains(paths, real)) {
		free(real);
		return 0;
	}
	items = reallocarray(paths->items, paths->count + 1, sizeof(*items));
	if (!items) {
		free(real);
		return error_set(error, "out of memory");
	}
	paths->items = items;
	items[paths->count++] = real;
	return 0;
}

static int add_all(struct trust_paths *paths, const char *const *list, size_t count,
		   struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		if (add(paths, list[i], error) < 0)
			return -1;
	}
	return 0;
}

/* No match is no error: most machines have no Java. */
static int add_matching(struct trust_paths *paths, const char *pattern, struct error *error)
{
	glob_t matches = {0};
	int rc = 0;

	if (glob(pattern, GLOB_NOSORT, NULL, &matches) == 0)
		rc = add_all(paths, (const char *const *)matches.gl_pathv, matches.gl_pathc,
			     error);
	globfree(&matches);
	return rc;
}

/* Java 9 and later, and Java 8 with its JRE inside. */
static int add_java_home(struct trust_paths *paths, const char *home, struct error *error)
{
	static const char *const places[] = {"lib/security/cacerts", "jre/lib/security/cacerts"};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(places); i++) {
		char *path;

		if (asprintf(&path, "%s/%s", home, places[i]) < 0)
			return error_set(error, "out of memory");
		rc = add(paths, path, error);
		free(path);
	}
	return rc;
}

/* The home of the first `java` in the search path: its real path without /bin/java. */
static int add_java_in(struct trust_paths *paths, const char *directory, size_t length,
		       struct error *error)
{
	char *path, *real, *slash = NULL;
	int rc = 0;

	if (asprintf(&path, "%.*s/java", (int)length, directory) < 0)
		return error_set(error, "out of memory");
	real = realpath(path, NULL);
	free(path);
	for (int levels = 0; real && levels < 2; levels++) {
		slash = strrchr(real, '/');
		if (slash)
			*slash = '\0';
	}
	if (slash)
		rc = add_java_home(paths, real, error);
	free(real);
	return rc;
}

static int add_java_of_path(struct trust_paths *paths, const char *search_path,
			    struct error *error)
{
	while (*search_path) {
		size_t length = strcspn(search_path, ":");

		/* An entry that is empty or relative means our directory, which is the caller's:
		 * nothing there says where Java is. */
		if (search_path[0] == '/' && add_java_in(paths, search_path, length, error) < 0)
			return -1;
		search_path += length + (search_path[length] == ':');
	}
	return 0;
}

int trust_find_bundles(struct trust_paths *ret, struct error *error)
{
	struct trust_paths paths = {0};

	if (add_all(&paths, bundles, COUNT(bundles), error) < 0) {
		trust_paths_free(&paths);
		return -1;
	}
	*ret = paths;
	return 0;
}

int trust_find_java(const char *java_home, const char *search_path, struct trust_paths *ret,
		    struct error *error)
{
	struct trust_paths paths = {0};

	if (add_all(&paths, java_stores, COUNT(java_stores), error) < 0 ||
	    add_matching(&paths, JVM_STORES, error) < 0 ||
	    add_matching(&paths, JRE_STORES, error) < 0 ||
	    (java_home && java_home[0] == '/' && add_java_home(&paths, java_home, error) < 0) ||
	    (search_path && add_java_of_path(&paths, search_path, error) < 0)) {
		trust_paths_free(&paths);
		return -1;
	}
	*ret = paths;
	return 0;
}

static int append_file(int fd, const char *path, struct bytes *ret, struct error *error)
{
	if (bytes_read(ret, fd, BUNDLE_LIMIT) == 0)
		return 0;
	if (errno == EFBIG)
		return error_set(error, "%s is too large for a bundle of certificates", path);
	return error_set(error, "cannot read %s: %s", path, strerror(errno));
}

/* Into a buffer of its own first: `ret` stays as it was when a file cannot be read. */
int trust_merge(const char *path, struct span ca_pem, struct bytes *ret, struct error *error)
{
	struct bytes merged = {0};
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	int rc = 0;

	if (path && fd < 0)
		rc = error_set(error, "cannot open %s: %s", path, strerror(errno));
	else if (path)
		rc = append_file(fd, path, &merged, error);
	/* A newline of our own: the last line of a bundle need not have one. */
	if (rc == 0 && (!bytes_append_text(&merged, path ? "\n" : "") ||
			!bytes_append(&merged, ca_pem.data, ca_pem.length) ||
			!bytes_append(ret, bytes_span(&merged).data, bytes_span(&merged).length)))
		rc = error_set(error, "out of memory");
	if (fd >= 0)
		close(fd);
	bytes_free(&merged);
	return rc;
}
