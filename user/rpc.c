/* SPDX-License-Identifier: BSD-2-Clause */
/* Both ends of what supervisor and worker say to each other.
 * Both are the same binary on the same machine, so messages are plain structures; but what the
 * supervisor reads may come from a compromised worker, so every length and text is checked. */
#include "rpc.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

/* The worker's loop stands still meanwhile; a supervisor that is silent for so long is as good as
 * gone. */
#define CALL_TIMEOUT_MS 5000

/* A P-256 key is 91 bytes of DER and its leaf below 1 KiB; room for other kinds, and an end to
 * both. */
#define MAX_PUBLIC_KEY 1024
#define MAX_LEAF 4096

enum call_type { CALL_BIND_NAME = 1, CALL_HOST_BY_ID, CALL_BIND_ADDRESSES, CALL_SIGN_LEAF,
		 CALL_ASK, CALL_ASK_STATE };

/* A reply repeats its call's header, so that a late one is not taken for the next call's. */
struct header {
	uint32_t type;
	uint32_t sequence;
};
struct name_call {
	struct header header;
	char name[EGRESS_NAME_SIZE];
};
struct id_call {
	struct header header;
	uint32_t id;
};
struct addresses_call { /* sent without the unused end of the array */
	struct header header;
	char name[EGRESS_NAME_SIZE];
	uint32_t count;
	struct egress_address addresses[RPC_MAX_ADDRESSES];
};
struct leaf_call { /* sent without the unused end of the key */
	struct header header;
	char host[EGRESS_NAME_SIZE];
	uint32_t length;
	unsigned char public_key[MAX_PUBLIC_KEY];
};
struct ask_call {
	struct header header;
	struct ask ask;
};
struct state_call {
	struct header header;
	char id[ASK_ID_SIZE];
};
struct host_reply {
	struct header header;
	struct rpc_host host;
};
struct leaf_reply { /* sent without the unused end of the DER */
	struct header header;
	int32_t status; /* 0, or -1 and no DER */
	uint32_t length;
	unsigned char der[MAX_LEAF];
};
struct ask_reply {
	struct header header;
	struct ask_answer answer;
};
union call {
	struct header header;
	struct name_call name;
	struct id_call id;
	struct addresses_call addresses;
	struct leaf_call leaf;
	struct ask_call ask;
	struct state_call state;
};
union reply {
	struct header header;
	struct host_reply host;
	struct leaf_reply leaf;
	struct ask_reply ask;
};

/* NUL-terminated within its field, not empty, and nothing hidden behind the NUL. What is behind the
 * NUL would be bytes of a memory that the sender did not mean to show. */
static bool text_ends(const char *field, size_t size)
{
	size_t length = strnlen(field, size);

	if (length == size)
		return false;
	for (size_t i = length; i < size; i++)
		if (field[i])
			return false;
	return true;
}

static bool text_valid(const char *field, size_t size)
{
	return field[0] && text_ends(field, size);
}

static bool name_fits(const char *name)
{
	size_t length = strnlen(name, EGRESS_NAME_SIZE);

	return length > 0 && length < EGRESS_NAME_SIZE;
}

/* One whole message; -EMSGSIZE when it was longer than `size`, -EPROTO when descriptors came with
 * it (without a buffer for them the kernel installs none). */
static ssize_t receive_message(int fd, void *buffer, size_t size, int flags)
{
	struct iovec iov = {.iov_base = buffer, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t length;

	do
		length = recvmsg(fd, &message, flags);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return -errno;
	if (message.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (message.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	return length;
}

/* Whole or not at all: SOCK_SEQPACKET has no half messages. */
static int send_message(int fd, const void *data, size_t length)
{
	ssize_t sent;

	do
		sent = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* ---- the worker's side ---------------------------------------------------------------------- */

/* One deadline for the whole call: SO_RCVTIMEO would start anew after each signal and each late
 * reply. */
static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int64_t left;
	int ready;

	do {
		left = deadline - clock_monotonic_ms();
		ready = poll(&pollfd, 1, left > 0 ? (int)left : 0);
	} while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : -1;
}

static int send_call(int fd, const void *call, size_t length, int64_t deadline)
{
	int r;

	while ((r = send_message(fd, call, length)) == -EAGAIN)
		if (wait_for(fd, POLLOUT, deadline) < 0)
			return -1;
	return r;
}

/* Returns the reply's length, or -1: the supervisor is gone, silent or out of step. */
static ssize_t receive_reply(int fd, const struct header *call, union reply *reply,
			     int64_t deadline)
{
	for (;;) {
		ssize_t length = receive_message(fd, reply, sizeof(*reply), MSG_DONTWAIT);

		if (length == -EAGAIN) {
			if (wait_for(fd, POLLIN, deadline) < 0)
				return -1;
			continue;
		}
		if (length < (ssize_t)sizeof(reply->header))
			return -1;
		if (reply->header.sequence == call->sequence)
			return reply->header.type == call->type ? length : -1;
		/* The answer to a call that timed out: skip it; one from the future is a fault. */
		if ((int32_t)(reply->header.sequence - call->sequence) > 0)
			return -1;
	}
}

static ssize_t exchange(int fd, enum call_type type, union call *call, size_t length,
			union reply *reply)
{
	static _Atomic uint32_t last_sequence;
	int64_t deadline = clock_monotonic_ms() + CALL_TIMEOUT_MS;

	call->header.type = type;
	/* Never reused within a worker's life but after 2^32 calls; a reply that is late has
	 * another number. */
	call->header.sequence = atomic_fetch_add(&last_sequence, 1) + 1;
	if (send_call(fd, call, length, deadline) < 0)
		return -1;
	return receive_reply(fd, &call->header, reply, deadline);
}

/* Even the supervisor's answer is checked: a name without an end would be read past its field. */
static int call_for_host(int fd, enum call_type type, union call *call, size_t length,
			 struct rpc_host *ret)
{
	union reply reply;

	if (exchange(fd, type, call, length, &reply) != sizeof(reply.host))
		return -1;
	if (reply.host.host.reason >= EGRESS_REASON_COUNT ||
	    reply.host.host.name[EGRESS_NAME_SIZE - 1])
		return -1;
	*ret = reply.host.host;
	return 0;
}

/* A name that no route can have needs no call. */
static int refuse_name(struct rpc_host *ret)
{
	*ret = (struct rpc_host){.reason = EGRESS_HOST_NOT_ALLOWED};
	return 0;
}

int rpc_bind_name(int fd, const char *name, struct rpc_host *ret)
{
	union call call;

	if (!name_fits(name))
		return refuse_name(ret);
	call.name = (struct name_call){.name = ""};
	memcpy(call.name.name, name, strlen(name));
	return call_for_host(fd, CALL_BIND_NAME, &call, sizeof(call.name), ret);
}

int rpc_host_by_id(int fd, uint32_t id, struct rpc_host *ret)
{
	union call call;

	call.id = (struct id_call){.id = id};
	return call_for_host(fd, CALL_HOST_BY_ID, &call, sizeof(call.id), ret);
}

int rpc_bind_addresses(int fd, const char *name, const struct egress_address *addresses,
		       size_t count, struct rpc_host *ret)
{
	union call call;
	size_t length;

	if (!name_fits(name))
		return refuse_name(ret);
	if (count > RPC_MAX_ADDRESSES)
		count = RPC_MAX_ADDRESSES;
	call.addresses = (struct addresses_call){.count = (uint32_t)count};
	memcpy(call.addresses.name, name, strlen(name));
	if (count)
		memcpy(call.addresses.addresses, addresses, count * sizeof(*addresses));
	length = offsetof(struct addresses_call, addresses) + count * sizeof(*addresses);
	return call_for_host(fd, CALL_BIND_ADDRESSES, &call, length, ret);
}

int rpc_sign_leaf(int fd, const char *host, struct span public_key, struct bytes *ret_der)
{
	union call call;
	union reply reply;
	size_t length;

	if (!name_fits(host) || public_key.length == 0 || public_key.length > MAX_PUBLIC_KEY)
		return -1;
	call.leaf = (struct leaf_call){.length = (uint32_t)public_key.length};
	memcpy(call.leaf.host, host, strlen(host));
	memcpy(call.leaf.public_key, public_key.data, public_key.length);
	length = offsetof(struct leaf_call, public_key) + public_key.length;

	ssize_t received = exchange(fd, CALL_SIGN_LEAF, &call, length, &reply);
	if (received < (ssize_t)offsetof(struct leaf_reply, der) || reply.leaf.status != 0 ||
	    reply.leaf.length == 0 || reply.leaf.length > MAX_LEAF ||
	    (size_t)received != offsetof(struct leaf_reply, der) + reply.leaf.length)
		return -1;
	return bytes_append(ret_der, reply.leaf.der, reply.leaf.length) ? 0 : -1;
}

static int call_to_ask(int fd, enum call_type type, union call *call, size_t length,
		       struct ask_answer *ret)
{
	union reply reply;

	if (exchange(fd, type, call, length, &reply) != sizeof(reply.ask) ||
	    reply.ask.answer.state >= ASK_STATES ||
	    !text_ends(reply.ask.answer.id, sizeof(reply.ask.answer.id)))
		return -1;
	*ret = reply.ask.answer;
	return 0;
}

int rpc_ask(int fd, const struct ask *ask, struct ask_answer *ret)
{
	union call call;

	call.ask = (struct ask_call){.ask = *ask};
	return call_to_ask(fd, CALL_ASK, &call, sizeof(call.ask), ret);
}

int rpc_ask_state(int fd, const char *id, struct ask_answer *ret)
{
	size_t length = strlen(id);
	union call call;

	*ret = (struct ask_answer){.state = ASK_UNKNOWN};
	if (length == 0 || length >= sizeof(call.state.id))
		return 0;
	call.state = (struct state_call){.id = ""};
	memcpy(call.state.id, id, length);
	return call_to_ask(fd, CALL_ASK_STATE, &call, sizeof(call.state), ret);
}

/* ---- the supervisor's side ------------------------------------------------------------------ */

/* The count is checked before it is multiplied. */
static bool addresses_call_valid(const struct addresses_call *call, size_t length)
{
	size_t fixed = offsetof(struct addresses_call, addresses);

	return length >= fixed && call->count <= RPC_MAX_ADDRESSES &&
	       length == fixed + call->count * sizeof(call->addresses[0]) &&
	       text_valid(call->name, sizeof(call->name));
}

static bool leaf_call_valid(const struct leaf_call *call, size_t length)
{
	size_t fixed = offsetof(struct leaf_call, public_key);

	return length >= fixed && call->length > 0 && call->length <= MAX_PUBLIC_KEY &&
	       length == fixed + call->length && text_valid(call->host, sizeof(call->host));
}

static bool ask_call_valid(const struct ask *ask)
{
	return text_valid(ask->host, sizeof(ask->host)) && text_ends(ask->method, sizeof(ask->method)) &&
	       text_ends(ask->path, sizeof(ask->path)) && text_ends(ask->reason, sizeof(ask->reason));
}

/* A call has exactly its size: an unknown or longer one is the work of somebody who took the
 * worker. */
static bool call_valid(const union call *call, size_t length)
{
	if (length < sizeof(call->header))
		return false;
	switch (call->header.type) {
	case CALL_BIND_NAME:
		return length == sizeof(call->name) &&
		       text_valid(call->name.name, sizeof(call->name.name));
	case CALL_HOST_BY_ID:
		return length == sizeof(call->id);
	case CALL_BIND_ADDRESSES:
		return addresses_call_valid(&call->addresses, length);
	case CALL_SIGN_LEAF:
		return leaf_call_valid(&call->leaf, length);
	case CALL_ASK:
		return length == sizeof(call->ask) && ask_call_valid(&call->ask.ask);
	case CALL_ASK_STATE:
		return length == sizeof(call->state) && text_valid(call->state.id, sizeof(call->state.id));
	default:
		return false;
	}
}

/* Too long to be sent is a refusal, not a cut certificate. */
static size_t serve_leaf(const struct rpc_service *service, const struct leaf_call *call,
			 struct leaf_reply *reply)
{
	CLEANUP(bytes_free) struct bytes der = {0};
	struct span key = {(const char *)call->public_key, call->length};

	reply->status = service->sign_leaf(service->context, call->host, key, &der);
	if (der.length == 0 || der.length > MAX_LEAF)
		reply->status = -1;
	reply->length = reply->status == 0 ? (uint32_t)der.length : 0;
	if (reply->length)
		memcpy(reply->der, bytes_span(&der).data, reply->length);
	return offsetof(struct leaf_reply, der) + reply->length;
}

static size_t serve_ask(const struct rpc_service *service, const union call *call,
			struct ask_reply *reply)
{
	reply->answer = (struct ask_answer){.state = ASK_UNKNOWN};
	if (call->header.type == CALL_ASK && service->ask)
		service->ask(service->context, &call->ask.ask, &reply->answer);
	else if (call->header.type == CALL_ASK_STATE && service->ask_state)
		service->ask_state(service->context, call->state.id, &reply->answer);
	return sizeof(*reply);
}

/* Returns the reply's length. A service that is not there or fills in
 * nothing has refused. */
static size_t serve_call(const struct rpc_service *service, const union call *call,
			 union reply *reply)
{
	struct rpc_host *host = &reply->host.host;

	reply->header = call->header;
	if (call->header.type == CALL_SIGN_LEAF)
		return serve_leaf(service, &call->leaf, &reply->leaf);
	if (call->header.type == CALL_ASK || call->header.type == CALL_ASK_STATE)
		return serve_ask(service, call, &reply->ask);
	*host = (struct rpc_host){.reason = EGRESS_INTERNAL};
	if (call->header.type == CALL_BIND_NAME && service->bind_name)
		service->bind_name(service->context, call->name.name, host);
	else if (call->header.type == CALL_HOST_BY_ID && service->host_by_id)
		service->host_by_id(service->context, call->id.id, host);
	else if (call->header.type == CALL_BIND_ADDRESSES && service->bind_addresses)
		service->bind_addresses(service->context, call->addresses.name,
					call->addresses.addresses, call->addresses.count, host);
	return sizeof(reply->host);
}

/* A message of no bytes reads like the end of the stream; only poll() tells them apart. */
static bool peer_closed(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

	return poll(&pollfd, 1, 0) > 0 && (pollfd.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

int rpc_serve(int fd, const struct rpc_service *service)
{
	union call call;
	union reply reply;
	ssize_t length = receive_message(fd, &call, sizeof(call), 0);
	int r;

	if (length == -EAGAIN)
		return 1;
	if (length == -ECONNRESET || (length == 0 && peer_closed(fd)))
		return 0;
	if (length < 0 || !call_valid(&call, (size_t)length))
		return -1;
	/* Never waits for a worker that does not take its replies: it has one call at a time. */
	r = send_message(fd, &reply, serve_call(service, &call, &reply));
	if (r == -EPIPE || r == -ECONNRESET)
		return 0;
	return r < 0 ? -1 : 1;
}

/* ---- control -------------------------------------------------------------------------------- */

/* Room for the one descriptor that is right. Alignment lets the kernel install a second: it is
 * closed again, and what does not fit is never installed. */
union ancillary {
	char buffer[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static bool control_valid(const struct rpc_control *message)
{
	return message->type >= RPC_CONTROL_CONFIG && message->type <= RPC_CONTROL_AHEAD &&
	       memchr(message->text, '\0', sizeof(message->text));
}

/* A descriptor with anything else would stay open with nobody to close it. */
static bool carries_descriptor(const struct rpc_control *message)
{
	return message->type == RPC_CONTROL_CONFIG || message->type == RPC_CONTROL_LOG ||
	       message->type == RPC_CONTROL_AHEAD;
}

static void attach(struct msghdr *header, union ancillary *ancillary, int fd)
{
	struct cmsghdr *cmsg;

	header->msg_control = ancillary->buffer;
	header->msg_controllen = sizeof(ancillary->buffer);
	cmsg = CMSG_FIRSTHDR(header);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
}

int rpc_control_send(int fd, const struct rpc_control *message, int fd_to_send)
{
	struct rpc_control copy = {.type = message->type};
	struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	union ancillary ancillary = {.buffer = {0}};
	ssize_t sent;

	if (!control_valid(message) || (fd_to_send >= 0 && !carries_descriptor(message)))
		return -EINVAL;
	/* What lies behind the text's NUL may be anything; it stays here. */
	memcpy(copy.text, message->text, strlen(message->text));
	if (fd_to_send >= 0)
		attach(&header, &ancillary, fd_to_send);
	do
		sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Takes the only descriptor of the message, -1 when there is none. Closes all of them and returns
 * -EPROTO when there is more than one, or anything that is not a descriptor. */
static int take_descriptor(struct msghdr *header, int *ret_fd)
{
	bool bad = header->msg_flags & MSG_CTRUNC;
	int fds[sizeof(union ancillary) / sizeof(int)];
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
			bad = true;
			continue;
		}
		size_t length = c->cmsg_len - CMSG_LEN(0);
		memcpy(fds + count, CMSG_DATA(c), length);
		count += length / sizeof(int);
	}
	if (!bad && count <= 1) {
		*ret_fd = count ? fds[0] : -1;
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	return -EPROTO;
}

int rpc_control_receive(int fd, struct rpc_control *ret_message, int *ret_fd)
{
	struct rpc_control message;
	struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
	union ancillary ancillary = {.buffer = {0}};
	struct msghdr header = {.msg_iov = &iov,
				.msg_iovlen = 1,
				.msg_control = ancillary.buffer,
				.msg_controllen = sizeof(ancillary.buffer)};
	ssize_t length;
	int received = -1, r;

	do
		length = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return errno == ECONNRESET ? 0 : -errno;
	r = take_descriptor(&header, &received);
	if (r < 0)
		return r;
	if (length == 0 && received < 0)
		return peer_closed(fd) ? 0 : -EPROTO;
	if ((header.msg_flags & MSG_TRUNC) || length != sizeof(message) ||
	    !control_valid(&message) || (received >= 0 && !carries_descriptor(&message))) {
		if (received >= 0)
			close(received);
		return -EPROTO;
	}
	*ret_message = message;
	*ret_fd = received;
	return 1;
}
