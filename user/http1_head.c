// SPDX-License-Identifier: BSD-2-Clause
#include "http1_head.h"

#include <string.h>

#define METHOD_MAX 32
#define LENGTH_DIGITS_MAX 18 /* fits in 64 bits with room for arithmetic */

/* What a byte may be part of. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4 };

enum { ANY = TOKEN | VALUE | TARGET, DELIMITER = VALUE | TARGET };
static const unsigned char classes[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = ANY,
	['"'] = DELIMITER,
	['#'] = TOKEN | VALUE, /* no fragment in a target: servers disagree on what it hides */
	['$' ... '\''] = ANY,
	['(' ... ')'] = DELIMITER,
	['*' ... '+'] = ANY,
	[','] = DELIMITER,
	['-' ... '.'] = ANY,
	['/'] = DELIMITER,
	['0' ... '9'] = ANY,
	[':' ... '@'] = DELIMITER,
	['A' ... 'Z'] = ANY,
	['[' ... ']'] = DELIMITER,
	['^' ... 'z'] = ANY,
	['{'] = DELIMITER,
	['|'] = ANY,
	['}'] = DELIMITER,
	['~'] = ANY,
	/* obs-text (RFC 9110, 5.5). In a target it is what servers decode in ways of their own. */
	[0x80 ... 0xff] = VALUE,
};

static bool all_of(struct span text, unsigned class)
{
	for (size_t i = 0; i < text.length; i++)
		if (!(classes[(unsigned char)text.data[i]] & class))
			return false;
	return true;
}

/* Each of its eight bytes is a VALUE for sure: none is a control or DEL. HTAB is one, and is left to
 * the table. The sums borrow from byte to byte, which may hide nothing, but cry wolf. */
static bool are_plain(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101u, high = ones << 7;
	uint64_t del = word ^ (ones * 0x7f);

	return !((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high);
}

bool http1_is_value(struct span text)
{
	uint64_t word;

	if (text.length < sizeof(word))
		return all_of(text, VALUE);
	for (size_t at = 0; at < text.length; at += sizeof(word)) {
		/* The last word may overlap the one before. */
		if (at > text.length - sizeof(word))
			at = text.length - sizeof(word);
		memcpy(&word, text.data + at, sizeof(word));
		if (!are_plain(word))
			return all_of(text, VALUE);
	}
	return true;
}

bool http1_is_token(struct span text)
{
	return text.length > 0 && all_of(text, TOKEN);
}

bool http1_append_field(struct bytes *to, struct span name, struct span value)
{
	/* One reservation for its parts: four appends for each field were part of the third of
	 * an HTTP/2 stream's instructions that callgrind showed to be of no use. */
	size_t length = name.length + 2 + value.length + 2;
	char *at = bytes_reserve(to, length);

	if (!at)
		return false;
	memcpy(at, name.data, name.length);
	at += name.length;
	at[0] = ':';
	at[1] = ' ';
	memcpy(at + 2, value.data, value.length);
	at += 2 + value.length;
	at[0] = '\r';
	at[1] = '\n';
	bytes_added(to, length);
	return true;
}

bool http1_list_has(struct span list, struct span token)
{
	while (list.length > 0) {
		const char *comma = memchr(list.data, ',', list.length);
		size_t length = comma ? (size_t)(comma - list.data) : list.length;

		if (span_equal_nocase(span_trim((struct span){list.data, length}), token))
			return true;
		length += comma != NULL;
		list.data += length;
		list.length -= length;
	}
	return false;
}

long http1_head_end(struct span text, size_t *scanned)
{
	size_t line = *scanned;

	while (line < text.length) {
		const char *end = memchr(text.data + line, '\n', text.length - line);
		size_t next;

		if (!end)
			break;
		next = (size_t)(end - text.data) + 1;
		/* RFC 9112, 2.2 lets a recipient take a bare LF. An upstream that does not take
		 * it would see another head than the one that was judged. */
		if (next < line + 2 || end[-1] != '\r')
			return -1;
		if (next == line + 2)
			return (long)next;
		line = next;
	}
	*scanned = line;
	return 0;
}

bool http1_may_be_request(struct span text)
{
	const char *end;

	/* Lines before the first one are for the parser to refuse. */
	if (text.length == 0 || text.data[0] == '\r' || text.data[0] == '\n')
		return true;
	if (!http1_is_token((struct span){text.data, 1}))
		return false;
	end = memchr(text.data, '\n', text.length);
	return !end || memmem(text.data, (size_t)(end - text.data), " HTTP/", 6);
}

/* Cuts the line that begins `text` off it, without its CRLF. False for a bare CR or LF. */
static bool cut_line(struct span *text, struct span *ret_line)
{
	const char *end = memchr(text->data, '\n', text->length);
	size_t length;

	if (!end || end == text->data || end[-1] != '\r')
		return false;
	length = (size_t)(end - text->data) - 1;
	*ret_line = (struct span){text->data, length};
	text->data += length + 2;
	text->length -= length + 2;
	return true;
}

/* Cuts what stands before the first space off `line`, and the space. */
static bool cut_word(struct span *line, struct span *ret_word)
{
	const char *space = memchr(line->data, ' ', line->length);

	if (!space)
		return false;
	*ret_word = (struct span){line->data, (size_t)(space - line->data)};
	line->data += ret_word->length + 1;
	line->length -= ret_word->length + 1;
	return true;
}

static bool parse_version(struct span text, unsigned *ret_minor)
{
	/* To the letter. llhttp would take HTTP/0.9 and HTTP/2.0, too. */
	if (span_equal(text, SPAN("HTTP/1.1")))
		*ret_minor = 1;
	else if (span_equal(text, SPAN("HTTP/1.0")))
		*ret_minor = 0;
	else
		return false;
	return true;
}

static int parse_request_line(struct span line, struct http1_head *head)
{
	/* One SP between the parts, and no more: splitting at any blank, which RFC 9112, 3
	 * allows, is what parsers disagree about. */
	if (!cut_word(&line, &head->method) || !cut_word(&line, &head->target))
		return 400;
	/* Before its bytes are looked at: RFC 9112, 3 wants 414 for what is too long. */
	if (head->target.length > HTTP1_TARGET_MAX)
		return 414;
	if (!http1_is_token(head->method) || head->method.length > METHOD_MAX ||
	    head->target.length == 0 || !all_of(head->target, TARGET) ||
	    !parse_version(line, &head->minor))
		return 400;
	return 0;
}

static int parse_status_line(struct span line, struct http1_head *head)
{
	struct span version;

	/* RFC 9112, 4 wants a blank even before an empty phrase; servers leave it out. */
	if (!cut_word(&line, &version) || !parse_version(version, &head->minor) ||
	    line.length < 3 || (line.length > 3 && line.data[3] != ' '))
		return 400;
	head->status = 0;
	for (size_t i = 0; i < 3; i++) {
		if (line.data[i] < '0' || line.data[i] > '9')
			return 400;
		head->status = head->status * 10 + (unsigned)(line.data[i] - '0');
	}
	head->phrase = (struct span){line.data + 3, line.length - 3};
	if (head->phrase.length > 0)
		head->phrase = (struct span){line.data + 4, line.length - 4};
	return head->status >= 100 && http1_is_value(head->phrase) ? 0 : 400;
}

static int parse_field(struct span line, struct http1_head *head)
{
	struct policy_header *field;
	size_t length = 0;

	if (head->count == HTTP1_FIELDS_MAX)
		return 431;
	/* A folded line begins with a blank, which is no token; so does a space before ':'. */
	while (length < line.length && (classes[(unsigned char)line.data[length]] & TOKEN))
		length++;
	if (length == 0 || length == line.length || line.data[length] != ':')
		return 400;
	field = &head->fields[head->count++];
	field->name = (struct span){line.data, length};
	field->value = span_trim((struct span){line.data + length + 1, line.length - length - 1});
	return http1_is_value(field->value) ? 0 : 400;
}

static int parse_length(struct span value, uint64_t *ret_length)
{
	uint64_t length = 0;

	/* No list of equal numbers, either, which RFC 9110, 8.6 allows to be taken for one. */
	if (value.length == 0 || value.length > LENGTH_DIGITS_MAX)
		return 400;
	for (size_t i = 0; i < value.length; i++) {
		if (value.data[i] < '0' || value.data[i] > '9')
			return 400;
		length = length * 10 + (uint64_t)(value.data[i] - '0');
	}
	*ret_length = length;
	return 0;
}

/* Each of these may be given once, and not both: anything else is somebody's trick. */
static int note_length(struct http1_head *head, const struct policy_header *field)
{
	if (head->framing != HTTP1_NO_BODY)
		return 400;
	head->framing = HTTP1_LENGTH;
	return parse_length(field->value, &head->length);
}

static int note_coding(struct http1_head *head, const struct policy_header *field)
{
	/* RFC 9112, 6.1: with HTTP/1.0 its framing is faulty, whatever it says. */
	if (head->framing != HTTP1_NO_BODY || head->minor == 0 ||
	    !span_equal_nocase(field->value, SPAN("chunked")))
		return 400;
	head->framing = HTTP1_CHUNKED;
	return 0;
}

static int note_host(struct http1_head *head, const struct policy_header *field)
{
	/* RFC 9112, 3.2: two of them are two readers' choice. */
	if (head->host.data)
		return 400;
	head->host = field->value;
	return 0;
}

/* Each field of the head is looked for in these lists: 60 KB of commas were 280 ms for 240 fields. */
static int note_nominations(struct http1_head *head, const struct policy_header *field)
{
	head->nominations++;
	head->nominated += field->value.length;
	return head->nominations > HTTP1_NOMINATIONS_MAX || head->nominated > HTTP1_NOMINATED_MAX ? 400 : 0;
}

/* By length first: most fields are none of these. */
static int note_field(struct http1_head *head, const struct policy_header *field)
{
	struct span name = field->name;

	switch (name.length) {
	case 2:
		if (span_equal_nocase(name, SPAN("te")))
			head->te_trailers |= http1_list_has(field->value, SPAN("trailers"));
		break;
	case 4:
		return span_equal_nocase(name, SPAN("host")) ? note_host(head, field) : 0;
	case 6:
		head->expects |= span_equal_nocase(name, SPAN("expect"));
		break;
	case 7:
		if (span_equal_nocase(name, SPAN("upgrade")))
			head->upgrade = field->value;
		break;
	case 10:
		return span_equal_nocase(name, SPAN("connection")) ? note_nominations(head, field) : 0;
	case 14:
		return span_equal_nocase(name, SPAN("content-length")) ? note_length(head, field) : 0;
	case 17:
		return span_equal_nocase(name, SPAN("transfer-encoding")) ? note_coding(head, field) : 0;
	}
	return 0;
}

static int parse_fields(struct span text, struct http1_head *head)
{
	while (text.length > 0) {
		struct span line;
		int status;

		if (!cut_line(&text, &line))
			return 400;
		if (line.length == 0)
			return text.length == 0 ? 0 : 400;
		status = parse_field(line, head);
		if (status == 0)
			status = note_field(head, &head->fields[head->count - 1]);
		if (status != 0)
			return status;
	}
	return 400;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct http1_head *head = parser->data;

	head->keep_alive = head->minor == 1 ? !(parser->flags & F_CONNECTION_CLOSE)
					    : !!(parser->flags & F_CONNECTION_KEEP_ALIVE);
	/* RFC 9110, 7.8: what Connection does not name is not meant for us. */
	if (!(parser->flags & F_CONNECTION_UPGRADE))
		head->upgrade = (struct span){NULL, 0};
	/* Two parsers that disagree on the framing: refuse, whoever is right. */
	if (!!(parser->flags & F_CHUNKED) != (head->framing == HTTP1_CHUNKED) ||
	    !!(parser->flags & F_CONTENT_LENGTH) != (head->framing == HTTP1_LENGTH) ||
	    (head->framing == HTTP1_LENGTH && parser->content_length != head->length))
		return HPE_USER;
	return 0;
}

static int run_llhttp(struct span text, llhttp_type_t type, llhttp_t *parser,
		      struct http1_head *head)
{
	static const llhttp_settings_t settings = {.on_headers_complete = on_headers_complete};
	llhttp_errno_t error;

	llhttp_init(parser, type, &settings);
	parser->data = head;
	error = llhttp_execute(parser, text.data, text.length);
	/* `head` does not outlive this; http1_body_start() puts the body in its place. */
	parser->data = NULL;
	return error == HPE_OK || error == HPE_PAUSED_UPGRADE ? 0 : 400;
}

static int parse(struct span text, llhttp_type_t type, llhttp_t *parser, struct http1_head *head)
{
	struct span rest = text, line;
	int status;

	*head = (struct http1_head){.fields = head->fields};
	if (text.length > HTTP1_HEAD_MAX)
		return 431;
	if (!cut_line(&rest, &line))
		return 400;
	status = type == HTTP_REQUEST ? parse_request_line(line, head)
				      : parse_status_line(line, head);
	if (status == 0)
		status = parse_fields(rest, head);
	/* A second opinion on what comes from outside: what two parsers read differently is
	 * refused, whichever is right. */
	if (status == 0 && parser)
		status = run_llhttp(text, type, parser, head);
	return status;
}

int http1_request_parse(struct span text, llhttp_t *parser, struct http1_head *head)
{
	return parse(text, HTTP_REQUEST, parser, head);
}

int http1_response_parse(struct span text, llhttp_t *parser, struct http1_head *head)
{
	return parse(text, HTTP_RESPONSE, parser, head);
}
