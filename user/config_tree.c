// SPDX-License-Identifier: BSD-2-Clause
/* YAML without what makes it surprising: no anchors, tags, merge keys or second document, and every
 * scalar is text until a key's parser says what it is. Limits hold for files that only the operator
 * writes as well: a generated one may be wrong in any way. */
#include "config_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* A manifest has about ten levels; recursion is bounded by it, too. */
#define MAX_DEPTH 16
#define MAX_NODES 2000000
#define MAX_KEYS 64 /* of one mapping; the language knows fewer */
#define MAX_SOURCE ((size_t)16 << 20)
#define MAX_ERRORS 200 /* nobody reads more; of two million nodes each could bring one */

/* ---- memory ------------------------------------------------------------------------------- */

void *config_alloc(struct config_arena *arena, size_t size)
{
	void *memory = arena_alloc(&arena->memory, size);

	arena->failed |= !memory;
	return memory;
}

char *config_strdup(struct config_arena *arena, struct span text)
{
	char *copy = arena_text(&arena->memory, text);

	arena->failed |= !copy;
	return copy;
}

void config_arena_free(struct config_arena *arena)
{
	arena_free(&arena->memory);
}

/* ---- events to nodes ---------------------------------------------------------------------- */

struct reader {
	yaml_parser_t parser;
	struct config_arena *arena;
	const char *source;
	struct span text;
	struct diag_list *errors;
	size_t nodes, errors_before;
	struct config_node *spare; /* of a key: its text went into the value */
	struct config_node lost;   /* in the place of one that there was no memory for */
	bool stopped; /* nothing more can be read; said already, or `arena` failed */
};

static int line_of(const yaml_mark_t *mark)
{
	return mark->line < 1000000000 ? (int)mark->line + 1 : 0;
}

/* libyaml's reader knows no lines, only octets. */
static int line_at_offset(struct span text, size_t offset)
{
	int line = 1;

	for (size_t i = 0; i < offset && i < text.length; i++)
		line += text.data[i] == '\n';
	return line;
}

/* libyaml has two ways to put it, neither of which says what to do. Between braces a tab is no fault. */
static bool is_tab(struct span text, const char *problem, const yaml_mark_t *mark)
{
	size_t at = 0, spaces = 0;

	for (size_t line = 0; line < mark->line && at < text.length; at++)
		line += text.data[at] == '\n';
	while (at + spaces < text.length && text.data[at + spaces] == ' ')
		spaces++;
	return strstr(problem, "a tab character") ||
	       (mark->column == spaces && at + spaces < text.length && text.data[at + spaces] == '\t');
}

/* The commonest mistakes get their own words: a host *.example.com without quotes is an alias to
 * YAML, and a tab no indentation. */
static void syntax_error(struct reader *r)
{
	const yaml_parser_t *parser = &r->parser;
	const char *problem = parser->problem ? parser->problem : "unreadable";

	r->stopped = true;
	if (parser->error == YAML_MEMORY_ERROR)
		r->arena->failed = true;
	else if (parser->context && strstr(parser->context, "alias"))
		diag_list_add(r->errors, r->source, line_of(&parser->problem_mark),
			      "a value begins with a bare *; would be right: \"*.example.com\", in "
			      "quotes");
	else if (parser->error == YAML_READER_ERROR)
		diag_list_add(r->errors, r->source, line_at_offset(r->text, parser->problem_offset),
			      "not UTF-8 text: %s; would be right: a file saved as UTF-8", problem);
	else if (is_tab(r->text, problem, &parser->problem_mark))
		diag_list_add(r->errors, r->source, line_of(&parser->problem_mark),
			      "a tab in the indentation; would be right: spaces");
	else
		diag_list_add(r->errors, r->source, line_of(&parser->problem_mark),
			      "not YAML: %s%s%s; would be right: the same indentation for keys of "
			      "one mapping, a space after each colon, quotes closed",
			      parser->context ? parser->context : "", parser->context ? ": " : "",
			      problem);
}

/* What follows cannot be understood any more. */
static void stop(struct reader *r, int line, const char *problem, const char *cure)
{
	diag_list_add(r->errors, r->source, line, "%s; would be right: %s", problem, cure);
	r->stopped = true;
}

static bool next_event(struct reader *r, yaml_event_t *event)
{
	if (r->stopped)
		return false;
	if (!yaml_parser_parse(&r->parser, event)) {
		syntax_error(r);
		return false;
	}
	if (r->errors->count - r->errors_before < MAX_ERRORS)
		return true;
	stop(r, line_of(&event->start_mark), "is not looked at after so many errors", "these first");
	yaml_event_delete(event);
	return false;
}

static struct config_node *node_new(struct reader *r, const yaml_event_t *event,
				    enum config_kind kind)
{
	struct config_node *node = r->spare ? r->spare : config_alloc(r->arena, sizeof(*node));

	r->spare = NULL;
	if (!node) {
		r->stopped = true;
		node = &r->lost;
	}
	*node = (struct config_node){.kind = kind};
	node->line = line_of(&event->start_mark);
	if (++r->nodes > MAX_NODES)
		stop(r, node->line, "more than 2000000 values", "fewer routes");
	return node;
}

/* One complaint for each node, however much is wrong with it. */
static void refuse(struct reader *r, struct config_node *node, const char *what, const char *cure)
{
	if (node->kind != CONFIG_INVALID)
		diag_list_add(r->errors, r->source, node->line,
			      "%s not part of the policy language; would be right: %s", what, cure);
	node->kind = CONFIG_INVALID;
}

static void refuse_decorations(struct reader *r, struct config_node *node, const yaml_char_t *anchor,
			       const yaml_char_t *tag)
{
	if (anchor)
		refuse(r, node, "anchors (&name) are", "the value written out where it is needed");
	if (tag)
		refuse(r, node, "tags (!name) are", "the value alone");
}

static struct config_node *parse_scalar(struct reader *r, const yaml_event_t *event)
{
	struct config_node *node = node_new(r, event, CONFIG_SCALAR);
	struct span text = {(const char *)event->data.scalar.value, event->data.scalar.length};
	const char *copy = config_strdup(r->arena, text);

	r->stopped |= !copy;
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = copy ? copy : "";
	/* strcmp(3) would take what stands before it for the whole. */
	if (text.length > 0 && memchr(text.data, '\0', text.length))
		refuse(r, node, "NUL characters are", "text without them");
	refuse_decorations(r, node, event->data.scalar.anchor, event->data.scalar.tag);
	return node;
}

static void append_child(struct config_node *parent, struct config_node *child,
			 struct config_node **last)
{
	if (*last)
		(*last)->next = child;
	else
		parent->first = child;
	*last = child;
	parent->count++;
}

static struct config_node *parse_node(struct reader *r, const yaml_event_t *event, unsigned depth);

static struct config_node *parse_sequence(struct reader *r, const yaml_event_t *start,
					  unsigned depth)
{
	struct config_node *node = node_new(r, start, CONFIG_SEQUENCE), *last = NULL;
	yaml_event_t event;

	refuse_decorations(r, node, start->data.sequence_start.anchor,
			   start->data.sequence_start.tag);
	while (next_event(r, &event)) {
		bool end = event.type == YAML_SEQUENCE_END_EVENT;

		if (!end)
			append_child(node, parse_node(r, &event, depth + 1), &last);
		yaml_event_delete(&event);
		if (end)
			break;
	}
	return node;
}

/* Says what is wrong with a key, and whether its value may enter the mapping. A key that is there
 * twice is refused: parsers disagree about which one counts. */
static bool check_key(struct reader *r, const struct config_node *mapping,
		      const struct config_node *key)
{
	if (key->kind != CONFIG_SCALAR) {
		if (key->kind != CONFIG_INVALID)
			diag_list_add(r->errors, r->source, key->line,
				      "a key is not text; would be right: name: value");
		return false;
	}
	if (strcmp(key->text, "<<") == 0 && key->plain) {
		diag_list_add(r->errors, r->source, key->line,
			      "merge keys (<<) are not part of the policy language; would be right: "
			      "the keys written out where they are needed");
		return false;
	}
	for (const struct config_node *other = mapping->first; other; other = other->next) {
		if (strcmp(other->key, key->text) != 0)
			continue;
		diag_list_add(r->errors, r->source, key->line,
			      "the key \"%.64s\" is here twice, first at line %d; would be right: "
			      "once",
			      key->text, other->key_line);
		return false;
	}
	return true;
}

/* The value is read also where the key is refused, for its own errors. */
static struct config_node *parse_mapping(struct reader *r, const yaml_event_t *start,
					 unsigned depth)
{
	struct config_node *node = node_new(r, start, CONFIG_MAPPING), *last = NULL;
	yaml_event_t event;

	refuse_decorations(r, node, start->data.mapping_start.anchor, start->data.mapping_start.tag);
	while (next_event(r, &event)) {
		struct config_node *key, *value;
		bool end = event.type == YAML_MAPPING_END_EVENT;

		key = end ? NULL : parse_node(r, &event, depth + 1);
		yaml_event_delete(&event);
		if (end || !next_event(r, &event))
			break;
		value = parse_node(r, &event, depth + 1);
		yaml_event_delete(&event);
		/* check_key() compares each with all before it. */
		if (node->count == MAX_KEYS) {
			stop(r, key->line, "more than 64 keys in one mapping",
			     "a list, where there are many");
			break;
		}
		if (!check_key(r, node, key))
			continue;
		value->key = key->text;
		value->key_line = key->line;
		append_child(node, value, &last);
		r->spare = key;
	}
	return node;
}

static struct config_node *parse_node(struct reader *r, const yaml_event_t *event, unsigned depth)
{
	struct config_node *node;

	if (depth > MAX_DEPTH) {
		node = node_new(r, event, CONFIG_INVALID);
		stop(r, node->line, "nested too deeply", "at most 16 levels");
		return node;
	}
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return parse_scalar(r, event);
	case YAML_SEQUENCE_START_EVENT:
		return parse_sequence(r, event, depth);
	case YAML_MAPPING_START_EVENT:
		return parse_mapping(r, event, depth);
	default:
		node = node_new(r, event, CONFIG_SCALAR);
		refuse(r, node, "aliases (*name) are",
		       "the value written out where it is needed; a host that begins with * in "
		       "quotes");
		return node;
	}
}

static struct config_node *parse_stream(struct reader *r)
{
	struct config_node *root = NULL;
	yaml_event_t event;

	while (next_event(r, &event)) {
		bool end = event.type == YAML_STREAM_END_EVENT;

		if (event.type == YAML_DOCUMENT_START_EVENT && root)
			stop(r, line_of(&event.start_mark), "a second document (---)",
			     "one document in a file");
		else if (!end && event.type != YAML_STREAM_START_EVENT &&
			 event.type != YAML_DOCUMENT_START_EVENT &&
			 event.type != YAML_DOCUMENT_END_EVENT)
			root = parse_node(r, &event, 0);
		yaml_event_delete(&event);
		if (end)
			break;
	}
	return root;
}

/* The encoding is not guessed: a UTF-16 file would have other bytes than those that people
 * review. */
struct config_node *config_tree_parse(struct config_arena *arena, const char *source,
				      struct span text, struct diag_list *errors)
{
	struct reader r = {.arena = arena, .source = source, .text = text, .errors = errors,
			   .errors_before = errors->count};
	struct config_node *root;

	if (text.length > MAX_SOURCE) {
		diag_list_add(errors, source, 0, "larger than 16 MiB; would be right: fewer routes");
		return NULL;
	}
	if (!yaml_parser_initialize(&r.parser)) {
		arena->failed = true;
		diag_list_no_memory(errors);
		return NULL;
	}
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.data, text.length);
	root = parse_stream(&r);
	yaml_parser_delete(&r.parser);
	if (arena->failed)
		diag_list_no_memory(errors);
	else if (!root && !r.stopped)
		diag_list_add(errors, source, 1,
			      "the file is empty; would be right: routes: [] to refuse everything");
	/* Half a tree would only give errors that are none. */
	return r.stopped || arena->failed ? NULL : root;
}
