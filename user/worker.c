// SPDX-License-Identifier: BSD-2-Clause
/* Starts worker processes by fork and exec of our own program. Exec is the point: of the
 * supervisor's memory, CA key and environment nothing reaches the process that speaks to the
 * network, only the descriptors that are named here. */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"
#include "rpc.h"

/* ---- argv ----------------------------------------------------------------------------------- */

/* One table for both directions, so that they cannot disagree. */
static const struct fd_option {
	const char *name;
	size_t offset; /* of an int, or of SERVER_MAX_SOCKETS of them */
	size_t count;
} fd_options[] = {
	{"program", offsetof(struct server_handover, program_fd), 1},
	{"calls", offsetof(struct server_handover, calls_fd), 1},
	{"control", offsetof(struct server_handover, control_fd), 1},
	{"flows", offsetof(struct server_handover, flows_fd), 1},
	{"verdicts", offsetof(struct server_handover, verdicts_fd), 1},
	{"host-verdicts", offsetof(struct server_handover, host_verdicts_fd), 1},
	{"ca", offsetof(struct server_handover, ca_fd), 1},
	{"log", offsetof(struct server_handover, log_fd), 1},
	{"record", offsetof(struct server_handover, record_fd), 1},
	{"feed", offsetof(struct server_handover, feed_fd), 1},
	{"shares", offsetof(struct server_handover, shares_fd), 1},
	{"shares-reading", offsetof(struct server_handover, shares_reading_fd), 1},
	{"proxy", offsetof(struct server_handover, proxy_fds), SERVER_MAX_SOCKETS},
	{"host", offsetof(struct server_handover, host_fds), SERVER_MAX_SOCKETS},
	{"dns-udp", offsetof(struct server_handover, dns_udp_fds), SERVER_MAX_SOCKETS},
	{"dns-tcp", offsetof(struct server_handover, dns_tcp_fds), SERVER_MAX_SOCKETS},
};

#define FD_OPTION_COUNT (sizeof(fd_options) / sizeof(fd_options[0]))
enum { OPTION_BOTTLE = 100, OPTION_UID, OPTION_GID, OPTION_LOG_QUERY, OPTION_ANY_CALL,
       OPTION_HOST_PORT, OPTION_SLOT };

static const int *fds_of(const struct server_handover *handover, const struct fd_option *option)
{
	return (const int *)((const char *)handover + option->offset);
}

/* Appends one argument to the text and the vector. The text is large enough: WORKER_MAX_ARGS
 * arguments of a few bytes each and the name. */
static void add_arg(struct bytes *text, char **argv, int *argc, const char *name, const char *value)
{
	argv[(*argc)++] = text->data + text->length;
	text->length += (size_t)snprintf(text->data + text->length, text->capacity - text->length,
					 "--%s=%s", name, value) + 1;
}

/* In argv and not in the environment, which stays empty; there is no secret among them. */
int worker_args(const struct server_handover *handover, char text[WORKER_ARGS_SIZE],
		char *argv[WORKER_MAX_ARGS])
{
	struct bytes out = {.data = text, .capacity = WORKER_ARGS_SIZE};
	static char program[] = "egress-bpf", command[] = "worker";
	char number[HOST_PORT_TEXT_SIZE];
	int argc = 0;

	argv[argc++] = program;
	argv[argc++] = command;
	for (size_t i = 0; i < FD_OPTION_COUNT; i++) {
		const int *fds = fds_of(handover, &fd_options[i]);

		for (size_t k = 0; k < fd_options[i].count && fds[k] >= 0; k++) {
			if (argc >= WORKER_MAX_ARGS - 8 - SERVER_MAX_SOCKETS)
				return -1;
			snprintf(number, sizeof(number), "%d", fds[k]);
			add_arg(&out, argv, &argc, fd_options[i].name, number);
		}
	}
	for (size_t i = 0; i < SERVER_MAX_SOCKETS && handover->host_ports[i].inside; i++) {
		host_port_format(&handover->host_ports[i], number);
		add_arg(&out, argv, &argc, "host-port", number);
	}
	add_arg(&out, argv, &argc, "bottle", handover->bottle);
	snprintf(number, sizeof(number), "%u", handover->uid);
	add_arg(&out, argv, &argc, "uid", number);
	snprintf(number, sizeof(number), "%u", handover->gid);
	add_arg(&out, argv, &argc, "gid", number);
	snprintf(number, sizeof(number), "%u", handover->slot);
	add_arg(&out, argv, &argc, "slot", number);
	if (handover->log_query)
		add_arg(&out, argv, &argc, "log-query", "1");
	if (handover->any_call)
		add_arg(&out, argv, &argc, "any-call", "1");
	argv[argc] = NULL;
	return argc;
}

/* The next free place of the option. */
static int add_fd(struct server_handover *handover, const struct fd_option *option, int fd)
{
	int *fds = (int *)((char *)handover + option->offset);

	for (size_t i = 0; i < option->count; i++) {
		if (fds[i] < 0) {
			fds[i] = fd;
			return 0;
		}
	}
	return -1;
}

static int add_host_port(struct server_handover *handover, const char *text)
{
	for (size_t i = 0; i < SERVER_MAX_SOCKETS; i++) {
		if (handover->host_ports[i].inside == 0)
			return host_port_parse(text, &handover->host_ports[i], NULL);
	}
	return -1;
}

/* The caller is our own supervisor, so numbers are not checked; a worker that anybody starts by
 * hand has no more than its own rights. */
int worker_parse_args(int argc, char **argv, struct server_handover *ret)
{
	struct option options[FD_OPTION_COUNT + 8] = {
		[FD_OPTION_COUNT] = {"bottle", required_argument, NULL, OPTION_BOTTLE},
		[FD_OPTION_COUNT + 1] = {"uid", required_argument, NULL, OPTION_UID},
		[FD_OPTION_COUNT + 2] = {"gid", required_argument, NULL, OPTION_GID},
		[FD_OPTION_COUNT + 3] = {"log-query", required_argument, NULL, OPTION_LOG_QUERY},
		[FD_OPTION_COUNT + 5] = {"any-call", required_argument, NULL, OPTION_ANY_CALL},
		[FD_OPTION_COUNT + 6] = {"slot", required_argument, NULL, OPTION_SLOT},
		[FD_OPTION_COUNT + 4] = {"host-port", required_argument, NULL, OPTION_HOST_PORT},
	};
	struct server_handover handover = {0};
	int option, result = 0;

	for (size_t i = 0; i < FD_OPTION_COUNT; i++) {
		options[i] = (struct option){fd_options[i].name, required_argument, NULL, (int)i};
		memset((char *)&handover + fd_options[i].offset, 0xff,
		       fd_options[i].count * sizeof(int));
	}
	while (result == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option < (int)FD_OPTION_COUNT)
			result = add_fd(&handover, &fd_options[option], atoi(optarg));
		else if (option == OPTION_BOTTLE)
			snprintf(handover.bottle, sizeof(handover.bottle), "%s", optarg);
		else if (option == OPTION_UID)
			handover.uid = (uid_t)strtoul(optarg, NULL, 10);
		else if (option == OPTION_GID)
			handover.gid = (gid_t)strtoul(optarg, NULL, 10);
		else if (option == OPTION_SLOT)
			handover.slot = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == OPTION_HOST_PORT)
			result = add_host_port(&handover, optarg);
		else if (option == OPTION_LOG_QUERY)
			handover.log_query = true;
		else if (option == OPTION_ANY_CALL)
			handover.any_call = true;
		else
			result = -1;
	}
	if (result == 0)
		*ret = handover;
	return result;
}

/* ---- the process ---------------------------------------------------------------------------- */

/* What our caller left open is not the worker's, and neither is a terminal's input. */
static void keep_open(const struct server_handover *handover)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0 || dup2(null, 0) < 0 ||
	    (handover->log_fd != STDOUT_FILENO && dup2(null, STDOUT_FILENO) < 0))
		_exit(127);
	for (size_t i = 0; i < FD_OPTION_COUNT; i++) {
		const int *fds = fds_of(handover, &fd_options[i]);

		for (size_t k = 0; k < fd_options[i].count && fds[k] >= 0; k++)
			(void)fcntl(fds[k], F_SETFD, 0);
	}
}

/* In the child. A fresh image of our program: nothing of the supervisor's memory, the CA key
 * least of all, goes along. Its environment is empty: secrets may be in ours. */
static NORETURN void become_worker(const struct server_handover *handover)
{
	static char *no_environment[] = {NULL};
	char text[WORKER_ARGS_SIZE], *argv[WORKER_MAX_ARGS], path[32];
	sigset_t none;

	/* Off the terminal: Ctrl-C is for the supervisor or its command, and a worker that was taken
	 * over must not type into it (TIOCSTI). */
	setsid();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", handover->program_fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	keep_open(handover);
	if (worker_args(handover, text, argv) > 0)
		execve(path, argv, no_environment);
	_exit(127);
}

/* By its path where that still leads to it, so that debuggers that stand between follow. */
int worker_open_program(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int fd = -1;

	if (length > 0) {
		path[length] = '\0';
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Anonymous memory and no file: secrets never reach a disk. */
int worker_memfd(struct span blob)
{
	int fd = memfd_create("egress-bpf-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t written = 0;

	if (fd < 0)
		return -errno;
	while (written < blob.length) {
		ssize_t n = write(fd, blob.data + written, blob.length - written);

		if (n < 0) {
			n = -errno;
			close(fd);
			return (int)n;
		}
		written += (size_t)n;
	}
	/* One worker must not change what the next one reads. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
		int saved = errno;

		close(fd);
		return -saved;
	}
	return fd;
}

/* The text may be keys to tickets: no copy of them stays. */
static int send_message(const struct worker *worker, enum rpc_control_type type, const char *text, int fd)
{
	struct rpc_control message = {.type = type};
	int result;

	snprintf(message.text, sizeof(message.text), "%s", text);
	result = rpc_control_send(worker->control_fd, &message, fd);
	explicit_bzero(&message, sizeof(message));
	return result;
}

static int send_config(const struct worker *worker, struct span blob, const char *text)
{
	int fd = worker_memfd(blob), result;

	if (fd < 0)
		return fd;
	result = send_message(worker, RPC_CONTROL_CONFIG, text, fd);
	close(fd);
	return result;
}

int worker_send_config(const struct worker *worker, struct span blob)
{
	return send_config(worker, blob, "");
}

int worker_send_memfd(const struct worker *worker, int fd)
{
	return send_message(worker, RPC_CONTROL_CONFIG, "", fd);
}

int worker_send_ahead(const struct worker *worker, int fd)
{
	return send_message(worker, RPC_CONTROL_AHEAD, "", fd);
}

/* Nothing is allocated between fork and exec: a background thread may hold malloc's lock. */
int worker_start(const struct server_handover *handover, struct span blob, const char *tickets,
		 struct worker *ret, struct error *error)
{
	int calls[2] = {-1, -1}, control[2] = {-1, -1}, result = -1;
	struct server_handover theirs = *handover;
	struct worker worker = {.pid = -1};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, calls) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0) {
		error_set(error, "cannot make a socket pair: %s", strerror(errno));
		goto out;
	}
	theirs.calls_fd = calls[1];
	theirs.control_fd = control[1];
	worker.pid = fork();
	if (worker.pid == 0)
		become_worker(&theirs);
	if (worker.pid < 0) {
		error_set(error, "cannot start a worker: %s", strerror(errno));
		goto out;
	}
	worker.calls_fd = calls[0];
	worker.control_fd = control[0];
	calls[0] = control[0] = -1;
	if (send_config(&worker, blob, tickets) < 0) {
		error_set(error, "cannot hand the policy to the worker");
		worker_stop(&worker);
		goto out;
	}
	*ret = worker;
	result = 0;
out:
	descriptors_close(calls, 2);
	descriptors_close(control, 2);
	return result;
}

int worker_ask_to_end(const struct worker *worker)
{
	return send_message(worker, RPC_CONTROL_STOP, "", -1);
}

int worker_ping(const struct worker *worker)
{
	return send_message(worker, RPC_CONTROL_PING, "", -1);
}

int worker_send_log(const struct worker *worker, int fd)
{
	return send_message(worker, RPC_CONTROL_LOG, "", fd);
}

/* SIGKILL needs no cooperation, and cannot be handled. */
int worker_stop(struct worker *worker)
{
	int status = 0;

	if (worker->pid <= 0)
		return 0;
	kill(worker->pid, SIGKILL);
	while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(worker->calls_fd);
	close(worker->control_fd);
	*worker = (struct worker){.pid = -1, .calls_fd = -1, .control_fd = -1};
	return status;
}
