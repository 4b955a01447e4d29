/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that are there or not: -1 is none; and how many there may be. */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

/* Closes it if there is one; none is left, so that it may come twice. */
static inline void descriptor_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void descriptors_close(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		descriptor_close(&fds[i]);
}

/* How many this process may have open, RLIMIT_NOFILE of getrlimit(2); SIZE_MAX: nobody says. */
static inline size_t descriptor_limit(void)
{
	struct rlimit files;

	return getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > SIZE_MAX ? SIZE_MAX
										 : files.rlim_cur;
}

#endif
