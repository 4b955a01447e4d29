// SPDX-License-Identifier: BSD-2-Clause
/* The wall between the bottle's unix sockets and all others: programs at the kernel's security hooks,
 * in an object of their own, since they need what the rest does without: BTF and trampolines. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unix_wall.skel.h"

const struct kernel_program kernel_unix_programs[KERNEL_UNIX_PROGRAM_COUNT] = {
	{"unix_connect", "5.7"},
	{"unix_send", "5.7"},
};

/* A kernel that takes no tracing program of ours at all says so before it looks at what it is for:
 * asked first, because libbpf reads megabytes of the kernel's BTF to find out the latter. Where the
 * answer is another error (type 1 is no function: EINVAL) the true programs are tried. */
bool kernel_takes_tracing(void)
{
	const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const struct bpf_prog_load_opts options = {
		.sz = sizeof(options),
		.expected_attach_type = BPF_MODIFY_RETURN,
		.attach_btf_id = 1,
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "egress_probe", "GPL", nothing, 2, &options);

	if (fd >= 0)
		close(fd);
	return fd != -EPERM;
}

/* `maps`: those of the wall, or NULL to try with new ones. NULL with errno set. */
static struct unix_wall *load_programs(const int maps[KERNEL_MAP_COUNT], uint64_t cgroup, uint32_t level)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct unix_wall *skeleton = unix_wall__open();
	int result = skeleton ? 0 : -errno;

	for (size_t i = 0; result == 0 && maps && i < KERNEL_MAP_COUNT; i++) {
		struct bpf_map *map =
			bpf_object__find_map_by_name(skeleton->obj, kernel_map_names[i]);

		result = map ? bpf_map__reuse_fd(map, maps[i]) : -ENOENT;
	}
	if (result == 0) {
		skeleton->rodata->bottle_cgroup = cgroup;
		skeleton->rodata->bottle_level = level;
		result = unix_wall__load(skeleton);
	}
	libbpf_set_print(previous);
	if (result < 0) {
		unix_wall__destroy(skeleton);
		errno = -result;
		return NULL;
	}
	return skeleton;
}

static struct unix_wall *load(const int maps[KERNEL_MAP_COUNT], uint64_t cgroup, uint32_t level)
{
	if (kernel_takes_tracing())
		return load_programs(maps, cgroup, level);
	errno = EPERM;
	return NULL;
}

/* Most kernels that cannot were built without BTF; that is said plainly. */
static int why_not(int number, struct error *error)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return error_set(error, "this kernel does not describe its structures "
				 "(CONFIG_DEBUG_INFO_BTF)");
	return error_set(error, "this kernel takes no programs at its security hooks: %s",
			 strerror(number));
}

int kernel_unix_probe(struct error *error)
{
	struct unix_wall *skeleton = load(NULL, 0, 0);

	if (!skeleton) {
		(void)why_not(errno, error);
		return kernel_unix_doors_probe() ? 1 : -1;
	}
	unix_wall__destroy(skeleton);
	return 0;
}

/* Each takes one of the places that the kernel has for programs at one function, of all bottles. */
static int attach(const char *name, size_t i, int program, struct error *error)
{
	const char *hook = kernel_unix_programs[i].name;
	int result = 0, link = bpf_raw_tracepoint_open(NULL, program);
	char path[KERNEL_PATH_SIZE];

	if (link < 0)
		return error_set(error, "program '%s': cannot attach: %s", hook,
				 errno == E2BIG ? "too many bottles at once (Linux allows 38)"
						: strerror(errno));
	if (bpf_obj_pin(link, kernel_pin_path(path, name, "link", hook)) < 0)
		result = error_set(error, "cannot pin %s: %s", path, strerror(errno));
	close(link);
	return result;
}

/* By the numbers the kernel has for a socket's file; filled in before the programs are in force. */
static int let_in(int map, const struct egress_unix_file *files, size_t count, struct error *error)
{
	const uint8_t yes = 1;

	for (size_t i = 0; i < count; i++)
		if (bpf_map_update_elem(map, &files[i], &yes, BPF_ANY) < 0)
			return error_set(error, "map 'let_in': %s",
					 errno == E2BIG ? "it is full" : strerror(errno));
	return 0;
}

/* The second best, and without a broker for it nothing: its programs alone would refuse the bottle its
 * own sockets as well. */
static int go_without(struct kernel *kernel, const struct kernel_open_options *options,
		      struct egress_settings *settings, struct error *error)
{
	struct error missing = {0};
	int result;

	(void)why_not(errno, &missing);
	result = options->unix_broker ? kernel_unix_doors_install(kernel, options, error) : 1;
	if (result < 0)
		return -1;
	kernel->unix_brokered = result == 0;
	if (result > 0) {
		kernel->unix_missing = missing;
		if (options->unix_wall_required)
			return error_set(error, "no wall for unix sockets: %s", missing.text);
	}
	settings->unix_wall = result == 0 ? EGRESS_UNIX_BROKERED : EGRESS_UNIX_UNABLE;
	return kernel_settings_write(kernel->maps[KERNEL_MAP_SETTINGS], settings, error);
}

int kernel_unix_install(struct kernel *kernel, const struct kernel_open_options *options,
			struct egress_settings *settings, struct error *error)
{
	struct unix_wall *skeleton;
	int result;

	skeleton = load(kernel->maps, settings->bottle_cgroup, settings->bottle_level);
	if (!skeleton)
		return go_without(kernel, options, settings, error);
	result = let_in(kernel->maps[KERNEL_MAP_LET_IN], options->let_in, options->let_in_count,
			error);
	for (size_t i = 0; result == 0 && i < KERNEL_UNIX_PROGRAM_COUNT; i++)
		result = attach(options->name, i,
				bpf_program__fd(bpf_object__find_program_by_name(
					skeleton->obj, kernel_unix_programs[i].name)),
				error);
	unix_wall__destroy(skeleton);
	return result;
}

const char *kernel_unix_missing(const struct kernel *kernel)
{
	return kernel->unix_missing.text[0] ? kernel->unix_missing.text : NULL;
}

bool kernel_unix_brokered(const struct kernel *kernel)
{
	return kernel->unix_brokered;
}

bool kernel_unix_attached(const char *name, const char *program)
{
	int link = kernel_pin_open(name, "link", program);
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	bool attached;

	if (link < 0)
		return false;
	/* Under the same names there may be links on the cgroup: kernel_unix_doors.c. */
	attached = bpf_obj_get_info_by_fd(link, &info, &length) == 0 &&
		   info.type == BPF_LINK_TYPE_TRACING;
	close(link);
	return attached;
}
