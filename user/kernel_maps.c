// SPDX-License-Identifier: BSD-2-Clause
/* The maps of a wall that is up: settings, hosts, addresses, cidrs. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The only key of an array of one. */
static const uint32_t settings_key;

int kernel_settings_read(int settings_fd, struct egress_settings *ret_settings)
{
	struct egress_settings settings;
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(settings_fd, &info, &length) < 0)
		return -1;
	/* The kernel would write as many bytes as the map's values have. */
	if (info.value_size != sizeof(settings)) {
		errno = EPROTO;
		return -1;
	}
	if (bpf_map_lookup_elem(settings_fd, &settings_key, &settings) < 0)
		return -1;
	*ret_settings = settings;
	return 0;
}

int kernel_settings_write(int settings_fd, const struct egress_settings *settings,
			  struct error *error)
{
	if (bpf_map_update_elem(settings_fd, &settings_key, settings, BPF_ANY) < 0)
		return error_set(error, "map 'settings': %s", strerror(errno));
	return 0;
}

static int map_error(const char *map, struct error *error)
{
	return error_set(error, "map '%s': %s", map,
			 errno == E2BIG ? "it is full" : strerror(errno));
}

/* Read, change, write: only the lock's holder writes the settings. */
int kernel_set_ports(struct kernel *kernel, uint16_t proxy_port, uint16_t dns_port,
		     struct error *error)
{
	struct egress_settings settings;

	if (kernel_settings_read(kernel->maps[KERNEL_MAP_SETTINGS], &settings) < 0)
		return map_error("settings", error);
	settings.proxy_port = proxy_port;
	settings.dns_port = dns_port;
	return kernel_settings_write(kernel->maps[KERNEL_MAP_SETTINGS], &settings, error);
}

void kernel_get_ports(const struct kernel *kernel, uint16_t *ret_proxy, uint16_t *ret_dns)
{
	struct egress_settings settings = {0};

	if (kernel_settings_read(kernel->maps[KERNEL_MAP_SETTINGS], &settings) < 0)
		settings.proxy_port = settings.dns_port = 0;
	*ret_proxy = settings.proxy_port;
	*ret_dns = settings.dns_port;
}

int kernel_set_policy_hash(struct kernel *kernel, const uint8_t hash[16], struct error *error)
{
	struct egress_settings settings;

	if (kernel_settings_read(kernel->maps[KERNEL_MAP_SETTINGS], &settings) < 0)
		return map_error("settings", error);
	memcpy(settings.policy_hash, hash, sizeof(settings.policy_hash));
	return kernel_settings_write(kernel->maps[KERNEL_MAP_SETTINGS], &settings, error);
}

/* A socket-storage map takes a socket's descriptor for a key. */
int kernel_mark_listener(struct kernel *kernel, int socket_fd, struct error *error)
{
	struct egress_socket value = {.flags = EGRESS_SOCKET_LISTENER};

	if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_SOCKETS], &socket_fd, &value, BPF_ANY) < 0)
		return map_error("sockets", error);
	return 0;
}

/* ---- addresses ----------------------------------------------------------------------------- */

/* Without ports the address stays taken and refuses (REMOVED): a name keeps its address for life,
 * and nobody else gets it. */
static int fill_target(struct egress_target *target, uint32_t host_id, const uint16_t *ports,
		       size_t count, struct error *error)
{
	if (count > EGRESS_MAX_PORTS)
		return error_set(error, "more than %d ports at one address", EGRESS_MAX_PORTS);
	memset(target, 0, sizeof(*target));
	target->host_id = host_id;
	target->flags = count == 0 ? EGRESS_TARGET_REMOVED : 0;
	target->port_count = (uint16_t)count;
	for (size_t i = 0; i < count; i++)
		target->ports[i] = ports[i];
	return 0;
}

/* A per-CPU map takes one value for each possible CPU, also for those that are offline. */
static int add_host_counters(const struct kernel *kernel, uint32_t id)
{
	int cpus = libbpf_num_possible_cpus();
	struct egress_host_counters *zeros;
	int result;

	if (cpus <= 0)
		return -1;
	zeros = calloc((size_t)cpus, sizeof(*zeros));
	if (!zeros)
		return -1;
	result = bpf_map_update_elem(kernel->maps[KERNEL_MAP_HOST_COUNTERS], &id, zeros,
				     BPF_NOEXIST);
	free(zeros);
	return result;
}

/* Keeps errno for the caller's message. */
static void remove_host(const struct kernel *kernel, uint32_t id)
{
	int saved = errno;

	bpf_map_delete_elem(kernel->maps[KERNEL_MAP_HOST_COUNTERS], &id);
	bpf_map_delete_elem(kernel->maps[KERNEL_MAP_HOSTS], &id);
	errno = saved;
}

int kernel_bind_host(struct kernel *kernel, const struct kernel_host *host, const uint16_t *ports,
		     size_t port_count, struct error *error)
{
	struct egress_host value = {.address = host->address};
	struct egress_target target;

	if (fill_target(&target, host->id, ports, port_count, error) < 0)
		return -1;
	memcpy(value.name, host->name, sizeof(value.name));
	/* The address last: programs begin there, so that until then nothing leads to a host that
	 * is half written. */
	if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_HOSTS], &host->id, &value, BPF_NOEXIST) < 0)
		return map_error("hosts", error);
	if (add_host_counters(kernel, host->id) < 0) {
		remove_host(kernel, host->id);
		return map_error("host_counters", error);
	}
	if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_ADDRESSES], &host->address, &target,
				BPF_NOEXIST) < 0) {
		remove_host(kernel, host->id);
		return map_error("addresses", error);
	}
	return 0;
}

int kernel_set_host_ports(struct kernel *kernel, const struct kernel_host *host,
			  const uint16_t *ports, size_t port_count, struct error *error)
{
	struct egress_target target;

	if (fill_target(&target, host->id, ports, port_count, error) < 0)
		return -1;
	if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_ADDRESSES], &host->address, &target,
				BPF_EXIST) == 0)
		return 0;
	/* A supervisor that was killed within kernel_bind_host(): this finishes it. */
	if (errno == ENOENT && add_host_counters(kernel, host->id) < 0 && errno != EEXIST)
		return map_error("host_counters", error);
	if (bpf_map_update_elem(kernel->maps[KERNEL_MAP_ADDRESSES], &host->address, &target,
				BPF_NOEXIST) < 0)
		return map_error("addresses", error);
	return 0;
}

static bool add_port(struct egress_target *target, uint16_t port)
{
	for (size_t i = 0; i < target->port_count; i++)
		if (target->ports[i] == port)
			return true;
	if (target->port_count >= EGRESS_MAX_PORTS)
		return false;
	target->ports[target->port_count++] = port;
	return true;
}

/* Never at an address that is bound to one name: its connections would lose that name. */
int kernel_bind_shared(struct kernel *kernel, const struct egress_address *address,
		       const uint16_t *ports, size_t port_count, struct error *error)
{
	int fd = kernel->maps[KERNEL_MAP_ADDRESSES];
	struct egress_target target;

	if (bpf_map_lookup_elem(fd, address, &target) < 0)
		memset(&target, 0, sizeof(target));
	else if (target.host_id != EGRESS_HOST_MANY)
		return error_set(error, "the address belongs to one host");
	target.host_id = EGRESS_HOST_MANY;
	/* Added, never replaced: other names may have the same address, and their ports stay
	 * open. */
	for (size_t i = 0; i < port_count; i++)
		if (!add_port(&target, ports[i]))
			return error_set(error, "more than %d ports at one address",
					 EGRESS_MAX_PORTS);
	if (bpf_map_update_elem(fd, address, &target, BPF_ANY) < 0)
		return map_error("addresses", error);
	return 0;
}

int kernel_set_shared(struct kernel *kernel, const struct egress_address *address,
		      const uint16_t *ports, size_t port_count, struct error *error)
{
	int fd = kernel->maps[KERNEL_MAP_ADDRESSES];
	struct egress_target target;
	bool there = bpf_map_lookup_elem(fd, address, &target) == 0;

	if (there && target.host_id != EGRESS_HOST_MANY)
		return error_set(error, "the address belongs to one host");
	if (port_count > 0) {
		if (fill_target(&target, EGRESS_HOST_MANY, ports, port_count, error) < 0)
			return -1;
		if (bpf_map_update_elem(fd, address, &target, BPF_ANY) < 0)
			return map_error("addresses", error);
	} else if (there && bpf_map_delete_elem(fd, address) < 0 && errno != ENOENT) {
		return map_error("addresses", error);
	}
	return 0;
}

/* ---- whole maps ---------------------------------------------------------------------------- */

/* Every key of a map at one time: a walk that deletes would start over. NULL, *ret_count 0 when
 * it is empty; -1 when out of memory. */
static int all_keys(int fd, size_t key_size, char **ret_keys, size_t *ret_count)
{
	size_t count = 0, capacity = 0;
	const void *previous = NULL;
	char *keys = NULL;

	for (;;) {
		if (count == capacity) {
			char *more;

			capacity = capacity ? capacity * 2 : 64;
			more = realloc(keys, capacity * key_size);
			if (!more)
				break;
			keys = more;
			previous = count ? keys + (count - 1) * key_size : NULL;
		}
		/* ENOENT is the end of the keys: bpf(2). */
		if (bpf_map_get_next_key(fd, previous, keys + count * key_size) < 0) {
			if (errno != ENOENT)
				break;
			*ret_keys = keys;
			*ret_count = count;
			return 0;
		}
		previous = keys + count++ * key_size;
	}
	free(keys);
	return -1;
}

int kernel_forget_shared(struct kernel *kernel, struct error *error)
{
	int fd = kernel->maps[KERNEL_MAP_ADDRESSES], result = 0;
	struct egress_target target;
	size_t count;
	char *keys;

	if (all_keys(fd, sizeof(struct egress_address), &keys, &count) < 0)
		return map_error("addresses", error);
	for (size_t i = 0; i < count && result == 0; i++) {
		const void *key = keys + i * sizeof(struct egress_address);

		/* Only those: the address of one host stays that host's. */
		if (bpf_map_lookup_elem(fd, key, &target) == 0 &&
		    target.host_id == EGRESS_HOST_MANY && bpf_map_delete_elem(fd, key) < 0 &&
		    errno != ENOENT)
			result = map_error("addresses", error);
	}
	free(keys);
	return result;
}

int kernel_each_host_in(int hosts_fd, int (*each)(void *context, const struct kernel_host *host),
			void *context)
{
	struct egress_host value;
	struct kernel_host host;
	int result = 0;
	size_t count;
	char *keys;

	if (all_keys(hosts_fd, sizeof(uint32_t), &keys, &count) < 0)
		return -1;
	for (size_t i = 0; i < count && result == 0; i++) {
		memcpy(&host.id, keys + i * sizeof(host.id), sizeof(host.id));
		if (bpf_map_lookup_elem(hosts_fd, &host.id, &value) < 0)
			continue;
		host.address = value.address;
		memcpy(host.name, value.name, sizeof(host.name));
		result = each(context, &host);
	}
	free(keys);
	return result;
}

int kernel_each_host(const struct kernel *kernel,
		     int (*each)(void *context, const struct kernel_host *host), void *context)
{
	return kernel_each_host_in(kernel->maps[KERNEL_MAP_HOSTS], each, context);
}

static bool key_listed(const void *key, const struct egress_cidr_key *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(key, &keys[i], sizeof(keys[i])) == 0)
			return true;
	return false;
}

/* An entry that is listed again is not removed in between: its connections would be refused for a
 * moment. */
static int remove_other_cidrs(int fd, const struct egress_cidr_key *keys, size_t count,
			      struct error *error)
{
	size_t old_count;
	int result = 0;
	char *old;

	if (all_keys(fd, sizeof(*keys), &old, &old_count) < 0)
		return map_error("cidrs", error);
	for (size_t i = 0; i < old_count && result == 0; i++) {
		const void *key = old + i * sizeof(*keys);

		if (!key_listed(key, keys, count) && bpf_map_delete_elem(fd, key) < 0)
			result = map_error("cidrs", error);
	}
	free(old);
	return result;
}

int kernel_set_cidrs(struct kernel *kernel, const struct egress_cidr_key *keys,
		     const struct egress_target *targets, size_t count, struct error *error)
{
	int fd = kernel->maps[KERNEL_MAP_CIDRS];

	/* What closes comes first: in between less is allowed than either list says, never more. */
	if (remove_other_cidrs(fd, keys, count, error) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (bpf_map_update_elem(fd, &keys[i], &targets[i], BPF_ANY) < 0)
			return map_error("cidrs", error);
	return kernel_wire_policy(kernel, keys, targets, count, error);
}
