// SPDX-License-Identifier: BSD-2-Clause
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "background.h"

struct job {
	pthread_t worker, finisher;
	int order, *counter;
	sigset_t mask;
	struct event_base *stop; /* the loop, once this one is done */
};

static void work(void *context)
{
	struct job *job = context;

	job->worker = pthread_self();
	job->order = (*job->counter)++;
	pthread_sigmask(SIG_SETMASK, NULL, &job->mask);
}

static void done(void *context)
{
	struct job *job = context;

	job->finisher = pthread_self();
	if (job->stop)
		event_base_loopbreak(job->stop);
}

static void test_order_and_threads(void **state)
{
	struct event_base *base = event_base_new();
	struct background *background = background_new(base);
	int counter = 0;
	struct job jobs[100] = {0};

	(void)state;
	for (int i = 0; i < 100; i++) {
		jobs[i].counter = &counter;
		jobs[i].stop = i == 99 ? base : NULL;
		assert_int_equal(background_run(background, work, done, &jobs[i]), 0);
	}
	event_base_dispatch(base);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(jobs[i].order, i);
		assert_false(pthread_equal(jobs[i].worker, pthread_self()));
		assert_true(pthread_equal(jobs[i].finisher, pthread_self()));
	}
	assert_true(sigismember(&jobs[0].mask, SIGTERM));
	background_free(background);
	event_base_free(base);
}

static void slow_work(void *context)
{
	usleep(20000);
	work(context);
}

/* A loop that ends first loses nothing. */
static void test_free_finishes(void **state)
{
	struct event_base *base = event_base_new();
	struct background *background = background_new(base);
	int counter = 0;
	struct job jobs[3] = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		jobs[i].counter = &counter;
		assert_int_equal(background_run(background, slow_work, done, &jobs[i]), 0);
	}
	background_free(background);
	assert_int_equal(counter, 3);
	for (int i = 0; i < 3; i++)
		assert_true(pthread_equal(jobs[i].finisher, pthread_self()));
	background_free(NULL);
	event_base_free(base);
}

static void tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	++*(int *)context;
}

/* What it is for: the loop goes on while the work lasts. */
static void test_loop_goes_on(void **state)
{
	struct event_base *base = event_base_new();
	struct background *background = background_new(base);
	int counter = 0, ticks = 0;
	struct job job = {.counter = &counter, .stop = base};
	struct event *timer = event_new(base, -1, EV_PERSIST, tick, &ticks);
	struct timeval often = {0, 1000};

	(void)state;
	event_add(timer, &often);
	assert_int_equal(background_run(background, slow_work, done, &job), 0);
	event_base_dispatch(base);
	assert_true(ticks > 1);
	event_free(timer);
	background_free(background);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_threads),
		cmocka_unit_test(test_free_finishes),
		cmocka_unit_test(test_loop_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
