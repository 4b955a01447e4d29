// SPDX-License-Identifier: BSD-2-Clause
/* One hop over a socket pair, whose other end plays the proxy. TLS to the proxy and what is carried
 * through it are tests/e2e/test_chain.py's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream_proxy.h"

static struct event_base *base;
static char url[] = "http://proxy.example:3128", user[] = "me", password[] = "topsecret",
	    source[] = "VARIABLE";

struct heard {
	int calls;
	enum egress_reason reason;
	char detail[512];
};

static void on_hop(void *context, enum egress_reason reason, const char *detail)
{
	struct heard *heard = context;

	heard->calls++;
	heard->reason = reason;
	snprintf(heard->detail, sizeof(heard->detail), "%s", detail ? detail : "");
}

static struct upstream_proxy *new_proxy(const struct config *config)
{
	struct upstream_proxy *proxy;
	struct error error = {0};

	assert_int_equal(upstream_proxy_new(config, &proxy, &error), 0);
	return proxy;
}

/* ---- settings ------------------------------------------------------------------------------- */

static void none(void **state)
{
	struct config config = {0};
	struct egress_address address;

	(void)state;
	assert_null(new_proxy(&config));
	assert_true(address_parse("192.0.2.1", &address));
	assert_false(upstream_proxy_serves(NULL, "a.test", NULL));
	assert_false(upstream_proxy_serves(NULL, NULL, &address));
	upstream_proxy_unref(NULL);
	proxy_hop_cancel(NULL);
}

static void urls(void **state)
{
	static const struct {
		const char *url, *host;
		uint16_t port;
	} cases[] = {
		{"http://proxy.example:3128", "proxy.example", 3128},
		{"http://192.0.2.7:80", "192.0.2.7", 80},
		{"http://[2001:db8::7]:65535", "2001:db8::7", 65535},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct config config = {.upstream.proxy = (char *)cases[i].url};
		struct upstream_proxy *proxy = new_proxy(&config);

		assert_string_equal(upstream_proxy_host(proxy), cases[i].host);
		assert_int_equal(upstream_proxy_port(proxy), cases[i].port);
		upstream_proxy_unref(proxy);
	}
}

static void exceptions(void **state)
{
	static const struct {
		const char *target;
		bool proxied;
	} cases[] = {
		{"inside.example", false},    {"x.inside.example", true},
		{"below.example", true},      {"a.below.example", false},
		{"a.b.below.example", false}, {"xbelow.example", true},
		{"10.1.2.3", false},	      {"11.1.2.3", true},
		{"2001:db8::1", false},	      {"2001:db9::1", true},
		{"elsewhere.example", true},
	};
	char inside[] = "inside.example", below[] = "*.below.example";
	struct config_no_proxy list[4] = {{.name = inside}, {.name = below}};
	struct config config = {
		.upstream = {.proxy = url, .no_proxy = list, .no_proxy_count = 4}};
	struct upstream_proxy *proxy;
	struct egress_address address;

	(void)state;
	assert_true(cidr_parse("10.0.0.0/8", &list[2].cidr));
	assert_true(cidr_parse("2001:db8::/32", &list[3].cidr));
	proxy = new_proxy(&config);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool literal = address_parse(cases[i].target, &address), proxied;

		proxied = upstream_proxy_serves(proxy, literal ? NULL : cases[i].target, &address);
		if (proxied != cases[i].proxied)
			fail_msg("%s", cases[i].target);
	}
	upstream_proxy_unref(proxy);
}

/* ---- one hop -------------------------------------------------------------------------------- */

struct pair {
	struct stream *stream;
	int proxy_fd;
};

static struct pair new_pair(void)
{
	struct pair pair;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	pair.stream = stream_new(base, fds[0]);
	assert_non_null(pair.stream);
	pair.proxy_fd = fds[1];
	return pair;
}

static void turns(struct heard *heard, int count)
{
	for (int i = 0; i < count && !heard->calls; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(500);
	}
}

static size_t asked(const struct pair *pair, char *text, size_t size)
{
	ssize_t n = recv(pair->proxy_fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void request(void **state)
{
	struct config config = {.upstream = {.proxy = url,
					     .proxy_user = user,
					     .proxy_password = {.source = source,
								.value = password}}};
	struct upstream_proxy *proxy = new_proxy(&config);
	struct pair pair = new_pair();
	struct heard heard = {0};
	struct proxy_hop *hop =
		proxy_hop_start(base, proxy, pair.stream, "2001:db8::5", 22, on_hop, &heard);
	char text[512];

	(void)state;
	assert_non_null(hop);
	upstream_proxy_unref(proxy); /* the hop has its own reference */
	turns(&heard, 5);
	asked(&pair, text, sizeof(text));
	assert_string_equal(text, "CONNECT [2001:db8::5]:22 HTTP/1.1\r\nHost: [2001:db8::5]:22\r\n"
				  "Proxy-Authorization: Basic bWU6dG9wc2VjcmV0\r\n\r\n");
	proxy_hop_cancel(hop);
	turns(&heard, 5);
	assert_int_equal(heard.calls, 0);
	stream_free(pair.stream);
	close(pair.proxy_fd);
}

#define OK "HTTP/1.1 200 Connection established\r\n\r\n"

static const struct answer {
	const char *text;
	enum egress_reason reason;
	const char *detail; /* part of it; or, when allowed, what is left for the far end's reader */
	bool ends;	    /* the proxy closes after it */
} answers[] = {
	{OK, EGRESS_ALLOWED, "", false},
	{"HTTP/1.0 200\r\n\r\n", EGRESS_ALLOWED, "", false},
	{OK "220 smtp.example ESMTP\r\n\r\n", EGRESS_ALLOWED, "220 smtp.example ESMTP\r\n\r\n", false},
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: x\r\n\r\nhello", EGRESS_ALLOWED, "hello", false},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", EGRESS_ALLOWED, "5\r\n", false},
	{"HTTP/1.1 102 Processing\r\n\r\n" OK "x", EGRESS_ALLOWED, "x", false},
	{"HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\nblocked: no-go.test!", EGRESS_UPSTREAM_REFUSED,
	 "refused: 403 Forbidden: blocked: no-go.test", false},
	{"HTTP/1.1 502 Bad\r\n\r\nno\x1b[31m \x00\xff{\"a\"}\r\n\tway", EGRESS_UPSTREAM_REFUSED,
	 "502 Bad: no [31m", true},
	{"HTTP/1.1 502 Bad\x1b[0m\r\n\r\n", EGRESS_UPSTREAM_PROTOCOL, "not valid HTTP", true},
	{"HTTP/1.1 503 No\r\nContent-Type: Text/HTML\r\nContent-Length: 6\r\n\r\n<html>",
	 EGRESS_UPSTREAM_REFUSED, "503 No", false},
	{"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", EGRESS_UPSTREAM_REFUSED,
	 "407 Auth (it wants a credential: upstream.proxy_auth)", false},
	{"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
	 EGRESS_UPSTREAM_REFUSED, "302 Found", false},
	{"HTTP/1.1 101 Switching\r\n\r\n", EGRESS_UPSTREAM_PROTOCOL, "not valid HTTP", false},
	{"SSH-2.0-OpenSSH\r\n\r\n", EGRESS_UPSTREAM_PROTOCOL, "not valid HTTP", false},
	{"HTTP/1.1 200 OK\n\n", EGRESS_UPSTREAM_PROTOCOL, "not valid HTTP", false},
	{"HTTP/1.1 200 OK\r\n", EGRESS_UPSTREAM_UNREACHABLE, "closed the connection before", true},
	{"", EGRESS_UPSTREAM_UNREACHABLE, "closed the connection before", true},
};

static void one_answer(const struct answer *answer, size_t at_once)
{
	struct config config = {.upstream.proxy = url};
	struct upstream_proxy *proxy = new_proxy(&config);
	struct pair pair = new_pair();
	struct heard heard = {0};
	size_t length = strlen(answer->text);
	char rest[256] = "";
	ssize_t n;

	assert_non_null(proxy_hop_start(base, proxy, pair.stream, "a.test", 443, on_hop, &heard));
	turns(&heard, 3);
	assert_true(asked(&pair, rest, sizeof(rest)) > 0);
	assert_null(strstr(rest, "Authorization"));
	for (size_t i = 0; i < length; i += at_once) {
		size_t part = length - i < at_once ? length - i : at_once;

		assert_int_equal(send(pair.proxy_fd, answer->text + i, part, 0), part);
		turns(&heard, 1);
	}
	if (answer->ends)
		shutdown(pair.proxy_fd, SHUT_WR);
	turns(&heard, 3000);
	assert_int_equal(heard.calls, 1);
	if (heard.reason != answer->reason)
		fail_msg("\"%s\": %d \"%s\"", answer->text, heard.reason, heard.detail);
	if (heard.reason == EGRESS_ALLOWED) {
		n = stream_read(pair.stream, rest, sizeof(rest) - 1);
		rest[n > 0 ? n : 0] = '\0';
		assert_string_equal(rest, answer->detail);
	} else if (!strstr(heard.detail, answer->detail)) {
		fail_msg("\"%s\": \"%s\"", answer->text, heard.detail);
	}
	for (const char *at = heard.detail; *at; at++)
		assert_in_range(*at, 0x20, 0x7e);
	stream_free(pair.stream);
	close(pair.proxy_fd);
	upstream_proxy_unref(proxy);
}

static void all_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		one_answer(&answers[i], 4096);
		one_answer(&answers[i], 1);
	}
}

/* A head that does not end, interim answers that do not, and words that are too many. */
static void floods(void **state)
{
	static char text[40000];
	size_t used;

	(void)state;
	used = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n");
	while (used < 20000)
		used += (size_t)sprintf(text + used, "X-%zu: y\r\n", used);
	one_answer(&(struct answer){text, EGRESS_UPSTREAM_PROTOCOL, "too long", false}, 40000);
	/* What stands behind a head, and is looked at with its end, is no part of its length. */
	used = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nX: ");
	memset(text + used, 'x', 16340);
	used += 16340 + (size_t)sprintf(text + used + 16340, "\r\n\r\n");
	memset(text + used, 'b', 200);
	text[used + 200] = '\0';
	one_answer(&(struct answer){text, EGRESS_ALLOWED, text + used, false}, 1500);
	for (used = 0; used < 2000;)
		used += (size_t)sprintf(text + used, "HTTP/1.1 102 Processing\r\n\r\n");
	one_answer(&(struct answer){text, EGRESS_UPSTREAM_PROTOCOL, "without end", false}, 40000);
	used = (size_t)sprintf(text, "HTTP/1.1 403 No\r\nContent-Length: 9000000000\r\n\r\n");
	memset(text + used, 'w', 20000);
	text[used + 20000] = '\0';
	one_answer(&(struct answer){text, EGRESS_UPSTREAM_REFUSED, "403 No: www", false}, 40000);
	/* Words that are promised and do not come hold nobody up for long. */
	text[used + 4] = '\0';
	one_answer(&(struct answer){text, EGRESS_UPSTREAM_REFUSED, "403 No: wwww", false}, 40000);
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none),	   cmocka_unit_test(urls),
		cmocka_unit_test(exceptions), cmocka_unit_test(request),
		cmocka_unit_test(all_answers), cmocka_unit_test(floods),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
