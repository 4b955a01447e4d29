// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as a resolver's answer over TCP, with the right id in front: it has addresses for us only
 * when it is an answer, whole, without error and to one question; and the question ends in any case. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz_main.h"
#include "upstream_dns_tcp.h"

#define HEADER 12 /* of a DNS message */

/* A server that needs no port: TCP or not is nothing to who reads the stream. */
static struct sockaddr_un address;
static socklen_t address_length = sizeof(address);
static struct event_base *base;
static int listener;

struct outcome {
	bool done;
	size_t count;
};

static void start(void)
{
	address.sun_family = AF_UNIX;
	base = event_base_new();
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The family alone: the kernel chooses a name. */
	REQUIRE(base && listener >= 0 &&
		bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)) == 0 &&
		listen(listener, 1) == 0 &&
		getsockname(listener, (struct sockaddr *)&address, &address_length) == 0);
}

static void on_done(void *context, const struct egress_address *addresses, size_t count,
		    uint32_t ttl)
{
	struct outcome *outcome = context;

	(void)addresses;
	(void)ttl;
	REQUIRE(!outcome->done && count <= DNS_TCP_MAX_ADDRESSES);
	*outcome = (struct outcome){true, count};
}

/* The id of the question that arrives, behind its length. */
static void read_id(int fd, uint8_t ret_id[2])
{
	uint8_t question[512];
	ssize_t length;

	do {
		REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
		length = recv(fd, question, sizeof(question), MSG_DONTWAIT);
	} while (length < 0);
	REQUIRE(length > 2 + HEADER && question[0] == 0 && question[1] == length - 2);
	memcpy(ret_id, question + 2, 2);
}

static void answer(int fd, const uint8_t *data, size_t size)
{
	uint8_t message[2 + 4096];

	memcpy(message + 2, data, size);
	read_id(fd, message + 2);
	message[0] = (uint8_t)(size >> 8);
	message[1] = (uint8_t)size;
	REQUIRE(send(fd, message, size + 2, MSG_NOSIGNAL) == (ssize_t)size + 2);
	close(fd);
}

/* What a header must say: an answer, not cut short, NOERROR, to one question. */
static bool may_have_addresses(const uint8_t *data, size_t size)
{
	return size > HEADER && (data[2] & 0x80) && !(data[2] & 0x02) && (data[3] & 0x0f) == 0 &&
	       data[4] == 0 && data[5] == 1;
}

/* The first byte, in whose place the id comes, chooses the family. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome outcome = {false, 0};
	int fd;

	if (size < 2 || size > 4096)
		return 0;
	if (!base)
		start();
	REQUIRE(dns_tcp_start(base, (struct sockaddr *)&address, address_length, "a.test",
			      data[0] & 1, on_done, &outcome));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	REQUIRE(fd >= 0);
	answer(fd, data, size);
	while (!outcome.done)
		REQUIRE(event_base_loop(base, EVLOOP_ONCE) == 0);
	REQUIRE(outcome.count == 0 || may_have_addresses(data, size));
	return 0;
}
