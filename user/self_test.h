/* SPDX-License-Identifier: BSD-2-Clause */
/* Does the wall hold? A process of ours in the bottle tries to get out. */
#ifndef SELF_TEST_H
#define SELF_TEST_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "attributes.h"
#include "diag.h"
#include "kernel.h"
#include "policy.h"

enum self_test_state {
	SELF_TEST_STOPPED, /* as it should be; for a service: it answered */
	SELF_TEST_ABSENT,  /* this kernel does not have it */
	SELF_TEST_THROUGH, /* not stopped by the wall */
};

/* ---- the short form, in a bottle that is about to be served --------------------------------- */

struct self_test_options {
	const char *cgroup_path;
	int netns_fd;		     /* -1: the one we are in */
	const struct policy *policy; /* the attempts aim at what it does not allow */
	const struct cidr *pool;
	const char *dns_name; /* that the responder must answer; NULL: none */
};

struct self_test;
struct event_base;
/* Starts the process. The ports are the kernel's. */
int self_test_start(struct kernel *kernel, const struct self_test_options *options,
		    struct self_test **ret, struct error *error) WARN_UNUSED;
/* True for a denial that the self-test brought about: not to be logged. In order of their coming. */
bool self_test_owns(struct self_test *test, const struct egress_denial *denial);
/* Runs the loop, which answers the worker meanwhile, until the process ends. All its denials are
 * in the ring buffer then. */
void self_test_run(struct self_test *test, struct event_base *base);
/* When they have been read: takes what is self_test_owns()'s out of the kernel's counters again.
 * What was not stopped is added to `failures`; -1 when the test could not be made. */
int self_test_finish(struct self_test *test, struct diag_list *failures, struct error *error)
	WARN_UNUSED;
void self_test_free(struct self_test *test); /* also of one that was not finished */

/* ---- the long form, in a scratch bottle with a wire ------------------------------------------ */

struct self_test_item {
	const char *name, *what;
	enum self_test_state state;
	char detail[160];
};
struct self_test_report {
	struct self_test_item items[40];
	size_t count, failed;
	unsigned control_packets; /* seen outside with no wall: the attempts are real */
	unsigned leaked_packets;  /* seen outside with the wall */
	double seconds;
};
/* A cgroup and namespaces of its own, and a wall under a scratch name; all gone at the end, as is
 * what an earlier one that was killed left. `with_wall`, for tests, is called when the wall is up,
 * with its name. -1 with `error` set when the place cannot be made. */
int self_test_scratch(void (*with_wall)(void *context, const char *name), void *context,
		      struct self_test_report *ret, struct error *error) WARN_UNUSED;

#endif
