// SPDX-License-Identifier: BSD-2-Clause
/* Bytes through a spliced tunnel: both ways, in pieces, half-closed, against a side that does not
 * read, and cut off. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <malloc.h>
#include <sys/resource.h>

#include "connection_private.h"
#include "fake_proxy.h"

static int tunnel_setup(void **state)
{
	fake_setup(state);
	fake->identity = (struct identity){.kind = IDENTITY_NAME, .host = "tcp.test", .port = 22};
	fake_connect(fake);
	return 0;
}

static size_t open_files(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void both_ways(void **state)
{
	struct fake *f = *state;
	size_t files = open_files();

	for (int i = 0; i < 10; i++) {
		fake_client_sends(f, "ping");
		assert_string_equal(fake_upstream_got(f), "ping");
		fake_upstream_sends(f, "pong");
		assert_string_equal(fake_client_got(f), "pong");
	}
	assert_in_range(open_files() - files, 0, 2); /* one pipe, borrowed and given back */
	close(f->client);
	f->client = -1;
	fake_turn(f);
	close(f->upstream);
	f->upstream = -1;
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_int_equal(f->last.bytes_up, 40);
	assert_int_equal(f->last.bytes_down, 40);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	assert_string_equal(f->last.protocol, "tcp");
}

static void half_close(void **state)
{
	struct fake *f = *state;
	char byte;

	fake_client_sends(f, "question");
	shutdown(f->client, SHUT_WR);
	assert_string_equal(fake_upstream_got(f), "question");
	assert_int_equal(recv(f->upstream, &byte, 1, 0), 0);
	assert_int_equal(f->proxy.connection_count, 1);
	fake_upstream_sends(f, "answer");
	assert_string_equal(fake_client_got(f), "answer");
	shutdown(f->upstream, SHUT_WR);
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_true(fake_client_closed(f));
	assert_int_equal(f->log_count, 1);
}

/* 32 MiB pushed at a client that does not read: the sender is stopped. Then all comes through, in
 * order. */
static void backpressure(void **state)
{
	static unsigned char block[65536];
	struct fake *f = *state;
	size_t before = mallinfo2().uordblks, pushed = 0, got = 0;
	ssize_t n;

	for (size_t i = 0; i < 512; i++) {
		for (size_t j = 0; j < sizeof(block); j++)
			block[j] = (unsigned char)((pushed + j) % 251);
		n = send(f->upstream, block, sizeof(block), MSG_NOSIGNAL);
		fake_turn(f);
		if (n < 0)
			break;
		pushed += (size_t)n;
	}
	assert_in_range(pushed, 1, 4 << 20);
	assert_in_range(mallinfo2().uordblks - before, 0, 64 * 1024);
	while (got < pushed) {
		fake_turn(f);
		n = recv(f->client, block, sizeof(block), 0);
		assert_true(n > 0);
		for (ssize_t j = 0; j < n; j++)
			assert_int_equal(block[j], (got + (size_t)j) % 251);
		got += (size_t)n;
	}
}

static size_t large_pipes(void)
{
	size_t ends = 0;

	for (int fd = 0; fd < 256; fd++)
		ends += fcntl(fd, F_GETPIPE_SZ) >= 1024 * 1024;
	return ends / 2;
}

/* Until the client's side, which does not read, takes no more. Returns how much that was. */
static size_t fill(struct fake *f)
{
	static char block[65536];
	size_t pushed = 0;
	ssize_t n;

	for (int waits = 0; waits < 10; waits = n > 0 ? 0 : waits + 1) {
		n = send(f->upstream, block, sizeof(block), MSG_NOSIGNAL);
		pushed += n > 0 ? (size_t)n : 0;
		fake_turn(f);
	}
	return pushed;
}

static size_t drain(struct fake *f, int fd)
{
	char block[65536];
	size_t got = 0;
	ssize_t n;

	for (int waits = 0; waits < 10; waits = n > 0 ? 0 : waits + 1) {
		fake_turn(f);
		n = recv(fd, block, sizeof(block), 0);
		got += n > 0 ? (size_t)n : 0;
	}
	return got;
}

/* Large pipes go to tunnels with much to carry, eight for all of them together, and come back. */
static void busy(void **state)
{
	struct fake *f = *state;
	int clients[10], upstreams[10];
	size_t pushed[10], files;

	fake_client_sends(f, "ping");
	assert_string_equal(fake_upstream_got(f), "ping");
	assert_int_equal(large_pipes(), 0);
	for (size_t i = 0; i < 10; i++) {
		if (i > 0)
			fake_connect(f);
		pushed[i] = fill(f);
		assert_int_equal(large_pipes(), i < 8 ? i + 1 : 8);
		clients[i] = f->client;
		upstreams[i] = f->upstream;
		f->client = f->upstream = -1;
	}
	/* What is at rest serves the next: two that had to do with small ones. */
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(drain(f, clients[i]), pushed[i]);
	files = open_files();
	f->upstream = upstreams[9];
	f->client = clients[9];
	pushed[9] = fill(f);
	assert_int_equal(open_files(), files);
	assert_int_equal(large_pipes(), 8);
	/* One that ends with bytes in its pipe takes it away, and its place is free again. */
	close(clients[9]);
	f->client = -1;
	fake_turn(f);
	assert_int_equal(large_pipes(), 7);
	f->upstream = upstreams[8];
	f->client = clients[8];
	for (size_t i = 0; i < 9; i++) {
		f->upstream = upstreams[i];
		assert_true(fill(f) > 0);
	}
	assert_int_equal(large_pipes(), 8);
	for (size_t i = 0; i < 9; i++) {
		close(clients[i]);
		close(upstreams[i]);
	}
	f->client = f->upstream = -1;
	close(upstreams[9]);
}

/* Neither a reset nor a byte lost where no pipe is to be had, and a pipe again as soon as one is. */
static void without_descriptors(void **state)
{
	struct rlimit files, none;
	struct fake *f = *state;
	size_t pushed;
	char byte;
	int next;

	tunnel_pipes_close(f->proxy.shared);
	next = dup(f->client);
	close(next);
	getrlimit(RLIMIT_NOFILE, &files);
	none = (struct rlimit){(rlim_t)next, files.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	fake_client_sends(f, "ping");
	assert_string_equal(fake_upstream_got(f), "ping");
	pushed = fill(f);
	assert_in_range(pushed, 64 * 1024, 4 << 20);
	setrlimit(RLIMIT_NOFILE, &files);
	assert_int_equal(large_pipes(), 0);
	assert_int_equal(drain(f, f->client), pushed);
	assert_true(fill(f) > 0);
	assert_int_equal(large_pipes(), 1);
	assert_true(drain(f, f->client) > 0);
	tunnel_pipes_close(f->proxy.shared);
	setrlimit(RLIMIT_NOFILE, &none);
	shutdown(f->client, SHUT_WR);
	fake_turn(f);
	assert_int_equal(recv(f->upstream, &byte, 1, 0), 0);
	fake_upstream_sends(f, "answer");
	assert_string_equal(fake_client_got(f), "answer");
	setrlimit(RLIMIT_NOFILE, &files);
	close(f->upstream);
	f->upstream = -1;
	fake_turn(f);
	assert_int_equal(f->proxy.connection_count, 0);
	assert_null(f->last.detail);
}

/* A reset on one side is a reset on the other, not an end. */
static void reset(void **state)
{
	struct fake *f = *state;
	char byte;

	close(f->client);
	fake_turn(f);
	f->tcp = true;
	fake_connect(f);
	/* The upstream is a UNIX pair; closing it with data unread is its way of a reset. */
	fake_client_sends(f, "unread");
	fake_turn(f);
	close(f->upstream);
	f->upstream = -1;
	for (int i = 0; i < 1000 && f->log_count < 2; i++)
		fake_turn(f);
	assert_int_equal(recv(f->client, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* What the listener counts: four tunnels are one connection, and one that dials no longer waits for a
 * socket of its own. */
static void counted(void **state)
{
	struct fake *f = *state;
	int client = f->client, upstream = f->upstream;

	assert_int_equal(proxy_places(&f->proxy), 1);
	assert_int_equal(proxy_sockets(&f->proxy), 2);
	for (int i = 0; i < 4; i++)
		fake_connect(f);
	assert_int_equal(f->proxy.connection_count, 5);
	assert_int_equal(proxy_places(&f->proxy), 2);
	assert_int_equal(proxy_sockets(&f->proxy), 10);
	/* Says nothing, and nobody knows yet what it will be. */
	f->identity = (struct identity){.kind = IDENTITY_UNNAMED, .port = 443};
	fake_connect(f);
	assert_int_equal(proxy_places(&f->proxy), 3);
	assert_int_equal(proxy_sockets(&f->proxy), 12);
	close(f->client);
	f->client = client;
	fake_turn(f);
	assert_int_equal(proxy_places(&f->proxy), 2);
	proxy_close_all(&f->proxy);
	assert_int_equal(proxy_places(&f->proxy), 0);
	assert_int_equal(proxy_sockets(&f->proxy), 0);
	close(upstream);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tunnel_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ways), TEST(half_close), TEST(backpressure), TEST(busy), TEST(reset),
		TEST(counted), TEST(without_descriptors),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
