/* SPDX-License-Identifier: BSD-2-Clause */
/* Real sockets; the kernel's flow map and the supervisor are played by functions of this file. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "identify.h"
#include "kernel.h"
#include "rpc.h"
#include "sockets.h"

#define FLOWS_FD 1001
#define CALLS_FD 1002
#define COOKIE_OPTION 71

static struct {
	int take_result;
	struct egress_flow_key key; /* asked for last */
	struct egress_flow flow;
	int takes, calls, call_result;
	struct rpc_host host;
} fake;

int kernel_take_flow(int flows_fd, const struct egress_flow_key *key, struct egress_flow *ret_flow)
{
	assert_int_equal(flows_fd, FLOWS_FD);
	fake.takes++;
	fake.key = *key;
	if (fake.take_result == 1)
		*ret_flow = fake.flow;
	return fake.take_result;
}

static unsigned bind_calls;

int rpc_bind_name(int fd, const char *name, struct rpc_host *ret)
{
	(void)fd;
	*ret = (struct rpc_host){.id = 77, .reason = EGRESS_ALLOWED};
	bind_calls++;
	memccpy(ret->name, name, '\0', sizeof(ret->name) - 1);
	return 0;
}

int rpc_host_by_id(int fd, uint32_t id, struct rpc_host *ret)
{
	assert_int_equal(fd, CALLS_FD);
	fake.calls++;
	*ret = fake.host;
	if (fake.host.id == 0)
		ret->id = id;
	if (strcmp(fake.host.name, "by id") == 0)
		snprintf(ret->name, sizeof(ret->name), "host-%u.example", id);
	return fake.call_result;
}

/* A connected pair over loopback; returns the accepted end. */
static struct accepted connect_pair(int family, int *ret_client)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t length = family == AF_INET ? sizeof(v4) : sizeof(v6);
	int listener = socket(family, SOCK_STREAM, 0), client = socket(family, SOCK_STREAM, 0);
	struct accepted accepted = {.netns_cookie = sockets_netns_cookie(listener)};
	socklen_t peer_length = sizeof(accepted.peer);

	assert_int_equal(bind(listener, sa, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, sa, &length), 0);
	assert_int_equal(connect(client, sa, length), 0);
	accepted.fd = accept(listener, (struct sockaddr *)&accepted.peer, &peer_length);
	assert_true(accepted.fd >= 0);
	close(listener);
	*ret_client = client;
	return accepted;
}

static uint16_t local_port(int fd)
{
	struct sockaddr_in6 sa;
	socklen_t length = sizeof(sa);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	return ntohs(sa.sin6_port); /* at the same place in sockaddr_in */
}

static int setup(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.take_result = 1;
	strcpy(fake.host.name, "by id");
	fake.flow.host_id = 12;
	fake.flow.destination_port = 443;
	fake.flow.process.pid = 4242;
	strcpy(fake.flow.process.comm, "curl");
	assert_true(address_parse("198.18.0.7", &fake.flow.destination));
	*state = identify_new(FLOWS_FD, CALLS_FD);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	identify_free(*state);
	return 0;
}

static int identify_one(struct identify *identify, struct identity *ret)
{
	int client, r;
	struct accepted accepted = connect_pair(AF_INET, &client);

	r = identify_accepted(identify, &accepted, ret);
	close(client);
	close(accepted.fd);
	return r;
}

static void test_key(void **state)
{
	struct identity identity;
	struct egress_address expected;

	for (int i = 0; i < 2; i++) {
		int client;
		struct accepted accepted = connect_pair(i ? AF_INET6 : AF_INET, &client);
		uint64_t cookie = 0;
		socklen_t length = sizeof(cookie);
		struct egress_flow_key key = {.protocol = IPPROTO_TCP};

		assert_int_equal(identify_accepted(*state, &accepted, &identity), 0);
		assert_int_equal(getsockopt(client, SOL_SOCKET, COOKIE_OPTION, &cookie, &length),
				 0);
		assert_true(address_parse(i ? "::1" : "127.0.0.1", &expected));
		key.netns_cookie = cookie;
		key.source = expected;
		key.source_port = local_port(client);
		assert_true(cookie != 0);
		assert_memory_equal(&fake.key, &key, sizeof(key));
		close(client);
		close(accepted.fd);
	}
}

static void test_named(void **state)
{
	struct identity identity;

	assert_int_equal(identify_one(*state, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_NAME);
	assert_string_equal(identity.host, "host-12.example");
	assert_int_equal(identity.port, 443);
	assert_int_equal(identity.address.bytes[15], 7);
	assert_true(identity.has_process);
	assert_int_equal(identity.process.pid, 4242);
	assert_string_equal(identity.process.comm, "curl");
}

static void test_other_kinds(void **state)
{
	struct identity identity;

	fake.flow.host_id = 0;
	assert_int_equal(identify_one(*state, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_ADDRESS);
	assert_string_equal(identity.host, "");
	assert_int_equal(identity.address.bytes[15], 7);

	fake.flow.host_id = EGRESS_HOST_MANY;
	assert_int_equal(identify_one(*state, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_UNNAMED);
	assert_int_equal(identity.port, 443);

	fake.flow.host_id = EGRESS_HOST_EXPLICIT;
	assert_int_equal(identify_one(*state, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_EXPLICIT);
	assert_int_equal(identity.port, 0);
	assert_true(identity.has_process);

	fake.take_result = 0;
	assert_int_equal(identify_one(*state, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_STRANGER);
	assert_int_equal(identity.port, 0);
	assert_false(identity.has_process);
	assert_int_equal(fake.calls, 0);
}

static void test_no_wall(void **state)
{
	struct identify *identify = identify_new(-1, -1);
	struct identity identity;

	(void)state;
	assert_int_equal(identify_one(identify, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_EXPLICIT);
	assert_int_equal(fake.takes, 0);
	identify_free(identify);
	identify_free(NULL);
}

/* By the port that it was accepted at, before any record is looked for. */
static void test_host_port(void **state)
{
	int client;
	struct accepted accepted = connect_pair(AF_INET, &client);
	const struct host_port ports[] = {{1, 2}, {local_port(accepted.fd), 5432}};
	struct identity identity;

	fake.takes = 0;
	identify_host_ports(*state, ports, 2);
	assert_int_equal(identify_accepted(*state, &accepted, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_HOST_PORT);
	assert_int_equal(identity.port, 5432);
	assert_int_equal(fake.takes, 0);
	identify_host_ports(*state, ports, 1);
	assert_int_equal(identify_accepted(*state, &accepted, &identity), 0);
	assert_int_equal(identity.kind, IDENTITY_NAME);
	close(client);
	close(accepted.fd);
}

static void test_cache(void **state)
{
	struct identity identity;
	char expected[64];

	for (int round = 0; round < 3; round++)
		for (uint32_t id = 1; id <= 5; id++) {
			fake.flow.host_id = id;
			assert_int_equal(identify_one(*state, &identity), 0);
			snprintf(expected, sizeof(expected), "host-%u.example", id);
			assert_string_equal(identity.host, expected);
		}
	assert_int_equal(fake.calls, 5);
	/* two ids of one slot: never the other's name */
	for (int round = 0; round < 4; round++) {
		uint32_t id = round % 2 ? 4096 * 7 + 3 : 3;

		fake.flow.host_id = id;
		assert_int_equal(identify_one(*state, &identity), 0);
		snprintf(expected, sizeof(expected), "host-%u.example", id);
		assert_string_equal(identity.host, expected);
	}
	assert_int_equal(fake.calls, 8);
}

static void test_failures(void **state)
{
	struct identity identity = {.port = 99};
	struct accepted accepted;
	int pipes[2];

	fake.take_result = -1;
	assert_int_equal(identify_one(*state, &identity), -1);
	fake.take_result = 1;
	fake.call_result = -1;
	assert_int_equal(identify_one(*state, &identity), -1);
	fake.call_result = 0;
	fake.host.reason = EGRESS_INTERNAL;
	assert_int_equal(identify_one(*state, &identity), -1);
	fake.host.reason = EGRESS_ALLOWED;
	fake.host.id = 13;
	assert_int_equal(identify_one(*state, &identity), -1);
	fake.host.id = 0;
	fake.host.name[0] = '\0';
	assert_int_equal(identify_one(*state, &identity), -1);
	/* a failure leaves nothing in the cache */
	strcpy(fake.host.name, "by id");
	assert_int_equal(identity.port, 99);
	assert_int_equal(identify_one(*state, &identity), 0);
	assert_string_equal(identity.host, "host-12.example");

	/* no address, one of another family, no namespace */
	fake.takes = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pipes), 0);
	accepted = (struct accepted){.fd = pipes[0], .netns_cookie = 1};
	assert_int_equal(identify_accepted(*state, &accepted, &identity), -1);
	accepted.peer.ss_family = AF_UNIX;
	assert_int_equal(identify_accepted(*state, &accepted, &identity), -1);
	accepted.peer.ss_family = AF_INET;
	accepted.netns_cookie = 0;
	assert_int_equal(identify_accepted(*state, &accepted, &identity), -1);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(fake.takes, 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(sockets_netns_cookie(pipes[0]), 0);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_key),     T(test_named), T(test_other_kinds),
		T(test_no_wall), T(test_host_port), T(test_cache), T(test_failures),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
