// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "no_timers.h"
#include "stream.h"
#include "tcp_pair.h"

static struct event_base *base;
/* Streams of both kinds pass all tests. */
static struct stream *(*make)(struct event_base *base, int fd) = stream_new;

struct end {
	struct stream *stream;
	int calls;
	bool free_in_callback;
};

static void on_ready(void *context)
{
	struct end *end = context;

	end->calls++;
	if (end->free_in_callback) {
		stream_free(end->stream);
		end->stream = NULL;
	}
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static void sockets(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

static void end_init(struct end *end, int fd)
{
	memset(end, 0, sizeof(*end));
	end->stream = make(base, fd);
	assert_non_null(end->stream);
	assert_int_equal(stream_fd(end->stream), fd);
	stream_set_ready(end->stream, on_ready, end);
}

static void plain(void **state)
{
	struct end a;
	char buffer[16];
	int fds[2];

	(void)state;
	sockets(fds);
	end_init(&a, fds[0]);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, 16), -EAGAIN);
	a.calls = 0;
	turn();
	assert_int_equal(a.calls, 0); /* edges, not levels */
	assert_int_equal(write(fds[1], "hello", 5), 5);
	/* Known to be drained: no system call until the edge was seen. */
	assert_int_equal(stream_read(a.stream, buffer, 16), -EAGAIN);
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(stream_read(a.stream, buffer, 2), 2);
	assert_int_equal(stream_read(a.stream, buffer, 16), 3);
	assert_int_equal(stream_write(a.stream, "reply", 5), 5);
	assert_int_equal(read(fds[1], buffer, 16), 5);
	stream_shutdown(a.stream);
	assert_int_equal(read(fds[1], buffer, 16), 0);
	assert_int_equal(write(fds[1], "more", 4), 4);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, 16), 4);
	close(fds[1]);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, 16), 0);
	assert_null(stream_ssl(a.stream));
	stream_free(a.stream);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	stream_free(NULL);
}

static void backpressure(void **state)
{
	static char block[65536];
	struct end a;
	int fds[2];
	size_t sent = 0, received = 0;
	ssize_t count;

	(void)state;
	sockets(fds);
	end_init(&a, fds[0]);
	turn();
	while ((count = stream_write(a.stream, block, sizeof(block))) > 0)
		sent += (size_t)count;
	assert_int_equal(count, -EAGAIN);
	a.calls = 0;
	turn();
	assert_int_equal(a.calls, 0);
	while ((count = read(fds[1], block, sizeof(block))) > 0)
		received += (size_t)count;
	assert_int_equal(received, sent);
	turn();
	assert_true(a.calls > 0);
	assert_true(stream_write(a.stream, block, sizeof(block)) > 0);
	stream_free(a.stream);
	close(fds[1]);
}

/* One that was accepted hears of room when it wanted some, each time, and of nothing before. */
static void room_when_it_is_wanted(void **state)
{
	static char block[65536];
	struct end a;
	int fds[2];

	(void)state;
	sockets(fds);
	end_init(&a, fds[0]);
	turn();
	assert_int_equal(a.calls, make == stream_new);
	for (int i = 0; i < 3; i++) {
		while (stream_write(a.stream, block, sizeof(block)) > 0)
			;
		turn();
		a.calls = 0;
		while (read(fds[1], block, sizeof(block)) > 0)
			;
		turn();
		assert_int_equal(a.calls, 1);
	}
	stream_free(a.stream);
	close(fds[1]);
}

/* What came before the write was in vain is told, too, and room that was made before it was asked
 * for. */
static void room_and_bytes_at_once(void **state)
{
	static char block[65536];
	struct end a;
	char byte;
	int fds[2];

	(void)state;
	sockets(fds);
	end_init(&a, fds[0]);
	turn();
	assert_int_equal(write(fds[1], "x", 1), 1);
	while (stream_write(a.stream, block, sizeof(block)) > 0)
		;
	while (read(fds[1], block, sizeof(block)) > 0)
		;
	a.calls = 0;
	turn();
	turn();
	assert_in_range(a.calls, 1, 2);
	assert_int_equal(stream_read(a.stream, &byte, 1), 1);
	assert_true(stream_write(a.stream, block, sizeof(block)) > 0);
	stream_free(a.stream);
	close(fds[1]);
}

/* Nobody would tell one that was accepted: it is an end, not a wait without one. */
static void room_without_memory(void **state)
{
	static char block[65536];
	struct end a;
	ssize_t count;
	int fds[2];

	(void)state;
	sockets(fds);
	end_init(&a, fds[0]);
	no_events = true;
	while ((count = stream_write(a.stream, block, sizeof(block))) > 0)
		;
	no_events = false;
	assert_int_equal(count, make == stream_new ? -EAGAIN : -ENOMEM);
	stream_free(a.stream);
	close(fds[1]);
}

static void broken_pipe(void **state)
{
	struct end a;
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_DFL); /* plain streams never raise it */
	sockets(fds);
	end_init(&a, fds[0]);
	close(fds[1]);
	assert_int_equal(stream_write(a.stream, "x", 1), -EPIPE);
	stream_free(a.stream);
	signal(SIGPIPE, SIG_IGN);
}

static void freed_in_its_own_callback(void **state)
{
	struct end a;
	int fds[2];

	(void)state;
	for (int again = 0; again < 2; again++) {
		sockets(fds);
		end_init(&a, fds[0]);
		turn();
		a.calls = 0;
		a.free_in_callback = true;
		assert_int_equal(write(fds[1], "x", 1), 1);
		if (again)
			stream_again(a.stream);
		turn();
		turn();
		assert_int_equal(a.calls, 1);
		assert_null(a.stream);
		close(fds[1]);
	}
}

static struct end greedy;
static void on_greedy(void *context)
{
	(void)context;
	if (++greedy.calls < 1000000)
		stream_again(greedy.stream);
}

/* One that always asks again, and one whose data comes meanwhile. */
static void again_is_fair(void **state)
{
	struct end other;
	int fds[2], more[2];

	(void)state;
	sockets(fds);
	sockets(more);
	end_init(&greedy, fds[0]);
	end_init(&other, more[0]);
	stream_set_ready(greedy.stream, on_greedy, NULL);
	turn();
	other.calls = 0;
	assert_int_equal(write(more[1], "x", 1), 1);
	stream_again(greedy.stream);
	for (int i = 0; i < 3; i++)
		turn();
	assert_int_equal(other.calls, 1);
	assert_in_range(greedy.calls, 2, 10);
	stream_free(greedy.stream);
	stream_free(other.stream);
	close(fds[1]);
	close(more[1]);
}

static int wakes_other;

static void on_greedy_fifth(void *context)
{
	on_greedy(context);
	if (greedy.calls == 5)
		assert_int_equal(write(wakes_other, "x", 1), 1);
}

static void on_other(void *context)
{
	((struct end *)context)->calls++;
	event_base_loopbreak(base);
}

/* Without a timer the kernel is asked between its turns, too. */
static void again_without_memory(void **state)
{
	int fds[2], more[2];
	struct end other;

	(void)state;
	sockets(fds);
	sockets(more);
	end_init(&greedy, fds[0]);
	end_init(&other, more[0]);
	turn();
	stream_set_ready(greedy.stream, on_greedy_fifth, NULL);
	stream_set_ready(other.stream, on_other, &other);
	wakes_other = more[1];
	other.calls = 0;
	no_timers = true;
	stream_again(greedy.stream);
	alarm(30);
	event_base_loop(base, 0);
	alarm(0);
	no_timers = false;
	assert_int_equal(other.calls, 1);
	assert_in_range(greedy.calls, 5, 10);
	stream_free(greedy.stream);
	stream_free(other.stream);
	close(fds[1]);
	close(more[1]);
}

/* ---- what comes behind the bytes that a recv(2) gave ---------------------------------------- */

static short state_of(int fd)
{
	struct pollfd at = {.fd = fd, .events = POLLIN | POLLRDHUP};

	assert_true(poll(&at, 1, 0) >= 0);
	return at.revents;
}

static void wait_for(int fd, short state)
{
	for (int i = 0; i < 5000 && (state_of(fd) & state) != state; i++)
		usleep(1000);
	assert_int_equal(state_of(fd) & state, state);
}

/* What a read gives when the loop has been asked often enough: for ten seconds at most. */
static ssize_t read_soon(struct end *end, char *buffer, size_t size)
{
	ssize_t count = -EAGAIN;

	for (int i = 0; i < 10000 && count == -EAGAIN; i++) {
		turn();
		count = stream_read(end->stream, buffer, size);
		if (count == -EAGAIN)
			usleep(1000);
	}
	return count;
}

/* An end on TCP, after the event that tells it may be written to. */
static void tcp_end(struct end *a, int fds[2])
{
	tcp_pair(fds);
	end_init(a, fds[0]);
	turn();
}

/* The other end closes with a reset, which has come. */
static void tcp_reset(const int fds[2])
{
	struct linger reset = {.l_onoff = 1};

	setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fds[1]);
	wait_for(fds[0], POLLERR);
}

/* A reset and the data before it in one event, which looks like data alone. */
static void reset_behind_data(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2];

	(void)state;
	tcp_end(&a, fds);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	wait_for(fds[0], POLLIN);
	tcp_reset(fds);
	a.calls = 0;
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 5);
	assert_int_equal(read_soon(&a, buffer, sizeof(buffer)), -ECONNRESET);
	stream_free(a.stream);
}

/* The same on a connection that was busy until then, for which no timer was set anew. */
static void reset_behind_data_while_busy(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2];

	(void)state;
	tcp_end(&a, fds);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(write(fds[1], "hello", 5), 5);
		wait_for(fds[0], POLLIN);
		if (i == 2)
			tcp_reset(fds);
		turn();
		assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 5);
	}
	assert_int_equal(read_soon(&a, buffer, sizeof(buffer)), -ECONNRESET);
	stream_free(a.stream);
}

/* An end with the data before it is there at once: nobody waits for a timer. */
static void end_behind_data(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2];

	(void)state;
	tcp_end(&a, fds);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	close(fds[1]);
	wait_for(fds[0], POLLRDHUP);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 5);
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 0);
	stream_free(a.stream);
}

/* recv(2) stops at urgent data, whatever is behind it. */
static void urgent_data(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2];

	(void)state;
	tcp_end(&a, fds);
	assert_int_equal(write(fds[1], "before", 6), 6);
	assert_int_equal(send(fds[1], "!", 1, MSG_OOB), 1);
	assert_int_equal(write(fds[1], "behind", 6), 6);
	close(fds[1]);
	wait_for(fds[0], POLLRDHUP);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 6);
	assert_int_equal(read_soon(&a, buffer, sizeof(buffer)), 6);
	assert_memory_equal(buffer, "behind", 6);
	stream_free(a.stream);
}

/* The same, without the end that would have us look: the timer does. */
static void urgent_data_that_hides_more(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2], count = 1;

	tcp_end(&a, fds);
	setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	assert_int_equal(write(fds[1], "before", 6), 6);
	assert_int_equal(send(fds[1], "!", 1, MSG_OOB), 1);
	assert_int_equal(write(fds[1], "behind", 6), 6);
	/* Until all of it has been acknowledged. */
	for (int i = 0; i < 5000 && count > 0; i++, usleep(1000))
		assert_int_equal(ioctl(fds[1], SIOCOUTQ, &count), 0);
	assert_int_equal(count, 0);
	turn();
	no_timers = *state;
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 6);
	/* Then at once. */
	assert_int_equal(no_timers ? stream_read(a.stream, buffer, sizeof(buffer))
				   : read_soon(&a, buffer, sizeof(buffer)),
			 6);
	no_timers = false;
	assert_memory_equal(buffer, "behind", 6);
	close(fds[1]);
	stream_free(a.stream);
}

static int pending(void)
{
	return event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
}

/* One look, and then rest: nobody is called, nothing runs. */
static void a_quiet_stream_sleeps(void **state)
{
	char buffer[64];
	struct end a;
	int fds[2];

	(void)state;
	tcp_end(&a, fds);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	wait_for(fds[0], POLLIN);
	turn();
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), 5);
	assert_int_equal(stream_read(a.stream, buffer, sizeof(buffer)), -EAGAIN);
	a.calls = 0;
	for (int i = 0; i < 10000 && pending() > 1; i++, usleep(1000))
		turn();
	assert_int_equal(pending(), 1); /* the timer has run */
	assert_int_equal(a.calls, 0);
	close(fds[1]);
	stream_free(a.stream);
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static SSL_CTX *server_context, *client_context;

static int make_contexts(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	(void)state;
	base = event_base_new();
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	server_context = SSL_CTX_new(TLS_server_method());
	client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_use_certificate(server_context, cert);
	SSL_CTX_use_PrivateKey(server_context, key);
	/* On by default in some builds: streams must turn it off. */
	SSL_CTX_set_options(client_context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	X509_free(cert);
	EVP_PKEY_free(key);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static int free_contexts(void **state)
{
	(void)state;
	SSL_CTX_free(server_context);
	SSL_CTX_free(client_context);
	event_base_free(base);
	return 0;
}

static void set_tls(struct end *end, SSL_CTX *context, bool server, int version)
{
	SSL *ssl = SSL_new(context);

	if (server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	SSL_set_max_proto_version(ssl, version);
	assert_int_equal(stream_set_tls(end->stream, ssl), 0);
	assert_ptr_equal(stream_ssl(end->stream), ssl);
}

static void tls_pair_on(int fds[2], struct end *server, struct end *client, int version)
{
	int s = 0, c = 0;

	end_init(server, fds[0]);
	end_init(client, fds[1]);
	set_tls(server, server_context, true, version);
	set_tls(client, client_context, false, version);
	for (int i = 0; i < 1000 && (s != 1 || c != 1); i++) {
		if (c != 1)
			c = stream_handshake(client->stream);
		if (s != 1)
			s = stream_handshake(server->stream);
		turn();
	}
	assert_int_equal(s, 1);
	assert_int_equal(c, 1);
}

static void tls_pair(struct end *server, struct end *client, int version)
{
	int fds[2];

	sockets(fds);
	tls_pair_on(fds, server, client, version);
}

/* Reads until -EAGAIN, an end or an error, turning the loop `turns` times. */
static ssize_t drain(struct end *end, char *buffer, size_t size, size_t *ret_total)
{
	ssize_t count;

	*ret_total = 0;
	while ((count = stream_read(end->stream, buffer + *ret_total, size - *ret_total)) > 0)
		*ret_total += (size_t)count;
	return count;
}

static void tls_exchange(struct end *from, struct end *to)
{
	char buffer[64];
	size_t total;

	assert_int_equal(stream_write(from->stream, "some bytes", 10), 10);
	turn();
	assert_int_equal(drain(to, buffer, sizeof(buffer), &total), -EAGAIN);
	assert_int_equal(total, 10);
	assert_memory_equal(buffer, "some bytes", 10);
}

static void tls(void **state)
{
	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct end server, client;
		char byte;

		tls_pair(&server, &client, version);
		tls_exchange(&client, &server);
		tls_exchange(&server, &client);
		stream_shutdown(client.stream);
		turn();
		assert_int_equal(stream_read(server.stream, &byte, 1), 0);
		tls_exchange(&server, &client); /* half closed: the other way still works */
		stream_free(server.stream);
		turn();
		assert_int_equal(stream_read(client.stream, &byte, 1), 0);
		stream_free(client.stream);
	}
}

static int unsent(const struct end *end)
{
	int count = -1;

	assert_int_equal(ioctl(stream_fd(end->stream), SIOCOUTQNSD, &count), 0);
	return count;
}

static unsigned segments(const struct end *end)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);

	assert_int_equal(getsockopt(stream_fd(end->stream), IPPROTO_TCP, TCP_INFO, &info, &length),
			 0);
	return info.tcpi_segs_out;
}

/* With a request behind the client's Finished the ticket waits for the answer, but not for ever. */
static void tls_ticket_waits(void **state)
{
	struct end server, client;
	char buffer[64];
	int fds[2], rc = -EAGAIN;

	tcp_pair(fds);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	end_init(&server, fds[0]);
	end_init(&client, fds[1]);
	set_tls(&server, server_context, true, TLS1_3_VERSION);
	set_tls(&client, client_context, false, TLS1_3_VERSION);
	assert_int_equal(stream_handshake(client.stream), -EAGAIN);
	for (int i = 0; i < 10000 && rc == -EAGAIN; i++, usleep(1000)) {
		turn();
		(void)!stream_handshake(server.stream);
		/* What the client says last stays in its socket until the cork is out. */
		assert_int_equal(setsockopt(fds[1], IPPROTO_TCP, TCP_CORK, &(int){1}, sizeof(int)),
				 0);
		rc = stream_handshake(client.stream);
	}
	assert_int_equal(rc, 1);
	assert_int_equal(stream_write(client.stream, "request", 7), 7);
	assert_int_equal(setsockopt(fds[1], IPPROTO_TCP, TCP_CORK, &(int){0}, sizeof(int)), 0);
	turn();
	no_timers = *state;
	assert_int_equal(stream_handshake(server.stream), 1);
	assert_true(no_timers || unsent(&server) > 0);
	no_timers = false;
	assert_int_equal(read_soon(&server, buffer, sizeof(buffer)), 7);
	for (int i = 0; i < 10000 && unsent(&server) > 0; i++, usleep(1000))
		turn();
	assert_int_equal(unsent(&server), 0);
	stream_free(client.stream);
	stream_free(server.stream);
}

/* A client with Nagle's algorithm on keeps its request back until its Finished is acknowledged,
 * which the ticket does; else the kernel would, 40 ms later. The last words, the alert and the FIN
 * are one. */
static void tls_few_segments(void **state)
{
	struct end server, client;
	char buffer[64];
	unsigned before;
	int fds[2];

	(void)state;
	tcp_pair(fds);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
	tls_pair_on(fds, &server, &client, TLS1_3_VERSION);
	assert_int_equal(unsent(&server), 0);
	assert_int_equal(stream_write(client.stream, "request", 7), 7);
	assert_int_equal(read_soon(&server, buffer, sizeof(buffer)), 7);
	before = segments(&server);
	assert_int_equal(stream_write_more(server.stream, "answer", 6), 6);
	stream_shutdown(server.stream);
	assert_int_equal(segments(&server) - before, 1);
	assert_int_equal(read_soon(&client, buffer, sizeof(buffer)), 6);
	assert_int_equal(read_soon(&client, buffer, sizeof(buffer)), 0);
	stream_free(client.stream);
	stream_free(server.stream);
}

static void tls_truncation(void **state)
{
	struct end server, client;
	char byte;

	(void)state;
	tls_pair(&server, &client, TLS1_3_VERSION);
	tls_exchange(&server, &client);
	shutdown(stream_fd(server.stream), SHUT_WR);
	turn();
	assert_int_equal(stream_read(client.stream, &byte, 1), -ECONNRESET);
	assert_int_equal(stream_read(client.stream, &byte, 1), -ECONNRESET);
	stream_free(server.stream);
	stream_free(client.stream);
}

static void tls_garbage(void **state)
{
	struct end server, client;
	char byte;

	(void)state;
	tls_pair(&server, &client, TLS1_3_VERSION);
	assert_int_equal(write(stream_fd(server.stream), "GET / HTTP/1.1\r\n\r\n", 18), 18);
	turn();
	assert_int_equal(stream_read(client.stream, &byte, 1), -EPROTO);
	assert_int_equal(stream_write(client.stream, "x", 1), -EPROTO);
	stream_free(server.stream);
	stream_free(client.stream);
}

static void tls_handshake_fails(void **state)
{
	struct end client;
	int fds[2];

	(void)state;
	for (int closed = 0; closed < 2; closed++) {
		sockets(fds);
		end_init(&client, fds[0]);
		set_tls(&client, client_context, false, 0);
		assert_int_equal(stream_handshake(client.stream), -EAGAIN);
		if (closed)
			close(fds[1]);
		else
			assert_int_equal(write(fds[1], "220 mail.example ESMTP\r\n", 24), 24);
		turn();
		assert_int_equal(stream_handshake(client.stream), -EPROTO);
		assert_true(ERR_peek_error() != 0);
		stream_free(client.stream);
		if (!closed)
			close(fds[1]);
	}
}

static void handshake(struct end *server, struct end *client)
{
	int s = 0, c = 0;

	for (int i = 0; i < 1000 && (s != 1 || c != 1); i++, turn()) {
		c = c == 1 ? c : stream_handshake(client->stream);
		s = s == 1 ? s : stream_handshake(server->stream);
	}
	assert_int_equal(s + c, 2);
}

/* TLS within TLS, as behind a proxy that is spoken to by TLS: what ends the outer one ends the
 * inner one, too, and in order only when the inner one says so itself. */
static void tls_within_tls(void **state)
{
	enum { INNER, OUTER, NEITHER, ENDS };

	(void)state;
	for (int says = 0; says < ENDS; says++) {
		struct end server, client;
		char byte;
		SSL *outer;

		tls_pair(&server, &client, TLS1_3_VERSION);
		outer = stream_ssl(server.stream);
		set_tls(&server, server_context, true, TLS1_3_VERSION);
		set_tls(&client, client_context, false, TLS1_3_VERSION);
		handshake(&server, &client);
		tls_exchange(&client, &server);
		tls_exchange(&server, &client);
		if (says == INNER)
			stream_shutdown(server.stream);
		else if (says == OUTER)
			assert_int_equal(SSL_shutdown(outer), 0);
		shutdown(stream_fd(server.stream), SHUT_RDWR);
		turn();
		for (int i = 0; i < 2; i++)
			assert_int_equal(stream_read(client.stream, &byte, 1),
					 says == INNER ? 0 : -ECONNRESET);
		stream_free(server.stream);
		stream_free(client.stream);
	}
}

/* Megabytes through small socket buffers, both ways at once, with key updates on the way. */
static void tls_bulk(void **state)
{
	static char out[1 << 20], in[2][1 << 20];
	struct end end[2];
	size_t sent[2] = {0}, got[2] = {0};
	ssize_t count;

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 2654435761u >> 13);
	memset(in, 0, sizeof(in));
	tls_pair(&end[0], &end[1], TLS1_3_VERSION);
	for (int rounds = 0; rounds < 20000 && (got[0] < sizeof(out) || got[1] < sizeof(out));
	     rounds++) {
		int e = rounds & 1;

		if (rounds % 40 == 7)
			SSL_key_update(stream_ssl(end[e].stream), SSL_KEY_UPDATE_REQUESTED);
		do {
			count = stream_write(end[e].stream, out + sent[e], sizeof(out) - sent[e]);
			sent[e] += count > 0 ? (size_t)count : 0;
		} while (count > 0 && sent[e] < sizeof(out));
		if (sent[e] < sizeof(out))
			assert_int_equal(count, -EAGAIN);
		/* Stops early: what is left must come without another edge. */
		count = stream_read(end[e].stream, in[e] + got[e],
				    sizeof(out) - got[e] > 5000 ? 5000 : sizeof(out) - got[e]);
		assert_true(count > 0 || count == -EAGAIN || got[e] == sizeof(out));
		got[e] += count > 0 ? (size_t)count : 0;
		turn();
	}
	assert_memory_equal(in[0], out, sizeof(out));
	assert_memory_equal(in[1], out, sizeof(out));
	stream_free(end[0].stream);
	stream_free(end[1].stream);
}

/* close_notify must not be lost when the socket's buffer is full at that moment. */
static void tls_shutdown_waits(void **state)
{
	static char block[16384];
	struct end server, client;
	ssize_t count;
	size_t sent = 0, got = 0;

	(void)state;
	tls_pair(&server, &client, TLS1_3_VERSION);
	/* Raw bytes fill what records left free; the client sees garbage after the records, so
	 * only the order of FIN is looked at here. */
	while (send(stream_fd(server.stream), block, sizeof(block), MSG_DONTWAIT) > 0)
		sent++;
	stream_shutdown(server.stream);
	while ((count = recv(stream_fd(client.stream), block, sizeof(block), MSG_DONTWAIT)) > 0)
		got += (size_t)count;
	assert_true(count < 0 && errno == EAGAIN); /* no FIN yet */
	assert_true(sent > 0 && got > 0);
	turn();
	count = recv(stream_fd(client.stream), block, sizeof(block), MSG_DONTWAIT);
	assert_in_range(count, 1, 100); /* the alert */
	assert_int_equal(recv(stream_fd(client.stream), block, sizeof(block), MSG_DONTWAIT), 0);
	stream_free(server.stream);
	stream_free(client.stream);
}

/* All lies there before the first read: megabytes of it would hold the loop for seconds. */
static void send_key_updates(struct end *from, int count)
{
	BIO *records = BIO_new(BIO_s_mem());
	SSL *ssl = stream_ssl(from->stream);
	char *bytes;
	long length;

	SSL_set0_wbio(ssl, records);
	for (int i = 0; i < count; i++) {
		assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(ssl), 1);
	}
	assert_int_equal(SSL_write(ssl, "x", 1), 1);
	length = BIO_get_mem_data(records, &bytes);
	assert_int_equal(send(stream_fd(from->stream), bytes, (size_t)length, 0), length);
}

static void tls_without_data_takes_turns(void **state)
{
	struct end server, client;
	ssize_t count = -EAGAIN;
	int reads = 0;
	char byte = 0;

	(void)state;
	tls_pair(&server, &client, TLS1_3_VERSION);
	send_key_updates(&client, 4000);
	for (server.calls = 1; count == -EAGAIN && server.calls > 0 && reads < 100; reads++) {
		server.calls = 0;
		count = stream_read(server.stream, &byte, 1);
		turn();
	}
	assert_int_equal(count, 1);
	assert_int_equal(byte, 'x');
	assert_in_range(reads, 3, 20);
	stream_free(client.stream);
	stream_free(server.stream);
}

/* To close a socket with bytes that were not read resets the connection, and with it what was sent last:
 * so whoever has said the end reads on, also behind a KeyUpdate that wants an answer. */
static void tls_reads_on_behind_its_end(void **state)
{
	struct end server, client;
	char byte = 0;

	(void)state;
	tls_pair(&server, &client, TLS1_3_VERSION);
	stream_shutdown(server.stream);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(SSL_key_update(stream_ssl(client.stream), SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(stream_ssl(client.stream)), 1);
	}
	assert_int_equal(stream_write(client.stream, "x", 1), 1);
	turn();
	assert_int_equal(stream_read(server.stream, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(stream_read(client.stream, &byte, 1), 0);
	stream_shutdown(client.stream);
	turn();
	assert_int_equal(stream_read(server.stream, &byte, 1), 0);
	stream_free(client.stream);
	stream_free(server.stream);
}

static void no_renegotiation(void **state)
{
	struct end server, client;
	char byte;

	(void)state;
	tls_pair(&server, &client, TLS1_2_VERSION);
	SSL_clear_options(stream_ssl(client.stream), SSL_OP_NO_RENEGOTIATION);
	assert_int_equal(SSL_renegotiate(stream_ssl(client.stream)), 1);
	(void)!stream_write(client.stream, "x", 1);
	turn();
	assert_true(stream_read(server.stream, &byte, 1) < 0);
	assert_int_equal(SSL_get_state(stream_ssl(server.stream)), TLS_ST_OK);
	stream_free(client.stream);
	stream_free(server.stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(backpressure),
		cmocka_unit_test(room_when_it_is_wanted),
		cmocka_unit_test(room_and_bytes_at_once),
		cmocka_unit_test(room_without_memory),
		cmocka_unit_test(broken_pipe),
		cmocka_unit_test(freed_in_its_own_callback),
		cmocka_unit_test(again_is_fair),
		cmocka_unit_test(again_without_memory),
		cmocka_unit_test(reset_behind_data),
		cmocka_unit_test(reset_behind_data_while_busy),
		cmocka_unit_test(end_behind_data),
		cmocka_unit_test(urgent_data),
		cmocka_unit_test(urgent_data_that_hides_more),
		cmocka_unit_test_prestate(urgent_data_that_hides_more, &no_timers),
		cmocka_unit_test(a_quiet_stream_sleeps),
		cmocka_unit_test(tls),
		cmocka_unit_test(tls_ticket_waits),
		cmocka_unit_test_prestate(tls_ticket_waits, &no_timers),
		cmocka_unit_test(tls_few_segments),
		cmocka_unit_test(tls_truncation),
		cmocka_unit_test(tls_garbage),
		cmocka_unit_test(tls_handshake_fails),
		cmocka_unit_test(tls_within_tls),
		cmocka_unit_test(tls_bulk),
		cmocka_unit_test(tls_shutdown_waits),
		cmocka_unit_test(tls_without_data_takes_turns),
		cmocka_unit_test(tls_reads_on_behind_its_end),
		cmocka_unit_test(no_renegotiation),
	};

	int failed = cmocka_run_group_tests_name("any", tests, make_contexts, free_contexts);

	make = stream_new_accepted;
	return failed +
	       cmocka_run_group_tests_name("accepted", tests, make_contexts, free_contexts);
}
