// SPDX-License-Identifier: BSD-2-Clause
/* The first bytes of a TLS connection from nowhere: what half of them says must not change when the
 * other half comes, and what is asked for must be more than is there. */
#include <stdlib.h>
#include <string.h>

#include "client_hello.h"
#include "policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const uint8_t *data, size_t size, char name[EGRESS_NAME_SIZE])
{
	size_t need = 0;
	int result = client_hello_parse((struct span){(const char *)data, size}, &need, name);

	if (result == 0 && (need <= size || need > CLIENT_HELLO_BYTES))
		abort();
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[EGRESS_NAME_SIZE] = "", early[EGRESS_NAME_SIZE] = "", again[EGRESS_NAME_SIZE];
	int whole = parse(data, size, name), half = parse(data, size / 2, early);

	if (half != 0 && (whole != half || strcmp(name, early) != 0))
		abort();
	if (name[0] != '\0' &&
	    (!policy_normalise_host(span_from(name), again) || strcmp(name, again) != 0))
		abort();
	return 0;
}
