// SPDX-License-Identifier: BSD-2-Clause
/* Any request on a connection of any kind. Whom it is for is said in one form; and what is sent on of it is one
 * head, which says the same to who reads it strictly, and has the route's credential and no field of the hop. */
#include <stdio.h>
#include <string.h>

#include "fuzz_main.h"
#include "http1_forward.h"

static const struct policy_route *fixed_route(void)
{
	static const struct policy_auth_spec auth = {
		.scheme = POLICY_AUTH_BEARER, .kind = POLICY_SECRET_ENV, .source = "T"};
	static const uint16_t ports[] = {443};
	struct policy_route_spec spec = {
		.host = "a.test", .ports = ports, .port_count = 1, .auth = &auth, .file = "a", .line = 1};
	struct policy_request request = {
		.host = "a.test", .port = 443, .tls = true, .method = SPAN("GET"), .target = SPAN("/")};
	struct policy *policy = policy_new();
	struct policy_verdict verdict = {0};
	struct error error;

	REQUIRE(policy_add(policy, &spec, &error) == 0 && policy_finish(policy, &error) == 0 &&
		policy_set_secret(policy, 0, SPAN("s3cret"), &error) == 0);
	policy_decide(policy, &request, &verdict);
	REQUIRE(verdict.route);
	return verdict.route;
}

static size_t count(const struct http1_head *head, struct span name)
{
	size_t found = 0;

	for (size_t i = 0; i < head->count; i++)
		found += span_equal_field(head->fields[i].name, name);
	return found;
}

static bool begins(struct span text, const char *name)
{
	struct span prefix = span_from(name);

	return text.length >= prefix.length &&
	       span_equal_nocase((struct span){text.data, prefix.length}, prefix);
}

/* "host" or "host:port", as everybody writes them. */
static bool is_plain(struct span text, const struct http1_asked *asked)
{
	char port[8];
	size_t length = strlen(asked->host);

	snprintf(port, sizeof(port), ":%u", asked->port);
	return begins(text, asked->host) &&
	       (text.length == length ||
		span_equal((struct span){text.data + length, text.length - length}, span_from(port)));
}

static void check_sent(struct span text, const struct http1_head *was, const struct http1_asked *asked)
{
	struct http1_context origin = {.host = asked->host, .port = asked->port, .tls = asked->tls};
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	struct http1_asked again;
	size_t scanned = 0;
	const char *hint;
	llhttp_t parser;

	REQUIRE(http1_head_end(text, &scanned) == (long)text.length);
	REQUIRE(http1_request_parse(text, &parser, &head) == 0);
	REQUIRE(http1_target(&origin, &head, &again, &hint) == EGRESS_ALLOWED);
	REQUIRE(again.kind == HTTP1_ASKED_HOST && is_plain(head.host, asked));
	REQUIRE(span_equal(head.method, was->method) && span_equal(head.target, asked->target));
	REQUIRE(head.framing == was->framing && head.length == was->length && head.minor == 1);
	REQUIRE(count(&head, SPAN("authorization")) == 1 && count(&head, SPAN("host")) == 1);
	REQUIRE(count(&head, SPAN("keep-alive")) == 0 && count(&head, SPAN("proxy-authorization")) == 0);
	REQUIRE(count(&head, SPAN("connection")) == count(&head, SPAN("te")) && !head.upgrade.data);
}

static void check_asked(const struct http1_asked *asked, const struct http1_head *head)
{
	char name[EGRESS_NAME_SIZE];

	REQUIRE((asked->port != 0 || asked->kind == HTTP1_ASKED_LOCAL) &&
		memchr(asked->host, '\0', sizeof(asked->host)));
	if (asked->by_address)
		REQUIRE(asked->kind == HTTP1_ASKED_CONNECT && asked->host[0] == '\0');
	else
		REQUIRE(policy_normalise_host(span_from(asked->host), name) &&
			strcmp(name, asked->host) == 0);
	if (asked->kind != HTTP1_ASKED_HOST)
		return;
	REQUIRE(asked->target.data[0] == '/' || span_equal(head->method, SPAN("OPTIONS")));
	/* Whatever names a host names this one. */
	REQUIRE(!head->host.data || begins(head->host, asked->host));
	REQUIRE(!asked->authority.data || begins(asked->authority, asked->host));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[] = {80, 443, 8080, 65535};
	static const struct policy_route *route;
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	struct http1_context context = {.proxy_name = "egress", .host = ""};
	struct span text = {(const char *)data + 1, size - 1};
	struct bytes sent = {NULL, 0, 0, 0};
	struct http1_asked asked;
	size_t scanned = 0;
	const char *hint;
	llhttp_t parser;

	route = route ? route : fixed_route();
	if (size < 2 || http1_head_end(text, &scanned) != (long)text.length ||
	    http1_request_parse(text, &parser, &head) != 0)
		return 0;
	context.explicit = data[0] & 1;
	context.tls = !context.explicit && (data[0] & 2);
	context.host = !context.explicit && (data[0] & 4) ? "a.test" : "";
	context.port = ports[data[0] >> 3 & 3];
	if (http1_target(&context, &head, &asked, &hint) != EGRESS_ALLOWED)
		return 0;
	check_asked(&asked, &head);
	if (asked.kind == HTTP1_ASKED_HOST && http1_drop_hop_fields(&head)) {
		REQUIRE(http1_compose_request(&head, &asked, route, false, &sent));
		check_sent(bytes_span(&sent), &head, &asked);
	}
	bytes_free(&sent);
	return 0;
}
