// SPDX-License-Identifier: BSD-2-Clause
/* The tc wall: programs on the host's ends of the bottle's wires. As TCX links where there are such
 * (Linux 6.6), else as filters of clsact, which stay by themselves; then the program is pinned, so
 * that it is known whose filter it is. Interfaces are told by namespace and index: an index alone
 * means nothing to a supervisor that runs in another namespace. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINK_TYPE_TCX 11
#define ATTACH_BEFORE (1u << 3) /* BPF_F_BEFORE: the first of all */

bool kernel_tc_without_links;

/* By enum kernel_direction. Ingress of the outer end is what the bottle sends. */
static const struct {
	const char *name;
	int tcx;
	enum bpf_tc_attach_point point;
} directions[KERNEL_DIRECTIONS] = {
	[KERNEL_WIRE_OUT] = {"out", KERNEL_TCX_INGRESS, BPF_TC_INGRESS},
	[KERNEL_WIRE_IN] = {"in", KERNEL_TCX_EGRESS, BPF_TC_EGRESS},
};

/* One end that is, or is to be, walled in one direction. */
struct place {
	const char *name; /* the bottle's */
	unsigned long netns;
	uint32_t ifindex;
	unsigned direction;
};

#define ITEM_SIZE 48

static const char *item_of(const struct place *at, char item[ITEM_SIZE])
{
	snprintf(item, ITEM_SIZE, "%lu_%u_%s", at->netns, at->ifindex,
		 directions[at->direction].name);
	return item;
}

static int open_pin(const struct place *at, const char *kind)
{
	char item[ITEM_SIZE];

	return kernel_pin_open(at->name, kind, item_of(at, item));
}

static void unpin(const struct place *at, const char *kind)
{
	char path[KERNEL_PATH_SIZE], item[ITEM_SIZE];

	(void)unlink(kernel_pin_path(path, at->name, kind, item_of(at, item)));
}

static int pin(const struct place *at, const char *kind, int fd)
{
	char path[KERNEL_PATH_SIZE], item[ITEM_SIZE];

	unpin(at, kind);
	return bpf_obj_pin(fd, kernel_pin_path(path, at->name, kind, item_of(at, item)));
}

static unsigned long our_netns(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) == 0 ? (unsigned long)st.st_ino : 0;
}

/* ---- TCX links ----------------------------------------------------------------------------------- */

/* The link's interface, 0 when that is gone. The header may not know `tcx` in the union: it begins
 * as `xdp` does. */
static uint32_t link_ifindex(int link)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(link, &info, &length) < 0 || info.type != LINK_TYPE_TCX)
		return 0;
	return info.xdp.ifindex;
}

/* A living link of ours there, or -1. */
static int living_link(const struct place *at)
{
	int link = open_pin(at, "tcx");

	if (link >= 0 && link_ifindex(link) != at->ifindex) {
		close(link);
		return -1;
	}
	return link;
}

static int link_attach(const struct place *at, int program)
{
	struct bpf_link_create_opts options;
	int link = living_link(at), result;

	memset(&options, 0, sizeof(options));
	options.sz = sizeof(options);
	options.flags = ATTACH_BEFORE;
	if (link >= 0) {
		result = bpf_link_update(link, program, NULL);
		close(link);
		return result;
	}
	if (kernel_tc_without_links) {
		errno = EINVAL;
		return -1;
	}
	link = bpf_link_create(program, (int)at->ifindex,
			       (enum bpf_attach_type)directions[at->direction].tcx, &options);
	if (link < 0)
		return -1;
	result = pin(at, "tcx", link);
	close(link);
	return result;
}

static void link_remove(const struct place *at)
{
	int link = open_pin(at, "tcx");

	if (link >= 0) {
		(void)bpf_link_detach(link);
		close(link);
	}
	unpin(at, "tcx");
}

/* ---- clsact -------------------------------------------------------------------------------------- */

struct filter {
	struct bpf_tc_hook hook;
	struct bpf_tc_opts options;
};

/* libbpf wants their padding zero, too. */
static void filter_init(const struct place *at, struct filter *filter)
{
	memset(filter, 0, sizeof(*filter));
	filter->hook.sz = sizeof(filter->hook);
	filter->hook.ifindex = (int)at->ifindex;
	filter->hook.attach_point = directions[at->direction].point;
	filter->options.sz = sizeof(filter->options);
	filter->options.handle = KERNEL_TC_HANDLE;
	filter->options.priority = KERNEL_TC_PRIORITY;
}

static int no_words(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

static uint32_t pinned_program_id(const struct place *at)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int fd = open_pin(at, "cls");

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		info.id = 0;
	close(fd);
	return info.id;
}

/* The id of the program that our filter runs; 0 when there is no such filter. */
static uint32_t filter_program_id(const struct place *at)
{
	libbpf_print_fn_t previous = libbpf_set_print(no_words);
	struct filter filter;
	int result;

	filter_init(at, &filter);
	result = bpf_tc_query(&filter.hook, &filter.options);
	libbpf_set_print(previous);
	return result == 0 ? filter.options.prog_id : 0;
}

/* From another namespace it cannot be seen: taken for not standing. */
static bool filter_stands(const struct place *at)
{
	uint32_t id = pinned_program_id(at);

	return id != 0 && at->netns == our_netns() && filter_program_id(at) == id;
}

static int filter_attach(const struct place *at, int program)
{
	libbpf_print_fn_t previous = libbpf_set_print(no_words);
	struct filter filter;
	int result;

	filter_init(at, &filter);
	filter.options.prog_fd = program;
	filter.options.flags = BPF_TC_F_REPLACE;
	result = bpf_tc_hook_create(&filter.hook);
	if (result == 0 || result == -EEXIST)
		result = bpf_tc_attach(&filter.hook, &filter.options);
	libbpf_set_print(previous);
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return pin(at, "cls", program);
}

/* The qdisc stays: it may hold others' filters by now, and an empty one does nothing. */
static void filter_remove(const struct place *at)
{
	struct filter filter;

	filter_init(at, &filter);
	if (filter_stands(at))
		(void)bpf_tc_detach(&filter.hook, &filter.options);
	unpin(at, "cls");
}

/* ---- places -------------------------------------------------------------------------------------- */

static bool stands(const struct place *at)
{
	int link = living_link(at);

	if (link < 0)
		return filter_stands(at);
	close(link);
	return true;
}

static int put_in_force(const struct place *at, int program, struct error *error)
{
	int first;

	if (link_attach(at, program) == 0) {
		filter_remove(at); /* an earlier attempt's */
		return 0;
	}
	first = errno;
	if (filter_attach(at, program) == 0)
		return 0;
	return error_set(error, "interface %u: no tc program (as a link: %s; by clsact: %s)",
			 at->ifindex, strerror(first), strerror(errno));
}

static bool parse_pin(const char *text, struct place *at)
{
	char word[8];

	if (strncmp(text, "tcx-", 4) != 0 && strncmp(text, "cls-", 4) != 0)
		return false;
	if (sscanf(text + 4, "%lu_%u_%7s", &at->netns, &at->ifindex, word) != 3)
		return false;
	for (at->direction = 0; at->direction < KERNEL_DIRECTIONS; at->direction++)
		if (strcmp(word, directions[at->direction].name) == 0)
			return true;
	return false;
}

/* Calls back for each pin of NAME; stops when that returns non-zero, and returns it. */
static int each_place(const char *name, int (*each)(void *context, const struct place *at),
		      void *context)
{
	char path[KERNEL_PATH_SIZE];
	struct place at = {.name = name};
	struct dirent *entry;
	DIR *directory;
	int result = 0;

	kernel_pins_directory(path, name);
	directory = opendir(path);
	while (directory && result == 0 && (entry = readdir(directory)))
		if (parse_pin(entry->d_name, &at))
			result = each(context, &at);
	if (directory)
		closedir(directory);
	return result;
}

/* ---- for the rest of the module ------------------------------------------------------------------ */

static int remove_one(void *context, const struct place *at)
{
	(void)context;
	link_remove(at);
	filter_remove(at);
	return 0;
}

void kernel_tc_remove(const char *name)
{
	(void)each_place(name, remove_one, NULL);
}

struct adoption {
	const int *programs;
	struct error *error;
};

/* What cannot be seen from here keeps its old program, which reads the same maps. */
static int adopt_one(void *context, const struct place *at)
{
	const struct adoption *adoption = context;

	if (!stands(at))
		return 0;
	return put_in_force(at, adoption->programs[at->direction], adoption->error);
}

int kernel_tc_adopt(const char *name, const int programs[], struct error *error)
{
	return each_place(name, adopt_one, &(struct adoption){programs, error});
}

struct census {
	uint32_t ifindex; /* of this alone, or 0 */
	size_t walled; /* ends whose both directions stand */
	bool gone;     /* a pin is all that is left of it */
};

static int count_one(void *context, const struct place *at)
{
	struct census *census = context;
	struct place other = *at;
	char name[IF_NAMESIZE];

	if (census->ifindex && census->ifindex != at->ifindex)
		return 0;
	census->gone |= at->netns == our_netns() && !if_indextoname(at->ifindex, name);
	other.direction = KERNEL_WIRE_IN;
	/* once for each end: at its outward pin */
	if (at->direction == KERNEL_WIRE_OUT && stands(at) && stands(&other))
		census->walled++;
	return 0;
}

size_t kernel_tc_walled(const char *name, uint32_t ifindex)
{
	struct census census = {.ifindex = ifindex};

	(void)each_place(name, count_one, &census);
	return census.walled;
}

bool kernel_tc_gone(const char *name, uint32_t ifindex)
{
	struct census census = {.ifindex = ifindex};

	(void)each_place(name, count_one, &census);
	return census.gone;
}

static int forget_one(void *context, const struct place *at)
{
	(void)context;
	if (at->netns == our_netns() && !stands(at)) {
		unpin(at, "tcx");
		unpin(at, "cls");
	}
	return 0;
}

int kernel_wall_wire(struct kernel *kernel, uint32_t ifindex, struct error *error)
{
	struct place at = {.name = kernel->name, .netns = our_netns(), .ifindex = ifindex};

	for (at.direction = 0; at.direction < KERNEL_DIRECTIONS; at.direction++)
		if (!stands(&at) &&
		    put_in_force(&at, kernel->wire_programs[at.direction], error) < 0)
			return -1;
	return 0;
}

int kernel_set_wires(struct kernel *kernel, const struct egress_wire *wires, size_t count,
		     struct error *error)
{
	static const struct egress_wire none;

	(void)each_place(kernel->name, forget_one, NULL);
	for (uint32_t i = 0; i < EGRESS_MAX_WIRES; i++)
		if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_WIRES], &i,
					i < count ? &wires[i] : &none, BPF_ANY) < 0)
			return error_set(error, "map 'wires': %s", strerror(errno));
	return 0;
}
