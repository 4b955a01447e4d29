// SPDX-License-Identifier: BSD-2-Clause
/* The workers as seen by their supervisor: untrusted, and replaceable at any moment. It is asked for
 * nothing that cannot be checked, and killed when it is silent, malformed or late; connections wait
 * in the listening sockets meanwhile, or another takes them. What happens to one is no other's
 * concern. */
#include "supervisor_private.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc.h"
#include "worker_uid.h"

/* Names of resolvers and roots are read before it is ready; on a loaded machine that takes
 * seconds. */
#define READY_TIMEOUT_MS 10000
#define PULSE_S 2
_Static_assert(SUPERVISOR_WORKERS_MAX <= SHARES_MAX && SUPERVISOR_WORKERS_MAX < CONTROL_FEEDS,
	       "there is room for every worker");
#define PULSES_MISSED 4	/* in a row by a worker that serves; one that starts has READY_TIMEOUT_MS */
/* The first restart is immediate, then the delay doubles: a worker that dies at once must not take
 * a processor. */
#define RESTART_MIN_MS 50
#define RESTART_MAX_MS 5000
#define NEXT_STARTS 2 /* so often must no worker start with a new policy before it is given up */
/* Without a number of workers that was asked for. */
#define GROW_MAX 16
#define GROW_PULSES 2
#define IS_BUSY(cpu_ns, ns) ((cpu_ns) > (ns) / 4 * 3)
#define RESTART_FORGIVEN_S 10 /* a worker that lived this long did not fail at its start */

/* ---- calls of the worker -------------------------------------------------------------------- */

static void serve_bind_name(void *context, const char *name, struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_bind_name(s->ledger, name, ret);
}

static void serve_host_by_id(void *context, uint32_t id, struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_host_by_id(s->ledger, id, ret);
}

static void serve_bind_addresses(void *context, const char *name,
				 const struct egress_address *addresses, size_t count,
				 struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_bind_addresses(s->ledger, name, addresses, count, ret);
}

static void serve_ask(void *context, const struct ask *ask, struct ask_answer *ret)
{
	supervisor_take_ask(context, ask, ret);
}

static void serve_ask_state(void *context, const char *id, struct ask_answer *ret)
{
	supervisor_ask_state(context, id, ret);
}

/* Of the policy in force or the next one: during a reload the worker may be ahead of us. */
static bool intercepts(const struct config *config, const char *name)
{
	const struct policy_host *host = config ? policy_find_host(config->policy, name) : NULL;
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t count = host ? policy_host_ports(host, ports) : 0;

	for (size_t i = 0; i < count; i++)
		if (policy_host_mode(host, ports[i]) == POLICY_INTERCEPT)
			return true;
	return false;
}

/* Only names that the policy intercepts get a certificate: a worker that was taken over cannot
 * pose as anybody else towards the bottle. */
static int serve_sign_leaf(void *context, const char *host, struct span public_key,
			   struct bytes *ret_der)
{
	struct supervisor *s = context;
	struct error error = {0};

	if (!intercepts(s->config, host) && !intercepts(s->next, host))
		return -1;
	if (cert_authority_sign(s->ca, host, public_key, ret_der, &error) == 0)
		return 0;
	diag_error("%s", error.text);
	return -1;
}

/* The end of control_fd tells the rest. With no worker, kill(2) would take -1 for everybody. */
static void end_worker_now(const struct slot *slot)
{
	if (slot->worker.pid > 0)
		(void)kill(slot->worker.pid, SIGKILL);
}

static void answer_call(evutil_socket_t fd, short what, void *context)
{
	struct slot *slot = context;
	struct supervisor *s = slot->s;
	const struct rpc_service service = {
		.bind_name = s->ledger ? serve_bind_name : NULL,
		.host_by_id = s->ledger ? serve_host_by_id : NULL,
		.bind_addresses = s->ledger ? serve_bind_addresses : NULL,
		.ask = serve_ask,
		.ask_state = serve_ask_state,
		.sign_leaf = serve_sign_leaf,
		.context = s,
	};
	int result;

	(void)what;
	result = rpc_serve(fd, &service);
	if (result == 1)
		return;
	/* Closed, or not one of our messages. Its end is noticed at control_fd. */
	event_del(slot->watches[WATCH_CALLS]);
	if (result < 0)
		supervisor_kill_worker(slot, "makes calls that are none");
	else
		end_worker_now(slot);
}

/* ---- the worker's life ------------------------------------------------------------------------ */

/* Before its descriptors are closed: their numbers may be another's then. */
static void unwatch_worker(struct slot *slot)
{
	for (size_t i = 0; i < WATCH_COUNT; i++) {
		supervisor_event_free(slot->watches[i]);
		slot->watches[i] = NULL;
	}
}

static void restart_later(struct slot *slot)
{
	struct timespec now;
	struct timeval delay;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - slot->started.tv_sec >= RESTART_FORGIVEN_S)
		slot->restart_ms = 0;
	delay = (struct timeval){slot->restart_ms / 1000, slot->restart_ms % 1000 * 1000};
	slot->restart_ms = slot->restart_ms ? 2 * slot->restart_ms : RESTART_MIN_MS;
	if (slot->restart_ms > RESTART_MAX_MS)
		slot->restart_ms = RESTART_MAX_MS;
	evtimer_add(slot->restart, &delay);
}

/* SIGSYS is worth its own words: either the filter lacks a call, or somebody was in the worker. */
static void say_how_it_ended(int status)
{
	const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	char how[64] = "";

	if (number == SIGSYS)
		snprintf(how, sizeof(how), " (it made a system call that it may not make)");
	else if (number != 0)
		snprintf(how, sizeof(how), " (signal %d, %s)", number, strsignal(number));
	diag_warning("the worker ended%s; connections wait for its successor, the wall stands", how);
}

/* A policy with which no worker starts is given up, or there would never be one again. */
static void worker_ended(struct slot *slot)
{
	struct supervisor *s = slot->s;
	int status;

	unwatch_worker(slot);
	status = worker_stop(&slot->worker);
	if (s->ending)
		return;
	say_how_it_ended(status);
	s->restarts++;
	if (!slot->ready && s->next && slot->given == s->next_number)
		slot->failed_starts++;
	slot->ready = slot->owes = false;
	shares_clear(s->shares, slot->index);
	if (slot->feed)
		tally_forget(feed_tallies(slot->feed));
	restart_later(slot);
	if (s->next && slot->failed_starts == NEXT_STARTS)
		supervisor_reload_abandon(s, "no worker starts with it");
	else
		supervisor_reload_look(s);
}

/* A word on a policy that was not asked for is nobody's. */
static void take_answer(struct slot *slot, const struct rpc_control *message)
{
	if (message->type == RPC_CONTROL_PONG) {
		slot->pulses_missed = 0;
	} else if (message->type == RPC_CONTROL_DONE && slot->owes) {
		slot->ready = true;
		slot->owes = false;
	} else if (message->type == RPC_CONTROL_FAILED && slot->owes) {
		supervisor_reload_refused(slot, message->text);
	}
}

/* A descriptor has no place in what a worker says. */
static void on_control(evutil_socket_t fd, short what, void *context)
{
	struct slot *slot = context;
	struct rpc_control message;
	int passed = -1, result = rpc_control_receive(fd, &message, &passed);

	(void)what;
	if (passed >= 0)
		close(passed);
	if (result != 1) {
		if (result != -EAGAIN)
			worker_ended(slot);
		return;
	}
	message.text[sizeof(message.text) - 1] = '\0';
	take_answer(slot, &message);
	supervisor_reload_look(slot->s);
}

/* What was watched before a failure is unwatched by the caller. */
static bool watch_worker(struct slot *slot)
{
	const struct {
		int fd;
		event_callback_fn call;
	} what[WATCH_COUNT] = {
		[WATCH_CALLS] = {slot->worker.calls_fd, answer_call},
		[WATCH_CONTROL] = {slot->worker.control_fd, on_control},
	};

	for (size_t i = 0; i < WATCH_COUNT; i++) {
		slot->watches[i] = event_new(slot->s->base, what[i].fd, EV_READ | EV_PERSIST,
					     what[i].call, slot);
		if (!slot->watches[i] || event_add(slot->watches[i], NULL) < 0)
			return false;
	}
	return true;
}

/* With the next policy, when there is one: it is restricted to already. */
static void start_worker(struct slot *slot)
{
	struct supervisor *s = slot->s;
	struct server_handover handover = s->handover;
	char tickets[TICKETS_TEXT_SIZE];
	struct error error = {0};
	int result;

	handover.feed_fd = slot->feed_fd;
	handover.slot = slot->index;
	clock_gettime(CLOCK_MONOTONIC, &slot->started);
	slot->given = supervisor_wanted(s);
	slot->pulses_missed = 0;
	slot->cpu_ns = 0;
	slot->pulses_busy = 0;
	/* The one before may have spoilt the count: what this one refuses would be nobody's. */
	if (slot->feed && slot->ids)
		feed_raise_ids(slot->feed, pending_ids_newest(slot->ids));
	/* Not the key that it began with: what was sealed before is nothing to a new one. */
	tickets_advance(&s->tickets);
	tickets_format(&s->tickets, tickets);
	result = worker_start(&handover, bytes_span(s->next ? &s->next_blob : &s->blob), tickets,
			      &slot->worker, &error);
	explicit_bzero(tickets, sizeof(tickets));
	if (result < 0) {
		diag_error("%s", error.text);
		restart_later(slot);
		return;
	}
	slot->owes = true;
	if (!watch_worker(slot)) {
		unwatch_worker(slot);
		worker_stop(&slot->worker);
		slot->owes = false;
		restart_later(slot);
	}
}

void supervisor_kill_worker(struct slot *slot, const char *why)
{
	if (slot->worker.pid <= 0)
		return;
	diag_warning("the worker %s: it is killed", why);
	end_worker_now(slot);
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	start_worker(context);
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
		start_worker(slot);
	for (unsigned i = 0; i < s->slot_count; i++)
		s->slots[i]->pulses_busy = 0;
}

static void on_pulse(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	const uint64_t now = nanoseconds(CLOCK_MONOTONIC);

	(void)fd;
	(void)what;
	supervisor_look_after_bottle(s);
	supervisor_approvals_pulse(s);
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

/* False when one has ended already: at the start that is final. */
static bool are_starting(const struct supervisor *s)
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->worker.pid <= 0)
			return false;
	return supervisor_ready_count(s) < s->slot_count;
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
			start_worker(slot);
	} while (slot && s->slot_count < s->options.workers);
	return slot ? 0 : error_set(error, "the worker did not become ready");
}

/* The loop runs while we wait, for the workers need answers to become ready. */
int supervisor_await_workers(struct supervisor *s, struct error *error)
{
	const struct timeval limit = {READY_TIMEOUT_MS / 1000, 0};
	bool passed = false;
	struct event *deadline = evtimer_new(s->base, on_deadline, &passed);

	if (!deadline || evtimer_add(deadline, &limit) < 0) {
		supervisor_event_free(deadline);
		return error_set(error, "cannot make an event loop");
	}
	while (are_starting(s) && !passed && !s->stopping) {
		if (event_base_loop(s->base, EVLOOP_ONCE) != 0)
			break;
	}
	supervisor_event_free(deadline);
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

static void end_slot(struct slot *slot)
{
	unwatch_worker(slot);
	worker_stop(&slot->worker);
}

/* What is under way in a worker may need answers of ours, so calls are served until the end. */
static void drain_workers(struct supervisor *s, int grace_ms)
{
	const struct timeval limit = {grace_ms / 1000, grace_ms % 1000 * 1000};
	bool passed = false;
	struct event *deadline = evtimer_new(s->base, on_deadline, &passed);

	if (deadline && evtimer_add(deadline, &limit) == 0) {
		for (unsigned i = 0; i < s->slot_count; i++)
			if (s->slots[i]->worker.pid > 0 &&
			    worker_ask_to_end(&s->slots[i]->worker) < 0)
				end_slot(s->slots[i]);
		while (one_runs(s) && !passed) {
			if (event_base_loop(s->base, EVLOOP_ONCE) != 0)
				break;
		}
	}
	supervisor_event_free(deadline);
}

void supervisor_end_workers(struct supervisor *s, int grace_ms)
{
	s->ending = true;
	if (grace_ms > 0)
		drain_workers(s, grace_ms);
	for (unsigned i = 0; i < s->slot_count; i++) {
		end_slot(s->slots[i]);
		supervisor_event_free(s->slots[i]->restart);
		s->slots[i]->restart = NULL;
	}
	supervisor_event_free(s->pulse);
	s->pulse = NULL;
}
