// SPDX-License-Identifier: BSD-2-Clause
/* The proxy's answer to 'who asked for what' is never somebody else's. */
#include "wall.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 4
#define CONNECTIONS 1500 /* of each client */

/* What a client says on each connection: what it asked for. */
struct claim {
	uint32_t address; /* network order; 127.0.0.1: the proxy itself */
	uint32_t host_id;
	uint16_t port;
	uint16_t fast_open;
	uint32_t pid;
};

struct tally {
	volatile int failed, last_error;
};

static struct claim pick(unsigned *seed)
{
	struct claim claim = {.pid = (uint32_t)getpid()};
	unsigned kind = (unsigned)rand_r(seed) % 4;

	claim.address = inet_addr(HOST_ONE);
	claim.host_id = 1;
	claim.port = rand_r(seed) % 2 ? 443 : 80;
	if (kind == 1 || kind == 2) {
		claim.address = htonl(0xcb007100u + (unsigned)rand_r(seed) % 256);
		claim.host_id = 0;
		claim.port = 6379;
	} else if (kind == 3) {
		claim.address = htonl(INADDR_LOOPBACK);
		claim.host_id = 0;
		claim.port = PROXY_PORT;
	}
	claim.fast_open = (uint16_t)(rand_r(seed) % 2);
	return claim;
}

/* Waits for the proxy's close, so that the port is soon used again by the next. */
static int one_connection(const struct claim *claim)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(claim->port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), result = 0;
	char end;

	to.sin_addr.s_addr = claim->address;
	if (fd < 0)
		return errno;
	if (claim->fast_open) {
		if (sendto(fd, claim, sizeof(*claim), MSG_FASTOPEN, (void *)&to, sizeof(to)) !=
		    sizeof(*claim))
			result = errno;
	} else if (connect(fd, (void *)&to, sizeof(to)) < 0 ||
		   send(fd, claim, sizeof(*claim), 0) != sizeof(*claim)) {
		result = errno;
	}
	if (result == 0 && recv(fd, &end, 1, 0) != 0)
		result = errno ? errno : EPROTO;
	close(fd);
	return result;
}

static int client(void *memory)
{
	struct tally *tally = memory;
	unsigned seed = (unsigned)getpid();

	for (int i = 0; i < CONNECTIONS; i++) {
		struct claim claim = pick(&seed);
		int error = one_connection(&claim);

		if (error) {
			tally->last_error = error;
			__sync_fetch_and_add(&tally->failed, 1);
		}
	}
	return 0;
}

static bool truthful(const struct wall *wall, int fd, unsigned *fast)
{
	struct egress_address asked;
	struct egress_flow flow;
	struct claim claim;
	int found = take_flow_of(wall, fd, &flow);

	if (recv(fd, &claim, sizeof(claim), MSG_WAITALL) != sizeof(claim) || found < 0)
		return false;
	*fast += claim.fast_open;
	if (claim.port == PROXY_PORT)
		return found == 1 && flow.host_id == EGRESS_HOST_EXPLICIT &&
		       flow.process.tgid == claim.pid;
	asked = address_from_v4(ntohl(claim.address));
	return found == 1 && memcmp(&asked, &flow.destination, sizeof(asked)) == 0 &&
	       flow.destination_port == claim.port && flow.host_id == claim.host_id &&
	       flow.process.tgid == claim.pid;
}

static void write_sysctl(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

static unsigned fast_open_count(const struct wall *wall)
{
	char names[8192], values[8192];
	unsigned result = 0;
	FILE *file;

	wall_enter(wall);
	file = fopen("/proc/thread-self/net/netstat", "re");
	while (file && fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		char *a, *b, *name = strtok_r(names, " \n", &a), *value = strtok_r(values, " \n", &b);

		for (; name && value; name = strtok_r(NULL, " \n", &a), value = strtok_r(NULL, " \n", &b))
			if (strcmp(name, "TCPFastOpenPassive") == 0)
				result = (unsigned)strtoul(value, NULL, 10);
	}
	if (file)
		fclose(file);
	wall_leave(wall);
	return result;
}

static unsigned serve(const struct wall *wall, unsigned *wrong, unsigned *fast)
{
	struct pollfd listener = {.fd = wall->proxy4, .events = POLLIN};
	unsigned served = 0;

	while (served < CLIENTS * CONNECTIONS && poll(&listener, 1, 3000) == 1) {
		int fd = accept4(wall->proxy4, NULL, NULL, SOCK_CLOEXEC);

		assert_true(fd >= 0);
		*wrong += !truthful(wall, fd, fast);
		close(fd);
		served++;
	}
	return served;
}

/* Few source ports, so that each is used by one destination after another. */
static void test_parallel(void **state)
{
	struct wall *wall = *state;
	struct tally *tally = wall->memory;
	unsigned wrong = 0, fast = 0, served;
	int pids[CLIENTS], queue = 1024;

	assert_return_code(setsockopt(wall->proxy4, IPPROTO_TCP, TCP_FASTOPEN, &queue,
				      sizeof(queue)), errno);
	wall_enter(wall);
	write_sysctl("/proc/sys/net/ipv4/tcp_fastopen", "1543"); /* both sides, no cookie asked */
	write_sysctl("/proc/sys/net/ipv4/ip_local_port_range", "40000 40500");
	wall_leave(wall);
	for (int i = 0; i < CLIENTS; i++)
		pids[i] = wall_start(wall, true, client);
	served = serve(wall, &wrong, &fast);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(wall_wait(pids[i]), 0);
	printf("# %u connections, %u by Fast Open (the kernel counts %u), %u wrong, %d failed\n",
	       served, fast, fast_open_count(wall), wrong, tally->failed);
	if (tally->failed)
		fail_msg("%d connections failed: %s", tally->failed, strerror(tally->last_error));
	assert_int_equal(served, CLIENTS * CONNECTIONS);
	assert_int_equal(wrong, 0);
	assert_true(fast_open_count(wall) > 1000);
}

/* ---- with the descriptor and nothing else ---------------------------------------------------- */

static int take_unprivileged(const struct wall *wall)
{
	struct egress_flow_key key = {.protocol = IPPROTO_TCP};
	struct egress_flow flow;

	if (setresuid(65534, 65534, 65534) < 0)
		return 1;
	return kernel_take_flow(kernel_flows_fd(wall->kernel), &key, &flow) == 0 ? 0 : 2;
}

static void test_unprivileged(void **state)
{
	struct wall *wall = *state;
	int pid = fork();

	if (pid == 0)
		_exit(take_unprivileged(wall));
	assert_int_equal(wall_wait(pid), 0);
}

/* ---- a full table refuses, it does not forget ------------------------------------------------ */

static int steered_times_out(void *memory)
{
	(void)memory;
	return try_connect(AF_INET, SOCK_STREAM, HOST_ONE, 443) == -EINPROGRESS ? 0 : 1;
}

static void test_full_table(void **state)
{
	struct wall *wall = *state;
	struct egress_flow_key key = {.protocol = IPPROTO_TCP, .netns_cookie = 1};
	struct egress_flow flow = {0};
	int fd = kernel_flows_fd(wall->kernel), filled = 0;

	for (uint32_t i = 0; i < EGRESS_MAX_FLOWS; i++) {
		key.source = address_from_v4(i);
		filled += bpf_map_update_elem(fd, &key, &flow, BPF_NOEXIST) == 0;
	}
	assert_int_equal(filled, EGRESS_MAX_FLOWS);
	assert_int_equal(wall_run(wall, steered_times_out), 0);
	assert_true(wall_counter(wall, EGRESS_LIMIT) > 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_parallel, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_unprivileged, wall_setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_full_table, wall_setup, wall_teardown),
	};

	return cmocka_run_group_tests_name("kernel: flows", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
