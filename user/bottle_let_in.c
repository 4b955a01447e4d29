// SPDX-License-Identifier: BSD-2-Clause
/* How the kernel names a file: fdinfo and mountinfo have the numbers that the programs in bpf/ see,
 * stat(2) may not. */
#include "bottle_let_in.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_MINOR_BITS 20 /* of the kernel's dev_t, MINORBITS */

/* proc(5): "mnt_id:" and, since Linux 5.14, "ino:", both of the very inode. */
static int read_fdinfo(int fd, unsigned long *ret_inode, int *ret_mount)
{
	char path[64], line[128];
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		found += sscanf(line, "ino: %lu", ret_inode) == 1 ||
			 sscanf(line, "mnt_id: %d", ret_mount) == 1;
	if (file)
		fclose(file);
	return found == 2 ? 0 : -1;
}

/* "ID PARENT MAJOR:MINOR ...": the device of the filesystem, as it is. */
static int read_device(int mount, uint32_t *ret_device)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	unsigned major, minor;
	size_t size = 0;
	char *line = NULL;
	int id, rc = -1;

	/* By the mount's id: st_dev of btrfs and overlayfs is made up for each subvolume or layer,
	 * and no program sees that number. */
	while (rc < 0 && file && getline(&line, &size, file) >= 0) {
		if (sscanf(line, "%d %*d %u:%u", &id, &major, &minor) == 3 && id == mount) {
			*ret_device = (uint32_t)major << KERNEL_MINOR_BITS | minor;
			rc = 0;
		}
	}
	free(line);
	if (file)
		fclose(file);
	return rc;
}

int bottle_let_in_find(const char *path, struct egress_unix_file *ret, struct error *error)
{
	/* O_PATH: a socket cannot be opened otherwise (ENXIO), and the numbers below are of what
	 * this descriptor holds. */
	int fd = open(path, O_PATH | O_CLOEXEC), mount = 0, rc = -1;
	struct egress_unix_file file = {0};
	unsigned long inode = 0;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0) {
		error_set(error, "%s: %s", path, strerror(errno));
	} else if (!S_ISSOCK(status.st_mode)) {
		error_set(error, "%s: not a unix socket", path);
	} else if (read_fdinfo(fd, &inode, &mount) < 0 || read_device(mount, &file.device) < 0) {
		error_set(error, "%s: /proc does not say what it is", path);
	} else {
		file.inode = inode;
		*ret = file;
		rc = 0;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}
