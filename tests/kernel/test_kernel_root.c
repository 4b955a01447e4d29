// SPDX-License-Identifier: BSD-2-Clause
/* What root in the bottle, with every capability, may not ask of the kernel; and what it may. */
#include "wall.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void need_root_wall(const struct wall *wall)
{
	struct kernel_status status = {0};
	size_t attached = 0;

	if (!kernel_root_walled(wall->kernel)) {
		printf("this kernel takes no programs at its security hooks\n");
		skip();
	}
	assert_int_equal(kernel_read_status(wall->name, &status, NULL), 0);
	assert_int_equal(status.settings.root_wall, EGRESS_UNIX_WALLED);
	for (size_t i = 0; i < status.link_count; i++)
		attached += strncmp(status.links[i].name, "root_", 5) == 0 && status.links[i].attached;
	assert_int_equal(attached, 4);
	kernel_status_free(&status);
}

/* ---- what is asked for: 0 or an errno --------------------------------------------------------------- */

static int make_socket(int family, int type, int protocol)
{
	int fd = socket(family, type, protocol);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int call_bpf(int command, union bpf_attr *attr)
{
	int fd = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int make_map(void)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
			       .max_entries = 1};

	return call_bpf(BPF_MAP_CREATE, &attr);
}

static int load_program(unsigned type)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {.prog_type = type, .insns = (uintptr_t)nothing, .insn_cnt = 2,
			       .license = (uintptr_t) "GPL"};

	return call_bpf(BPF_PROG_LOAD, &attr);
}

/* On loopback, where nobody hears the report. 0 or an errno. */
static int join_group(void)
{
	struct ip_mreqn *group = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	long result;

	group->imr_ifindex = 1;
	group->imr_multiaddr.s_addr = htonl(0xef010203);
	if (takes_32bit_calls())
		result = set_option32(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, sizeof(*group));
	else
		result = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, group, sizeof(*group)) ? -errno : 0;
	close(fd);
	munmap(group, 4096);
	return (int)-result;
}

/* A request to make a bridge, with up to `fillers` attributes before the one of `type`, or without. */
struct request {
	struct nlmsghdr header;
	struct ifinfomsg body;
	char attributes[2048];
};

static void put_attribute(struct request *r, unsigned type, const void *value, size_t size)
{
	struct rtattr *at = (void *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

	at->rta_type = (unsigned short)type;
	at->rta_len = (unsigned short)RTA_LENGTH(size);
	memcpy(RTA_DATA(at), value, size);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(at->rta_len);
}

static void put_request(struct request *r, const char *name, unsigned type, int fillers)
{
	static const char info[] = {11, 0, IFLA_INFO_KIND, 0, 'b', 'r', 'i', 'd', 'g', 'e', 0, 0};
	const int id = 0;

	memset(r, 0, sizeof(*r));
	r->header.nlmsg_len = NLMSG_LENGTH(sizeof(r->body));
	r->header.nlmsg_type = RTM_NEWLINK;
	r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	put_attribute(r, IFLA_IFNAME, name, strlen(name) + 1);
	put_attribute(r, IFLA_LINKINFO, info, sizeof(info));
	for (int i = 0; i < fillers; i++)
		put_attribute(r, IFLA_GROUP, &id, sizeof(id));
	if (type)
		put_attribute(r, type, &id, sizeof(id));
}

/* The answer to the last of what is sent: an errno, 0 for an acknowledgement. */
static int ask_links(const void *requests, size_t size, int answers)
{
	int result = 0, fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char more[4096];
	} answer;

	if (send(fd, requests, size, 0) < 0)
		result = errno;
	for (int i = 0; i < answers && result == 0; i++) {
		if (recv(fd, &answer, sizeof(answer), 0) < 0)
			result = errno;
		else
			result = -answer.error.error;
	}
	close(fd);
	return result;
}

static int make_bridge(const char *name, unsigned type, int fillers)
{
	struct request r;

	put_request(&r, name, type, fillers);
	return ask_links(&r, r.header.nlmsg_len, 1);
}

/* Behind another request, in the same message to the kernel. */
static int make_second_bridge(unsigned type)
{
	static struct request both[2];
	struct request second;
	size_t size;

	put_request(&both[0], "rtfirst", 0, 0);
	size = NLMSG_ALIGN(both[0].header.nlmsg_len);
	put_request(&second, "rtsecond", type, 0);
	memcpy((char *)both + size, &second, second.header.nlmsg_len);
	return ask_links(both, size + second.header.nlmsg_len, 2);
}

/* ---- in the bottle ---------------------------------------------------------------------------------- */

/* The number of the first line that is not as it should be. */
static int refused(void *unused)
{
	(void)unused;
	if (make_socket(AF_PACKET, SOCK_RAW, 0) != EPERM || make_socket(AF_PACKET, SOCK_DGRAM, 0) != EPERM)
		return __LINE__ % 256;
	if (make_socket(44 /* AF_XDP */, SOCK_RAW, 0) != EPERM)
		return __LINE__ % 256;
	if (join_group() != EPERM)
		return __LINE__ % 256;
	if (make_map() != EPERM || load_program(BPF_PROG_TYPE_SCHED_CLS) != EPERM)
		return __LINE__ % 256;
	if (make_bridge("rtlink", IFLA_LINK_NETNSID, 0) != EPERM ||
	    make_bridge("rtlink", IFLA_LINK_NETNSID | NLA_F_NESTED, 3) != EPERM ||
	    make_bridge("rttarget", IFLA_TARGET_NETNSID, 100) != EPERM)
		return __LINE__ % 256;
	return make_second_bridge(IFLA_LINK_NETNSID) != EPERM ? __LINE__ % 256 : 0;
}

static int permitted(void *unused)
{
	(void)unused;
	if (make_socket(AF_UNIX, SOCK_STREAM, 0) || make_socket(AF_INET, SOCK_STREAM, 0) ||
	    make_socket(AF_INET6, SOCK_DGRAM, 0) || make_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE))
		return __LINE__ % 256;
	if (load_program(BPF_PROG_TYPE_CGROUP_DEVICE))
		return __LINE__ % 256;
	if (make_bridge("rtone", 0, 0) || make_bridge("rttwo", 0, 100) || make_second_bridge(0))
		return __LINE__ % 256;
	return 0;
}

/* Nobody else is refused. That what names a namespace is a valid request: another error, or none. */
static int elsewhere(void *unused)
{
	(void)unused;
	if (make_socket(AF_PACKET, SOCK_RAW, 0) || make_map() || load_program(BPF_PROG_TYPE_SCHED_CLS) ||
	    join_group())
		return __LINE__ % 256;
	return make_bridge("rtlink", IFLA_LINK_NETNSID, 0) == EPERM ? __LINE__ % 256 : 0;
}

static void test_refused(void **state)
{
	struct wall *wall = *state;

	need_root_wall(wall);
	assert_int_equal(wall_run(wall, refused), 0);
	assert_true(wall_counter(wall, EGRESS_PROTOCOL_NOT_ALLOWED) >= 9);
}

static int home;

/* In the supervisor's own network namespace, wherever it got the descriptor from. */
static int refused_at_home(void *unused)
{
	(void)unused;
	if (setns(home, CLONE_NEWNET) < 0)
		return 1;
	if (make_socket(AF_INET, SOCK_DGRAM, 0) != EPERM ||
	    make_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) != EPERM)
		return 2;
	return make_socket(AF_UNIX, SOCK_STREAM, 0);
}

static void test_at_home(void **state)
{
	struct wall *wall = *state;

	need_root_wall(wall);
	home = wall->home;
	assert_int_equal(wall_run(wall, refused_at_home), 0);
	assert_int_equal(wall_run_outside(wall, refused_at_home), 2);
}

static void test_permitted(void **state)
{
	struct wall *wall = *state;

	need_root_wall(wall);
	assert_int_equal(wall_run(wall, permitted), 0);
	assert_int_equal(wall_run_outside(wall, elsewhere), 0);
}

/* ---- having left the cgroup ----------------------------------------------------------------------------- */

static int pids_fd;

static int refused_below(void *unused)
{
	int pid, status;

	(void)unused;
	if (setns(pids_fd, CLONE_NEWPID) < 0)
		return 1;
	pid = fork();
	if (pid == 0)
		_exit(refused(NULL));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static void test_pid_namespace(void **state)
{
	struct wall *wall = *state;

	need_root_wall(wall);
	assert_int_equal(wall_run_outside(wall, refused_below), 0);
	assert_int_equal(wall_run_outside(wall, elsewhere), 0);
}

/* ---- fixtures ------------------------------------------------------------------------------------------ */

static int holder;

static int setup(void **state)
{
	return wall_setup_root(state, 0);
}

static int setup_pids(void **state)
{
	struct stat st;

	if (unshare(CLONE_NEWPID) < 0)
		return -1;
	holder = fork();
	if (holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	pids_fd = open("/proc/self/ns/pid_for_children", O_RDONLY | O_CLOEXEC);
	if (pids_fd < 0 || fstat(pids_fd, &st) < 0)
		return -1;
	if (setns(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), CLONE_NEWPID) < 0)
		return -1;
	return wall_setup_root(state, (uint32_t)st.st_ino);
}

static int teardown_pids(void **state)
{
	wall_kill(holder);
	close(pids_fd);
	return wall_teardown(state);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_permitted, setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_at_home, setup, wall_teardown),
		cmocka_unit_test_setup_teardown(test_pid_namespace, setup_pids, teardown_pids),
	};

	return cmocka_run_group_tests_name("kernel: root", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
