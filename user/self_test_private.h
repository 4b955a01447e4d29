/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the self-test share, and nobody else. */
#ifndef SELF_TEST_PRIVATE_H
#define SELF_TEST_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "address.h"
#include "diag.h"
#include "self_test.h"

/* Where an attempt is made, and what it aims at: addresses of RFC 5737 and 3849 alone, with a hop
 * limit of 1, so that nobody hears of it even where there is no wall. */
struct attempt_place {
	struct egress_address v4, v6; /* no route allows them at `port`, nor at 443 */
	struct egress_address loopback;
	uint16_t port, proxy_port;
	char dns_name[EGRESS_NAME_SIZE]; /* must be answered */
	const char *wire;		 /* an interface that leads outside; NULL: there is none */
	struct egress_address address;	 /* ours on the wire */
	int outside_fd;			 /* a datagram socket at the wire's other end; -1 */
	unsigned patience;		 /* how often to ask the responder; at least once */
	unsigned queries, loopbacks;	 /* datagrams sent so far: the wall counts them */
};

struct attempt {
	const char *name, *what;
	int (*try)(struct attempt_place *place); /* 0: it worked; or -errno */
	bool brief;   /* of the short form */
	bool service; /* must work; the others must be refused */
};
#define ATTEMPT_MAX 32
extern const struct attempt attempts[];
extern const size_t attempt_count;

enum self_test_state attempt_judge(const struct attempt *attempt, int result);
/* "TCP to an IPv4 address: NOT stopped (Network is unreachable)" */
void attempt_describe(const struct attempt *attempt, int result, char *text, size_t size);

enum attempt_set {
	ATTEMPT_BRIEF,
	ATTEMPT_ALL,
	ATTEMPT_CONTROL, /* all that must be refused: where nothing refuses them */
};

/* ---- self_test_child.c: the process that makes them ---------------------------------------- */

struct attempt_child {
	pid_t pid;
	int fd;			 /* results; readable at the end */
	int results[ATTEMPT_MAX]; /* of those in `done` */
	bool done[ATTEMPT_MAX];
	unsigned queries, loopbacks;
	bool ended;	 /* said so itself */
	int setup_error; /* it could not enter */
	char *own_cgroup; /* where it may have had to make a cgroup for itself */
};
/* Starts a process that enters cgroup and namespace (-1: none) and makes the attempts. */
int attempt_child_start(const char *cgroup_path, int netns_fd, const struct attempt_place *place,
			enum attempt_set set, struct attempt_child *ret, struct error *error)
	WARN_UNUSED;
/* Takes in what it has said. True at the end of file. */
bool attempt_child_read(struct attempt_child *child);
/* Ends it, reaps it, tidies up. -1 with `error` set when it did not come to its end. */
int attempt_child_finish(struct attempt_child *child, struct error *error) WARN_UNUSED;

/* ---- self_test_wire.c ---------------------------------------------------------------------- */

#define WIRE_INSIDE "egress0"
/* In this thread's network namespace: makes a veth pair whose other end is in `outside_fd`'s, puts
 * the address on it and routes everything to it. */
int wire_make(int outside_fd, struct error *error) WARN_UNUSED;
/* In the other namespace: brings the end up, and returns a packet socket on it, or -1. */
int wire_sniff(struct error *error) WARN_UNUSED;
/* Carriers come up in their own time: sends both ways until both arrive. `inside_fd` is bound to
 * WIRE_ADDRESS and WIRE_PROBE_PORT. */
int wire_settle(int inside_fd, int outside_fd, int sniffer_fd, struct error *error) WARN_UNUSED;
/* How many IP packets have come over it since the last call. */
unsigned wire_count(int sniffer_fd);
int link_up(const char *name, bool no_arp) WARN_UNUSED; /* -errno */

#define WIRE_ADDRESS "192.0.2.2"
#define WIRE_ADDRESS6 "2001:db8::2"
#define WIRE_PEER "192.0.2.1"
#define WIRE_PROBE_PORT 7

#endif
