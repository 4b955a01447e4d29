/* SPDX-License-Identifier: BSD-2-Clause */
/* dns_respond() on any bytes. With -DFUZZ_MAIN: a program that replays the files it is given. */
#include <ctype.h>
#include <stdbool.h> /* before ldns.h */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ldns/ldns.h>

#include "dns_responder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The name's length decides, so that every outcome comes up. */
static enum dns_bound bind_name(void *context, const char *name, struct egress_address *ret_address,
				enum egress_reason *ret_reason)
{
	size_t length = strlen(name);

	(*(int *)context)++;
	REQUIRE(length > 0 && length <= 253);
	for (size_t i = 0; i < length; i++)
		REQUIRE(isgraph((unsigned char)name[i]) && !isupper((unsigned char)name[i]) &&
			name[i] != '\\');
	memset(ret_address, 0, sizeof(*ret_address));
	if (length % 2)
		memset(ret_address->bytes + 10, 0xff, 2);
	*ret_reason = length % 3 ? EGRESS_HOST_NOT_ALLOWED : EGRESS_LIMIT;
	return length % 5 == 4 ? DNS_FAILED : length % 5 == 3 ? DNS_REFUSED : DNS_BOUND;
}

static void check_response(struct span query, struct span response, size_t limit)
{
	ldns_pkt *packet = NULL;

	REQUIRE(response.length >= 12 && query.length >= 12);
	REQUIRE(memcmp(response.data, query.data, 2) == 0);
	REQUIRE(response.data[2] & 0x80);
	REQUIRE(!(query.data[2] & 0x80));
	REQUIRE(limit == 0 || response.length <= limit);
	REQUIRE(response.length <= query.length + 100);
	REQUIRE(ldns_wire2pkt(&packet, (const uint8_t *)response.data, response.length) ==
		LDNS_STATUS_OK);
	if (ldns_pkt_qdcount(packet) == 1) /* echoed byte for byte */
		REQUIRE(memcmp(response.data + 12, query.data + 12,
			       ldns_rdf_size(ldns_rr_owner(
				       ldns_rr_list_rr(ldns_pkt_question(packet), 0))) +
				       4) == 0);
	ldns_pkt_free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t limits[] = {0, 512, 1232};
	struct span query = {(const char *)data, size};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		int asked = 0;
		struct dns_names names = {
			.bind = bind_name, .context = &asked, .proxy_name = "egress"};
		struct bytes out = {0};
		struct dns_answer answer;

		REQUIRE(dns_respond(&names, query, &out, limits[i], &answer) == 0);
		REQUIRE(asked <= 1);
		REQUIRE(answer.reason < EGRESS_REASON_COUNT);
		REQUIRE(memchr(answer.name, '\0', sizeof(answer.name)));
		REQUIRE(out.length || answer.reason != EGRESS_ALLOWED);
		if (out.length)
			check_response(query, bytes_span(&out), limits[i]);
		bytes_free(&out);
	}
	return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
	static uint8_t data[1 << 17];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		if (!file) {
			perror(argv[i]);
			return 1;
		}
		size_t size = fread(data, 1, sizeof(data), file);
		fclose(file);
		LLVMFuzzerTestOneInput(data, size);
	}
	printf("%d files\n", argc - 1);
	return 0;
}
#endif
