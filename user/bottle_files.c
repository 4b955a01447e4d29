// SPDX-License-Identifier: BSD-2-Clause
/* The files of the bottle that differ from the host's: names, resolver, trusted roots. They lie on
 * a private tmpfs, and are bound over the real paths in the bottle's mount tree alone. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bottle_launch.h"
#include "bytes.h"
#include "trust.h"

#define HARMLESS (MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define HASHED_DIRECTORY "/etc/ssl/certs"
/* Any address would do, since DNS is steered; EDNS is how the responder says why it refuses (RFC
 * 8914). */
#define RESOLV_CONF "nameserver 127.0.0.1\noptions edns0\n"

static int failed(struct error *error, const char *what, const char *path)
{
	return error_set(error, "cannot %s %s: %s", what, path, strerror(errno));
}

/* In the common one, which stays. */
static int make_directory(const char *path)
{
	if (mkdir(BOTTLE_RUN_DIRECTORY, 0755) < 0 && errno != EEXIST)
		return -1;
	return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -1;
}

/* Still writable; launch_seal() ends that. 64 MiB hold a dozen bundles. */
int launch_directory(struct launch *launch, struct error *error)
{
	if (asprintf(&launch->directory, "%s/%s", BOTTLE_RUN_DIRECTORY, launch->options->name) < 0)
		return error_set(error, "out of memory");
	if (make_directory(launch->directory) < 0)
		return failed(error, "make", launch->directory);
	if (mount("egress-bpf", launch->directory, "tmpfs", HARMLESS, "size=64m,mode=755") < 0)
		return failed(error, "mount a tmpfs on", launch->directory);
	return bottle_place(launch, "empty", "", 0, NULL, error);
}

/* Read-only even for root inside, whose capabilities are gone by then. */
static int write_file(const char *path, const char *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
	ssize_t written = 0;

	if (fd < 0)
		return -1;
	/* The caller's umask is not ours to obey: the command must be able to read it. */
	if (fchmod(fd, 0444) < 0)
		written = -1;
	while (written >= 0 && length > 0) {
		written = write(fd, data, length);
		if (written > 0) {
			data += written;
			length -= (size_t)written;
		}
	}
	close(fd);
	return written < 0 ? -1 : 0;
}

int bottle_place(const struct launch *launch, const char *name, const void *data, size_t length,
		 const char *target, struct error *error)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", launch->directory, name);
	if (data && write_file(path, data, length) < 0)
		return failed(error, "write", path);
	if (target && mount(path, target, NULL, MS_BIND, NULL) < 0)
		return failed(error, "mount over", target);
	return 0;
}

/* Over the real path, for a symbolic link cannot be mounted over. Where there is no such file the
 * C library's default does what we want. */
static int place_over(const struct launch *launch, const char *name, const char *text,
		      const char *path, struct error *error)
{
	char *real = realpath(path, NULL);
	int rc;

	if (!real)
		return errno == ENOENT ? 0 : failed(error, "look at", path);
	rc = bottle_place(launch, name, text, strlen(text), real, error);
	free(real);
	return rc;
}

/* `localhost` and the machine's own name stay what programs expect; no other name of the host's
 * file goes in, for it would be an address that nobody reaches. */
int launch_names(struct launch *launch, struct error *error)
{
	char name[HOST_NAME_MAX + 1] = "", hosts[2 * HOST_NAME_MAX + 256];

	if (gethostname(name, sizeof(name) - 1) < 0)
		return error_set(error, "cannot read the host name: %s", strerror(errno));
	snprintf(hosts, sizeof(hosts),
		 "127.0.0.1 localhost %s\n::1 localhost ip6-localhost ip6-loopback\n", name);
	if (place_over(launch, "resolv.conf", RESOLV_CONF, "/etc/resolv.conf", error) < 0)
		return -1;
	return place_over(launch, "hosts", hosts, "/etc/hosts", error);
}

/* Each bundle with its own content and our CA. The first is the one the variables name. */
static int place_bundles(struct launch *launch, const struct trust_paths *paths,
			 struct bytes *first, struct error *error)
{
	struct span ca = span_from(launch->plan.ca_pem);

	if (trust_merge(paths->count ? paths->items[0] : NULL, ca, first, error) < 0 ||
	    bottle_place(launch, "ca-bundle.pem", bytes_span(first).data, bytes_span(first).length,
			 paths->count ? paths->items[0] : NULL, error) < 0)
		return -1;
	for (size_t i = 1; i < paths->count; i++) {
		struct bytes merged = {0};
		char name[48];
		int rc;

		snprintf(name, sizeof(name), "ca-bundle-%zu.pem", i);
		rc = trust_merge(paths->items[i], ca, &merged, error);
		if (rc == 0)
			rc = bottle_place(launch, name, bytes_span(&merged).data,
					  bytes_span(&merged).length, paths->items[i], error);
		bytes_free(&merged);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* One store for all: Java reads no directory and no variable. */
static int place_java(struct launch *launch, struct span pem, struct error *error)
{
	struct trust_paths paths = {0};
	struct bytes store = {0};
	int rc = trust_find_java(getenv("JAVA_HOME"), getenv("PATH"), &paths, error);

	if (rc == 0 && paths.count > 0)
		rc = trust_jks(pem, &store, error);
	for (size_t i = 0; rc == 0 && i < paths.count; i++)
		rc = bottle_place(launch, "cacerts", i == 0 ? bytes_span(&store).data : NULL,
				  bytes_span(&store).length, paths.items[i], error);
	bytes_free(&store);
	trust_paths_free(&paths);
	return rc;
}

/* OpenSSL's directory of roots with our CA's file laid over it, for programs that drop the
 * variables. An extra: where overlayfs is missing, bundles and variables still serve. */
static int place_hashed(struct launch *launch, struct error *error)
{
	struct span ca = span_from(launch->plan.ca_pem);
	char hash[16], name[32], directory[PATH_MAX], options[2 * PATH_MAX + 32];
	char *real = realpath(HASHED_DIRECTORY, NULL);
	int rc = 0;

	snprintf(directory, sizeof(directory), "%s/certs", launch->directory);
	if (real && !strpbrk(real, ":,\\") && trust_hash_name(ca, hash, NULL) == 0) {
		snprintf(name, sizeof(name), "certs/%s", hash);
		snprintf(options, sizeof(options), "lowerdir=%s:%s", directory, real);
		if (mkdir(directory, 0755) < 0)
			rc = failed(error, "make", directory);
		else if (bottle_place(launch, name, ca.data, ca.length, NULL, error) < 0)
			rc = -1;
		else
			(void)mount("overlay", real, "overlay", HARMLESS | MS_RDONLY, options);
	}
	free(real);
	return rc;
}

int launch_trust(struct launch *launch, struct error *error)
{
	struct trust_paths paths = {0};
	struct bytes bundle = {0};
	int rc = place_hashed(launch, error);

	if (rc == 0)
		rc = trust_find_bundles(&paths, error);
	if (rc == 0 && asprintf(&launch->ca_bundle, "%s/ca-bundle.pem", launch->directory) < 0)
		rc = error_set(error, "out of memory");
	if (rc == 0)
		rc = place_bundles(launch, &paths, &bundle, error);
	if (rc == 0)
		rc = place_java(launch, bytes_span(&bundle), error);
	bytes_free(&bundle);
	trust_paths_free(&paths);
	return rc;
}

/* Read-only as a file system, and so through every bind mount of a file on it. */
int launch_seal(struct launch *launch, struct error *error)
{
	if (mount(NULL, launch->directory, NULL, MS_REMOUNT | MS_RDONLY | HARMLESS, NULL) < 0)
		return failed(error, "make read-only", launch->directory);
	return 0;
}
