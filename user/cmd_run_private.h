/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `run` share; nobody else includes this. */
#ifndef CMD_RUN_PRIVATE_H
#define CMD_RUN_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attributes.h"
#include "cmd_run_follow.h"
#include "egress_abi.h"
#include "record.h"
#include "supervisor.h"

#define STATE_DIRECTORY "/var/lib/egress-bpf"

struct run {
	struct supervisor_options supervisor;
	struct record_options outputs;
	struct record *record;
	const char *cgroup, *netns, *ready_file, *metrics, *pod, *kubepods[2];
	char *cgroup_path, *ca_directory;
	char name[65];
	pid_t pid;
	bool no_kernel, until_exit;
	struct run_follow follow;
	uint16_t published[EGRESS_MAX_PUBLISHED];
	size_t published_count;
};

/* -1: go on; else the exit status, EXIT_OK after --help, and what was wrong has been said. Texts are
 * borrowed from argv. */
int run_parse_options(struct run *run, int argc, char **argv) WARN_UNUSED;

#endif
