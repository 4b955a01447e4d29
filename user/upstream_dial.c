// SPDX-License-Identifier: BSD-2-Clause
/* Several addresses, one connection. The caller has judged the addresses; nothing is resolved here,
 * so nothing can change between the judgement and connect(2). */
#include "upstream_dial.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* As many as the resolver hands over. */
#define ATTEMPT_LIMIT 16
/* RFC 8305, section 5. */
#define ATTEMPT_DELAY_MS 250
#define KEEPALIVE_SECONDS 120 /* below what firewalls on the way forget connections after */

struct attempt {
	struct dial *dial;
	struct stream *stream; /* NULL: not begun, or failed */
	struct egress_address address;
};

struct dial {
	struct event_base *base;
	uint16_t port;
	struct event timer;
	struct attempt attempts[ATTEMPT_LIMIT];
	size_t count, begun, failed;
	int error;
	struct egress_address failed_address;
	dial_done_fn done;
	void *context;
};

/* Closes what is still connecting, the slower attempts of a race that was won included. */
void dial_cancel(struct dial *dial)
{
	if (!dial)
		return;
	event_del(&dial->timer);
	for (size_t i = 0; i < dial->count; i++)
		stream_free(dial->attempts[i].stream);
	free(dial);
}

static void finish(struct dial *dial, const struct dial_result *result)
{
	struct dial_result copy = *result;
	dial_done_fn done = dial->done;
	void *context = dial->context;

	dial_cancel(dial);
	done(context, &copy);
}

/* Asks by a second connect(2): 0 when it stands, -EALREADY while it does not, or what failed. */
static int try_connect(const struct attempt *attempt, int fd)
{
	struct sockaddr_storage sa;
	socklen_t length = address_to_sockaddr(&attempt->address, attempt->dial->port, &sa);

	if (connect(fd, (struct sockaddr *)&sa, length) == 0 || errno == EISCONN)
		return 0;
	return errno == EINPROGRESS || errno == EINTR ? -EALREADY : -errno;
}

static bool begin_next(struct dial *dial);

/* The last thing that its callers do: it may free the dial. */
static void attempt_failed(struct attempt *attempt, int error)
{
	struct dial *dial = attempt->dial;

	stream_free(attempt->stream);
	attempt->stream = NULL;
	dial->failed++;
	dial->error = error;
	dial->failed_address = attempt->address;
	(void)begin_next(dial);
}

/* Readable or writable alike: only connect(2) says what became of it. */
static void on_ready(void *context)
{
	struct attempt *attempt = context;
	struct stream *stream = attempt->stream;
	int result = try_connect(attempt, stream_fd(stream));

	if (result == -EALREADY)
		return;
	if (result < 0) {
		attempt_failed(attempt, -result);
		return;
	}
	attempt->stream = NULL;
	stream_set_ready(stream, NULL, NULL);
	finish(attempt->dial, &(struct dial_result){.stream = stream, .address = attempt->address});
}

static void set_options(int fd)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	/* An exchange may be silent for a day: only this tells that the host is gone. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){KEEPALIVE_SECONDS}, sizeof(int));
}

/* 0 when it is under way or stands; then the loop will tell. */
static int begin(struct attempt *attempt)
{
	int family = address_is_v4(&attempt->address) ? AF_INET : AF_INET6;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), result;

	if (fd < 0)
		return -errno;
	result = try_connect(attempt, fd);
	if (result == 0 || result == -EALREADY) {
		set_options(fd);
		attempt->stream = stream_new(attempt->dial->base, fd);
		if (attempt->stream) {
			stream_set_ready(attempt->stream, on_ready, attempt);
			return 0;
		}
		result = -ENOMEM;
	}
	close(fd);
	return result;
}

/* Begins one more attempt, passing over those that fail at once. False when all have failed: the
 * dial is over and freed. */
static bool begin_next(struct dial *dial)
{
	while (dial->begun < dial->count) {
		struct attempt *attempt = &dial->attempts[dial->begun++];
		int result = begin(attempt);

		if (result == 0)
			break;
		dial->failed++;
		dial->error = -result;
		dial->failed_address = attempt->address;
	}
	if (dial->failed == dial->count) {
		finish(dial, &(struct dial_result){.address = dial->failed_address,
						   .error = dial->error});
		return false;
	}
	/* Without memory for it the next begins when this one has failed. */
	if (dial->begun < dial->count)
		(void)event_add(&dial->timer, &(struct timeval){.tv_usec = ATTEMPT_DELAY_MS * 1000});
	return true;
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	(void)begin_next(argument);
}

struct dial *dial_start(struct event_base *base, const struct egress_address *addresses,
			size_t count, uint16_t port, dial_done_fn done, void *context)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	if (!dial) {
		done(context, &(struct dial_result){.address = addresses[0], .error = ENOMEM});
		return NULL;
	}
	dial->base = base;
	dial->port = port;
	dial->done = done;
	dial->context = context;
	dial->count = count < ATTEMPT_LIMIT ? count : ATTEMPT_LIMIT;
	for (size_t i = 0; i < dial->count; i++)
		dial->attempts[i] = (struct attempt){.dial = dial, .address = addresses[i]};
	evtimer_assign(&dial->timer, base, on_timer, dial);
	return begin_next(dial) ? dial : NULL;
}
