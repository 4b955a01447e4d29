// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "control.h"

#define ANSWER_MAX ((size_t)4 << 20)

/* A sidecar that was stopped or hangs must not keep `status` from telling of its wall. */
static const struct timeval patience = {CONTROL_SECONDS, 0};

static int connect_to(const char *name, int flags, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		return error_set(error, "cannot make a socket: %s", strerror(errno));
	/* Before connect(2): with a full backlog it waits, and SO_SNDTIMEO is what limits that
	 * (unix(7), socket(7)). */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path),
			     CONTROL_DIRECTORY "/%s" CONTROL_SUFFIX, name) >=
	    sizeof(address.sun_path)) {
		error_set(error, "'%s' is no bottle's name", name);
	} else if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		return fd;
	} else if (errno == EACCES) {
		error_set(error, "%s: only root can ask", name);
	} else {
		error_set(error, "%s: no sidecar of this name is running (%s: %s)", name,
			  address.sun_path, strerror(errno));
	}
	close(fd);
	return -1;
}

static int ask(const char *name, json_t *request, int flags, struct error *error)
{
	char *text = json_dumps(request, JSON_COMPACT);
	int fd = text ? connect_to(name, flags, error) : error_set(error, "out of memory");
	size_t length = text ? strlen(text) : 0;

	if (text && fd >= 0) {
		text[length++] = '\n'; /* in the place of the NUL */
		if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) {
			error_set(error, "%s: does not listen: %s", name, strerror(errno));
			close(fd);
			fd = -1;
		}
	}
	free(text);
	json_decref(request);
	return fd;
}

int control_ask(const char *name, json_t *request, struct error *error)
{
	return ask(name, request, 0, error);
}

int control_ask_at_once(const char *name, json_t *request)
{
	int fd = ask(name, request, SOCK_NONBLOCK, NULL);

	/* Reading waits again: for so long as control_answer() says. */
	if (fd >= 0)
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

static int read_all(int fd, struct bytes *ret, struct error *error)
{
	for (;;) {
		char *to = bytes_reserve(ret, 65536);
		ssize_t count = to ? read(fd, to, 65536) : -1;

		if (count == 0)
			return 0;
		if (count < 0)
			return error_set(error, "the sidecar does not answer: %s", strerror(errno));
		bytes_added(ret, (size_t)count);
		/* The sidecar holds what a bottle chose; it must not fill the memory of who
		 * looks. */
		if (ret->length > ANSWER_MAX)
			return error_set(error, "the sidecar's answer is too long");
	}
}

json_t *control_answer(int fd, struct error *error)
{
	return control_answer_within(fd, CONTROL_SECONDS, error);
}

json_t *control_answer_within(int fd, unsigned seconds, struct error *error)
{
	const struct timeval limit = {(time_t)seconds, 0};
	struct bytes text = {0};
	json_t *answer = NULL;
	const char *refusal;
	int result;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	result = read_all(fd, &text, error);
	/* Also how a sidecar refuses who may not ask: it closes without a word. */
	if (result == 0 && text.length == 0) {
		error_set(error, "the sidecar ended before it answered");
	} else if (result == 0) {
		answer = json_loadb(bytes_span(&text).data, text.length, 0, NULL);
		if (!answer)
			error_set(error, "the sidecar's answer is no JSON: another version?");
	}
	close(fd);
	bytes_free(&text);
	refusal = json_string_value(json_object_get(answer, "error"));
	if (!refusal)
		return answer;
	error_set(error, "%s", refusal);
	json_decref(answer);
	return NULL;
}

static int is_socket(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > strlen(CONTROL_SUFFIX) &&
	       strcmp(entry->d_name + length - strlen(CONTROL_SUFFIX), CONTROL_SUFFIX) == 0;
}

char **control_list(void)
{
	struct dirent **entries = NULL;
	int count = scandir(CONTROL_DIRECTORY, &entries, is_socket, alphasort);
	char **names;

	/* No directory: nothing has run since the boot. */
	if (count < 0)
		count = 0;
	names = calloc((size_t)count + 1, sizeof(*names));
	for (int i = 0; i < count; i++) {
		if (names)
			names[i] = strndup(entries[i]->d_name,
					   strlen(entries[i]->d_name) - strlen(CONTROL_SUFFIX));
		free(entries[i]);
	}
	free((void *)entries);
	return names;
}

void control_forget(const char *name)
{
	/* What listens is a sidecar that took the name over meanwhile: its socket is not ours to
	 * remove. */
	int fd = connect_to(name, 0, NULL);
	char path[160];

	if (fd >= 0) {
		close(fd);
		return;
	}
	snprintf(path, sizeof(path), CONTROL_DIRECTORY "/%s" CONTROL_SUFFIX, name);
	(void)unlink(path);
}
