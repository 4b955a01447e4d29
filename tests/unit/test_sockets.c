// SPDX-License-Identifier: BSD-2-Clause
/* Listening sockets in a network namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"

#define RESERVED "/proc/sys/net/ipv4/ip_local_reserved_ports"

static int netns = -1, home = -1;

/* A namespace with `lo` down beside the one we are in. */
static int set_up(void **state)
{
	(void)state;
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return -1;
	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return netns < 0 || setns(home, CLONE_NEWNET) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(netns);
	close(home);
	return 0;
}

static void in_bottle(void)
{
	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
}

static void at_home(void)
{
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
}

static void read_reserved(char text[4096])
{
	int fd = open(RESERVED, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	assert_true(fd >= 0);
	length = read(fd, text, 4095);
	assert_true(length > 0);
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	close(fd);
}

/* In one piece, as sysctls want it. */
static void write_sysctl(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static const struct sockets_options *bottle_options(void)
{
	static struct sockets_options options;

	options = (struct sockets_options){.netns_fd = netns, .wall = true, .reserve = true};
	return &options;
}

static void reserves_in_the_bottle_alone(void **state)
{
	char before[4096], after[4096], inside[4096];
	struct error error = {0};
	struct sockets s;

	(void)state;
	read_reserved(before);
	in_bottle();
	write_sysctl(RESERVED, "8080,9000-9010");
	at_home();
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	read_reserved(after);
	assert_string_equal(before, after);
	in_bottle();
	read_reserved(inside);
	at_home();
	assert_string_equal(inside, "8080,9000-9010,9053,9099");
	sockets_close(&s);
	/* Again, as after a restart: nothing is lost and nothing piles up. */
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	in_bottle();
	read_reserved(inside);
	at_home();
	assert_string_equal(inside, "8080,9000-9010,9053,9099");
	sockets_close(&s);
}

/* With nothing but our ports to give out, the kernel gives out none. */
static void nobody_is_given_our_port(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct error error = {0};
	struct sockets s;
	int fd;

	(void)state;
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	sockets_close(&s);
	in_bottle();
	write_sysctl("/proc/sys/net/ipv4/ip_local_port_range", "9099 9099");
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_not_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	close(fd);
	write_sysctl(RESERVED, "\n");
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	close(fd);
	at_home();
}

/* As in a container, which may write to no sysctl of the host: this one is the bottle's. */
static void reserves_where_sysctls_are_read_only(void **state)
{
	char inside[4096];
	struct error error = {0};
	struct sockets s;

	(void)state;
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	in_bottle();
	write_sysctl(RESERVED, "8080");
	assert_int_equal(mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	assert_true(open(RESERVED, O_RDWR | O_CLOEXEC) < 0 && errno == EROFS);
	at_home();
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	assert_int_equal(s.reserve_result, 0);
	sockets_close(&s);
	in_bottle();
	read_reserved(inside);
	at_home();
	assert_string_equal(inside, "8080,9053,9099");
	assert_int_equal(umount2("/proc/sys", MNT_DETACH), 0);
}

static void full_list_is_kept(void **state)
{
	static char many[8192];
	char inside[4096];
	struct error error = {0};
	struct sockets s;
	size_t length = 0;

	(void)state;
	for (unsigned port = 10001; length < 4086; port += 2)
		length += (size_t)snprintf(many + length, sizeof(many) - length, "%s%u",
					   length ? "," : "", port);
	in_bottle();
	write_sysctl(RESERVED, many);
	at_home();
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	assert_int_equal(s.reserve_result, -E2BIG);
	sockets_close(&s);
	in_bottle();
	read_reserved(inside);
	at_home();
	assert_int_equal(strncmp(inside, many, 4000), 0);
}

static void listens_where_it_was_told(void **state)
{
	static const struct {
		const char *listen;
		size_t count; /* 0: refused */
	} cases[] = {
		{"127.0.0.1:9200", 2}, {"[::1]:9200", 2},      {"::1:9200", 2},
		{"127.0.0.2:9200", 3}, {"0.0.0.0:9200", 2},    {"[::]:9200", 2},
		{"localhost:9200", 0}, {"9200", 0},	       {":9200", 0},
		{"127.0.0.1:0", 0},    {"127.0.0.1:65536", 0}, {"127.0.0.1:92x", 0},
		{"127.0.0.1: 92", 0},  {"[::1:9200", 0},       {"127.0.0.1:", 0},
		{"192.0.2.1:9200", 0}, {"", 0},		       {"127.0.0.1:99999999999999999999", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sockets_options options = *bottle_options();
		struct error error = {0};
		struct sockets s = {0};
		bool valid = sockets_parse_listen(cases[i].listen, &options.listen);
		int result = valid ? sockets_open(&options, &s, &error) : -1;

		if (result != (cases[i].count ? 0 : -1) || s.proxy_count != cases[i].count)
			fail_msg("--listen %s: %d, %zu sockets, %s", cases[i].listen, result,
				 s.proxy_count, error.text);
		if (result == 0)
			assert_int_equal(s.proxy_port, 9200);
		sockets_close(&s);
	}
}

/* From the listening socket: the worker, which must not touch that, says it for none. */
static void accepted_inherit(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockets s = {0};
	struct error error = {0};
	int client, fd, value;
	socklen_t length = sizeof(value);

	(void)state;
	assert_int_equal(sockets_open(bottle_options(), &s, &error), 0);
	in_bottle();
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at_home();
	at.sin_port = htons(s.proxy_port);
	assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	fd = accept(s.proxy[0], NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
	assert_int_equal(value, 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
	assert_int_equal(value, 1);
	close(fd);
	close(client);
	sockets_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reserves_in_the_bottle_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_is_given_our_port, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reserves_where_sysctls_are_read_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_list_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(listens_where_it_was_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(accepted_inherit, set_up, tear_down),
	};

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root for a network namespace");
		return 0;
	}
	return cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
