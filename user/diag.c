// SPDX-License-Identifier: BSD-2-Clause
/* What people are told, on standard error; and errors on their way there. No text here holds a
 * secret, which is for the callers to keep. */
#include "diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utf8.h"

/* Longer lines are cut; a pipe takes 4096 bytes in one piece. */
#define LINE_SIZE 2048
#define NO_MEMORY "out of memory"

/* Notices alone are silenced: warnings and errors are what somebody has to know. */
static bool quiet;

void diag_set_quiet(bool now_quiet)
{
	quiet = now_quiet;
}

/* One write(2) a line: several processes share standard error. A line break or an escape in a
 * value that came from outside must not start a line of its own. */
static void write_line(const char *prefix, const char *format, va_list arguments)
{
	char line[LINE_SIZE];
	int head = snprintf(line, sizeof(line), "egress-bpf: %s", prefix);
	int body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, arguments);
	size_t length;

	if (body < 0)
		return;
	utf8_tame(line);
	length = strlen(line);
	line[length++] = '\n';
	if (write(STDERR_FILENO, line, length) < 0)
		return; /* there is nobody left to tell */
}

void diag_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("", format, arguments);
	va_end(arguments);
}

void diag_warning(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line("warning: ", format, arguments);
	va_end(arguments);
}

void diag_notice(const char *format, ...)
{
	va_list arguments;

	if (quiet)
		return;
	va_start(arguments, format);
	write_line("", format, arguments);
	va_end(arguments);
}

/* The first error stays: what follows from it would hide the cause. */
int error_set(struct error *error, const char *format, ...)
{
	va_list arguments;

	if (!error || error->text[0] != '\0')
		return -1;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	utf8_mend(error->text); /* which is cut, or had parts that were */
	return -1;
}

int error_no_memory(struct error *error)
{
	return error_set(error, "%s", NO_MEMORY);
}

bool error_is_no_memory(const struct error *error)
{
	return strcmp(error->text, NO_MEMORY) == 0;
}

/* ---- lists -------------------------------------------------------------------------------------- */

/* Takes over `text`, NULL included. */
static void add_item(struct diag_list *list, const char *source, int line, char *text)
{
	struct diag_item *items = reallocarray(list->items, list->kept + 1, sizeof(*items));
	char *copy = strdup(source);

	if (items)
		list->items = items;
	if (items && copy && text) {
		items[list->kept++] = (struct diag_item){.source = copy, .line = line, .text = text};
		return;
	}
	free(copy);
	free(text);
	list->no_memory = true;
}

static char *make_text(const char *format, va_list arguments)
{
	char *text;

	if (vasprintf(&text, format, arguments) < 0)
		return NULL;
	utf8_mend(text);
	return text;
}

static void say_more(struct diag_list *list, const char *source, int line)
{
	char *text;

	if (asprintf(&text, "%zu more are not shown; would be right: these first",
		     list->count - DIAG_KEPT) < 0)
		text = NULL;
	if (list->kept <= DIAG_KEPT) {
		add_item(list, source, line, text);
	} else if (text) {
		free(list->items[DIAG_KEPT].text);
		list->items[DIAG_KEPT].text = text;
	} else {
		list->no_memory = true;
	}
}

/* Nobody reads more, and a list of half a million wrong values would fill a disk. */
void diag_list_add(struct diag_list *list, const char *source, int line, const char *format, ...)
{
	va_list arguments;

	if (++list->count > DIAG_KEPT) {
		say_more(list, source, line);
		return;
	}
	va_start(arguments, format);
	add_item(list, source, line, make_text(format, arguments));
	va_end(arguments);
}

void diag_list_add_error(struct diag_list *list, const char *source, int line,
			 const struct error *error)
{
	if (error_is_no_memory(error))
		diag_list_no_memory(list);
	else
		diag_list_add(list, source, line, "%s", error->text);
}

void diag_list_no_memory(struct diag_list *list)
{
	list->count++;
	list->no_memory = true;
}

void diag_list_first(const struct diag_list *list, struct error *ret)
{
	const struct diag_item *first = list->items;

	if (list->no_memory)
		error_no_memory(ret);
	else if (list->kept > 0)
		error_set(ret, "%s:%d: %s", first->source, first->line, first->text);
}

/* By file and line, as people go through a file. */
static int by_place(const void *a, const void *b)
{
	const struct diag_item *x = a, *y = b;
	int order = strcmp(x->source, y->source);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void print_list(const struct diag_list *list, void (*say)(const char *, ...) PRINTF(1, 2))
{
	if (list->no_memory) {
		diag_error(NO_MEMORY);
		return;
	}
	/* What says how many more there are stays the last. */
	if (list->kept > 1)
		qsort(list->items, list->kept - (list->kept > DIAG_KEPT), sizeof(*list->items),
		      by_place);
	for (size_t i = 0; i < list->kept; i++) {
		const struct diag_item *item = &list->items[i];

		if (item->line > 0)
			say("%s:%d: %s", item->source, item->line, item->text);
		else
			say("%s: %s", item->source, item->text);
	}
}

void diag_list_print(const struct diag_list *list)
{
	print_list(list, diag_error);
}

void diag_list_warn(const struct diag_list *list)
{
	print_list(list, diag_warning);
}

void diag_list_free(struct diag_list *list)
{
	for (size_t i = 0; i < list->kept; i++) {
		free(list->items[i].source);
		free(list->items[i].text);
	}
	free(list->items);
	*list = (struct diag_list){0};
}
