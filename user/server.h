/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker process: one event loop that speaks to the network. */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attributes.h"
#include "host_port.h"

#define SERVER_MAX_SOCKETS HOST_PORT_MAX

/* What the supervisor hands over by inherited descriptors; encoded in the worker's argv by
 * supervisor.c. -1 for what there is not. */
struct server_handover {
	int program_fd;		  /* only to start it; the worker closes it */
	int calls_fd, control_fd; /* rpc.h */
	int flows_fd, log_fd;
	int record_fd; /* every line of the log goes there, too */
	int feed_fd;   /* feed_memory() */
	int shares_fd, shares_reading_fd; /* shares_memory() */
	unsigned slot; /* which of the bottle's workers, from 0 */
	int ca_fd; /* a memfd with the CA certificate's DER */
	int verdicts_fd, host_verdicts_fd; /* maps to count in: kernel_verdicts_fd() */
	int proxy_fds[SERVER_MAX_SOCKETS];
	int host_fds[SERVER_MAX_SOCKETS]; /* for host_ports, in its order */
	struct host_port host_ports[SERVER_MAX_SOCKETS]; /* up to the first with port 0 */
	int dns_udp_fds[SERVER_MAX_SOCKETS], dns_tcp_fds[SERVER_MAX_SOCKETS];
	char bottle[65];
	uid_t uid;
	gid_t gid;
	bool log_query;
	bool any_call; /* no seccomp filter: for debuggers */
};

/* Drops privileges, takes its configuration from control_fd, says RPC_CONTROL_DONE, serves until
 * RPC_CONTROL_STOP or until the supervisor is gone. Returns the exit status. */
int server_run(const struct server_handover *handover);

#endif
