// SPDX-License-Identifier: BSD-2-Clause
/* How full the wall's tables are. A table that is full refuses: a name has no address then, or a
 * connection no record. */
#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "kernel_private.h"

#define KEY_MAX 64 /* bytes; the tables' keys are shorter */

/* There is no number to ask for: the keys are walked. Another one may come and go meanwhile, so the
 * walk has an end of its own. */
static uint64_t count_keys(int fd, uint32_t most)
{
	unsigned char key[KEY_MAX], next[KEY_MAX];
	uint64_t count = 0;
	const void *from = NULL;

	while (count < most && bpf_map_get_next_key(fd, from, next) == 0) {
		memcpy(key, next, sizeof(key));
		from = key;
		count++;
	}
	return count;
}

size_t kernel_read_fill(const char *name, struct kernel_fill ret[KERNEL_FILLS])
{
	static const enum kernel_map maps[KERNEL_FILLS] = {KERNEL_MAP_ADDRESSES, KERNEL_MAP_CIDRS,
							    KERNEL_MAP_FLOWS};
	size_t count = 0;

	for (size_t i = 0; i < KERNEL_FILLS; i++) {
		struct bpf_map_info info = {0};
		uint32_t size = sizeof(info);
		int fd = kernel_pin_open(name, "map", kernel_map_names[maps[i]]);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.key_size <= KEY_MAX)
			ret[count++] = (struct kernel_fill){kernel_map_names[maps[i]],
							    count_keys(fd, info.max_entries),
							    info.max_entries};
		if (fd >= 0)
			close(fd);
	}
	return count;
}
