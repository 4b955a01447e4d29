// SPDX-License-Identifier: BSD-2-Clause
/* Which user id a worker gets. Kept by locks on a file that nobody but root can open, one byte for
 * each id: no daemon, no list to clean up. */
#include "worker_uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "public_directory.h"

#define DIRECTORY "/run/egress-bpf"
#define LOCKS DIRECTORY "/" WORKER_UID_LOCKS

/* user_namespaces(7) Without the file there is no user namespace, and every id is there. */
static bool is_mapped(uid_t first, uid_t count)
{
	unsigned long inside, outside, length;
	FILE *map = fopen("/proc/self/uid_map", "re");
	bool found = !map;

	while (map && !found && fscanf(map, "%lu %lu %lu", &inside, &outside, &length) == 3)
		found = inside <= first && first + count <= inside + length;
	if (map)
		fclose(map);
	return found;
}

/* The byte of the id is locked: by the open file, so that the lock ends with whoever holds it,
 * however that ends. */
static bool lock_byte(int fd, off_t at)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* FNV-1a. Not bytes_hash(), whose key is another in each process: a restart would change the id. Names
 * are the operator's, so nobody makes them collide. */
static uint32_t hash_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash;
}

int worker_uid_claim(const char *bottle, uid_t *ret_uid, struct error *error)
{
	uid_t first = WORKER_UID_FIRST, count = WORKER_UID_COUNT;
	const uint64_t wanted = hash_of(bottle);
	int fd;

	if (public_directory_make(DIRECTORY) < 0)
		return error_set(error, DIRECTORY ": %s", strerror(errno));
	fd = open(LOCKS, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, LOCKS ": %s", strerror(errno));
	if (!is_mapped(first, count)) {
		first = WORKER_UID_SMALL_FIRST;
		count = WORKER_UID_SMALL_COUNT;
	}
	for (uid_t i = 0; i < count; i++) {
		uid_t uid = first + (uid_t)((wanted + i) % count);

		if (lock_byte(fd, (off_t)uid)) {
			*ret_uid = uid;
			return fd;
		}
	}
	close(fd);
	return error_set(error, "every user id for workers (%u to %u) is taken; say --worker-uid UID",
			 first, first + count - 1);
}
