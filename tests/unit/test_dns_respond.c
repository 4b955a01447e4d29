/* SPDX-License-Identifier: BSD-2-Clause */
/* dns_respond(): queries built by ldns and by hand, responses read by ldns. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h> /* before ldns.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ldns/ldns.h>

#include <setjmp.h>
#include <cmocka.h>

#include "dns_responder.h"

static struct {
	int binds;
	char name[EGRESS_NAME_SIZE];
} asked;

/* Knows allowed.example and everything below wild.example. */
static enum dns_bound bind_name(void *context, const char *name, struct egress_address *ret_address,
				enum egress_reason *ret_reason)
{
	const char *dot = strchr(name, '.');

	(void)context;
	asked.binds++;
	assert_true(strlen(name) < sizeof(asked.name));
	strcpy(asked.name, name);
	if (strcmp(name, "broken.example") == 0)
		return DNS_FAILED;
	*ret_reason = EGRESS_HOST_NOT_ALLOWED;
	if (strcmp(name, "limit.example") == 0)
		*ret_reason = EGRESS_LIMIT;
	if (strcmp(name, "careless.example") == 0)
		*ret_reason = EGRESS_ALLOWED; /* refused, and no reason for it */
	if (strcmp(name, "allowed.example") != 0 && (!dot || strcmp(dot, ".wild.example") != 0))
		return DNS_REFUSED;
	assert_true(address_parse("198.18.0.5", ret_address));
	return DNS_BOUND;
}

static const struct dns_names names = {.bind = bind_name, .proxy_name = "egress"};

/* ---- building and reading ------------------------------------------------------------------- */

struct exchange {
	struct bytes query, response;
	struct dns_answer answer;
	ldns_pkt *packet; /* the response; NULL when there is none */
};

static void respond(struct exchange *x, struct span query, size_t udp_limit)
{
	memset(x, 0, sizeof(*x));
	asked.binds = 0;
	asked.name[0] = '\0';
	/* a copy of its own, so that ASan sees a byte too many */
	assert_true(bytes_append(&x->query, query.data, query.length));
	char *exact = malloc(query.length ? query.length : 1);
	memcpy(exact, query.data, query.length);
	assert_int_equal(dns_respond(&names, (struct span){exact, query.length}, &x->response,
				     udp_limit, &x->answer),
			 0);
	free(exact);
	if (x->response.length)
		assert_int_equal(ldns_wire2pkt(&x->packet,
					       (const uint8_t *)bytes_span(&x->response).data,
					       x->response.length),
				 LDNS_STATUS_OK);
}

static void done(struct exchange *x)
{
	ldns_pkt_free(x->packet);
	bytes_free(&x->query);
	bytes_free(&x->response);
}

static size_t build(const char *name, ldns_rr_type type, ldns_rr_class class, int edns_size,
		    uint8_t *ret)
{
	ldns_rdf *owner = ldns_dname_new_frm_str(name);
	assert_non_null(owner);
	ldns_pkt *packet = ldns_pkt_query_new(owner, type, class, LDNS_RD);
	uint8_t *wire;
	size_t size;

	ldns_pkt_set_id(packet, 0xbeef);
	if (edns_size)
		ldns_pkt_set_edns_udp_size(packet, (uint16_t)edns_size);
	assert_int_equal(ldns_pkt2wire(&wire, packet, &size), LDNS_STATUS_OK);
	assert_true(size <= 1024);
	memcpy(ret, wire, size);
	free(wire);
	ldns_pkt_free(packet);
	return size;
}

static void ask(struct exchange *x, const char *name, ldns_rr_type type, ldns_rr_class class,
		int edns_size)
{
	uint8_t query[1024];
	size_t size = build(name, type, class, edns_size, query);

	respond(x, (struct span){(char *)query, size}, 1232);
}

static int rcode_of(const ldns_pkt *packet)
{
	return ldns_pkt_edns_extended_rcode(packet) << 4 | ldns_pkt_get_rcode(packet);
}

/* The Extended DNS Error's code, -1 when there is none. */
static int ede_of(ldns_pkt *packet, char *ret_text)
{
	ldns_edns_option_list *list = ldns_pkt_edns_get_option_list(packet);

	for (size_t i = 0; list && i < ldns_edns_option_list_get_count(list); i++) {
		ldns_edns_option *option = ldns_edns_option_list_get_option(list, i);
		size_t size = ldns_edns_get_size(option);
		uint8_t *data = ldns_edns_get_data(option);

		if (ldns_edns_get_code(option) != LDNS_EDNS_EDE)
			continue;
		assert_true(size >= 2 && size < 100);
		memcpy(ret_text, data + 2, size - 2);
		ret_text[size - 2] = '\0';
		return data[0] << 8 | data[1];
	}
	return -1;
}

static void expect_address(const ldns_pkt *packet, const char *address, ldns_rr_type type)
{
	ldns_rr *rr = ldns_rr_list_rr(ldns_pkt_answer(packet), 0);
	char *text = ldns_rdf2str(ldns_rr_rdf(rr, 0));

	assert_int_equal(ldns_rr_get_type(rr), type);
	assert_string_equal(text, address);
	assert_int_equal(ldns_rr_ttl(rr), 60);
	free(text);
}

static void expect_question_echoed(const struct exchange *x)
{
	struct span query = bytes_span(&x->query), response = bytes_span(&x->response);
	const size_t name = 12; /* behind the header (RFC 1035, 4.1.1) */
	size_t length;

	assert_true(query.length > name && response.length >= query.length);
	length = strnlen(query.data + name, query.length - name) + 1 + 4;
	assert_memory_equal(query.data + name, response.data + name, length);
}

/* ---- the table ------------------------------------------------------------------------------ */

#define IN LDNS_RR_CLASS_IN
#define A LDNS_RR_TYPE_A
#define AAAA LDNS_RR_TYPE_AAAA
static const struct {
	const char *name;
	ldns_rr_type type;
	ldns_rr_class class;
	int rcode;
	const char *address; /* NULL: no answer records */
	enum egress_reason reason;
	int ede;           /* -1: none */
	const char *asked; /* what the names were asked; NULL: they were not */
} cases[] = {
	{"allowed.example.", A, IN, 0, "198.18.0.5", EGRESS_ALLOWED, -1, "allowed.example"},
	{"aLLoweD.eXAMple.", A, IN, 0, "198.18.0.5", EGRESS_ALLOWED, -1, "allowed.example"},
	{"x.wild.example.", A, IN, 0, "198.18.0.5", EGRESS_ALLOWED, -1, "x.wild.example"},
	{"allowed.example.", AAAA, IN, 0, NULL, EGRESS_ALLOWED, -1, "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_HTTPS, IN, 0, NULL, EGRESS_ALLOWED, -1,
	 "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_SVCB, IN, 0, NULL, EGRESS_ALLOWED, -1, "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_TXT, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_NULL, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_MX, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	{"allowed.example.", LDNS_RR_TYPE_ANY, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	{"allowed.example.", 65280, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	/* what browsers ask of another port, and apt first: about the host */
	{"_8443._https.allowed.example.", LDNS_RR_TYPE_HTTPS, IN, 0, NULL, EGRESS_ALLOWED, -1,
	 "allowed.example"},
	{"_8443._https.other.example.", LDNS_RR_TYPE_HTTPS, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED,
	 15, "other.example"},
	{"_8443._https.allowed.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "_8443._https.allowed.example"},
	{"_x._https.allowed.example.", LDNS_RR_TYPE_HTTPS, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "_x._https.allowed.example"},
	{"_._https.allowed.example.", LDNS_RR_TYPE_HTTPS, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "_._https.allowed.example"},
	{"_http._tcp.allowed.example.", LDNS_RR_TYPE_SRV, IN, 0, NULL, EGRESS_ALLOWED, -1,
	 "allowed.example"},
	{"_HTTPS._tcp.allowed.example.", LDNS_RR_TYPE_SRV, IN, 0, NULL, EGRESS_ALLOWED, -1,
	 "allowed.example"},
	{"_https._tcp.other.example.", LDNS_RR_TYPE_SRV, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "other.example"},
	{"_http._tcp.allowed.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "_http._tcp.allowed.example"},
	{"_mongodb.wild.example.", LDNS_RR_TYPE_SRV, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "_mongodb.wild.example"},
	{"_http._tcp.", LDNS_RR_TYPE_SRV, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "_http._tcp"},
	{"allowed.example.", LDNS_RR_TYPE_SRV, IN, 0, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15,
	 "allowed.example"},
	{"other.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "other.example"},
	{"other.example.", AAAA, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "other.example"},
	{"c2VjcmV0.other.example.", LDNS_RR_TYPE_TXT, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 "c2vjcmv0.other.example"},
	{"limit.example.", A, IN, 5, NULL, EGRESS_LIMIT, 0, "limit.example"},
	{"broken.example.", A, IN, 2, NULL, EGRESS_INTERNAL, 0, "broken.example"},
	{"careless.example.", A, IN, 2, NULL, EGRESS_INTERNAL, 0, "careless.example"},
	{"egress.", A, IN, 0, "127.0.0.1", EGRESS_ALLOWED, -1, NULL},
	{"EGRESS.", AAAA, IN, 0, "::1", EGRESS_ALLOWED, -1, NULL},
	{"egress.", LDNS_RR_TYPE_TXT, IN, 0, NULL, EGRESS_ALLOWED, -1, NULL},
	{"x.egress.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "x.egress"},
	{"localhost.", A, IN, 0, "127.0.0.1", EGRESS_ALLOWED, -1, NULL},
	{"a.b.LocalHost.", AAAA, IN, 0, "::1", EGRESS_ALLOWED, -1, NULL},
	{"notlocalhost.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "notlocalhost"},
	{"1.0.0.127.in-addr.arpa.", LDNS_RR_TYPE_PTR, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 NULL},
	{"8.b.d.0.1.0.0.2.ip6.arpa.", LDNS_RR_TYPE_PTR, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15,
	 NULL},
	{"allowed.example.", A, LDNS_RR_CLASS_CH, 5, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15, NULL},
	{"allowed.example.", A, LDNS_RR_CLASS_ANY, 5, NULL, EGRESS_PROTOCOL_NOT_ALLOWED, 15, NULL},
	{".", LDNS_RR_TYPE_NS, IN, 5, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	/* not a host's characters: escaped ones are never asked about */
	{"allowed\\000.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	{"allowed\\.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	{"allo\\032wed.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	{"\\255llowed.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	{"allowed.example\\010.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, NULL},
	{"x.allowed.example.", A, IN, 3, NULL, EGRESS_HOST_NOT_ALLOWED, 15, "x.allowed.example"},
};

static void check_case(size_t i, int edns_size)
{
	struct exchange x;
	char ede_text[100];

	print_message("%s %d, EDNS %d\n", cases[i].name, (int)cases[i].type, edns_size);
	ask(&x, cases[i].name, cases[i].type, cases[i].class, edns_size);
	assert_non_null(x.packet);
	assert_int_equal(rcode_of(x.packet), cases[i].rcode);
	assert_int_equal(x.answer.reason, cases[i].reason);
	assert_int_equal(x.answer.type, cases[i].type);
	assert_int_equal(ldns_pkt_id(x.packet), 0xbeef);
	assert_true(ldns_pkt_qr(x.packet) && ldns_pkt_ra(x.packet) && ldns_pkt_rd(x.packet));
	assert_false(ldns_pkt_tc(x.packet) || ldns_pkt_ad(x.packet));
	expect_question_echoed(&x);
	assert_int_equal(ldns_pkt_ancount(x.packet), cases[i].address ? 1 : 0);
	if (cases[i].address)
		expect_address(x.packet, cases[i].address, cases[i].type);
	bool negative = !cases[i].address && (cases[i].rcode == 0 || cases[i].rcode == 3);
	assert_int_equal(ldns_pkt_nscount(x.packet), negative ? 1 : 0);
	if (negative)
		assert_int_equal(ldns_rr_get_type(ldns_rr_list_rr(ldns_pkt_authority(x.packet), 0)),
				 LDNS_RR_TYPE_SOA);
	assert_int_equal(asked.binds, cases[i].asked ? 1 : 0);
	if (cases[i].asked)
		assert_string_equal(asked.name, cases[i].asked);
	assert_int_equal(ede_of(x.packet, ede_text), edns_size ? cases[i].ede : -1);
	if (edns_size && cases[i].ede == 15)
		assert_string_equal(ede_text, "blocked by policy");
	assert_int_equal(x.packet->_edns_present, edns_size != 0);
	if (edns_size)
		assert_int_equal(ldns_pkt_edns_udp_size(x.packet), 1232);
	assert_true(x.response.length <= x.query.length + 80);
	done(&x);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		check_case(i, 0);
		check_case(i, 4096);
	}
}

static void test_logged_name(void **state)
{
	struct exchange x;

	(void)state;
	ask(&x, "oTHer.\\001x.example.", A, IN, 0);
	assert_string_equal(x.answer.name, "other.\\001x.example");
	done(&x);
	ask(&x, ".", A, IN, 0);
	assert_string_equal(x.answer.name, ".");
	done(&x);
}

/* 253 characters reach the names, and the widest of escaped ones does not overflow the log's. */
static void test_long_names(void **state)
{
	char name[1100] = "";
	uint8_t query[300] = {0, 1, 1, 0, 0, 1};
	size_t size = 12;
	struct exchange x;

	(void)state;
	for (int i = 0; i < 3; i++)
		strcat(name, "a23456789012345678901234567890123456789012345678901234567890123.");
	strcat(name, "b2345678901234567890123456789012345678901234567890123456789.c");
	assert_int_equal(strlen(name), 253);
	ask(&x, name, A, IN, 0);
	assert_int_equal(rcode_of(x.packet), LDNS_RCODE_NXDOMAIN);
	assert_string_equal(asked.name, name);
	assert_string_equal(x.answer.name, name);
	done(&x);

	for (int label = 0; label < 4; label++) {
		int length = label < 3 ? 63 : 61;
		query[size++] = (uint8_t)length;
		memset(query + size, 0xff, (size_t)length);
		size += (size_t)length;
	}
	size++;
	memcpy(query + size, "\0\1\0\1", 4);
	respond(&x, (struct span){(char *)query, size + 4}, 512);
	assert_int_equal(rcode_of(x.packet), LDNS_RCODE_NXDOMAIN);
	assert_int_equal(asked.binds, 0);
	assert_int_equal(strlen(x.answer.name), EGRESS_NAME_SIZE - 1);
	done(&x);
}

/* ---- by hand -------------------------------------------------------------------------------- */

#define QUESTION "\7allowed\7example\0\0\1\0\1"
#define OPT(version, flags) "\0\0\51\20\0\0" version flags "\0\0"
#define HEADER(flags, qd, an, ns, ar) "\x12\x34" flags "\0" qd "\0" an "\0" ns "\0" ar
static const struct {
	const char *what;
	struct span query;
	int rcode; /* -1: no response */
	bool asked;
} raw_cases[] = {
	{"a whole query", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") QUESTION), 0, true},
	{"nothing", SPAN(""), -1, false},
	{"half a header", SPAN("\x12\x34\1\0\0\1\0\0\0\0\0"), -1, false},
	{"a header and no question", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0")), 1, false},
	{"a response", SPAN(HEADER("\x81\0", "\1", "\0", "\0", "\0") QUESTION), -1, false},
	{"no questions", SPAN(HEADER("\1\0", "\0", "\0", "\0", "\0")), 1, false},
	{"two questions", SPAN(HEADER("\1\0", "\2", "\0", "\0", "\0") QUESTION QUESTION), 1, false},
	{"an answer in the query",
	 SPAN(HEADER("\1\0", "\1", "\1", "\0", "\0") QUESTION "\xc0\14\0\1\0\1\0\0\0\0\0\0"), 1,
	 false},
	{"notify", SPAN(HEADER("\x21\0", "\1", "\0", "\0", "\0") QUESTION), 4, false},
	{"update", SPAN(HEADER("\x28\0", "\1", "\0", "\0", "\0") QUESTION), 4, false},
	{"a name that ends in the middle", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\7allo"), 1,
	 false},
	{"a question cut in its class",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\7allowed\7example\0\0\1\0"), 1, false},
	{"a pointer to itself", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\xc0\14\0\1\0\1"), 1,
	 false},
	{"two pointers in a ring",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\1a\xc0\20\xc0\14\0\1\0\1"), 1, false},
	{"a pointer forward", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\xc0\22\0\1\0\1\1a\0"),
	 1, false},
	{"a pointer into the header",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\1a\xc0\2\0\1\0\1"), 1, false},
	{"a pointer past the end",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\1a\xff\xff\0\1\0\1"), 1, false},
	{"an extended label type",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") "\x41"
						     "aaa\0\0\1\0\1"),
	 1, false},
	{"EDNS 0", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION OPT("\0", "\0\0")), 0,
	 true},
	{"EDNS 1", SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION OPT("\1", "\0\0")), 16,
	 false},
	{"two OPTs",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\2") QUESTION OPT("\0", "\0\0") OPT("\0", "\0\0")),
	 1, false},
	{"three additional records",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\3") QUESTION OPT("\0", "\0\0") OPT("\0", "\0\0")
		      OPT("\0", "\0\0")),
	 1, false},
	{"an OPT that is announced and missing",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION), 1, false},
	{"an OPT longer than the message",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION "\0\0\51\20\0\0\0\0\0\377\377"), 1,
	 false},
	{"a cookie and an unknown option",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION
	      "\0\0\51\20\0\0\0\0\0\0\22\0\12\0\10abcdefgh\377\1\0\2xy"),
	 0, true},
	{"an option longer than the OPT",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\1") QUESTION
	      "\0\0\51\20\0\0\0\0\0\0\6\0\12\0\377ab"),
	 0, true},
	{"bytes behind the message",
	 SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") QUESTION "trailing"), 0, true},
};

static void test_raw(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(raw_cases) / sizeof(raw_cases[0]); i++) {
		struct exchange x;

		print_message("%s\n", raw_cases[i].what);
		respond(&x, raw_cases[i].query, 1232);
		assert_int_equal(x.packet != NULL, raw_cases[i].rcode >= 0);
		assert_int_equal(asked.binds, raw_cases[i].asked);
		if (x.packet) {
			assert_int_equal(rcode_of(x.packet), raw_cases[i].rcode);
			assert_int_equal(ldns_pkt_id(x.packet), 0x1234);
			assert_true(ldns_pkt_qr(x.packet));
		}
		assert_int_equal(x.answer.reason == EGRESS_ALLOWED, raw_cases[i].rcode == 0);
		done(&x);
	}
}

/* Whatever the length it is cut to, a query is never more than an error. */
static void test_every_cut(void **state)
{
	uint8_t query[1024];
	size_t size = build("x.wild.example.", A, IN, 1232, query);

	(void)state;
	for (size_t cut = 0; cut < size; cut++) {
		struct exchange x;

		respond(&x, (struct span){(char *)query, cut}, 1232);
		assert_int_equal(asked.binds, 0);
		assert_int_equal(x.packet != NULL, cut >= 12);
		if (x.packet)
			assert_int_equal(rcode_of(x.packet), LDNS_RCODE_FORMERR);
		done(&x);
	}
}

static void test_too_long(void **state)
{
	static char query[4097] = HEADER("\1\0", "\1", "\0", "\0", "\0") QUESTION;
	struct exchange x;

	(void)state;
	respond(&x, (struct span){query, 4096}, 0);
	assert_int_equal(rcode_of(x.packet), 0);
	done(&x);
	respond(&x, (struct span){query, 4097}, 0);
	assert_int_equal(rcode_of(x.packet), LDNS_RCODE_FORMERR);
	done(&x);
}

/* DO and CD come back (RFC 3225, RFC 4035), RD only when it was set. */
static void test_flags(void **state)
{
	struct exchange x;

	(void)state;
	respond(&x, SPAN(HEADER("\0\20", "\1", "\0", "\0", "\1") QUESTION OPT("\0", "\x80\0")),
		1232);
	assert_true(ldns_pkt_edns_do(x.packet));
	assert_true(ldns_pkt_cd(x.packet));
	assert_false(ldns_pkt_rd(x.packet));
	done(&x);
}

/* A limit under the answer's size: no data, TC, and the client comes again over TCP. */
static void test_truncation(void **state)
{
	uint8_t query[1024];
	size_t size = build("allowed.example.", A, IN, 0, query);
	struct exchange x;

	(void)state;
	respond(&x, (struct span){(char *)query, size}, size + 10);
	assert_true(ldns_pkt_tc(x.packet));
	assert_int_equal(ldns_pkt_ancount(x.packet), 0);
	assert_int_equal(x.response.length, size);
	expect_question_echoed(&x);
	done(&x);
	respond(&x, (struct span){(char *)query, size}, 0);
	assert_false(ldns_pkt_tc(x.packet));
	done(&x);
}

static void test_appends(void **state)
{
	struct bytes out = {0};
	struct dns_answer answer;
	struct span query = SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") QUESTION);

	(void)state;
	assert_true(bytes_append_text(&out, "before"));
	assert_int_equal(dns_respond(&names, query, &out, 512, &answer), 0);
	assert_memory_equal(bytes_span(&out).data, "before\x12\x34", 8);
	bytes_free(&out);
}

static void test_no_names(void **state)
{
	static const struct dns_names none = {0};
	struct bytes out = {0};
	struct dns_answer answer;
	struct span query = SPAN(HEADER("\1\0", "\1", "\0", "\0", "\0") QUESTION);

	(void)state;
	assert_int_equal(dns_respond(&none, query, &out, 512, &answer), 0);
	assert_int_equal(answer.reason, EGRESS_INTERNAL);
	assert_int_equal(bytes_span(&out).data[3] & 0xf, LDNS_RCODE_SERVFAIL);
	bytes_free(&out);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* 20 us is the promise; ten times that is left for sanitizers and valgrind. */
static void test_speed(void **state)
{
	uint8_t query[1024];
	size_t size = build("allowed.example.", A, IN, 1232, query);
	struct bytes out = {0};
	struct dns_answer answer;
	double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
	const int rounds = 2000;

	(void)state;
	for (int i = 0; i < rounds; i++) {
		assert_int_equal(dns_respond(&names, (struct span){(char *)query, size}, &out, 1232,
					     &answer),
				 0);
		bytes_consume(&out, out.length);
	}
	double each = (seconds(CLOCK_THREAD_CPUTIME_ID) - begin) / rounds;
	print_message("%.1f us an answer\n", each * 1e6);
	assert_true(each < 200e-6);
	bytes_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),      cmocka_unit_test(test_logged_name),
		cmocka_unit_test(test_long_names), cmocka_unit_test(test_raw),
		cmocka_unit_test(test_every_cut),  cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_flags),      cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_appends),    cmocka_unit_test(test_no_names),
		cmocka_unit_test(test_speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
