// SPDX-License-Identifier: BSD-2-Clause
/* The programs of bpf/unix_doors.bpf.c: on the cgroup, in place of those at security hooks. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unix_doors.skel.h"

/* linux/bpf.h of Linux 6.7; Debian 12's is older. In the order of kernel_unix_programs. */
static const enum bpf_attach_type attach_types[KERNEL_UNIX_PROGRAM_COUNT] = {
	(enum bpf_attach_type)49 /* BPF_CGROUP_UNIX_CONNECT */,
	(enum bpf_attach_type)50 /* BPF_CGROUP_UNIX_SENDMSG */,
};

static struct bpf_program *program_of(const struct unix_doors *skeleton, size_t i)
{
	return bpf_object__find_program_by_name(skeleton->obj, kernel_unix_programs[i].name);
}

/* `maps`: those of the wall, or NULL to try with new ones. NULL with errno set. */
static struct unix_doors *load(const int maps[KERNEL_MAP_COUNT])
{
	/* That a kernel before 6.7 refuses these is no error: the probe's failure is not for the
	 * terminal. */
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct unix_doors *skeleton = unix_doors__open();
	int result = skeleton ? 0 : -errno;

	for (size_t i = 0; result == 0 && maps && i < KERNEL_MAP_COUNT; i++) {
		struct bpf_map *map =
			bpf_object__find_map_by_name(skeleton->obj, kernel_map_names[i]);

		result = map ? bpf_map__reuse_fd(map, maps[i]) : -ENOENT;
	}
	/* By number: libbpf 1.1 does not know the section names cgroup/connect_unix and
	 * sendmsg_unix. */
	for (size_t i = 0; result == 0 && i < KERNEL_UNIX_PROGRAM_COUNT; i++)
		result = bpf_program__set_expected_attach_type(program_of(skeleton, i),
							       attach_types[i]);
	if (result == 0)
		result = unix_doors__load(skeleton);
	libbpf_set_print(previous);
	if (result < 0) {
		unix_doors__destroy(skeleton);
		errno = -result;
		return NULL;
	}
	return skeleton;
}

bool kernel_unix_doors_probe(void)
{
	struct unix_doors *skeleton = load(NULL);

	unix_doors__destroy(skeleton);
	return skeleton;
}

static int attach(const char *name, size_t i, int cgroup_fd, int program, struct error *error)
{
	const char *hook = kernel_unix_programs[i].name;
	int result = 0, link = bpf_link_create(program, cgroup_fd, attach_types[i], NULL);
	char path[KERNEL_PATH_SIZE];

	if (link < 0)
		return error_set(error, "program '%s': cannot attach to the cgroup: %s", hook,
				 strerror(errno));
	/* Pinned, so that the refusal outlives us as the other programs' does. */
	if (bpf_obj_pin(link, kernel_pin_path(path, name, "link", hook)) < 0)
		result = error_set(error, "cannot pin %s: %s", path, strerror(errno));
	close(link);
	return result;
}

int kernel_unix_doors_install(const struct kernel *kernel, const struct kernel_open_options *options,
			      struct error *error)
{
	struct unix_doors *skeleton = load(kernel->maps);
	int cgroup_fd, result = 0;

	if (!skeleton)
		return 1;
	cgroup_fd = open(options->cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup_fd < 0)
		result = error_set(error, "cannot open %s: %s", options->cgroup_path,
				   strerror(errno));
	for (size_t i = 0; result == 0 && i < KERNEL_UNIX_PROGRAM_COUNT; i++)
		result = attach(options->name, i, cgroup_fd,
				bpf_program__fd(program_of(skeleton, i)), error);
	if (cgroup_fd >= 0)
		close(cgroup_fd);
	unix_doors__destroy(skeleton);
	return result;
}
