// SPDX-License-Identifier: BSD-2-Clause
#include "worker_uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"

#define DIRECTORY "/run/egress-bpf"
#define LOCKS DIRECTORY "/worker-uids"

/* user_namespaces(7) */
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

int worker_uid_claim(const char *bottle, uid_t *ret_uid, struct error *error)
{
	uid_t first = WORKER_UID_FIRST, count = WORKER_UID_COUNT;
	uint64_t wanted = bytes_hash(bottle, strlen(bottle));
	int fd;

	if (mkdir(DIRECTORY, 0755) < 0 && errno != EEXIST)
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
