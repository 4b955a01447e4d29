// SPDX-License-Identifier: BSD-2-Clause
#include "wall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bottle_let_in.h"
#include "cgroup.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int walls_made;

static void wall_names(struct wall *wall, int pid, int number)
{
	char *root = NULL;

	if (cgroup_root(&root, NULL) < 0)
		exit(99);
	snprintf(wall->name, sizeof(wall->name), "ktest.%d-%d", pid, number);
	snprintf(wall->cgroup, sizeof(wall->cgroup), "%s/egress-%s", root, wall->name);
	free(root);
}

/* ---- namespaces and processes --------------------------------------------------------------- */

void address_up(const char *interface)
{
	struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		fail_msg("%s up: %s", interface, strerror(errno));
	close(fd);
}

void wall_enter(const struct wall *wall)
{
	assert_return_code(setns(wall->netns, CLONE_NEWNET), errno);
}

void wall_leave(const struct wall *wall)
{
	assert_return_code(setns(wall->home, CLONE_NEWNET), errno);
}

static void join_cgroup(const char *path)
{
	char file[400];
	int fd;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(98);
	close(fd);
}

int wall_start(struct wall *wall, bool inside, int (*body)(void *memory))
{
	int pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(300); /* thousands of connections take their time in an emulated machine */
	if (inside)
		join_cgroup(wall->cgroup);
	if (setns(wall->netns, CLONE_NEWNET) < 0)
		_exit(97);
	_exit(body(wall->memory));
}

int wall_wait(int pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void wall_kill(int pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int wall_run(struct wall *wall, int (*body)(void *memory))
{
	return wall_wait(wall_start(wall, true, body));
}

int wall_run_outside(struct wall *wall, int (*body)(void *memory))
{
	return wall_wait(wall_start(wall, false, body));
}

/* ---- sockets -------------------------------------------------------------------------------- */

struct sockaddr_storage sockaddr_of(int family, const char *address, uint16_t port)
{
	struct sockaddr_storage storage = {.ss_family = (sa_family_t)family};
	struct sockaddr_in6 *in6 = (void *)&storage;
	struct sockaddr_in *in = (void *)&storage;

	if (family == AF_INET)
		in->sin_port = htons(port);
	else
		in6->sin6_port = htons(port);
	if (inet_pton(family, address, family == AF_INET ? (void *)&in->sin_addr
							 : (void *)&in6->sin6_addr) != 1)
		abort();
	return storage;
}

static socklen_t length_of(int family)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

int try_connect(int family, int type, const char *address, uint16_t port)
{
	struct sockaddr_storage to = sockaddr_of(family, address, port);
	struct timeval patience = {.tv_sec = 1};
	int fd = socket(family, type | SOCK_CLOEXEC, 0), saved;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (void *)&to, length_of(family)) == 0)
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

int try_send(int family, const char *address, uint16_t port)
{
	struct sockaddr_storage to = sockaddr_of(family, address, port);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), saved;

	if (fd < 0)
		return -errno;
	saved = sendto(fd, "x", 1, 0, (void *)&to, length_of(family)) == 1 ? 0 : errno;
	close(fd);
	return -saved;
}

void be_patient(int fd)
{
	struct timeval patience = {.tv_sec = 20};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

int open_listener(int family, int type, const char *address, uint16_t port)
{
	struct sockaddr_storage at = sockaddr_of(family, address, port);
	int fd = socket(family, type | SOCK_CLOEXEC, 0), one = 1, saved;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (void *)&at, length_of(family)) == 0 &&
	    (type != SOCK_STREAM || listen(fd, 4096) == 0))
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

int take_flow_of(const struct wall *wall, int accepted, struct egress_flow *ret_flow)
{
	struct egress_flow_key key = {.protocol = IPPROTO_TCP};
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer), cookie_length = sizeof(key.netns_cookie);

	if (getpeername(accepted, (void *)&peer, &length) < 0 ||
	    !address_from_sockaddr((void *)&peer, &key.source, &key.source_port) ||
	    getsockopt(accepted, SOL_SOCKET, SO_NETNS_COOKIE, &key.netns_cookie, &cookie_length) < 0)
		return -1;
	return kernel_take_flow(kernel_flows_fd(wall->kernel), &key, ret_flow);
}

/* ---- the wall ------------------------------------------------------------------------------- */

int wall_open(struct wall *wall, struct error *error)
{
	struct kernel_open_options options = {
		.name = wall->name,
		.cgroup_path = wall->cgroup,
		.shared_netns = wall->shared,
		.published = (const uint16_t[]){8088},
		.published_count = 1,
		.supervisor_pid = (uint32_t)getpid(),
		.unix_wall = wall->let_in,
		.unix_broker = wall->unix_broker,
		.let_in_count = wall->let_in ? 1 : 0,
		.root_wall = wall->root_wall,
		.pid_namespace = wall->pid_namespace,
	};
	struct egress_unix_file let_in;

	if (wall->let_in && bottle_let_in_find(wall->let_in, &let_in, error) < 0)
		return -1;
	options.let_in = &let_in;
	return kernel_open(&options, &wall->kernel, error);
}

static void open_sockets(struct wall *wall)
{
	int fds[5];

	wall_enter(wall);
	fds[0] = wall->proxy4 = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", PROXY_PORT);
	fds[1] = wall->proxy6 = open_listener(AF_INET6, SOCK_STREAM, "::1", PROXY_PORT);
	fds[2] = wall->dns_udp4 = open_listener(AF_INET, SOCK_DGRAM, "127.0.0.1", DNS_PORT);
	fds[3] = wall->dns_udp6 = open_listener(AF_INET6, SOCK_DGRAM, "::1", DNS_PORT);
	fds[4] = wall->dns_tcp4 = open_listener(AF_INET, SOCK_STREAM, "127.0.0.1", DNS_PORT);
	wall_leave(wall);
	for (int i = 0; i < 5; i++) {
		assert_return_code(fds[i], -fds[i]);
		assert_int_equal(kernel_mark_listener(wall->kernel, fds[i], NULL), 0);
	}
	assert_int_equal(kernel_set_ports(wall->kernel, PROXY_PORT, DNS_PORT, NULL), 0);
}

static void bind_host(struct wall *wall, uint32_t id, const char *name, const char *address,
		      const uint16_t *ports, size_t count)
{
	struct kernel_host host = {.id = id};

	snprintf(host.name, sizeof(host.name), "%s", name);
	assert_true(address_parse(address, &host.address));
	assert_int_equal(kernel_bind_host(wall->kernel, &host, ports, count, NULL), 0);
}

void wall_allow(struct wall *wall)
{
	struct egress_target targets[3] = {
		{.port_count = 1, .ports = {6379}},
		{.port_count = 1, .ports = {6379}},
		{.port_count = 2, .ports = {7000, 1222}, .flags = EGRESS_TARGET_DIRECT},
	};
	struct egress_cidr_key keys[3] = {
		{.prefix_length = 120}, {.prefix_length = 48}, {.prefix_length = 120}};
	struct egress_address shared;

	assert_true(address_parse(STEERED_NET, &keys[0].address));
	assert_true(address_parse(STEERED_NET6, &keys[1].address));
	assert_true(address_parse(DIRECT_NET, &keys[2].address));
	assert_int_equal(kernel_set_cidrs(wall->kernel, keys, targets, 3, NULL), 0);
	bind_host(wall, 1, "one.example", HOST_ONE, (const uint16_t[]){443, 80}, 2);
	bind_host(wall, 9, "gone.example", HOST_GONE, NULL, 0);
	assert_true(address_parse(SHARED_ADDRESS, &shared));
	assert_int_equal(kernel_bind_shared(wall->kernel, &shared, (uint16_t[]){443}, 1, NULL), 0);
}

/* `kind`: what it is to be unlike others in. */
static int setup(void **state, const struct wall *kind)
{
	struct wall *wall = calloc(1, sizeof(*wall));
	struct error error = {0};

	if (!wall)
		return -1;
	*wall = *kind;
	wall->proxy4 = wall->proxy6 = wall->dns_udp4 = wall->dns_udp6 = wall->dns_tcp4 = -1;
	wall_names(wall, getppid(), walls_made++);
	wall->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	wall->memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			    0);
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	address_up("lo");
	wall->netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	wall_leave(wall);
	if (cgroup_create(wall->cgroup, &error) < 0 || wall_open(wall, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	open_sockets(wall);
	wall_allow(wall);
	*state = wall;
	return 0;
}

int wall_setup(void **state)
{
	return setup(state, &(struct wall){0});
}

int wall_setup_shared(void **state)
{
	return setup(state, &(struct wall){.shared = true});
}

int wall_setup_unix(void **state, const char *let_in, bool broker)
{
	return setup(state, &(struct wall){.let_in = let_in, .unix_broker = broker});
}

int wall_setup_root(void **state, uint32_t pid_namespace)
{
	return setup(state, &(struct wall){.root_wall = true, .pid_namespace = pid_namespace});
}

int wall_teardown(void **state)
{
	struct wall *wall = *state;
	struct error error = {0};
	int fds[] = {wall->proxy4,   wall->proxy6,   wall->dns_udp4, wall->dns_udp6,
		     wall->dns_tcp4, wall->netns, wall->home};
	int result;

	wall_leave(wall);
	kernel_close(wall->kernel);
	result = (kernel_detach(wall->name, true, &error) < 0) | cgroup_destroy(wall->cgroup, &error);
	if (result)
		fprintf(stderr, "%s\n", error.text);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	munmap(wall->memory, 1 << 20);
	free(wall);
	return result;
}

int wall_wait_for(volatile int *flag)
{
	for (int i = 0; i < 500; i++) {
		if (*flag)
			return *flag;
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	}
	return 0;
}

uint64_t wall_counter(const struct wall *wall, unsigned index)
{
	struct kernel_status status = {0};
	uint64_t value;

	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	value = status.counters[index];
	kernel_status_free(&status);
	return value;
}

long set_option32(int fd, int level, int name, void *value, size_t size)
{
#ifdef __x86_64__
	long result = 366; /* of asm/unistd_32.h */

	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"(fd), "c"(level), "d"(name), "S"(value), "D"(size)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
#else
	return setsockopt(fd, level, name, value, (socklen_t)size) < 0 ? -errno : 0;
#endif
}

/* A kernel without them ends who makes one; elsewhere than on x86-64 this program makes none. */
bool takes_32bit_calls(void)
{
#ifdef __x86_64__
	int status, pid = fork();

	if (pid == 0)
		_exit(set_option32(-1, 0, 0, NULL, 0) == -EBADF ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
#else
	return false;
#endif
}

static volatile sig_atomic_t runner;

static void forward(int signal_number)
{
	(void)signal_number;
	if (runner > 0)
		kill(runner, SIGKILL);
}

int wall_main(int (*run)(void))
{
	int status = 0, pid;

	if (geteuid() != 0) {
		printf("1..1\nnot root\nok 1 - kernel # SKIP not root\n");
		return 0;
	}
	signal(SIGTERM, forward);
	signal(SIGINT, forward);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(run());
	}
	runner = pid;
	waitpid(pid, &status, 0);
	for (int i = 0; i < 100; i++) {
		struct wall wall = {0};

		wall_names(&wall, getpid(), i);
		if (kernel_detach(wall.name, true, NULL) < 0 ||
		    cgroup_destroy(wall.cgroup, NULL) < 0)
			status = 1 << 8;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
