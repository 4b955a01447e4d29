// SPDX-License-Identifier: BSD-2-Clause
/* A table of system calls, each made by a process of its own with the filter and without. As root
 * the two must differ, else the row would prove nothing. The arguments are such that a call that
 * gets through does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bottle_seccomp.h"

#define NOWHERE 1 /* a pointer to nothing: EFAULT where the kernel gets as far as to look */
#define HIGH 0x100000000ULL /* the kernel drops these bits of an int; the filter must, too */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct attempt {
	const char *name; /* of the system call */
	uint64_t arguments[5];
	int error;
};

static const struct attempt denied[] = {
	{"socket", {AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
	{"socket", {AF_PACKET, SOCK_DGRAM, 0}, EAFNOSUPPORT},
	{"socket", {HIGH | AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
	{"socket", {AF_VSOCK, SOCK_STREAM, 0}, EAFNOSUPPORT},
	{"socket", {AF_XDP, SOCK_RAW, 0}, EAFNOSUPPORT},
	{"socket", {AF_ALG, SOCK_SEQPACKET, 0}, EAFNOSUPPORT},
	{"socket", {AF_KEY, SOCK_RAW, 2}, EAFNOSUPPORT},
	{"socket", {AF_BLUETOOTH, SOCK_RAW, 1}, EAFNOSUPPORT},
	{"socket", {AF_CAN, SOCK_RAW, 1}, EAFNOSUPPORT},
	{"socket", {AF_TIPC, SOCK_STREAM, 0}, EAFNOSUPPORT},
	{"socket", {AF_RDS, SOCK_SEQPACKET, 0}, EAFNOSUPPORT},
	{"socket", {AF_QIPCRTR, SOCK_DGRAM, 0}, EAFNOSUPPORT},
	{"socket", {AF_SMC, SOCK_STREAM, 0}, EAFNOSUPPORT},
	{"socket", {AF_APPLETALK, SOCK_DGRAM, 0}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_AUDIT}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_XFRM}, EAFNOSUPPORT},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_GENERIC}, EAFNOSUPPORT},
	{"socket", {HIGH | AF_NETLINK, SOCK_RAW, NETLINK_GENERIC}, EAFNOSUPPORT},
	{"socketpair", {AF_TIPC, SOCK_STREAM, 0, NOWHERE}, EAFNOSUPPORT},
	{"io_uring_setup", {1, NOWHERE}, ENOSYS},
	{"io_uring_enter", {-1ULL, 0, 0, 0, 0}, ENOSYS},
	{"io_uring_register", {-1ULL, 0, 0, 0}, ENOSYS},
	{"setns", {-1ULL, CLONE_NEWNET}, EPERM},
	{"unshare", {CLONE_NEWNET}, EPERM},
	{"unshare", {CLONE_NEWUSER}, EPERM},
	{"unshare", {CLONE_NEWNS}, EPERM},
	{"unshare", {CLONE_NEWPID}, EPERM},
	{"unshare", {CLONE_NEWIPC}, EPERM},
	{"unshare", {CLONE_NEWUTS}, EPERM},
	{"unshare", {CLONE_NEWCGROUP}, EPERM},
	{"unshare", {CLONE_NEWTIME}, EPERM},
	{"unshare", {HIGH | CLONE_NEWUSER | CLONE_FILES}, EPERM},
	{"clone", {CLONE_NEWNET | SIGCHLD}, EPERM},
	{"clone", {CLONE_NEWUSER | SIGCHLD}, EPERM},
	{"clone", {CLONE_NEWNS | SIGCHLD}, EPERM},
	{"clone", {CLONE_NEWPID | SIGCHLD}, EPERM},
	{"clone", {CLONE_NEWCGROUP | SIGCHLD}, EPERM},
	{"clone", {HIGH | CLONE_NEWUSER | SIGCHLD}, EPERM},
	{"clone3", {NOWHERE, 64}, ENOSYS},
	{"keyctl", {0, -1ULL, 0}, EPERM},
	{"add_key", {NOWHERE, NOWHERE, 0, 0, 0}, EPERM},
	{"request_key", {NOWHERE, NOWHERE, 0, 0}, EPERM},
	{"bpf", {0xffff, NOWHERE, 8}, EPERM},
	{"perf_event_open", {NOWHERE, 0, -1ULL, -1ULL, 0}, EPERM},
	{"mount", {NOWHERE, NOWHERE, NOWHERE, 0, 0}, EPERM},
	{"umount2", {NOWHERE, 0}, EPERM},
	{"pivot_root", {NOWHERE, NOWHERE}, EPERM},
	{"chroot", {NOWHERE}, EPERM},
	{"move_mount", {-1ULL, NOWHERE, -1ULL, NOWHERE, 0}, EPERM},
	{"open_tree", {-1ULL, NOWHERE, 0}, EPERM},
	{"open_tree", {-1ULL, NOWHERE, 1 /* OPEN_TREE_CLONE */}, EPERM},
	{"fsopen", {NOWHERE, 0}, EPERM},
	{"fsconfig", {-1ULL, 0, NOWHERE, 0, 0}, EPERM},
	{"fsmount", {-1ULL, 0, 0}, EPERM},
	{"fspick", {-1ULL, NOWHERE, 0}, EPERM},
	{"mount_setattr", {-1ULL, NOWHERE, 0, NOWHERE, 32}, EPERM},
	{"open_by_handle_at", {-1ULL, NOWHERE, 0}, EPERM},
	{"pidfd_getfd", {-1ULL, 0, 0}, EPERM},
	{"userfaultfd", {0xffff}, EPERM},
	{"kexec_load", {0, -1ULL, NOWHERE, 0}, EPERM},
	{"kexec_file_load", {-1ULL, -1ULL, 0, NOWHERE, 0}, EPERM},
	{"init_module", {NOWHERE, 0, NOWHERE}, EPERM},
	{"finit_module", {-1ULL, NOWHERE, 0}, EPERM},
	{"delete_module", {NOWHERE, 0}, EPERM},
	{"reboot", {0, 0, 0}, EPERM},
	{"swapon", {NOWHERE, 0}, EPERM},
	{"swapoff", {NOWHERE}, EPERM},
	{"quotactl", {-1ULL, NOWHERE, 0, 0}, EPERM},
	{"acct", {NOWHERE}, EPERM},
	{"syslog", {99, 0, 0}, EPERM},
	{"settimeofday", {NOWHERE, 0}, EPERM},
	{"clock_settime", {0, NOWHERE}, EPERM},
	{"ioctl", {0, TIOCSTI, NOWHERE}, EPERM},
	{"ioctl", {0, HIGH | TIOCSTI, NOWHERE}, EPERM},
	{"ioctl", {0, 0x541c /* TIOCLINUX */, NOWHERE}, EPERM},
};

/* What a build needs, and what only looks like the above. */
static const struct attempt allowed[] = {
	{"socket", {AF_UNIX, SOCK_STREAM, 0}, 0},
	{"socket", {AF_UNIX, SOCK_SEQPACKET, 0}, 0},
	{"socket", {AF_INET, SOCK_STREAM, 0}, 0},
	{"socket", {AF_INET, SOCK_DGRAM, 0}, 0},
	{"socket", {AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}, 0},
	{"clone", {SIGCHLD}, 0},
	{"unshare", {CLONE_FILES | CLONE_FS}, 0},
	{"ioctl", {-1ULL, TIOCGWINSZ, NOWHERE}, EBADF},
	{"memfd_create", {NOWHERE, 0}, EFAULT},
	{"pidfd_open", {0, 0}, EINVAL},
	{"ptrace", {PTRACE_TRACEME, 0, 0, 0}, 0},
	{"process_vm_readv", {0, 0, 0, 0, 0}, 0},
};

static int number_of(const char *name)
{
	return seccomp_syscall_resolve_name(name);
}

static NORETURN void attempt_here(const struct attempt *attempt, bool filtered)
{
	const uint64_t *a = attempt->arguments;
	long result;

	if (filtered && bottle_seccomp_load(NULL, NULL) < 0)
		_exit(254);
	/* All six: what is not passed is what the register held. */
	result = syscall(number_of(attempt->name), a[0], a[1], a[2], a[3], a[4], 0L);
	/* After a clone that was let through there are two of us, and both come here. */
	_exit(result < 0 ? errno : 0);
}

/* The errno of the call, 0 when it succeeded, 1000 + N when signal N ended the process. */
static int outcome_of(pid_t pid)
{
	int status = 0;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int outcome(const struct attempt *attempt, bool filtered)
{
	pid_t pid = fork();

	if (pid == 0)
		attempt_here(attempt, filtered);
	return outcome_of(pid);
}

/* Where the test itself runs in a sandbox, or without privilege, a call may be refused anyway. */
static void test_denied(void **state)
{
	size_t known = 0, proved = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(denied); i++) {
		const struct attempt *attempt = &denied[i];
		int with, without;

		if (number_of(attempt->name) < 0)
			continue;
		with = outcome(attempt, true);
		without = outcome(attempt, false);
		known++;
		if (with != attempt->error)
			fail_msg("%s(%#llx, %#llx, %#llx): %d, expected %d", attempt->name,
				 (unsigned long long)attempt->arguments[0],
				 (unsigned long long)attempt->arguments[1],
				 (unsigned long long)attempt->arguments[2], with, attempt->error);
		if (without != with)
			proved++;
		else
			print_message("# %s(%#llx): refused without the filter, too\n",
				      attempt->name,
				      (unsigned long long)attempt->arguments[0]);
	}
	if (geteuid() == 0)
		assert_in_range(proved, known / 2, known);
}

static void test_allowed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(allowed); i++) {
		int with = outcome(&allowed[i], true);

		if (with != allowed[i].error)
			fail_msg("%s: %d, expected %d", allowed[i].name, with, allowed[i].error);
	}
}

#ifdef __x86_64__
/* The calls of 32-bit programs, which have other numbers: getpid is 20, mount 21, socket 359. */
static long call_as_i386(long number)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10",
								     "r11");
	return result;
}

static int foreign_outcome(bool x32, bool filtered)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (filtered && bottle_seccomp_load(NULL, NULL) < 0)
			_exit(254);
		_exit(x32 ? syscall(0x40000000 | SYS_getpid) < 0 : call_as_i386(20) < 0);
	}
	return outcome_of(pid);
}

static void test_foreign_architectures(void **state)
{
	(void)state;
	for (int x32 = 0; x32 < 2; x32++) {
		assert_int_equal(foreign_outcome(x32, true), 1000 + SIGSYS);
		assert_int_not_equal(foreign_outcome(x32, false), 1000 + SIGSYS);
	}
}
#endif

/* A debugger's work on its own child. */
static void test_tracing(void **state)
{
	static volatile int known = 4711;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		int seen = 0, status;
		struct iovec here = {&seen, sizeof(seen)};
		struct iovec there = {(void *)(uintptr_t)&known, sizeof(known)};
		pid_t child;

		if (bottle_seccomp_load(NULL, NULL) < 0)
			_exit(254);
		child = fork();
		if (child == 0) {
			known = 42;
			ptrace(PTRACE_TRACEME, 0, NULL, NULL);
			raise(SIGSTOP);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
		    process_vm_readv(child, &here, 1, &there, 1, 0) != sizeof(seen) ||
		    seen != 42 || ptrace(PTRACE_PEEKDATA, child, &known, NULL) == -1)
			_exit(1);
		kill(child, SIGKILL);
		_exit(0);
	}
	assert_int_equal(outcome_of(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_allowed),
#ifdef __x86_64__
		cmocka_unit_test(test_foreign_architectures),
#endif
		cmocka_unit_test(test_tracing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
