// SPDX-License-Identifier: BSD-2-Clause
/* Files that are written at the end of a run. They are opened before it begins, so that a path that
 * cannot be written fails at once and not after an hour. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "learn.h"

enum output { LEARN, REPORT, SUMMARY, OUTPUTS };

struct record {
	int journal_fd, writer_fd;
	bool wildcards;
	const char *paths[OUTPUTS];
	FILE *files[OUTPUTS];
};

/* A file that sudo's caller asked for is the caller's, when we made it. */
static void give_away(int fd)
{
	const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");

	if (uid && gid && fchown(fd, (uid_t)strtoul(uid, NULL, 10),
				 (gid_t)strtoul(gid, NULL, 10)) < 0)
		return; /* it stays root's, and readable */
}

/* O_EXCL tells whether we made it: only then is it given away. */
static FILE *open_output(const char *path, bool append, struct error *error)
{
	const int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | (append ? O_APPEND : 0);
	int fd = open(path, flags | O_CREAT | O_EXCL, 0644);
	FILE *file;

	if (fd >= 0)
		give_away(fd);
	else if (errno == EEXIST)
		fd = open(path, flags);
	file = fd >= 0 ? fdopen(fd, append ? "a" : "w") : NULL;
	if (!file) {
		error_set(error, "cannot write %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return file;
}

int record_open(const struct record_options *options, struct record **ret, struct error *error)
{
	const char *const paths[OUTPUTS] = {options->learn_path, options->report_path,
					    options->summary_path};
	struct record *record;

	*ret = NULL;
	if (!paths[LEARN] && !paths[REPORT] && !paths[SUMMARY])
		return 0;
	record = calloc(1, sizeof(*record));
	if (!record)
		return error_set(error, "out of memory");
	record->wildcards = options->wildcards;
	record->writer_fd = -1;
	record->journal_fd = journal_file(error);
	if (record->journal_fd < 0)
		goto fail;
	record->writer_fd = journal_writer(record->journal_fd, error);
	if (record->writer_fd < 0)
		goto fail;
	for (int i = 0; i < OUTPUTS; i++) {
		record->paths[i] = paths[i];
		if (!paths[i])
			continue;
		record->files[i] = open_output(paths[i], i == SUMMARY, error);
		if (!record->files[i])
			goto fail;
	}
	*ret = record;
	return 0;
fail:
	record_free(record);
	return -1;
}

int record_fd(const struct record *record)
{
	return record ? record->writer_fd : -1;
}

/* One output that fails keeps none of the others. */
static void write_all(struct record *record, struct report *report, struct journal *journal,
		      const char *what)
{
	const struct learn_options learn = {.what = what, .wildcards = record->wildcards};
	bool fine[OUTPUTS] = {true, true, true};

	journal_sort(journal);
	if (record->files[REPORT])
		fine[REPORT] = report_write_json(record->files[REPORT], report);
	if (record->files[SUMMARY])
		fine[SUMMARY] = report_write_summary(record->files[SUMMARY], report);
	/* Last: it may change the journal. */
	if (record->files[LEARN])
		fine[LEARN] = learn_write(record->files[LEARN], journal, &learn);
	for (int i = 0; i < OUTPUTS; i++) {
		if (!record->files[i])
			continue;
		if (fclose(record->files[i]) != 0 || !fine[i])
			diag_error("%s could not be written whole", record->paths[i]);
		record->files[i] = NULL;
	}
}

void record_write(struct record *record, const struct report *facts, const char *what)
{
	struct report report = *facts;
	struct kernel_status status;
	struct journal journal = {0};
	struct error error = {0};
	bool walled;

	if (!record)
		return;
	if (journal_read(record->journal_fd, &journal, &error) < 0) {
		diag_error("%s", error.text);
		return;
	}
	for (int i = 0; i < SUMMARY; i++) {
		/* What is no regular file cannot be cut, and need not be. */
		if (record->files[i] && ftruncate(fileno(record->files[i]), 0) < 0)
			continue;
	}
	walled = kernel_read_status(report.bottle, &status, &error) == 0;
	report.status = walled ? &status : NULL;
	report.journal = &journal;
	write_all(record, &report, &journal, what);
	if (walled)
		kernel_status_free(&status);
	journal_release(&journal);
}

void record_free(struct record *record)
{
	if (!record)
		return;
	for (int i = 0; i < OUTPUTS; i++) {
		if (record->files[i])
			fclose(record->files[i]);
	}
	if (record->journal_fd >= 0)
		close(record->journal_fd);
	if (record->writer_fd >= 0)
		close(record->writer_fd);
	free(record);
}
