// SPDX-License-Identifier: BSD-2-Clause
/* Whose a cgroup is, by its name; and what is believed of a kubelet's pods. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node_pods.h"
#include "node_state.h"
#include "node_tree.h"

#define UID "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
/* as systemd's driver writes it */
#define UID_ "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9"
#define OTHER "11111111-2222-3333-4444-555555555555"
#define STATIC "0123456789abcdef0123456789abcdef"

static void uids(void **state)
{
	static const char *const wrong[] = {
		"",
		"0",
		"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f",
		"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f90",
		"0A1B2C3D-4e5f-6071-8293-a4b5c6d7e8f9",
		"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8/9",
		"0a1b2c3d-4e5f-6071-8293a-4b5c6d7e8f9",
		"------------------------------------",
		UID_,
		"0123456789abcdef0123456789abcde",
		"0123456789abcdef0123456789abcdeg",
		"../../../../../../../../../../../../",
	};

	(void)state;
	assert_true(node_uid_valid(UID));
	assert_true(node_uid_valid(STATIC));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(node_uid_valid(wrong[i]));
}

static void directories(void **state)
{
	static const struct {
		const char *parent, *name, *want; /* NULL: no pod's */
	} rows[] = {
		/* systemd's driver */
		{"kubepods.slice", "kubepods-pod" UID_ ".slice", UID},
		{"kubepods-burstable.slice", "kubepods-burstable-pod" UID_ ".slice", UID},
		{"kubepods-besteffort.slice", "kubepods-besteffort-pod" UID_ ".slice", UID},
		{"kubepods.slice", "kubepods-pod" STATIC ".slice", STATIC},
		/* cgroupfs' */
		{"kubepods", "pod" UID, UID},
		{"burstable", "pod" UID, UID},
		{"besteffort", "pod" STATIC, STATIC},
		/* kind: --cgroup-root=/kubelet */
		{"kubelet-kubepods.slice", "kubelet-kubepods-pod" UID_ ".slice", UID},
		{"kubelet-kubepods-burstable.slice", "kubelet-kubepods-burstable-pod" UID_ ".slice",
		 UID},
		/* what the parent does not repeat */
		{"kubepods.slice", "kubepods-burstable-pod" UID_ ".slice", NULL},
		{"kubepods-burstable.slice", "kubepods-besteffort-pod" UID_ ".slice", NULL},
		{"kubelet-kubepods.slice", "kubepods-pod" UID_ ".slice", NULL},
		/* the other driver's form */
		{"kubepods.slice", "kubepods-pod" UID ".slice", NULL},
		{"kubepods.slice", "pod" UID, NULL},
		{"burstable", "pod" UID_, NULL},
		{"kubepods", "kubepods-pod" UID_ ".slice", NULL},
		/* containers, and what is in them */
		{"kubepods-pod" UID_ ".slice", "kubepods-pod" UID_ "-pod" UID_ ".slice", NULL},
		{"kubepods-pod" UID_ ".slice", "cri-containerd-" STATIC STATIC ".scope", NULL},
		{"pod" UID, STATIC STATIC, NULL},
		{"pod" UID, "pod" OTHER, NULL},
		{"mykubepods.slice", "mykubepods-pod" UID_ ".slice", NULL},
		{"notburstable", "pod" UID, NULL},
		/* names that are too short, too long, or hold more */
		{"kubepods.slice", "kubepods-pod.slice", NULL},
		{"kubepods.slice", "kubepods.slice", NULL},
		{"kubepods.slice", ".slice", NULL},
		{"kubepods.slice", "kubepods-pod" UID_ "0.slice", NULL},
		{"kubepods.slice", "kubepods-pod" UID_, NULL},
		{"kubepods", "pod", NULL},
		{"kubepods", "pod" UID "x", NULL},
		{"", "pod" UID, NULL},
		{".slice", "-pod" UID_ ".slice", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char uid[NODE_UID_SIZE] = "untouched";
		bool found = node_tree_uid(rows[i].parent, rows[i].name, uid);

		if (found != (rows[i].want != NULL))
			print_message("%s/%s\n", rows[i].parent, rows[i].name);
		assert_int_equal(found, rows[i].want != NULL);
		assert_string_equal(uid, found ? rows[i].want : "untouched");
	}
}

static void classes(void **state)
{
	(void)state;
	assert_true(node_tree_class("kubepods", "burstable"));
	assert_true(node_tree_class("kubepods", "besteffort"));
	assert_true(node_tree_class("kubepods.slice", "kubepods-burstable.slice"));
	assert_true(node_tree_class("kubelet-kubepods.slice", "kubelet-kubepods-besteffort.slice"));
	assert_false(node_tree_class("kubepods.slice", "burstable"));
	assert_false(node_tree_class("kubepods.slice", "kubelet-kubepods-besteffort.slice"));
	assert_false(node_tree_class("kubepods-burstable.slice", "kubepods-burstable-burstable.slice"));
	assert_false(node_tree_class("burstable", "besteffort"));
	assert_false(node_tree_class("pod" UID, "burstable"));
	assert_false(node_tree_class("kubepods", "pod" UID));
	assert_false(node_tree_class("kubepods.slice", "kubepods-xburstable.slice"));
}

/* ---- a tree (what is in one: tests/e2e/test_node.py) -------------------------------------------- */

static void no_tree(void **state)
{
	static const char *const roots[] = {"/nonexistent/kubepods", NULL};
	struct node_tree *tree = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(node_tree_open(roots, &tree, &error), -1);
	assert_non_null(strstr(error.text, "/nonexistent/kubepods"));
	assert_null(tree);
}

/* ---- the kubelet's answer --------------------------------------------------------------------- */

static int parse(const char *text, struct node_records *ret)
{
	return node_pods_parse(span_from(text), ret, NULL);
}

#define LIST(items) "{\"kind\": \"PodList\", \"items\": [" items "]}"
#define POD(uid, labels) "{\"metadata\": {\"uid\": \"" uid "\", \"name\": \"a\", \"namespace\": \"b\", " \
	"\"annotations\": {\"egress-bpf/policy\": \"open\"}, \"labels\": {" labels "}}, \"spec\": {}}"
#define LABEL(value) "\"egress-bpf/policy\": " value

static void labels(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{LIST(POD(UID, "")), ""},
		{LIST(POD(UID, "\"egress-bpf/other\": \"web\"")), ""},
		{LIST(POD(UID, LABEL("\"web\""))), "web"},
		{LIST(POD(UID, LABEL("\"A.b-c_9\""))), "A.b-c_9"},
		{LIST(POD(UID, LABEL("\"\""))), "!"},
		{LIST(POD(UID, LABEL("\"..\""))), "!"},
		{LIST(POD(UID, LABEL("\"../web\""))), "!"},
		{LIST(POD(UID, LABEL("\"a/b\""))), "!"},
		{LIST(POD(UID, LABEL("\".web\""))), "!"},
		{LIST(POD(UID, LABEL("\"web-\""))), "!"},
		{LIST(POD(UID, LABEL("\"!\""))), "!"},
		{LIST(POD(UID, LABEL("\"web\\n\""))), "!"},
		{LIST(POD(UID, LABEL("\"web\\u0000\""))), "!"},
		{LIST(POD(UID, LABEL("null"))), "!"},
		{LIST(POD(UID, LABEL("7"))), "!"},
		{LIST(POD(UID, LABEL("[\"web\"]"))), "!"},
		{LIST(POD(UID, LABEL("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
				     "\""))), "!"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct node_records records = {0};

		assert_int_equal(parse(rows[i].text, &records), 0);
		assert_int_equal(records.count, 1);
		assert_string_equal(records.items[0].uid, UID);
		assert_string_equal(records.items[0].policy, rows[i].want);
		assert_string_equal(records.items[0].name, "b/a");
		node_records_free(&records);
	}
}

static void lists(void **state)
{
	static const char *const wrong[] = {
		"", "{", "[]", "null", "{}", "{\"items\": []}", "{\"kind\": \"Status\", \"items\": []}",
		"{\"kind\": \"PodList\"}", "{\"kind\": \"PodList\", \"items\": {}}",
		"{\"kind\": \"PodList\", \"items\": \"x\"}",
	};
	struct node_records records = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse(wrong[i], &records), -1);
	assert_int_equal(parse("{\"kind\": \"PodList\", \"items\": null}", &records), 0);
	assert_int_equal(records.count, 0);
	/* no uid, or none that is one: left out, and the others stay */
	assert_int_equal(parse(LIST("{}, 7, null, {\"metadata\": {\"uid\": 7}}, " POD("../x", "") ", "
				    POD(UID, LABEL("\"web\""))), &records), 0);
	assert_int_equal(records.count, 1);
	node_records_free(&records);
	/* two pods of one uid: neither is believed, and a third is not concerned */
	assert_int_equal(parse(LIST(POD(UID, LABEL("\"web\"")) ", " POD(OTHER, LABEL("\"a\"")) ", "
				    POD(UID, "")), &records), 0);
	assert_int_equal(records.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(records.items[i].policy,
				    strcmp(records.items[i].uid, UID) == 0 ? "!" : "a");
	node_records_free(&records);
}

static void ports(void **state)
{
	struct node_records records = {0};

	(void)state;
	assert_int_equal(
		parse(LIST("{\"metadata\": {\"uid\": \"" UID "\"}, \"spec\": {\"hostNetwork\": true, "
			   "\"containers\": [{\"ports\": [{\"containerPort\": 80}, "
			   "{\"containerPort\": 53, \"protocol\": \"UDP\"}, {\"containerPort\": 0}, "
			   "{\"containerPort\": 65536}, {\"containerPort\": -1}, "
			   "{\"containerPort\": \"81\"}, "
			   "{\"containerPort\": 443, \"protocol\": \"TCP\"}, {\"containerPort\": 80}]}, "
			   "{\"ports\": 7}, 7]}}"),
		      &records),
		0);
	assert_true(records.items[0].host_network);
	assert_string_equal(records.items[0].name, "unnamed");
	assert_int_equal(records.items[0].port_count, 2);
	assert_int_equal(records.items[0].ports[0], 80);
	assert_int_equal(records.items[0].ports[1], 443);
	node_records_free(&records);
}

/* ---- between two processes -------------------------------------------------------------------- */

static void there_and_back(void **state)
{
	struct node_records records = {0}, again = {0};
	struct bytes lines = {0};

	(void)state;
	assert_int_equal(parse(LIST("{\"metadata\": {\"uid\": \"" UID "\", \"name\": \"n\\u001b[31m\", "
				    "\"namespace\": \"x\"}}, " POD(OTHER, LABEL("\"web\"")) ", "
				    POD(STATIC, LABEL("\"..\""))), &records), 0);
	assert_int_equal(node_pods_write(&records, &lines), 0);
	assert_int_equal(node_pods_read(bytes_span(&lines), &again, NULL), 0);
	assert_int_equal(again.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(again.items[i].uid, records.items[i].uid);
		assert_string_equal(again.items[i].policy, records.items[i].policy);
		assert_string_equal(again.items[i].name, records.items[i].name);
	}
	node_records_free(&records);
	node_records_free(&again);
	bytes_free(&lines);
}

static void wrong_lines(void **state)
{
	static const char *const wrong[] = {
		"", UID " web pod b/a \n", "end", "end\nx", "end\nend\n", "\nend\n",
		UID " web pod b/a\nend\n", UID " web pod b/a  \nend\n", UID " web other b/a \nend\n",
		UID " ../web pod b/a \nend\n", "../x web pod b/a \nend\n", UID " web pod b/\033a \nend\n",
		UID " web pod b/a 0,\nend\n", UID " web pod b/a 80;81\nend\n",
		UID " web pod b/a 65536,\nend\n", UID "  pod b/a \nend\n",
		UID " web pod b/a 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,\nend\n",
	};
	struct node_records records = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(node_pods_read(span_from(wrong[i]), &records, NULL), -1);
	assert_null(records.items);
	assert_int_equal(node_pods_read(SPAN("end\0\n"), &records, NULL), -1);
	assert_int_equal(node_pods_read(SPAN("end\n"), &records, NULL), 0);
	assert_int_equal(records.count, 0);
}

/* ---- what the next agent has to know ---------------------------------------------------------- */

static char directory[] = "/tmp/egress-node-XXXXXX";

static void count_one(void *context, const char *uid)
{
	assert_string_equal(uid, UID);
	++*(int *)context;
}

static void notes(void **state)
{
	struct node_state one = {.cgroup_id = UINT64_C(0x123456789abcdef), .denied = "why \"so\"",
				 .note = "n"}, again = {.cgroup_id = 7};
	char path[512];
	struct stat status;
	int count = 0;

	(void)state;
	snprintf(one.record.uid, sizeof(one.record.uid), UID);
	snprintf(one.record.policy, sizeof(one.record.policy), "web");
	snprintf(one.record.name, sizeof(one.record.name), "b/a");
	assert_int_equal(node_state_read(directory, UID, &again, NULL), 0);
	assert_int_equal(node_state_write(directory, &one, NULL), 0);
	assert_int_equal(node_state_read(directory, UID, &again, NULL), 1);
	assert_true(again.cgroup_id == one.cgroup_id);
	assert_string_equal(again.denied, one.denied);
	assert_string_equal(again.note, one.note);
	assert_string_equal(again.record.policy, "web");
	/* cut within a character */
	snprintf(one.denied, sizeof(one.denied), "\"\xc3\xa9\xc3");
	assert_int_equal(node_state_write(directory, &one, NULL), 0);
	assert_int_equal(node_state_read(directory, UID, &again, NULL), 1);
	assert_string_equal(again.denied, "\"\xc3\xa9?");
	assert_int_equal(node_state_path(directory, UID, ".json", path, sizeof(path), NULL), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(node_state_each(directory, count_one, &count, NULL), 0);
	assert_int_equal(count, 1);
	/* another pod's file under this name */
	assert_int_equal(node_state_write_file(path, SPAN("{\"record\": \"" OTHER
		" web pod b/a \\nend\\n\", \"cgroup\": 1, \"denied\": \"\", \"note\": \"\"}"), NULL), 0);
	assert_int_equal(node_state_read(directory, UID, &again, NULL), -1);
	assert_int_equal(node_state_write_file(path, SPAN("{"), NULL), 0);
	assert_int_equal(node_state_read(directory, UID, &again, NULL), -1);
	/* left by an agent that was killed while it wrote */
	snprintf(path + strlen(path), sizeof(path) - strlen(path), ".new");
	assert_int_equal(node_state_write_file(path, SPAN("{"), NULL), 0);
	node_state_forget(directory, UID);
	assert_int_equal(node_state_read(directory, UID, &again, NULL), 0);
	assert_int_equal(rmdir(directory), 0);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uids),
		cmocka_unit_test(directories),
		cmocka_unit_test(classes),
		cmocka_unit_test(no_tree),
		cmocka_unit_test(labels),
		cmocka_unit_test(lists),
		cmocka_unit_test(ports),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(wrong_lines),
		cmocka_unit_test_setup(notes, make_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
