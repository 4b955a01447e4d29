/* SPDX-License-Identifier: BSD-2-Clause */
/* The key that all workers of a bottle seal TLS sessions with, so that a client resumes with any of
 * them (RFC 5077, RFC 8446 4.6.1). Every TICKETS_SECONDS it is replaced by its own hash, by whoever has
 * it and without a word to the others: who gets hold of it opens nothing that was sealed before. */
#ifndef TICKETS_H
#define TICKETS_H

#include <stdbool.h>
#include <time.h>

#include "attributes.h"

#define TICKETS_SECONDS 28800 /* that one key seals sessions */
#define TICKETS_TEXT_SIZE 96

struct tickets {
	time_t since; /* of `key` */
	unsigned char key[32];
};

bool tickets_new(struct tickets *ret) WARN_UNUSED; /* false: no randomness */
/* The key of this moment. */
void tickets_advance(struct tickets *tickets);
/* For SSL_CTX_set_tlsext_ticket_keys(): another for each host. */
#define TICKETS_KEYS_SIZE 80
bool tickets_keys(const struct tickets *tickets, const char *host,
		  unsigned char ret[TICKETS_KEYS_SIZE]) WARN_UNUSED;
/* As text, which is as secret, and back. */
void tickets_format(const struct tickets *tickets, char ret[TICKETS_TEXT_SIZE]);
bool tickets_parse(const char *text, struct tickets *ret) WARN_UNUSED;

#endif
