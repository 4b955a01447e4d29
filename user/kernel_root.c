// SPDX-License-Identifier: BSD-2-Clause
/* What root in the bottle may not ask of the kernel: programs at the kernel's security hooks, in an object
 * of their own as those for unix sockets. Their links cannot be detached, nor their programs replaced, by
 * who finds them by id: only unpinning ends them. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "root_wall.skel.h"

const struct kernel_program kernel_root_programs[KERNEL_ROOT_PROGRAM_COUNT] = {
	{"root_socket", "5.7"},
	{"root_option", "5.7"},
	{"root_netlink", "5.7"},
	{"root_bpf", "5.7"},
};

/* By inode, as the program sees it; 0: nobody is judged by it. */
static uint32_t our_network(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

static struct root_wall *load(const struct kernel *kernel, const struct kernel_open_options *options,
			      const struct egress_settings *settings)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct root_wall *skeleton = root_wall__open();
	int result = skeleton ? 0 : -errno;

	if (result == 0)
		result = bpf_map__reuse_fd(skeleton->maps.counters,
					   kernel->maps[KERNEL_MAP_COUNTERS]);
	if (result == 0) {
		/* nothing here is about the wires */
		bpf_map__set_autocreate(skeleton->maps.peers, false);
		skeleton->rodata->bottle_cgroup = settings->bottle_cgroup;
		skeleton->rodata->bottle_level = settings->bottle_level;
		skeleton->rodata->bottle_pids = options->pid_namespace;
		skeleton->rodata->home_network = options->shared_netns ? 0 : our_network();
		result = root_wall__load(skeleton);
	}
	libbpf_set_print(previous);
	if (result < 0) {
		root_wall__destroy(skeleton);
		errno = -result;
		return NULL;
	}
	return skeleton;
}

/* Each takes one of the 38 places that the kernel has for programs at one function, of all bottles. */
static int attach(const char *name, const char *hook, int program)
{
	int result, link = bpf_raw_tracepoint_open(NULL, program);
	char path[KERNEL_PATH_SIZE];

	if (link < 0)
		return -1;
	result = bpf_obj_pin(link, kernel_pin_path(path, name, "link", hook));
	close(link);
	return result;
}

static int attach_all(const char *name, const struct root_wall *skeleton)
{
	const int programs[KERNEL_ROOT_PROGRAM_COUNT] = {
		bpf_program__fd(skeleton->progs.root_socket),
		bpf_program__fd(skeleton->progs.root_option),
		bpf_program__fd(skeleton->progs.root_netlink),
		bpf_program__fd(skeleton->progs.root_bpf),
	};

	for (size_t i = 0; i < KERNEL_ROOT_PROGRAM_COUNT; i++)
		if (attach(name, kernel_root_programs[i].name, programs[i]) < 0)
			return -1;
	return 0;
}

/* A part of it would be taken for the whole. */
static void remove_all(const char *name)
{
	char path[KERNEL_PATH_SIZE];

	for (size_t i = 0; i < KERNEL_ROOT_PROGRAM_COUNT; i++)
		(void)unlink(kernel_pin_path(path, name, "link", kernel_root_programs[i].name));
}

static bool stands(const char *name)
{
	for (size_t i = 0; i < KERNEL_ROOT_PROGRAM_COUNT; i++)
		if (!kernel_unix_attached(name, kernel_root_programs[i].name))
			return false;
	return true;
}

uint32_t kernel_root_install(struct kernel *kernel, const struct kernel_open_options *options,
			     const struct egress_settings *settings)
{
	struct root_wall *skeleton;
	int result;

	if (!options->root_wall)
		return 0;
	if (kernel->adopted && stands(options->name))
		return EGRESS_UNIX_WALLED;
	remove_all(options->name);
	/* Asked first: loading would parse all of vmlinux's BTF only to be refused. */
	if (!kernel_takes_tracing() || !(skeleton = load(kernel, options, settings)))
		return EGRESS_UNIX_UNABLE;
	result = attach_all(options->name, skeleton);
	root_wall__destroy(skeleton);
	if (result == 0)
		return EGRESS_UNIX_WALLED;
	remove_all(options->name);
	return EGRESS_UNIX_UNABLE;
}

bool kernel_root_walled(const struct kernel *kernel)
{
	return kernel->root_walled;
}
