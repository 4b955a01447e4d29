// SPDX-License-Identifier: BSD-2-Clause
/* The state of a wall, read from its pins alone. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The pinned maps that the status reads, and the list that grows. */
struct reader {
	int maps[KERNEL_MAP_COUNT];
	size_t cpus;
	struct kernel_status status;
	size_t capacity;
};

/* Of errno. Links without maps are a damaged wall, and are reported as such: it still refuses. */
static int no_map(const char *name, const char *map, struct error *error)
{
	int code = errno;

	if (code == ENOENT && kernel_pinned_links(name) == 0)
		return error_set(error, "there is no wall named '%s'", name);
	errno = code;
	return kernel_map_not_opened(name, map, error);
}

static int open_maps(struct reader *reader, const char *name, struct error *error)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus <= 0)
		return error_set(error, "cannot count the processors: %s", strerror(-cpus));
	reader->cpus = (size_t)cpus;
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++) {
		reader->maps[i] = kernel_pin_open(name, "map", kernel_map_names[i]);
		if (reader->maps[i] < 0)
			return no_map(name, kernel_map_names[i], error);
	}
	return 0;
}

static void close_maps(struct reader *reader)
{
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		if (reader->maps[i] >= 0)
			close(reader->maps[i]);
}

static int read_counters(struct reader *reader, struct error *error)
{
	uint64_t *values = calloc(reader->cpus, sizeof(*values));
	int result = 0;

	if (!values)
		return error_set(error, "out of memory");
	for (uint32_t i = 0; i < EGRESS_COUNTER_COUNT && result == 0; i++) {
		result = bpf_map_lookup_elem(reader->maps[KERNEL_MAP_COUNTERS], &i, values);
		/* A per-CPU map gives a value for each possible CPU, those that are offline
		 * included (bpf(2), libbpf_num_possible_cpus()): with fewer the kernel would write
		 * past the end. */
		for (size_t cpu = 0; cpu < reader->cpus && result == 0; cpu++)
			reader->status.counters[i] += values[cpu];
	}
	free(values);
	for (uint32_t i = 0; i < EGRESS_REASON_COUNT && result == 0; i++)
		result = bpf_map_lookup_elem(reader->maps[KERNEL_MAP_VERDICTS], &i,
					     &reader->status.verdicts[i]);
	return result < 0 ? error_set(error, "cannot read the counters: %s", strerror(errno)) : 0;
}

/* A host whose counters cannot be read shows zeros: the rest of the status matters more. */
static void read_host_counters(const struct reader *reader, struct kernel_host_status *host)
{
	struct egress_host_counters *values = calloc(reader->cpus, sizeof(*values));
	int fd = reader->maps[KERNEL_MAP_HOST_COUNTERS];

	if (values && bpf_map_lookup_elem(fd, &host->host.id, values) == 0) {
		for (size_t cpu = 0; cpu < reader->cpus; cpu++) {
			host->counters.steered += values[cpu].steered;
			host->counters.refused += values[cpu].refused;
		}
	}
	free(values);
}

/* An address that is not in the map refuses like one that is marked. */
static bool is_removed(const struct reader *reader, const struct kernel_host *host)
{
	struct egress_target target;

	return bpf_map_lookup_elem(reader->maps[KERNEL_MAP_ADDRESSES], &host->address, &target) <
		       0 ||
	       (target.flags & EGRESS_TARGET_REMOVED);
}

static struct kernel_host_status *new_host(struct reader *reader)
{
	struct kernel_status *status = &reader->status;

	if (status->host_count == reader->capacity) {
		size_t capacity = reader->capacity ? reader->capacity * 2 : 32;
		void *more = realloc(status->hosts, capacity * sizeof(*status->hosts));

		if (!more)
			return NULL;
		status->hosts = more;
		reader->capacity = capacity;
	}
	memset(&status->hosts[status->host_count], 0, sizeof(*status->hosts));
	return &status->hosts[status->host_count++];
}

static int read_host(void *context, const struct kernel_host *host)
{
	struct reader *reader = context;
	struct kernel_host_status *status = new_host(reader);

	if (!status)
		return -1;
	status->host = *host;
	status->removed = is_removed(reader, host);
	read_host_counters(reader, status);
	/* Beyond that hosts are judged all the same, but have no counters of their own. */
	if (host->id < EGRESS_MAX_COUNTED_HOSTS &&
	    bpf_map_lookup_elem(reader->maps[KERNEL_MAP_HOST_VERDICTS], &host->id,
				&status->verdicts) < 0)
		return -1;
	return 0;
}

static void read_hooks(struct kernel_status *status, const struct kernel_program *programs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct kernel_link_status *link = &status->links[status->link_count++];

		snprintf(link->name, sizeof(link->name), "%s", programs[i].name);
		link->attached = kernel_unix_attached(status->name, link->name);
	}
}

/* In place of kernel_unix_programs' links, and under their names: on the cgroup. */
static void read_doors(struct kernel_status *status)
{
	for (size_t i = 0; i < KERNEL_UNIX_PROGRAM_COUNT; i++) {
		struct kernel_link_status *link = &status->links[status->link_count++];

		snprintf(link->name, sizeof(link->name), "%s", kernel_unix_programs[i].name);
		link->attached = kernel_link_cgroup(status->name, link->name) ==
				 status->settings.bottle_cgroup;
	}
}

/* Those at security hooks are expected only where the settings say that they were made. */
static void read_links(struct kernel_status *status)
{
	_Static_assert(KERNEL_PROGRAM_COUNT + KERNEL_UNIX_PROGRAM_COUNT +
				       KERNEL_ROOT_PROGRAM_COUNT <=
			       sizeof(status->links) / sizeof(status->links[0]),
		       "a slot for each program");

	status->link_count = KERNEL_PROGRAM_COUNT;
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		struct kernel_link_status *link = &status->links[i];

		snprintf(link->name, sizeof(link->name), "%s", kernel_programs[i].name);
		link->attached = kernel_link_cgroup(status->name, kernel_programs[i].name) ==
				 status->settings.bottle_cgroup;
		/* A cgroup that was removed keeps its links while a socket of it lives, over ten
		 * seconds on a busy machine; kernel_link_cgroup() looks the id up as a file handle,
		 * which is ESTALE then. */
		status->cgroup_alive |= link->attached;
	}
	if (status->settings.unix_wall == EGRESS_UNIX_WALLED)
		read_hooks(status, kernel_unix_programs, KERNEL_UNIX_PROGRAM_COUNT);
	if (status->settings.unix_wall == EGRESS_UNIX_BROKERED)
		read_doors(status);
	if (status->settings.root_wall == EGRESS_UNIX_WALLED)
		read_hooks(status, kernel_root_programs, KERNEL_ROOT_PROGRAM_COUNT);
}

/* The map has what the supervisor saw last; whether it is still walled is asked of the filters
 * themselves. */
static int read_wires(struct reader *reader, struct error *error)
{
	struct kernel_status *status = &reader->status;
	struct egress_wire wire;

	for (uint32_t i = 0; i < EGRESS_MAX_WIRES; i++) {
		if (bpf_map_lookup_elem(reader->maps[KERNEL_MAP_WIRES], &i, &wire) < 0)
			return error_set(error, "cannot read the wires: %s", strerror(errno));
		/* A wire that is gone is not an open one: its veth ended with the container. */
		if (wire.state == 0 || (wire.outside && kernel_tc_gone(status->name, wire.outside)))
			continue;
		status->wires[status->wire_count++] = (struct kernel_wire_status){
			.wire = wire,
			.walled = wire.outside && kernel_tc_walled(status->name, wire.outside) > 0,
		};
	}
	status->walled_ends = kernel_tc_walled(status->name, 0);
	return 0;
}

static int read_all(struct reader *reader, const char *name, struct error *error)
{
	/* Nothing else of a wall with another ABI can be trusted to mean what we think. */
	if (open_maps(reader, name, error) < 0 ||
	    kernel_settings_of(name, reader->maps[KERNEL_MAP_SETTINGS], &reader->status.settings,
			       error) < 0 ||
	    read_counters(reader, error) < 0)
		return -1;
	if (kernel_each_host_in(reader->maps[KERNEL_MAP_HOSTS], read_host, reader) < 0)
		return error_set(error, "cannot read the hosts of '%s'", name);
	if (read_wires(reader, error) < 0)
		return -1;
	read_links(&reader->status);
	/* By the lock and not by the pid: that may be another process by now, and the lock goes
	 * with its holder. */
	if (kernel_pins_locked(name))
		reader->status.supervisor_pid = reader->status.settings.supervisor_pid;
	return 0;
}

int kernel_read_status(const char *name, struct kernel_status *ret_status, struct error *error)
{
	struct reader reader = {0};
	int result;

	if (!kernel_name_valid(name))
		return error_set(error, "'%s' is not a valid name", name);
	for (size_t i = 0; i < KERNEL_MAP_COUNT; i++)
		reader.maps[i] = -1;
	snprintf(reader.status.name, sizeof(reader.status.name), "%s", name);
	result = read_all(&reader, name, error);
	close_maps(&reader);
	if (result < 0)
		kernel_status_free(&reader.status);
	else
		*ret_status = reader.status;
	return result;
}

void kernel_status_free(struct kernel_status *status)
{
	if (!status)
		return;
	free(status->hosts);
	status->hosts = NULL;
	status->host_count = 0;
}
