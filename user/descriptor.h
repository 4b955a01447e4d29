/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that are there or not: -1 is none. */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <stddef.h>
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

#endif
