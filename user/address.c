// SPDX-License-Identifier: BSD-2-Clause
/* Addresses in one form, and which of them are nobody's to reach by accident. The list of private
 * blocks is a wall: a block that is missing here can be dialled behind an allowed name. */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 /* length of the ::ffff:0:0/96 prefix */

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* inet_pton(3) and not inet_aton(3): "127.1" and "0x7f.1" are no addresses, here as in routes. */
bool address_parse(const char *text, struct egress_address *ret_address)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		*ret_address = address_from_v4(ntohl(v4.s_addr));
		return true;
	}
	if (inet_pton(AF_INET6, text, &v6) != 1)
		return false;
	memcpy(ret_address->bytes, &v6, sizeof(ret_address->bytes));
	return true;
}

bool address_is_v4(const struct egress_address *address)
{
	return memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

struct egress_address address_from_v4(uint32_t host_order)
{
	struct egress_address address;
	uint32_t network = htonl(host_order);

	memcpy(address.bytes, mapped_prefix, sizeof(mapped_prefix));
	memcpy(address.bytes + sizeof(mapped_prefix), &network, sizeof(network));
	return address;
}

static uint32_t v4_at(const struct egress_address *address, size_t offset)
{
	uint32_t network;

	memcpy(&network, address->bytes + offset, sizeof(network));
	return ntohl(network);
}

/* Meaningful only where address_is_v4(). */
uint32_t address_to_v4(const struct egress_address *address)
{
	return v4_at(address, sizeof(mapped_prefix));
}

static bool bit_at(const struct egress_address *address, unsigned bit)
{
	return address->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

static bool prefix_parse(const char *text, unsigned limit, unsigned *ret_length)
{
	char *end;
	unsigned long value;

	if (text[0] < '0' || text[0] > '9')
		return false;
	value = strtoul(text, &end, 10);
	if (*end != '\0' || value > limit)
		return false;
	*ret_length = (unsigned)value;
	return true;
}

/* An IPv4 prefix is counted in the 128 bits. Bits behind the prefix make it no block. */
bool cidr_parse(const char *text, struct cidr *ret_cidr)
{
	size_t address_length = strcspn(text, "/");
	const char *slash = text[address_length] ? text + address_length : NULL;
	char address_text[INET6_ADDRSTRLEN];
	struct cidr cidr;
	unsigned length, shift;

	if (address_length >= sizeof(address_text))
		return false;
	snprintf(address_text, sizeof(address_text), "%.*s", (int)address_length, text);
	if (!address_parse(address_text, &cidr.address))
		return false;
	shift = strchr(address_text, ':') ? 0 : V4_BITS;
	length = 128 - shift;
	if (slash && !prefix_parse(slash + 1, 128 - shift, &length))
		return false;
	cidr.prefix_length = length + shift;
	for (unsigned bit = cidr.prefix_length; bit < 128; bit++) {
		if (bit_at(&cidr.address, bit))
			return false;
	}
	*ret_cidr = cidr;
	return true;
}

/* An IPv4 block never holds an IPv6 address: the mapped prefix differs. */
bool cidr_contains(const struct cidr *cidr, const struct egress_address *address)
{
	unsigned whole = cidr->prefix_length / 8, rest = cidr->prefix_length % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	return memcmp(cidr->address.bytes, address->bytes, whole) == 0 &&
	       (rest == 0 || ((cidr->address.bytes[whole] ^ address->bytes[whole]) & mask) == 0);
}

/* IANA's special-purpose registries (RFC 6890 and updates), less the documentation blocks, which
 * lead nowhere; and the clouds' metadata addresses outside of link-local. */
static const struct {
	uint32_t network;
	unsigned bits;
} private_v4[] = {
	{0x00000000, 8},  /* this network */
	{0x0a000000, 8},  /* RFC 1918 */
	{0x64400000, 10}, /* RFC 6598: CGNAT; holds 100.100.100.200, a metadata address */
	{0x7f000000, 8},  /* loopback */
	{0xa9fe0000, 16}, /* link-local; holds 169.254.169.254 */
	{0xac100000, 12}, /* RFC 1918 */
	{0xc0000000, 24}, /* RFC 6890: protocol assignments; holds 192.0.0.192 */
	{0xc0586300, 24}, /* RFC 7526: 6to4 relay anycast */
	{0xc0a80000, 16}, /* RFC 1918 */
	{0xc6120000, 15}, /* RFC 2544: benchmarks; our own synthetic addresses */
	{0xa83f8110, 32}, /* 168.63.129.16: a cloud's host agent */
	{0xe0000000, 4},  /* multicast */
	{0xf0000000, 4},  /* reserved and broadcast */
};

static bool v4_is_private(uint32_t host_order)
{
	for (size_t i = 0; i < sizeof(private_v4) / sizeof(private_v4[0]); i++) {
		uint32_t mask = UINT32_MAX << (32 - private_v4[i].bits);

		if ((host_order & mask) == private_v4[i].network)
			return true;
	}
	return false;
}

static const struct cidr nat64 = {{{0, 0x64, 0xff, 0x9b}}, 96};	/* RFC 6052: 64:ff9b::/96 */
static const struct cidr six_to_four = {{{0x20, 0x02}}, 16};	/* RFC 3056: 2002::/16 */
static const struct cidr private_v6[] = {
	{{{0}}, 96},			   /* ::/96: unspecified, loopback, IPv4-compatible */
	{{{[8] = 0xff, 0xff}}, 96},	   /* ::ffff:0:0:0/96, RFC 2765: IPv4-translated */
	{{{0x01}}, 64},			   /* 100::/64: discard-only */
	{{{0xfc}}, 7},			   /* fc00::/7: unique local */
	{{{0xfe, 0x80}}, 10},		   /* fe80::/10: link-local */
	{{{0xfe, 0xc0}}, 10},		   /* fec0::/10: site-local, deprecated */
	{{{0xff}}, 8},			   /* ff00::/8: multicast */
	{{{0x20, 0x01}}, 32},		   /* 2001::/32: Teredo, an IPv4 address hides in it */
	{{{0, 0x64, 0xff, 0x9b, 0, 1}}, 48}, /* 64:ff9b:1::/48, RFC 8215: local NAT64 */
	{{{0x5f}}, 16},			   /* 5f00::/16, RFC 9602: segment routing */
};

bool address_is_loopback(const struct egress_address *address)
{
	if (address_is_v4(address))
		return address_to_v4(address) >> 24 == 127;
	return memcmp(address->bytes, &in6addr_loopback, sizeof(address->bytes)) == 0;
}

/* Also where an IPv4 address is hidden in the IPv6 one: a translator would dial it. */
bool address_is_private(const struct egress_address *address)
{
	if (address_is_v4(address))
		return v4_is_private(address_to_v4(address));
	if (cidr_contains(&nat64, address))
		return v4_is_private(v4_at(address, 12));
	if (cidr_contains(&six_to_four, address))
		return v4_is_private(v4_at(address, 2));
	for (size_t i = 0; i < sizeof(private_v6) / sizeof(private_v6[0]); i++) {
		if (cidr_contains(&private_v6[i], address))
			return true;
	}
	return false;
}

/* False for any family else. */
bool address_from_sockaddr(const struct sockaddr *sa, struct egress_address *ret_address,
			   uint16_t *ret_port)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof(v4));
		*ret_address = address_from_v4(ntohl(v4.sin_addr.s_addr));
		*ret_port = ntohs(v4.sin_port);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(&v6, sa, sizeof(v6));
	memcpy(ret_address->bytes, &v6.sin6_addr, sizeof(ret_address->bytes));
	*ret_port = ntohs(v6.sin6_port);
	return true;
}

socklen_t address_to_sockaddr(const struct egress_address *address, uint16_t port,
			      struct sockaddr_storage *ret_sa)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	memset(ret_sa, 0, sizeof(*ret_sa));
	if (address_is_v4(address)) {
		v4.sin_addr.s_addr = htonl(address_to_v4(address));
		memcpy(ret_sa, &v4, sizeof(v4));
		return sizeof(v4);
	}
	memcpy(&v6.sin6_addr, address->bytes, sizeof(address->bytes));
	memcpy(ret_sa, &v6, sizeof(v6));
	return sizeof(v6);
}

const char *address_format(const struct egress_address *address, char text[ADDRESS_TEXT_SIZE])
{
	struct in_addr v4 = {.s_addr = htonl(address_to_v4(address))};
	bool is_v4 = address_is_v4(address);

	if (!inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? (const void *)&v4 : address->bytes, text,
		       ADDRESS_TEXT_SIZE))
		text[0] = '\0';
	return text;
}
