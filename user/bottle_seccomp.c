// SPDX-License-Identifier: BSD-2-Clause
/* A list of what is denied, unlike the worker's list of what is allowed: the command may be any
 * program. It closes ways that the kernel wall cannot see (io_uring), ways into the wall (bpf,
 * mounts, namespaces) and out of the terminal. */
#include "bottle_seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_KILLABLE (1UL << 5) /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, in newer headers */

struct denied_call {
	const char *name; /* by name: an older libseccomp or another machine may not know it */
	int error;
};

/* ENOSYS where programs have a fallback for kernels without the call. */
static const struct denied_call denied_calls[] = {
	/* does what a filter on socket(2) and connect(2) cannot see */
	{"io_uring_setup", ENOSYS},
	{"io_uring_enter", ENOSYS},
	{"io_uring_register", ENOSYS},
	/* its flags are in memory, where no filter can read them; libc falls back to clone */
	{"clone3", ENOSYS},
	/* programs and maps of the kernel wall */
	{"bpf", EPERM},
	{"perf_event_open", EPERM},
	/* the mount tree that hides cgroupfs, bpffs and secrets */
	{"mount", EPERM},
	{"umount2", EPERM},
	{"pivot_root", EPERM},
	{"chroot", EPERM},
	{"move_mount", EPERM},
	{"open_tree", EPERM},
	{"open_tree_attr", EPERM},
	{"fsopen", EPERM},
	{"fsconfig", EPERM},
	{"fsmount", EPERM},
	{"fspick", EPERM},
	{"mount_setattr", EPERM},
	{"open_by_handle_at", EPERM},
	/* other namespaces, other processes' descriptors */
	{"setns", EPERM},
	{"pidfd_getfd", EPERM},
	/* keyrings belong to a user, not to a bottle */
	{"keyctl", EPERM},
	{"add_key", EPERM},
	{"request_key", EPERM},
	/* the kernel itself */
	{"kexec_load", EPERM},
	{"kexec_file_load", EPERM},
	{"init_module", EPERM},
	{"finit_module", EPERM},
	{"delete_module", EPERM},
	{"userfaultfd", EPERM},
	{"iopl", EPERM},
	{"ioperm", EPERM},
	{"reboot", EPERM},
	{"swapon", EPERM},
	{"swapoff", EPERM},
	{"quotactl", EPERM},
	{"quotactl_fd", EPERM},
	{"acct", EPERM},
	{"syslog", EPERM},
	{"settimeofday", EPERM},
	{"clock_settime", EPERM},
};

/* One rule each, for a filter cannot ask for any of several bits. */
static const uint64_t namespace_flags[] = {CLONE_NEWNS,	  CLONE_NEWCGROUP, CLONE_NEWUTS,
					   CLONE_NEWIPC,  CLONE_NEWUSER,   CLONE_NEWPID,
					   CLONE_NEWNET};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A call that this libseccomp does not know cannot be named, nor called by its name. */
static int deny_calls(scmp_filter_ctx filter)
{
	for (size_t i = 0; i < COUNT(denied_calls); i++) {
		int call = seccomp_syscall_resolve_name(denied_calls[i].name);
		int rc;

		if (call == __NR_SCMP_ERROR)
			continue;
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)denied_calls[i].error),
				      call, 0);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* AF_UNIX, AF_INET, AF_INET6, and AF_NETLINK for routes and addresses (getaddrinfo needs it). */
static int deny_socket_families(scmp_filter_ctx filter)
{
	uint32_t action = SCMP_ACT_ERRNO(EAFNOSUPPORT);
	int rc = 0;

	for (unsigned family = 0; rc == 0 && family < AF_NETLINK; family++) {
		if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
			rc = seccomp_rule_add(filter, action, SCMP_SYS(socket), 1,
					      SCMP_A0(SCMP_CMP_EQ, family));
	}
	if (rc == 0)
		rc = seccomp_rule_add(filter, action, SCMP_SYS(socket), 1,
				      SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
	if (rc == 0)
		rc = seccomp_rule_add(filter, action, SCMP_SYS(socket), 2,
				      SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
				      SCMP_A2(SCMP_CMP_NE, NETLINK_ROUTE));
	/* TIPC makes pairs, too. */
	if (rc == 0)
		rc = seccomp_rule_add(filter, action, SCMP_SYS(socketpair), 1,
				      SCMP_A0(SCMP_CMP_NE, AF_UNIX));
	return rc;
}

/* A new user namespace would bring all capabilities back. */
static int deny_namespaces(scmp_filter_ctx filter)
{
	uint32_t action = SCMP_ACT_ERRNO(EPERM);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(namespace_flags); i++) {
		uint64_t flag = namespace_flags[i];

		rc = seccomp_rule_add(filter, action, SCMP_SYS(unshare), 1,
				      SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
		if (rc == 0)
#if defined(__s390x__)
			rc = seccomp_rule_add(filter, action, SCMP_SYS(clone), 1,
					      SCMP_A1(SCMP_CMP_MASKED_EQ, flag, flag));
#else
			rc = seccomp_rule_add(filter, action, SCMP_SYS(clone), 1,
					      SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
#endif
	}
	/* CLONE_NEWTIME lies among clone's signal bits, so it exists for unshare only. */
	if (rc == 0)
		rc = seccomp_rule_add(filter, action, SCMP_SYS(unshare), 1,
				      SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWTIME, CLONE_NEWTIME));
	return rc;
}

/* The terminal is shared with the shell outside: nothing may be typed into it. */
static int deny_terminal_input(scmp_filter_ctx filter)
{
	static const uint64_t requests[] = {TIOCSTI, 0x541c /* TIOCLINUX */};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(requests); i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
				      SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, requests[i]));
	return rc;
}

/* Both of them whatever the socket: its family is not among the arguments. */
static int hand_to_broker(scmp_filter_ctx filter)
{
	int rc = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(connect), 0);

	if (rc == 0)
		rc = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(bind), 0);
#ifdef __NR_socketcall
	/* The same two calls, with the arguments where no filter can read them. */
	if (rc == 0)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(socketcall), 0);
#endif
	return rc;
}

/* As seccomp_load() would, but with a flag that libseccomp 2.5 does not know: once the broker has
 * taken a call, only a fatal signal ends the wait for it. Otherwise a signal with SA_RESTART (Go's
 * SIGURG, say) would have bind() made twice, and the second time it fails. Linux 5.19. */
static int load_with_listener(scmp_filter_ctx filter, int *ret_listener)
{
	int fd = memfd_create("egress-filter", MFD_CLOEXEC), rc = fd < 0 ? -errno : 0;
	struct sock_fprog program = {0};
	struct stat status;
	void *code = MAP_FAILED;

	if (rc == 0)
		rc = seccomp_export_bpf(filter, fd);
	if (rc == 0 && fstat(fd, &status) < 0)
		rc = -errno;
	if (rc == 0) {
		code = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		rc = code == MAP_FAILED ? -errno : 0;
	}
	if (rc == 0) {
		program.filter = code;
		program.len = (unsigned short)((size_t)status.st_size / sizeof(struct sock_filter));
		rc = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				  SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE, &program);
		rc = rc < 0 ? -errno : rc;
	}
	if (code != MAP_FAILED)
		munmap(code, (size_t)status.st_size);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return rc;
	*ret_listener = rc;
	return 0;
}

/* Numbers of another architecture would pass by all rules, so they kill. */
static int build_and_load(scmp_filter_ctx filter, int *ret_listener)
{
	int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* A binary tree instead of a list: a dozen comparisons for each call, not a hundred. */
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = deny_calls(filter);
	if (rc == 0)
		rc = deny_socket_families(filter);
	if (rc == 0)
		rc = deny_namespaces(filter);
	if (rc == 0)
		rc = deny_terminal_input(filter);
	if (rc == 0 && ret_listener)
		rc = hand_to_broker(filter);
	if (rc == 0)
		rc = ret_listener ? load_with_listener(filter, ret_listener) : seccomp_load(filter);
	return rc;
}

int bottle_seccomp_load(int *ret_listener, struct error *error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc = filter ? build_and_load(filter, ret_listener) : -ENOMEM;

	if (filter)
		seccomp_release(filter);
	if (rc < 0)
		return error_set(error, "cannot load the seccomp filter: %s", strerror(-rc));
	return 0;
}
