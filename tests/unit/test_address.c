// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>

#include "address.h"

static struct egress_address parsed(const char *text)
{
	struct egress_address address;

	if (!address_parse(text, &address))
		fail_msg("%s does not parse", text);
	return address;
}

static void parses_and_formats(void **state)
{
	static const char *const same[] = {"192.0.2.1", "2001:db8::1", "::1", "255.255.255.255"};
	char text[ADDRESS_TEXT_SIZE];
	struct egress_address address;

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		address = parsed(same[i]);
		assert_string_equal(address_format(&address, text), same[i]);
	}
	address = parsed("::ffff:192.0.2.1");
	assert_true(address_is_v4(&address));
	assert_string_equal(address_format(&address, text), "192.0.2.1");
	assert_false(address_parse("192.0.2.256", &address));
	assert_false(address_parse("192.0.2.1 ", &address));
	assert_false(address_parse("0x7f.1", &address));
	assert_false(address_parse("", &address));
}

static void private_addresses(void **state)
{
	static const char *const yes[] = {
		"127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "0.0.0.0",
		"224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.0.192", "168.63.129.16",
		"::", "::1", "fd00:ec2::254", "fe80::1", "ff02::1", "::ffff:10.0.0.1",
		"::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2001::1",
		"100::1", "fcff::1", "febf::1", "fec0::1", "64:ff9b:1::1", "5f00::1",
		"::ffff:0:a9fe:a9fe", "::ffff:0:808:808",
	};
	static const char *const no[] = {
		"203.0.113.10", "198.51.100.1", "8.8.8.8", "172.32.0.1", "100.128.0.1",
		"2001:db8::1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1",
		"198.20.0.1", "2001:1::1", "100:0:0:1::1", "64:ff9b:2::1", "5f01::1",
	};
	struct egress_address address;

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		address = parsed(yes[i]);
		if (!address_is_private(&address))
			fail_msg("%s is not private", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		address = parsed(no[i]);
		if (address_is_private(&address))
			fail_msg("%s is private", no[i]);
	}
}

static void blocks(void **state)
{
	static const char *const bad[] = {"10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/",
					  "/8", "10.0.0.0/8x", "10.0.0.0/-1", "x/8", ""};
	struct cidr cidr;
	struct egress_address address;

	(void)state;
	assert_true(cidr_parse("10.20.0.0/16", &cidr));
	assert_int_equal(cidr.prefix_length, 112);
	address = parsed("10.20.255.1");
	assert_true(cidr_contains(&cidr, &address));
	address = parsed("10.21.0.0");
	assert_false(cidr_contains(&cidr, &address));
	assert_true(cidr_parse("0.0.0.0/0", &cidr));
	address = parsed("2001:db8::1");
	assert_false(cidr_contains(&cidr, &address));
	assert_true(cidr_parse("2001:db8::/29", &cidr));
	assert_true(cidr_contains(&cidr, &address));
	assert_true(cidr_parse("192.0.2.7", &cidr));
	assert_int_equal(cidr.prefix_length, 128);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (cidr_parse(bad[i], &cidr))
			fail_msg("'%s' parses", bad[i]);
	}
}

static void socket_addresses(void **state)
{
	static const char *const texts[] = {"192.0.2.1", "2001:db8::5"};
	struct sockaddr_storage sa;
	struct egress_address before, after;
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		before = parsed(texts[i]);
		assert_int_equal(address_to_sockaddr(&before, 443, &sa),
				 i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
		assert_true(address_from_sockaddr((struct sockaddr *)&sa, &after, &port));
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(port, 443);
	}
	sa.ss_family = AF_UNIX;
	assert_false(address_from_sockaddr((struct sockaddr *)&sa, &after, &port));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_and_formats),
		cmocka_unit_test(private_addresses),
		cmocka_unit_test(blocks),
		cmocka_unit_test(socket_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
