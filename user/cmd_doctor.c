// SPDX-License-Identifier: BSD-2-Clause
/* doctor: what this machine has, and whether a wall on it holds. */
#include <errno.h>
#include <jansson.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cgroup.h"
#include "cmd.h"
#include "diag.h"
#include "kernel.h"
#include "self_test.h"
#include "tls_provider.h"

static const char help_text[] =
	"usage: egress-bpf doctor [--json]\n"
	"\n"
	"Says what this machine has of what is needed. Then puts up a wall round a scratch cgroup in\n"
	"scratch network namespaces, tries to get out in every way it knows, and watches the wire.\n"
	"Leaves nothing behind. No packet leaves the machine.\n"
	"\n"
	"  --json  one object instead of a table\n"
	"  --help  this text\n"
	"\n"
	"Exit status: 0 everything was stopped, 1 something is missing or was not, 2 usage error.\n";

/* The first Linux on which all programs load. */
#define FLOOR_MAJOR 5
#define FLOOR_MINOR 15

struct fact {
	char name[40], text[400];
	const char *cure; /* NULL: fine as it is */
};
struct doctor {
	struct fact facts[40];
	size_t fact_count, missing;
	struct self_test_report report;
	struct error error; /* why there is no report */
};

static void add_fact(struct doctor *doctor, const char *name, const char *cure, const char *format,
		     ...) PRINTF(4, 5);

/* A fact that does not fit is left out; there are fewer than places. */
static void add_fact(struct doctor *doctor, const char *name, const char *cure, const char *format,
		     ...)
{
	struct fact *fact = &doctor->facts[doctor->fact_count];
	va_list arguments;

	if (doctor->fact_count == sizeof(doctor->facts) / sizeof(doctor->facts[0]))
		return;
	doctor->fact_count++;
	doctor->missing += cure != NULL;
	snprintf(fact->name, sizeof(fact->name), "%s", name);
	va_start(arguments, format);
	vsnprintf(fact->text, sizeof(fact->text), format, arguments);
	va_end(arguments);
	fact->cure = cure;
}

/* ---- facts ------------------------------------------------------------------------------------ */

/* The number alone: what loads is asked of the kernel itself, below. */
static void look_at_kernel(struct doctor *doctor)
{
	struct utsname host = {0};
	unsigned major = 0, minor = 0;
	bool enough;

	uname(&host);
	enough = sscanf(host.release, "%u.%u", &major, &minor) == 2 &&
		 (major > FLOOR_MAJOR || (major == FLOOR_MAJOR && minor >= FLOOR_MINOR));
	add_fact(doctor, "kernel", enough ? NULL : "boot Linux 5.15 or later", "Linux %s, %s",
		 host.release, host.machine);
}

static void look_at_cgroups(struct doctor *doctor)
{
	struct error error = {0};
	char *root = NULL;

	if (cgroup_root(&root, &error) < 0)
		add_fact(doctor, "cgroup v2",
			 "mount it: mount -t cgroup2 none /sys/fs/cgroup, or boot with "
			 "systemd.unified_cgroup_hierarchy=1",
			 "%s", error.text);
	else if (access(root, W_OK) < 0)
		add_fact(doctor, "cgroup v2",
			 "run on the host, or in a container that may write to cgroupfs",
			 "%s cannot be written: %s", root, strerror(errno));
	else
		add_fact(doctor, "cgroup v2", NULL, "%s (%s)", root,
			 strcmp(root, "/sys/fs/cgroup") == 0 ? "pure" : "hybrid");
	free(root);
}

/* Not mounted is fine: kernel_open() does it. */
static void look_at_bpffs(struct doctor *doctor)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) < 0)
		add_fact(doctor, "bpffs", "boot a kernel with CONFIG_BPF_SYSCALL, and mount sysfs",
			 "/sys/fs/bpf: %s", strerror(errno));
	else
		add_fact(doctor, "bpffs", NULL, "/sys/fs/bpf (%s)",
			 (unsigned long)fs.f_type == BPF_FS_MAGIC ? "mounted"
								  : "mounted when needed");
}

static void look_at_programs(struct doctor *doctor)
{
	struct kernel_probe probe;
	size_t loaded = 0;

	kernel_probe(&probe);
	for (size_t i = 0; i < probe.program_count; i++) {
		const struct kernel_probe_program *program = &probe.programs[i];
		char name[40];

		loaded += program->error == 0;
		if (program->error == 0)
			continue;
		snprintf(name, sizeof(name), "program %.30s", program->name);
		add_fact(doctor, name,
			 program->error == EPERM
				 ? "run as root on the host, or with CAP_BPF and CAP_NET_ADMIN"
				 : "boot Linux 5.15 or later with CONFIG_CGROUP_BPF",
			 "does not load: %s (its hook came with Linux %s)",
			 strerror(program->error), program->since);
	}
	add_fact(doctor, "programs", NULL, "%zu of %zu load", loaded, probe.program_count);
	add_fact(doctor, "bpf_set_retval", NULL, "%s",
		 probe.set_retval ? "yes" : "no (Linux 5.18): every refusal is EPERM");
}

/* The first line of a file of /proc/sys. */
static const char *read_setting(const char *path, char text[32])
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(text, 32, file))
		snprintf(text, 32, "unknown");
	text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
	return text;
}

/* No cure: without it exec holds all the same, with a weaker wall that is named. */
static void look_at_unix_sockets(struct doctor *doctor)
{
	struct error error = {0};
	int result = kernel_unix_probe(&error);

	if (result == 0)
		add_fact(doctor, "unix sockets", NULL,
			 "exec refuses those outside, however young they are");
	else if (result > 0)
		add_fact(doctor, "unix sockets", NULL,
			 "exec refuses those outside, however young they are; its broker binds and "
			 "connects those inside, since %s", error.text);
	else
		add_fact(doctor, "unix sockets", NULL,
			 "exec hides those that exist when it starts, not later ones: %s", error.text);
}

/* No cure either: it costs time alone. */
static void look_at_tls(struct doctor *doctor)
{
	(void)tls_provider_load();
	add_fact(doctor, "AES-GCM", NULL, "%s", tls_provider_describe());
	add_fact(doctor, "X25519", NULL, "%s", tls_provider_describe_x25519());
}

static void look_at_settings(struct doctor *doctor)
{
	struct rlimit limit = {0};
	char text[32];

	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	add_fact(doctor, "BTF", NULL, "%s; unix sockets, the root wall and the tc wall use it",
		 access("/sys/kernel/btf/vmlinux", R_OK) == 0 ? "yes" : "no");
	read_setting("/proc/sys/kernel/unprivileged_bpf_disabled", text);
	add_fact(doctor, "unprivileged bpf", NULL, "%s",
		 strcmp(text, "0") == 0 ? "allowed; better: sysctl kernel.unprivileged_bpf_disabled=2"
					: "not allowed");
	/* Shown and not judged: since Linux 5.11 memory of maps is charged to the cgroup. */
	if (limit.rlim_cur == RLIM_INFINITY)
		add_fact(doctor, "memlock", NULL, "unlimited");
	else
		add_fact(doctor, "memlock", NULL, "%llu KiB; not used since Linux 5.11",
			 (unsigned long long)limit.rlim_cur / 1024);
}

/* The self-test needs all of what was looked at; without it its failures would be misread. */
static void examine(struct doctor *doctor)
{
	look_at_kernel(doctor);
	look_at_cgroups(doctor);
	look_at_bpffs(doctor);
	look_at_programs(doctor);
	look_at_unix_sockets(doctor);
	look_at_settings(doctor);
	look_at_tls(doctor);
	if (doctor->missing > 0)
		(void)error_set(&doctor->error, "not made: something that it needs is missing");
	else if (self_test_scratch(NULL, NULL, &doctor->report, &doctor->error) < 0 &&
		 doctor->error.text[0] == '\0')
		(void)error_set(&doctor->error, "failed");
}

/* ---- saying so -------------------------------------------------------------------------------- */

static bool is_healthy(const struct doctor *doctor)
{
	return doctor->missing == 0 && doctor->error.text[0] == '\0' && doctor->report.failed == 0;
}

static const char *const state_names[] = {
	[SELF_TEST_STOPPED] = "ok",
	[SELF_TEST_ABSENT] = "absent",
	[SELF_TEST_THROUGH] = "FAILED",
};

static void print_table(const struct doctor *doctor)
{
	const struct self_test_report *report = &doctor->report;

	for (size_t i = 0; i < doctor->fact_count; i++) {
		const struct fact *fact = &doctor->facts[i];

		printf("%-8s%-22s %s\n", fact->cure ? "MISSING" : "ok", fact->name, fact->text);
		if (fact->cure)
			printf("%-31scure: %s\n", "", fact->cure);
	}
	if (doctor->error.text[0])
		printf("%-8s%-22s %s\n", "FAILED", "self-test", doctor->error.text);
	else
		printf("\nself-test in a scratch bottle, %.2f s\n", report->seconds);
	for (size_t i = 0; i < report->count; i++) {
		const struct self_test_item *item = &report->items[i];

		printf("%-8s%-14s %s: %s\n", state_names[item->state], item->name, item->what,
		       item->detail);
	}
	printf("\n%s\n", is_healthy(doctor) ? "this machine can hold a bottle"
					    : "NOT SAFE: see the lines above");
}

static json_t *json_facts(const struct doctor *doctor)
{
	json_t *facts = json_array();

	for (size_t i = 0; i < doctor->fact_count; i++) {
		const struct fact *fact = &doctor->facts[i];

		json_array_append_new(facts, json_pack("{s:s, s:b, s:s, s:s?}", "name", fact->name,
						       "ok", fact->cure == NULL, "text", fact->text,
						       "cure", fact->cure));
	}
	return facts;
}

static void print_json(const struct doctor *doctor)
{
	static const char *const states[] = {"ok", "absent", "failed"};
	const struct self_test_report *report = &doctor->report;
	json_t *items = json_array(), *all;

	for (size_t i = 0; i < report->count; i++) {
		const struct self_test_item *item = &report->items[i];

		json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:s}", "name", item->name,
						       "what", item->what, "state",
						       states[item->state], "detail", item->detail));
	}
	all = json_pack("{s:b, s:o, s:o, s:s?, s:i, s:i, s:f}", "ok", is_healthy(doctor), "machine",
			json_facts(doctor), "self_test", items, "error",
			doctor->error.text[0] ? doctor->error.text : NULL, "leaked_packets",
			(int)report->leaked_packets, "control_packets",
			(int)report->control_packets, "seconds", report->seconds);
	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

int cmd_doctor(int argc, char **argv)
{
	bool json = false;
	const struct cmd_option options[] = {{"json", .flag = &json}, {0}};
	int status = cmd_options("doctor", help_text, options, argc, argv);
	struct doctor doctor = {.fact_count = 0};

	if (status >= 0)
		return status;
	if (optind < argc)
		return cmd_usage("doctor", "'%s' is not an option", argv[optind]);
	if (geteuid() != 0) {
		diag_error("doctor: must be started by root; use sudo");
		return EXIT_FAILED;
	}
	examine(&doctor);
	(json ? print_json : print_table)(&doctor);
	return is_healthy(&doctor) ? EXIT_OK : EXIT_FAILED;
}
