// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as the log of a run: what is learned from it has no lines but learn.c's own, whatever YAML takes for
 * the end of one; and no more hosts than were seen. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "fuzz_main.h"
#include "learn.h"

/* The journal is sorted by now. */
static size_t allowed_hosts(const struct journal *journal)
{
	const char *last = "";
	size_t count = 0;

	for (size_t i = 0; i < journal->entry_count; i++) {
		const struct journal_entry *entry = &journal->entries[i];

		if (entry->reason != EGRESS_ALLOWED)
			continue;
		count += strcmp(entry->host, last) != 0;
		last = entry->host;
	}
	return count;
}

static void check_learned(struct journal *journal, bool wildcards)
{
	const struct learn_options options = {.what = "\xc2\x85routes: []", .wildcards = wildcards};
	struct diag_list errors = {0};
	struct config *config;
	char *text = NULL;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	REQUIRE(to && learn_write(to, journal, &options) && fclose(to) == 0);
	for (size_t i = 0; i < length; i++)
		REQUIRE(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
	/* A taken worker's lines may contradict each other: it is refused as a whole then. */
	config = config_parse(&(struct config_source){"learned", {text, length}}, 1, &errors);
	REQUIRE(!config || policy_host_count(config->policy) <= allowed_hosts(journal));
	config_free(config);
	diag_list_free(&errors);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal journal;
	struct error error;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (size == 0)
		return 0;
	REQUIRE(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	REQUIRE(journal_read(fd, &journal, &error) == 0);
	check_learned(&journal, data[0] & 1);
	journal_release(&journal);
	close(fd);
	return 0;
}
