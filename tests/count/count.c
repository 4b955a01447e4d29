// SPDX-License-Identifier: BSD-2-Clause
/* count SUBJECT TIMES: does one piece of the hot path so often, within measured(), for callgrind to
 * count: see run.py. Fails when a result is not what it should be, so that no error is fast. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "dns_responder.h"
#include "http1_forward.h"

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* What curl sends, with two fields more. */
static const char request_text[] = "GET /repos/acme/app/pulls?state=open&page=2 HTTP/1.1\r\n"
				   "Host: api.example.test\r\n"
				   "User-Agent: curl/8.5.0\r\n"
				   "Accept: application/json\r\n"
				   "Authorization: Bearer the bottle's own\r\n"
				   "X-Request-Id: 6f1c2d7e-0b0a-4c43-9c2d-9f6b6d2f7f10\r\n"
				   "Accept-Encoding: gzip, deflate\r\n"
				   "\r\n";
static const char response_text[] = "HTTP/1.1 200 OK\r\n"
				    "Server: nginx/1.22.1\r\n"
				    "Date: Sun, 22 Nov 2026 08:00:00 GMT\r\n"
				    "Content-Type: application/octet-stream\r\n"
				    "Content-Length: 1024\r\n"
				    "Connection: keep-alive\r\n"
				    "ETag: \"6742f3a0-400\"\r\n"
				    "Accept-Ranges: bytes\r\n"
				    "\r\n";

static struct policy_header fields[HTTP1_FIELDS_MAX];
static struct config *config;

static struct config *policy_of(int routes)
{
	struct diag_list errors = {0};
	struct bytes text = {0};
	struct config_source source = {.name = "count"};
	struct config *made;

	REQUIRE(bytes_append_text(&text, "routes:\n  - host: api.example.test\n"
					 "    path_allowlist: [/repos/acme/, /user]\n"
					 "    auth_scheme: Bearer\n    token_env: COUNT_TOKEN\n"));
	for (int i = 1; i < routes; i++)
		REQUIRE(bytes_printf(&text, "  - host: h%d.example.test\n"
					    "    path_allowlist: [/a/%d, /b]\n", i, i));
	source.text = bytes_span(&text);
	made = config_parse(&source, 1, &errors);
	REQUIRE(made && policy_set_secret(made->policy, 0, SPAN("a secret"), &(struct error){0}) == 0);
	bytes_free(&text);
	return made;
}

static void ten_routes(void)
{
	config = policy_of(10);
}

static void many_routes(void)
{
	config = policy_of(10000);
}

/* ---- the subjects --------------------------------------------------------------------------- */

static void decide(void)
{
	const struct policy_request request = {
		.host = "api.example.test",
		.port = 443,
		.tls = true,
		.method = SPAN("GET"),
		.target = SPAN("/repos/acme/app/pulls?state=open&page=2"),
	};
	struct policy_verdict verdict;

	policy_decide(config->policy, &request, &verdict);
	REQUIRE(verdict.reason == EGRESS_ALLOWED && verdict.route);
}

/* From the raw head to the one for the upstream, credential included. */
static void request_head(void)
{
	const struct http1_context context = {
		.host = "api.example.test", .port = 443, .tls = true, .proxy_name = "egress"};
	struct http1_head head = {.fields = fields};
	struct policy_request request;
	struct policy_verdict verdict;
	struct http1_asked asked;
	struct bytes out = {0};
	const char *hint;
	llhttp_t parser;

	REQUIRE(http1_request_parse(SPAN(request_text), &parser, &head) == 0);
	REQUIRE(http1_target(&context, &head, &asked, &hint) == EGRESS_ALLOWED);
	REQUIRE(http1_drop_hop_fields(&head));
	request = (struct policy_request){
		.host = asked.host, .port = asked.port, .tls = true, .method = head.method,
		.target = asked.target, .headers = head.fields, .header_count = head.count};
	policy_decide(config->policy, &request, &verdict);
	REQUIRE(verdict.reason == EGRESS_ALLOWED);
	REQUIRE(http1_compose_request(&head, &asked, verdict.route, false, &out));
	REQUIRE(memmem(out.data, out.length, "Authorization: Bearer a secret\r\n", 32));
	bytes_wipe(&out);
}

static void response_head(void)
{
	struct http1_head head = {.fields = fields};
	struct bytes out = {0};
	llhttp_t parser;

	REQUIRE(http1_response_parse(SPAN(response_text), &parser, &head) == 0);
	REQUIRE(http1_drop_hop_fields(&head));
	REQUIRE(http1_compose_response(&head, false, true, HTTP1_SAY_NOTHING, &out));
	REQUIRE(head.status == 200 && out.length > 100);
	bytes_wipe(&out);
}

static enum dns_bound bind_name(void *context, const char *name, struct egress_address *ret_address,
				enum egress_reason *ret_reason)
{
	(void)context, (void)name, (void)ret_reason;
	memset(ret_address, 0, sizeof(*ret_address));
	memset(ret_address->bytes + 10, 0xff, 2);
	return DNS_BOUND;
}

static void dns_answer(void)
{
	/* An A query with EDNS(0), as glibc sends it. */
	static const char query[] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\1\3api\7example\4test\0\0\1\0\1"
				    "\0\0\x29\x04\xd0\0\0\0\0\0\0";
	const struct dns_names names = {.bind = bind_name, .proxy_name = "egress"};
	struct dns_answer answer;
	struct bytes out = {0};

	REQUIRE(dns_respond(&names, SPAN(query), &out, 1232, &answer) == 0);
	REQUIRE(answer.reason == EGRESS_ALLOWED && out.length > sizeof(query));
	bytes_free(&out);
}

static const struct subject {
	const char *name;
	void (*prepare)(void); /* may be NULL */
	void (*once)(void);
} subjects[] = {
	{"decide-10", ten_routes, decide},
	{"decide-10000", many_routes, decide},
	{"request-head", ten_routes, request_head},
	{"response-head", NULL, response_head},
	{"dns-answer", NULL, dns_answer},
};

/* By name: callgrind counts while it runs. */
__attribute__((noinline)) void measured(const struct subject *subject, long times);
void measured(const struct subject *subject, long times)
{
	for (long i = 0; i < times; i++)
		subject->once();
}

int main(int argc, char **argv)
{
	bytes_own_thread(); /* as the worker's */
	for (size_t i = 0; argc == 3 && i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		if (strcmp(subjects[i].name, argv[1]) != 0)
			continue;
		if (subjects[i].prepare)
			subjects[i].prepare();
		subjects[i].once(); /* what is done at the first time only */
		measured(&subjects[i], strtol(argv[2], NULL, 10));
		return 0;
	}
	fprintf(stderr, "usage: count SUBJECT TIMES\n");
	return 2;
}
