// SPDX-License-Identifier: BSD-2-Clause
/* libyaml's marks say where the last route ends; nothing is written anew, so comments and layout stay
 * what they were. */
#include "config_edit.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* What is known of `routes` while events go by. */
struct search {
	unsigned depth;	 /* of open collections */
	unsigned routes; /* the depth inside of the list; 0: not there (yet) */
	bool expects_key, is_routes; /* in the root mapping: what the next node is */
	bool found, flow, empty;
	size_t column, start; /* of the list */
	size_t end;	      /* of its last text, in characters */
	size_t item_end;      /* of the last entry of a list in brackets */
};

/* Marks count characters. */
static size_t byte_offset(struct span text, size_t characters)
{
	size_t at = 0;

	for (; at < text.length; at++) {
		if (((unsigned char)text.data[at] & 0xc0) == 0x80)
			continue;
		if (characters-- == 0)
			break;
	}
	return at;
}

static void enter(struct search *s, const yaml_event_t *event)
{
	s->depth++;
	if (event->type == YAML_SEQUENCE_START_EVENT && s->depth == 2 && s->is_routes) {
		s->routes = s->depth;
		s->found = true;
		s->empty = true;
		s->flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
		s->column = event->start_mark.column;
		s->start = event->start_mark.index;
	} else if (s->routes) {
		s->empty = false;
	}
	s->expects_key = s->depth == 1;
}

/* A block collection ends where the next thing begins; only texts and brackets know their own end. */
static void leave(struct search *s, const yaml_event_t *event)
{
	bool bracket = event->start_mark.index != event->end_mark.index;

	if (s->routes == s->depth)
		s->routes = 0;
	else if (s->routes && bracket)
		s->end = event->end_mark.index;
	s->depth--;
	if (s->routes && s->depth == s->routes)
		s->item_end = event->end_mark.index;
	if (s->depth == 1)
		s->expects_key = true;
}

static void see_scalar(struct search *s, const yaml_event_t *event)
{
	if (s->routes) {
		s->end = event->end_mark.index;
		if (s->depth == s->routes)
			s->item_end = s->end;
		s->empty = false;
	}
	if (s->depth != 1)
		return;
	s->is_routes = s->expects_key &&
		       strcmp((const char *)event->data.scalar.value, "routes") == 0;
	s->expects_key = !s->expects_key;
}

static void see(struct search *s, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		enter(s, event);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		leave(s, event);
		break;
	case YAML_SCALAR_EVENT:
		see_scalar(s, event);
		break;
	default:
		break;
	}
}

static bool walk(struct span text, struct search *ret)
{
	yaml_parser_t parser;
	yaml_event_t event;
	bool more = true;

	if (!yaml_parser_initialize(&parser))
		return false;
	/* As config_tree.c reads it: guessed, its marks would count other characters. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.length);
	while (more && yaml_parser_parse(&parser, &event)) {
		see(ret, &event);
		more = event.type != YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return !more;
}

/* The end of the line that the last text stands in; a block of text ends with its line already. */
static void place_block(struct span text, const struct search *s, struct config_place *ret)
{
	size_t at = byte_offset(text, s->end);
	const char *end;

	if (at == 0 || text.data[at - 1] != '\n') {
		end = at < text.length ? memchr(text.data + at, '\n', text.length - at) : NULL;
		at = end ? (size_t)(end - text.data) + 1 : text.length;
		ret->break_before = !end;
	}
	ret->offset = at;
	ret->crlf = at >= 2 && text.data[at - 2] == '\r' && text.data[at - 1] == '\n';
}

int config_find_place(struct span text, struct config_place *ret, struct error *error)
{
	struct search s = {0};
	struct config_place place = {0};

	if (!walk(text, &s) || !s.found)
		return error_set(error, "it has no list of routes");
	place.flow = s.flow;
	place.empty = s.empty;
	if (s.flow) {
		place.offset = byte_offset(text, s.empty ? s.start + 1 : s.item_end);
	} else if (s.column >= sizeof(place.indent)) {
		return error_set(error, "its routes are indented too deeply");
	} else {
		memset(place.indent, ' ', s.column);
		place_block(text, &s, &place);
	}
	place.line = 1 + place.break_before;
	for (size_t i = 0; i < place.offset; i++)
		place.line += text.data[i] == '\n';
	*ret = place;
	return 0;
}

static bool append_lines(struct bytes *ret, const char *entry, bool crlf)
{
	/* A file with CRLF keeps it everywhere: mixed line ends are a change in every editor and
	 * diff. */
	for (const char *end; crlf && (end = strchr(entry, '\n')); entry = end + 1)
		if (!bytes_append(ret, entry, (size_t)(end - entry)) || !bytes_append_text(ret, "\r\n"))
			return false;
	return bytes_append_text(ret, entry);
}

bool config_insert(struct span text, const struct config_place *place, const char *entry,
		   struct bytes *ret)
{
	const char *before = place->flow && !place->empty ? ", " : place->break_before ? "\n" : "";

	return bytes_append(ret, text.data, place->offset) && bytes_append_text(ret, before) &&
	       append_lines(ret, entry, place->crlf) &&
	       bytes_append(ret, text.data + place->offset, text.length - place->offset);
}
