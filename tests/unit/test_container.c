// SPDX-License-Identifier: BSD-2-Clause
/* A container's cgroup by its ID, in the trees that the engines' drivers make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container.h"
#include "engine.h"

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "0123456789abffff0123456789abcdef0123456789abcdef0123456789abcdef"
#define C "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static void cuts_behind_the_container(void **state)
{
	static const struct {
		const char *path, *id, *want;
	} rows[] = {
		{"/sys/fs/cgroup/docker/" A, A, "/sys/fs/cgroup/docker/" A},
		{"/sys/fs/cgroup/docker/" A "/init.scope", A, "/sys/fs/cgroup/docker/" A},
		{"/c/system.slice/docker-" A ".scope/a/b", A, "/c/system.slice/docker-" A ".scope"},
		{"/c/machine.slice/libpod-" A ".scope/container", A,
		 "/c/machine.slice/libpod-" A ".scope"},
		{"/c/system.slice:docker:" A "/x", A, "/c/system.slice:docker:" A},
		{"/c/docker/" A "/x", "0123456789abcd", "/c/docker/" A},
		{"/c/docker/" B "/x", A, "/c/docker/" B "/x"},
		{"/c/default/box/x", "box", "/c/default/box"},
		{"/c/default/boxes/x", "box", "/c/default/boxes/x"},
		{"/c/machine.slice/libpod-conmon-" A ".scope", A,
		 "/c/machine.slice/libpod-conmon-" A ".scope"},
		{"/c/own/x", A, "/c/own/x"},
		{"/", A, "/"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *path = strdup(rows[i].path);

		container_cut(path, rows[i].id);
		assert_string_equal(path, rows[i].want);
		free(path);
	}
}

static char root[] = "/tmp/egress-container-XXXXXX";

static void make(const char *path)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "%s/%s", root, path);
	for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
		*at = '\0';
		assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
	}
	assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
}

static void found(const char *id, const char *want)
{
	struct error error = {0};
	char *path = NULL;

	assert_int_equal(container_search(root, id, &path, &error), 1);
	assert_string_equal(path + strlen(root) + 1, want);
	free(path);
}

static void searches(void **state)
{
	struct error error = {0};
	char *path = NULL;

	(void)state;
	make("docker/" A "/" A); /* made inside of the container: not looked at */
	make("kubepods.slice/kubepods-pod1.slice/cri-containerd-" C ".scope");
	make("machine.slice/libpod-conmon-" B ".scope");
	make("machine.slice/libpod-" B ".scope");
	found(A, "docker/" A);
	found("0123456789abc", "docker/" A);
	found("fedcba987654", "kubepods.slice/kubepods-pod1.slice/cri-containerd-" C ".scope");
	found(B, "machine.slice/libpod-" B ".scope");
	assert_int_equal(container_search(root, "fedcba98765", &path, &error), 0); /* 11 */
	assert_int_equal(container_search(root, "docker", &path, &error), 0);
	assert_int_equal(container_search(root, "aaaaaaaaaaaaa", &path, &error), 0);
	assert_int_equal(container_search(root, "0123456789ab", &path, &error), -1);
	assert_non_null(strstr(error.text, "two containers"));
	assert_null(path);
}

static void names(void **state)
{
	static const char *const good[] = {"a1", "web_1.x-y", A};
	static const char *const bad[] = {"", "-a", ".a", "a/b", "a b", "a?x=1", "a%2f", "a\n"};
	char longest[ENGINE_NAME_SIZE + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(engine_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(engine_name_valid(bad[i]));
	memset(longest, 'a', ENGINE_NAME_SIZE);
	longest[ENGINE_NAME_SIZE] = '\0';
	assert_false(engine_name_valid(longest));
}

static int begin(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_behind_the_container),
		cmocka_unit_test(searches),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
