// SPDX-License-Identifier: BSD-2-Clause
/* The log of one run, read back and added up. Its lines are our own, but the texts in them are the
 * bottle's; a line that cannot be read is counted as lost, never passed over in silence. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A bottle that asks for ever new paths must not fill our memory. */
#define MAX_ENTRIES 200000

/* On a disk where there is one: the log of a long run may be large. Without a name, so nobody else
 * opens it. */
int journal_file(struct error *error)
{
	static const char *const places[] = {"/var/tmp", "/tmp"};
	int fd = -1;

	for (size_t i = 0; fd < 0 && i < sizeof(places) / sizeof(places[0]); i++)
		fd = open(places[i], O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0) {
		fd = memfd_create("egress-bpf-journal", MFD_CLOEXEC);
		if (fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) < 0) {
			close(fd);
			fd = -1;
		}
	}
	return fd >= 0 ? fd : error_set(error, "cannot make a file for what happens: %s",
					strerror(errno));
}

/* Not a duplicate: who may read a file as well may map it, and change in memory what others wrote. */
int journal_writer(int fd, struct error *error)
{
	char path[32];
	int writer;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	writer = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	return writer >= 0 ? writer : error_set(error, "cannot open the file for what happens: %s",
						strerror(errno));
}

static const char *text_of(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));

	return text ? text : "";
}

static uint64_t number_of(const json_t *line, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(line, key));

	return value > 0 ? (uint64_t)value : 0;
}

/* A name that is none is internal: not an allowance. */
static enum egress_reason reason_of(const char *name)
{
	for (unsigned i = 0; i < EGRESS_REASON_COUNT; i++) {
		if (strcmp(reason_name((enum egress_reason)i), name) == 0)
			return (enum egress_reason)i;
	}
	return EGRESS_INTERNAL;
}

/* All that tells entries apart, joined by tabs: JSON text of ours holds controls only escaped, but
 * what jansson made of it may hold them, so they become "?". */
static char *make_key(const json_t *line, unsigned port)
{
	char *key;

	if (asprintf(&key, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%u", text_of(line, "source"),
		     text_of(line, "host"), text_of(line, "address"), text_of(line, "protocol"),
		     text_of(line, "method"), text_of(line, "path"), text_of(line, "reason"),
		     text_of(line, "audit"), port) < 0)
		return NULL;
	for (char *at = key; *at; at++) {
		if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
			*at = '?';
	}
	return key;
}

/* Cuts the copy of the key at its tabs. False when one of the texts held a tab itself. */
static bool split_key(struct journal_entry *entry)
{
	const char **parts[] = {&entry->source, &entry->host,	&entry->address,
				&entry->protocol, &entry->method, &entry->path};
	char *at = entry->key;
	size_t count = 0;

	for (const char *c = at; *c; c++)
		count += *c == '\t';
	if (count != 8)
		return false;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		*parts[i] = strsep(&at, "\t");
	entry->reason = reason_of(strsep(&at, "\t"));
	entry->audited = at[0] == '\t' ? EGRESS_ALLOWED : reason_of(strsep(&at, "\t"));
	return true;
}

static struct journal_entry *entry_new(struct journal *journal, const char *key)
{
	size_t count = journal->entry_count;
	struct journal_entry *entry;
	void *grown;

	if (count == MAX_ENTRIES)
		return NULL;
	if ((count & (count - 1)) == 0) {
		grown = reallocarray(journal->entries, count ? 2 * count : 1,
				     sizeof(*journal->entries));
		if (!grown)
			return NULL;
		journal->entries = grown;
	}
	entry = &journal->entries[count];
	*entry = (struct journal_entry){.key = strdup(key)};
	if (!entry->key || !split_key(entry) ||
	    json_object_set_new_nocheck(journal->index, key, json_integer((json_int_t)count)) < 0) {
		free(entry->key);
		return NULL;
	}
	journal->entry_count++;
	return entry;
}

/* When there are too many entries the rest is counted as missing. */
static void add_line(struct journal *journal, const json_t *line)
{
	unsigned port = (unsigned)number_of(line, "port") & UINT16_MAX;
	struct journal_entry *entry = NULL;
	const json_t *known;
	char *key;

	journal->lost += number_of(line, "lost");
	/* A line about others alone is nobody's decision. */
	if (json_object_get(line, "lost") && !json_object_get(line, "reason"))
		return;
	key = make_key(line, port);
	known = key ? json_object_get(journal->index, key) : NULL;
	if (known)
		entry = &journal->entries[json_integer_value(known)];
	else if (key)
		entry = entry_new(journal, key);
	free(key);
	if (!entry) {
		journal->lost++;
		return;
	}
	entry->port = (uint16_t)port;
	entry->count++;
	entry->bytes_up += number_of(line, "bytes_up");
	entry->bytes_down += number_of(line, "bytes_down");
}

int journal_read(int fd, struct journal *ret, struct error *error)
{
	struct journal journal = {.index = json_object()};
	/* fclose(3) takes the copy along; `fd` stays the caller's. */
	int own = dup(fd);
	FILE *file = own >= 0 && lseek(own, 0, SEEK_SET) == 0 ? fdopen(own, "r") : NULL;
	size_t size = 0;
	char *text = NULL;
	ssize_t length;

	if (!file || !journal.index) {
		if (own >= 0 && !file)
			close(own);
		json_decref(journal.index);
		return error_set(error, "cannot read back what happened");
	}
	while ((length = getline(&text, &size, file)) > 0) {
		/* access_log.c escapes any byte, NUL too, at which jansson would refuse the
		 * whole line. */
		json_t *line = json_loadb(text, (size_t)length, JSON_ALLOW_NUL, NULL);

		if (json_is_object(line))
			add_line(&journal, line);
		else if (length > 1)
			journal.lost++;
		json_decref(line);
	}
	free(text);
	fclose(file);
	*ret = journal;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct journal_entry *x = a, *y = b;
	int order = strcmp(x->host, y->host);

	if (order == 0)
		order = strcmp(x->address, y->address);
	if (order == 0)
		order = (x->port > y->port) - (x->port < y->port);
	if (order == 0)
		order = strcmp(x->path, y->path);
	if (order == 0)
		order = strcmp(x->method, y->method);
	return order ? order : (int)x->reason - (int)y->reason;
}

/* Places in the list are what the index holds: it is of no use any more. */
void journal_sort(struct journal *journal)
{
	json_object_clear(journal->index);
	if (journal->entry_count > 1)
		qsort(journal->entries, journal->entry_count, sizeof(*journal->entries), by_place);
}

void journal_release(struct journal *journal)
{
	for (size_t i = 0; i < journal->entry_count; i++)
		free(journal->entries[i].key);
	for (size_t i = 0; i < journal->name_count; i++)
		free(journal->names[i]);
	free(journal->names);
	free(journal->entries);
	json_decref(journal->index);
	*journal = (struct journal){0};
}
