// SPDX-License-Identifier: BSD-2-Clause
/* The wall outlives us, is taken up again without a gap, and goes only when it is told to. */
#include "wall.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000 * 1000}, NULL);
}

static void pin_path(const struct wall *wall, const char *pin, char path[256])
{
	char name[64];

	snprintf(name, sizeof(name), "%s", wall->name);
	*strchr(name, '.') = '+';
	snprintf(path, 256, "%s/%s%s%s", KERNEL_PIN_ROOT, name, *pin ? "/" : "", pin);
}

static int pinned_map(const struct wall *wall, const char *pin)
{
	char path[256];
	int fd;

	pin_path(wall, pin, path);
	fd = bpf_obj_get(path);
	assert_return_code(fd, errno);
	return fd; /* closed with the process */
}

/* ---- adoption ------------------------------------------------------------------------------- */

struct hammer {
	volatile unsigned long tried, opened, broken;
	volatile int stop;
};

/* Without the wall these would give ENETUNREACH, or a raw socket. */
static int hammer(void *memory)
{
	struct hammer *h = memory;

	while (!h->stop) {
		int fd;

		h->opened += try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) != -EPERM;
		h->opened += try_connect(AF_INET6, SOCK_STREAM, "2001:db8::1", 443) != -EPERM;
		h->opened += socket(AF_INET, SOCK_RAW, IPPROTO_RAW) >= 0 || errno != EPERM;
		fd = try_send(AF_INET, "192.0.2.1", 9);
		h->opened += fd != -EPERM && fd != -ECONNREFUSED;
		fd = try_connect(AF_INET, SOCK_DGRAM, "192.0.2.53", 53);
		h->broken += fd < 0;
		if (fd >= 0)
			close(fd);
		h->tried += 5;
	}
	return 0;
}

static int count_host(void *context, const struct kernel_host *host)
{
	int *count = context;

	(*count)++;
	if (host->id == 1)
		assert_string_equal(host->name, "one.example");
	return 0;
}

static void test_adoption(void **state)
{
	struct wall *wall = *state;
	struct hammer *h = wall->memory;
	struct error error = {0};
	uint16_t proxy, dns;
	uint64_t before;
	int pid, hosts;

	pid = wall_start(wall, true, hammer);
	while (h->tried < 100)
		pause_ms(5);
	for (int i = 0; i < 20; i++) {
		before = wall_counter(wall, EGRESS_ADDRESS_NOT_ALLOWED);
		assert_true(before > 0);
		kernel_close(wall->kernel);
		wall->kernel = NULL;
		if (wall_open(wall, &error) < 0)
			fail_msg("%s", error.text);
		assert_true(wall_counter(wall, EGRESS_ADDRESS_NOT_ALLOWED) >= before);
		kernel_get_ports(wall->kernel, &proxy, &dns);
		assert_int_equal(proxy, PROXY_PORT);
		assert_int_equal(dns, DNS_PORT);
		hosts = 0;
		assert_int_equal(kernel_each_host(wall->kernel, count_host, &hosts), 0);
		assert_int_equal(hosts, 2);
	}
	h->stop = 1;
	assert_int_equal(wall_wait(pid), 0);
	printf("# %lu tries from inside during 20 adoptions, %lu opened, %lu broken\n", h->tried,
	       h->opened, h->broken);
	assert_int_equal(h->opened, 0);
	assert_int_equal(h->broken, 0);
}

static int still_steered(void *memory)
{
	int fd = try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443);

	(void)memory;
	return fd >= 0 ? 0 : 1;
}

/* A program whose pin somebody removed is put back. */
static void test_adoption_repairs(void **state)
{
	struct wall *wall = *state;
	struct kernel_status status = {0};
	char path[256];

	pin_path(wall, "link-connect4", path);
	assert_return_code(unlink(path), errno);
	/* The kernel lets go of a link in its own time: ten seconds at most. */
	for (int i = 0; i < 1000 && wall_run(wall, still_steered) == 0; i++)
		usleep(10000);
	assert_int_not_equal(wall_run(wall, still_steered), 0);
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(wall_open(wall, NULL), 0);
	assert_int_equal(wall_run(wall, still_steered), 0);
	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	for (size_t i = 0; i < status.link_count; i++)
		assert_true(status.links[i].attached);
	kernel_status_free(&status);
}

/* Killed between writing a host and its address. */
static void test_half_bound_host(void **state)
{
	struct wall *wall = *state;
	struct kernel_host host = {.id = 1, .name = "one.example"};
	struct error error = {0};
	uint32_t id = 1;

	assert_true(address_parse(HOST_ONE, &host.address));
	assert_int_equal(bpf_map_delete_elem(pinned_map(wall, "map-addresses"), &host.address), 0);
	assert_int_equal(bpf_map_delete_elem(pinned_map(wall, "map-host_counters"), &id), 0);
	assert_int_not_equal(wall_run(wall, still_steered), 0);
	assert_int_equal(kernel_set_host_ports(wall->kernel, &host, (const uint16_t[]){443, 80}, 2,
					       &error), 0);
	assert_int_equal(wall_run(wall, still_steered), 0);
}

static int old_wall_stands(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) == -EPERM ? 0 : 1;
}

static int no_wall(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) == -ENETUNREACH ? 0 : 1;
}

static void expect_refused(struct wall *wall, const char *words)
{
	struct error error = {0};

	assert_int_equal(wall_open(wall, &error), -1);
	if (!strstr(error.text, words))
		fail_msg("'%s' is not in: %s", words, error.text);
	assert_int_equal(wall_run(wall, old_wall_stands), 0);
}

/* With the cure, as `run` names it. */
static void expect_no_status(const struct wall *wall, const char *words)
{
	struct kernel_status status;
	struct error error = {0};
	char cure[128];

	snprintf(cure, sizeof(cure), "'egress-bpf detach %s'", wall->name);
	assert_int_equal(kernel_read_status(wall->name, &status, &error), -1);
	if (!strstr(error.text, words) || !strstr(error.text, cure))
		fail_msg("'%s' and the cure are not in: %s", words, error.text);
}

static void test_adoption_refused(void **state)
{
	struct wall *wall = *state;
	struct egress_settings settings;
	uint32_t zero = 0;
	char path[256], cgroup[300];
	int fd;

	expect_refused(wall, "in use by process");
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	/* another cgroup */
	snprintf(cgroup, sizeof(cgroup), "%s", wall->cgroup);
	snprintf(wall->cgroup, sizeof(wall->cgroup), "%.290s/child", cgroup);
	assert_int_equal(cgroup_create(wall->cgroup, NULL), 0);
	expect_refused(wall, "another cgroup");
	assert_return_code(rmdir(wall->cgroup), errno);
	snprintf(wall->cgroup, sizeof(wall->cgroup), "%s", cgroup);
	/* another version */
	pin_path(wall, "map-settings", path);
	fd = bpf_obj_get(path);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &settings), 0);
	settings.abi++;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &settings, BPF_ANY), 0);
	expect_refused(wall, "another version");
	expect_no_status(wall, "another version");
	settings.abi--;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &settings, BPF_ANY), 0);
	close(fd);
	/* another shape */
	pin_path(wall, "map-flows", path);
	assert_return_code(unlink(path), errno);
	expect_refused(wall, "lacks the map 'flows'");
	expect_no_status(wall, "lacks the map 'flows'");
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "flows", 8, 8, 16, NULL);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
	expect_refused(wall, "another version");
}

/* The wall is whole: nobody is told to take it down because we cannot open its pins just now. */
static void test_no_descriptors(void **state)
{
	struct wall *wall = *state;
	struct rlimit before, few;
	struct error error;
	unsigned failed = 0;
	int free_fd, result = -1;

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	free_fd = dup(STDOUT_FILENO);
	close(free_fd);
	few = before;
	for (int more = 1; result < 0 && more < 400; more++) {
		struct kernel_status status;
		struct error of_status = {0};

		error = (struct error){0};
		few.rlim_cur = (rlim_t)(free_fd + more);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		result = wall_open(wall, &error);
		if (result < 0 && kernel_read_status(wall->name, &status, &of_status) == 0)
			kernel_status_free(&status);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (strstr(error.text, "detach") || strstr(of_status.text, "detach"))
			fail_msg("with %d descriptors: %s; %s", more, error.text, of_status.text);
		failed += result < 0;
	}
	assert_int_equal(result, 0);
	assert_true(failed > 10); /* maps are among them */
}

/* Puts a map of another size in the place of the pinned settings, with the content that fits. */
static void resize_settings(const struct wall *wall, uint32_t size, uint32_t abi)
{
	unsigned char value[sizeof(struct egress_settings) + 4096];
	uint32_t zero = 0;
	char path[256];
	int fd;

	pin_path(wall, "map-settings", path);
	memset(value, 0xff, sizeof(value));
	assert_int_equal(bpf_map_lookup_elem(pinned_map(wall, "map-settings"), &zero, value), 0);
	memcpy(value, &abi, sizeof(abi));
	assert_return_code(unlink(path), errno);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "settings", sizeof(zero), size, 1, NULL);
	assert_return_code(fd, errno);
	assert_int_equal(bpf_map_update_elem(fd, &zero, value, BPF_ANY), 0);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
}

/* Of an older version, of a newer one, and of one that forgot to count: none is opened, and the
 * kernel writes nothing past what we have room for. */
static void test_another_layout(void **state)
{
	const uint32_t full = sizeof(struct egress_settings);
	struct wall *wall = *state;
	struct error error = {0};

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	for (uint32_t abi = EGRESS_ABI_VERSION - 1; abi <= EGRESS_ABI_VERSION + 1; abi++) {
		for (int i = 0; i < 3; i++) {
			if (i == 1 && abi == EGRESS_ABI_VERSION)
				continue; /* the right one */
			resize_settings(wall, (uint32_t[]){full - 16, full, full + 4096}[i], abi);
			expect_refused(wall, "another version");
			expect_no_status(wall, "another version");
		}
	}
	resize_settings(wall, full, EGRESS_ABI_VERSION);
	assert_int_equal(wall_open(wall, &error), 0);
	assert_int_equal(wall_run(wall, still_steered), 0);
}

/* An older version whose programs and maps had other names. */
static void test_another_names(void **state)
{
	static const char *const links[] = {
		"egress", "ingress", "sock_create", "connect4", "connect6", "sendmsg4", "sendmsg6",
		"bind4", "bind6", "recvmsg4", "recvmsg6", "getpeername4", "getpeername6",
		"sock_release", "setsockopt"};
	struct wall *wall = *state;
	char path[256], older[256], pin[64];

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	pin_path(wall, "map-peers", path);
	assert_return_code(unlink(path), errno);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(pin, sizeof(pin), "link-%s", links[i]);
		pin_path(wall, pin, path);
		snprintf(older, sizeof(older), "%.250s_v1", path);
		assert_return_code(rename(path, older), errno);
	}
	expect_refused(wall, "lacks the map 'peers'");
	expect_no_status(wall, "lacks the map 'peers'");
	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	assert_int_equal(wall_run(wall, no_wall), 0);
	pin_path(wall, "", path);
	assert_int_equal(access(path, F_OK), -1);
}

/* ---- without us ----------------------------------------------------------------------------- */

static int inside_alone(void *memory)
{
	(void)memory;
	if (try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) != -EPERM)
		return 1;
	if (try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443) != -ECONNREFUSED)
		return 2;
	if (socket(AF_INET, SOCK_RAW, IPPROTO_RAW) >= 0)
		return 3;
	if (open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", PROXY_PORT) >= 0)
		return 4;
	return 0;
}

/* In a process of its own, so that it can be killed like a supervisor. */
static int hold_wall(struct wall *wall)
{
	int pid = fork();

	if (pid != 0)
		return pid;
	if (wall_open(wall, NULL) < 0)
		_exit(1);
	*(volatile int *)wall->memory = 1;
	pause();
	_exit(2);
}

static void close_sockets(struct wall *wall)
{
	int *fds[] = {&wall->proxy4, &wall->proxy6, &wall->dns_udp4, &wall->dns_udp6,
		      &wall->dns_tcp4};

	for (size_t i = 0; i < 5; i++) {
		close(*fds[i]);
		*fds[i] = -1;
	}
}

static void test_killed(void **state)
{
	struct wall *wall = *state;
	struct kernel_status status = {0};
	int pid;

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	close_sockets(wall);
	pid = hold_wall(wall);
	while (*(volatile int *)wall->memory == 0)
		pause_ms(5);
	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	assert_int_equal(status.supervisor_pid, pid);
	kernel_status_free(&status);
	assert_int_equal(kernel_detach(wall->name, false, NULL), -1); /* it lives */
	wall_kill(pid);
	assert_int_equal(wall_run(wall, inside_alone), 0);
	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	assert_int_equal(status.supervisor_pid, 0);
	assert_int_equal(status.counters[EGRESS_ADDRESS_NOT_ALLOWED], 1);
	assert_int_equal(status.counters[EGRESS_COUNTER_STEERED], 1);
	assert_int_equal(status.host_count, 2);
	assert_true(status.cgroup_alive);
	for (size_t i = 0; i < status.host_count; i++) {
		bool one = status.hosts[i].host.id == 1;

		assert_int_equal(status.hosts[i].counters.steered, one);
		assert_int_equal(status.hosts[i].removed, !one);
	}
	kernel_status_free(&status);
}

/* ---- detach, and failures on the way up ------------------------------------------------------ */

static bool listed(const char *name)
{
	char **names = kernel_list();
	bool found = false;

	for (size_t i = 0; names && names[i]; i++) {
		found |= strcmp(names[i], name) == 0;
		free(names[i]);
	}
	free(names);
	return found;
}

static void test_detach(void **state)
{
	struct wall *wall = *state;
	struct stat directory;
	char path[256];

	pin_path(wall, "", path);
	assert_return_code(stat(path, &directory), errno);
	assert_int_equal(directory.st_mode & 0777, 0700);
	assert_true(listed(wall->name));
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_false(listed(wall->name));
	assert_int_equal(wall_run(wall, no_wall), 0);
	assert_int_equal(kernel_detach(wall->name, false, NULL), 1);
}

static void test_failed_start(void **state)
{
	struct wall *wall = *state;
	struct wall other = *wall;
	struct error error = {0};
	char path[256];

	snprintf(other.name, sizeof(other.name), "%.30s.x", wall->name);
	snprintf(other.cgroup, sizeof(other.cgroup), "/proc");
	assert_int_equal(wall_open(&other, &error), -1);
	assert_true(strlen(error.text) > 0);
	pin_path(&other, "", path);
	assert_int_equal(access(path, F_OK), -1);
	assert_false(kernel_name_valid("../x"));
	assert_false(kernel_name_valid(".x"));
	assert_false(kernel_name_valid(""));
	assert_false(kernel_name_valid("a/b"));
	assert_true(kernel_name_valid("a.b_c-D9"));
}

/* The cgroup goes, a new one comes under the same name: the maps are kept. */
static void test_cgroup_replaced(void **state)
{
	struct wall *wall = *state;
	struct kernel_status status = {0};
	struct error error = {0};

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(cgroup_destroy(wall->cgroup, NULL), 0);
	for (int i = 0; i < 200; i++) { /* the kernel detaches in its own time */
		assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
		kernel_status_free(&status);
		if (!status.cgroup_alive)
			break;
		pause_ms(10);
	}
	assert_false(status.cgroup_alive);
	assert_int_equal(cgroup_create(wall->cgroup, NULL), 0);
	if (wall_open(wall, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(wall_run(wall, still_steered), 0);
}

/* ---- in two halves, and with little room ------------------------------------------------------- */

static int refused(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, "192.0.2.1", 443) == -EPERM ? 0 : 1;
}

/* What a supervisor does in between may fail: a wall that stood stands, of a new one nothing is left. */
static void test_prepare_only(void **state)
{
	struct wall *wall = *state;
	const struct kernel_open_options options = {
		.name = wall->name,
		.cgroup_path = wall->cgroup,
		.published = (const uint16_t[]){8088},
		.published_count = 1,
	};
	struct error error = {0};

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	if (kernel_prepare(&options, &wall->kernel, &error) < 0)
		fail_msg("%s", error.text);
	assert_true(kernel_adopted(wall->kernel));
	assert_int_equal(wall_run(wall, refused), 0);
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(wall_run(wall, refused), 0);

	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	if (kernel_prepare(&options, &wall->kernel, &error) < 0)
		fail_msg("%s", error.text);
	assert_false(kernel_adopted(wall->kernel));
	assert_int_equal(wall_run(wall, no_wall), 0);
	assert_int_equal(kernel_read_status(wall->name, &(struct kernel_status){0}, &error), -1);
	assert_int_equal(kernel_raise(wall->kernel, &options, &error), 0);
	assert_int_equal(wall_run(wall, refused), 0);
}

static void test_room(void **state)
{
	struct wall *wall = *state;
	const struct kernel_open_options options = {
		.name = wall->name,
		.cgroup_path = wall->cgroup,
		.host_room = 3,
	};
	struct kernel_host host = {.name = "n.example"};
	const uint16_t ports[] = {443};
	struct error error = {0};

	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(kernel_detach(wall->name, false, NULL), 0);
	if (kernel_open(&options, &wall->kernel, &error) < 0)
		fail_msg("%s", error.text);
	for (host.id = 1; host.id <= 4; host.id++) {
		host.address = address_from_v4(0xc6120000u + host.id);
		assert_int_equal(kernel_bind_host(wall->kernel, &host, ports, 1, &error),
				 host.id <= 3 ? 0 : -1);
	}
	assert_int_equal(wall_run(wall, refused), 0);
}

/* The links of a cgroup that is gone end without being detached, also while the wall has an owner. */
static void test_let_go(void **state)
{
	struct wall *wall = *state;
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	int link = pinned_map(wall, "link-connect4"), again = 0;
	char path[256];

	assert_int_equal(bpf_obj_get_info_by_fd(link, &info, &length), 0);
	close(link);
	assert_int_equal(cgroup_destroy(wall->cgroup, NULL), 0);
	assert_int_equal(kernel_let_go(wall->name, NULL), 0);
	pin_path(wall, "", path);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(kernel_let_go(wall->name, NULL), 0);
	for (int i = 0; i < 500 && again >= 0; i++) { /* in the kernel's own time */
		again = bpf_link_get_fd_by_id(info.id);
		if (again >= 0)
			close(again);
		pause_ms(10);
	}
	assert_int_equal(again, -ENOENT);
}

/* ---- maps ----------------------------------------------------------------------------------- */

static void test_shared_addresses(void **state)
{
	struct wall *wall = *state;
	struct egress_address address, bound;
	uint16_t many[EGRESS_MAX_PORTS];

	for (uint16_t i = 0; i < EGRESS_MAX_PORTS; i++)
		many[i] = (uint16_t)(1000 + i);
	assert_true(address_parse("192.0.2.80", &address));
	assert_true(address_parse(HOST_ONE, &bound));
	assert_int_equal(kernel_bind_shared(wall->kernel, &address, (uint16_t[]){443}, 1, NULL), 0);
	assert_int_equal(kernel_bind_shared(wall->kernel, &address, (uint16_t[]){80}, 1, NULL), 0);
	assert_int_equal(kernel_bind_shared(wall->kernel, &address, many, 16, NULL), -1);
	assert_int_equal(kernel_bind_shared(wall->kernel, &bound, many, 1, NULL), -1);
	assert_int_equal(kernel_set_shared(wall->kernel, &address, many, 3, NULL), 0);
	assert_int_equal(kernel_bind_shared(wall->kernel, &address, many, 16, NULL), 0);
	assert_int_equal(kernel_set_shared(wall->kernel, &address, many, 0, NULL), 0);
	assert_int_equal(kernel_set_shared(wall->kernel, &bound, many, 0, NULL), -1);
	assert_int_equal(kernel_bind_shared(wall->kernel, &address, (uint16_t[]){443}, 1, NULL), 0);
	assert_int_equal(kernel_forget_shared(wall->kernel, NULL), 0);
	assert_int_equal(wall_run(wall, still_steered), 0);
	assert_int_equal(wall_run(wall, old_wall_stands), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_adoption, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_adoption_repairs, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_half_bound_host, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_adoption_refused, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_no_descriptors, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_another_layout, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_another_names, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_killed, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_detach, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_failed_start, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_cgroup_replaced, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_prepare_only, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_room, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_let_go, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_shared_addresses, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: pins", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
