// SPDX-License-Identifier: BSD-2-Clause
/* Mappings by tables of keys. What no table has is an error: a key that is misspelt and passed over
 * would be a rule that is not there. */
#include "config_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN "%.80s" /* how much of a value a message shows */

void config_fault(struct config_context *context, int line, const char *cure, const char *format,
		  ...)
{
	char message[384];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	diag_list_add(context->errors, context->source, line, "%s%s%s; would be right: %s",
		      context->path, context->path[0] ? ": " : "", message, cure);
}

/* Not by snprintf(3), which was an eighth of the time that a policy of 100,000 routes takes: each key
 * is entered, and few are ever named in a message. */
static void append(struct config_context *context, size_t at, const char *text)
{
	if (!memccpy(context->path + at, text, '\0', sizeof(context->path) - at))
		context->path[sizeof(context->path) - 1] = '\0';
}

/* A path too long for the buffer is cut, and the mark stays right: it is taken before. */
size_t config_enter(struct config_context *context, const char *name)
{
	size_t mark = strlen(context->path);

	if (mark > 0)
		append(context, mark, ".");
	append(context, strlen(context->path), name);
	return mark;
}

size_t config_enter_index(struct config_context *context, size_t index)
{
	size_t mark = strlen(context->path);
	char text[] = "[18446744073709551615]", *at = text + sizeof(text) - 2;

	do
		*--at = (char)('0' + index % 10);
	while (index /= 10);
	*--at = '[';
	append(context, mark, at);
	return mark;
}

void config_leave(struct config_context *context, size_t mark)
{
	context->path[mark] = '\0';
}

/* ---- keys ----------------------------------------------------------------------------------- */

#define MAX_KEY 24

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Edits (one character more, less or other) between two short words; large when one is long. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[MAX_KEY + 1], rows = strlen(a), columns = strlen(b);

	if (rows > MAX_KEY || columns > MAX_KEY)
		return SIZE_MAX;
	for (size_t j = 0; j <= columns; j++)
		row[j] = j;
	for (size_t i = 1; i <= rows; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= columns; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[columns];
}

/* What people type who come from other tools. */
static const struct {
	const char *name, *cure;
} foreign_keys[] = {
	{"insecure_skip_verify", "upstream.ca_file with the host's CA: this switch does not exist, "
				 "certificates are always verified"},
	{"verify", "upstream.ca_file with the host's CA: certificates are always verified"},
	{"token", "token_env or token_file: a secret itself has no place in the policy"},
	{"secret", "token_env or token_file: a secret itself has no place in the policy"},
	{"password", "token_env or token_file: a secret itself has no place in the policy"},
	{"path", "paths: [{type: prefix, value: /path}] in matches, or path_allowlist: [/path] in the "
		 "route"},
	{"paths", "path_allowlist: [/path] in the route, or matches: [{paths: [{type: prefix, value: "
		  "/path}]}]"},
	{"allow", "routes, a list of {host: NAME}"},
	{"deny", "nothing: what no route allows is refused"},
	{"domain", "host"},
	{"domains", "one route for each host"},
	{"hosts", "one route for each host"},
	{"ip", "cidr"},
};

/* A distance of three edits or more is no typing error, but another word. */
static void unknown_key(struct config_context *context, const struct config_node *node,
			const struct config_key *keys, size_t count)
{
	const struct config_key *nearest = NULL;
	size_t least = 3;
	char cure[512] = "one of";

	for (size_t i = 0; i < sizeof(foreign_keys) / sizeof(foreign_keys[0]); i++) {
		if (strcmp(node->key, foreign_keys[i].name) == 0) {
			config_fault(context, node->key_line, foreign_keys[i].cure,
				     "unknown key \"%s\"", node->key);
			return;
		}
	}
	for (size_t i = 0; i < count; i++) {
		size_t distance = edit_distance(node->key, keys[i].name), length = strlen(cure);

		/* Else a short key would be near to any short word. */
		if (distance < least && distance < strlen(keys[i].name)) {
			least = distance;
			nearest = &keys[i];
		}
		snprintf(cure + length, sizeof(cure) - length, "%s %s", i ? "," : "", keys[i].name);
	}
	if (nearest)
		config_fault(context, node->key_line, nearest->name,
			     "unknown key \"" SHOWN "\", did you mean \"%s\"?", node->key,
			     nearest->name);
	else
		config_fault(context, node->key_line, cure, "unknown key \"" SHOWN "\"", node->key);
}

static const struct config_key *find_key(const struct config_key *keys, size_t count,
					 const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

static const char *kind_name(const struct config_node *node)
{
	if (node->kind == CONFIG_SEQUENCE)
		return "a list";
	if (node->kind == CONFIG_MAPPING)
		return "a mapping";
	return node->plain && node->text[0] == '\0' ? "nothing" : "text";
}

bool config_mapping(struct config_context *context, const struct config_node *node,
		    const struct config_key *keys, size_t count, void *ret)
{
	bool clear = true;

	if (node->kind != CONFIG_MAPPING) {
		/* Those were reported by the reader. */
		if (node->kind != CONFIG_INVALID)
			config_fault(context, node->line, "a mapping (key: value)",
				     "%sis %s, not a mapping", context->path[0] ? "" : "the file ",
				     kind_name(node));
		return false;
	}
	for (const struct config_node *child = node->first; child; child = child->next) {
		const struct config_key *key = find_key(keys, count, child->key);
		size_t mark;

		if (!key) {
			unknown_key(context, child, keys, count);
			clear = false;
			continue;
		}
		mark = config_enter(context, key->name);
		key->parse(context, child, (char *)ret + key->offset);
		config_leave(context, mark);
	}
	return clear;
}

/* ---- values --------------------------------------------------------------------------------- */

/* The words of YAML 1.1 for nothing: a key without value is more often forgotten than meant. */
static bool is_null(const struct config_node *node)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; node->plain && i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(node->text, words[i]) == 0)
			return true;
	}
	return false;
}

static bool has_controls(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

/* A scalar that is there, without control characters; reports what is not. */
static bool is_scalar(struct config_context *context, const struct config_node *node,
		      const char *cure)
{
	if (node->kind == CONFIG_INVALID)
		return false;
	if (node->kind != CONFIG_SCALAR)
		config_fault(context, node->line, cure, "is %s", kind_name(node));
	else if (is_null(node))
		config_fault(context, node->line, cure, "has no value");
	else if (has_controls(node->text))
		config_fault(context, node->line, cure, "holds a line break or a control character");
	else
		return true;
	return false;
}

void config_parse_text(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_text *text = ret;

	text->line = node->line;
	if (is_scalar(context, node, "text on one line, or no such key"))
		text->value = node->text;
}

/* Not YAML 1.1's yes, no, on and off: "no" is also a country. */
void config_parse_flag(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_flag *flag = ret;

	if (!is_scalar(context, node, "true or false"))
		return;
	if (node->plain && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0))
		*flag = (struct config_flag){node->text[0] == 't', node->line};
	else
		config_fault(context, node->line, "true or false, without quotes",
			     "\"" SHOWN "\" is neither true nor false", node->text);
}

/* Decimal digits alone: 0x50 and 1_000 mean something to YAML 1.1, but not to people. */
static bool parse_decimal(const char *text, unsigned long limit, unsigned long *ret)
{
	unsigned long value = 0;

	/* YAML 1.1 reads a leading zero as octal. */
	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned long)(*text - '0');
		/* Within the loop, so that it cannot wrap. */
		if (value > limit)
			return false;
	}
	*ret = value;
	return true;
}

void config_parse_number(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_number *number = ret;

	if (!is_scalar(context, node, "a number"))
		return;
	if (node->plain && parse_decimal(node->text, 1000000000, &number->value))
		number->line = node->line;
	else
		config_fault(context, node->line, "a number, without quotes",
			     "\"" SHOWN "\" is not a number", node->text);
}

/* An empty list of rules would refuse everything, no list allows everything; who wrote [] may have
 * meant either. */
bool config_is_list(struct config_context *context, const struct config_node *node,
		    const char *example)
{
	if (node->kind == CONFIG_SEQUENCE && node->count > 0)
		return true;
	if (node->kind == CONFIG_SEQUENCE)
		config_fault(context, node->line, example,
			     "the list is empty, which would allow nothing; remove the key to "
			     "allow every one");
	else if (node->kind != CONFIG_INVALID)
		config_fault(context, node->line, example, "is %s, not a list", kind_name(node));
	return false;
}

void config_parse_texts(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_texts *texts = ret;
	struct config_text *list;
	size_t index = 0;

	texts->line = node->line;
	if (!config_is_list(context, node, "a list with at least one entry, [VALUE], or no such key"))
		return;
	list = config_alloc(context->arena, node->count * sizeof(*list));
	if (!list)
		return;
	for (const struct config_node *child = node->first; child; child = child->next) {
		size_t mark = config_enter_index(context, index++);

		if (is_scalar(context, child, "text"))
			list[texts->count++] = (struct config_text){child->text, child->line};
		config_leave(context, mark);
	}
	texts->list = list;
}

/* `list` has room: config_parse_ports() counted before. */
static void add_port(struct config_context *context, const struct config_node *node,
		     struct config_ports *ports)
{
	unsigned long port;

	if (!is_scalar(context, node, "a port from 1 to 65535"))
		return;
	if (!node->plain || !parse_decimal(node->text, UINT16_MAX, &port) || port == 0) {
		config_fault(context, node->line, "a port from 1 to 65535, without quotes",
			     "\"" SHOWN "\" is not a port", node->text);
		return;
	}
	for (size_t i = 0; i < ports->count; i++) {
		if (ports->list[i] == port) {
			config_fault(context, node->line, "each port once", "port %lu is here twice",
				     port);
			return;
		}
	}
	ports->list[ports->count++] = (uint16_t)port;
}

void config_parse_ports(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_ports *ports = ret;
	size_t index = 0;

	ports->line = node->line;
	if (!config_is_list(context, node, "a list with at least one port, [443], or no such key"))
		return;
	if (node->count > EGRESS_MAX_PORTS) {
		config_fault(context, node->line, "at most 16 ports, which is the limit of a host",
			     "has %u ports", node->count);
		return;
	}
	for (const struct config_node *child = node->first; child; child = child->next) {
		size_t mark = config_enter_index(context, index++);

		add_port(context, child, ports);
		config_leave(context, mark);
	}
}

void config_parse_port(struct config_context *context, const struct config_node *node, void *ret)
{
	struct config_ports *ports = ret;

	ports->line = node->line;
	add_port(context, node, ports);
}
