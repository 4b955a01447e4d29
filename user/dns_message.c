/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS messages, by ldns in both directions: nothing here knows the wire format but the header's
 * flags. What is not one plain question is answered with an error and never looked up; what can be
 * no query is not answered at all, or two responders could keep each other busy. */
#include "dns_message.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define OUR_UDP_SIZE 1232   /* never fragmented (DNS Flag Day 2020) */
#define PLAIN_UDP_SIZE 512  /* RFC 1035 */
#define NEGATIVE_TTL 5      /* short, so that a reload that allows a name is seen soon */
#define RCODE_BADVERS 16    /* RFC 6891 */
#define NAME_MAX_LENGTH 253 /* RFC 1035 in presentation form, without the last dot */

/* More than ldns takes for a query of DNS_QUERY_MAX or a reply: it dereferences what it did not get. */
#define LDNS_ROOM (64 * 1024)

/* ---- reading -------------------------------------------------------------------------------- */

static enum dns_reading bad(struct dns_query *query, uint16_t rcode)
{
	query->error = rcode;
	return DNS_READ_ERROR;
}

/* The owner as it came, in lower case; ldns escapes what is not printable or has a meaning. */
static bool read_name(const ldns_rdf *owner, struct dns_query *query)
{
	char *text = ldns_rdf2str(owner);
	size_t length;

	if (!text)
		return false;
	length = strlen(text);
	if (length > 1 && text[length - 1] == '.')
		text[--length] = '\0';
	query->plain_name = length <= NAME_MAX_LENGTH && !strchr(text, '\\') && text[0] != '.';
	if (length > EGRESS_NAME_SIZE - 1)
		length = EGRESS_NAME_SIZE - 1;
	for (size_t i = 0; i < length; i++)
		query->name[i] =
			text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
	query->name[length] = '\0';
	free(text);
	return true;
}

/* The length of what stands before the host's name in a question about its web server: apt's for
 * one that serves in its place (RFC 2782), a browser's for what is at another port than 443 (RFC
 * 9460, section 2.3). Both take no for an answer; what else is looked up so is of no use without
 * one. */
static size_t service_prefix(const struct dns_query *query)
{
	static const char *const services[] = {"_http._tcp.", "_https._tcp."};
	static const char at_port[] = "._https.";
	size_t length;

	if (query->name[0] != '_')
		return 0;
	if (query->type == LDNS_RR_TYPE_HTTPS) {
		length = 1 + strspn(query->name + 1, "0123456789");
		if (length > 1 && strncmp(query->name + length, at_port, strlen(at_port)) == 0)
			return length + strlen(at_port);
	}
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (query->type == LDNS_RR_TYPE_SRV &&
		    strncmp(query->name, services[i], strlen(services[i])) == 0)
			return strlen(services[i]);
	return 0;
}

/* Such a question is about the host, and is no attempt at another one. */
static void name_host_of_service(struct dns_query *query)
{
	const size_t prefix = service_prefix(query);

	query->web_service = prefix > 0;
	memmove(query->name, query->name + prefix, strlen(query->name + prefix) + 1);
}

/* A question is echoed byte for byte, so a name of compression pointers is not one for us. */
static bool spelled_out(const ldns_rdf *owner, struct span message)
{
	size_t size = ldns_rdf_size(owner);

	return LDNS_HEADER_SIZE + size <= message.length &&
	       memcmp(message.data + LDNS_HEADER_SIZE, ldns_rdf_data(owner), size) == 0;
}

/* Exactly one question: of two, servers answer either. */
static enum dns_reading read_packet(ldns_pkt *packet, struct span message, struct dns_query *query)
{
	ldns_rr_list *questions = ldns_pkt_question(packet);
	uint16_t additional = LDNS_ARCOUNT((const uint8_t *)message.data);
	ldns_rr *question;

	if (ldns_rr_list_rr_count(questions) != 1)
		return bad(query, LDNS_RCODE_FORMERR);
	question = ldns_rr_list_rr(questions, 0);
	if (!spelled_out(ldns_rr_owner(question), message))
		return bad(query, LDNS_RCODE_FORMERR);
	/* ldns takes OPT records out of the section; RFC 6891 allows one. */
	if (additional - ldns_rr_list_rr_count(ldns_pkt_additional(packet)) > 1)
		return bad(query, LDNS_RCODE_FORMERR);
	query->question = ldns_rr_list_pop_rr(questions);
	query->type = (uint16_t)ldns_rr_get_type(question);
	query->class = (uint16_t)ldns_rr_get_class(question);
	if (!read_name(ldns_rr_owner(question), query))
		return DNS_READ_NO_MEMORY;
	name_host_of_service(query);
	query->edns = packet->_edns_present;
	if (!query->edns)
		return DNS_READ_QUESTION;
	query->dnssec_ok = ldns_pkt_edns_do(packet);
	if (ldns_pkt_edns_udp_size(packet) > PLAIN_UDP_SIZE)
		query->udp_size = ldns_pkt_edns_udp_size(packet);
	return ldns_pkt_edns_version(packet) > 0 ? bad(query, RCODE_BADVERS) : DNS_READ_QUESTION;
}

/* Before ldns builds anything: what no query of a stub resolver looks like costs nothing. */
static enum dns_reading read_header(struct span message, struct dns_query *query)
{
	const uint8_t *wire = (const uint8_t *)message.data;

	if (message.length < LDNS_HEADER_SIZE || LDNS_QR_WIRE(wire))
		return DNS_READ_NOTHING;
	query->id = LDNS_ID_WIRE(wire);
	query->opcode = LDNS_OPCODE_WIRE(wire);
	query->recursion_desired = LDNS_RD_WIRE(wire);
	query->checking_disabled = LDNS_CD_WIRE(wire);
	if (query->opcode != LDNS_PACKET_QUERY)
		return bad(query, LDNS_RCODE_NOTIMPL);
	/* Additional records: OPT, and perhaps a signature that we do not check. */
	if (LDNS_QDCOUNT(wire) != 1 || LDNS_ANCOUNT(wire) != 0 || LDNS_NSCOUNT(wire) != 0 ||
	    LDNS_ARCOUNT(wire) > 2 || message.length > DNS_QUERY_MAX)
		return bad(query, LDNS_RCODE_FORMERR);
	return DNS_READ_QUESTION;
}

/* `ret` is good for a reply even when the question is not: the id and flags are read first. */
enum dns_reading dns_query_read(struct span message, struct dns_query *ret)
{
	ldns_pkt *packet = NULL;
	enum dns_reading reading;
	ldns_status status;

	*ret = (struct dns_query){.udp_size = PLAIN_UDP_SIZE};
	reading = read_header(message, ret);
	if (reading != DNS_READ_QUESTION)
		return reading;
	if (!bytes_obtainable(LDNS_ROOM))
		return DNS_READ_NO_MEMORY;
	status = ldns_wire2pkt(&packet, (const uint8_t *)message.data, message.length);
	if (status == LDNS_STATUS_MEM_ERR)
		return DNS_READ_NO_MEMORY;
	if (status != LDNS_STATUS_OK)
		return bad(ret, LDNS_RCODE_FORMERR);
	reading = read_packet(packet, message, ret);
	ldns_pkt_free(packet);
	return reading;
}

void dns_query_clear(struct dns_query *query)
{
	ldns_rr_free(query->question);
	query->question = NULL;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Takes over the data fields, also when it fails; any of them may be NULL. */
static bool push_record(ldns_pkt *packet, ldns_pkt_section section, ldns_rr *record,
			ldns_rdf **fields, size_t count)
{
	bool whole = record && ldns_rr_owner(record);

	for (size_t i = 0; i < count; i++) {
		whole = whole && fields[i];
		if (whole && ldns_rr_push_rdf(record, fields[i]))
			continue;
		whole = false;
		ldns_rdf_deep_free(fields[i]);
	}
	if (whole && ldns_pkt_push_rr(packet, section, record))
		return true;
	ldns_rr_free(record);
	return false;
}

/* NULL for `owner` leaves it out, which push_record() takes for out of memory. */
static ldns_rr *new_record(ldns_rr_type type, uint32_t ttl, ldns_rdf *owner)
{
	ldns_rr *record = ldns_rr_new();

	if (!record) {
		ldns_rdf_deep_free(owner);
		return NULL;
	}
	ldns_rr_set_type(record, type);
	ldns_rr_set_class(record, LDNS_RR_CLASS_IN);
	ldns_rr_set_ttl(record, ttl);
	ldns_rr_set_owner(record, owner);
	return record;
}

/* The owner is the question's, so that a client which randomises case (0x20) finds its own. */
static bool push_address(ldns_pkt *packet, const struct dns_query *query,
			 const struct egress_address *address, uint32_t ttl)
{
	bool v4 = address_is_v4(address);
	ldns_rdf *field = v4 ? ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, 4, address->bytes + 12)
			     : ldns_rdf_new_frm_data(LDNS_RDF_TYPE_AAAA, 16, address->bytes);
	ldns_rr *record = new_record(v4 ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA, ttl,
				     ldns_rdf_clone(ldns_rr_owner(query->question)));

	return push_record(packet, LDNS_SECTION_ANSWER, record, &field, 1);
}

static ldns_rdf *root_name(void)
{
	return ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, 1, "");
}

/* Negative answers are cached only with an SOA (RFC 2308); the root's fits every name. */
static bool push_soa(ldns_pkt *packet)
{
	ldns_rdf *fields[] = {
		root_name(),
		root_name(),
		ldns_native2rdf_int32(LDNS_RDF_TYPE_INT32, 1),
		ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, NEGATIVE_TTL),
		ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, NEGATIVE_TTL),
		ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, NEGATIVE_TTL),
		ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, NEGATIVE_TTL),
	};
	ldns_rr *record = new_record(LDNS_RR_TYPE_SOA, NEGATIVE_TTL, root_name());

	return push_record(packet, LDNS_SECTION_AUTHORITY, record, fields,
			   sizeof(fields) / sizeof(fields[0]));
}

static bool address_wanted(const struct dns_query *query, const struct egress_address *address)
{
	return query->type == (address_is_v4(address) ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA);
}

/* No data at all is a negative answer, and needs an SOA to be cached. */
static bool push_data(ldns_pkt *packet, const struct dns_query *query,
		      const struct dns_reply *reply)
{
	size_t pushed = 0;

	for (size_t i = 0; i < reply->count; i++) {
		if (!address_wanted(query, &reply->addresses[i]))
			continue;
		if (!push_address(packet, query, &reply->addresses[i], reply->ttl))
			return false;
		pushed++;
	}
	if (pushed || (reply->rcode != LDNS_RCODE_NOERROR && reply->rcode != LDNS_RCODE_NXDOMAIN))
		return true;
	return push_soa(packet);
}

/* At most 64 octets of text: constants of ours. */
static bool push_extended_error(ldns_pkt *packet, const struct dns_reply *reply)
{
	uint8_t data[2 + 64];
	size_t length = strnlen(reply->error_text, sizeof(data) - 2);
	ldns_edns_option_list *list = ldns_edns_option_list_new();
	ldns_edns_option *option;

	if (!list)
		return false;
	ldns_write_uint16(data, reply->error_code);
	memcpy(data + 2, reply->error_text, length);
	option = ldns_edns_new_from_data(LDNS_EDNS_EDE, length + 2, data);
	if (!option || !ldns_edns_option_list_push(list, option)) {
		if (option)
			ldns_edns_deep_free(option);
		ldns_edns_option_list_deep_free(list);
		return false;
	}
	ldns_pkt_set_edns_option_list(packet, list); /* the packet owns it now */
	return true;
}

static bool set_edns(ldns_pkt *packet, const struct dns_query *query, const struct dns_reply *reply)
{
	ldns_pkt_set_edns_udp_size(packet, OUR_UDP_SIZE);
	ldns_pkt_set_edns_do(packet, query->dnssec_ok);
	ldns_pkt_set_edns_extended_rcode(packet, (uint8_t)(reply->rcode >> 4));
	return !reply->error_text || push_extended_error(packet, reply);
}

/* Header, question and EDNS; the data only when `with_data`, else it is marked truncated. */
static ldns_pkt *build(const struct dns_query *query, const struct dns_reply *reply, bool with_data)
{
	ldns_pkt *packet = ldns_pkt_new();
	ldns_rr *question = query->question ? ldns_rr_clone(query->question) : NULL;

	if (!packet || (query->question && !question))
		goto fail;
	ldns_pkt_set_id(packet, query->id);
	ldns_pkt_set_qr(packet, true);
	ldns_pkt_set_opcode(packet, query->opcode);
	ldns_pkt_set_rd(packet, query->recursion_desired);
	ldns_pkt_set_ra(packet, true);
	ldns_pkt_set_cd(packet, query->checking_disabled);
	ldns_pkt_set_tc(packet, !with_data);
	ldns_pkt_set_rcode(packet, reply->rcode & 0xf);
	if (question && !ldns_pkt_push_rr(packet, LDNS_SECTION_QUESTION, question))
		goto fail;
	if (question && with_data && !push_data(packet, query, reply)) {
		question = NULL; /* the packet's */
		goto fail;
	}
	question = NULL;
	if (query->edns && !set_edns(packet, query, reply))
		goto fail;
	return packet;
fail:
	ldns_rr_free(question);
	ldns_pkt_free(packet);
	return NULL;
}

/* In wire form; ldns compresses owners to pointers at the question, whose case they so share. */
static ldns_buffer *encode(const struct dns_query *query, const struct dns_reply *reply,
			   bool with_data)
{
	ldns_pkt *packet = bytes_obtainable(LDNS_ROOM) ? build(query, reply, with_data) : NULL;
	ldns_buffer *buffer = packet ? ldns_buffer_new(PLAIN_UDP_SIZE) : NULL;

	if (buffer && ldns_pkt2buffer_wire(buffer, packet) != LDNS_STATUS_OK) {
		ldns_buffer_free(buffer);
		buffer = NULL;
	}
	ldns_pkt_free(packet);
	return buffer;
}

/* The smaller of what the client takes and what we send. */
static size_t size_limit(const struct dns_query *query, size_t udp_limit)
{
	if (udp_limit == 0)
		return UINT16_MAX;
	return query->udp_size < udp_limit ? query->udp_size : udp_limit;
}

/* Too long for UDP: the question alone, with TC, so that the client comes again by TCP. */
int dns_reply_write(const struct dns_query *query, const struct dns_reply *reply, size_t udp_limit,
		    struct bytes *ret)
{
	ldns_buffer *buffer = encode(query, reply, true);
	bool appended = false;

	if (buffer && ldns_buffer_position(buffer) > size_limit(query, udp_limit)) {
		ldns_buffer_free(buffer);
		buffer = encode(query, reply, false);
	}
	if (buffer) {
		appended =
			bytes_append(ret, ldns_buffer_begin(buffer), ldns_buffer_position(buffer));
		ldns_buffer_free(buffer);
	}
	return appended ? 0 : -1;
}
