// SPDX-License-Identifier: BSD-2-Clause
/* Two processes: ours, which reads the counters, and one without rights that speaks HTTP. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acceptor.h"
#include "metrics.h"
#include "sockets.h"
#include "stop_signals.h"

#define NOBODY 65534
#define TEXT_MAX ((size_t)16 << 20)
#define TIMEOUT_S 5
#define OPEN_FILES 256 /* and so as many who ask at once */

/* ---- where --------------------------------------------------------------------------------------- */

static int listen_unix(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	mode_t mask;
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(error, "%s: too long for a unix socket", path);
	memcpy(address.sun_path, path, strlen(path));
	/* A socket of an earlier life is in the way of bind(2); anything else there is somebody's
	 * file and stays. */
	if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
		(void)unlink(path);
	/* The mode from the first moment on: who may connect may read. */
	mask = umask(0177);
	fd = sockets_listen(path, (struct sockaddr *)&address, sizeof(address), error);
	umask(mask);
	return fd;
}

static int listen_tcp(const char *text, struct error *error)
{
	struct sockets_place place;
	struct sockaddr_storage address;
	socklen_t size;

	if (!sockets_parse_listen(text, &place))
		return error_set(error, "'%s' is neither ADDR:PORT, such as 127.0.0.1:9469, nor the whole "
				 "path of a unix socket", text);
	size = address_to_sockaddr(&place.address, place.port, &address);
	return sockets_listen(text, (struct sockaddr *)&address, size, error);
}

/* ---- the process without rights --------------------------------------------------------------------- */

static bool read_whole(int fd, void *to, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t count = read(fd, (char *)to + at, size - at);

		if (count <= 0)
			return false;
		at += (size_t)count;
	}
	return true;
}

/* One byte asks; a length and the text answer. 0: there is no text, since it is more than is served or
 * memory is out; the next question may go better, so what comes is read to its end in any case. -1:
 * nobody answers any more. */
static int ask(int fd, struct evbuffer *ret)
{
	uint64_t length;
	char part[16384];
	bool kept = true;

	if (write(fd, "?", 1) != 1 || !read_whole(fd, &length, sizeof(length)) || length > TEXT_MAX)
		return -1;
	for (uint64_t left = length; left > 0;) {
		size_t size = left < sizeof(part) ? (size_t)left : sizeof(part);

		if (!read_whole(fd, part, size))
			return -1;
		kept = kept && evbuffer_add(ret, part, size) == 0;
		left -= size;
	}
	if (kept && length > 0)
		return 1;
	evbuffer_drain(ret, evbuffer_get_length(ret));
	return 0;
}

static void on_request(struct evhttp_request *request, void *context)
{
	struct evbuffer *body = evbuffer_new();
	const int *source = context;
	int result = body ? ask(*source, body) : 0;

	if (result < 0)
		_exit(1);
	if (result == 0 && body)
		evbuffer_add_printf(body, "the counters take more than %zu MiB, or memory is out\n",
				    TEXT_MAX >> 20);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
			  "text/plain; version=0.0.4; charset=utf-8");
	evhttp_send_reply(request, result > 0 ? HTTP_OK : HTTP_INTERNAL, result > 0 ? "OK" : "Error",
			  body);
	if (body)
		evbuffer_free(body);
}

static void on_other(struct evhttp_request *request, void *context)
{
	(void)context;
	evhttp_send_error(request, HTTP_NOTFOUND, NULL);
}

/* Nothing of root's is left but the two descriptors; with the parent's end it ends. In this order: a
 * change of ids forgets the signal of the parent's death, prctl(2). */
static bool drop_rights(pid_t parent)
{
	const struct rlimit files = {OPEN_FILES, OPEN_FILES};

	return setrlimit(RLIMIT_NOFILE, &files) == 0 && setgroups(0, NULL) == 0 &&
	       setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static NORETURN void speak(int listener, int source, pid_t parent)
{
	struct event_base *base;
	struct evhttp *http;

	if (!drop_rights(parent))
		_exit(1);
	base = event_base_new();
	http = base ? evhttp_new(base) : NULL;
	if (!http || acceptor_http(http, listener) < 0 ||
	    evhttp_set_cb(http, "/metrics", on_request, &source) < 0)
		_exit(1);
	evhttp_set_gencb(http, on_other, NULL);
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	/* libevent's own limits are none: anybody who reaches the port could fill this process. */
	evhttp_set_max_headers_size(http, 8192);
	evhttp_set_max_body_size(http, 0);
	evhttp_set_timeout(http, TIMEOUT_S);
	event_base_dispatch(base);
	_exit(1);
}

/* ---- ours -------------------------------------------------------------------------------------------- */

static bool write_whole(int fd, const void *from, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t count = send(fd, (const char *)from + at, size - at, MSG_NOSIGNAL);

		if (count <= 0)
			return false;
		at += (size_t)count;
	}
	return true;
}

static bool answer(int fd, const char *name)
{
	struct bytes text = {0};
	uint64_t length = 0;
	bool fine;

	/* The other side takes no more, and would read the rest as the answer to its next question. */
	if (metrics_collect(name, &text) && text.length <= TEXT_MAX)
		length = text.length;
	fine = write_whole(fd, &length, sizeof(length)) &&
	       write_whole(fd, bytes_span(&text).data, (size_t)length);
	bytes_free(&text);
	return fine;
}

/* Until the other process ends, or a signal asks us to. */
static void serve(int fd, const char *name)
{
	char byte;

	while (stop_signals_wait(fd))
		if (read(fd, &byte, 1) != 1 || !answer(fd, name))
			return;
}

/* The descriptor for serve(), and who speaks at `listener` into `ret`; or -1. */
static int start_speaker(int listener, pid_t *ret, struct error *error)
{
	pid_t parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, "cannot make a socket pair: %s", strerror(errno));
	/* Before there is the other: a terminal and systemd signal both, and its end must not come first. */
	stop_signals_catch(false);
	*ret = fork();
	if (*ret == 0) {
		close(pair[0]);
		speak(listener, pair[1], parent);
	}
	close(pair[1]);
	if (*ret > 0)
		return pair[0];
	close(pair[0]);
	return error_set(error, "cannot start a process: %s", strerror(errno));
}

int metrics_serve(const char *address, const char *name, void (*ready)(const char *address),
		  struct error *error)
{
	bool is_path = address[0] == '/';
	int listener = is_path ? listen_unix(address, error) : listen_tcp(address, error);
	int fd, result = -1;
	pid_t child = -1;

	if (listener < 0)
		return -1;
	fd = start_speaker(listener, &child, error);
	close(listener);
	if (fd >= 0) {
		ready(address);
		serve(fd, name);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		close(fd);
		result = stop_signals_came() ? 0 : error_set(error, "the process that serves has ended");
	}
	if (is_path)
		(void)unlink(address);
	return result;
}
