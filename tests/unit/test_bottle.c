// SPDX-License-Identifier: BSD-2-Clause
/* Runs real commands in a real bottle, without supervisor and wall. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <mntent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bottle.h"

/* What the init calls, and our own processes: these fail for want of memory or descriptors where a test
 * says so. */
static enum { NOTHING, GETLINE, GLOB, REALPATH } starved;
#define SESSIONS "/tmp/.X11-unix"

ssize_t getline(char **line, size_t *size, FILE *stream)
{
	ssize_t (*real)(char **, size_t *, FILE *);

	*(void **)&real = dlsym(RTLD_NEXT, "getline");
	if (starved != GETLINE)
		return real(line, size, stream);
	errno = ENOMEM;
	return -1;
}

/* As glob(3) when a directory cannot be opened. SESSIONS need not be there to be looked for. */
int glob(const char *pattern, int flags, int (*told)(const char *, int), glob_t *ret)
{
	int (*real)(const char *, int, int (*)(const char *, int), glob_t *);

	*(void **)&real = dlsym(RTLD_NEXT, "glob");
	if (starved == GLOB)
		return told && told("/tmp", ENFILE) ? GLOB_ABORTED : GLOB_NOMATCH;
	if (starved == REALPATH && strcmp(pattern, SESSIONS) == 0)
		flags |= GLOB_NOCHECK;
	return real(pattern, flags, told, ret);
}

char *realpath(const char *path, char *resolved)
{
	char *(*real)(const char *, char *);

	*(void **)&real = dlsym(RTLD_NEXT, "realpath");
	if (starved != REALPATH || strcmp(path, SESSIONS) != 0)
		return real(path, resolved);
	errno = ENOMEM;
	return NULL;
}

/* The broker, which is the only child that is made by it, and has our pipes until it runs. */
static bool slow_broker;

pid_t fork(void)
{
	pid_t (*real)(void), pid;

	*(void **)&real = dlsym(RTLD_NEXT, "fork");
	pid = real();
	if (pid == 0 && slow_broker)
		usleep(300000);
	return pid;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CA_PEM "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

static char cgroup_path[512], name[64], secret_file[] = "/tmp/test-bottle-secret-XXXXXX";
static struct bottle_user root_user, plain_user = {.uid = 12345, .gid = 12346};

struct outcome {
	int status;
	char output[4096];
	struct error error;
};

static int make_cgroup(void)
{
	FILE *file = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;

	assert_non_null(file);
	while ((entry = getmntent(file)) && strcmp(entry->mnt_type, "cgroup2") != 0)
		;
	if (!entry) {
		endmntent(file);
		return -1;
	}
	snprintf(name, sizeof(name), "test-bottle-%d", (int)getpid());
	snprintf(cgroup_path, sizeof(cgroup_path), "%s/%s", entry->mnt_dir, name);
	endmntent(file);
	return mkdir(cgroup_path, 0755);
}

static const char *let_in[2];
static const sigset_t no_signals;
static size_t let_in_count;
static bool brokered;

/* Up to the walls, for which it waits. */
static struct bottle *prepare(const struct bottle_user *user, char *const *argv)
{
	const char *const secrets[] = {"TEST_TOKEN"};
	const char *const hidden[] = {secret_file, "/nonexistent/secret"};
	const struct bottle_options options = {
		.name = name,
		.cgroup_path = cgroup_path,
		.user = user,
		.argv = argv,
		.sockets = let_in,
		.socket_count = let_in_count,
		.signals = &no_signals,
	};
	const struct bottle_plan plan = {.ca_pem = CA_PEM, .proxy_name = "egress",
					 .secrets = secrets, .secret_count = 1,
					 .hidden = hidden, .hidden_count = 2};
	struct bottle *bottle = NULL;
	struct error error = {0};

	if (bottle_start(&options, &bottle, &error) < 0 ||
	    bottle_prepare(bottle, &plan, &error) < 0)
		fail_msg("%s", error.text);
	return bottle;
}

/* Of one that has ended by then, `ret` is what it reported. */
static struct bottle *start(const struct bottle_user *user, char *const *argv, struct error *ret)
{
	struct bottle *bottle = prepare(user, argv);

	if (bottle_release(bottle, brokered, ret) < 0)
		assert_string_not_equal(ret->text, "");
	return bottle;
}

/* Runs argv with its output in a pipe, to its end. */
static struct outcome run_argv(const struct bottle_user *user, char *const *argv)
{
	struct outcome outcome = {0};
	int ends[2], saved = dup(1), saved_error = dup(2);
	struct bottle *bottle;
	size_t length = 0;
	ssize_t got;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], 1);
	dup2(ends[1], 2);
	bottle = start(user, argv, &outcome.error);
	dup2(saved, 1);
	dup2(saved_error, 2);
	close(saved);
	close(saved_error);
	close(ends[1]);
	while (length < sizeof(outcome.output) - 1 &&
	       (got = read(ends[0], outcome.output + length, sizeof(outcome.output) - 1 - length)) >
		       0)
		length += (size_t)got;
	close(ends[0]);
	outcome.status = outcome.error.text[0] ? BOTTLE_NO_SANDBOX
					       : bottle_read_report(bottle, &outcome.error);
	if (outcome.status == 0)
		outcome.status = bottle_wait(bottle);
	else
		assert_int_equal(bottle_wait(bottle), outcome.status);
	bottle_free(bottle);
	return outcome;
}

static struct outcome run(const struct bottle_user *user, const char *script)
{
	char shell[] = "/bin/sh", flag[] = "-c", *text = strdup(script);
	char *argv[] = {shell, flag, text, NULL};
	struct outcome outcome = run_argv(user, argv);

	free(text);
	return outcome;
}

static void assert_script(const struct bottle_user *user, const char *script, const char *expected)
{
	struct outcome outcome = run(user, script);

	if (strcmp(outcome.output, expected) != 0)
		fail_msg("%s: '%s' (%s), expected '%s'", script, outcome.output,
			 outcome.error.text, expected);
}

static void test_exit_status(void **state)
{
	(void)state;
	assert_int_equal(run(&root_user, "exit 0").status, 0);
	assert_int_equal(run(&root_user, "exit 42").status, 42);
	assert_int_equal(run(&root_user, "kill -TERM $$").status, 128 + SIGTERM);
	assert_int_equal(run(&root_user, "kill -KILL $$").status, 128 + SIGKILL);
}

static void test_cannot_run(void **state)
{
	char missing[] = "/nonexistent/command", directory[] = "/etc", bare[] = "no-such-command";
	char *argv[] = {missing, NULL};
	struct outcome outcome = run_argv(&root_user, argv);

	(void)state;
	assert_int_equal(outcome.status, 127);
	assert_string_equal(outcome.error.text,
			    "cannot run '/nonexistent/command': No such file or directory");
	argv[0] = bare;
	assert_int_equal(run_argv(&root_user, argv).status, 127);
	argv[0] = directory;
	assert_int_equal(run_argv(&root_user, argv).status, 126);
}

static void test_user_and_privileges(void **state)
{
	(void)state;
	assert_script(&plain_user, "id -u; id -g; id -G", "12345\n12346\n12346\n");
	assert_script(&root_user, "id -u; id -G", "0\n0\n");
	assert_script(&root_user,
		      "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'",
		      "CapInh:0000000000000000\nCapPrm:0000000000000000\n"
		      "CapEff:0000000000000000\nCapBnd:0000000000000000\n"
		      "CapAmb:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n");
	assert_script(&root_user, "grep -c . /proc/1/environ 2>/dev/null; mount -t tmpfs x /mnt "
				  "2>/dev/null; echo $?", "32\n");
}

static void test_namespaces(void **state)
{
	(void)state;
	assert_script(&plain_user, "echo $$; ls /sys/class/net", "2\nlo\n");
	/* Of every hierarchy the bottle is the root. */
	assert_script(&plain_user, "grep -v ':/$' /proc/self/cgroup; grep ^0: /proc/self/cgroup",
		      "0::/\n");
	assert_script(&plain_user, "ls /proc | grep -E '^[0-9]+$' | head -n1; "
				   "ls /sys/fs/bpf /sys/fs/cgroup | tr '\\n' ' '",
		      "1\n/sys/fs/bpf:  /sys/fs/cgroup: ");
}

/* What is open here is closed there. */
static void test_descriptors(void **state)
{
	int fd = open("/etc/passwd", O_RDONLY);

	(void)state;
	assert_true(fd >= 0);
	assert_script(&root_user, "for f in /proc/self/fd/*; do f=${f##*/}; "
				  "[ $f -gt 2 ] && [ -e /proc/$$/fd/$f ] && echo $f; done; :", "");
	close(fd);
}

static void test_names(void **state)
{
	(void)state;
	assert_script(&plain_user, "grep nameserver /etc/resolv.conf", "nameserver 127.0.0.1\n");
	assert_script(&plain_user, "grep -c localhost /etc/hosts; wc -l < /etc/hosts", "2\n2\n");
	assert_script(&root_user, "echo x >> /etc/hosts; :",
		      "/bin/sh: 1: cannot create /etc/hosts: Read-only file system\n");
}

static void test_trust(void **state)
{
	(void)state;
	assert_script(&plain_user, "tail -n 3 $SSL_CERT_FILE", CA_PEM);
	assert_script(&plain_user,
		      "f=/etc/ssl/certs/ca-certificates.crt; [ ! -e $f ] || "
		      "cmp $f $NODE_EXTRA_CA_CERTS && echo same", "same\n");
	assert_script(&plain_user,
		      "for f in /etc/ssl/certs/java/cacerts /usr/lib/jvm/*/lib/security/cacerts; "
		      "do [ ! -e $f ] || head -c 4 $f | od -An -tx1; done | sort -u",
		      access("/usr/lib/jvm", F_OK) == 0 ? " fe ed fe ed\n" : "");
}

/* Neither in the environment, nor in any process, nor in the file. */
static void test_secrets_are_hidden(void **state)
{
	char command[96];

	(void)state;
	/* Its own file: another run of this test may leave one behind. */
	snprintf(command, sizeof(command), "cat %s | wc -c", secret_file);
	setenv("TEST_COPY", "prefix-value-of-the-token", 1);
	assert_script(&plain_user, "echo $TEST_TOKEN $TEST_COPY",
		      "egress-bpf-placeholder egress-bpf-placeholder\n");
	assert_script(&root_user, "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | "
				  "grep -c value-of-the-token", "0\n");
	assert_script(&root_user, command, "0\n");
	unsetenv("TEST_COPY");
}

/* ---- unix sockets of the host ---------------------------------------------------------------- */

static char socket_directory[] = "/var/lib/test-bottle-XXXXXX"; /* nothing is walked there */

static int connect_to(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return rc;
}

/* Listens at `name`, absolute or seen from `directory`. */
static int listen_at(const char *directory, const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(chdir(directory), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(chmod(path, 0777), 0);
	return fd;
}

/* What the bottle's connect(2) says: 0, or the errno. */
static struct outcome connect_inside(const char *path)
{
	char script[512];

	snprintf(script, sizeof(script),
		 "/usr/bin/python3 -c 'import socket; "
		 "print(socket.socket(socket.AF_UNIX).connect_ex(\"%s\"))'", path);
	return run(&plain_user, script);
}

static void assert_reachable(const char *path, const char *expected)
{
	struct outcome outcome;

	assert_int_equal(connect_to(path), 0);
	outcome = connect_inside(path);
	if (strcmp(outcome.output, expected) != 0)
		fail_msg("%s: '%s' (%s), expected '%s'", path, outcome.output, outcome.error.text,
			 expected);
}

#define REFUSED "111\n"
#define MISSING "2\n"

static void test_sockets_are_hidden(void **state)
{
	static const char *const paths[] = {"/run/test-bottle.sock", "/tmp/test-bottle.sock",
					    "/dev/shm/test-bottle.sock"};
	char path[128];
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		unlink(paths[i]);
		fd = listen_at("/", paths[i]);
		assert_reachable(paths[i], REFUSED);
		close(fd);
		unlink(paths[i]);
	}
	snprintf(path, sizeof(path), "%s/absolute", socket_directory);
	fd = listen_at("/", path);
	assert_reachable(path, REFUSED);
	let_in[0] = path;
	let_in_count = 1;
	assert_reachable(path, "0\n");
	let_in_count = 0;
	close(fd);
	unlink(path);
}

#define CHURNED 64

static void churn_path(unsigned number, char ret[64])
{
	snprintf(ret, 64, "/run/test-bottle-churn-%u", number % CHURNED);
}

/* Makes and removes sockets until it is killed: half of them are there at any time. */
static pid_t churn_sockets(void)
{
	char path[64];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0;; i++) {
		churn_path(i, path);
		(void)mknod(path, S_IFSOCK | 0666, 0);
		churn_path(i + CHURNED / 2, path);
		(void)unlink(path);
	}
}

/* Containers on the host come and go while a bottle covers their sockets. */
static void test_sockets_that_go_meanwhile(void **state)
{
	char path[64];
	pid_t churn = churn_sockets();

	(void)state;
	for (int i = 0; i < 30; i++)
		assert_script(&root_user, "echo in", "in\n");
	kill(churn, SIGKILL);
	waitpid(churn, NULL, 0);
	for (unsigned i = 0; i < CHURNED; i++) {
		churn_path(i, path);
		unlink(path);
	}
}

static void test_relative_socket_is_hidden(void **state)
{
	char path[128];
	int fd = listen_at(socket_directory, "relative");

	(void)state;
	snprintf(path, sizeof(path), "%s/relative", socket_directory);
	assert_reachable(path, REFUSED);
	assert_int_equal(chdir("/"), 0);
	close(fd);
	unlink(path);
}

/* Its socket stands in the table of that namespace alone. */
static void test_socket_of_another_netns_is_hidden(void **state)
{
	char path[128], octet;
	int ready[2];
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s/elsewhere", socket_directory);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) < 0)
			_exit(1);
		listen_at("/", path);
		_exit(write(ready[1], "", 1) != 1 || pause());
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &octet, 1), 1);
	close(ready[0]);
	assert_reachable(path, REFUSED);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(path);
}

/* What appears there later is not seen either; one of them may be let in all the same. */
static void test_session_directories_are_replaced(void **state)
{
	char directory[64], first[96], second[96], script[256];
	int fds[2];

	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/ssh-test-bottle-%d", (int)getpid());
	snprintf(first, sizeof(first), "%s/agent.1", directory);
	snprintf(second, sizeof(second), "%s/agent.2", directory);
	assert_int_equal(mkdir(directory, 0711), 0);
	fds[0] = listen_at("/", first);
	fds[1] = listen_at("/", second);
	assert_reachable(first, MISSING);
	let_in[0] = first;
	let_in_count = 1;
	assert_reachable(first, "0\n");
	assert_reachable(second, MISSING);
	let_in_count = 0;
	snprintf(script, sizeof(script), "stat -c %%a:%%U %s; : > %s/x; ls %s", directory, directory,
		 directory);
	assert_script(&root_user, script, "711:root\nx\n");
	assert_int_equal(access(second, F_OK), 0);
	close(fds[0]);
	close(fds[1]);
	unlink(first);
	unlink(second);
	/* Nothing that was made inside is here. */
	assert_int_equal(rmdir(directory), 0);
}

/* Nothing is left uncovered because it could not be seen. */
static void test_sockets_cannot_be_looked_for(void **state)
{
	static const char *const wanted[] = {
		[GETLINE] = "cannot look for unix sockets: Cannot allocate memory",
		[GLOB] = "cannot look for unix sockets: Too many open files in system",
		[REALPATH] = "cannot look for unix sockets: Cannot allocate memory"};
	struct outcome outcomes[COUNT(wanted)];

	(void)state;
	for (starved = GETLINE; starved < COUNT(wanted); starved++)
		outcomes[starved] = run(&plain_user, "true");
	starved = NOTHING;
	for (size_t i = GETLINE; i < COUNT(wanted); i++)
		if (outcomes[i].status != 125 || !strstr(outcomes[i].error.text, wanted[i]))
			fail_msg("%zu: %d, %s", i, outcomes[i].status, outcomes[i].error.text);
}

static void test_let_in_must_be_a_socket(void **state)
{
	struct outcome outcome;

	(void)state;
	let_in[0] = "/etc/passwd";
	let_in_count = 1;
	outcome = run(&plain_user, "true");
	let_in_count = 0;
	assert_int_equal(outcome.status, 125);
	assert_string_equal(outcome.error.text, "--bind-socket /etc/passwd: not a unix socket");
}

/* Where it fails before the walls stand, its report is the error, not the pipe that broke, and not
 * nothing while a broker that has not run yet holds the pipe's other end. */
static void test_ended_before_the_walls(void **state)
{
	char shell[] = "/bin/true", *argv[] = {shell, NULL};
	struct error error = {0};
	struct bottle *bottle;
	siginfo_t info;

	(void)state;
	let_in[0] = "/etc/passwd";
	let_in_count = 1;
	slow_broker = true;
	bottle = prepare(&plain_user, argv);
	slow_broker = false;
	let_in_count = 0;
	assert_int_equal(waitid(P_PID, (id_t)bottle_pid(bottle), &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(bottle_release(bottle, false, &error), -1);
	assert_string_equal(error.text, "--bind-socket /etc/passwd: not a unix socket");
	assert_int_equal(bottle_wait(bottle), BOTTLE_NO_SANDBOX);
	bottle_free(bottle);
}

/* A server and its client, both inside, at a path and by an abstract name. */
static void test_own_sockets_work(void **state)
{
	static const char script[] =
		"cd $(mktemp -d) && /usr/bin/python3 -c '\n"
		"import socket\n"
		"for name in (\"own\", \"\\0own\"):\n"
		"    s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen()\n"
		"    c = socket.socket(socket.AF_UNIX); c.connect(name); c.send(b\"x\")\n"
		"    print(s.accept()[0].recv(1))'; rm -r $PWD";

	(void)state;
	assert_script(&plain_user, script, "b'x'\nb'x'\n");
}

/* A socket of each family that could go round the wall, and io_uring. */
static void test_seccomp(void **state)
{
#ifndef __x86_64__
	skip(); /* the numbers below are this machine's */
#endif
	static const char script[] =
		"python3 -c '\n"
		"import ctypes, socket, os\n"
		"c = ctypes.CDLL(None, use_errno=True)\n"
		"def sock(f, t=1, p=0):\n"
		"    r = c.socket(f, t, p); print(0 if r >= 0 else ctypes.get_errno(), end=\" \")\n"
		"def call(*a):\n"
		"    r = c.syscall(*a); print(0 if r >= 0 else ctypes.get_errno(), end=\" \")\n"
		"sock(1); sock(2); sock(10, 2); sock(16, 3, 0)\n"
		"sock(16, 3, 9); sock(17, 3); sock(40); sock(44, 3); sock(38); sock(21); sock(30)\n"
		"call(425, 1, 0); call(435, 0, 0); call(321, 0, 0, 0); call(272, 0x10000000)\n"
		"call(56, 0x10000011, 0, 0, 0, 0); call(308, 0, 0); call(438, 0, 0, 0)\n"
		"call(16, 0, 0x5412, 0); call(16, 0, 0x100005412, 0)'";

	(void)state;
	assert_script(&root_user, script, "0 0 0 0 97 97 97 97 97 97 97 38 38 1 1 1 1 1 1 1 ");
}

static void wait_for_file(const char *path)
{
	for (int i = 0; i < 3000 && access(path, F_OK) < 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_signals_are_passed_on(void **state)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
	char shell[] = "/bin/sh", flag[] = "-c", mark[64];
	char script[256], *argv[] = {shell, flag, script, NULL};

	(void)state;
	snprintf(mark, sizeof(mark), "/tmp/test-bottle-mark-%d", (int)getpid());
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct bottle *bottle;
		struct error error = {0};

		snprintf(script, sizeof(script),
			 "trap 'exit %zu' %d; : > %s; while :; do sleep 0.02; done", i + 50,
			 numbers[i], mark);
		/* A shell's job in the background has SIGINT ignored, and a shell cannot trap that. */
		signal(numbers[i], SIG_DFL);
		bottle = start(&root_user, argv, &error);
		assert_int_equal(bottle_read_report(bottle, &error), 0);
		wait_for_file(mark);
		bottle_signal(bottle, numbers[i]);
		assert_int_equal(bottle_wait(bottle), (int)i + 50);
		bottle_free(bottle);
		unlink(mark);
	}
}

/* With its supervisor, the init dies; with the init, all that the command started. */
static void test_dies_with_its_supervisor(void **state)
{
	char shell[] = "/bin/sh", flag[] = "-c", script[] = "sleep 600 & sleep 600", line[64] = "";
	char *argv[] = {shell, flag, script, NULL}, events[600];
	pid_t supervisor = fork();
	struct error error = {0};
	FILE *file;

	(void)state;
	if (supervisor == 0) {
		struct bottle *bottle = start(&plain_user, argv, &error);

		if (bottle_read_report(bottle, &error) == 0)
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
	snprintf(events, sizeof(events), "%s/cgroup.procs", cgroup_path);
	for (int i = 0; i < 3000; i++) {
		file = fopen(events, "re");
		assert_non_null(file);
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		fclose(file);
		if (!line[0])
			break;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	assert_string_equal(line, "");
}

static void test_setup_error_is_one_line(void **state)
{
	char shell[] = "/bin/true", *argv[] = {shell, NULL};
	const struct bottle_options options = {"a/b/c", cgroup_path, &root_user, argv,
						NULL,	 0, &no_signals};
	const struct bottle_options nowhere = {name, "/nonexistent", &root_user, argv,
						NULL, 0, &no_signals};
	const struct bottle_plan plan = {.ca_pem = CA_PEM, .proxy_name = "egress"};
	struct bottle *bottle = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(bottle_start(&options, &bottle, &error), 0);
	assert_int_equal(bottle_prepare(bottle, &plan, &error), 0);
	assert_int_equal(bottle_read_report(bottle, &error), 125);
	assert_string_equal(error.text,
			    "cannot make /run/egress-bpf/a/b/c: No such file or directory");
	assert_int_equal(bottle_wait(bottle), 125);
	bottle_free(bottle);
	error.text[0] = '\0';
	assert_int_equal(bottle_start(&nowhere, &bottle, &error), -1);
	assert_string_equal(error.text, "cannot open /nonexistent: No such file or directory");
}

static int set_up(void **state)
{
	int fd;

	(void)state;
	setenv("TEST_TOKEN", "value-of-the-token", 1);
	fd = mkstemp(secret_file);
	if (fd < 0 || fchmod(fd, 0644) < 0 || write(fd, "value-of-the-token", 18) != 18)
		return -1;
	close(fd);
	if (!mkdtemp(socket_directory) || chmod(socket_directory, 0755) < 0)
		return -1;
	return make_cgroup();
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	unlink(secret_file);
	rmdir(socket_directory);
	snprintf(path, sizeof(path), BOTTLE_RUN_DIRECTORY "/%s", name);
	rmdir(path);
	rmdir(BOTTLE_RUN_DIRECTORY);
	return rmdir(cgroup_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_cannot_run),
		cmocka_unit_test(test_user_and_privileges),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_secrets_are_hidden),
		cmocka_unit_test(test_sockets_are_hidden),
		cmocka_unit_test(test_sockets_that_go_meanwhile),
		cmocka_unit_test(test_relative_socket_is_hidden),
		cmocka_unit_test(test_socket_of_another_netns_is_hidden),
		cmocka_unit_test(test_session_directories_are_replaced),
		cmocka_unit_test(test_sockets_cannot_be_looked_for),
		cmocka_unit_test(test_let_in_must_be_a_socket),
		cmocka_unit_test(test_ended_before_the_walls),
		cmocka_unit_test(test_own_sockets_work),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_signals_are_passed_on),
		cmocka_unit_test(test_dies_with_its_supervisor),
		cmocka_unit_test(test_setup_error_is_one_line),
	};

	if (geteuid() != 0) {
		puts("test_bottle: skipped, needs root");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN); /* as main() does */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
