// SPDX-License-Identifier: BSD-2-Clause
/* Which socket stands behind which file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "bottle_broker_private.h"
#include "descriptor.h"

/* A program that leaves this many socket files behind gets ENOBUFS. */
#define NAMES_MAX 4096

/* Two descriptors each, and half of all there may be are for calls: without any, every bind() and
 * connect() of the bottle would fail from then on, also those of internet sockets. */
static size_t names_max(void)
{
	const size_t part = descriptor_limit() / 4;

	return part < NAMES_MAX ? part : NAMES_MAX;
}

static void forget(struct broker_names *names, size_t i)
{
	close(names->items[i].visible);
	close(names->items[i].real);
	names->items[i] = names->items[--names->count];
}

/* What has no link left cannot be found any more. Let-in sockets stay: they may come back as little,
 * but there are few of them. */
static void forget_unlinked(struct broker_names *names)
{
	struct stat status;

	for (size_t i = names->count; i-- > 0;) {
		if (names->items[i].visible >= 0 &&
		    (fstat(names->items[i].visible, &status) < 0 || status.st_nlink == 0))
			forget(names, i);
	}
}

static int add(struct broker_names *names, const struct broker_name *name)
{
	struct broker_name *items;

	forget_unlinked(names);
	if (names->count >= names_max())
		return -ENOBUFS;
	items = reallocarray(names->items, names->count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	names->items = items;
	items[names->count++] = *name;
	return 0;
}

int broker_names_add(struct broker_names *names, const struct stat *status, int visible, int real)
{
	const struct broker_name name = {status->st_dev, status->st_ino, visible, real};
	int rc;

	pthread_mutex_lock(&names->lock);
	rc = add(names, &name);
	pthread_mutex_unlock(&names->lock);
	if (rc < 0) {
		if (visible >= 0)
			close(visible);
		close(real);
	}
	return rc;
}

/* Duplicated under the lock: another thread may forget it, and its number be another file's. */
int broker_names_find(struct broker_names *names, const struct stat *status)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&names->lock);
	for (size_t i = names->count; rc == -ENOENT && i-- > 0;) {
		const struct broker_name *name = &names->items[i];

		if (name->device == status->st_dev && name->inode == status->st_ino) {
			rc = fcntl(name->real, F_DUPFD_CLOEXEC, 0);
			rc = rc < 0 ? -errno : rc;
		}
	}
	pthread_mutex_unlock(&names->lock);
	return rc;
}
