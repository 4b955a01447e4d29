// SPDX-License-Identifier: BSD-2-Clause
#include "ui_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bytes.h"
#include "control.h"
#include "status.h"

#define MESSAGE_MAX 8192

union room {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* ---- without rights ----------------------------------------------------------------------------- */

/* The descriptor, -1: the text is an error, -2: the other side is gone. */
static int receive(int pair, char *text, size_t size)
{
	struct iovec iov = {.iov_base = text, .iov_len = size - 1};
	union room room;
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room.bytes,
				 .msg_controllen = sizeof(room)};
	ssize_t length = recvmsg(pair, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int fd;

	if (length <= 0)
		return -2;
	text[length] = '\0';
	/* The kernel had one for us and no number to give it. */
	if (message.msg_flags & MSG_CTRUNC)
		snprintf(text, size, "no descriptor is left for the answer: close other pages");
	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int ui_ask(int pair, json_t *request, struct error *error)
{
	char text[MESSAGE_MAX];
	size_t length = request ? json_dumpb(request, text, sizeof(text), JSON_COMPACT) : 0;
	int fd;

	json_decref(request);
	if (length == 0 || length > sizeof(text))
		return error_set(error, "the request is too long");
	fd = send(pair, text, length, MSG_NOSIGNAL) == (ssize_t)length
		     ? receive(pair, text, sizeof(text)) : -2;
	/* Without the one with rights there is nothing to serve. */
	if (fd == -2)
		_exit(1);
	return fd >= 0 ? fd : error_set(error, "%s", text);
}

/* ---- with rights -------------------------------------------------------------------------------- */

/* Of a bottle without a wall (--no-kernel) there is what its sidecar says. */
static json_t *status_of(const char *name, struct error *error)
{
	json_t *sidecar = status_ask_sidecar(name), *object = NULL;
	struct kernel_status status = {0};

	if (kernel_read_status(name, &status, error) == 0) {
		object = status_json(&status, sidecar);
		kernel_status_free(&status);
	} else if (sidecar) {
		object = json_pack("{s:s, s:b, s:n, s:O}", "name", name, "alive", 1, "walls",
				   "sidecar", sidecar);
	}
	json_decref(sidecar);
	return object;
}

/* As a file: the text of many hosts is longer than a socket takes without being read. */
static int status_file(const char *name, struct error *error)
{
	json_t *object = status_of(name, error);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int fd = text ? memfd_create("egress-bpf-status", MFD_CLOEXEC) : -1;

	if (fd >= 0 && span_write(span_from(text), fd) < 0) {
		close(fd);
		fd = -1;
	}
	free(text);
	json_decref(object);
	return fd >= 0 ? fd : error_set(error, "%s: cannot read its state", name);
}

/* Only what the page has a use for: a process that was taken over gets no more by asking for it. */
static bool is_for_sidecar(const char *command)
{
	static const char *const commands[] = {"events", "policy", "why", "pending", "allow", "deny"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(command, commands[i]) == 0)
			return true;
	return false;
}

static int answer_with(const char *name, const char *text, size_t length, struct error *error)
{
	/* Of two commands in one object is_for_sidecar() would judge the one, and the sidecar might
	 * take the other. */
	json_t *request = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	const char *command = json_string_value(json_object_get(request, "command"));
	int fd = -1;

	/* The command is one of ours; the rest of the request the sidecar judges as anybody's. */
	if (command && is_for_sidecar(command))
		return control_ask(name, request, error);
	if (command && strcmp(command, "status") == 0)
		fd = status_file(name, error);
	else
		error_set(error, "that is not for the page");
	json_decref(request);
	return fd;
}

static void send_answer(int pair, int fd, const char *text)
{
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	union room room = {0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (fd >= 0) {
		message.msg_control = room.bytes;
		message.msg_controllen = sizeof(room);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	/* What is not taken is no matter: the other side then waits in vain, and ends. */
	(void)!sendmsg(pair, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool ui_answer(int pair, const char *name)
{
	struct error error = {0};
	char text[MESSAGE_MAX];
	/* One message each (SOCK_SEQPACKET): what is longer is cut, is no JSON then, and is
	 * refused. */
	ssize_t length = recv(pair, text, sizeof(text), 0);
	int fd;

	if (length < 0 && errno == EINTR)
		return true;
	if (length <= 0)
		return false;
	fd = answer_with(name, text, (size_t)length, &error);
	send_answer(pair, fd, fd >= 0 ? "ok" : error.text[0] ? error.text : "failed");
	if (fd >= 0)
		close(fd);
	return true;
}
