// SPDX-License-Identifier: BSD-2-Clause
/* The table of commands; each has a file of its own and parses its own options. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "version.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary; /* NULL: internal */
} commands[] = {
	{"exec", cmd_exec, "run a command in a sandbox of its own"},
	{"run", cmd_run, "put the wall round a cgroup and serve it"},
	{"status", cmd_status, "show walls and counters, also of a dead sidecar"},
	{"events", cmd_events, "show what is decided, as it happens"},
	{"pending", cmd_pending, "list what was refused and waits for a decision"},
	{"allow", cmd_allow, "let pass what was refused, for a time or for good"},
	{"deny", cmd_deny, "silence what was refused, or end what was allowed"},
	{"ui", cmd_ui, "serve a page: verdicts, policy, approving"},
	{"metrics", cmd_metrics, "print or serve what is counted, for Prometheus"},
	{"check", cmd_check, "validate policy files"},
	{"why", cmd_why, "say what a policy answers to one request"},
	{"diff", cmd_diff, "say which requests two policies answer otherwise"},
	{"test", cmd_test, "compare a policy's verdicts with expectations"},
	{"prepare", cmd_prepare, "make a bottle's plan out of a manifest"},
	{"provision-ca", cmd_provision_ca, "put a CA into a bottle's trust, from outside"},
	{"ca", cmd_ca, "make a certificate authority for a bottle"},
	{"detach", cmd_detach, "take a wall down"},
	{"doctor", cmd_doctor, "say what this machine has, and whether a wall on it holds"},
	{"start", cmd_start, "start a bottle's sidecar on Docker, by its plan"},
	{"stop", cmd_stop, "end it, and remove all that is left of it"},
	{"pause", cmd_pause, "hold a bottle's network namespace (in a container)"},
	{"hook", cmd_hook, "put the wall up before a container's program starts (OCI hook)"},
	{"node", cmd_node, "wall the labelled pods of a Kubernetes node"},
	{"worker", cmd_worker, NULL},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *to)
{
	fputs("egress-bpf: an egress firewall for code that nobody should have to trust\n\n"
	      "usage: egress-bpf COMMAND [OPTIONS]\n\n",
	      to);
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (commands[i].summary)
			fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
	}
	fputs("\n'egress-bpf COMMAND --help' tells more; 'egress-bpf --version' the version.\n", to);
}

static sigset_t callers_mask;

/* All that we end, reload and wait by: a mask that our caller forgot outlives execve(2). */
static void let_signals_through(void)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, &callers_mask);
}

const sigset_t *cmd_callers_mask(void)
{
	return &callers_mask;
}

/* Not by the limit alone: where cores are piped to a program it is not looked at (core(5)). */
void cmd_guard_memory(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}

int cmd_usage(const char *command, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	diag_error("%s: %s; try 'egress-bpf %s --help'", command, text, command);
	return EXIT_USAGE;
}

/* The name is not taken apart or completed: a typing error must not become another command. */
static int dispatch(int argc, char **argv)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	diag_error("no command '%s'; try 'egress-bpf --help'", argv[1]);
	return EXIT_USAGE;
}

/* What was closed by who started us would be the number of the next file or socket of ours: a message
 * would go there, and a child's standard output. */
static bool open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || open("/dev/null", O_RDWR) == fd)
			continue;
		diag_error("descriptor %d is closed, and /dev/null cannot take its place: %s", fd,
			   strerror(errno));
		return false;
	}
	return true;
}

/* Half of a policy, or of a list, is no success. That a reader had enough is none of our business. */
static int finish_output(int status)
{
	struct pollfd output = {.fd = STDOUT_FILENO};

	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR))
		return status;
	diag_error("cannot write all of it to standard output");
	return status == EXIT_OK ? EXIT_FAILED : status;
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		help(stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		version_print();
		return EXIT_OK;
	}
	return dispatch(argc, argv);
}

int main(int argc, char **argv)
{
	/* A peer that went away is an error of one write, not of the process. */
	signal(SIGPIPE, SIG_IGN);
	/* Ignored by our caller, children would be gone with their status before we wait for them
	 * (waitpid(2)), and exec's init would never hear that its command has ended. */
	signal(SIGCHLD, SIG_DFL);
	let_signals_through();
	if (!open_standard())
		return EXIT_FAILED;
	return finish_output(run(argc, argv));
}
