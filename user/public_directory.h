/* SPDX-License-Identifier: BSD-2-Clause */
/* Directories that everybody may look into. */
#ifndef PUBLIC_DIRECTORY_H
#define PUBLIC_DIRECTORY_H

#include <errno.h>
#include <sys/stat.h>

/* Makes it with 0755 whatever the umask: root's is 077 on many machines, and in our service's unit. One
 * that is there stays as it is. -1 with errno. */
static inline int public_directory_make(const char *path)
{
	if (mkdir(path, 0755) == 0)
		return chmod(path, 0755);
	return errno == EEXIST ? 0 : -1;
}

#endif
