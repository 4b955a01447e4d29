// SPDX-License-Identifier: BSD-2-Clause
/* hosts(5), read once for each configuration: a worker cannot open it again later. */
#include "upstream_resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hosts_line {
	struct egress_address address;
	char *name;
};

struct hosts {
	struct hosts_line *lines;
	size_t count;
};

static bool add(struct hosts *hosts, const struct egress_address *address, const char *name)
{
	struct hosts_line *lines =
		reallocarray(hosts->lines, hosts->count + 1, sizeof(*hosts->lines));

	if (!lines)
		return false;
	hosts->lines = lines;
	lines[hosts->count].address = *address;
	lines[hosts->count].name = strdup(name);
	return lines[hosts->count].name && ++hosts->count;
}

/* "ADDRESS NAME [ALIAS...] [# comment]"; what is malformed is passed over, as resolvers do. */
static bool add_line(struct hosts *hosts, char *line)
{
	static const char blanks[] = " \t\r\n\v\f";
	struct egress_address address;
	char *position, *word;

	line[strcspn(line, "#")] = 0;
	word = strtok_r(line, blanks, &position);
	if (!word || !address_parse(word, &address))
		return true;
	while ((word = strtok_r(NULL, blanks, &position)))
		if (!add(hosts, &address, word))
			return false;
	return true;
}

/* A file that is not there has no names; NULL only without memory. */
struct hosts *hosts_load(const char *path)
{
	struct hosts *hosts = calloc(1, sizeof(*hosts));
	FILE *file = hosts ? fopen(path, "re") : NULL;
	char *line = NULL;
	size_t size = 0;
	bool ok = true;

	if (!file)
		return hosts;
	while (ok && getline(&line, &size, file) >= 0)
		ok = add_line(hosts, line);
	free(line);
	fclose(file);
	if (ok)
		return hosts;
	hosts_free(hosts);
	return NULL;
}

void hosts_free(struct hosts *hosts)
{
	if (!hosts)
		return;
	for (size_t i = 0; i < hosts->count; i++)
		free(hosts->lines[i].name);
	free(hosts->lines);
	free(hosts);
}

/* A walk: hosts files are short, and most have a dozen names. */
size_t hosts_find(const struct hosts *hosts, const char *name, struct egress_address *addresses)
{
	size_t count = 0;

	for (size_t i = 0; i < hosts->count && count < RESOLVER_MAX_ADDRESSES; i++)
		if (strcasecmp(hosts->lines[i].name, name) == 0)
			addresses[count++] = hosts->lines[i].address;
	return count;
}
