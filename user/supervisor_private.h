/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the supervisor share, and nobody else. */
#ifndef SUPERVISOR_PRIVATE_H
#define SUPERVISOR_PRIVATE_H

#include <time.h>

#include "access_log.h"
#include "control.h"
#include "feed.h"
#include "grant.h"
#include "kernel.h"
#include "ledger.h"
#include "pending.h"
#include "pending_ids.h"
#include "ready.h"
#include "self_test.h"
#include "shares.h"
#include "sockets.h"
#include "supervisor.h"
#include "tc_wall.h"
#include "tickets.h"
#include "worker.h"

struct background;
struct event;

enum { WATCH_CALLS, WATCH_CONTROL, WATCH_COUNT };

/* A worker's place: what its successor takes over, and what is known of the one that runs. Policies
 * have numbers, so that a worker's word is about the one it was given and no other. */
struct slot {
	struct supervisor *s;
	unsigned index;
	struct worker worker; /* pid -1: none runs */
	int feed_fd;	      /* of `feed`, for the worker; -1: none */
	struct feed *feed;    /* what the worker decides; NULL: no memory */
	struct pending_ids *ids; /* of what was read of `feed`; NULL: there are no approvals */
	struct feed_cursor cursor;
	unsigned given; /* the number of the policy that the one that runs was given last */
	bool owes;	/* its word on that one has not come yet */
	bool ready;
	unsigned failed_starts; /* of workers that ended before they were ready with s->next */
	unsigned pulses_missed; /* in a row; see on_pulse() */
	uint64_t cpu_ns;	/* that it had used at the last pulse */
	unsigned pulses_busy;	/* in a row */
	unsigned pulses_owed;	/* while a worker that was ready takes a policy */
	struct timespec started;
	unsigned restart_ms;
	struct event *watches[WATCH_COUNT], *restart;
};

struct supervisor {
	struct supervisor_options options;
	struct event_base *base;
	struct config *config; /* in force */
	struct config *next;   /* of a reload under way, not in force yet; NULL: none */
	struct bytes blob, next_blob; /* config_pack() of the two, for the worker */
	int next_fd; /* worker_memfd() of next_blob, while it is sent to all; -1: none */
	struct bytes text, next_text; /* of the policy's file, as they were read; empty: no file */
	unsigned number, next_number;	/* of the two; 0: none was ever given */
	unsigned numbers;		/* that were given */
	unsigned restarts;		/* of workers */
	struct grants next_grants;    /* of s->next; those in force are of s->approvals */
	struct approvals *approvals;  /* NULL: without memory there are none */
	bool next_reread;	      /* s->next comes from the file, and not from a grant alone */
	bool restricted;	      /* the wall has less open than the policy in force */
	bool raised;		      /* the wall is already when the sockets are opened */
	char abandoned[512]; /* why the last was, while some worker may still have it; "": none */
	struct cert_authority *ca;
	struct kernel_open_options wall;
	struct kernel *kernel; /* NULL: there is no wall to be */
	struct tc_wall *tc_wall; /* NULL in a shared network namespace */
	struct ledger *ledger;
	struct sockets sockets;
	struct access_log *log;
	char mark[8];				/* begins each id of this life of ours */
	struct feed *kernel_feed;		/* what the kernel refuses */
	struct control *control;		/* NULL: there is none */
	time_t policy_since, reload_at;		/* reload_at 0: there was none */
	char reload_error[512];			/* of the last; "": it went well */
	int log_fd, log_reading_fd; /* a FIFO's other end; -1: none */
	bool log_fd_owned;
	bool control_missed; /* `control` could not be made */
	bool control_lost;   /* its socket was deleted, and could not be made again */
	int uid_fd; /* keeps the worker's uid ours; -1: none */
	struct server_handover handover;
	struct slot *slots[SUPERVISOR_WORKERS_MAX];
	unsigned slot_count;
	struct tickets tickets;
	struct shares *shares; /* of limits that hold for all of them */
	struct background *background; /* reads policies; NULL before the first reload */
	uint64_t cgroup_id; /* 0: none */
	bool bottle_gone;
	bool ready; /* all workers were, at the start */
	bool loading, reload_again, stopping;
	bool relistened; /* a listening socket was closed from outside, which is told once */
	bool ending; /* the workers' end is wanted: no other follows */
	struct event *denials, *pulse, *signals[3];
	uint64_t denials_lost; /* by the kernel's ring, as far as the log tells of them */
	uint64_t pulse_ns; /* when the last was */
	struct self_test *self_test; /* while it is made */
	bool keep_wall;		     /* also when the start fails */
};

void supervisor_event_free(struct event *event); /* accepts NULL */

/* Ends the loop when the bottle's cgroup was removed and it is to end with that. */
void supervisor_look_after_bottle(struct supervisor *s);

/* ---- supervisor_reload.c: the policy, and putting another in force --------------------------- */

/* A policy on its way to be one. Nothing of the supervisor but its options, and the policy in force,
 * which nobody changes meanwhile, is touched: it is made beside the loop. */
struct supervisor_load {
	const struct supervisor_options *options;
	bool reread;	    /* file and secrets; else `text`, and the secrets of `old` */
	struct bytes text;  /* of the file; read when `reread` */
	struct grants grants;
	const struct config *old; /* in force; NULL: at the start */
	struct bytes blob;	  /* for the worker; holds secrets */
	struct error error;	  /* the first */
	struct place *place;	  /* where its files are, while they are read */
};
/* Reads, validates and packs; prints every error. NULL when there was one. */
struct config *supervisor_load_config(struct supervisor_load *load) WARN_UNUSED;
/* Puts in force what became of the grants, without another look at the file. Only when nothing is
 * under way. */
void supervisor_regrant(struct supervisor *s);
/* Reads the policy again and hands it to the worker; a bad one changes nothing. One at a time: when
 * one is under way another follows it. */
void supervisor_reload(struct supervisor *s);
/* The number of the policy that every worker is to have. */
unsigned supervisor_wanted(const struct supervisor *s);
/* Something about a worker has changed. One that has another policy than is wanted is sent it; when
 * all have s->next it is in force; and when none has one that was given up, that is at an end, too. */
void supervisor_reload_look(struct supervisor *s);
/* The worker refuses what it was given, in its words. It has no say in that: another is asked. */
void supervisor_reload_refused(struct slot *slot, const char *text);
/* Kills a worker that says nothing of a policy for too long. */
void supervisor_reload_pulse(struct slot *slot);
/* s->next cannot be had: workers that have it get the old policy back, which stays in force. */
void supervisor_reload_abandon(struct supervisor *s, const char *why);
/* Begins the reload that was asked for while another was under way. */
void supervisor_reload_pending(struct supervisor *s);

/* ---- supervisor_worker.c: a worker's life; supervisor_workers.c: all of them ------------------- */

/* What every worker is started with, from what is open by now. */
int supervisor_fill_handover(struct supervisor *s, struct error *error) WARN_UNUSED;
/* Starts the workers, which become ready by themselves. */
int supervisor_start_workers(struct supervisor *s, struct error *error) WARN_UNUSED;
/* Serves their calls until all say that they are ready. */
int supervisor_await_workers(struct supervisor *s, struct error *error) WARN_UNUSED;
/* Starts the place's worker, with the policy that is wanted; one that cannot be started, or ends, is
 * followed by another. */
void supervisor_run_slot(struct slot *slot);
/* Ends it by force, for good. */
void supervisor_end_slot(struct slot *slot);
/* Kills it; another follows. */
void supervisor_kill_worker(struct slot *slot, const char *why);
/* Ends all for good: in order within `grace_ms` together, then by force. */
void supervisor_end_workers(struct supervisor *s, int grace_ms);
unsigned supervisor_ready_count(const struct supervisor *s);

/* ---- supervisor_control.c: who asks from outside ----------------------------------------------- */

/* Memory for events: of the kernel, and of one worker. Without it there are none, and a warning. */
void supervisor_open_feed(struct supervisor *s);
void supervisor_open_slot_feed(struct slot *slot);
/* The control socket. Without it there is a warning, and `control_missed`. */
void supervisor_open_control(struct supervisor *s);
void supervisor_close_control(struct supervisor *s);

/* ---- supervisor_pending.c: what was refused --------------------------------------------------- */

/* One refusal as a request that could be allowed. */
struct asked {
	bool raw;     /* an address, and no name */
	bool request; /* method and path are those of a request */
	bool partial; /* of a request that is not known whole: no grant but of a path that is said */
	bool tls, path_cut;
	enum egress_reason reason;
	uint16_t port;
	char protocol[12], host[EGRESS_NAME_SIZE], address[ADDRESS_TEXT_SIZE];
	char method[REFUSAL_METHOD_MAX + 1], path[REFUSAL_PATH_MAX + 1];
};
/* Whether the policy lets it pass, as far as that can be told without its headers. */
bool asked_is_allowed(const struct asked *asked, const struct policy *policy);
/* NULL: a grant can allow it; else why not, and what would. */
const char *asked_never(const struct asked *asked);

/* Reads what came since, into s->approvals. */
void supervisor_drain_refusals(struct supervisor *s);
/* What the id names; `ret_group` may be NULL, when it was evicted. -1 with `error` set. */
int supervisor_find_refusal(struct supervisor *s, const char *id, struct asked *ret,
			    struct pending_group **ret_group, struct error *error) WARN_UNUSED;
json_t *supervisor_answer_pending(struct supervisor *s, const json_t *request);
/* Notices on standard error: what was refused last, and why. */
void supervisor_tell_refused(struct supervisor *s);

/* ---- supervisor_asks.c: what the bottle asks for ------------------------------------------------ */

void supervisor_take_ask(struct supervisor *s, const struct ask *ask, struct ask_answer *ret);
void supervisor_ask_state(const struct supervisor *s, const char *id, struct ask_answer *ret);
/* False when no ask has the id. */
bool supervisor_find_ask(const struct supervisor *s, const char *id, struct asked *ret) WARN_UNUSED;
void supervisor_decide_ask(struct supervisor *s, const char *id, bool denied);
json_t *supervisor_describe_asks(const struct supervisor *s, bool all);

/* ---- supervisor_approve.c: what an operator allows beside the file ----------------------------- */

#define ASKS_MAX 64
struct asks_entry {
	uint64_t number; /* of its id; 0: a free place */
	uint64_t time_ms;
	bool denied;
	struct ask ask;
};
struct asks {
	struct asks_entry list[ASKS_MAX];
	uint64_t numbers, full_ms;
};

struct approvals {
	struct asks asks;
	struct pending *pending;
	struct feed_cursor cursor; /* of the kernel's */
	struct grants grants;
	struct event *timer; /* the next end of a grant */
	bool failed;	     /* an end could not be had: once more with the next pulse */
};

/* Without memory there is a warning, and no such thing. */
void supervisor_open_approvals(struct supervisor *s);
void supervisor_close_approvals(struct supervisor *s);
/* Reads what was refused since, and ends the grants whose time is over. */
void supervisor_approvals_pulse(struct supervisor *s);
/* Both answer later, or with a refusal. */
json_t *supervisor_answer_allow(struct supervisor *s, const json_t *request);
json_t *supervisor_answer_deny(struct supervisor *s, const json_t *request);
json_t *supervisor_describe_grant(const struct grant *grant);
/* The grants that a policy has that is made now. */
bool supervisor_approvals_select(struct supervisor *s, bool reread, struct grants *ret) WARN_UNUSED;
/* A policy with s->next_grants is in force; or (`why`) cannot be had. */
void supervisor_approvals_ended(struct supervisor *s, const char *why);
/* Begins what waits for its turn, if anything does. */
void supervisor_approvals_next(struct supervisor *s);

#endif
