// SPDX-License-Identifier: BSD-2-Clause
#include "server_memfd.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct span memfd_map(int fd)
{
	struct stat status;
	void *memory;

	if (fd < 0 || fstat(fd, &status) < 0 || status.st_size <= 0)
		return (struct span){NULL, 0};
	/* A shared mapping of a sealed file needs Linux 6.7. */
	memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (memory == MAP_FAILED)
		return (struct span){NULL, 0};
	return (struct span){memory, (size_t)status.st_size};
}

void memfd_unmap(struct span mapped)
{
	if (mapped.data)
		munmap((void *)mapped.data, mapped.length);
}

static void forget(struct ahead *ahead)
{
	memfd_unmap(ahead->blob);
	config_free(ahead->config);
	*ahead = (struct ahead){0};
}

/* What is wrong with it the supervisor says, who has read the same. */
void ahead_read(struct ahead *ahead, int fd)
{
	struct error error;
	struct span rest;

	forget(ahead);
	ahead->blob = rest = memfd_map(fd);
	if (rest.data)
		ahead->config = config_unpack_sources(&rest, &error);
	if (!ahead->config || rest.length > 0)
		forget(ahead);
}

/* By every byte, not by a hash or the supervisor's word: what is in force is what was judged. */
static bool begins_with(struct span blob, struct span beginning)
{
	return beginning.length > 0 && beginning.length <= blob.length &&
	       memcmp(blob.data, beginning.data, beginning.length) == 0;
}

static struct config *unpack(struct ahead *ahead, struct span blob, struct error *error)
{
	struct config *config = ahead->config;
	const size_t read = ahead->blob.length;
	struct span secrets;

	if (!config || !begins_with(blob, ahead->blob)) {
		forget(ahead); /* first: two policies are enough */
		return config_unpack(blob, error);
	}
	ahead->config = NULL;
	forget(ahead);
	secrets = (struct span){blob.data + read, blob.length - read};
	if (config_unpack_secrets(secrets, config, error) == 0)
		return config;
	config_free(config);
	return NULL;
}

struct config *ahead_unpack(struct ahead *ahead, int fd, struct error *error)
{
	struct span blob = memfd_map(fd);
	struct config *config = NULL;

	if (blob.data)
		config = unpack(ahead, blob, error);
	else
		error_set(error, "cannot read the configuration");
	memfd_unmap(blob);
	return config;
}
