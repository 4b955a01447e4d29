// SPDX-License-Identifier: BSD-2-Clause
#include "websocket.h"

#include <openssl/evp.h>

#include "bytes.h"

struct span websocket_field(const struct policy_header *fields, size_t count, struct span name)
{
	struct span value = {NULL, 0};

	for (size_t i = 0; i < count; i++) {
		if (!span_equal_nocase(fields[i].name, name))
			continue;
		if (value.data)
			return (struct span){NULL, 0};
		value = fields[i].value;
	}
	return value;
}

/* Base64 of SHA-1 over the key and this text. */
bool websocket_accept(const struct policy_header *fields, size_t count,
		      char ret[WEBSOCKET_ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	struct span key = websocket_field(fields, count, SPAN("sec-websocket-key"));
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct bytes input = {NULL, 0, 0, 0};
	unsigned length = 0;
	bool fine = key.data && bytes_append(&input, key.data, key.length) &&
		    bytes_append_text(&input, guid) &&
		    EVP_Digest(bytes_span(&input).data, input.length, digest, &length, EVP_sha1(),
			       NULL) == 1 && length == 20;

	if (fine)
		EVP_EncodeBlock((unsigned char *)ret, digest, (int)length);
	bytes_free(&input);
	return fine;
}
