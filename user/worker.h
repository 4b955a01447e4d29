/* SPDX-License-Identifier: BSD-2-Clause */
/* The supervisor's end of a worker process: start, tell, stop. The other end is server.c. */
#ifndef WORKER_H
#define WORKER_H

#include <sys/types.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"
#include "server.h"

struct worker {
	pid_t pid;
	int calls_fd;	/* rpc_serve() */
	int control_fd; /* rpc_control_*(); at its end the worker has ended */
};

/* Our program's file, opened once at the start: what a worker runs later is the version that we
 * are, whatever has been installed since. The caller's; -errno on failure. */
int worker_open_program(void) WARN_UNUSED;
/* Starts handover->program_fd as `worker` with the descriptors of `handover` (whose calls_fd and
 * control_fd are ignored) and sends it the blob of config_pack() and the text of tickets_format(). It
 * answers RPC_CONTROL_DONE on control_fd when it serves. -1 with `error` set. */
int worker_start(const struct server_handover *handover, struct span blob, const char *tickets,
		 struct worker *ret, struct error *error) WARN_UNUSED;
/* An anonymous file with a copy of the bytes, sealed; the caller's. -errno on failure. */
int worker_memfd(struct span blob) WARN_UNUSED;
/* Sends another configuration; the answer comes on control_fd. */
int worker_send_config(const struct worker *worker, struct span blob) WARN_UNUSED;
/* The same, by worker_memfd() of it, which stays the caller's: one is enough for all workers. */
int worker_send_memfd(const struct worker *worker, int fd) WARN_UNUSED;
/* What the next configuration may begin with: a memfd of config_pack_sources()'s blob, which stays the
 * caller's; -1: it does not. Nothing answers. 0 or -errno. */
int worker_send_ahead(const struct worker *worker, int fd) WARN_UNUSED;
/* Asks it to finish what is under way and end; go on serving its calls meanwhile. 0 or -errno. */
int worker_ask_to_end(const struct worker *worker) WARN_UNUSED;
/* Is it there? It answers RPC_CONTROL_PONG on control_fd. 0 or -errno. */
int worker_ping(const struct worker *worker) WARN_UNUSED;
/* From now on it writes its log to (a copy of) `fd`. 0 or -errno. */
int worker_send_log(const struct worker *worker, int fd) WARN_UNUSED;
/* Kills it, reaps it, closes the descriptors. Returns how it ended, as wait(2) has it; 0 when there
 * was none. */
int worker_stop(struct worker *worker);

/* The handover as the worker's argv, and back; `argv` points into `text`. */
#define WORKER_ARGS_SIZE 4096
#define WORKER_MAX_ARGS 72
int worker_args(const struct server_handover *handover, char text[WORKER_ARGS_SIZE],
		char *argv[WORKER_MAX_ARGS]) WARN_UNUSED;
int worker_parse_args(int argc, char **argv, struct server_handover *ret) WARN_UNUSED;

#endif
