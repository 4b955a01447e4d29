// SPDX-License-Identifier: BSD-2-Clause
/* On a tmpfs: after a boot there are neither walls nor these. */
#include "node_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_text.h"
#include "node.h"

#define STATE_SUFFIX ".json"
#define HALF_SUFFIX ".new" /* as long as it is being written */
#define STATE_MAX 65536
#define LOCK_TRIES 20 /* a killed agent's children end in a moment: until then they hold its lock */
#define LOCK_PAUSE_US 100000

int node_state_path(const char *directory, const char *uid, const char *suffix, char *ret,
		    size_t size, struct error *error)
{
	return snprintf(ret, size, "%s/%s%s", directory, uid, suffix) < (int)size
		       ? 0
		       : error_set(error, "%s: the path is too long", directory);
}

/* The kernel gives the lock back with the process, however that ends. */
int node_lock(const char *directory, struct error *error)
{
	char path[4096];
	int fd;

	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return error_set(error, "--state-dir %s: %s", directory, strerror(errno));
	if (node_state_path(directory, "agent", ".lock", path, sizeof(path), error) < 0)
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, "%s: %s", path, strerror(errno));
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK)
			break;
		usleep(LOCK_PAUSE_US);
	}
	if (errno == EWOULDBLOCK)
		error_set(error, "another agent is at work here: it holds %s", path);
	else
		error_set(error, "%s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

/* By rename: `run` may read the policy, and an agent the state, at any moment. */
int node_state_write_file(const char *path, struct span text, struct error *error)
{
	char temporary[4096 + sizeof(HALF_SUFFIX)];
	int fd, result;

	if (snprintf(temporary, sizeof(temporary), "%s" HALF_SUFFIX, path) >= (int)sizeof(temporary))
		return error_set(error, "%s: the path is too long", path);
	/* O_TRUNC, for an agent that was killed here left one; the directory is root's alone. */
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, "%s: %s", temporary, strerror(errno));
	result = span_write(text, fd);
	if (close(fd) < 0 || result < 0 || rename(temporary, path) < 0) {
		error_set(error, "%s: %s", path, strerror(errno));
		unlink(temporary);
		return -1;
	}
	return 0;
}

/* The record as the line that node_pods_read() judges again. */
int node_state_write(const char *directory, const struct node_state *state, struct error *error)
{
	const struct node_records one = {(struct node_record *)&state->record, 1};
	struct bytes line = {0};
	char path[4096], *text = NULL;
	json_t *object = NULL;
	int result = -1;

	if (node_pods_write(&one, &line) == 0 && bytes_append(&line, "", 1))
		object = json_pack("{s:s, s:I, s:o, s:o}", "record", bytes_span(&line).data, "cgroup",
				   (json_int_t)state->cgroup_id, "denied", json_text(state->denied),
				   "note", json_text(state->note));
	if (object)
		text = json_dumps(object, JSON_COMPACT);
	if (!text)
		error_set(error, "cannot write the state of pod %s", state->record.uid);
	else if (node_state_path(directory, state->record.uid, STATE_SUFFIX, path, sizeof(path),
				 error) == 0)
		result = node_state_write_file(path, span_from(text), error);
	free(text);
	json_decref(object);
	bytes_free(&line);
	return result;
}

/* The uid of the record has to be that of the file's name, or a file that was copied would make one
 * pod's policy another's. */
static int take_state(const json_t *object, const char *uid, struct node_state *ret)
{
	const char *line = json_string_value(json_object_get(object, "record"));
	const char *denied = json_string_value(json_object_get(object, "denied"));
	const char *note = json_string_value(json_object_get(object, "note"));
	struct node_records records = {0};
	struct node_state state = {0};
	int result = -1;

	if (!line || !denied || !note || node_pods_read(span_from(line), &records, NULL) < 0)
		return -1;
	if (records.count == 1 && strcmp(records.items[0].uid, uid) == 0) {
		state.record = records.items[0];
		state.cgroup_id =
			(uint64_t)json_integer_value(json_object_get(object, "cgroup"));
		snprintf(state.denied, sizeof(state.denied), "%s", denied);
		snprintf(state.note, sizeof(state.note), "%s", note);
		*ret = state;
		result = 0;
	}
	node_records_free(&records);
	return result;
}

int node_state_read(const char *directory, const char *uid, struct node_state *ret,
		    struct error *error)
{
	struct bytes text = {0};
	json_t *object = NULL;
	char path[4096];
	int fd, result = -1;

	if (node_state_path(directory, uid, STATE_SUFFIX, path, sizeof(path), error) < 0)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_set(error, "%s: %s", path, strerror(errno));
	if (bytes_read(&text, fd, STATE_MAX) == 0)
		object = json_loadb(bytes_span(&text).data, text.length, 0, NULL);
	close(fd);
	if (object && take_state(object, uid, ret) == 0)
		result = 1;
	else
		error_set(error, "%s is damaged", path);
	json_decref(object);
	bytes_free(&text);
	return result;
}

void node_state_forget(const char *directory, const char *uid)
{
	static const char *const suffixes[] = {STATE_SUFFIX, ".yaml", STATE_SUFFIX HALF_SUFFIX,
					       ".yaml" HALF_SUFFIX};
	char path[4096];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (node_state_path(directory, uid, suffixes[i], path, sizeof(path), NULL) == 0)
			(void)unlink(path);
}

int node_state_each(const char *directory, void (*each)(void *context, const char *uid),
		    void *context, struct error *error)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	if (!files)
		return error_set(error, "%s: %s", directory, strerror(errno));
	while ((entry = readdir(files))) {
		char uid[256], *dot;

		snprintf(uid, sizeof(uid), "%s", entry->d_name);
		dot = strchr(uid, '.');
		if (!dot || strcmp(dot, STATE_SUFFIX) != 0)
			continue;
		*dot = '\0';
		/* What others put there is no pod, and its name becomes no path and no wall's
		 * name. */
		if (node_uid_valid(uid))
			each(context, uid);
	}
	closedir(files);
	return 0;
}
