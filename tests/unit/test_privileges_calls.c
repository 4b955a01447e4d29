// SPDX-License-Identifier: BSD-2-Clause
/* Each call is made by a process of its own, with the worker's filter. The arguments are such that
 * a call that gets through does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "privileges.h"

#define NOWHERE 1 /* a pointer to nothing */
#define HIGH 0x100000000ULL /* the kernel drops these bits of an int; the filter must, too */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct attempt {
	const char *name;
	uint64_t arguments[6];
	int error; /* that it fails with; 0: whatever the kernel says */
};

static const struct attempt deadly[] = {
	{"execve", {NOWHERE, 0, 0}, 0},
	{"execveat", {-1ULL, NOWHERE, 0, 0, 0}, 0},
	{"fork", {0}, 0},
	{"vfork", {0}, 0},
	{"clone", {SIGCHLD}, 0},
	{"clone", {CLONE_VM | SIGCHLD}, 0},
	{"clone", {CLONE_NEWUSER | SIGCHLD}, 0},
	{"kill", {0x7ffffff0, 0}, 0},
	{"tkill", {0x7ffffff0, 0}, 0},
	{"tgkill", {0x7ffffff0, 0x7ffffff0, 0}, 0},
	{"pidfd_open", {0x7ffffff0, 0}, 0},
	{"pidfd_getfd", {-1ULL, 0, 0}, 0},
	{"ptrace", {PTRACE_PEEKDATA, 0x7ffffff0, 0, 0}, 0},
	{"process_vm_readv", {0x7ffffff0, 0, 0, 0, 0}, 0},
	{"process_vm_writev", {0x7ffffff0, 0, 0, 0, 0}, 0},
	{"socket", {AF_UNIX, SOCK_STREAM, 0}, 0},
	{"socket", {AF_NETLINK, SOCK_RAW, 0}, 0},
	{"socket", {AF_PACKET, SOCK_RAW, 0}, 0},
	{"socket", {HIGH | AF_VSOCK, SOCK_STREAM, 0}, 0},
	{"socketpair", {AF_UNIX, SOCK_STREAM, 0, NOWHERE}, 0},
	{"socketpair", {AF_TIPC, SOCK_STREAM, 0, NOWHERE}, 0},
	{"listen", {-1ULL, 1}, 0},
	{"dup", {-1ULL}, 0},
	{"dup2", {-1ULL, 9}, 0},
	{"fcntl", {-1ULL, F_DUPFD, 9}, 0},
	{"fcntl", {-1ULL, F_DUPFD_CLOEXEC, 9}, 0},
	{"io_uring_setup", {1, NOWHERE}, 0},
	{"io_uring_enter", {-1ULL, 0, 0, 0, 0}, 0},
	{"bpf", {BPF_PROG_LOAD, NOWHERE, 4}, 0},
	{"bpf", {BPF_MAP_CREATE, NOWHERE, 4}, 0},
	{"bpf", {BPF_MAP_UPDATE_ELEM, NOWHERE, 4}, 0},
	{"bpf", {BPF_LINK_DETACH, NOWHERE, 4}, 0},
	{"bpf", {BPF_OBJ_GET, NOWHERE, 4}, 0},
	{"bpf", {BPF_OBJ_PIN, NOWHERE, 4}, 0},
	{"mmap", {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ULL}, 0},
	{"mprotect", {0, 0, PROT_READ | PROT_EXEC}, 0},
	{"mprotect", {0, 0, PROT_WRITE | PROT_EXEC}, 0},
	{"memfd_create", {NOWHERE, 0}, 0},
	{"openat", {AT_FDCWD, NOWHERE, O_RDONLY | O_CREAT, 0600}, 0},
	{"openat2", {AT_FDCWD, NOWHERE, NOWHERE, 24}, 0},
	{"open_by_handle_at", {-1ULL, NOWHERE, 0}, 0},
	{"creat", {NOWHERE, 0600}, 0},
	{"unlinkat", {AT_FDCWD, NOWHERE, 0}, 0},
	{"renameat2", {AT_FDCWD, NOWHERE, AT_FDCWD, NOWHERE, 0}, 0},
	{"mkdirat", {AT_FDCWD, NOWHERE, 0}, 0},
	{"symlinkat", {NOWHERE, AT_FDCWD, NOWHERE}, 0},
	{"fchmodat", {AT_FDCWD, NOWHERE, 0}, 0},
	{"ftruncate", {-1ULL, 0}, 0},
	{"mount", {NOWHERE, NOWHERE, 0, 0, 0}, 0},
	{"setns", {-1ULL, 0}, 0},
	{"unshare", {0}, 0},
	{"chroot", {NOWHERE}, 0},
	{"setuid", {0x7ffffff0}, 0},
	{"setresuid", {-1ULL, -1ULL, -1ULL}, 0},
	{"capset", {NOWHERE, NOWHERE}, 0},
	{"prctl", {PR_SET_DUMPABLE, 1}, 0},
	{"prctl", {PR_CAPBSET_READ, 0}, 0},
	{"seccomp", {9999, 0, 0}, 0},
	{"keyctl", {9999}, 0},
	{"ioctl", {-1ULL, TIOCSTI, NOWHERE}, 0},
	{"ioctl", {-1ULL, HIGH | TIOCSTI, NOWHERE}, 0},
	{"fcntl", {-1ULL, F_SETOWN, 0}, 0},
	{"userfaultfd", {9999}, 0},
	{"perf_event_open", {NOWHERE, 0, 0, -1ULL, 9999}, 0},
	{"prlimit64", {0, 7, NOWHERE, 0}, 0},
};

static const struct attempt harmless[] = {
	{"clone3", {NOWHERE, 0}, ENOSYS},
	{"fcntl", {-1ULL, F_SETFL, O_NONBLOCK}, EACCES},
	{"ioctl", {-1ULL, FIONBIO, NOWHERE}, EACCES},
	{"mremap", {0x10000, 0x10000, 0x20000, 0}, ENOMEM}, /* EFAULT without the filter */
	{"openat", {AT_FDCWD, NOWHERE, O_WRONLY}, EACCES},
	{"openat", {AT_FDCWD, NOWHERE, O_RDWR}, EACCES},
	{"openat", {AT_FDCWD, NOWHERE, O_RDONLY | O_CLOEXEC}, EFAULT},
	{"read", {-1ULL, NOWHERE, 1}, EBADF},
	{"sendmsg", {-1ULL, NOWHERE, 0}, EBADF},
	{"splice", {-1ULL, 0, -1ULL, 0, 1}, EBADF},
	{"epoll_wait", {-1ULL, NOWHERE, 1, 0}, EBADF},
	{"bpf", {BPF_MAP_LOOKUP_ELEM, NOWHERE, 4}, EFAULT},
	{"ioctl", {-1ULL, FIONREAD, NOWHERE}, EBADF},
	{"fcntl", {-1ULL, F_GETFL}, EBADF},
	{"accept4", {-1ULL, 0, 0, 0}, EBADF},
	{"setitimer", {0, NOWHERE, 0}, EFAULT},
};

/* What others have, too: a listener and a socket for datagrams on loopback, the end of a pipe, and a file
 * as a caller's standard output may be one: for reading, too, and not for appending. */
enum { LISTENER, DATAGRAMS, LOG, TEXT, SHARED };
static int shared[SHARED] = {-1, -1, -1, -1};
static struct sockaddr_in places[2];
static int log_end, log_size;

/* 0 when it was as wanted, else what happened. */
static int attempt(const struct attempt *a, bool wanted_dead)
{
	const uint64_t *x = a->arguments;
	int status, call = seccomp_syscall_resolve_name(a->name);
	pid_t pid;

	if (call < 0) /* not on this machine: nobody can make it */
		return 0;
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    privileges_limit_calls(shared, SHARED, NULL) < 0)
			_exit(1);
		long result = syscall(call, x[0], x[1], x[2], x[3], x[4], x[5]);

		_exit(a->error && (result != -1 || errno != a->error) ? 2 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (wanted_dead)
		return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? 0 : status + 1;
	return status;
}

static void what_a_worker_has_no_use_for_kills_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(deadly); i++) {
		if (attempt(&deadly[i], true) != 0)
			fail_msg("%s (row %zu) got through", deadly[i].name, i);
	}
}

static void what_it_needs_is_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(harmless); i++) {
		int result = attempt(&harmless[i], false);

		if (result != 0)
			fail_msg("%s (row %zu): status %#x", harmless[i].name, i, (unsigned)result);
	}
}

/* ---- what is shared --------------------------------------------------------------------------- */

#define AT(pointer) (uint64_t)(uintptr_t)(pointer)

static int open_socket(int type, struct sockaddr_in *ret_place)
{
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(place);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&place, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&place, &size), 0);
	*ret_place = place;
	return fd;
}

static int share(void **state)
{
	int ends[2];

	(void)state;
	shared[LISTENER] = open_socket(SOCK_STREAM, &places[LISTENER]);
	assert_int_equal(listen(shared[LISTENER], 16), 0);
	shared[DATAGRAMS] = open_socket(SOCK_DGRAM, &places[DATAGRAMS]);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_end = ends[0];
	shared[LOG] = ends[1];
	log_size = fcntl(log_end, F_GETPIPE_SZ); /* less for who has many */
	shared[TEXT] = memfd_create("text", MFD_CLOEXEC);
	assert_int_equal(write(shared[TEXT], "one line\n", 9), 9);
	return 0;
}

static int unshare_all(void **state)
{
	(void)state;
	close(log_end);
	for (int i = 0; i < SHARED; i++) {
		close(shared[i]);
		shared[i] = -1;
	}
	return 0;
}

/* With a datagram of its own: what one began with MSG_MORE would swallow it. */
static void assert_answers(int client, const char *after)
{
	struct pollfd waiting = {.fd = client, .events = POLLIN};
	struct sockaddr_in place;
	socklen_t size = sizeof(place);
	char bytes[8];

	assert_int_equal(getsockname(client, (struct sockaddr *)&place, &size), 0);
	assert_int_equal(sendto(shared[DATAGRAMS], "y", 1, 0, (struct sockaddr *)&place, size), 1);
	if (poll(&waiting, 1, 10000) != 1 || recv(client, bytes, sizeof(bytes), 0) != 1)
		fail_msg("no answer after %s", after);
}

/* Whoever comes reaches who is there. */
static void assert_all_as_it_was(const char *after)
{
	struct pollfd waiting = {.events = POLLIN};
	char byte;

	for (int i = LISTENER; i <= DATAGRAMS; i++) {
		int client = socket(AF_INET, i == LISTENER ? SOCK_STREAM : SOCK_DGRAM, 0), got;

		waiting.fd = shared[i];
		if (connect(client, (struct sockaddr *)&places[i], sizeof(places[i])) < 0 ||
		    send(client, "x", 1, MSG_NOSIGNAL) != 1 || poll(&waiting, 1, 10000) != 1)
			fail_msg("deaf after %s", after);
		got = i == LISTENER ? accept(shared[i], NULL, NULL) : (int)recv(shared[i], &byte, 1, 0);
		if (i == LISTENER ? got < 0 : got != 1)
			fail_msg("deaf after %s", after);
		if (i == LISTENER)
			close(got);
		else
			assert_answers(client, after);
		close(client);
	}
	assert_int_equal(fcntl(shared[LOG], F_GETPIPE_SZ), log_size);
	assert_int_equal(lseek(shared[TEXT], 0, SEEK_CUR), 9);
}

/* On the shared descriptor that stands in place of the first argument. */
static void what_changes_it_for_others_kills(void **state)
{
	static const int one = 1;
	static const struct sockaddr none = {.sa_family = AF_UNSPEC};
	static struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	static const struct sock_fprog filter = {1, &drop};
	static char byte = 'x';
	static struct iovec part = {&byte, 1};
	static struct mmsghdr messages = {
		.msg_hdr = {.msg_name = &places[DATAGRAMS], .msg_namelen = sizeof(*places),
			    .msg_iov = &part, .msg_iovlen = 1}};
	const struct attempt changes[] = {
		{"sendto", {DATAGRAMS, AT(&byte), 1, MSG_MORE, AT(&places[DATAGRAMS]), sizeof(*places)}, 0},
		{"sendto", {DATAGRAMS, AT(&byte), 1, HIGH | MSG_MORE | MSG_DONTWAIT, AT(&places[DATAGRAMS]),
			    sizeof(*places)}, 0},
		{"sendmsg", {DATAGRAMS, AT(&messages.msg_hdr), MSG_MORE | MSG_NOSIGNAL}, 0},
		{"sendmmsg", {DATAGRAMS, AT(&messages), 1, MSG_MORE}, 0},
		{"read", {LOG, AT(&byte), 1}, 0},
		{"readv", {LOG, AT(&part), 1}, 0},
		{"pread64", {LOG, AT(&byte), 1, 0}, 0},
		{"splice", {LOG, 0, -1ULL, 0, 1, SPLICE_F_NONBLOCK}, 0},
		{"tee", {LOG, -1ULL, 1, SPLICE_F_NONBLOCK}, 0},
		{"shutdown", {LISTENER, SHUT_RDWR}, 0},
		{"shutdown", {DATAGRAMS, SHUT_RDWR}, 0},
		{"connect", {LISTENER, AT(&none), sizeof(none)}, 0},
		{"connect", {DATAGRAMS, AT(&places[LISTENER]), sizeof(*places)}, 0},
		{"bind", {LISTENER, AT(&places[LISTENER]), sizeof(*places)}, 0},
		{"setsockopt", {LISTENER, SOL_SOCKET, SO_ATTACH_FILTER, AT(&filter), sizeof(filter)}, 0},
		{"setsockopt", {DATAGRAMS, SOL_SOCKET, SO_ATTACH_FILTER, AT(&filter), sizeof(filter)}, 0},
		{"setsockopt", {LISTENER, IPPROTO_TCP, TCP_DEFER_ACCEPT, AT(&one), sizeof(one)}, 0},
		{"listen", {LISTENER, 0}, 0},
		{"dup", {LISTENER}, 0},
		{"dup2", {LISTENER, 99}, 0},
		{"dup3", {LISTENER, 99, 0}, 0},
		{"fcntl", {LISTENER, F_DUPFD, 99}, 0},
		{"fcntl", {LISTENER, F_DUPFD_CLOEXEC, 99}, 0},
		{"fcntl", {LOG, F_SETPIPE_SZ, (uint64_t)log_size * 2}, 0},
		{"fcntl", {LOG, HIGH | F_SETPIPE_SZ, (uint64_t)log_size * 2}, 0},
		{"dup3", {LOG, 99, 0}, 0},
	};

	(void)state;
	for (size_t i = 0; i < 2 * COUNT(changes); i++) {
		struct attempt change = changes[i / 2];

		change.arguments[0] = (i % 2 ? HIGH : 0) | (uint64_t)shared[change.arguments[0]];
		if (attempt(&change, true) != 0)
			fail_msg("%s (row %zu) got through", change.name, i / 2);
		assert_all_as_it_was(change.name);
	}
}

/* What is left to do with them; a socket's entry in /proc leads nowhere. */
static void what_does_not_is_left(void **state)
{
	static const struct sockaddr none = {.sa_family = AF_UNSPEC};
	static const int on = 1;
	char path[32];
	const struct attempt uses[] = {
		{"openat", {AT_FDCWD, AT(path), O_RDONLY}, ENXIO},
		{"sendto", {(uint64_t)shared[LISTENER], AT("x"), 1, MSG_FASTOPEN | MSG_NOSIGNAL, AT(&none), sizeof(none)}, 0},
		{"sendto", {(uint64_t)shared[DATAGRAMS], AT("x"), 1, 0, AT(&none), sizeof(none)}, 0},
		{"ioctl", {(uint64_t)shared[LISTENER], FIONBIO, AT(&on)}, EACCES},
		{"fcntl", {(uint64_t)shared[LISTENER], F_SETFL, O_NONBLOCK}, EACCES},
		{"fcntl", {(uint64_t)shared[LOG], F_GETFL}, 0},
		{"fcntl", {(uint64_t)log_end, F_SETPIPE_SZ, (uint64_t)log_size}, 0},
		{"close", {(uint64_t)shared[LISTENER]}, 0},
		{"shutdown", {99, SHUT_RDWR}, EBADF},
		{"setsockopt", {99, SOL_SOCKET, SO_KEEPALIVE, NOWHERE, 4}, EBADF},
		{"connect", {99, NOWHERE, 0}, EBADF},
		{"bind", {99, NOWHERE, 0}, EBADF},
		{"dup3", {99, (uint64_t)shared[LOG], 0}, EBADF},
	};

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", shared[LISTENER]);
	for (size_t i = 0; i < COUNT(uses); i++) {
		if (attempt(&uses[i], false) != 0)
			fail_msg("%s (row %zu)", uses[i].name, i);
		assert_all_as_it_was(uses[i].name);
	}
	assert_int_equal(fcntl(shared[LISTENER], F_GETFL) & O_NONBLOCK, 0);
}

/* What stands there already is not written over. */
static void text_of_others_stays(void **state)
{
	const struct attempt seek = {"lseek", {(uint64_t)shared[TEXT], 0, SEEK_SET}, EACCES};
	const struct attempt map = {
		"mmap", {0, 9, PROT_READ | PROT_WRITE, MAP_SHARED, (uint64_t)shared[TEXT], 0}, 0};

	(void)state;
	assert_int_equal(attempt(&seek, false), 0);
	assert_int_equal(attempt(&map, true), 0);
	assert_all_as_it_was("lseek and mmap");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_worker_has_no_use_for_kills_it),
		cmocka_unit_test(what_it_needs_is_left),
		cmocka_unit_test_setup_teardown(what_changes_it_for_others_kills, share, unshare_all),
		cmocka_unit_test_setup_teardown(what_does_not_is_left, share, unshare_all),
		cmocka_unit_test_setup_teardown(text_of_others_stays, share, unshare_all),
	};

#if defined(__SANITIZE_ADDRESS__)
	/* The sanitizers need more calls than a worker: there is no filter then. */
	puts("1..1\nok 1 - calls # SKIP no filter under AddressSanitizer");
	return 0;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
