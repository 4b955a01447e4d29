// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as a worker's call, which may come from somebody who took the worker: what the supervisor's
 * functions are handed is within its field, and a call gets one reply with its own header, or none. Any
 * bytes as a message of the control socket: what is taken is whole. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_main.h"
#include "rpc.h"

#define KEY_MAX 1024

static unsigned served;

static void check_text(const char *text, size_t size)
{
	REQUIRE(memchr(text, '\0', size));
}

static void bind_name(void *context, const char *name, struct rpc_host *ret)
{
	(void)context;
	served++;
	check_text(name, EGRESS_NAME_SIZE);
	REQUIRE(name[0] != '\0');
	ret->id = 1;
}

static void host_by_id(void *context, uint32_t id, struct rpc_host *ret)
{
	(void)context;
	served++;
	ret->id = id;
}

static void bind_addresses(void *context, const char *name, const struct egress_address *addresses,
			   size_t count, struct rpc_host *ret)
{
	unsigned char sum = 0;

	(void)context;
	served++;
	check_text(name, EGRESS_NAME_SIZE);
	REQUIRE(count <= RPC_MAX_ADDRESSES);
	for (size_t i = 0; i < count; i++)
		sum ^= ((const unsigned char *)&addresses[i])[0];
	ret->id = sum;
}

static void ask(void *context, const struct ask *given, struct ask_answer *ret)
{
	(void)context;
	served++;
	check_text(given->host, sizeof(given->host));
	check_text(given->method, sizeof(given->method));
	check_text(given->path, sizeof(given->path));
	check_text(given->reason, sizeof(given->reason));
	REQUIRE(given->host[0] != '\0');
	ret->state = ASK_UNKNOWN;
}

static void ask_state(void *context, const char *id, struct ask_answer *ret)
{
	(void)context;
	served++;
	check_text(id, ASK_ID_SIZE);
	ret->state = ASK_UNKNOWN;
}

/* Signs with more than a reply has room for when the key says so. */
static int sign_leaf(void *context, const char *host, struct span public_key, struct bytes *ret_der)
{
	static const char der[5000];

	(void)context;
	served++;
	check_text(host, EGRESS_NAME_SIZE);
	REQUIRE(public_key.length > 0 && public_key.length <= KEY_MAX);
	if (public_key.data[0] & 1)
		return -1;
	return bytes_append(ret_der, der, public_key.length * 8) ? 0 : -1;
}

static void check_call(int pair[2], const uint8_t *data, size_t size)
{
	static const struct rpc_service service = {bind_name, host_by_id, bind_addresses, ask,
						   ask_state, sign_leaf, NULL};
	char reply[8192];
	ssize_t length;
	int rc;

	served = 0;
	REQUIRE(send(pair[0], data, size, MSG_DONTWAIT) == (ssize_t)size);
	rc = rpc_serve(pair[1], &service);
	length = recv(pair[0], reply, sizeof(reply), MSG_DONTWAIT);
	REQUIRE(rc == (served ? 1 : -1));
	REQUIRE(served <= 1 && (length > 0) == (served == 1));
	/* Its type and number, by which the worker knows it. */
	REQUIRE(!served || (length >= 8 && memcmp(reply, data, 8) == 0));
}

static void check_control(int pair[2], const uint8_t *data, size_t size)
{
	struct rpc_control message;
	int fd = -1, rc;

	REQUIRE(send(pair[0], data, size, MSG_DONTWAIT) == (ssize_t)size);
	rc = rpc_control_receive(pair[1], &message, &fd);
	REQUIRE(rc != 0 && fd == -1);
	if (rc == 1) {
		REQUIRE(size == sizeof(message) && message.type >= RPC_CONTROL_CONFIG &&
			message.type <= RPC_CONTROL_AHEAD);
		check_text(message.text, sizeof(message.text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = {-1, -1};

	if (pair[0] < 0)
		REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	check_call(pair, data, size);
	check_control(pair, data, size);
	return 0;
}
