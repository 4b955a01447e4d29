// SPDX-License-Identifier: BSD-2-Clause
/* The system calls of a worker: what it takes to read, to compute and to speak over sockets. */
#include "privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* By name: not every machine and libseccomp has all of them. */
static const char *const allowed[] = {
	/* descriptors and sockets that are there */
	"read", "write", "readv", "writev", "pread64", "recv", "recvfrom", "recvmsg", "recvmmsg",
	"send", "sendto", "sendmsg", "sendmmsg", "splice", "tee", "pipe", "pipe2", "close",
	"close_range", "shutdown", "connect", "bind", "accept", "accept4", "getsockopt",
	"setsockopt", "getsockname", "getpeername", "lseek", "_llseek", "dup3",
	/* waiting and time */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6",
	"eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_settime64",
	"nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "clock_gettime",
	"clock_gettime64", "clock_getres", "gettimeofday", "time",
	"alarm", "setitimer", /* one or the other is alarm(3): server_end.c */
	/* looking: roots, hosts file and resolv.conf are read again at a reload */
	"fstat", "fstat64", "fstatfs", "newfstatat", "fstatat64", "stat", "stat64", "lstat",
	"lstat64", "statx", "access", "faccessat", "faccessat2", "getdents64", "readlink",
	"readlinkat", "getcwd",
	/* memory and threads of its own */
	"munmap", "madvise", "brk", "futex", "futex_time64", "set_robust_list",
	"set_tid_address", "rseq", "membarrier", "sched_yield", "sched_getaffinity", "getcpu",
	"restart_syscall", "exit", "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sigreturn", "sigaltstack", "rt_sigtimedwait", "getpid", "gettid", "getuid", "getuid32",
	"geteuid", "geteuid32", "getgid", "getgid32", "getegid", "getegid32", "getrusage",
	"getrlimit", "ugetrlimit", "getrandom", "uname", "sysinfo", "times", "arch_prctl",
};

/* Allowed where (argument & mask) == value. */
struct condition {
	const char *name;
	unsigned argument;
	uint64_t mask, value;
};
static const struct condition conditions[] = {
	/* nothing is written or made */
	{"open", 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
	{"openat", 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
	/* no memory becomes a program */
	{"mmap", 2, PROT_EXEC, 0},
	{"mmap2", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	/* sockets to dial with; of raw ones it lacks the capability */
	{"socket", 0, UINT32_MAX, AF_INET},
	{"socket", 0, UINT32_MAX, AF_INET6},
	/* the kernel's records of flows: read, and taken */
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_DELETE_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_AND_DELETE_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_OBJ_GET_INFO_BY_FD},
	{"fcntl", 1, UINT32_MAX, F_GETFL},
	{"fcntl", 1, UINT32_MAX, F_GETFD},
	{"fcntl", 1, UINT32_MAX, F_SETFD},
	{"fcntl", 1, UINT32_MAX, F_SETPIPE_SZ},
	{"fcntl", 1, UINT32_MAX, F_GETPIPE_SZ},
	{"ioctl", 1, UINT32_MAX, FIONREAD},
	{"ioctl", 1, UINT32_MAX, TIOCOUTQ}, /* SIOCOUTQ */
	{"ioctl", 1, UINT32_MAX, TCGETS},   /* isatty(3) */
	{"prctl", 0, UINT32_MAX, PR_SET_NAME},
	{"prlimit64", 2, UINT64_MAX, 0}, /* only asked */
#if defined(__s390x__)
	{"clone", 1, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND},
#else
	{"clone", 0, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND},
#endif
};

/* Refused rather than deadly: libraries try these, and know another way. */
struct refusal {
	const char *name;
	int error;
};
static const struct refusal refused[] = {
	{"clone3", ENOSYS}, /* its flags cannot be seen from here; libc falls back to clone */
	/* A mapping of a part of shared memory could be made longer, over what is another worker's
	 * (shares.c); realloc(3) copies instead. */
	{"mremap", ENOMEM},
	{"sched_setaffinity", EPERM},
	{"setpriority", EPERM},
};

/* They change an open file for everybody who has it, or give it (dup3) a number that nobody looks for.
 * No other call gives one: socketpair(2) is not among `allowed`, for a descriptor that is sent to
 * oneself (SCM_RIGHTS) comes back under another number. */
static const char *const changes[] = {"shutdown", "connect", "bind", "setsockopt", "dup3"};

static int add(scmp_filter_ctx filter, uint32_t action, const char *name)
{
	int call = seccomp_syscall_resolve_name(name);

	/* Calls of other machines have negative numbers: libseccomp knows what to make of them. */
	return call == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, action, call, 0);
}

static int add_condition(scmp_filter_ctx filter, uint32_t action, const struct condition *c)
{
	int call = seccomp_syscall_resolve_name(c->name);

	if (call == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add(filter, action, call, 1,
				SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value));
}

/* To open for writing is what the log's writer tries with a pipe; abort(3) signals itself. A log's file
 * and pipe are shared with the supervisor and other workers, flags included: without O_APPEND what stands
 * in the log could be written over, without O_NONBLOCK all would wait for who reads it. */
static int add_special(scmp_filter_ctx filter)
{
	static const struct condition denied[] = {
		{"openat", 2, O_ACCMODE, O_WRONLY},
		{"openat", 2, O_ACCMODE, O_RDWR},
		{"fcntl", 1, UINT32_MAX, F_SETFL},
		{"ioctl", 1, UINT32_MAX, FIONBIO},
	};
	int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				  SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid()));

	for (size_t i = 0; rc == 0 && i < COUNT(denied); i++)
		rc = add_condition(filter, SCMP_ACT_ERRNO(EACCES), &denied[i]);
	return rc;
}

/* What was begun with MSG_MORE swallows the next answer of another worker, and sends it where it was to go
 * itself (udp(7), UDP_CORK). Which argument has the flags: */
static const struct {
	const char *name;
	unsigned argument;
} sends[] = {{"sendto", 3}, {"sendmsg", 2}, {"sendmmsg", 3}};

/* Sockets are read by recv(2) and its like. What is left are logs, for writing alone; but a terminal or a
 * FIFO may be open for reading, too: what is typed there, and others' lines, are not a worker's. */
static const char *const reads[] = {"read", "readv", "pread64", "splice", "tee"};

/* A caller's standard output may be a file that is not open for appending (its place is everybody's), and
 * open for reading, too (so that it can be mapped): nothing that stands there is written over. To seek is
 * refused, for stdio may try it. mmap(2) of s390 has all arguments in memory. */
static int guard_text(scmp_filter_ctx filter, int fd)
{
	const struct scmp_arg_cmp first = SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)fd);
	int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(lseek), 1, first);

	if (rc == 0)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(_llseek), 1, first);
#if !defined(__s390x__)
	for (size_t i = 0; rc == 0 && i < 2; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, i ? SCMP_SYS(mmap2) : SCMP_SYS(mmap), 1,
				      SCMP_A4(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)fd));
#endif
	return rc;
}

static int guard_sends(scmp_filter_ctx filter, int fd)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(sends); i++) {
		const struct scmp_arg_cmp of[] = {
			SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)fd),
			SCMP_CMP(sends[i].argument, SCMP_CMP_MASKED_EQ, MSG_MORE, MSG_MORE),
		};

		rc = seccomp_rule_add_array(filter, SCMP_ACT_KILL_PROCESS,
					    seccomp_syscall_resolve_name(sends[i].name), 2, of);
	}
	return rc;
}

static int guard(scmp_filter_ctx filter, int fd)
{
	/* The kernel takes an int: the upper half does not count. */
	const struct scmp_arg_cmp of[] = {
		SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)fd),
		SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, F_SETPIPE_SZ),
	};
	int rc = seccomp_rule_add_array(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(fcntl), 2, of);

	for (size_t i = 0; rc == 0 && i < COUNT(changes); i++)
		rc = seccomp_rule_add_array(filter, SCMP_ACT_KILL_PROCESS,
					    seccomp_syscall_resolve_name(changes[i]), 1, of);
	for (size_t i = 0; rc == 0 && i < COUNT(reads); i++)
		rc = seccomp_rule_add_array(filter, SCMP_ACT_KILL_PROCESS,
					    seccomp_syscall_resolve_name(reads[i]), 1, of);
	if (rc == 0)
		rc = guard_text(filter, fd);
	return rc == 0 ? guard_sends(filter, fd) : rc;
}

/* A filter of its own, since libseccomp has no 'any but these' in a rule: the kernel takes the worst
 * that any filter says. */
static int guard_and_load(scmp_filter_ctx filter, const int *shared, size_t count)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = shared[i] < 0 ? 0 : guard(filter, shared[i]);
	return rc == 0 ? seccomp_load(filter) : rc;
}

/* A call of another architecture (x32, 32-bit) would have other numbers than those judged: it
 * kills. */
static int build_and_load(scmp_filter_ctx filter)
{
	int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* A binary tree instead of a list: a few comparisons for each call. */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; rc == 0 && i < COUNT(allowed); i++)
		rc = add(filter, SCMP_ACT_ALLOW, allowed[i]);
	for (size_t i = 0; rc == 0 && i < COUNT(conditions); i++)
		rc = add_condition(filter, SCMP_ACT_ALLOW, &conditions[i]);
	for (size_t i = 0; rc == 0 && i < COUNT(refused); i++)
		rc = add(filter, SCMP_ACT_ERRNO((uint32_t)refused[i].error), refused[i].name);
	if (rc == 0)
		rc = add_special(filter);
	return rc == 0 ? seccomp_load(filter) : rc;
}

/* Killing the process, not the thread: half a worker would be worse than none. The second filter is
 * loaded first, for under the other one no more are. */
int privileges_limit_calls(const int *shared, size_t count, struct error *error)
{
#ifdef SANITIZED
	(void)build_and_load;
	(void)guard_and_load;
	(void)shared, (void)count, (void)error;
	return 0;
#else
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	scmp_filter_ctx second = seccomp_init(SCMP_ACT_ALLOW);
	int rc = filter && second ? guard_and_load(second, shared, count) : -ENOMEM;

	if (rc == 0)
		rc = build_and_load(filter);
	seccomp_release(filter);
	seccomp_release(second);
	return rc < 0 ? error_set(error, "cannot load the worker's seccomp filter: %s", strerror(-rc))
		      : 0;
#endif
}
