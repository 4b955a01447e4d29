/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "rpc.h"

/* ---- the supervisor's side: a service that shows what it was asked ------------------------- */

static void bind_name(void *context, const char *name, struct rpc_host *ret)
{
	(*(int *)context)++;
	if (strcmp(name, "refused.example") == 0) {
		ret->reason = EGRESS_LIMIT;
		return;
	}
	if (strcmp(name, "silent.example") == 0)
		return;
	ret->id = 7;
	ret->reason = EGRESS_ALLOWED;
	memset(&ret->address, 0xc6, sizeof(ret->address));
	snprintf(ret->name, sizeof(ret->name), "%s", name);
}

static void host_by_id(void *context, uint32_t id, struct rpc_host *ret)
{
	(*(int *)context)++;
	ret->id = id;
	ret->reason = EGRESS_ALLOWED;
	snprintf(ret->name, sizeof(ret->name), "host-%u.example", id);
}

static void bind_addresses(void *context, const char *name, const struct egress_address *addresses,
			   size_t count, struct rpc_host *ret)
{
	(*(int *)context)++;
	ret->id = (uint32_t)count;
	ret->reason = EGRESS_ALLOWED;
	if (count)
		ret->address = addresses[count - 1];
	snprintf(ret->name, sizeof(ret->name), "%s", name);
}

static int sign_leaf(void *context, const char *host, struct span key, struct bytes *ret_der)
{
	(*(int *)context)++;
	if (strcmp(host, "refused.example") == 0)
		return -1;
	if (strcmp(host, "large.example") == 0) {
		char block[5000] = {0};
		return bytes_append(ret_der, block, sizeof(block)) ? 0 : -1;
	}
	return bytes_append_text(ret_der, host) && bytes_append(ret_der, key.data, key.length) ? 0
											       : -1;
}

static void take_ask(void *context, const struct ask *ask, struct ask_answer *ret)
{
	++*(int *)context;
	*ret = (struct ask_answer){.state = ASK_PENDING};
	memcpy(ret->id, ask->path, strlen(ask->path));
}

static void tell_state(void *context, const char *id, struct ask_answer *ret)
{
	++*(int *)context;
	*ret = (struct ask_answer){.state = strcmp(id, "1-a1") == 0 ? ASK_DENIED : ASK_UNKNOWN};
}

struct fixture {
	int worker, supervisor;
	int asked;  /* how often the service was called */
	int result; /* what the serving thread ended with */
	struct rpc_service service;
	pthread_t thread;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	if (!f || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	f->worker = pair[0];
	f->supervisor = pair[1];
	f->service = (struct rpc_service){
		.bind_name = bind_name,
		.host_by_id = host_by_id,
		.bind_addresses = bind_addresses,
		.ask = take_ask,
		.ask_state = tell_state,
		.sign_leaf = sign_leaf,
		.context = &f->asked,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->worker >= 0)
		close(f->worker);
	if (f->supervisor >= 0)
		close(f->supervisor);
	free(f);
	return 0;
}

static void *serve(void *argument)
{
	struct fixture *f = argument;

	while ((f->result = rpc_serve(f->supervisor, &f->service)) == 1)
		;
	return NULL;
}

static void start(struct fixture *f)
{
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static int finish(struct fixture *f)
{
	close(f->worker);
	f->worker = -1;
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	return f->result;
}

static void test_asks(void **state)
{
	struct fixture *f = *state;
	struct ask ask = {.port = 443, .host = "a.test", .path = "/x", .reason = "because"};
	struct ask_answer answer;

	start(f);
	assert_int_equal(rpc_ask(f->worker, &ask, &answer), 0);
	assert_int_equal(answer.state, ASK_PENDING);
	assert_string_equal(answer.id, "/x");
	assert_int_equal(rpc_ask_state(f->worker, "1-a1", &answer), 0);
	assert_int_equal(answer.state, ASK_DENIED);
	/* What cannot be an id is not asked for. */
	assert_int_equal(rpc_ask_state(f->worker, "", &answer), 0);
	assert_int_equal(answer.state, ASK_UNKNOWN);
	assert_int_equal(f->asked, 2);
	/* A text without an end ends the worker, whatever the service would say. */
	memset(ask.reason, 'x', sizeof(ask.reason));
	assert_int_equal(rpc_ask(f->worker, &ask, &answer), -1);
	assert_int_equal(finish(f), -1);
	assert_int_equal(f->asked, 2);
}

static void test_calls(void **state)
{
	struct fixture *f = *state;
	struct egress_address addresses[80];
	struct rpc_host host;
	struct bytes der = {0};

	start(f);
	assert_int_equal(rpc_bind_name(f->worker, "api.example", &host), 0);
	assert_int_equal(host.reason, EGRESS_ALLOWED);
	assert_int_equal(host.id, 7);
	assert_string_equal(host.name, "api.example");
	assert_int_equal(host.address.bytes[15], 0xc6);

	assert_int_equal(rpc_bind_name(f->worker, "refused.example", &host), 0);
	assert_int_equal(host.reason, EGRESS_LIMIT);
	assert_string_equal(host.name, "");
	assert_int_equal(rpc_bind_name(f->worker, "silent.example", &host), 0);
	assert_int_equal(host.reason, EGRESS_INTERNAL);

	assert_int_equal(rpc_host_by_id(f->worker, 4294967295u, &host), 0);
	assert_string_equal(host.name, "host-4294967295.example");

	for (size_t i = 0; i < 80; i++)
		memset(&addresses[i], (int)i, sizeof(addresses[i]));
	assert_int_equal(rpc_bind_addresses(f->worker, "a.example", addresses, 3, &host), 0);
	assert_int_equal(host.id, 3);
	assert_int_equal(host.address.bytes[0], 2);
	assert_int_equal(rpc_bind_addresses(f->worker, "a.example", addresses, 80, &host), 0);
	assert_int_equal(host.id, 64);
	assert_int_equal(rpc_bind_addresses(f->worker, "a.example", NULL, 0, &host), 0);
	assert_int_equal(host.id, 0);

	assert_int_equal(rpc_sign_leaf(f->worker, "a.example", SPAN("-key"), &der), 0);
	assert_true(span_equal(bytes_span(&der), SPAN("a.example-key")));
	assert_int_equal(rpc_sign_leaf(f->worker, "refused.example", SPAN("k"), &der), -1);
	assert_int_equal(rpc_sign_leaf(f->worker, "large.example", SPAN("k"), &der), -1);
	assert_true(span_equal(bytes_span(&der), SPAN("a.example-key")));
	bytes_free(&der);
	assert_int_equal(f->asked, 10);
	assert_int_equal(finish(f), 0);
}

/* Names and keys that cannot be right never leave the worker. */
static void test_local_refusals(void **state)
{
	struct fixture *f = *state;
	char name[300];
	struct rpc_host host = {0};
	struct bytes der = {0};
	static const char key[1025];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(rpc_bind_name(f->worker, name, &host), 0);
	assert_int_equal(host.reason, EGRESS_HOST_NOT_ALLOWED);
	assert_int_equal(rpc_bind_name(f->worker, "", &host), 0);
	assert_int_equal(host.reason, EGRESS_HOST_NOT_ALLOWED);
	assert_int_equal(rpc_bind_addresses(f->worker, name, NULL, 0, &host), 0);
	assert_int_equal(host.reason, EGRESS_HOST_NOT_ALLOWED);
	assert_int_equal(rpc_sign_leaf(f->worker, name, SPAN("k"), &der), -1);
	assert_int_equal(rpc_sign_leaf(f->worker, "a", (struct span){key, sizeof(key)}, &der), -1);
	assert_int_equal(rpc_sign_leaf(f->worker, "a", (struct span){key, 0}, &der), -1);
	assert_int_equal(recv(f->supervisor, name, sizeof(name), MSG_DONTWAIT), -1);
}

/* ---- hostile calls: real ones, changed on the way ------------------------------------------- */

enum which { BIND, BY_ID, ADDRESSES, LEAF };
struct call_thread {
	int fd;
	enum which which;
};

static void *make_call(void *argument)
{
	struct call_thread *c = argument;
	struct egress_address addresses[2] = {0};
	struct rpc_host host;
	struct bytes der = {0};
	int r = -1;

	if (c->which == BIND)
		r = rpc_bind_name(c->fd, "api.example", &host);
	else if (c->which == BY_ID)
		r = rpc_host_by_id(c->fd, 3, &host);
	else if (c->which == ADDRESSES)
		r = rpc_bind_addresses(c->fd, "api.example", addresses, 2, &host);
	else
		r = rpc_sign_leaf(c->fd, "api.example", SPAN("key"), &der);
	bytes_free(&der);
	return r == 0 ? c : NULL;
}

/* The bytes of a real call; the caller's end closes without an answer. */
static size_t capture(enum which which, unsigned char *buffer, size_t size)
{
	int pair[2];
	pthread_t thread;
	void *result;
	ssize_t length;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	struct call_thread c = {pair[0], which};
	assert_int_equal(pthread_create(&thread, NULL, make_call, &c), 0);
	length = recv(pair[1], buffer, size, 0);
	assert_true(length > 8);
	close(pair[1]);
	pthread_join(thread, &result);
	assert_null(result); /* the supervisor's death ends the call */
	close(pair[0]);
	return (size_t)length;
}

static int serve_bytes(struct fixture *f, const void *data, size_t length)
{
	char reply[8192];
	int r;

	assert_int_equal(send(f->worker, data, length, 0), length);
	r = rpc_serve(f->supervisor, &f->service);
	while (recv(f->worker, reply, sizeof(reply), MSG_DONTWAIT) > 0)
		;
	return r;
}

static void test_every_length(void **state)
{
	struct fixture *f = *state;
	unsigned char call[8192] = {0};

	for (enum which which = BIND; which <= LEAF; which++) {
		size_t length = capture(which, call, sizeof(call) - 1);

		for (size_t cut = 0; cut < length; cut++)
			assert_int_equal(serve_bytes(f, call, cut), -1);
		assert_int_equal(f->asked, (int)which);
		call[length] = 0;
		assert_int_equal(serve_bytes(f, call, length + 1), -1);
		assert_int_equal(serve_bytes(f, call, sizeof(call)), -1);
		assert_int_equal(serve_bytes(f, call, length), 1);
		assert_int_equal(f->asked, (int)which + 1);
	}
}

static void test_bad_fields(void **state)
{
	struct fixture *f = *state;
	unsigned char call[8192], changed[8192];
	static const struct {
		enum which which;
		size_t offset;
		unsigned char value;
		const char *what;
	} cases[] = {
		{BIND, 0, 0, "type 0"},
		{BIND, 0, 2, "another call's type"},
		{BIND, 0, 5, "no such type"},
		{BIND, 3, 0x80, "a huge type"},
		{BIND, 8, 0, "an empty name with something behind its NUL"},
		{BIND, 8 + 255, 'x', "something behind the NUL"},
		{BIND, 8 + 12, 'x', "something right behind the NUL"},
		{ADDRESSES, 8 + 256, 3, "one address more than came"},
		{ADDRESSES, 8 + 256, 1, "one less"},
		{ADDRESSES, 8 + 256 + 3, 0x10, "a count that wraps: 2^28 * 16"},
		{ADDRESSES, 8 + 255, 'x', "addresses: something behind the NUL"},
		{LEAF, 8 + 256, 4, "a key longer than came"},
		{LEAF, 8 + 256, 0, "no key"},
		{LEAF, 8 + 256 + 3, 0xff, "a huge key"},
		{LEAF, 8 + 255, 'x', "leaf: something behind the NUL"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t length = capture(cases[i].which, call, sizeof(call));

		memcpy(changed, call, length);
		changed[cases[i].offset] = cases[i].value;
		if (serve_bytes(f, changed, length) != -1)
			fail_msg("accepted: %s", cases[i].what);
		assert_int_equal(f->asked, 0);
	}
	size_t length = capture(BIND, call, sizeof(call));
	memset(call + 8, 'a', EGRESS_NAME_SIZE);
	assert_int_equal(serve_bytes(f, call, length), -1);
	memset(call + 8, 0, EGRESS_NAME_SIZE);
	assert_int_equal(serve_bytes(f, call, length), -1);
	assert_int_equal(f->asked, 0);
}

static size_t open_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void send_with_fds(int socket, const void *data, size_t length, size_t fd_count)
{
	union {
		char buffer[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} ancillary = {.buffer = {0}};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
	struct msghdr header = {.msg_iov = &iov,
				.msg_iovlen = 1,
				.msg_control = ancillary.buffer,
				.msg_controllen = CMSG_SPACE(fd_count * sizeof(int))};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
	for (size_t i = 0; i < fd_count; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &socket, sizeof(int));
	assert_int_equal(sendmsg(socket, &header, 0), length);
}

static void test_call_with_descriptor(void **state)
{
	struct fixture *f = *state;
	unsigned char call[8192];
	size_t length = capture(BIND, call, sizeof(call));
	size_t before = open_descriptors();

	send_with_fds(f->worker, call, length, 1);
	assert_int_equal(rpc_serve(f->supervisor, &f->service), -1);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(f->asked, 0);
}

static void test_worker_death(void **state)
{
	struct fixture *f = *state;
	unsigned char call[8192];
	size_t length = capture(BIND, call, sizeof(call));

	/* it dies with its call sent: there is nobody to answer */
	assert_int_equal(send(f->worker, call, length, 0), length);
	close(f->worker);
	f->worker = -1;
	assert_int_equal(rpc_serve(f->supervisor, &f->service), 0);
	assert_int_equal(rpc_serve(f->supervisor, &f->service), 0);
}

/* A worker that asks and never reads must not block the supervisor. */
static void test_replies_not_taken(void **state)
{
	struct fixture *f = *state;
	unsigned char call[8192];
	size_t length = capture(BIND, call, sizeof(call));
	int r = 1;

	alarm(20);
	for (int i = 0; i < 100000 && r == 1; i++) {
		assert_int_equal(send(f->worker, call, length, 0), length);
		r = rpc_serve(f->supervisor, &f->service);
	}
	alarm(0);
	assert_int_equal(r, -1);
}

/* Without a kernel wall nobody binds names; a worker that was taken over asks all the same. */
static void test_services_not_there(void **state)
{
	const struct egress_address address = {{0}};
	struct fixture *f = *state;
	struct rpc_host host;

	f->service = (struct rpc_service){.sign_leaf = sign_leaf, .context = &f->asked};
	start(f);
	assert_int_equal(rpc_bind_name(f->worker, "a.example", &host), 0);
	assert_int_equal(host.reason, EGRESS_INTERNAL);
	assert_int_equal(rpc_host_by_id(f->worker, 1, &host), 0);
	assert_int_equal(host.reason, EGRESS_INTERNAL);
	assert_int_equal(rpc_bind_addresses(f->worker, "a.example", &address, 1, &host), 0);
	assert_int_equal(host.reason, EGRESS_INTERNAL);
	assert_int_equal(finish(f), 0);
	assert_int_equal(f->asked, 0);
}

static void test_nothing_to_read(void **state)
{
	struct fixture *f = *state;

	fcntl(f->supervisor, F_SETFL, O_NONBLOCK);
	assert_int_equal(rpc_serve(f->supervisor, &f->service), 1);
	assert_int_equal(f->asked, 0);
}

/* ---- replies that are wrong ----------------------------------------------------------------- */

struct forger {
	int fd;
	int mode;
};

/* Answers one BY_ID call: `mode` says what is wrong with the reply. */
static void *forge(void *argument)
{
	struct forger *g = argument;
	struct {
		uint32_t type, sequence;
		struct rpc_host host;
	} reply = {.host = {.id = 3, .name = "right.example"}};
	unsigned char call[8192];

	if (recv(g->fd, call, sizeof(call), 0) < 8)
		return NULL;
	memcpy(&reply, call, 8);
	if (g->mode == 1)
		reply.type++;
	if (g->mode == 2)
		reply.sequence++;
	if (g->mode == 3)
		reply.host.reason = EGRESS_REASON_COUNT;
	if (g->mode == 4)
		memset(reply.host.name, 'x', sizeof(reply.host.name));
	if (g->mode == 6) { /* the late answer to an older call comes first */
		reply.sequence--;
		memcpy(reply.host.name, "wrong", 5);
		send(g->fd, &reply, sizeof(reply), 0);
		memcpy(reply.host.name, "right", 5);
		reply.sequence++;
	}
	send(g->fd, &reply, sizeof(reply) - (g->mode == 5), 0);
	return NULL;
}

static void test_wrong_replies(void **state)
{
	struct fixture *f = *state;
	struct rpc_host host = {.name = "untouched"};

	for (int mode = 0; mode <= 6; mode++) {
		struct forger g = {f->supervisor, mode};
		int expected = mode == 0 || mode == 6 ? 0 : -1;

		assert_int_equal(pthread_create(&f->thread, NULL, forge, &g), 0);
		assert_int_equal(rpc_host_by_id(f->worker, 3, &host), expected);
		pthread_join(f->thread, NULL);
		if (expected == 0)
			assert_string_equal(host.name, "right.example");
		if (mode == 0)
			memset(host.name, 'u', 5);
		else if (mode < 6)
			assert_string_equal(host.name, "uuuuu.example");
	}
}

static void nothing(int signal_number)
{
	(void)signal_number;
}

/* A silent supervisor costs five seconds, signals or not. */
static void test_timeout(void **state)
{
	struct fixture *f = *state;
	struct sigaction action = {.sa_handler = nothing};
	struct timespec begin, end;
	struct rpc_host host;
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec every = {{0, 400000000}, {0, 400000000}};

	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	timer_settime(timer, 0, &every, NULL);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(rpc_bind_name(f->worker, "api.example", &host), -1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	timer_delete(timer);
	double seconds =
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	assert_true(seconds > 4.9 && seconds < 7);
}

/* ---- control -------------------------------------------------------------------------------- */

static void test_control(void **state)
{
	struct fixture *f = *state;
	struct rpc_control message = {.type = RPC_CONTROL_CONFIG}, got;
	size_t before = open_descriptors();
	int memfd = memfd_create("config", MFD_CLOEXEC), fd = -2;
	char content[5] = {0};

	assert_int_equal(write(memfd, "blob", 4), 4);
	assert_int_equal(rpc_control_send(f->supervisor, &message, memfd), 0);
	close(memfd);
	assert_int_equal(rpc_control_receive(f->worker, &got, &fd), 1);
	assert_int_equal(got.type, RPC_CONTROL_CONFIG);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pread(fd, content, 4, 0), 4);
	assert_string_equal(content, "blob");
	close(fd);
	assert_int_equal(open_descriptors(), before);

	/* What may be forgotten again may come without one. */
	message.type = RPC_CONTROL_AHEAD;
	assert_int_equal(rpc_control_send(f->supervisor, &message, f->worker), 0);
	assert_int_equal(rpc_control_send(f->supervisor, &message, -1), 0);
	assert_int_equal(rpc_control_receive(f->worker, &got, &fd), 1);
	assert_int_equal(got.type, RPC_CONTROL_AHEAD);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rpc_control_receive(f->worker, &got, &fd), 1);
	assert_int_equal(fd, -1);

	message.type = RPC_CONTROL_FAILED;
	strcpy(message.text, "line 3: no such key");
	assert_int_equal(rpc_control_send(f->worker, &message, -1), 0);
	assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), 1);
	assert_int_equal(fd, -1);
	assert_string_equal(got.text, "line 3: no such key");
}

static void test_control_send_checks(void **state)
{
	struct fixture *f = *state;
	struct rpc_control message = {.type = RPC_CONTROL_STOP};

	assert_int_equal(rpc_control_send(f->supervisor, &message, f->worker), -EINVAL);
	message.type = 9;
	assert_int_equal(rpc_control_send(f->supervisor, &message, -1), -EINVAL);
	message.type = RPC_CONTROL_STOP;
	memset(message.text, 'x', sizeof(message.text));
	assert_int_equal(rpc_control_send(f->supervisor, &message, -1), -EINVAL);

	message.text[0] = '\0';
	int r = 0;
	for (int i = 0; i < 100000 && r == 0; i++)
		r = rpc_control_send(f->supervisor, &message, -1);
	assert_int_equal(r, -EAGAIN);
	close(f->worker);
	f->worker = -1;
	r = rpc_control_send(f->supervisor, &message, -1);
	assert_true(r == -EPIPE || r == -ECONNRESET);
}

static void test_control_hostile(void **state)
{
	struct fixture *f = *state;
	struct rpc_control message = {.type = RPC_CONTROL_DONE}, got = {.type = 77};
	char large[sizeof(message) + 1] = {RPC_CONTROL_DONE};
	size_t before = open_descriptors();
	int fd = -2;

	for (size_t length = 0; length < sizeof(message); length++) {
		assert_int_equal(send(f->worker, &message, length, 0), length);
		assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
	}
	send(f->worker, large, sizeof(large), 0);
	assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);

	for (uint32_t type = 0; type < 10; type += RPC_CONTROL_AHEAD + 1) {
		struct rpc_control wrong = {.type = type};
		send(f->worker, &wrong, sizeof(wrong), 0);
		assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
	}
	memset(message.text, 'x', sizeof(message.text));
	send(f->worker, &message, sizeof(message), 0);
	assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
	memset(message.text, 0, sizeof(message.text));

	/* descriptors where none belong, and too many where one does */
	for (size_t count = 1; count <= 8; count++) {
		message.type = RPC_CONTROL_DONE;
		send_with_fds(f->worker, &message, sizeof(message), count);
		assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
		message.type = RPC_CONTROL_CONFIG;
		send_with_fds(f->worker, &message, sizeof(message), count + 1);
		assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
		send_with_fds(f->worker, &message, sizeof(message) - 1, 1);
		assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EPROTO);
		assert_int_equal(open_descriptors(), before);
	}
	assert_int_equal(got.type, 77);
	assert_int_equal(fd, -2);

	fcntl(f->supervisor, F_SETFL, O_NONBLOCK);
	assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), -EAGAIN);
	close(f->worker);
	f->worker = -1;
	assert_int_equal(rpc_control_receive(f->supervisor, &got, &fd), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_calls),
		T(test_asks),
		T(test_local_refusals),
		T(test_every_length),
		T(test_bad_fields),
		T(test_call_with_descriptor),
		T(test_worker_death),
		T(test_replies_not_taken),
		T(test_nothing_to_read),
		T(test_services_not_there),
		T(test_wrong_replies),
		T(test_timeout),
		T(test_control),
		T(test_control_send_checks),
		T(test_control_hostile),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
