// SPDX-License-Identifier: BSD-2-Clause
/* The broker's life: what it gives up, what it keeps, and one thread for each call that it makes. It
 * runs outside of the bottle's pid namespace, so that nobody inside can see, stop or trace it, and
 * as the bottle's user, so that the kernel decides about files as it would for the caller. */
#include "bottle_broker.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bottle_broker_private.h"
#include "clock.h"
#include "sockets.h"

/* A call that finds no thread fails by EAGAIN, as connect(2) does where a queue is full. */
#define CALLS_MAX 1024
#define STACK_SIZE (256 * 1024)
/* How often, and after how long, a call that waits is looked at. */
#define TICK_MS 100
#define WAKE SIGUSR1

/* What the init sends with its listener. */
struct engagement {
	uint64_t netns_cookie;
};

/* Only the main thread adds; each thread removes itself. */
static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static struct broker_call *calls;
static size_t call_count;

/* ---- calls ----------------------------------------------------------------------------------- */

/* ENOENT: the caller is gone and needs no answer. One that cannot be answered would wait for ever:
 * better no broker, for then the kernel fails its call, and all to come, by ENOSYS. */
static void respond(const struct broker *broker, const struct seccomp_notif *request, int result)
{
	struct seccomp_notif_resp response = {.id = request->id};

	if (result > 0)
		response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	else
		response.error = result;
	while (seccomp_notify_respond(broker->listener, &response) < 0) {
		if (errno == ENOENT)
			break;
		if (errno != EINTR)
			_exit(1);
	}
}

static void remove_call(const struct broker_call *call)
{
	pthread_mutex_lock(&calls_lock);
	for (struct broker_call **link = &calls; *link; link = &(*link)->next) {
		if (*link == call) {
			*link = call->next;
			call_count--;
			break;
		}
	}
	pthread_mutex_unlock(&calls_lock);
}

/* Off the list before it is answered: what the list has can still be woken. */
static void *make_call(void *context)
{
	struct broker_call *call = context;
	int result = call->request.data.nr == SCMP_SYS(connect) ? broker_connect(call)
								: broker_bind(call);

	remove_call(call);
	close(call->socket);
	respond(call->broker, &call->request, result);
	free(call);
	return NULL;
}

static int start_thread(struct broker_call *call)
{
	pthread_attr_t attributes;
	int rc = pthread_attr_init(&attributes);

	if (rc != 0)
		return -EAGAIN;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	rc = pthread_create(&call->thread, &attributes, make_call, call);
	pthread_attr_destroy(&attributes);
	return rc == 0 ? 0 : -EAGAIN;
}

/* Under the lock, so that the thread cannot leave the list before it is on it. */
static int start_call(struct broker_call *call)
{
	int rc = -EAGAIN;

	pthread_mutex_lock(&calls_lock);
	if (call_count < CALLS_MAX)
		rc = start_thread(call);
	if (rc == 0) {
		call->next = calls;
		calls = call;
		call_count++;
	}
	pthread_mutex_unlock(&calls_lock);
	return rc;
}

static int hand_out(struct broker *broker, const struct seccomp_notif *request, int socket, int domain)
{
	struct broker_call *call = calloc(1, sizeof(*call));
	int rc = call ? 0 : -ENOMEM;

	if (call) {
		call->broker = broker;
		call->request = *request;
		call->socket = socket;
		call->domain = domain;
		call->since = clock_monotonic_ms();
		rc = start_call(call);
	}
	if (rc < 0) {
		close(socket);
		free(call);
	}
	return rc;
}

/* What is no unix socket is connected by the caller itself, whose name then is in the kernel's
 * records. It may have put another socket in its place by then: the programs on its cgroup refuse
 * every unix address that it names. bind() has no such program, and is never left to it. */
static void take(struct broker *broker, const struct seccomp_notif *request)
{
	int fd = broker_target_socket(broker, (pid_t)request->pid,
				      (int)request->data.args[0]);
	bool connects = request->data.nr == SCMP_SYS(connect);
	int domain = AF_UNSPEC, rc = fd < 0 ? fd : 0;
	socklen_t size = sizeof(domain);

	if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		rc = -errno;
	if (rc == 0 && !connects && request->data.nr != SCMP_SYS(bind))
		rc = -ENOSYS;
	if (rc == 0 && (domain == AF_UNIX || !connects)) {
		rc = hand_out(broker, request, fd, domain);
		if (rc == 0)
			return;
		fd = -1;
	} else if (rc == 0) {
		rc = 1;
	}
	respond(broker, request, rc);
	if (fd >= 0)
		close(fd);
}

/* A thread that waits in connect() is woken when there is nobody to wait for, or the caller has a
 * signal: without that a program could not even be stopped by Ctrl-C. A thread that is not waiting
 * yet misses it, and is woken again. */
static void look_at_calls(const struct broker *broker)
{
	static int64_t next;
	int64_t now = clock_monotonic_ms();

	if (now < next)
		return;
	pthread_mutex_lock(&calls_lock);
	for (struct broker_call *call = calls; call; call = call->next) {
		if (now - call->since < TICK_MS)
			continue;
		if (!broker_call_waits(call)) {
			pthread_kill(call->thread, WAKE);
		} else if (broker_target_interrupted(broker, (pid_t)call->request.pid)) {
			atomic_store(&call->interrupted, true);
			pthread_kill(call->thread, WAKE);
		}
	}
	pthread_mutex_unlock(&calls_lock);
	/* A tenth of the time at most: a thousand that wait are to keep nobody else from being served. */
	next = now + TICK_MS + 10 * (clock_monotonic_ms() - now);
}

static bool is_idle(void)
{
	bool idle;

	pthread_mutex_lock(&calls_lock);
	idle = !calls;
	pthread_mutex_unlock(&calls_lock);
	return idle;
}

/* The kernel wants zeros to write to, and knows itself how many (EINVAL otherwise). What cannot be
 * received would be there for ever: better no broker. ENOENT: the caller was killed meanwhile. */
static void receive_call(struct broker *broker)
{
	struct seccomp_notif *request;
	int rc;

	if (seccomp_notify_alloc(&request, NULL) < 0)
		_exit(1);
	rc = seccomp_notify_receive(broker->listener, request);
	if (rc == 0)
		take(broker, request);
	else if (errno != ENOENT && errno != EINTR)
		_exit(1);
	seccomp_notify_free(request, NULL);
}

/* Until no process has the filter any more. */
static NORETURN void serve(struct broker *broker)
{
	struct pollfd polled = {.fd = broker->listener, .events = POLLIN};

	for (;;) {
		int ready = poll(&polled, 1, is_idle() ? -1 : TICK_MS);

		if (ready > 0 && (polled.revents & POLLIN)) {
			receive_call(broker);
		} else if (ready > 0 && (polled.revents & (POLLHUP | POLLERR))) {
			_exit(0);
		}
		look_at_calls(broker);
	}
}

/* ---- becoming the broker --------------------------------------------------------------------- */

static void wake(int number)
{
	(void)number;
}

/* Signals of the terminal are the command's. */
static void set_signals(void)
{
	struct sigaction action = {.sa_handler = wake}; /* no SA_RESTART: connect() is to return */
	sigset_t mask;

	sigaction(WAKE, &action, NULL);
	sigfillset(&mask);
	sigdelset(&mask, WAKE);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

static bool forget_caller(int *socket)
{
	struct rlimit files;
	int null = open("/dev/null", O_RDWR);

	set_signals();
	prctl(PR_SET_NAME, "egress-broker", 0, 0, 0);
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			return false;
	*socket = dup2(*socket, 3);
	if (*socket < 0 || close_range(4, ~0U, 0) < 0)
		return false;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		/* Each name that is bound and each call that waits takes descriptors; the soft
		 * limit was the caller's. */
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	return true;
}

/* By the paths of the namespace that we are still in, and for good: the same file inside. */
static bool let_in(struct broker *broker, const struct bottle_options *options)
{
	for (size_t i = 0; i < options->socket_count; i++) {
		int fd = open(options->sockets[i], O_PATH | O_CLOEXEC);
		struct stat status;

		if (fd < 0 || fstat(fd, &status) < 0 ||
		    broker_names_add(&broker->names, &status, -1, fd) < 0)
			return false;
	}
	return true;
}

/* False also when there is nothing to broker. */
static bool receive(int socket, struct broker *broker)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct engagement engagement;
	struct iovec text = {&engagement, sizeof(engagement)};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	const struct cmsghdr *header;
	ssize_t got;

	do {
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	header = got == (ssize_t)sizeof(engagement) ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return false;
	memcpy(&broker->listener, CMSG_DATA(header), sizeof(int));
	broker->netns_cookie = engagement.netns_cookie;
	return true;
}

static int number_option(int context, const char *key, unsigned value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return fsconfig(context, FSCONFIG_SET_STRING, key, text, 0);
}

/* A tmpfs in no mount namespace at all. */
static int make_hidden(const struct bottle_user *user)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC), fd = -1;

	if (context < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "size", "1m", 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "65536", 0) == 0 &&
	    number_option(context, "uid", user->uid) == 0 &&
	    number_option(context, "gid", user->gid) == 0 &&
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(context, FSMOUNT_CLOEXEC, 0);
	close(context);
	return fd;
}

/* The bottle's paths, from its own root; our /proc stays as the working directory. */
static bool enter(const struct broker *broker, pid_t init)
{
	char path[32];
	int mounts, root;
	bool entered;

	snprintf(path, sizeof(path), "%d/ns/mnt", (int)init);
	mounts = openat(broker->processes, path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%d/root", (int)init);
	root = openat(broker->processes, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	entered = mounts >= 0 && root >= 0 && setns(mounts, CLONE_NEWNS) == 0 &&
		  fchdir(root) == 0 && chroot(".") == 0 && fchdir(broker->processes) == 0;
	if (mounts >= 0)
		close(mounts);
	if (root >= 0)
		close(root);
	return entered;
}

/* Its file, made before the init asked for us. */
static bool find_closed(struct broker *broker, const struct bottle_options *options)
{
	struct stat status;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s/%s", BOTTLE_RUN_DIRECTORY, options->name,
		 BOTTLE_CLOSED_SOCKET);
	if (stat(path, &status) < 0)
		return false;
	broker->closed_device = status.st_dev;
	broker->closed_inode = status.st_ino;
	return true;
}

/* Early, while the init is still at work: some 160 system calls, and libcap-ng reads the /proc of a
 * pid namespace that we are in. What we hold is not touched by it. */
static bool drop_bounding_set(void)
{
	capng_clear(CAPNG_SELECT_ALL);
	return capng_apply(CAPNG_SELECT_BOUNDS) >= 0;
}

/* What is left: to take descriptors and memory from callers that are not dumpable, and chroot() for
 * the threads that bind. No right over files beyond the user's. */
static bool become(const struct bottle_user *user)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    setgroups(user->group_count, user->groups) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return false;
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_PTRACE,
			  CAP_SYS_CHROOT, -1) < 0 ||
	    capng_apply(CAPNG_SELECT_CAPS) < 0)
		return false;
	/* After the change of user, which undoes both: capabilities(7), prctl(2). */
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

/* Exits with 0 when it was not needed; whoever waits for us sees the end of the socket. */
static NORETURN void broker_main(const struct bottle_options *options, pid_t init, int socket)
{
	static struct broker broker = {.listener = -1};

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	pthread_mutex_init(&broker.names.lock, NULL);
	if (!forget_caller(&socket))
		_exit(1);
	broker.processes = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (broker.processes < 0 || !let_in(&broker, options) || !drop_bounding_set())
		_exit(1);
	/* Waits here until the init knows whether it needs one. */
	if (!receive(socket, &broker))
		_exit(0);
	broker.hidden = make_hidden(options->user);
	if (broker.hidden < 0 || !enter(&broker, init) || !find_closed(&broker, options) ||
	    !become(options->user) || write(socket, "", 1) != 1)
		_exit(1);
	close(socket);
	serve(&broker);
}

pid_t bottle_broker_start(const struct bottle_options *options, pid_t init, int socket)
{
	pid_t pid = fork();

	if (pid == 0)
		broker_main(options, init, socket);
	return pid;
}

/* ---- the init's side ------------------------------------------------------------------------- */

static uint64_t own_cookie(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = fd < 0 ? 0 : sockets_netns_cookie(fd);

	if (fd >= 0)
		close(fd);
	return cookie;
}

static bool hand_over(int socket, int listener)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct engagement engagement = {own_cookie()};
	struct iovec text = {&engagement, sizeof(engagement)};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof(control)};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &listener, sizeof(int));
	return engagement.netns_cookie != 0 &&
	       sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(engagement);
}

int bottle_broker_engage(int socket, int listener, struct error *error)
{
	char octet;
	ssize_t got;

	if (!hand_over(socket, listener))
		return error_set(error, "cannot reach the broker for unix sockets: %s",
				 strerror(errno));
	do {
		got = read(socket, &octet, 1);
	} while (got < 0 && errno == EINTR);
	return got == 1 ? 0 : error_set(error, "the broker for unix sockets did not start");
}
