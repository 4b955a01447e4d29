// SPDX-License-Identifier: BSD-2-Clause
/* The listener's brakes, over a listening socket of its own. Connections are counted, and closed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "listener.h"
#include "no_timers.h"
#include "sockets.h"

#define CLIENTS 3

static struct event_base *base;
static struct proxy proxy;
static struct listener *listener;
static struct rlimit files;
static unsigned accepted, others;
static int listening, clients[CLIENTS];

/* ---- what stands in for the modules below ----------------------------------------------------- */

void connection_accept(struct proxy *to, const struct accepted *what)
{
	assert_ptr_equal(to, &proxy);
	accepted++;
	close(what->fd);
}

size_t proxy_places(const struct proxy *of)
{
	return of->connection_count;
}

size_t proxy_sockets(const struct proxy *of)
{
	return 2 * of->connection_count;
}

uint64_t sockets_netns_cookie(int fd)
{
	return (uint64_t)fd;
}

static uint64_t others_connections(void *context)
{
	(void)context;
	return others;
}

/* ---- the tests -------------------------------------------------------------------------------- */

static int setup(void **state)
{
	const struct listener_limit limit = {.connections = 10, .sockets = 20,
					      .others = others_connections};
	struct sockaddr_un address = {.sun_family = AF_UNIX}; /* the kernel finds a name */
	socklen_t length = sizeof(address);

	(void)state;
	accepted = others = 0;
	base = event_base_new();
	proxy = (struct proxy){.base = base};
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listening, CLIENTS), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	listener = listener_new(&proxy, &listening, 1, &limit);
	assert_non_null(listener);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&address, length), 0);
	}
	return getrlimit(RLIMIT_NOFILE, &files);
}

static int teardown(void **state)
{
	(void)state;
	listener_free(listener);
	event_base_free(base);
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	close(listening);
	return 0;
}

static void turns(unsigned milliseconds)
{
	for (unsigned i = 0; i < milliseconds / 10 && accepted < CLIENTS; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		usleep(10000);
	}
}

/* None is left, and a client waits. */
static void meets_no_descriptors(void)
{
	struct rlimit none = files;

	none.rlim_cur = (rlim_t)clients[CLIENTS - 1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turns(50);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(accepted, 0);
}

static void accepts_again_when_there_are_descriptors(void **state)
{
	(void)state;
	meets_no_descriptors();
	turns(2000);
	assert_int_equal(accepted, CLIENTS);
}

/* It was deaf for ever. */
static void without_memory_for_the_pause(void **state)
{
	(void)state;
	no_timers = true;
	meets_no_descriptors();
	no_timers = false;
	turns(2000);
	assert_int_equal(accepted, CLIENTS);
}

/* The same: nothing was left that would have woken it. */
static void without_memory_after_the_pause(void **state)
{
	(void)state;
	meets_no_descriptors();
	no_events = true;
	turns(200);
	listener_pulse(listener);
	no_events = false;
	listener_pulse(listener);
	turns(2000);
	assert_int_equal(accepted, CLIENTS);
}

/* Whoever has a brake on keeps it. */
static void pulses_at_a_limit(void **state)
{
	(void)state;
	others = 10;
	turns(20);
	listener_pulse(listener);
	assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 1);
	listener_stop(listener);
	listener_pulse(listener);
	others = 0;
	turns(200);
	listener_pulse(listener);
	turns(50);
	assert_int_equal(accepted, 0);
}

static void at_a_limit_that_others_reach(void **state)
{
	others = 10;
	no_timers = *state;
	turns(50);
	no_timers = false;
	assert_int_equal(accepted, 0);
	others = 0;
	turns(2000);
	assert_int_equal(accepted, CLIENTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(accepts_again_when_there_are_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_for_the_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_after_the_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(pulses_at_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(at_a_limit_that_others_reach, setup, teardown),
		cmocka_unit_test_prestate_setup_teardown(at_a_limit_that_others_reach, setup, teardown,
							 &no_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
