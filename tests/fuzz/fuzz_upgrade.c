// SPDX-License-Identifier: BSD-2-Clause
/* Any request and any answer behind it. What may leave HTTP is one protocol that is not HTTP; and an answer that
 * switches names that protocol and, for a WebSocket, has the one answer to the one key. */
#include <openssl/evp.h>
#include <string.h>

#include "fuzz_main.h"
#include "http1_upgrade.h"

static struct span only(const struct http1_head *head, struct span name)
{
	struct span value = {NULL, 0};
	size_t found = 0;

	for (size_t i = 0; i < head->count; i++) {
		if (!span_equal_nocase(head->fields[i].name, name))
			continue;
		value = head->fields[i].value;
		found++;
	}
	REQUIRE(found == 1);
	return value;
}

/* RFC 6455, 4.2.2. */
static void check_accept(const struct http1_head *request, const struct http1_head *response)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	struct span key = only(request, SPAN("sec-websocket-key"));
	struct span accept = only(response, SPAN("sec-websocket-accept"));
	unsigned char input[8192 + sizeof(guid)], digest[EVP_MAX_MD_SIZE], text[64];

	memcpy(input, key.data, key.length);
	memcpy(input + key.length, guid, sizeof(guid) - 1);
	REQUIRE(EVP_Digest(input, key.length + sizeof(guid) - 1, digest, NULL, EVP_sha1(), NULL) == 1);
	REQUIRE(EVP_EncodeBlock(text, digest, 20) == (int)accept.length);
	REQUIRE(memcmp(text, accept.data, accept.length) == 0);
}

static bool has(const struct http1_head *head, struct span name)
{
	for (size_t i = 0; i < head->count; i++)
		if (span_equal_nocase(head->fields[i].name, name))
			return true;
	return false;
}

static bool begins(struct span text, struct span prefix)
{
	return text.length >= prefix.length &&
	       span_equal_nocase((struct span){text.data, prefix.length}, prefix);
}

static void check_asked(const struct http1_head *request)
{
	struct span name = request->upgrade;

	REQUIRE(request->minor == 1 && request->framing == HTTP1_NO_BODY && name.length > 0);
	REQUIRE(!begins(name, SPAN("h2")) && !begins(name, SPAN("h3")) && !begins(name, SPAN("http")) &&
		!begins(name, SPAN("tls")));
	REQUIRE(!memchr(name.data, ',', name.length) && !memchr(name.data, ' ', name.length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_header fields[2][HTTP1_FIELDS_MAX];
	struct http1_head request = {.fields = fields[0]}, response = {.fields = fields[1]};
	struct span text = {(const char *)data, size};
	size_t scanned = 0;
	long end = size <= 8192 ? http1_head_end(text, &scanned) : 0;
	llhttp_t parser;

	if (end <= 0 || http1_request_parse((struct span){text.data, (size_t)end}, &parser, &request) != 0)
		return 0;
	text = (struct span){text.data + end, text.length - (size_t)end};
	if (http1_may_upgrade(&request))
		check_asked(&request);
	if (http1_response_parse(text, &parser, &response) != 0 || !http1_did_upgrade(&request, &response))
		return 0;
	REQUIRE(span_equal_nocase(request.upgrade, response.upgrade));
	if (span_equal_nocase(request.upgrade, SPAN("websocket")) && has(&request, SPAN("sec-websocket-key")))
		check_accept(&request, &response);
	return 0;
}
