// SPDX-License-Identifier: BSD-2-Clause
/* The first bytes of a TLS connection from nowhere, as they come in two pieces. */
#include <stdlib.h>
#include <string.h>

#include "client_hello.h"
#include "policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[EGRESS_NAME_SIZE] = "", again[EGRESS_NAME_SIZE];
	struct client_hello *hello = client_hello_new();
	struct span all = {(const char *)data, size}, half = {(const char *)data, size / 2};

	if (!hello)
		return 0;
	if (client_hello_feed(hello, half, name) == 0)
		(void)!client_hello_feed(hello, all, name);
	if (name[0] != '\0' &&
	    (!policy_normalise_host(span_from(name), again) || strcmp(name, again) != 0))
		abort();
	client_hello_free(hello);
	return 0;
}
