// SPDX-License-Identifier: BSD-2-Clause
/* All workers of a bottle: how many there are, their start together, their pulse, their end together. */
#include "supervisor_private.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feed_merge.h"
#include "worker_uid.h"

/* Names of resolvers and roots are read before it is ready; on a loaded machine that takes
 * seconds. */
#define READY_TIMEOUT_MS 10000
#define PULSE_S 2
_Static_assert(SUPERVISOR_WORKERS_MAX <= SHARES_MAX && SUPERVISOR_WORKERS_MAX < FEED_MERGE_MAX,
	       "there is room for every worker");
#define PULSES_MISSED 4	/* in a row by a worker that serves; one that starts has READY_TIMEOUT_MS */
/* Without a number of workers that was asked for. */
#define GROW_MAX 16
#define GROW_PULSES 2
#define IS_BUSY(cpu_ns, ns) ((cpu_ns) > (ns) / 4 * 3)

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	supervisor_run_slot(context);
}

/* ---- all of them ------------------------------------------------------------------------------ */

unsigned supervisor_ready_count(const struct supervisor *s)
{
	unsigned count = 0;

	for (unsigned i = 0; i < s->slot_count; i++)
		count += s->slots[i]->ready;
	return count;
}

/* A count of our own turns, not the time: when the machine slept, or we were stopped, the worker was,
 * too. */
static void pulse_worker(struct slot *slot)
{
	const unsigned limit = slot->ready ? PULSES_MISSED : READY_TIMEOUT_MS / 1000 / PULSE_S;

	if (slot->worker.pid <= 0)
		return;
	if (++slot->pulses_missed > limit)
		supervisor_kill_worker(slot, "does not answer");
	else
		(void)!worker_ping(&slot->worker);
	supervisor_reload_pulse(slot);
}

/* A place for one worker more, which is not started yet. */
static struct slot *add_slot(struct supervisor *s)
{
	struct slot *slot = s->slot_count < SUPERVISOR_WORKERS_MAX ? calloc(1, sizeof(*slot)) : NULL;

	if (!slot)
		return NULL;
	*slot = (struct slot){
		.s = s,
		.index = s->slot_count,
		.worker.pid = -1,
		.feed_fd = -1,
		.restart = evtimer_new(s->base, on_restart, slot),
	};
	if (!slot->restart) {
		free(slot);
		return NULL;
	}
	supervisor_open_slot_feed(slot);
	s->slots[s->slot_count++] = slot;
	shares_set_workers(s->shares, s->slot_count);
	return slot;
}

static uint64_t nanoseconds(clockid_t id)
{
	struct timespec now;

	return clock_gettime(id, &now) == 0 ? (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec : 0;
}

/* By its process's clock, which nobody in it can set. */
static void measure(struct slot *slot, uint64_t since_ns)
{
	clockid_t id;
	uint64_t now = 0;

	if (slot->ready && clock_getcpuclockid(slot->worker.pid, &id) == 0)
		now = nanoseconds(id);
	if (now > slot->cpu_ns && slot->cpu_ns > 0 && IS_BUSY(now - slot->cpu_ns, since_ns))
		slot->pulses_busy++;
	else
		slot->pulses_busy = 0;
	slot->cpu_ns = now;
}

static unsigned processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* One more when all have all that they can do, and there is a processor for it. Connections stay where
 * they are: it takes new ones. */
static void grow(struct supervisor *s)
{
	struct slot *slot;

	if (s->options.workers > 0 || !s->ready || s->ending || s->next || s->loading ||
	    s->abandoned[0] || s->slot_count >= GROW_MAX || s->slot_count >= processors())
		return;
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->pulses_busy < GROW_PULSES)
			return;
	slot = add_slot(s);
	if (slot)
		supervisor_run_slot(slot);
	for (unsigned i = 0; i < s->slot_count; i++)
		s->slots[i]->pulses_busy = 0;
}

/* Said once: whoever does it in the bottle may do it at any time. */
static void look_after_sockets(struct supervisor *s)
{
	int result = sockets_relisten(&s->sockets);

	if (result == 0 || s->relistened)
		return;
	s->relistened = true;
	diag_error("%s: a listening socket of ours was closed from within the bottle (SOCK_DESTROY); it %s%s",
		   s->options.name, result > 0 ? "listens again" : "cannot listen again: ",
		   result > 0 ? "" : strerror(-result));
}

/* Without its file, 'events' and its like would hold that nobody is here. */
static void look_after_control(struct supervisor *s)
{
	struct error error = {0};
	int result = control_pulse(s->control, &error);

	if (result > 0)
		diag_warning("%s: the control socket was deleted; it is there again", s->options.name);
	else if (result < 0 && !s->control_lost)
		diag_warning("%s; 'egress-bpf events' and its like cannot ask; it is tried again",
			     error.text);
	s->control_lost = result < 0;
}

static void on_pulse(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	const uint64_t now = nanoseconds(CLOCK_MONOTONIC);

	(void)fd;
	(void)what;
	supervisor_look_after_bottle(s);
	supervisor_approvals_pulse(s);
	look_after_control(s);
	look_after_sockets(s);
	for (unsigned i = 0; i < s->slot_count; i++) {
		pulse_worker(s->slots[i]);
		measure(s->slots[i], now - s->pulse_ns);
	}
	s->pulse_ns = now;
	grow(s);
}

/* ---- start and end ------------------------------------------------------------------------------ */

/* -1 ends the list. */
static void fill_fds(int *to, const int *from, size_t count)
{
	for (size_t i = 0; i < SERVER_MAX_SOCKETS; i++)
		to[i] = i < count ? from[i] : -1;
}

static int open_shares(struct supervisor *s, struct error *error)
{
	struct server_handover *h = &s->handover;
	int result = shares_memory(&h->shares_fd, &h->shares_reading_fd);

	if (!tickets_new(&s->tickets))
		return error_set(error, "no random numbers to be had");
	if (result == 0)
		s->shares = shares_open_all(h->shares_fd);
	return s->shares ? 0 : error_set(error, "no memory for limits: %s",
					 strerror(result < 0 ? -result : errno));
}

/* Only the certificate of the CA: its key stays with us. */
int supervisor_fill_handover(struct supervisor *s, struct error *error)
{
	struct server_handover *h = &s->handover;
	struct bytes der = {0};

	fill_fds(h->proxy_fds, s->sockets.proxy, s->sockets.proxy_count);
	fill_fds(h->host_fds, s->sockets.host, s->sockets.host_count);
	for (size_t i = 0; i < s->sockets.host_count; i++)
		h->host_ports[i] = s->options.host_ports[i];
	fill_fds(h->dns_udp_fds, s->sockets.dns_udp, s->sockets.dns_count);
	fill_fds(h->dns_tcp_fds, s->sockets.dns_tcp, s->sockets.dns_count);
	h->flows_fd = s->kernel ? kernel_flows_fd(s->kernel) : -1;
	h->verdicts_fd = s->kernel ? kernel_verdicts_fd(s->kernel) : -1;
	h->host_verdicts_fd = s->kernel ? kernel_host_verdicts_fd(s->kernel) : -1;
	h->log_fd = s->log_fd;
	h->record_fd = s->options.record_fd > 0 ? s->options.record_fd : -1;
	h->log_query = s->options.log_query;
	snprintf(h->bottle, sizeof(h->bottle), "%s", s->options.name);
	h->any_call = s->options.worker_any_call;
	h->uid = s->options.worker_uid;
	if (h->uid == 0) {
		s->uid_fd = worker_uid_claim(s->options.name, &h->uid, error);
		if (s->uid_fd < 0)
			return -1;
	}
	h->gid = h->uid;
	if (cert_authority_der(s->ca, &der) == 0)
		h->ca_fd = worker_memfd(bytes_span(&der));
	bytes_free(&der);
	if (h->ca_fd < 0)
		return error_set(error, "cannot pass the CA certificate on");
	return open_shares(s, error);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	bool *passed = context;

	(void)fd;
	(void)what;
	*passed = true;
}

bool supervisor_parse_workers(const char *text, unsigned *ret)
{
	char *end;
	unsigned long number = 0;

	if (strcmp(text, "auto") != 0) {
		if (*text < '1' || *text > '9' || strlen(text) > 2)
			return false;
		number = strtoul(text, &end, 10);
		if (*end || number > SUPERVISOR_WORKERS_MAX)
			return false;
	}
	*ret = (unsigned)number;
	return true;
}

int supervisor_start_workers(struct supervisor *s, struct error *error)
{
	const struct timeval pulse = {PULSE_S, 0};
	struct slot *slot = NULL;

	s->pulse = event_new(s->base, -1, EV_PERSIST, on_pulse, s);
	if (!s->pulse || event_add(s->pulse, &pulse) < 0)
		return error_set(error, "cannot make an event loop");
	s->pulse_ns = nanoseconds(CLOCK_MONOTONIC);
	do {
		slot = add_slot(s);
		if (slot)
			supervisor_run_slot(slot);
	} while (slot && s->slot_count < s->options.workers);
	return slot ? 0 : error_set(error, "the worker did not become ready");
}

/* The loop runs, for what is under way in a worker may need answers of ours. False when no time could be
 * set. */
static bool run_while(struct supervisor *s, bool (*wanted)(const struct supervisor *s), int limit_ms)
{
	const struct timeval limit = {limit_ms / 1000, limit_ms % 1000 * 1000};
	bool passed = false;
	struct event *deadline = evtimer_new(s->base, on_deadline, &passed);
	bool timed = deadline && evtimer_add(deadline, &limit) == 0;

	while (timed && !passed && wanted(s)) {
		if (event_base_loop(s->base, EVLOOP_ONCE) != 0)
			break;
	}
	supervisor_event_free(deadline);
	return timed;
}

/* False when one has ended already: at the start that is final. */
static bool are_starting(const struct supervisor *s)
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->worker.pid <= 0)
			return false;
	return supervisor_ready_count(s) < s->slot_count && !s->stopping;
}

int supervisor_await_workers(struct supervisor *s, struct error *error)
{
	if (!run_while(s, are_starting, READY_TIMEOUT_MS))
		return error_set(error, "cannot make an event loop");
	if (s->stopping)
		return error_set(error, "told to end before the worker was ready");
	s->ready = supervisor_ready_count(s) == s->slot_count;
	return s->ready ? 0 : error_set(error, "the worker did not become ready");
}

static bool one_runs(const struct supervisor *s)
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->worker.pid > 0)
			return true;
	return false;
}

static void drain_workers(struct supervisor *s, int grace_ms)
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->worker.pid > 0 && worker_ask_to_end(&s->slots[i]->worker) < 0)
			supervisor_end_slot(s->slots[i]);
	(void)run_while(s, one_runs, grace_ms);
}

void supervisor_end_workers(struct supervisor *s, int grace_ms)
{
	s->ending = true;
	/* A successor that began now would be told by nobody to end, and make all wait for the limit. */
	for (unsigned i = 0; i < s->slot_count; i++)
		evtimer_del(s->slots[i]->restart);
	if (grace_ms > 0)
		drain_workers(s, grace_ms);
	for (unsigned i = 0; i < s->slot_count; i++) {
		supervisor_end_slot(s->slots[i]);
		supervisor_event_free(s->slots[i]->restart);
		s->slots[i]->restart = NULL;
	}
	supervisor_event_free(s->pulse);
	s->pulse = NULL;
}
