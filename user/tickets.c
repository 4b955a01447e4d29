// SPDX-License-Identifier: BSD-2-Clause
/* Workers do not speak of it: each steps by the clock, from the same key and the same moment, and so
 * they all come to the same key. */
#include "tickets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 100000 /* a century: a clock that jumps must not stop us */

bool tickets_new(struct tickets *ret)
{
	ret->since = time(NULL);
	return RAND_priv_bytes(ret->key, sizeof(ret->key)) == 1;
}

static bool derive(const struct tickets *tickets, const void *what, size_t length,
		   unsigned char ret[32])
{
	unsigned int size = 32;

	return HMAC(EVP_sha256(), tickets->key, sizeof(tickets->key), what, length, ret, &size) != NULL;
}

void tickets_advance(struct tickets *tickets)
{
	static const char next[] = "next";
	const time_t now = time(NULL);

	for (int i = 0; i < STEPS_MAX && now - tickets->since >= TICKETS_SECONDS; i++) {
		unsigned char key[32];

		if (!derive(tickets, next, sizeof(next), key))
			return;
		memcpy(tickets->key, key, sizeof(key));
		OPENSSL_cleanse(key, sizeof(key));
		tickets->since += TICKETS_SECONDS;
	}
}

/* One block of the hash after the other, as HKDF expands (RFC 5869, 2.3): a host's name has no NUL,
 * so that no two hosts, and not "next", are the same input. */
bool tickets_keys(const struct tickets *tickets, const char *host, unsigned char ret[TICKETS_KEYS_SIZE])
{
	unsigned char blocks[96];
	char what[300];
	int length;
	bool fine = true;

	for (int i = 0; fine && i < 3; i++) {
		length = snprintf(what, sizeof(what), "host %d %s", i, host);
		fine = length > 0 && (size_t)length < sizeof(what) &&
		       derive(tickets, what, (size_t)length, blocks + (size_t)i * 32);
	}
	if (fine)
		memcpy(ret, blocks, TICKETS_KEYS_SIZE);
	OPENSSL_cleanse(blocks, sizeof(blocks));
	return fine;
}

/* With the moment that it is of: a worker that starts late steps from there. */
void tickets_format(const struct tickets *tickets, char ret[TICKETS_TEXT_SIZE])
{
	int length = snprintf(ret, TICKETS_TEXT_SIZE, "%lld ", (long long)tickets->since);

	for (size_t i = 0; i < sizeof(tickets->key); i++)
		length += snprintf(ret + length, TICKETS_TEXT_SIZE - (size_t)length, "%02x",
				   tickets->key[i]);
}

bool tickets_parse(const char *text, struct tickets *ret)
{
	struct tickets tickets;
	char *end;
	bool fine;

	tickets.since = (time_t)strtoll(text, &end, 10);
	fine = end > text && *end++ == ' ' && strlen(end) == 2 * sizeof(tickets.key);
	for (size_t i = 0; fine && i < sizeof(tickets.key); i++)
		fine = sscanf(end + 2 * i, "%2hhx", &tickets.key[i]) == 1;
	if (fine)
		*ret = tickets;
	OPENSSL_cleanse(&tickets, sizeof(tickets));
	return fine;
}
