// SPDX-License-Identifier: BSD-2-Clause
/* provision-ca: our CA into the trust of a bottle's file system, from outside. See rootfs.c for how
 * little the bottle is trusted with it. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"
#include "diag.h"
#include "provision.h"
#include "utf8.h"

/* Of a cgroup; several share a root, so few are opened. */
#define MAX_PROCESSES 4096
#define MAX_ROOTS 256 /* each is held open, so that its inode is nobody else's */
#define MAX_DEPTH 8
#define TIME_LIMIT 60 /* a file system in the bottle's hands (FUSE) may never answer */

static const char help_text[] =
	"usage: egress-bpf provision-ca (--pid PID | --cgroup PATH | --root DIR) --ca FILE [--remove]\n"
	"\n"
	"Puts a bottle's CA into the trust of its file system, from outside: nothing of the bottle is\n"
	"run, and no link in it leads out. Bundles of Debian, Alpine, RHEL, SUSE and Arch, the\n"
	"directories of local CAs that their own tools read, OpenSSL's directory, and Java's key stores\n"
	"(made anew from the bundle; the old one is kept beside). NSS databases (/etc/pki/nssdb, those of\n"
	"Chromium and Firefox in /root and /home) are changed by this machine's certutil, on a copy and\n"
	"without rights; where there is none, or a password, they are named.\n"
	"\n"
	"  --pid PID      the file system that a process sees\n"
	"  --cgroup PATH  those of all processes in a cgroup\n"
	"  --root DIR     a root file system that nothing runs in\n"
	"  --ca FILE      the CA's certificate: ca-cert.pem (or ca.pem: its key is not copied)\n"
	"  --remove       take it out again\n"
	"  --help         this text\n"
	"\n"
	"Running it again changes nothing; with a new CA the old one is replaced.\n"
	"Exit status: 0 done, 1 failed and nothing changed, 2 usage error. SIGALRM ends it after a\n"
	"minute: a file system in the bottle's hands may never answer.\n";

struct request {
	const char *pid, *cgroup, *directory, *ca;
	bool remove;
};

static int provision_root(const struct rootfs *root, const char *what, struct span ca_pem,
			  bool remove, struct error *error)
{
	struct provision_report report = {.lines = NULL};
	int result = provision(root, ca_pem, remove, &report, error);

	/* The names of the bottle's files are any bytes. */
	for (size_t i = 0; result == 0 && i < report.count; i++) {
		utf8_tame(report.lines[i]);
		puts(report.lines[i]);
	}
	if (result == 0 && remove && report.changed == 0)
		printf("%s: there was nothing of ours\n", what);
	provision_report_free(&report);
	return result;
}

static int provision_pid(const char *text, struct span ca_pem, bool remove, struct error *error)
{
	char *end;
	long pid = strtol(text, &end, 10);
	struct rootfs *root;
	int result;

	/* strtol(3) takes blanks and a sign, hence the look at the first character. */
	if (pid <= 0 || pid > INT_MAX || *end || !isdigit((unsigned char)text[0]))
		return error_set(error, "--pid %s: not the number of a process", text);
	if (rootfs_open_process((pid_t)pid, &root, error) < 0)
		return -1;
	result = provision_root(root, text, ca_pem, remove, error);
	rootfs_close(root);
	return result;
}

/* ---- cgroups -------------------------------------------------------------------------------- */

struct processes {
	pid_t list[MAX_PROCESSES];
	size_t count;
};

static int read_processes(const char *path, struct processes *processes, struct error *error)
{
	char file_path[PATH_MAX];
	FILE *file;
	int pid, result = 0;

	snprintf(file_path, sizeof(file_path), "%s/cgroup.procs", path);
	file = fopen(file_path, "re");
	if (!file)
		return error_set(error, "%s: %s", file_path, strerror(errno));
	while (result == 0 && fscanf(file, "%d", &pid) == 1) {
		if (processes->count == MAX_PROCESSES)
			result = error_set(error, "%s: more than %d processes; name some by --pid",
					   path, MAX_PROCESSES);
		else
			processes->list[processes->count++] = pid;
	}
	fclose(file);
	return result;
}

/* Containers may have cgroups below their own; d_type, for a link is none of them. */
static int read_tree(const char *path, int depth, struct processes *processes, struct error *error)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	char child[PATH_MAX];
	int result = directory ? read_processes(path, processes, error)
			       : error_set(error, "%s: %s", path, strerror(errno));

	while (directory && result == 0 && depth < MAX_DEPTH && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		result = read_tree(child, depth + 1, processes, error);
	}
	if (directory)
		closedir(directory);
	return result;
}

/* Each root once. The file-system ids are those of the process that was opened last, so one root is
 * done before the next is looked at. */
static int provision_processes(const struct processes *processes, struct span ca_pem, bool remove,
			       struct error *error)
{
	struct rootfs *done[MAX_ROOTS], *root;
	size_t count = 0;
	int result = 0;

	for (size_t i = 0; result == 0 && i < processes->count; i++) {
		struct error problem = {0};
		char what[32];
		bool known = false;

		if (rootfs_open_process(processes->list[i], &root, &problem) < 0) {
			/* One that has ended since the list was read is no failure. */
			if (kill(processes->list[i], 0) == 0 || errno != ESRCH)
				result = error_set(error, "%s", problem.text);
			continue;
		}
		for (size_t k = 0; k < count; k++)
			known |= rootfs_same(done[k], root);
		snprintf(what, sizeof(what), "process %d", processes->list[i]);
		if (known) {
			rootfs_close(root);
			continue;
		}
		if (count == MAX_ROOTS) {
			rootfs_close(root);
			result = error_set(error, "more than %d file systems in the cgroup; those before "
						  "process %d are done, name the others by --pid",
					   MAX_ROOTS, processes->list[i]);
			break;
		}
		done[count++] = root;
		result = provision_root(root, what, ca_pem, remove, error);
	}
	if (result == 0 && count == 0)
		result = error_set(error, "there is no process in the cgroup; --root DIR needs none");
	for (size_t k = 0; k < count; k++)
		rootfs_close(done[k]);
	return result;
}

static int provision_cgroup(const char *path, struct span ca_pem, bool remove, struct error *error)
{
	struct processes *processes = calloc(1, sizeof(*processes));
	int result;

	if (!processes)
		return error_set(error, "out of memory");
	result = read_tree(path, 0, processes, error);
	if (result == 0)
		result = provision_processes(processes, ca_pem, remove, error);
	free(processes);
	return result;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int provision_directory(const char *path, struct span ca_pem, bool remove,
			       struct error *error)
{
	struct rootfs *root;
	int result;

	if (rootfs_open_directory(path, &root, error) < 0)
		return -1;
	result = provision_root(root, path, ca_pem, remove, error);
	rootfs_close(root);
	return result;
}

static int carry_out(const struct request *request, struct error *error)
{
	struct bytes text = {0}, pem = {0};
	struct span ca_pem;
	int result;

	result = config_read_file(request->ca, &text, error);
	if (result == 0)
		result = provision_certificate(request->ca, bytes_span(&text), &pem, error);
	bytes_wipe(&text); /* ca.pem has a key in it */
	ca_pem = bytes_span(&pem);
	if (result == 0 && request->pid)
		result = provision_pid(request->pid, ca_pem, request->remove, error);
	else if (result == 0 && request->cgroup)
		result = provision_cgroup(request->cgroup, ca_pem, request->remove, error);
	else if (result == 0)
		result = provision_directory(request->directory, ca_pem, request->remove, error);
	bytes_free(&pem);
	return result;
}

/* -1 to go on, else the exit status. */
static int read_options(struct request *request, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"pid", .text = &request->pid}, {"cgroup", .text = &request->cgroup},
		{"root", .text = &request->directory}, {"ca", .text = &request->ca},
		{"remove", .flag = &request->remove}, {0}};
	int status = cmd_options("provision-ca", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (optind != argc)
		return cmd_usage("provision-ca", "'%s' is too much", argv[optind]);
	if (!!request->pid + !!request->cgroup + !!request->directory != 1)
		return cmd_usage("provision-ca", "say one of --pid, --cgroup and --root");
	if (!request->ca)
		return cmd_usage("provision-ca", "say which certificate: --ca FILE");
	return -1;
}

int cmd_provision_ca(int argc, char **argv)
{
	struct request request = {.pid = NULL};
	struct error error = {0};
	int status = read_options(&request, argc, argv);

	if (status >= 0)
		return status;
	/* Its default action ends us in the middle of a read that nothing else would interrupt. */
	alarm(TIME_LIMIT);
	if (carry_out(&request, &error) == 0)
		return EXIT_OK;
	diag_error("provision-ca: %s", error.text);
	return EXIT_FAILED;
}
