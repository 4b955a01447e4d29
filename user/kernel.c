// SPDX-License-Identifier: BSD-2-Clause
/* Loading the wall: a new one, or new programs for one that stands. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "egress.skel.h"

/* Of a wall with little room. A flow's record waits for its connection to be accepted, so these are as
 * many as our listening sockets queue; peers are those of wires. */
#define BRIEF_FLOWS 16384
#define BRIEF_PEERS 256

#define HALVES 2

/* What libbpf says while it loads; looked at only when it fails. Static, for libbpf's callback has
 * no context; the supervisor loads one wall at a time. */
static pthread_mutex_t load_log_lock = PTHREAD_MUTEX_INITIALIZER;
static char load_log[16 * 1024];
static size_t load_log_length;

static int keep_log(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t room;
	int length;

	if (level == LIBBPF_DEBUG)
		return 0;
	pthread_mutex_lock(&load_log_lock);
	room = sizeof(load_log) - load_log_length;
	length = room < 2 ? 0 : vsnprintf(load_log + load_log_length, room, format, arguments);
	if (length > 0)
		load_log_length += (size_t)length < room ? (size_t)length : room - 1;
	pthread_mutex_unlock(&load_log_lock);
	return 0;
}

/* Only of programs on the cgroup; the floor of the whole wall for any other. */
static const char *since_of(const char *program)
{
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++)
		if (strcmp(kernel_programs[i].name, program) == 0)
			return kernel_programs[i].since;
	return "5.15";
}

/* The verifier's last words, if it had any: the line before its statistics. */
static void last_words(char text[200])
{
	const char *end = strstr(load_log, "\nprocessed "), *start = end;

	text[0] = '\0';
	while (start && start > load_log && start[-1] != '\n')
		start--;
	if (start)
		snprintf(text, 200, ": %.*s", (int)(end - start), start);
}

/* Names the program that failed and the Linux it needs, since 'Invalid argument' alone helps
 * nobody. */
static int load_error(int code, struct error *error)
{
	struct utsname host = {0};
	char program[32] = "", words[200];
	const char *at = strstr(load_log, "prog '");

	uname(&host);
	if (!at || sscanf(at, "prog '%31[^']", program) != 1)
		return error_set(error, "cannot load the kernel programs on Linux %s "
				 "(5.15 or later is needed): %s", host.release, strerror(code));
	last_words(words);
	return error_set(error, "program '%s' does not load on Linux %s (its hook needs %s, "
			 "all of the wall 5.15): %s%s", program, host.release, since_of(program),
			 strerror(code), words);
}

/* ---- maps ---------------------------------------------------------------------------------- */

/* The layout of values may differ at the same size: settings.abi is what tells then. */
static bool same_shape(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 &&
	       info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map) &&
	       info.map_flags == bpf_map__map_flags(map);
}

int kernel_damaged(const char *name, const char *what, struct error *error)
{
	return error_set(error, "the pinned wall '%s' %s; it stays in force: stop what uses it and "
			 "run 'egress-bpf detach %s'", name, what, name);
}

int kernel_map_not_opened(const char *name, const char *map, struct error *error)
{
	char what[64];

	if (errno != ENOENT)
		return error_set(error, "'%s', map '%s': %s", name, map, strerror(errno));
	snprintf(what, sizeof(what), "lacks the map '%s'", map);
	return kernel_damaged(name, what, error);
}

int kernel_settings_of(const char *name, int fd, struct egress_settings *ret, struct error *error)
{
	bool fine = kernel_settings_read(fd, ret) == 0;

	if (!fine && errno != EPROTO)
		return error_set(error, "'%s': cannot read its settings: %s", name, strerror(errno));
	return fine && ret->abi == EGRESS_ABI_VERSION
		       ? 0
		       : kernel_damaged(name, "was made by another version", error);
}

static int lacks_map(const char *name, struct error *error)
{
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++) {
		int fd = kernel_pin_open(name, "map", kernel_map_names[i]);

		if (fd < 0)
			return kernel_map_not_opened(name, kernel_map_names[i], error);
		close(fd);
	}
	return error_set(error, "'%s': cannot look for its maps", name);
}

static int reuse_map(const struct bpf_object *object, const char *name, size_t i,
		     struct error *error)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, kernel_map_names[i]);
	int result, fd = kernel_pin_open(name, "map", kernel_map_names[i]);

	if (fd < 0)
		return kernel_map_not_opened(name, kernel_map_names[i], error);
	if (!map || !same_shape(map, fd))
		result = kernel_damaged(name, "was made by another version", error);
	else if (bpf_map__reuse_fd(map, fd) < 0)
		result = error_set(error, "map '%s': %s", kernel_map_names[i], strerror(errno));
	else
		result = 0;
	close(fd);
	return result;
}

static int reuse_maps(const struct bpf_object *object, const char *name, struct error *error)
{
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		if (reuse_map(object, name, i, error) < 0)
			return -1;
	return 0;
}

/* Without a pin a map would go with us, and the programs with it. */
static int pin_maps(const struct kernel *kernel, const char *name, struct error *error)
{
	char path[KERNEL_PATH_SIZE];

	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		if (bpf_obj_pin(kernel->maps[i],
				kernel_pin_path(path, name, "map", kernel_map_names[i])) < 0)
			return error_set(error, "cannot pin %s: %s", path, strerror(errno));
	return 0;
}

/* Copies of our own, since the skeleton's go with it. */
static int keep_maps(struct kernel *kernel, const struct bpf_object *object, struct error *error)
{
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++) {
		int fd = bpf_object__find_map_fd_by_name(object, kernel_map_names[i]);

		kernel->maps[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (kernel->maps[i] < 0)
			return error_set(error, "map '%s': %s", kernel_map_names[i],
					 strerror(errno));
	}
	return 0;
}

/* Room costs time when it is made: buckets are initialised, and preallocated entries (of flows and
 * peers) zeroed. */
static void make_room(const struct egress *skeleton, uint32_t hosts)
{
	bpf_map__set_max_entries(skeleton->maps.addresses, hosts);
	bpf_map__set_max_entries(skeleton->maps.hosts, hosts);
	bpf_map__set_max_entries(skeleton->maps.host_counters, hosts);
	bpf_map__set_max_entries(skeleton->maps.flows, BRIEF_FLOWS);
	bpf_map__set_max_entries(skeleton->maps.peers, BRIEF_PEERS);
}

/* New ones, or those of NAME's pins: from the object without its programs. */
static int load_maps(struct kernel *kernel, const struct kernel_open_options *options,
		     struct error *error)
{
	struct egress *skeleton = egress__open();
	struct bpf_program *program = NULL;
	int result = 0;

	if (!skeleton)
		return load_error(errno, error);
	while ((program = bpf_object__next_program(skeleton->obj, program)))
		bpf_program__set_autoload(program, false);
	if (kernel->adopted)
		result = reuse_maps(skeleton->obj, options->name, error);
	else if (options->host_room > 0)
		make_room(skeleton, options->host_room);
	if (result == 0)
		result = kernel_load(skeleton->obj, error);
	if (result == 0)
		result = keep_maps(kernel, skeleton->obj, error);
	egress__destroy(skeleton);
	return result;
}

static int share_maps(const struct kernel *kernel, const struct bpf_object *object)
{
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		if (bpf_map__reuse_fd(bpf_object__find_map_by_name(object, kernel_map_names[i]),
				      kernel->maps[i]) < 0)
			return -1;
	return 0;
}

/* ---- programs ------------------------------------------------------------------------------ */

const void *kernel_elf(size_t *ret_size)
{
	return egress__elf_bytes(ret_size);
}

static struct bpf_program *program_of(const struct egress *skeleton, size_t i)
{
	return bpf_object__find_program_by_name(skeleton->obj, kernel_programs[i].name);
}

/* ---- programs in two halves ------------------------------------------------------------------ */

/* The verifier takes half of the time of a start, and looks at the programs of several threads at
 * once. Each half has an object of its own, on the wall's maps. */
struct half {
	const struct kernel *kernel;
	size_t number;
	bool set_retval;
	struct egress *skeleton; /* loaded, or NULL for the reason of `code` */
	int code;
};

static void choose_half(const struct half *half)
{
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++)
		bpf_program__set_autoload(program_of(half->skeleton, i),
					  i % HALVES == half->number);
}

static void *load_half(void *context)
{
	struct half *half = context;

	half->skeleton = egress__open();
	if (!half->skeleton) {
		half->code = errno;
		return NULL;
	}
	half->skeleton->rodata->has_set_retval = half->set_retval;
	/* Read-only data: where there is none, the verifier takes the look-ups for it out. */
	half->skeleton->rodata->spared_cgroup = half->kernel->spared_cgroup;
	choose_half(half);
	half->code = share_maps(half->kernel, half->skeleton->obj) < 0
			     ? errno
			     : -egress__load(half->skeleton);
	if (half->code != 0) {
		egress__destroy(half->skeleton);
		half->skeleton = NULL;
	}
	return NULL;
}

static void destroy_programs(struct egress *programs[HALVES])
{
	for (size_t i = 0; i < HALVES; i++) {
		egress__destroy(programs[i]);
		programs[i] = NULL;
	}
}

/* One attempt. Signals are for the thread that was there before. */
static int load_once(const struct kernel *kernel, bool set_retval, struct egress *ret[HALVES],
		     struct error *error)
{
	struct half halves[HALVES];
	sigset_t all, before;
	pthread_t thread;
	bool beside;

	for (size_t i = 0; i < HALVES; i++)
		halves[i] = (struct half){.kernel = kernel, .number = i, .set_retval = set_retval};
	load_log_length = 0;
	load_log[0] = '\0';
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	beside = pthread_create(&thread, NULL, load_half, &halves[0]) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	load_half(&halves[1]);
	if (beside)
		pthread_join(thread, NULL);
	else
		load_half(&halves[0]);
	for (size_t i = 0; i < HALVES; i++)
		ret[i] = halves[i].skeleton;
	if (ret[0] && ret[1])
		return 0;
	destroy_programs(ret);
	return load_error(halves[halves[0].code ? 0 : 1].code, error);
}

/* What the kernel can do is found by loading, best first. */
static int load_programs(const struct kernel *kernel, struct egress *ret[HALVES],
			 struct error *error)
{
	libbpf_print_fn_t previous = libbpf_set_print(keep_log);
	struct error first = {0};
	int result = load_once(kernel, true, ret, &first);

	/* Without bpf_set_retval(), before Linux 5.18: every refusal is EPERM then. */
	if (result < 0)
		result = load_once(kernel, false, ret, error);
	libbpf_set_print(previous);
	return result;
}

static int install(struct egress *const loaded[HALVES], const struct kernel_open_options *options,
		   struct error *error)
{
	int programs[KERNEL_PROGRAM_COUNT], cgroup_fd, result;

	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++)
		programs[i] = bpf_program__fd(program_of(loaded[i % HALVES], i));
	cgroup_fd = open(options->cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup_fd < 0)
		return error_set(error, "%s: %s", options->cgroup_path, strerror(errno));
	result = kernel_links_install(options->name, cgroup_fd, programs, error);
	close(cgroup_fd);
	return result;
}

int kernel_load(struct bpf_object *object, struct error *error)
{
	libbpf_print_fn_t previous = libbpf_set_print(keep_log);
	int code;

	load_log_length = 0;
	load_log[0] = '\0';
	code = -bpf_object__load(object);
	libbpf_set_print(previous);
	return code == 0 ? 0 : load_error(code, error);
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Keeps what is not named here, the ports above all: an adopted wall goes on steering to where the
 * old supervisor's sockets may still listen. */
static int fill_settings(const struct kernel_open_options *options,
			 struct egress_settings *settings, struct error *error)
{
	struct timespec now;

	if (cgroup_identity(options->cgroup_path, (uint64_t *)&settings->bottle_cgroup,
			    &settings->bottle_level, error) < 0)
		return -1;
	clock_gettime(CLOCK_REALTIME, &now);
	settings->abi = EGRESS_ABI_VERSION;
	settings->shared_netns = options->shared_netns;
	settings->published_count = (uint32_t)options->published_count;
	memset(settings->published, 0, sizeof(settings->published));
	for (size_t i = 0; i < options->published_count; i++)
		settings->published[i] = options->published[i];
	settings->unix_wall = options->unix_wall ? EGRESS_UNIX_WALLED : 0;
	settings->supervisor_pid = options->supervisor_pid;
	settings->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	memcpy(settings->policy_hash, options->policy_hash, sizeof(settings->policy_hash));
	return 0;
}

/* Until there is a policy, new wires let nothing pass; those that stand go on as they do. Nothing but
 * the programs writes the peers. */
static int close_wires(struct kernel *kernel, struct error *error)
{
	if (bpf_map_freeze(kernel->maps[KERNEL_MAP_PEERS]) < 0 && !kernel->adopted)
		return error_set(error, "map 'peers': %s", strerror(errno));
	kernel->wires_closed = !kernel->adopted;
	return kernel_wire_load(kernel, NULL, NULL, 0, kernel->wire_programs, error);
}

/* Last, and for `status` to know: nothing is decided by it. */
static int install_root_wall(struct kernel *kernel, const struct kernel_open_options *options,
			     struct egress_settings *settings, struct error *error)
{
	settings->root_wall = kernel_root_install(kernel, options, settings);
	kernel->root_walled = settings->root_wall == EGRESS_UNIX_WALLED;
	return kernel_settings_write(kernel->maps[KERNEL_MAP_SETTINGS], settings, error);
}

/* The settings come before the first link: a program without them refuses everything. */
static int build(struct kernel *kernel, const struct kernel_open_options *options,
		 struct error *error)
{
	struct egress_settings *settings = &kernel->settings;
	struct egress *programs[HALVES];
	int result = -1;

	if (load_programs(kernel, programs, error) < 0)
		return -1;
	if (kernel_settings_write(kernel->maps[KERNEL_MAP_SETTINGS], settings, error) == 0 &&
	    close_wires(kernel, error) == 0 && pin_maps(kernel, options->name, error) == 0)
		result = install(programs, options, error);
	destroy_programs(programs);
	if (result == 0 && options->unix_wall)
		result = kernel_unix_install(kernel, options, settings, error);
	return result < 0 ? -1 : install_root_wall(kernel, options, settings, error);
}

static int read_pinned_settings(const char *name, struct egress_settings *settings,
				struct error *error)
{
	int fd = kernel_pin_open(name, "map", "settings"), result;

	if (fd < 0)
		return kernel_map_not_opened(name, "settings", error);
	result = kernel_settings_of(name, fd, settings, error);
	close(fd);
	return result;
}

/* The old programs go on with the old settings until every new one is in force. */
static int adopt(struct kernel *kernel, const struct kernel_open_options *options,
		 struct error *error)
{
	struct egress *programs[HALVES];
	int result = -1;

	if (load_programs(kernel, programs, error) < 0)
		return -1;
	if (install(programs, options, error) == 0 && close_wires(kernel, error) == 0)
		result = install_root_wall(kernel, options, &kernel->settings, error);
	destroy_programs(programs);
	return result;
}

/* Links come after maps: maps alone were left by a start that did not get far. */
static int remove_leftovers(struct kernel *kernel, const char *name, struct error *error)
{
	if (kernel_pins_remove(name, error) < 0)
		return -1;
	close(kernel->directory_fd);
	kernel->directory_fd = -1;
	return kernel_pins_lock(name, &kernel->directory_fd, error);
}

/* What is pinned and its maps have to be ours, and of this bottle. */
static int adopt_maps(struct kernel *kernel, const struct kernel_open_options *options,
		      struct error *error)
{
	if (read_pinned_settings(options->name, &kernel->settings, error) < 0 ||
	    fill_settings(options, &kernel->settings, error) < 0 ||
	    kernel_links_check(options->name, kernel->settings.bottle_cgroup, error) < 0)
		return -1;
	return load_maps(kernel, options, error);
}

/* Some maps and a link are a wall in an unknown state: neither adopted nor replaced. Maps without a
 * link refuse nothing, and are removed. */
static int make_or_adopt_maps(struct kernel *kernel, const struct kernel_open_options *options,
			      struct error *error)
{
	size_t maps = kernel_pinned_maps(options->name);

	kernel->adopted = maps == KERNEL_MAP_COUNT;
	if (kernel->adopted)
		return adopt_maps(kernel, options, error);
	if (kernel_pinned_links(options->name) > 0)
		return lacks_map(options->name, error);
	if (maps > 0 && remove_leftovers(kernel, options->name, error) < 0)
		return -1;
	if (fill_settings(options, &kernel->settings, error) == 0 &&
	    load_maps(kernel, options, error) == 0)
		return 0;
	/* The directory, which was made just now. */
	(void)!kernel_pins_remove(options->name, NULL);
	return -1;
}

/* Every descriptor is -1 from the start, so that kernel_close() can end it half built. */
static struct kernel *kernel_new(const struct kernel_open_options *options)
{
	struct kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel)
		return NULL;
	snprintf(kernel->name, sizeof(kernel->name), "%s", options->name);
	kernel->spared_cgroup = options->spared_cgroup;
	kernel->published_count = (uint32_t)options->published_count;
	for (size_t i = 0; i < options->published_count; i++)
		kernel->published[i] = options->published[i];
	kernel->directory_fd = -1;
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		kernel->maps[i] = -1;
	for (size_t i = 0; i < KERNEL_DIRECTIONS; i++)
		kernel->wire_programs[i] = -1;
	return kernel;
}

int kernel_prepare(const struct kernel_open_options *options, struct kernel **ret_kernel,
		   struct error *error)
{
	struct kernel *kernel;

	if (!kernel_name_valid(options->name))
		return error_set(error, "'%s' is not a valid name", options->name);
	if (options->published_count > EGRESS_MAX_PUBLISHED)
		return error_set(error, "at most %d ports can be published", EGRESS_MAX_PUBLISHED);
	if (kernel_bpffs_mount(error) < 0)
		return -1;
	kernel = kernel_new(options);
	if (!kernel)
		return error_set(error, "out of memory");
	if (kernel_pins_lock(options->name, &kernel->directory_fd, error) < 0 ||
	    make_or_adopt_maps(kernel, options, error) < 0) {
		kernel_close(kernel);
		return -1;
	}
	*ret_kernel = kernel;
	return 0;
}

int kernel_raise(struct kernel *kernel, const struct kernel_open_options *options,
		 struct error *error)
{
	int result = kernel->adopted ? adopt(kernel, options, error)
				     : build(kernel, options, error);

	/* Only what was made just now. */
	if (result < 0 && !kernel->adopted)
		(void)!kernel_pins_remove(options->name, NULL);
	return result;
}

int kernel_open(const struct kernel_open_options *options, struct kernel **ret_kernel,
		struct error *error)
{
	struct kernel *kernel = NULL;

	if (kernel_prepare(options, &kernel, error) < 0 || !kernel)
		return -1;
	if (kernel_raise(kernel, options, error) < 0) {
		kernel_close(kernel);
		return -1;
	}
	*ret_kernel = kernel;
	return 0;
}

bool kernel_adopted(const struct kernel *kernel)
{
	return kernel->adopted;
}

void kernel_close(struct kernel *kernel)
{
	if (!kernel)
		return;
	ring_buffer__free(kernel->ring);
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		if (kernel->maps[i] >= 0)
			close(kernel->maps[i]);
	for (size_t i = 0; i < KERNEL_DIRECTIONS; i++)
		if (kernel->wire_programs[i] >= 0)
			close(kernel->wire_programs[i]);
	if (kernel->directory_fd >= 0) {
		flock(kernel->directory_fd, LOCK_UN); /* a forked child may hold a copy */
		close(kernel->directory_fd);
	}
	free(kernel);
}
