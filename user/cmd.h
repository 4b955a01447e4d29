/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands: one file each, cmd_NAME.c. argv[0] is the subcommand's name. Each returns the
 * exit status: 0 ok, 1 failed, 2 usage or policy error, 125 no sandbox (exec). */
#ifndef CMD_H
#define CMD_H

#include <getopt.h> /* optind */
#include <signal.h>
#include <stdbool.h>

#include "attributes.h"
#include "exit_status.h"

int cmd_exec(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_pending(int argc, char **argv);
int cmd_allow(int argc, char **argv);
int cmd_deny(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_ui(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_ca(int argc, char **argv);
int cmd_prepare(int argc, char **argv);
int cmd_provision_ca(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_start(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_hook(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_worker(int argc, char **argv); /* internal: the supervisor starts it */

/* "egress-bpf COMMAND: MESSAGE" and "try 'egress-bpf COMMAND --help'"; returns EXIT_USAGE. */
int cmd_usage(const char *command, const char *format, ...) PRINTF(2, 3);
/* An option of a command: a flag, a text that is borrowed from argv, seconds up to an hour, or what `take`
 * makes of a text. */
struct cmd_option {
	const char *name;
	char letter; /* its short form; 0: none */
	bool *flag;
	const char **text;
	unsigned *seconds;
	/* EXIT_OK, or what is wrong has been said and this is the exit status. */
	int (*take)(void *context, const char *text);
	void *context;
};
/* Fills what the options point at, in the order of argv; `list` ends with an empty one and has 32 at most.
 * "--help" and "-h" print `help`. -1 to go on with argv[optind], else the exit status. */
int cmd_options(const char *command, const char *help, const struct cmd_option *list, int argc,
		char **argv) WARN_UNUSED;
/* The same, up to the first word that is no option: it begins a command with options of its own. */
int cmd_options_ahead(const char *command, const char *help, const struct cmd_option *list, int argc,
		      char **argv) WARN_UNUSED;
/* For commands that hold a key or tokens: no core file, no debugger of another user. Before they do. */
void cmd_guard_memory(void);
/* The signals that whoever started us had blocked: here none is, and a command of the user's is to have them
 * blocked again. */
const sigset_t *cmd_callers_mask(void);

#endif
