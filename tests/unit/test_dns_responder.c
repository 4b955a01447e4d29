/* SPDX-License-Identifier: BSD-2-Clause */
/* The service over real sockets on loopback; names and log are played by this file. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "dns_responder.h"
#include "no_timers.h"

enum { NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 };
enum { TYPE_A = 1, TYPE_TXT = 16, TYPE_AAAA = 28 };

/* ---- the log -------------------------------------------------------------------------------- */

static struct {
	int lines;
	enum egress_reason reason;
	char host[EGRESS_NAME_SIZE], detail[32];
} logged;

void access_log_write(struct access_log *log, const struct access_record *record)
{
	assert_ptr_equal(log, (struct access_log *)&logged);
	assert_string_equal(record->source, "dns");
	assert_string_equal(record->protocol, "dns");
	logged.lines++;
	logged.reason = record->reason;
	snprintf(logged.host, sizeof(logged.host), "%s", record->host ? record->host : "");
	snprintf(logged.detail, sizeof(logged.detail), "%s", record->detail ? record->detail : "");
}

/* ---- the names ------------------------------------------------------------------------------ */

static enum dns_bound bind_name(void *context, const char *name, struct egress_address *ret_address,
				enum egress_reason *ret_reason)
{
	(void)context;
	if (strcmp(name, "allowed.example") == 0)
		return address_parse("198.18.0.5", ret_address) ? DNS_BOUND : DNS_FAILED;
	*ret_reason = EGRESS_HOST_NOT_ALLOWED;
	return DNS_REFUSED;
}

/* dns.mode real: look-ups wait here until the test ends them; "now." names do not wait. */
static struct {
	size_t count;
	struct {
		dns_resolved_fn done;
		void *context;
		char name[EGRESS_NAME_SIZE];
	} waiting[300];
} lookups;

static void resolve_name(void *context, const char *name, dns_resolved_fn done, void *done_context)
{
	struct egress_address address;

	(void)context;
	if (strncmp(name, "now.", 4) == 0) {
		assert_true(address_parse("203.0.113.9", &address));
		done(done_context, EGRESS_ALLOWED, &address, 1, 77);
		return;
	}
	assert_true(lookups.count < 300);
	lookups.waiting[lookups.count].done = done;
	lookups.waiting[lookups.count].context = done_context;
	strcpy(lookups.waiting[lookups.count++].name, name);
}

static void end_lookup(size_t index, enum egress_reason reason, size_t address_count)
{
	struct egress_address addresses[64];

	for (size_t i = 0; i < address_count; i++)
		assert_true(address_parse(i == 1 ? "2001:db8::9" : "203.0.113.9", &addresses[i]));
	lookups.waiting[index].done(lookups.waiting[index].context, reason, addresses,
				    address_count, 30);
}

/* ---- the service ---------------------------------------------------------------------------- */

struct fixture {
	struct event_base *base;
	struct dns_responder *responder;
	int udp, tcp; /* the server's */
	struct sockaddr_in udp_address, tcp_address;
};

static int bound_socket(int type, struct sockaddr_in *ret)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(sa);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	*ret = sa;
	return fd;
}

static int setup_with(void **state, const struct dns_names *names)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(&logged, 0, sizeof(logged));
	memset(&lookups, 0, sizeof(lookups));
	f->base = event_base_new();
	f->responder = dns_responder_new(f->base, names, (struct access_log *)&logged);
	f->udp = bound_socket(SOCK_DGRAM, &f->udp_address);
	f->tcp = bound_socket(SOCK_STREAM, &f->tcp_address);
	assert_int_equal(listen(f->tcp, 128), 0);
	assert_int_equal(dns_responder_add_udp(f->responder, f->udp), 0);
	assert_int_equal(dns_responder_add_tcp(f->responder, f->tcp), 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	static const struct dns_names names = {.bind = bind_name, .proxy_name = "egress"};

	return setup_with(state, &names);
}

static int setup_real(void **state)
{
	static const struct dns_names names = {.resolve = resolve_name, .proxy_name = "egress"};

	return setup_with(state, &names);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dns_responder_free(f->responder);
	event_base_free(f->base);
	close(f->udp);
	close(f->tcp);
	free(f);
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs the service until `fd` is readable; false when it is not within `seconds`. */
static bool pump_until(struct fixture *f, int fd, double seconds)
{
	double end = now() + seconds;
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	do {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		if (poll(&pollfd, 1, 1) > 0)
			return true;
	} while (now() < end);
	return false;
}

static void pump(struct fixture *f)
{
	for (int i = 0; i < 20; i++) {
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		usleep(500);
	}
}

/* ---- the client ----------------------------------------------------------------------------- */

static size_t make_query(uint8_t *ret, uint16_t id, const char *name, uint16_t type)
{
	uint8_t header[12] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
	uint8_t tail[4] = {(uint8_t)(type >> 8), (uint8_t)type, 0, 1};
	size_t size = 12;

	memcpy(ret, header, 12);
	while (*name) {
		size_t length = strcspn(name, ".");
		ret[size++] = (uint8_t)length;
		memcpy(ret + size, name, length);
		size += length;
		name += length + (name[length] == '.');
	}
	ret[size++] = 0;
	memcpy(ret + size, tail, 4);
	return size + 4;
}

static size_t make_framed(uint8_t *ret, uint16_t id, const char *name, uint16_t type)
{
	size_t size = make_query(ret + 2, id, name, type);

	ret[0] = (uint8_t)(size >> 8);
	ret[1] = (uint8_t)size;
	return size + 2;
}

static int udp_client(struct fixture *f)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&f->udp_address, sizeof(f->udp_address)),
			 0);
	return fd;
}

static int tcp_client(struct fixture *f)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	assert_int_equal(connect(fd, (struct sockaddr *)&f->tcp_address, sizeof(f->tcp_address)),
			 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void send_udp_query(int fd, uint16_t id, const char *name, uint16_t type)
{
	uint8_t query[512];
	size_t size = make_query(query, id, name, type);

	assert_int_equal(send(fd, query, size, 0), size);
}

static void send_tcp_query(int fd, uint16_t id, const char *name)
{
	uint8_t query[512];
	size_t size = make_framed(query, id, name, TYPE_A);

	assert_int_equal(send(fd, query, size, MSG_NOSIGNAL), size);
}

struct response {
	uint8_t data[2048];
	size_t size;
	uint16_t id, answers;
	int rcode;
	bool truncated;
};

static void read_response(struct response *r)
{
	assert_true(r->size >= 12);
	assert_true(r->data[2] & 0x80);
	r->id = (uint16_t)(r->data[0] << 8 | r->data[1]);
	r->rcode = r->data[3] & 0xf;
	r->truncated = r->data[2] & 2;
	r->answers = (uint16_t)(r->data[6] << 8 | r->data[7]);
}

static void receive_udp(struct fixture *f, int fd, struct response *r)
{
	assert_true(pump_until(f, fd, 2));
	r->size = (size_t)recv(fd, r->data, sizeof(r->data), 0);
	read_response(r);
}

static void receive_bytes(struct fixture *f, int fd, uint8_t *data, size_t size)
{
	while (size) {
		assert_true(pump_until(f, fd, 2));
		ssize_t length = recv(fd, data, size, 0);
		assert_true(length > 0);
		data += length;
		size -= (size_t)length;
	}
}

static void receive_tcp(struct fixture *f, int fd, struct response *r)
{
	uint8_t length[2];

	receive_bytes(f, fd, length, 2);
	r->size = (size_t)length[0] << 8 | length[1];
	assert_true(r->size <= sizeof(r->data));
	receive_bytes(f, fd, r->data, r->size);
	read_response(r);
}

static bool closed_by_server(struct fixture *f, int fd)
{
	char byte;

	return pump_until(f, fd, 5) && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

/* ---- UDP ------------------------------------------------------------------------------------ */

static void test_udp(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	struct response r;

	send_udp_query(fd, 0x1111, "allowed.example", TYPE_A);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 0x1111);
	assert_int_equal(r.rcode, NOERROR);
	assert_int_equal(r.answers, 1);
	assert_memory_equal(r.data + r.size - 4, "\306\22\0\5", 4);
	assert_int_equal(logged.lines, 0);

	send_udp_query(fd, 0x2222, "Secret.Elsewhere.Example", TYPE_TXT);
	receive_udp(f, fd, &r);
	assert_int_equal(r.rcode, NXDOMAIN);
	assert_int_equal(logged.lines, 1);
	assert_int_equal(logged.reason, EGRESS_HOST_NOT_ALLOWED);
	assert_string_equal(logged.host, "secret.elsewhere.example");
	assert_string_equal(logged.detail, "TXT");
	close(fd);
}

static void test_udp_many(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	bool seen[100] = {false};
	struct response r;

	for (uint16_t id = 0; id < 100; id++)
		send_udp_query(fd, id, "allowed.example", TYPE_A);
	for (int i = 0; i < 100; i++) {
		receive_udp(f, fd, &r);
		assert_true(r.id < 100);
		assert_false(seen[r.id]);
		seen[r.id] = true;
	}
	close(fd);
}

static void test_udp_garbage(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	static uint8_t large[6000] = {0x12, 0x34, 1, 0, 0, 1};
	struct response r;

	assert_int_equal(send(fd, "", 0, 0), 0);
	assert_int_equal(send(fd, "abc", 3, 0), 3);
	assert_int_equal(send(fd, "\0\1\x81\0\0\1\0\0\0\0\0\0\0\0\1\0\1", 17, 0), 17);
	assert_int_equal(send(fd, large, sizeof(large), 0), sizeof(large));
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 0x1234);
	assert_int_equal(r.rcode, FORMERR);
	assert_int_equal(logged.lines, 4);
	assert_int_equal(logged.reason, EGRESS_BAD_REQUEST);
	assert_string_equal(logged.host, "");
	send_udp_query(fd, 7, "allowed.example", TYPE_A);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 7);
	close(fd);
}

/* ---- TCP ------------------------------------------------------------------------------------ */

static void test_tcp_split(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	uint8_t query[512];
	size_t size = make_framed(query, 5, "allowed.example", TYPE_A);
	struct response r;

	for (size_t i = 0; i < size; i++) {
		assert_int_equal(send(fd, query + i, 1, 0), 1);
		usleep(200);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	receive_tcp(f, fd, &r);
	assert_int_equal(r.id, 5);
	assert_int_equal(r.answers, 1);
	close(fd);
}

/* Each of a segment's queries is judged by itself, and answered in order. */
static void test_tcp_pipelined(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	uint8_t queries[16384];
	size_t size = 0, sent = 0;
	struct response r;

	for (uint16_t id = 0; id < 200; id++)
		size += make_framed(queries + size, id,
				    id % 3 == 1 ? "evil.example" : "allowed.example", TYPE_A);
	while (sent < size) { /* in pieces that cut queries anywhere */
		size_t piece = size - sent < 1013 ? size - sent : 1013;
		assert_int_equal(send(fd, queries + sent, piece, 0), piece);
		sent += piece;
	}
	for (uint16_t id = 0; id < 200; id++) {
		receive_tcp(f, fd, &r);
		assert_int_equal(r.id, id);
		assert_int_equal(r.rcode, id % 3 == 1 ? NXDOMAIN : NOERROR);
		assert_int_equal(r.answers, id % 3 == 1 ? 0 : 1);
	}
	assert_int_equal(logged.lines, 67);
	close(fd);
}

static void test_tcp_half_close(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	struct response r;

	send_tcp_query(fd, 9, "allowed.example");
	shutdown(fd, SHUT_WR);
	receive_tcp(f, fd, &r);
	assert_int_equal(r.id, 9);
	assert_true(closed_by_server(f, fd));
	close(fd);
}

/* Messages that deserve no answer are skipped; the next is answered. */
static void test_tcp_garbage(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	struct response r;

	assert_int_equal(send(fd, "\0\0\0\3abc", 7, 0), 7);
	assert_int_equal(send(fd, "\0\14\0\1\x81\0\0\1\0\0\0\0\0\0", 14, 0), 14);
	assert_int_equal(send(fd, "\0\14\0\2\1\0\0\1\0\0\0\0\0\0", 14, 0), 14);
	receive_tcp(f, fd, &r);
	assert_int_equal(r.id, 2);
	assert_int_equal(r.rcode, FORMERR);
	send_tcp_query(fd, 3, "allowed.example");
	receive_tcp(f, fd, &r);
	assert_int_equal(r.id, 3);
	close(fd);
}

/* A client that asks and does not read is not read from any more; nothing is lost once it does. */
static void test_tcp_backpressure(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	uint8_t queries[16384];
	size_t size = make_framed(queries, 1, "allowed.example", TYPE_A), sent = 0, received = 0;
	size_t answer = size + 16; /* one A record behind a compressed name */
	size_t room = sizeof(queries) / size * size;
	double quiet = now();
	char sink[65536];

	for (size_t at = size; at < room; at++)
		queries[at] = queries[at - size];
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (now() - quiet < 0.3) {
		ssize_t n = send(fd, queries + sent % room, room - sent % room, MSG_NOSIGNAL);
		if (n > 0) {
			sent += (size_t)n;
			quiet = now();
		}
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		assert_true(sent < 64u << 20); /* it would go on for ever */
	}
	size_t whole = sent / size;
	double end = now() + 20;
	while (received < whole * answer && now() < end) {
		ssize_t n = recv(fd, sink, sizeof(sink), 0);
		if (n > 0) {
			received += (size_t)n;
			end = now() + 20;
		}
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(received, whole * answer);
	print_message("%zu queries in flight before it stopped\n", whole);
	close(fd);
}

static void test_tcp_limit(void **state)
{
	struct fixture *f = *state;
	int fds[66];
	struct response r;

	for (int i = 0; i < 64; i++)
		fds[i] = tcp_client(f);
	pump(f);
	send_tcp_query(fds[0], 1, "allowed.example"); /* no longer the longest idle */
	receive_tcp(f, fds[0], &r);
	fds[64] = tcp_client(f);
	fds[65] = tcp_client(f);
	pump(f);
	assert_true(closed_by_server(f, fds[1]));
	assert_true(closed_by_server(f, fds[2]));
	for (int i = 0; i < 66; i++) {
		if (i != 1 && i != 2) {
			send_tcp_query(fds[i], (uint16_t)i, "allowed.example");
			receive_tcp(f, fds[i], &r);
			assert_int_equal(r.id, i);
		}
		close(fds[i]);
	}
}

/* Ten seconds without a whole query, a byte a second or not. */
static void test_tcp_idle(void **state)
{
	struct fixture *f = *state;
	int silent = tcp_client(f), trickle = tcp_client(f);
	double begin = now();
	uint8_t query[512];

	make_framed(query, 1, "allowed.example", TYPE_A);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(send(trickle, query + i, 1, MSG_NOSIGNAL), 1);
		/* By the clock: a busy machine's delays must not add up to the tenth second. */
		assert_false(pump_until(f, silent, begin + i + 1 - now()));
	}
	assert_true(pump_until(f, silent, 6));
	assert_true(closed_by_server(f, silent));
	assert_true(closed_by_server(f, trickle));
	assert_true(now() - begin > 9.5 && now() - begin < 15);
	close(silent);
	close(trickle);
}

/* A client waits, and no descriptor is left for it. */
static void meet_no_descriptors(struct fixture *f)
{
	struct rlimit files, none;
	int next = dup(0);

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){(rlim_t)next, files.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	pump(f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

/* After the pause neither the socket nor another pause was to be had: it was deaf for ever. */
static void test_tcp_no_memory_after_the_pause(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f), added;
	struct response r;

	send_tcp_query(fd, 1, "allowed.example");
	meet_no_descriptors(f);
	added = event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED);
	/* The pause lasts, whatever comes. */
	dns_responder_pulse(f->responder);
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), added);
	no_events = true;
	assert_false(pump_until(f, fd, 0.3));
	dns_responder_pulse(f->responder);
	no_events = false;
	assert_int_equal(event_base_get_num_events(f->base, EVENT_BASE_COUNT_ADDED), added - 1);
	dns_responder_pulse(f->responder);
	receive_tcp(f, fd, &r);
	assert_int_equal(r.id, 1);
	close(fd);
}

/* One that can be watched no more is closed, not left without an answer. */
static void test_tcp_no_memory_to_go_on(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	struct response r;

	send_tcp_query(fd, 1, "allowed.example");
	receive_tcp(f, fd, &r);
	no_events = true;
	send_tcp_query(fd, 2, "allowed.example");
	receive_tcp(f, fd, &r);
	assert_true(closed_by_server(f, fd));
	no_events = false;
	close(fd);
}

/* ---- dns.mode real -------------------------------------------------------------------------- */

static void test_real_udp(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	struct response r;

	send_udp_query(fd, 1, "now.example", TYPE_A);
	receive_udp(f, fd, &r);
	assert_int_equal(r.answers, 1);
	assert_memory_equal(r.data + r.size - 10, "\0\0\0\115\0\4\313\0\161\11", 10);

	send_udp_query(fd, 2, "Slow.example", TYPE_A);
	send_udp_query(fd, 3, "slow.example", TYPE_AAAA);
	send_udp_query(fd, 4, "evil.example", TYPE_A);
	send_udp_query(fd, 5, "gone.example", TYPE_A);
	send_udp_query(fd, 6, "egress", TYPE_A);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 6); /* needs no look-up */
	pump(f);
	assert_int_equal(lookups.count, 4);
	assert_string_equal(lookups.waiting[0].name, "slow.example");

	end_lookup(1, EGRESS_ALLOWED, 3);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 3);
	assert_int_equal(r.answers, 1);
	assert_memory_equal(r.data + r.size - 18, "\0\20\40\1\15\270", 6);
	end_lookup(0, EGRESS_ALLOWED, 3);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 2);
	assert_int_equal(r.answers, 2);
	assert_memory_equal(r.data + 13, "Slow", 4);
	assert_int_equal(logged.lines, 0);
	end_lookup(2, EGRESS_HOST_NOT_ALLOWED, 0);
	receive_udp(f, fd, &r);
	assert_int_equal(r.rcode, NXDOMAIN);
	end_lookup(3, EGRESS_UPSTREAM_UNRESOLVED, 0);
	receive_udp(f, fd, &r);
	assert_int_equal(r.rcode, SERVFAIL);
	assert_int_equal(logged.lines, 2);
	close(fd);
}

static void test_real_truncated(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	struct response r;

	send_udp_query(fd, 1, "large.example", TYPE_A);
	pump(f);
	end_lookup(0, EGRESS_ALLOWED, 64);
	receive_udp(f, fd, &r);
	assert_true(r.truncated);
	assert_int_equal(r.answers, 0);
	close(fd);

	fd = tcp_client(f);
	send_tcp_query(fd, 2, "large.example");
	pump(f);
	end_lookup(1, EGRESS_ALLOWED, 64);
	receive_tcp(f, fd, &r);
	assert_false(r.truncated);
	assert_int_equal(r.answers, 63);
	close(fd);
}

/* In order also when the second could be answered first. */
static void test_real_tcp_order(void **state)
{
	struct fixture *f = *state;
	int fd = tcp_client(f);
	struct response r;

	send_tcp_query(fd, 1, "slow.example");
	send_tcp_query(fd, 2, "now.example");
	send_tcp_query(fd, 3, "now.example");
	shutdown(fd, SHUT_WR);
	assert_false(pump_until(f, fd, 0.1));
	assert_int_equal(lookups.count, 1);
	end_lookup(0, EGRESS_ALLOWED, 1);
	for (uint16_t id = 1; id <= 3; id++) {
		receive_tcp(f, fd, &r);
		assert_int_equal(r.id, id);
	}
	assert_true(closed_by_server(f, fd));
	close(fd);
}

/* The connection goes before the answer comes. */
static void test_real_tcp_gone(void **state)
{
	struct fixture *f = *state;
	int fds[65];

	fds[0] = tcp_client(f);
	send_tcp_query(fds[0], 1, "slow.example");
	pump(f);
	for (int i = 1; i < 65; i++)
		fds[i] = tcp_client(f);
	pump(f);
	assert_true(closed_by_server(f, fds[0]));
	end_lookup(0, EGRESS_ALLOWED, 1);
	pump(f);
	for (int i = 0; i < 65; i++)
		close(fds[i]);
}

/* The responder goes first; the sanitizers would see the answer touch it, or be lost. */
static void test_real_responder_gone(void **state)
{
	struct fixture *f = *state;
	int udp = udp_client(f), tcp = tcp_client(f);

	send_udp_query(udp, 1, "slow.example", TYPE_A);
	send_tcp_query(tcp, 2, "slow.example");
	pump(f);
	assert_int_equal(lookups.count, 2);
	dns_responder_free(f->responder);
	f->responder = NULL;
	end_lookup(0, EGRESS_ALLOWED, 1);
	end_lookup(1, EGRESS_ALLOWED, 1);
	assert_false(pump_until(f, udp, 0.05));
	close(udp);
	close(tcp);
}

static void test_real_limit(void **state)
{
	struct fixture *f = *state;
	int fd = udp_client(f);
	struct response r;

	for (uint16_t id = 0; id < 256; id++) {
		send_udp_query(fd, id, "slow.example", TYPE_A);
		if (id % 32 == 31)
			pump(f);
	}
	assert_int_equal(lookups.count, 256);
	send_udp_query(fd, 999, "slow.example", TYPE_A);
	receive_udp(f, fd, &r);
	assert_int_equal(r.id, 999);
	assert_int_equal(r.rcode, REFUSED);
	assert_int_equal(logged.reason, EGRESS_LIMIT);
	for (size_t i = 0; i < 256; i++)
		end_lookup(i, EGRESS_ALLOWED, 1);
	send_udp_query(fd, 1000, "slow.example", TYPE_A);
	pump(f);
	assert_int_equal(lookups.count, 257);
	end_lookup(256, EGRESS_ALLOWED, 1);
	close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define R(name) cmocka_unit_test_setup_teardown(name, setup_real, teardown)
	const struct CMUnitTest tests[] = {
		T(test_udp),
		T(test_udp_many),
		T(test_udp_garbage),
		T(test_tcp_split),
		T(test_tcp_pipelined),
		T(test_tcp_half_close),
		T(test_tcp_garbage),
		T(test_tcp_backpressure),
		T(test_tcp_limit),
		T(test_tcp_idle),
		T(test_tcp_no_memory_after_the_pause),
		T(test_tcp_no_memory_to_go_on),
		R(test_real_udp),
		R(test_real_truncated),
		R(test_real_tcp_order),
		R(test_real_tcp_gone),
		R(test_real_responder_gone),
		R(test_real_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
