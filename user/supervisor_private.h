/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the supervisor share, and nobody else. */
#ifndef SUPERVISOR_PRIVATE_H
#define SUPERVISOR_PRIVATE_H

#include <time.h>

#include "access_log.h"
#include "control.h"
#include "feed.h"
#include "kernel.h"
#include "ledger.h"
#include "ready.h"
#include "self_test.h"
#include "sockets.h"
#include "supervisor.h"
#include "tc_wall.h"
#include "worker.h"

struct background;
struct event;

enum { WATCH_CALLS, WATCH_CONTROL, WATCH_COUNT };

struct supervisor {
	struct supervisor_options options;
	struct event_base *base;
	struct config *config; /* in force */
	struct config *next;   /* of a reload under way, not in force yet; NULL: none */
	struct bytes blob, next_blob; /* config_pack() of the two, for the worker */
	bool next_sent;		      /* the worker that runs now was given next_blob */
	unsigned next_starts;	      /* workers that ended before they were ready with it */
	struct cert_authority *ca;
	struct kernel *kernel;
	struct tc_wall *tc_wall; /* NULL in a shared network namespace */
	struct ledger *ledger;
	struct sockets sockets;
	struct access_log *log;
	int feed_fd;				/* of `feed`, for the worker; -1: none */
	struct feed *feed, *kernel_feed;	/* what the worker decides; what the kernel refuses */
	struct control *control;		/* NULL: there is none */
	unsigned restarts;			/* of the worker */
	time_t policy_since, reload_at;		/* reload_at 0: there was none */
	char reload_error[512];			/* of the last; "": it went well */
	int log_fd;
	bool log_fd_owned;
	int uid_fd; /* keeps the worker's uid ours; -1: none */
	struct server_handover handover;
	struct worker worker;
	unsigned pulses_missed; /* in a row; see on_pulse() */
	unsigned pulses_since_sent; /* of next_blob to a worker that was ready */
	struct background *background; /* reads policies; NULL before the first reload */
	uint64_t cgroup_id; /* 0: none */
	bool bottle_gone;
	bool ready, loading, reload_again, stopping;
	bool ending; /* the worker's end is wanted: no other follows */
	struct timespec started;
	unsigned restart_ms;
	struct event *watches[WATCH_COUNT], *denials, *restart, *pulse, *signals[3];
	struct self_test *self_test; /* while it is made */
	bool keep_wall;		     /* also when the start fails */
};

void supervisor_event_free(struct event *event); /* accepts NULL */

/* Ends the loop when the bottle's cgroup was removed and it is to end with that. */
void supervisor_look_after_bottle(struct supervisor *s);

/* ---- supervisor_reload.c: the policy, and putting another in force --------------------------- */

/* Reads, validates and packs. Prints every error, and sets `first` to the first. NULL when there
 * was one. */
struct config *supervisor_load_config(const struct supervisor_options *options,
				      struct bytes *ret_blob, struct error *first) WARN_UNUSED;
/* Reads the policy again and hands it to the worker; a bad one changes nothing. One at a time: when
 * one is under way another follows it. */
void supervisor_reload(struct supervisor *s);
/* The worker that runs is ready, or has taken what it was sent: s->next is in force, or is sent. */
void supervisor_reload_taken(struct supervisor *s);
/* The worker that runs refuses s->next, in its words. It has no say in that: another is asked. */
void supervisor_reload_refused(struct supervisor *s, const char *text);
/* Another look at a policy that was sent: kills a worker that has said nothing for too long. */
void supervisor_reload_pulse(struct supervisor *s);
/* s->next cannot be had: the old policy stays in force. */
void supervisor_reload_abandon(struct supervisor *s, const char *why);
/* Begins the reload that was asked for while another was under way. */
void supervisor_reload_pending(struct supervisor *s);

/* ---- supervisor_worker.c: the worker's life --------------------------------------------------- */

/* What every worker is started with, from what is open by now. */
int supervisor_fill_handover(struct supervisor *s, struct error *error) WARN_UNUSED;
/* Starts the worker and serves its calls until it says that it is ready. */
int supervisor_start_worker(struct supervisor *s, struct error *error) WARN_UNUSED;
/* Kills it; another follows. */
void supervisor_kill_worker(struct supervisor *s, const char *why);
/* Ends it for good: in order within `grace_ms`, then by force. */
void supervisor_end_worker(struct supervisor *s, int grace_ms);

/* ---- supervisor_control.c: who asks from outside ----------------------------------------------- */

/* Memory for events. Without it there are none, and a warning. */
void supervisor_open_feeds(struct supervisor *s);
/* The control socket. Without it there is a warning. */
void supervisor_open_control(struct supervisor *s);
void supervisor_close_control(struct supervisor *s);

#endif
