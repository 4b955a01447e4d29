// SPDX-License-Identifier: BSD-2-Clause
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "acceptor.h"
#include "bytes.h"
#include "cgroup.h"
#include "feed_merge.h"
#include "public_directory.h"

#define CLIENTS_MAX 64
#define REQUEST_MAX 8192
#define REQUEST_TIMEOUT_S 5
/* Lines wait for a reader here; when it is full they wait in the feed, until they are lost. */
#define BACKLOG (256 * 1024)
#define TICK_MS 50
#define ROUNDS 4 /* of a backlog, for one reader in one tick */
#define AT_ONCE 20000 /* lines that are looked at for a backlog */

struct client {
	LIST_ENTRY(client) entry;
	struct control *control;
	struct event *reading, *writing;
	struct bytes in, out;
	struct feed_merge *events; /* NULL: not asking for them */
	uint64_t since_ms;
	bool follow, ending; /* ends when `out` is empty */
	uint64_t ticket;     /* his answer comes by control_finish(); 0: it does not */
	int fd;
};

struct control {
	const struct control_options *options;
	struct control_options copy;
	struct feed_list feeds;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct acceptor acceptor;
	struct event *tick;
	LIST_HEAD(client_list, client) clients;
	unsigned client_count;
	struct client *asking; /* while options->answer() runs */
	uint64_t tickets;
	int fd;
};

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

static void close_client(struct client *c)
{
	LIST_REMOVE(c, entry);
	c->control->client_count--;
	/* Events before the descriptor: libevent takes a closed one out of epoll by a number that
	 * may be another's by then. */
	free_event(c->reading);
	free_event(c->writing);
	bytes_free(&c->in);
	bytes_free(&c->out);
	feed_merge_free(c->events);
	close(c->fd);
	free(c);
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* 1: all is sent, 0: the rest waits, -1: nobody is there. */
static int send_out(struct client *c)
{
	while (c->out.length > 0) {
		struct span text = bytes_span(&c->out);
		ssize_t count = send(c->fd, text.data, text.length, MSG_DONTWAIT | MSG_NOSIGNAL);

		/* Any other error is a reader who has gone. MSG_NOSIGNAL: such a one must not end
		 * the supervisor. */
		if (count < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
		bytes_consume(&c->out, (size_t)count);
	}
	return 1;
}

static bool append_json(struct client *c, const json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	bool fine = text && bytes_append_text(&c->out, text) && bytes_append_text(&c->out, "\n");

	free(text);
	return fine;
}

/* The writer is not trusted: what is no single line of printable text is none of its lines. */
static bool is_line(const struct feed_event *event)
{
	for (size_t i = 0; i < event->length; i++)
		if ((unsigned char)event->line[i] < 0x20 || event->line[i] == 0x7f)
			return false;
	return event->length > 1 && event->line[0] == '{' && event->line[event->length - 1] == '}';
}

static bool append_event(struct client *c, const struct feed_event *event)
{
	if (event->lost > 0 && !bytes_printf(&c->out, "{\"lost\":%llu}\n",
					     (unsigned long long)event->lost))
		return false;
	/* What is before the time asked for is skipped here, not by the cursor: the rings are in
	 * the order of writing, and a taken worker may write any time. */
	if (event->time_ms < c->since_ms || !is_line(event))
		return true;
	return bytes_append(&c->out, event->line, event->length) &&
	       bytes_append(&c->out, "\n", 1);
}

/* 1: nothing is left in the feeds, 0: there is, but no room; -1: out of memory. */
static int fill(struct client *c)
{
	const struct feed_event *event;

	/* What is no line takes no room: a taken worker that writes nothing else must not keep us. */
	for (int i = 0; i < AT_ONCE && c->out.length < BACKLOG; i++) {
		event = feed_merge_next(c->events);
		if (!event)
			return 1;
		if (!append_event(c, event))
			return -1;
	}
	return 0;
}

/* False when the client is gone. */
static bool serve(struct client *c)
{
	int filled = 1, sent = 1;

	/* An end to it, or one fast reader of a busy feed would keep signals and the worker's calls
	 * waiting. */
	for (int round = 0; round < ROUNDS; round++) {
		filled = c->events ? fill(c) : 1;
		sent = filled < 0 ? -1 : send_out(c);
		if (filled != 0 || sent != 1)
			break;
	}
	if (filled == 1 && !c->follow)
		c->ending = true;
	if (sent < 0 || (sent == 1 && filled == 1 && c->ending) ||
	    (sent == 0 && event_add(c->writing, NULL) < 0)) {
		close_client(c);
		return false;
	}
	return true;
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)serve(context);
}

void control_flush(struct control *control)
{
	struct client *c, *next;
	bool more = false;

	if (!control)
		return;
	for (c = LIST_FIRST(&control->clients); c; c = next) {
		next = LIST_NEXT(c, entry);
		/* One that waits for room in its socket is served by on_writable(); filling more
		 * would only lose later lines the later. */
		if (c->events && !event_pending(c->writing, EV_WRITE, NULL))
			more |= serve(c);
		else
			more |= c->events != NULL;
	}
	/* Nobody follows any more: a supervisor without readers does not wake twenty times a
	 * second. */
	if (!more)
		event_del(control->tick);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	control_flush(context);
}

/* ---- requests ------------------------------------------------------------------------------------- */

static void refuse(struct client *c, const char *why)
{
	json_t *answer = json_pack("{s:s}", "error", why);

	(void)append_json(c, answer);
	json_decref(answer);
}

static void begin_events(struct client *c, const json_t *request)
{
	const struct timeval tick = {0, TICK_MS * 1000};
	const struct control *control = c->control;
	json_int_t since = json_integer_value(json_object_get(request, "since"));

	c->follow = json_is_true(json_object_get(request, "follow"));
	/* Following alone begins behind what there is; without it, what there is was asked for. */
	c->events = feed_merge_new(&control->feeds,
				   json_is_true(json_object_get(request, "denied")) ? FEED_REFUSED : FEED_ALL,
				   c->follow && since == 0);
	if (!c->events || !bytes_append_text(&c->out, "{\"ok\":true}\n")) {
		c->ending = true;
		return;
	}
	c->since_ms = since > 0 ? (uint64_t)since : 0;
	/* By a timer, and not by the writer's word: a wake-up for each verdict would be a system
	 * call in the data path (tests/e2e/test_events counts them). */
	if (event_add(control->tick, &tick) < 0)
		c->ending = true;
}

static void begin_answer(struct client *c, struct span line)
{
	const struct control_options *options = c->control->options;
	json_t *request = json_loadb(line.data, line.length, JSON_REJECT_DUPLICATES, NULL), *answer;
	const char *command = json_string_value(json_object_get(request, "command"));

	if (!command) {
		refuse(c, "a request is a line of JSON with a command");
	} else if (strcmp(command, "events") == 0) {
		begin_events(c, request);
	} else {
		/* For control_later(), which is called below answer() and is told no client. */
		c->control->asking = c;
		answer = options->answer(options->context, command, request);
		c->control->asking = NULL;
		if (answer)
			c->ticket = 0;
		if (!c->ticket && (!answer || !append_json(c, answer)))
			c->ending = true;
		json_decref(answer);
	}
	json_decref(request);
}

/* Until the line is there; then only to see that the client goes. */
static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct client *c = context;
	char *to = bytes_reserve(&c->in, REQUEST_MAX), *end;
	/* REQUEST_TIMEOUT_S without a whole line counts as an end: CLIENTS_MAX silent ones would
	 * shut everybody else out. */
	ssize_t count = (what & EV_TIMEOUT) || !to ? 0 : recv(fd, to, REQUEST_MAX, MSG_DONTWAIT);

	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0 || c->in.length > REQUEST_MAX) {
		close_client(c);
		return;
	}
	/* The request was read: what else is said is nothing. */
	if (c->out.length > 0 || c->events || c->ticket)
		return;
	bytes_added(&c->in, (size_t)count);
	end = memchr(bytes_span(&c->in).data, '\n', c->in.length);
	if (!end)
		return;
	/* Its timeout was for the request; added again without one, since 'events --follow' and
	 * 'allow' take as long as they take. */
	event_del(c->reading);
	begin_answer(c, (struct span){bytes_span(&c->in).data,
				      (size_t)(end - bytes_span(&c->in).data)});
	if (event_add(c->reading, NULL) < 0)
		close_client(c);
	else if (!c->ticket)
		(void)serve(c);
}

uint64_t control_later(struct control *control)
{
	return control->asking->ticket = ++control->tickets;
}

void control_finish(struct control *control, uint64_t ticket, json_t *answer)
{
	struct client *c = NULL;

	if (control && ticket) {
		/* By number, not by address: who asked may have gone, and calloc(3) may have put
		 * another in the same place. */
		LIST_FOREACH(c, &control->clients, entry)
			if (c->ticket == ticket)
				break;
	}
	if (c) {
		c->ticket = 0;
		c->ending = !append_json(c, answer);
		if (c != control->asking) /* who still asks is served by his own request */
			(void)serve(c);
	}
	json_decref(answer);
}

void control_add_feed(struct control *control, const struct feed *feed)
{
	if (control && feed && control->feeds.count < FEED_MERGE_MAX)
		control->feeds.feeds[control->feeds.count++] = feed;
}

/* ---- who may ask ---------------------------------------------------------------------------------- */

/* Root, or who runs the supervisor; and nobody from the bottle, whatever his rights. */
static bool may_ask(const struct control *control, int fd)
{
	const char *bottle = control->options->cgroup_path;
	size_t length = bottle ? strlen(bottle) : 0;
	socklen_t size = sizeof(struct ucred);
	struct ucred peer;
	char *cgroup = NULL;
	bool inside;

	/* As they were at connect(2): who hands the socket on to the bottle afterwards is root
	 * outside. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
	    (peer.uid != 0 && peer.uid != geteuid()))
		return false;
	if (!bottle)
		return true;
	/* A pid of 0 is a process that our pid namespace cannot see: whose cgroup that is cannot be
	 * told, so it is turned away. */
	if (peer.pid <= 0 || cgroup_of_pid(peer.pid, &cgroup, NULL) < 0)
		return false;
	inside = strncmp(cgroup, bottle, length) == 0 &&
		 (cgroup[length] == '/' || cgroup[length] == '\0');
	free(cgroup);
	return !inside;
}

static void on_accept(evutil_socket_t listener, short what, void *context)
{
	const struct timeval patience = {REQUEST_TIMEOUT_S, 0};
	struct control *control = context;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	(void)what;
	if (fd < 0) {
		if (acceptor_starved(errno))
			acceptor_pause(&control->acceptor);
		return;
	}
	/* Accepted and closed rather than left in the backlog, where who asks would wait for
	 * nothing. */
	c = control->client_count < CLIENTS_MAX && may_ask(control, fd) ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->control = control;
	LIST_INSERT_HEAD(&control->clients, c, entry);
	control->client_count++;
	c->reading = event_new(control->options->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writing = event_new(control->options->base, fd, EV_WRITE, on_writable, c);
	if (!c->reading || !c->writing || event_add(c->reading, &patience) < 0)
		close_client(c);
}

/* ---- life ----------------------------------------------------------------------------------------- */

/* Another supervisor's socket answers; one that nobody listens at is in the way. */
static int bind_path(struct control *control, const struct sockaddr_un *address)
{
	const struct sockaddr *name = (const struct sockaddr *)address;
	mode_t mask;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), result;

	if (probe < 0)
		return -errno;
	/* A socket's file outlives who bound it, so that it is there says nothing; only connect(2)
	 * tells the dead from the living. EAGAIN: one that lives, at which more wait than fit. */
	result = connect(probe, name, sizeof(*address)) < 0 ? errno : EAGAIN;
	close(probe);
	if (result != ECONNREFUSED && result != ENOENT)
		return result == EAGAIN ? -EADDRINUSE : -result;
	(void)unlink(address->sun_path);
	/* bind(2) makes the file with the umask's mode: chmod(2) afterwards would leave a moment in
	 * which others may connect. */
	mask = umask(0177);
	result = bind(control->fd, name, sizeof(*address)) < 0 ? -errno : 0;
	umask(mask);
	return result;
}

static int open_socket(struct control *control, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int result;

	if (public_directory_make(CONTROL_DIRECTORY) < 0)
		return error_set(error, "cannot make " CONTROL_DIRECTORY ": %s", strerror(errno));
	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path),
			     CONTROL_DIRECTORY "/%s" CONTROL_SUFFIX, control->options->name) >=
	    sizeof(address.sun_path))
		return error_set(error, "the bottle's name is too long for a control socket");
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	result = control->fd < 0 ? -errno : bind_path(control, &address);
	if (result < 0)
		return error_set(error, "control socket %s: %s", address.sun_path, strerror(-result));
	/* Noted only when it is bound by us: control_free() removes what it names. */
	memcpy(control->path, address.sun_path, sizeof(control->path));
	if (listen(control->fd, 16) < 0)
		return error_set(error, "control socket %s: %s", address.sun_path, strerror(errno));
	return 0;
}

static int watch(struct control *control)
{
	acceptor_init(&control->acceptor, control->options->base, NULL, NULL);
	return acceptor_add(&control->acceptor, control->fd, on_accept, control);
}

int control_new(const struct control_options *options, struct control **ret, struct error *error)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return error_set(error, "out of memory");
	control->fd = -1;
	control->copy = *options;
	control->options = &control->copy;
	LIST_INIT(&control->clients);
	if (open_socket(control, error) < 0) {
		control_free(control);
		return -1;
	}
	control->tick = event_new(options->base, -1, EV_PERSIST, on_tick, control);
	if (!control->tick || watch(control) < 0) {
		control_free(control);
		return error_set(error, "cannot watch the control socket");
	}
	*ret = control;
	return 0;
}

/* In place of the socket whose name is gone; who is connected notices nothing. */
static int make_again(struct control *control, struct error *error)
{
	const int old = control->fd;

	control->fd = -1;
	if (open_socket(control, error) < 0) {
		if (control->fd >= 0)
			close(control->fd);
		control->fd = old;
		return -1;
	}
	acceptor_close(&control->acceptor);
	close(old);
	if (watch(control) == 0)
		return 1;
	(void)unlink(control->path); /* so that the next pulse tries again */
	return error_no_memory(error);
}

int control_pulse(struct control *control, struct error *error)
{
	struct stat there;

	if (!control)
		return 0;
	acceptor_pulse(&control->acceptor);
	/* Only where nothing is: what stands there now is another's. */
	if (lstat(control->path, &there) == 0 || errno != ENOENT)
		return 0;
	return make_again(control, error);
}

void control_free(struct control *control)
{
	struct client *c, *next;

	if (!control)
		return;
	for (c = LIST_FIRST(&control->clients); c; c = next) {
		next = LIST_NEXT(c, entry);
		close_client(c);
	}
	acceptor_close(&control->acceptor);
	free_event(control->tick);
	if (control->fd >= 0)
		close(control->fd);
	if (control->path[0])
		(void)unlink(control->path);
	free(control);
}
