// SPDX-License-Identifier: BSD-2-Clause
/* The programs on the bottle's cgroup: attached by links, pinned, replaced in place. */
#include "kernel_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"

/* The packet wall first: what the others have not seen yet cannot leave any more. */
const struct kernel_program kernel_programs[KERNEL_PROGRAM_COUNT] = {
	{"egress", "4.10"},	 {"ingress", "4.10"},	{"sock_create", "4.10"},
	{"connect4", "4.17"},	 {"connect6", "4.17"},	{"sendmsg4", "4.18"},
	{"sendmsg6", "4.18"},	 {"bind4", "4.17"},	{"bind6", "4.17"},
	{"recvmsg4", "5.2"},	 {"recvmsg6", "5.2"},	{"getpeername4", "5.8"},
	{"getpeername6", "5.8"}, {"sock_release", "5.9"}, {"setsockopt", "5.3"},
};

/* By the index of kernel_programs. */
static const enum bpf_attach_type attach_types[KERNEL_PROGRAM_COUNT] = {
	BPF_CGROUP_INET_EGRESS,	      BPF_CGROUP_INET_INGRESS,	    BPF_CGROUP_INET_SOCK_CREATE,
	BPF_CGROUP_INET4_CONNECT,     BPF_CGROUP_INET6_CONNECT,	    BPF_CGROUP_UDP4_SENDMSG,
	BPF_CGROUP_UDP6_SENDMSG,      BPF_CGROUP_INET4_BIND,	    BPF_CGROUP_INET6_BIND,
	BPF_CGROUP_UDP4_RECVMSG,      BPF_CGROUP_UDP6_RECVMSG,	    BPF_CGROUP_INET4_GETPEERNAME,
	BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_INET_SOCK_RELEASE,
	BPF_CGROUP_SETSOCKOPT,
};

/* What installing one program did, to be undone. */
struct step {
	int link;	 /* of a living link whose program was replaced, else -1 */
	int old_program; /* what it ran before */
	bool made;	 /* the pin is new */
};

static int link_info(int link, struct bpf_link_info *ret_info)
{
	__u32 length = sizeof(*ret_info);

	memset(ret_info, 0, sizeof(*ret_info));
	return bpf_obj_get_info_by_fd(link, ret_info, &length);
}

uint64_t kernel_link_cgroup(const char *name, const char *program)
{
	int link = kernel_pin_open(name, "link", program);
	struct bpf_link_info info;
	uint64_t id = 0;

	if (link < 0)
		return 0;
	if (link_info(link, &info) == 0 && info.type == BPF_LINK_TYPE_CGROUP)
		id = info.cgroup.cgroup_id;
	close(link);
	/* A removed cgroup keeps its links until its last socket has gone, and they go on telling
	 * its id. */
	return id && cgroup_exists(id) ? id : 0;
}

int kernel_links_check(const char *name, uint64_t cgroup_id, struct error *error)
{
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		uint64_t id = kernel_link_cgroup(name, kernel_programs[i].name);

		if (id != 0 && id != cgroup_id)
			return error_set(error,
					 "'%s' is the wall of another cgroup (id %llu, not %llu); "
					 "choose another name, or 'egress-bpf detach %s' first",
					 name, (unsigned long long)id,
					 (unsigned long long)cgroup_id, name);
	}
	return 0;
}

static int attach_error(size_t i, const char *what, struct error *error)
{
	return error_set(error, "program '%s' (Linux %s and later): %s: %s",
			 kernel_programs[i].name, kernel_programs[i].since, what, strerror(errno));
}

/* Flags none: links on a cgroup are BPF_F_ALLOW_MULTI, so a program of a child cgroup can refuse
 * more but never allow again. */
static int make_link(const char *name, size_t i, int cgroup_fd, int program, struct step *step,
		     struct error *error)
{
	char path[KERNEL_PATH_SIZE];
	int result = 0, link;

	kernel_pin_path(path, name, "link", kernel_programs[i].name);
	link = bpf_link_create(program, cgroup_fd, attach_types[i], NULL);
	if (link < 0)
		return attach_error(i, "cannot attach to the cgroup", error);
	/* The old pin is that of a cgroup that is no more, or of a link that could not be looked at:
	 * it goes when the new one is in force. */
	if (unlink(path) < 0 && errno != ENOENT)
		result = attach_error(i, "cannot remove the pin of a dead link", error);
	else if (bpf_obj_pin(link, path) < 0)
		result = attach_error(i, "cannot pin the link", error);
	else
		step->made = true;
	close(link);
	return result;
}

/* bpf_link_update() swaps in one step: no packet finds the hook without a program. The old one is
 * kept open until all are replaced, for undo(). */
static int replace_program(size_t i, int link, int program, struct step *step, struct error *error)
{
	struct bpf_link_info info;

	if (link_info(link, &info) < 0)
		return attach_error(i, "cannot look at the link", error);
	step->old_program = bpf_prog_get_fd_by_id(info.prog_id);
	if (step->old_program < 0)
		return attach_error(i, "cannot look at the program in force", error);
	if (bpf_link_update(link, program, NULL) < 0)
		return attach_error(i, "cannot replace the program", error);
	step->link = link;
	return 0;
}

/* The pin of a link whose cgroup is gone counts as missing. */
static int install_one(const char *name, size_t i, int cgroup_fd, int program, struct step *step,
		       struct error *error)
{
	int link;

	if (kernel_link_cgroup(name, kernel_programs[i].name) == 0)
		return make_link(name, i, cgroup_fd, program, step, error);
	link = kernel_pin_open(name, "link", kernel_programs[i].name);
	if (link < 0)
		return attach_error(i, "cannot open the pinned link", error);
	if (replace_program(i, link, program, step, error) < 0) {
		close(link);
		return -1;
	}
	return 0;
}

/* As well as it goes: what cannot be put back stays with the new program, which refuses no less. */
static void undo(const char *name, const struct step *steps)
{
	char path[KERNEL_PATH_SIZE];

	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		if (steps[i].link >= 0)
			bpf_link_update(steps[i].link, steps[i].old_program, NULL);
		if (steps[i].made)
			unlink(kernel_pin_path(path, name, "link", kernel_programs[i].name));
	}
}

static void close_steps(struct step *steps)
{
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++) {
		if (steps[i].link >= 0)
			close(steps[i].link);
		if (steps[i].old_program >= 0)
			close(steps[i].old_program);
	}
}

int kernel_links_install(const char *name, int cgroup_fd, const int programs[], struct error *error)
{
	struct step steps[KERNEL_PROGRAM_COUNT];
	int result = 0;

	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT; i++)
		steps[i] = (struct step){.link = -1, .old_program = -1};
	for (size_t i = 0; i < KERNEL_PROGRAM_COUNT && result == 0; i++)
		result = install_one(name, i, cgroup_fd, programs[i], &steps[i], error);
	if (result < 0)
		undo(name, steps);
	close_steps(steps);
	return result;
}
