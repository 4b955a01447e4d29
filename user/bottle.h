/* SPDX-License-Identifier: BSD-2-Clause */
/* exec's bottle, seen from outside: a small init in namespaces and a cgroup of its own, which
 * waits until the walls are up, prepares the inside and runs the command. */
#ifndef BOTTLE_H
#define BOTTLE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "attributes.h"
#include "bottle_user.h"
#include "diag.h"

#define BOTTLE_RUN_DIRECTORY "/run/egress-bpf"
/* In a bottle's directory there: the file that lies over each unix socket of the host's. */
#define BOTTLE_CLOSED_SOCKET "closed"

/* Exit statuses that are not the command's; those of env(1), nohup(1) and docker-run(1). */
enum { BOTTLE_NO_SANDBOX = 125, BOTTLE_CANNOT_RUN = 126, BOTTLE_NOT_FOUND = 127 };

struct bottle_options {
	const char *name;	 /* of the private directory BOTTLE_RUN_DIRECTORY/NAME */
	const char *cgroup_path; /* exists */
	const struct bottle_user *user;
	char *const *argv; /* NULL-terminated */
	const char *const *sockets; /* the host's unix sockets to let in */
	size_t socket_count;
	const sigset_t *signals; /* that are blocked in the command */
};

/* What is known only after the policy was read. Borrowed. */
struct bottle_plan {
	const char *ca_pem;
	const char *proxy_name;
	const char *const *secrets; /* variables to replace */
	size_t secret_count;
	const char *const *hidden; /* files and directories nobody inside may read */
	size_t hidden_count;
};

struct bottle;
/* Starts the init and returns when its network namespace has a loopback interface. It dies with
 * this process, whatever kills it. `options` is copied with the process. */
int bottle_start(const struct bottle_options *options, struct bottle **ret, struct error *error)
	WARN_UNUSED;
/* Of the init, in our pid namespace; 0 when it was waited for. */
pid_t bottle_pid(const struct bottle *bottle);
int bottle_pidfd(const struct bottle *bottle); /* borrowed; readable when the init has ended */
/* Lets it prepare the inside, beside us: the walls may come up meanwhile. Nothing of the command
 * runs. Once, before bottle_release(). The plan holds no secret; -1 when the init is gone. */
int bottle_prepare(struct bottle *bottle, const struct bottle_plan *plan, struct error *error)
	WARN_UNUSED;
/* The walls are up: the command runs as soon as the inside is prepared. `brokered`: they leave it to the
 * broker to bind and connect unix sockets. -1 when the init is gone, with its report as the error. */
int bottle_release(struct bottle *bottle, bool brokered, struct error *error) WARN_UNUSED;
int bottle_report_fd(const struct bottle *bottle); /* borrowed; readable when there is a report */
/* Reads the report to its end. 0: the command runs. Else the exit status to end with: 125 (the
 * sandbox could not be prepared), 126, 127, and `error` says why. */
int bottle_read_report(struct bottle *bottle, struct error *error) WARN_UNUSED;
/* Borrowed; readable when the broker for unix sockets has ended. bottle_broker_failed() then tells
 * whether it was needed: no unix socket can be bound or connected inside any more, and no other either. */
int bottle_broker_pidfd(const struct bottle *bottle);
bool bottle_broker_failed(struct bottle *bottle);
void bottle_signal(const struct bottle *bottle, int signal); /* passed on to the command */
/* Waits for the init to end, and returns the command's exit status, 128+N for signal N. */
int bottle_wait(struct bottle *bottle);
void bottle_free(struct bottle *bottle); /* kills what still runs */

#endif
