// SPDX-License-Identifier: BSD-2-Clause
/* Unix sockets: both ends in the bottle, or neither. */
#include "wall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "bottle_let_in.h"

static char directory[] = "/tmp/egress-ktest-unix-XXXXXX";
static int let_in_socket;

/* A name that begins with '@' is abstract. */
static socklen_t unix_address(const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (*name == '@')
		return (socklen_t)(sizeof(sa_family_t) +
				   (size_t)snprintf(ret->sun_path + 1, 40, "%s%s", directory, name));
	snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", directory, name);
	return sizeof(*ret);
}

static int listen_at(const char *name, int type)
{
	struct sockaddr_un address;
	socklen_t length = unix_address(name, &address);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&address, length) < 0 ||
	    (type != SOCK_DGRAM && listen(fd, 8) < 0))
		return -errno;
	return fd;
}

static int call(const char *name, int type)
{
	struct sockaddr_un address;
	socklen_t length = unix_address(name, &address);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int result = connect(fd, (void *)&address, length) < 0 ? errno : 0;

	close(fd);
	return result;
}

static int send_to(const char *name)
{
	struct sockaddr_un address;
	socklen_t length = unix_address(name, &address);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result = sendto(fd, "x", 1, 0, (void *)&address, length) < 0 ? errno : 0;

	close(fd);
	return result;
}

/* ---- fixture -------------------------------------------------------------------------------- */

static int set_up(void **state, bool broker)
{
	char path[80];

	if (!mkdtemp(directory) || (let_in_socket = listen_at("let-in", SOCK_STREAM)) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/let-in", directory);
	return wall_setup_unix(state, path, broker);
}

static int setup(void **state)
{
	return set_up(state, false);
}

static int setup_brokered(void **state)
{
	return set_up(state, true);
}

static int teardown(void **state)
{
	char command[80];
	int result = wall_teardown(state);

	close(let_in_socket);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	if (system(command) != 0)
		result = -1;
	memcpy(strrchr(directory, '-') + 1, "XXXXXX", 6);
	return result;
}

/* Kernels without BTF or trampolines: the wall is up without this part, and says so. */
static void need_unix_wall(const struct wall *wall)
{
	const char *missing = kernel_unix_missing(wall->kernel);
	struct kernel_status status;
	struct error error = {0};

	assert_true((kernel_unix_probe(&error) == 0) == !missing);
	assert_int_equal(kernel_read_status(wall->name, &status, &error), 0);
	assert_int_equal(status.settings.unix_wall,
			 missing ? EGRESS_UNIX_UNABLE : EGRESS_UNIX_WALLED);
	for (size_t i = 0; i < status.link_count; i++)
		assert_true(status.links[i].attached);
	kernel_status_free(&status);
	if (missing) {
		printf("%s\n", missing);
		skip();
	}
}

/* ---- tests ---------------------------------------------------------------------------------- */

static int own_sockets(void *memory)
{
	int pair[2];

	(void)memory;
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_STREAM) {
		char name[] = {'o', (char)('0' + type), 0}, abstract[] = {'@', (char)('0' + type), 0};

		if (listen_at(name, type) < 0 || listen_at(abstract, type) < 0)
			return 1;
		if (call(name, type) != 0 || call(abstract, type) != 0)
			return 2;
	}
	if (listen_at("dgram", SOCK_DGRAM) < 0 || call("dgram", SOCK_DGRAM) || send_to("dgram"))
		return 3;
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 || write(pair[0], "x", 1) != 1)
		return 4;
	return call("let-in", SOCK_STREAM) == 0 ? 0 : 5;
}

static void test_own_and_let_in(void **state)
{
	struct wall *wall = *state;

	need_unix_wall(wall);
	assert_int_equal(wall_run(wall, own_sockets), 0);
	assert_int_equal(wall_counter(wall, EGRESS_SOCKET_NOT_ALLOWED), 0);
}

static int reach_outside(void *memory)
{
	(void)memory;
	if (call("stream", SOCK_STREAM) != EPERM || call("packet", SOCK_SEQPACKET) != EPERM)
		return 1;
	if (call("dgram", SOCK_DGRAM) != EPERM || send_to("dgram") != EPERM)
		return 2;
	return 0;
}

static void see_denial(void *context, const struct egress_denial *denial)
{
	const struct egress_unix_denial *event = (const void *)denial;
	int *seen = context;

	assert_int_equal(denial->hook, EGRESS_HOOK_UNIX_OUT);
	assert_int_equal(denial->reason, EGRESS_SOCKET_NOT_ALLOWED);
	assert_true(denial->process.tgid > 0);
	assert_memory_equal(event->path, directory, strlen(directory));
	++*seen;
}

static void test_younger_sockets_outside(void **state)
{
	struct wall *wall = *state;
	int seen = 0, sockets[] = {listen_at("stream", SOCK_STREAM), listen_at("dgram", SOCK_DGRAM),
				   listen_at("packet", SOCK_SEQPACKET)};

	need_unix_wall(wall);
	assert_int_equal(wall_run(wall, reach_outside), 0);
	assert_int_equal(wall_counter(wall, EGRESS_SOCKET_NOT_ALLOWED), 4);
	assert_int_equal(kernel_read_denials(wall->kernel, see_denial, &seen), 4);
	assert_int_equal(seen, 4);
	assert_int_equal(call("stream", SOCK_STREAM), 0); /* from here, all as ever */
	assert_int_equal(send_to("dgram"), 0);
	for (int i = 0; i < 3; i++)
		close(sockets[i]);
}

static int serve_inside(void *memory)
{
	if (listen_at("inside", SOCK_STREAM) < 0 || listen_at("inside-dgram", SOCK_DGRAM) < 0)
		return 1;
	*(volatile int *)memory = 1;
	pause();
	return 0;
}

static void test_from_outside(void **state)
{
	struct wall *wall = *state;
	int pid = wall_start(wall, true, serve_inside);

	for (int i = 0; i < 500 && !*(volatile int *)wall->memory; i++)
		usleep(10000);
	if (!kernel_unix_missing(wall->kernel)) {
		assert_int_equal(call("inside", SOCK_STREAM), EPERM);
		assert_int_equal(send_to("inside-dgram"), EPERM);
		assert_int_equal(wall_counter(wall, EGRESS_SOCKET_NOT_ALLOWED), 2);
	}
	wall_kill(pid);
	need_unix_wall(wall);
}

static void test_it_outlives_us_and_ends(void **state)
{
	struct wall *wall = *state;
	int stream = listen_at("stream", SOCK_STREAM), dgram = listen_at("dgram", SOCK_DGRAM),
	    packet = listen_at("packet", SOCK_SEQPACKET);
	struct error error = {0};

	need_unix_wall(wall);
	kernel_close(wall->kernel);
	wall->kernel = NULL;
	assert_int_equal(wall_run(wall, reach_outside), 0);
	assert_int_equal(kernel_detach(wall->name, true, &error), 0);
	for (int i = 0; i < 200 && wall_run(wall, reach_outside) == 0; i++)
		usleep(10000);
	assert_int_not_equal(wall_run(wall, reach_outside), 0);
	close(stream);
	close(dgram);
	close(packet);
}

/* ---- with a broker, where the kernel needs one: here nobody is it --------------------------- */

static int name_own(void *memory)
{
	int pair[2];

	(void)memory;
	if (listen_at("own", SOCK_STREAM) < 0 || listen_at("@own", SOCK_STREAM) < 0 ||
	    listen_at("own-dgram", SOCK_DGRAM) < 0)
		return 1;
	if (call("own", SOCK_STREAM) != ECONNREFUSED || call("@own", SOCK_STREAM) != ECONNREFUSED ||
	    call("own-dgram", SOCK_DGRAM) != ECONNREFUSED || send_to("own-dgram") != ECONNREFUSED)
		return 2;
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 || write(pair[0], "x", 1) != 1)
		return 3;
	return 0;
}

static void see_nameless_denial(void *context, const struct egress_denial *denial)
{
	int *seen = context;

	assert_int_equal(denial->hook, EGRESS_HOOK_UNIX_OUT);
	assert_int_equal(denial->reason, EGRESS_SOCKET_NOT_ALLOWED);
	assert_true(denial->process.tgid > 0);
	assert_int_equal(((const struct egress_unix_denial *)denial)->path[0], 0);
	++*seen;
}

static void test_nobody_inside_names_anything(void **state)
{
	struct wall *wall = *state;
	struct kernel_status status;
	struct error error = {0};
	int seen = 0;

	assert_int_equal(kernel_read_status(wall->name, &status, &error), 0);
	for (size_t i = 0; i < status.link_count; i++)
		assert_true(status.links[i].attached);
	assert_int_equal(kernel_unix_brokered(wall->kernel),
			 status.settings.unix_wall == EGRESS_UNIX_BROKERED);
	kernel_status_free(&status);
	if (!kernel_unix_brokered(wall->kernel)) {
		printf("this kernel needs no broker, or has no place for its programs\n");
		skip();
	}
	assert_null(kernel_unix_missing(wall->kernel));
	assert_int_equal(kernel_unix_probe(&error), 1);
	assert_int_equal(wall_run(wall, name_own), 0);
	assert_int_equal(wall_counter(wall, EGRESS_SOCKET_NOT_ALLOWED), 4);
	assert_int_equal(kernel_read_denials(wall->kernel, see_nameless_denial, &seen), 4);
	assert_int_equal(seen, 4);
	assert_true(listen_at("outside", SOCK_STREAM) >= 0);
	assert_int_equal(call("outside", SOCK_STREAM), 0); /* from here, all as ever */
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_own_and_let_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_younger_sockets_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_outlives_us_and_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_inside_names_anything, setup_brokered,
						teardown),
	};

	return cmocka_run_group_tests_name("kernel: unix", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
