// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as an upstream proxy's answer to CONNECT. However they are cut the verdict and its words are the
 * same; what a refusal says is one line of printable text; and behind an answer that is taken the stream has
 * every byte of the far end's and none of the proxy's. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz_main.h"
#include "upstream_proxy.h"

#define INPUT_MAX 20000

struct verdict {
	int calls;
	enum egress_reason reason;
	char detail[512];
	ssize_t rest; /* of the input: the far end's */
	char far_end[INPUT_MAX];
};

static void on_hop(void *context, enum egress_reason reason, const char *detail)
{
	struct verdict *verdict = context;

	verdict->calls++;
	verdict->reason = reason;
	snprintf(verdict->detail, sizeof(verdict->detail), "%s", detail ? detail : "");
}

static void say(struct event_base *base, int fd, const void *data, size_t size)
{
	(void)!send(fd, data, size, MSG_NOSIGNAL);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The first piece, and the others twice as long each. */
static void run(struct event_base *base, struct upstream_proxy *proxy, const uint8_t *data, size_t size,
		size_t piece, struct verdict *ret)
{
	struct stream *stream;
	ssize_t n;
	int pair[2];

	*ret = (struct verdict){.calls = 0};
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	stream = stream_new(base, pair[0]);
	REQUIRE(stream && proxy_hop_start(base, proxy, stream, "a.test", 443, on_hop, ret));
	say(base, pair[1], "", 0);
	for (; size > piece; data += piece, size -= piece, piece *= 2)
		say(base, pair[1], data, piece);
	say(base, pair[1], data, size);
	shutdown(pair[1], SHUT_WR);
	for (int i = 0; i < 3; i++)
		say(base, pair[1], "", 0);
	REQUIRE(ret->calls == 1);
	while (ret->reason == EGRESS_ALLOWED &&
	       (n = stream_read(stream, ret->far_end + ret->rest, INPUT_MAX - (size_t)ret->rest)) > 0)
		ret->rest += n;
	stream_free(stream);
	close(pair[1]);
}

static void check(const struct verdict *verdict, const uint8_t *data, size_t size)
{
	size_t head = size - (size_t)verdict->rest;

	for (const char *at = verdict->detail; *at; at++)
		REQUIRE(*at >= 0x20 && *at <= 0x7e);
	REQUIRE((verdict->reason == EGRESS_ALLOWED) == (verdict->detail[0] == '\0'));
	if (verdict->reason == EGRESS_ALLOWED)
		REQUIRE(head >= 4 && memcmp(data + head - 4, "\r\n\r\n", 4) == 0 &&
			memcmp(data + head, verdict->far_end, (size_t)verdict->rest) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char url[] = "http://proxy.test:3128";
	static struct verdict whole, cut;
	static struct upstream_proxy *proxy;
	static struct event_base *base;
	struct config config = {.upstream.proxy = url};
	struct error error;

	if (!base) {
		base = event_base_new();
		REQUIRE(base && upstream_proxy_new(&config, &proxy, &error) == 0);
	}
	if (size < 2 || size > INPUT_MAX)
		return 0;
	run(base, proxy, data + 1, size - 1, size, &whole);
	run(base, proxy, data + 1, size - 1, data[0] + 1u, &cut);
	check(&whole, data + 1, size - 1);
	REQUIRE(whole.reason == cut.reason && strcmp(whole.detail, cut.detail) == 0 &&
		whole.rest == cut.rest);
	return 0;
}
