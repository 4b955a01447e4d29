// SPDX-License-Identifier: BSD-2-Clause
/* Process 1 of the bottle: prepares, runs the command, reaps, passes signals on. */
#include <errno.h>
#include <linux/close_range.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bottle_launch.h"

/* In this order: each step relies on those before it, and privileges go last. */
static int (*const steps[])(struct launch *, struct error *) = {
	launch_private_mounts,
	launch_find_sockets,
	launch_proc,
	launch_sys,
	launch_directory,
	launch_hide_filesystems,
	launch_hide_devices,
	launch_names,
	launch_trust,
	launch_hide_sockets,
	launch_hide_secrets,
	launch_seal,
	launch_working_directory,
	launch_environment,
	launch_user,
};

/* One octet of status, then a text; end of file without it means that the command runs. */
static NORETURN void give_up(int report, int status, const char *text)
{
	unsigned char octet = (unsigned char)status;
	ssize_t written = write(report, &octet, 1);

	if (written == 1)
		written = write(report, text, strlen(text));
	_exit(written < 0 ? BOTTLE_NO_SANDBOX : status);
}

static bool close_between(int first, int last)
{
	return first > last || close_range((unsigned)first, (unsigned)last, 0) == 0;
}

/* Nothing from outside stays open but the three standard descriptors and our pipes. close_range(2)
 * between the four that stay; they come in any order. */
static bool close_others(const struct launch_pipes *pipes)
{
	int keep[4] = {pipes->plan, pipes->report, pipes->life, pipes->broker[0]};
	int next = 3;

	for (int i = 0; i < 4; i++) {
		for (int j = i + 1; j < 4; j++) {
			if (keep[j] < keep[i]) {
				int swap = keep[i];

				keep[i] = keep[j];
				keep[j] = swap;
			}
		}
		if (!close_between(next, keep[i] - 1))
			return false;
		next = keep[i] + 1;
	}
	return close_range((unsigned)next, ~0U, 0) == 0;
}

/* While we still have CAP_NET_ADMIN in the new namespace. */
static int loopback_up(struct error *error)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);

	if (rc < 0)
		error_set(error, "cannot bring the loopback interface up: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

/* A namespace whose root is the bottle's own cgroup; clone3(2) would have taken the parent's. */
static int own_cgroup_namespace(struct error *error)
{
	if (unshare(CLONE_NEWCGROUP) < 0)
		return error_set(error, "cannot make a cgroup namespace: %s", strerror(errno));
	return 0;
}

/* The working directory is asked for before anything is mounted over it. A supervisor that gave up
 * needs no report. The steps run while the walls come up outside, which is safe as they are ours
 * and only the command is not: see await_walls(). */
static void prepare(const struct bottle_options *options, const struct launch_pipes *pipes)
{
	struct launch launch = {.options = options};
	struct error error = {0};

	launch.working_path = getcwd(NULL, 0);
	if (loopback_up(&error) < 0 || own_cgroup_namespace(&error) < 0)
		give_up(pipes->report, BOTTLE_NO_SANDBOX, error.text);
	if (write(pipes->report, "", 1) != 1 ||
	    bottle_plan_read(pipes->plan, &launch.plan, &error) < 0)
		_exit(BOTTLE_NO_SANDBOX);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i](&launch, &error) < 0)
			give_up(pipes->report, BOTTLE_NO_SANDBOX, error.text);
	}
}

/* Ends the process when the supervisor did, or gave up. Which filter it is to be depends on the walls
 * that this kernel has; without the broker's end of the socket the broker ends. */
static void await_walls(const struct launch_pipes *pipes)
{
	struct error error = {0};
	char go;
	ssize_t got;

	do {
		got = read(pipes->plan, &go, 1);
	} while (got < 0 && errno == EINTR);
	if (got != 1)
		_exit(BOTTLE_NO_SANDBOX);
	if (launch_seccomp(go == LAUNCH_BROKERED ? pipes->broker[0] : -1, &error) < 0)
		give_up(pipes->report, BOTTLE_NO_SANDBOX, error.text);
	close(pipes->broker[0]);
}

/* The signal mask and the umask are the caller's again: ours would be inherited. */
static NORETURN void run_command(const struct bottle_options *options, mode_t mask, int report)
{
	char *const *argv = options->argv;
	char text[512];

	/* Ignored by our main(), and inherited through execve(2). */
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, options->signals, NULL);
	umask(mask);
	if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		give_up(report, BOTTLE_NO_SANDBOX, "cannot close what was inherited");
	execvp(argv[0], argv);
	snprintf(text, sizeof(text), "cannot run '%s': %s", argv[0], strerror(errno));
	give_up(report, errno == ENOENT ? BOTTLE_NOT_FOUND : BOTTLE_CANNOT_RUN, text);
}

static int status_of(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Reaps whatever ended; the exit status once the command did, else -1. */
static int reap(pid_t command)
{
	int status, result = -1;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == command)
			result = status_of(status);
	}
	return result;
}

/* What the terminal sends reaches its whole process group, the command included. Only what the
 * supervisor sends, from outside this pid namespace, is passed on. */
static void pass_on(pid_t command, const struct signalfd_siginfo *info)
{
	if (info->ssi_code == SI_USER && info->ssi_pid == 0)
		kill(command, (int)info->ssi_signo);
}

/* `life` can only become readable by its end: then the supervisor is dead, and so are we, with all
 * of the namespace. */
static NORETURN void tend(pid_t command, int signals, int life)
{
	struct pollfd polled[] = {{.fd = signals, .events = POLLIN}, {.fd = life, .events = POLLIN}};
	struct signalfd_siginfo info;

	for (;;) {
		if (poll(polled, 2, -1) < 0 && errno != EINTR)
			_exit(BOTTLE_NO_SANDBOX);
		if (polled[1].revents)
			_exit(BOTTLE_NO_SANDBOX);
		if (!(polled[0].revents & POLLIN) || read(signals, &info, sizeof(info)) <= 0)
			continue;
		if (info.ssi_signo == SIGCHLD) {
			int status = reap(command);

			/* The rest of the namespace ends with us. */
			if (status >= 0)
				_exit(status);
		} else {
			pass_on(command, &info);
		}
	}
}

void bottle_init(const struct bottle_options *options, const struct launch_pipes *pipes)
{
	static const int passed[] = {SIGTERM, SIGINT,  SIGHUP,	 SIGQUIT,
				     SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD};
	sigset_t mask;
	mode_t before;
	pid_t command;
	int signals;

	prctl(PR_SET_NAME, "egress-init", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* From the start: what arrives while we prepare waits for the command. */
	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		sigaddset(&mask, passed[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	/* The directories that we make are for the command's user, too. */
	before = umask(022);
	if (!close_others(pipes))
		give_up(pipes->report, BOTTLE_NO_SANDBOX, "cannot close what was inherited");
	prepare(options, pipes);
	await_walls(pipes);
	signals = signalfd(-1, &mask, SFD_CLOEXEC);
	command = signals < 0 ? -1 : fork();
	if (command == 0)
		run_command(options, before, pipes->report);
	if (command < 0)
		give_up(pipes->report, BOTTLE_NO_SANDBOX, "cannot start a process in the sandbox");
	close(pipes->report);
	tend(command, signals, pipes->life);
}
