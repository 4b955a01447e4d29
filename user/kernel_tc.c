// SPDX-License-Identifier: BSD-2-Clause
/* The tc wall: programs on the host's ends of the bottle's wires, as filters of clsact. Not as TCX
 * links: any process that holds the host's CAP_SYS_ADMIN, in the bottle too, can find a link by its id
 * and detach it; a filter it would have to reach by netlink in the host's network namespace. A filter
 * stays by itself; the program is pinned, so that it is known whose filter it is. Interfaces are told
 * by namespace and index: an index alone means nothing to a supervisor that runs in another. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* By enum kernel_direction. Ingress of the outer end is what the bottle sends. */
static const struct {
	const char *name;
	int tcx; /* enum bpf_attach_type, Linux 6.6 */
	enum bpf_tc_attach_point point;
} directions[KERNEL_DIRECTIONS] = {
	[KERNEL_WIRE_OUT] = {"out", 46, BPF_TC_INGRESS},
	[KERNEL_WIRE_IN] = {"in", 47, BPF_TC_EGRESS},
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

static void unpin(const struct place *at)
{
	char path[KERNEL_PATH_SIZE], item[ITEM_SIZE];

	(void)unlink(kernel_pin_path(path, at->name, "cls", item_of(at, item)));
}

/* Not in one step: bpffs has no rename over a pin. stands() waits out the gap. */
static int pin(const struct place *at, int program)
{
	char path[KERNEL_PATH_SIZE], item[ITEM_SIZE];

	unpin(at);
	return bpf_obj_pin(program, kernel_pin_path(path, at->name, "cls", item_of(at, item)));
}

#define OUR_NETNS "/proc/thread-self/ns/net"

/* By the inode of nsfs; 0, which no namespace has, when it cannot be told. */
static unsigned long our_netns(void)
{
	struct stat st;

	return stat(OUR_NETNS, &st) == 0 ? (unsigned long)st.st_ino : 0;
}

/* ---- filters ------------------------------------------------------------------------------------- */

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

/* What we put in force last; 0 when there is no such pin. */
static uint32_t pinned_program_id(const struct place *at)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	char item[ITEM_SIZE];
	int fd = kernel_pin_open(at->name, "cls", item_of(at, item));

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
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
	struct filter filter;
	int result;

	filter_init(at, &filter);
	result = bpf_tc_query(&filter.hook, &filter.options);
	libbpf_set_print(previous);
	return result == 0 ? filter.options.prog_id : 0;
}

/* Somebody's TCX program there: it would decide before any filter. */
static bool is_preceded(const struct place *at)
{
	uint32_t id, count = 1;

	return bpf_prog_query((int)at->ifindex, (enum bpf_attach_type)directions[at->direction].tcx,
			      0, NULL, &id, &count) == 0 && count > 0;
}

/* From another namespace it cannot be seen: taken for not standing. */
static bool is_ours(const struct place *at)
{
	uint32_t id = pinned_program_id(at);

	return id != 0 && at->netns == our_netns() && filter_program_id(at) == id;
}

/* For who looks while a supervisor replaces the program, and has not pinned the new one yet. */
static bool stands(const struct place *at)
{
	for (int attempt = 0; attempt < 3; attempt++) {
		if (is_ours(at))
			return !is_preceded(at);
		nanosleep(&(struct timespec){.tv_nsec = 1000000L}, NULL);
	}
	return false;
}

/* REPLACE at our own handle and priority, so that the new program takes the old one's place in one
 * step. */
static int filter_attach(const struct place *at, int program)
{
	libbpf_print_fn_t previous = libbpf_set_print(NULL);
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
	return pin(at, program);
}

/* The qdisc stays: it may hold others' filters by now, and an empty one does nothing. */
static void filter_remove(const struct place *at)
{
	struct filter filter;

	filter_init(at, &filter);
	if (is_ours(at))
		(void)bpf_tc_detach(&filter.hook, &filter.options);
	unpin(at);
}

/* ---- places -------------------------------------------------------------------------------------- */

static int no_program(const struct place *at, struct error *error)
{
	return error_set(error, "interface %u: no tc program: %s", at->ifindex, strerror(errno));
}

/* Fails although the filter stands when TCX precedes it: a wall that may be passed is no wall. */
static int put_in_force(const struct place *at, int program, struct error *error)
{
	if (filter_attach(at, program) < 0)
		return no_program(at, error);
	if (is_preceded(at))
		return error_set(error, "interface %u: a TCX program of somebody else's comes first",
				 at->ifindex);
	return 0;
}

/* Pins of other kinds, and of directions that we do not know, are skipped. */
static bool parse_pin(const char *text, struct place *at)
{
	char word[8];

	if (strncmp(text, "cls-", 4) != 0)
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
	filter_remove(at);
	return 0;
}

void kernel_tc_remove(const char *name)
{
	(void)each_place(name, remove_one, NULL);
}

/* The namespace of that inode, by a process that is in it; -1: none is. */
static int open_netns(unsigned long inode)
{
	DIR *processes = opendir("/proc");
	const struct dirent *entry;
	struct stat st = {0};
	char path[32];
	int fd = -1;

	while (processes && fd < 0 && (entry = readdir(processes))) {
		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) ||
		    snprintf(path, sizeof(path), "/proc/%.10s/ns/net", entry->d_name) < 0)
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != inode)) {
			close(fd);
			fd = -1;
		}
	}
	if (processes)
		closedir(processes);
	return fd;
}

/* The namespace's number may be another's by now: there, too, only what runs our program goes. */
static int remove_elsewhere(void *context, const struct place *at)
{
	const int *home = context;
	int there = at->netns != our_netns() ? open_netns(at->netns) : -1;

	if (there < 0)
		return 0;
	if (setns(there, CLONE_NEWNET) == 0) {
		filter_remove(at);
		/* To go on in a namespace that is not ours would be worse than any end. */
		if (setns(*home, CLONE_NEWNET) < 0)
			abort();
	}
	close(there);
	return 0;
}

void kernel_tc_remove_elsewhere(const char *name)
{
	int home = open(OUR_NETNS, O_RDONLY | O_CLOEXEC);

	if (home < 0)
		return;
	(void)each_place(name, remove_elsewhere, &home);
	close(home);
}

struct replacement {
	const int *programs;
	struct error *error;
	int result;
};

/* What cannot be seen from here keeps its old program: nobody can reach it. One that fails keeps none
 * of the others from theirs; an interface that goes in between is no failure. */
static int replace_one(void *context, const struct place *at)
{
	struct replacement *replacement = context;
	int saved;

	if (!is_ours(at) || filter_attach(at, replacement->programs[at->direction]) == 0)
		return 0;
	saved = errno;
	if (!is_ours(at))
		return 0;
	errno = saved;
	replacement->result = no_program(at, replacement->error);
	return 0;
}

int kernel_tc_replace(const struct kernel *kernel, struct error *error)
{
	struct replacement replacement = {kernel->wire_programs, error, 0};

	(void)each_place(kernel->name, replace_one, &replacement);
	return replacement.result;
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

/* The interface's number may be given to another one, whose filter would not be ours. */
static int forget_one(void *context, const struct place *at)
{
	(void)context;
	if (at->netns == our_netns() && !is_ours(at))
		unpin(at);
	return 0;
}

int kernel_wall_wire(struct kernel *kernel, uint32_t ifindex, struct error *error)
{
	struct place at = {.name = kernel->name, .netns = our_netns(), .ifindex = ifindex};

	for (at.direction = 0; at.direction < KERNEL_DIRECTIONS; at.direction++)
		if ((!is_ours(&at) || is_preceded(&at)) &&
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
