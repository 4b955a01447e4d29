/* SPDX-License-Identifier: BSD-2-Clause */
/* The record of one run for people and programs: docs/report.schema.json, and Markdown. */
#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>
#include <time.h>

#include "journal.h"
#include "kernel.h"

struct report {
	const char *bottle;
	const char *command; /* its name alone: secrets may be among its arguments; NULL: none */
	int exit_status;
	time_t started, ended;
	bool audit;			    /* nothing was refused by name, path or method */
	size_t socket_count;		    /* unix sockets of the host that were let in */
	size_t host_port_count;		    /* ports of the host's loopback that were let in */
	const struct journal *journal;	    /* sorted */
	const struct kernel_status *status; /* at the end; NULL: there is no wall, or it is unknown */
};

/* False when writing failed. */
bool report_write_json(FILE *to, const struct report *report) WARN_UNUSED;
bool report_write_summary(FILE *to, const struct report *report) WARN_UNUSED;
/* What the kernel's counters prove about what left the bottle, in sentences, or why they prove
 * nothing. True when nothing can have left but through the proxy. */
bool report_proof(const struct report *report, char *ret_text, size_t size);

#endif
