// SPDX-License-Identifier: BSD-2-Clause
/* cgroup.c against the machine's own hierarchy. */
#include "wall.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"

static char *scratch(void)
{
	char *root = NULL, *path = NULL;

	assert_int_equal(cgroup_root(&root, NULL), 0);
	assert_true(asprintf(&path, "%s/egress-ctest-%d", root, getpid()) > 0);
	free(root);
	return path;
}

static int sleeper_in(const char *path)
{
	char file[500];
	int pipes[2], fd, pid;
	char byte = 0;

	assert_return_code(pipe(pipes), errno);
	pid = fork();
	if (pid == 0) {
		snprintf(file, sizeof(file), "%s/cgroup.procs", path);
		fd = open(file, O_WRONLY);
		byte = write(fd, "0", 1) == 1;
		if (write(pipes[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	close(pipes[0]);
	close(pipes[1]);
	return pid;
}

static void test_life(void **state)
{
	char *path = scratch(), *found = NULL, child[400], grandchild[420];
	uint32_t level, child_level;
	uint64_t id, child_id;
	int pid;

	(void)state;
	assert_int_equal(cgroup_create(path, NULL), 0);
	assert_int_equal(cgroup_create(path, NULL), -1);
	snprintf(child, sizeof(child), "%s/a", path);
	snprintf(grandchild, sizeof(grandchild), "%s/b", child);
	assert_int_equal(cgroup_create(child, NULL), 0);
	assert_int_equal(cgroup_create(grandchild, NULL), 0);
	assert_int_equal(cgroup_identity(path, &id, &level, NULL), 0);
	assert_int_equal(cgroup_identity(child, &child_id, &child_level, NULL), 0);
	assert_int_equal(level, 1);
	assert_int_equal(child_level, 2);
	assert_true(id != 0 && id != child_id);
	assert_int_equal(cgroup_any_pid(path), 0);
	pid = sleeper_in(grandchild);
	assert_int_equal(cgroup_any_pid(path), pid);
	assert_int_equal(cgroup_of_pid(pid, &found, NULL), 0);
	assert_string_equal(found, grandchild);
	free(found);
	assert_int_equal(cgroup_destroy(path, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
	waitpid(pid, NULL, 0);
	assert_int_equal(cgroup_destroy(path, NULL), 0);
	free(path);
}

/* The kernel's own word: what a link attached there says. */
static void test_identity(void **state)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = BPF_CGROUP_INET_SOCK_CREATE);
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info), level;
	char *path = scratch();
	int program, link, directory;
	uint64_t id;

	(void)state;
	assert_int_equal(cgroup_create(path, NULL), 0);
	assert_int_equal(cgroup_identity(path, &id, &level, NULL), 0);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	program = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK, "pass", "BSD", pass, 2, &options);
	link = bpf_link_create(program, directory, BPF_CGROUP_INET_SOCK_CREATE, NULL);
	assert_true(link >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(link, &info, &length), 0);
	assert_true(info.cgroup.cgroup_id == id);
	close(link);
	close(program);
	close(directory);
	assert_int_equal(cgroup_destroy(path, NULL), 0);
	free(path);
}

static void test_errors(void **state)
{
	struct error error = {0};
	uint32_t level;
	uint64_t id;
	char *path;

	(void)state;
	assert_int_equal(cgroup_identity("/nowhere", &id, &level, &error), -1);
	assert_non_null(strstr(error.text, "/nowhere"));
	assert_int_equal(cgroup_identity("/proc", &id, &level, NULL), -1);
	assert_int_equal(cgroup_identity("/etc/passwd", &id, &level, NULL), -1);
	assert_int_equal(cgroup_of_pid(0x7ffffff0, &path, NULL), -1);
	assert_int_equal(cgroup_any_pid("/nowhere"), 0);
	assert_int_equal(netns_of_pid(0x7ffffff0, NULL), -1);
}

static void test_netns(void **state)
{
	int here = netns_of_pid(getpid(), NULL), again = netns_of_pid(getpid(), NULL), other;

	(void)state;
	assert_true(here >= 0 && again >= 0);
	assert_true(netns_same(here, again));
	assert_return_code(unshare(CLONE_NEWNET), errno);
	other = netns_of_pid(getpid(), NULL);
	assert_false(netns_same(here, other));
	assert_return_code(setns(here, CLONE_NEWNET), errno);
	close(here);
	close(again);
	close(other);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_netns),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}

int main(void)
{
	return wall_main(run);
}
