// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes of a client and any of its upstreams through a whole connection. An upstream gets one request, of its
 * host, which a strict reader takes, and nothing behind it; of the host with a credential also below
 * the path that its route has, and with the credential, which nobody else gets, the client neither. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fuzz_main.h"
#define assert_true(condition) REQUIRE(condition)
#define assert_non_null(pointer) REQUIRE(pointer)
#define assert_int_equal(a, b) REQUIRE((a) == (b))
#define fail_msg(...) abort()
#include "../unit/fake_proxy.h"
#include "http1_head.h"

static struct bytes sent; /* to the newest upstream */
static int upstreams;
static bool told; /* the credential is among the bytes that are fuzzed */

/* Where the chunks end; 0: not yet. */
static size_t chunks_end(struct span text, bool api)
{
	size_t at = 0, size;
	const char *end;

	do {
		end = memmem(text.data + at, text.length - at, "\r\n", 2);
		if (!end)
			return 0;
		REQUIRE(strspn(text.data + at, "0123456789abcdef") == (size_t)(end - text.data) - at);
		REQUIRE(sscanf(text.data + at, "%zx", &size) == 1);
		at = (size_t)(end - text.data) + 2;
		if (size > text.length || text.length - at < size + 2)
			return 0;
		at += size;
		REQUIRE(size == 0 || memcmp(text.data + at, "\r\n", 2) == 0);
		at += size > 0 ? 2 : 0;
	} while (size > 0);
	if (text.length - at >= 2 && memcmp(text.data + at, "\r\n", 2) == 0)
		return at + 2;
	end = memmem(text.data + at, text.length - at, "\r\n\r\n", 4);
	/* From the line feed before the first trailer on. */
	REQUIRE(!api || !strcasestr(text.data + at - 1, "\nauthorization:"));
	return end ? (size_t)(end - text.data) + 4 : 0;
}

static void check_credential(const struct http1_head *head)
{
	size_t found = 0;

	for (size_t i = 0; i < head->count; i++) {
		if (!span_equal_field(head->fields[i].name, SPAN("authorization")))
			continue;
		REQUIRE(span_equal(head->fields[i].value, SPAN("Bearer s3cret")));
		found++;
	}
	REQUIRE(found == 1);
}

static bool is_host(struct span text, const char *host)
{
	size_t length = strlen(host);

	return text.length >= length &&
	       span_equal_nocase((struct span){text.data, length}, span_from(host)) &&
	       (text.length == length || span_equal((struct span){text.data + length, text.length - length},
						    SPAN(":80")));
}

/* Of which the requests are read. */
static bool is_web(const char *host)
{
	return strcmp(host, "api.test") == 0 || strcmp(host, "open.test") == 0;
}

static void check_sent(void)
{
	bool api = strcmp(fake->target_host, "api.test") == 0;
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	struct span text = bytes_span(&sent), rest;
	size_t scanned = 0, body = 0;
	long end = is_web(fake->target_host) ? http1_head_end(text, &scanned) : 0;
	llhttp_t parser;

	REQUIRE(api || told || !memmem(text.data, text.length, "s3cret", 6));
	REQUIRE(end >= 0);
	if (end == 0)
		return;
	REQUIRE(http1_request_parse((struct span){text.data, (size_t)end}, &parser, &head) == 0);
	REQUIRE(is_host(head.host, fake->target_host));
	REQUIRE(!api || (head.target.length >= 4 && memcmp(head.target.data, "/v1/", 4) == 0));
	if (api)
		check_credential(&head);
	rest = (struct span){text.data + end, text.length - (size_t)end};
	if (head.framing == HTTP1_CHUNKED)
		body = chunks_end(rest, api);
	else if (head.framing == HTTP1_LENGTH)
		body = head.length <= rest.length ? (size_t)head.length : rest.length;
	/* What follows the switch to another protocol nobody judges. */
	REQUIRE(rest.length == body || head.upgrade.data || (head.framing == HTTP1_CHUNKED && body == 0));
}

static bool receive(int fd, struct bytes *to)
{
	static char buffer[65536];
	ssize_t n = fd >= 0 ? recv(fd, buffer, sizeof(buffer) - 1, 0) : 0;

	if (n <= 0)
		return false;
	buffer[n] = '\0'; /* which stands behind the bytes, for sscanf(3) */
	REQUIRE(bytes_append(to, buffer, (size_t)n + 1));
	to->length--;
	return true;
}

static void look_upstream(void)
{
	fake_turn(fake);
	if (upstreams != fake->get_count)
		bytes_free(&sent);
	upstreams = fake->get_count;
	while (receive(fake->upstream, &sent))
		fake_turn(fake);
	check_sent();
}

/* The first piece, and the others twice as long each. */
static void say(int fd, const uint8_t *data, size_t size, size_t piece)
{
	for (; size > piece; data += piece, size -= piece, piece *= 2) {
		fake_send(fake, fd, (const char *)data, piece);
		look_upstream();
	}
	fake_send(fake, fd, (const char *)data, size);
	look_upstream();
}

static void clean_up(void)
{
	close(fake->client);
	fake_turn(fake);
	proxy_close_all(&fake->proxy);
	stream_free(fake->pooled);
	fake->pooled = NULL;
	if (fake->upstream >= 0)
		close(fake->upstream);
	fake->upstream = -1;
	bytes_free(&sent);
}

static struct identity identity_of(unsigned kind)
{
	if (kind == 2)
		return (struct identity){.kind = IDENTITY_EXPLICIT};
	if (kind == 3)
		return (struct identity){.kind = IDENTITY_UNNAMED, .port = 80};
	return (struct identity){.kind = IDENTITY_NAME, .host = "api.test", .port = 80};
}

/* How the client came, and its bytes are cut; how many they are; they; and the upstream's, which says them to
 * each request. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes got = {NULL, 0, 0, 0};
	size_t length, piece;
	void *state;

	if (size < 3 || size > 8192)
		return 0;
	if (!fake) {
		signal(SIGPIPE, SIG_IGN);
		fake_setup(&state);
	}
	piece = (data[0] & 63) + 1u;
	fake->identity = identity_of(data[0] >> 6);
	length = data[1] | (size_t)data[2] << 8;
	data += 3;
	size -= 3;
	length = length < size ? length : size;
	told = memmem(data, size, "s3cret", 6);
	fake_connect(fake);
	say(fake->client, data, length, piece);
	for (int turn = 0, before = -1; turn < 4 && fake->upstream >= 0 && before != fake->get_count; turn++) {
		before = fake->get_count;
		say(fake->upstream, data + length, size - length, piece);
		while (receive(fake->client, &got))
			fake_turn(fake);
	}
	REQUIRE(told || !memmem(bytes_span(&got).data, got.length, "s3cret", 6));
	bytes_free(&got);
	clean_up();
	return 0;
}
