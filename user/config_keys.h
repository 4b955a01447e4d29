/* SPDX-License-Identifier: BSD-2-Clause */
/* Mappings by tables of keys, and the plain kinds of values; only config*.c and plan_*.c
 * include it. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdint.h>

#include "config.h"
#include "config_tree.h"

struct config_context {
	struct config_arena *arena;
	struct diag_list *errors;
	const char *source;
	char path[128]; /* "routes[2].auth": where we are, for messages */
};

/* Adds "PATH: MESSAGE; would be right: CURE". Never pass a value that may be a secret. */
void config_fault(struct config_context *context, int line, const char *cure, const char *format,
		  ...) PRINTF(4, 5);

/* Longer paths for messages: ".name" or "[index]" behind; config_leave() takes back the mark. */
size_t config_enter(struct config_context *context, const char *name);
size_t config_enter_index(struct config_context *context, size_t index);
void config_leave(struct config_context *context, size_t mark);

struct config_key {
	const char *name;
	void (*parse)(struct config_context *context, const struct config_node *node, void *ret);
	size_t offset; /* into what `ret` of config_mapping() points to */
	/* `parse` is called for CONFIG_INVALID too, and must not complain about it again. */
};
/* Fills the fields of `ret` that the mapping has keys for; what is not a mapping, and unknown
 * keys, are errors. False when there was one: what seems to be missing may be what it was meant for,
 * and is not worth another error. */
bool config_mapping(struct config_context *context, const struct config_node *node,
		    const struct config_key *keys, size_t count, void *ret);

/* Values with the line they stand at; line 0: absent, or wrong and reported. */
struct config_text {
	const char *value;
	int line;
};
struct config_flag {
	bool value;
	int line;
};
struct config_number {
	unsigned long value;
	int line;
};
struct config_ports {
	uint16_t list[EGRESS_MAX_PORTS];
	size_t count;
	int line;
};
/* A list of texts; `count` 0 with a line: the list was empty or wrong, and that is reported. */
struct config_texts {
	const struct config_text *list;
	size_t count;
	int line;
};
/* Each fills its config_* type and reports what is wrong: text on one line, true or false, a
 * decimal number up to 1e9, lists with at least one entry, ports from 1 to 65535. `ret` stays as it
 * was otherwise. */
void config_parse_text(struct config_context *context, const struct config_node *node, void *ret);
void config_parse_flag(struct config_context *context, const struct config_node *node, void *ret);
void config_parse_number(struct config_context *context, const struct config_node *node, void *ret);
void config_parse_texts(struct config_context *context, const struct config_node *node, void *ret);
void config_parse_ports(struct config_context *context, const struct config_node *node, void *ret);
void config_parse_port(struct config_context *context, const struct config_node *node, void *ret);
/* True for a list that is not empty; reports what is not. `example` is shown as the cure. */
bool config_is_list(struct config_context *context, const struct config_node *node,
		    const char *example) WARN_UNUSED;

#endif
