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
#include <linux/sched.h>
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
	uint64_t arguments[5];
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
	{"socketpair", {AF_TIPC, SOCK_STREAM, 0, NOWHERE}, 0},
	{"listen", {-1ULL, 1}, 0},
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
};

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
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || privileges_limit_calls(NULL) < 0)
			_exit(1);
		long result = syscall(call, x[0], x[1], x[2], x[3], x[4], 0);

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_worker_has_no_use_for_kills_it),
		cmocka_unit_test(what_it_needs_is_left),
	};

#if defined(__SANITIZE_ADDRESS__)
	/* The sanitizers need more calls than a worker: there is no filter then. */
	puts("1..1\nok 1 - calls # SKIP no filter under AddressSanitizer");
	return 0;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
