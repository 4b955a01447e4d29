// SPDX-License-Identifier: BSD-2-Clause
/* The head of a message from nowhere. What is accepted as a request has no framing that two
 * readers could read in two ways. */
#include <stdlib.h>
#include <string.h>

#include "http1_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const struct http1_head *head)
{
	size_t lengths = 0, codings = 0, hosts = 0;

	for (size_t i = 0; i < head->count; i++) {
		struct span name = head->fields[i].name;

		lengths += span_equal_nocase(name, SPAN("content-length"));
		codings += span_equal_nocase(name, SPAN("transfer-encoding"));
		hosts += span_equal_nocase(name, SPAN("host"));
		if (memchr(head->fields[i].value.data, '\n', head->fields[i].value.length))
			abort();
	}
	if (lengths + codings > 1 || hosts > 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	struct span text = {(const char *)data, size};
	size_t scanned = 0;
	llhttp_t parser;
	long end = http1_head_end(text, &scanned);

	if (end <= 0)
		return 0;
	text.length = (size_t)end;
	if (http1_request_parse(text, &parser, &head) == 0)
		check_request(&head);
	head = (struct http1_head){.fields = fields};
	if (http1_response_parse(text, &parser, &head) == 0 && head.status > 999)
		abort();
	return 0;
}
