// SPDX-License-Identifier: BSD-2-Clause
/* A worker as seen by its supervisor: untrusted, and replaceable at any moment. It is asked for
 * nothing that cannot be checked, and killed when it is silent, malformed or late; connections wait
 * in the listening sockets meanwhile, or another takes them. What happens to one is no other's
 * concern. */
#include "supervisor_private.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc.h"

/* The first restart is immediate, then the delay doubles: a worker that dies at once must not take
 * a processor. */
#define RESTART_MIN_MS 50
#define RESTART_MAX_MS 5000
#define NEXT_STARTS 2 /* so often must no worker start with a new policy before it is given up */
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
	/* Sooner than it should be rather than never. */
	if (evtimer_add(slot->restart, &delay) < 0)
		event_active(slot->restart, EV_TIMEOUT, 0);
}

/* Returns how it ended, as wait(2) has it. What it was about to log is not lost with it. */
static int stop_worker(struct slot *slot)
{
	const int status = worker_stop(&slot->worker);

	if (slot->feed && slot->s->log)
		access_log_recover(slot->s->log, slot->feed);
	return status;
}

/* SIGSYS is worth its own words: either the filter lacks a call, or somebody was in the worker. */
static void say_how_it_ended(const struct supervisor *s, int status)
{
	const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	char how[64] = "";

	if (number == SIGSYS)
		snprintf(how, sizeof(how), " (it made a system call that it may not make)");
	else if (number != 0)
		snprintf(how, sizeof(how), " (signal %d, %s)", number, strsignal(number));
	/* At the start that is final: the wall is taken down again, unless it was there before. */
	if (!s->ready)
		diag_warning("the worker ended before it was ready%s", how);
	else
		diag_warning("the worker ended%s; connections wait for its successor%s", how,
			     s->kernel ? ", the wall stands" : "");
}

/* A policy with which no worker starts is given up, or there would never be one again. */
static void worker_ended(struct slot *slot)
{
	struct supervisor *s = slot->s;
	int status;

	unwatch_worker(slot);
	status = stop_worker(slot);
	if (s->ending)
		return;
	say_how_it_ended(s, status);
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
void supervisor_run_slot(struct slot *slot)
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
		(void)stop_worker(slot);
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

void supervisor_end_slot(struct slot *slot)
{
	unwatch_worker(slot);
	(void)stop_worker(slot);
}
