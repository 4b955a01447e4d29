// SPDX-License-Identifier: BSD-2-Clause
/* One thread and two queues. Jobs are few and long (policies, certificates), so one lock is
 * enough. */
#include "background.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
	struct job *next;
	background_fn work, done;
	void *context;
};

/* `last` points to where the next one is linked. */
struct queue {
	struct job *first, **last;
};

struct background {
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows, up to `stopping` */
	pthread_cond_t wanted;
	struct queue waiting, finished;
	bool stopping;
	int finished_fd; /* eventfd(2): the thread's word to the loop */
	struct event *event;
};

static void queue_add(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
}

static struct job *queue_take(struct queue *queue)
{
	struct job *job = queue->first;

	if (!job)
		return NULL;
	queue->first = job->next;
	if (!queue->first)
		queue->last = &queue->first;
	return job;
}

/* NULL when the thread is to end: only after the last job. */
static struct job *next_job(struct background *b)
{
	struct job *job;

	pthread_mutex_lock(&b->lock);
	while (!(job = queue_take(&b->waiting)) && !b->stopping)
		pthread_cond_wait(&b->wanted, &b->lock);
	pthread_mutex_unlock(&b->lock);
	return job;
}

static void *work(void *context)
{
	struct background *b = context;
	const uint64_t one = 1;
	struct job *job;

	while ((job = next_job(b))) {
		job->work(job->context);
		pthread_mutex_lock(&b->lock);
		queue_add(&b->finished, job);
		pthread_mutex_unlock(&b->lock);
		/* Can only fail when the counter is full, and then the loop is awake. */
		(void)!write(b->finished_fd, &one, sizeof(one));
	}
	return NULL;
}

/* Not under the lock: `done` may hand in the next job. */
static void finish_jobs(struct background *b)
{
	struct job *job;

	for (;;) {
		pthread_mutex_lock(&b->lock);
		job = queue_take(&b->finished);
		pthread_mutex_unlock(&b->lock);
		if (!job)
			return;
		if (job->done)
			job->done(job->context);
		free(job);
	}
}

static void on_finished(evutil_socket_t fd, short what, void *context)
{
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	finish_jobs(context);
}

/* Signals are the loop's. */
static int start_thread(struct background *b)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&b->thread, NULL, work, b);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error == 0 ? 0 : -1;
}

static void release(struct background *b)
{
	if (b->event)
		event_free(b->event);
	if (b->finished_fd >= 0)
		close(b->finished_fd);
	pthread_cond_destroy(&b->wanted);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

struct background *background_new(struct event_base *base)
{
	struct background *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->waiting.last = &b->waiting.first;
	b->finished.last = &b->finished.first;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->wanted, NULL);
	b->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->finished_fd >= 0)
		b->event = event_new(base, b->finished_fd, EV_READ | EV_PERSIST, on_finished, b);
	if (!b->event || event_add(b->event, NULL) < 0 || start_thread(b) < 0) {
		release(b);
		return NULL;
	}
	return b;
}

int background_run(struct background *b, background_fn work_fn, background_fn done, void *context)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		return -1;
	*job = (struct job){.work = work_fn, .done = done, .context = context};
	pthread_mutex_lock(&b->lock);
	queue_add(&b->waiting, job);
	pthread_cond_signal(&b->wanted);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

/* The jobs are the caller's to free, in `done`; so none is dropped. */
void background_free(struct background *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->stopping = true;
	pthread_cond_signal(&b->wanted);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	finish_jobs(b);
	release(b);
}
