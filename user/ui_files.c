// SPDX-License-Identifier: BSD-2-Clause
/* The page's files, by a list: a path of a request never becomes a path of a file. */
#include "ui_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX ((size_t)256 * 1024)

static struct ui_file files[] = {
	{.path = "/", .name = "page.html", .type = "text/html; charset=utf-8"},
	{.path = "/page.css", .name = "page.css", .type = "text/css; charset=utf-8"},
	{.path = "/page.js", .name = "page.js", .type = "text/javascript; charset=utf-8"},
	{.path = "/icon.svg", .name = "icon.svg", .type = "image/svg+xml"},
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

/* bin/egress-bpf and share/egress-bpf have one parent, as build/ and share/ of the sources have: who may
 * change one may change the other, so that the page is trusted as the program is. */
static int find_directory(char ret[PATH_MAX], struct error *error)
{
	ssize_t length = readlink("/proc/self/exe", ret, PATH_MAX - 1);
	char *slash;

	if (length < 0)
		return error_set(error, "cannot tell where the program is: %s", strerror(errno));
	ret[length] = '\0';
	slash = strrchr(ret, '/');
	if (!slash)
		return error_set(error, "cannot tell where the program is: %s", ret);
	*slash = '\0';
	return 0;
}

static int load(struct ui_file *file, const char *directory, struct error *error)
{
	char path[PATH_MAX + 64];
	int fd, result;

	snprintf(path, sizeof(path), "%s/../share/egress-bpf/ui/%s", directory, file->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(error, "%s: %s; 'make install' puts it beside the program", path,
				 strerror(errno));
	result = bytes_read(&file->text, fd, FILE_MAX);
	if (result < 0)
		error_set(error, "%s: %s", path, strerror(errno));
	close(fd);
	return result;
}

int ui_files_load(struct error *error)
{
	char directory[PATH_MAX];
	int result = find_directory(directory, error);

	/* All at the start: the process that serves them may open nothing. */
	for (size_t i = 0; result == 0 && i < FILE_COUNT; i++)
		result = load(&files[i], directory, error);
	return result;
}

const struct ui_file *ui_files_find(const char *path)
{
	for (size_t i = 0; i < FILE_COUNT; i++)
		if (strcmp(path, files[i].path) == 0)
			return &files[i];
	return NULL;
}
