/* SPDX-License-Identifier: BSD-2-Clause */
/* The root process: owns configuration, CA key, kernel wall, pins, listening sockets and the
 * worker's life. Parses no byte from the network. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attributes.h"
#include "bytes.h"
#include "cert_authority.h"
#include "config.h"
#include "diag.h"
#include "host_port.h"
#include "sockets.h"

#define SUPERVISOR_WORKERS_MAX 64

struct egress_unix_file;
struct ready;
struct supervisor;

struct supervisor_options {
	const char *name;
	const char *cgroup_path; /* NULL: --no-kernel, a proxy and no wall */
	uint64_t spared_cgroup;	 /* ours, where it is below that one; 0: it is not */
	int netns_fd;		 /* the bottle's network namespace; -1: the one we are in */
	const char *policy_path; /* re-read on SIGHUP; may be NULL when there are extra sources */
	const char *policy_name; /* what it is a copy of: called so, and never written to; or NULL */
	const struct config_source *extra; /* texts made from options; borrowed for life */
	size_t extra_count;
	const char *token_directory; /* of files for `token_env`; NULL: the environment */
	const char *ca_directory; /* NULL: a CA in memory */
	const char *log_path;	  /* NULL: no log; "-": standard output */
	bool log_query;
	int record_fd; /* a regular file (borrowed) for every line of the log, too; 0 or less: none */
	/* exec: signals are the command's. The supervisor then handles no SIGTERM, SIGINT and SIGHUP,
	 * and waits for no child but its own worker. */
	bool forward_signals;
	bool learning; /* `extra` says to: warned of by that name, and not by the policy's key */
	bool brief; /* exec: the policy is not read again, and the wall goes with us */
	bool tell_refused; /* at the end, on standard error, where the policy refused something */
	struct sockets_place listen; /* see sockets_options */
	uid_t worker_uid;     /* user and group id of the worker; 0: one of its own */
	unsigned workers;     /* so many from the start; 0: one, and more when they are busy */
	bool worker_any_call; /* no seccomp filter on the worker: for debuggers */
	bool end_with_cgroup; /* when the bottle's cgroup is removed, within some 2 s */
	bool self_test;	     /* try the wall from inside before it is ready */
	struct ready *ready; /* told of reloads; NULL: nobody is */
	const uint16_t *published;
	size_t published_count;
	/* Ports of our loopback for a bottle with a namespace of its own; at most HOST_PORT_MAX. */
	const struct host_port *host_ports;
	size_t host_port_count;
	/* As in kernel_open_options; borrowed until supervisor_start() returns. */
	bool unix_wall, unix_wall_required, unix_broker;
	const struct egress_unix_file *let_in;
	size_t let_in_count;
	bool root_wall; /* as in kernel_open_options */
};
/* What records and messages call the policy's file; NULL: there is none. Borrowed of `options`. */
const char *supervisor_policy_file(const struct supervisor_options *options);

/* Loads the policy and its secrets and the CA: what supervisor_config() and supervisor_ca() tell.
 * Errors are printed, and the exit status (1 or 2) is returned; 0 is success. The texts and arrays
 * in `options` are borrowed for life. */
int supervisor_open(const struct supervisor_options *options, struct supervisor **ret);
/* "auto" (0), or 1 to SUPERVISOR_WORKERS_MAX; else false. */
bool supervisor_parse_workers(const char *text, unsigned *ret) WARN_UNUSED;
/* Puts up the kernel wall and the sockets and starts the workers. Returns when they are ready to
 * serve. On failure what was begun is undone, errors are printed, *supervisor is freed and NULL,
 * and the exit status is returned. A wall that failed its self-test stays. */
int supervisor_start(struct supervisor **supervisor);
/* Runs until SIGTERM or SIGINT, until supervisor_quit(), or, with end_with_cgroup, until the bottle
 * is gone: supervisor_bottle_gone() tells. SIGHUP reloads. A dead worker is
 * started again (with a growing delay, at most 5 s). Returns the exit status. */
int supervisor_loop(struct supervisor *supervisor);
void supervisor_quit(struct supervisor *supervisor); /* from a callback of its own loop */
bool supervisor_bottle_gone(const struct supervisor *supervisor);
/* Borrowed, for as long as the supervisor lives. The configuration is that in force: a reload
 * replaces and frees it. */
struct event_base *supervisor_base(struct supervisor *supervisor);
const struct cert_authority *supervisor_ca(const struct supervisor *supervisor);
const struct config *supervisor_config(const struct supervisor *supervisor);
bool supervisor_unix_brokered(const struct supervisor *supervisor); /* kernel_unix_brokered() */
uint16_t supervisor_proxy_port(const struct supervisor *supervisor);
/* Stops the worker (in order, then by SIGKILL after 5 s) and frees. The pinned wall stays unless
 * `detach`. */
void supervisor_stop(struct supervisor *supervisor, bool detach);

#endif
