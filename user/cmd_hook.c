// SPDX-License-Identifier: BSD-2-Clause
/* An OCI runtime hook (runtime-spec, "createRuntime"): a container's namespaces and cgroup are
 * there, its program has not been started, and is not if we fail. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "kernel.h"

/* The runtime's state is a few KiB; annotations may be larger. */
#define STATE_LIMIT 1048576
#define ANNOTATION "egress-bpf/policy"
#define RUN_DIRECTORY "/run/egress-bpf"
#define STEP_MS 10
#define DEFAULT_SECONDS 20
#define NAME_DIGITS 12 /* of a container's ID, as engines show it */
#define MORE_MAX 32

static const char help_text[] =
	"usage: egress-bpf hook (--policy FILE | --policy-dir DIR) --ca-dir DIR [-- OPTIONS of run]\n"
	"       egress-bpf hook --into BUNDLE ...\n"
	"\n"
	"A createRuntime hook for OCI runtimes: reads the container's state on standard input, starts\n"
	"'egress-bpf run' for it, and returns when the wall is up and the proxy serves. The container's\n"
	"program starts after that, or not at all. The sidecar ends with the container.\n"
	"\n"
	"  --policy FILE       routes.yaml for every container\n"
	"  --policy-dir DIR    DIR/NAME.yaml for the container's annotation '" ANNOTATION ": NAME'\n"
	"  --ca-dir DIR        the CA; the container has to trust DIR/ca-cert.pem\n"
	"  --timeout SECONDS   how long the sidecar may take to be ready (default 20)\n"
	"  --state-dir DIR     for the sidecar's output, ID.log (default " RUN_DIRECTORY ")\n"
	"  --into BUNDLE       no hook: write this hook, with these options, into BUNDLE/config.json\n"
	"  --help              this text\n"
	"\n"
	"Exit status: 0 the wall is up, 1 it is not, 2 usage.\n";

struct hook {
	const char *policy, *policy_directory, *ca_directory, *run_directory, *bundle;
	char *const *more; /* for `run` */
	size_t more_count;
	unsigned seconds;
	pid_t pid; /* the container's */
	char name[65];
	char policy_path[PATH_MAX], log_path[PATH_MAX], ready_path[PATH_MAX];
};

/* ---- options ---------------------------------------------------------------------------------- */

/* -1: go on; else the exit status. */
static int parse_options(struct hook *hook, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"policy", .text = &hook->policy},
		{"policy-dir", .text = &hook->policy_directory},
		{"ca-dir", .text = &hook->ca_directory},
		{"timeout", .seconds = &hook->seconds},
		{"state-dir", .text = &hook->run_directory},
		{"into", .text = &hook->bundle},
		{0},
	};
	int status = cmd_options("hook", help_text, options, argc, argv);

	if (status >= 0)
		return status;
	if (!hook->policy == !hook->policy_directory)
		return cmd_usage("hook", "say one of --policy FILE, --policy-dir DIR");
	if (!hook->ca_directory)
		return cmd_usage("hook", "--ca-dir DIR is missing");
	hook->more = argv + optind;
	hook->more_count = (size_t)(argc - optind);
	if (hook->more_count > MORE_MAX)
		return cmd_usage("hook", "at most %d options for run", MORE_MAX);
	return -1;
}

/* ---- the container's state -------------------------------------------------------------------- */

/* A runtime that sends too much is refused, not cut. */
static json_t *read_state(struct error *error)
{
	json_error_t problem;
	char *text = malloc(STATE_LIMIT);
	size_t length = text ? fread(text, 1, STATE_LIMIT, stdin) : 0;
	json_t *state = NULL;

	if (length == STATE_LIMIT)
		error_set(error, "the state on standard input is larger than 1 MiB");
	else if (!(state = json_loadb(text ? text : "", length, 0, &problem)))
		error_set(error, "the state on standard input is not JSON: %s", problem.text);
	free(text);
	return state;
}

/* The annotation comes from whoever starts the container: a name without slash or leading dot, or
 * it would choose any file. */
static int find_policy(struct hook *hook, const json_t *state, struct error *error)
{
	const json_t *annotations = json_object_get(state, "annotations");
	const char *name = json_string_value(json_object_get(annotations, ANNOTATION));
	int length;

	if (hook->policy) {
		length = snprintf(hook->policy_path, sizeof(hook->policy_path), "%s", hook->policy);
	} else {
		if (!name || !kernel_name_valid(name))
			return error_set(error, "the container has no annotation '" ANNOTATION "' that "
					 "names a policy of %s", hook->policy_directory);
		length = snprintf(hook->policy_path, sizeof(hook->policy_path), "%s/%s.yaml",
				  hook->policy_directory, name);
	}
	return length < PATH_MAX ? 0 : error_set(error, "the policy's path is too long");
}

static int take_state(struct hook *hook, const json_t *state, struct error *error)
{
	const char *id = json_string_value(json_object_get(state, "id"));
	const json_int_t pid = json_integer_value(json_object_get(state, "pid"));
	const bool digits = id && strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64;

	if (!id || pid <= 0 || pid > INT32_MAX)
		return error_set(error, "the state on standard input lacks 'id' or 'pid'");
	snprintf(hook->name, sizeof(hook->name), "%.*s", digits ? NAME_DIGITS : 64, id);
	if (!kernel_name_valid(id))
		return error_set(error, "'%.100s' cannot be a wall's name", id);
	hook->pid = (pid_t)pid;
	if (snprintf(hook->log_path, PATH_MAX, "%s/%s.log", hook->run_directory, hook->name) >=
		    PATH_MAX ||
	    snprintf(hook->ready_path, PATH_MAX, "%s/%s.ready", hook->run_directory, hook->name) >=
		    PATH_MAX)
		return error_set(error, "--state-dir: the path is too long");
	return find_policy(hook, state, error);
}

/* ---- the sidecar ------------------------------------------------------------------------------ */

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
}

/* A container that is restarted comes back before its last sidecar is quite gone. */
static int await_name(const struct hook *hook, struct error *error)
{
	for (unsigned left = hook->seconds * 1000 / STEP_MS; left > 0; left--) {
		struct kernel_status status;
		bool alive = kernel_read_status(hook->name, &status, NULL) == 0;

		if (alive) {
			alive = status.supervisor_pid != 0;
			kernel_status_free(&status);
		}
		if (!alive)
			return 0;
		pause_briefly();
	}
	return error_set(error, "another process serves the wall '%s'", hook->name);
}

/* The runtime reads our output to its end: the sidecar must not hold it. */
static void become_sidecar(const struct hook *hook, int log_fd)
{
	char pid[16];
	const char *argv[MORE_MAX + 16] = {"egress-bpf", "run", "--policy", hook->policy_path, "--pid",
					   pid, "--until-exit", "--name", hook->name, "--ca-dir",
					   hook->ca_directory, "--ready-file", hook->ready_path};
	size_t count = 13;
	int null = open("/dev/null", O_RDONLY);

	snprintf(pid, sizeof(pid), "%d", (int)hook->pid);
	for (size_t i = 0; i < hook->more_count; i++)
		argv[count++] = hook->more[i];
	/* What is sent to the runtime's process group, or comes with its terminal's end, is not for
	 * the sidecar; nor are descriptors that the runtime had open. */
	if (setsid() < 0 || dup2(null, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 ||
	    chdir("/") < 0 || close_range(3, ~0U, 0) < 0)
		_exit(EXIT_FAILED);
	execv("/proc/self/exe", (char *const *)argv);
	_exit(EXIT_FAILED);
}

/* Its output goes to a file, for the runtime may close ours. */
static pid_t start_sidecar(const struct hook *hook, struct error *error)
{
	int log_fd;
	pid_t pid;

	if (mkdir(hook->run_directory, 0755) < 0 && errno != EEXIST)
		return error_set(error, "%s: %s", hook->run_directory, strerror(errno));
	/* The last life's file would be taken for this sidecar's word. */
	unlink(hook->ready_path);
	unlink(hook->log_path); /* of the container's last life; O_EXCL: nobody else's link */
	log_fd = open(hook->log_path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0)
		return error_set(error, "%s: %s", hook->log_path, strerror(errno));
	pid = fork();
	if (pid == 0)
		become_sidecar(hook, log_fd);
	close(log_fd);
	return pid > 0 ? pid : error_set(error, "fork: %s", strerror(errno));
}

/* What it said is for whoever started the container. */
static void show_log(const struct hook *hook)
{
	FILE *log = fopen(hook->log_path, "re");
	char line[1024];

	while (log && fgets(line, sizeof(line), log))
		fputs(line, stderr);
	if (log)
		fclose(log);
}

/* By the file that the sidecar makes when it serves, and not by its being alive. */
static int await_ready(const struct hook *hook, pid_t sidecar, struct error *error)
{
	for (unsigned left = hook->seconds * 1000 / STEP_MS; left > 0; left--) {
		if (waitpid(sidecar, NULL, WNOHANG) == sidecar)
			return error_set(error, "the sidecar of %s ended before it was ready",
					 hook->name);
		if (access(hook->ready_path, F_OK) == 0)
			return 0;
		pause_briefly();
	}
	/* Not SIGTERM: one that hangs in its start would stay, and hold the name against the
	 * container's next try. */
	kill(sidecar, SIGKILL);
	waitpid(sidecar, NULL, 0);
	return error_set(error, "the sidecar of %s was not ready after %u s", hook->name,
			 hook->seconds);
}

/* On any failure the container is not started: it would run without a wall. */
static int attach(struct hook *hook, struct error *error)
{
	json_t *state = read_state(error);
	int result = state ? take_state(hook, state, error) : -1;
	pid_t sidecar;

	json_decref(state);
	if (result < 0 || await_name(hook, error) < 0)
		return -1;
	sidecar = start_sidecar(hook, error);
	if (sidecar < 0)
		return -1;
	result = await_ready(hook, sidecar, error);
	if (result < 0)
		show_log(hook);
	return result;
}

/* ---- into a bundle ---------------------------------------------------------------------------- */

static json_t *describe(const struct hook *hook, const char *program)
{
	json_t *args = json_pack("[s, s]", "egress-bpf", "hook");
	const char *const pairs[][2] = {
		{"--policy", hook->policy},	 {"--policy-dir", hook->policy_directory},
		{"--ca-dir", hook->ca_directory}, {"--state-dir", hook->run_directory},
	};
	char seconds[16];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (!pairs[i][1])
			continue;
		json_array_append_new(args, json_string(pairs[i][0]));
		json_array_append_new(args, json_string(pairs[i][1]));
	}
	snprintf(seconds, sizeof(seconds), "%u", hook->seconds);
	json_array_append_new(args, json_string("--timeout"));
	json_array_append_new(args, json_string(seconds));
	json_array_append_new(args, json_string("--"));
	for (size_t i = 0; i < hook->more_count; i++)
		json_array_append_new(args, json_string(hook->more[i]));
	/* Twice: for a name that is still taken, then for the sidecar. */
	return json_pack("{s:s, s:o, s:i}", "path", program, "args", args, "timeout",
			 (int)(2 * hook->seconds + 2));
}

static json_t *member(json_t *object, const char *key, json_t *empty)
{
	json_t *value = json_object_get(object, key);

	if (!value || json_is_null(value)) {
		json_object_set(object, key, empty);
		value = json_object_get(object, key);
	}
	json_decref(empty);
	return value;
}

/* By rename, since the runtime may read the file at any moment. */
static int write_hook(const struct hook *hook, struct error *error)
{
	char path[PATH_MAX], temporary[PATH_MAX + 8], program[PATH_MAX];
	json_error_t problem;
	json_t *spec, *list;
	int result = -1;

	if (snprintf(path, sizeof(path), "%s/config.json", hook->bundle) >= (int)sizeof(path) ||
	    !realpath("/proc/self/exe", program))
		return error_set(error, "%s: %s", hook->bundle, strerror(errno));
	snprintf(temporary, sizeof(temporary), "%s.egress", path);
	spec = json_load_file(path, 0, &problem);
	if (!json_is_object(spec)) {
		json_decref(spec);
		return error_set(error, "%s: %s", path, problem.text);
	}
	list = member(member(spec, "hooks", json_object()), "createRuntime", json_array());
	if (json_array_append_new(list, describe(hook, program)) < 0)
		error_set(error, "%s: 'hooks.createRuntime' is not a list", path);
	else if (json_dump_file(spec, temporary, JSON_COMPACT) < 0 || rename(temporary, path) < 0)
		error_set(error, "%s: %s", path, strerror(errno));
	else
		result = 0;
	json_decref(spec);
	return result;
}

int cmd_hook(int argc, char **argv)
{
	struct hook hook = {.seconds = DEFAULT_SECONDS, .run_directory = RUN_DIRECTORY};
	int status = parse_options(&hook, argc, argv);
	struct error error = {0};

	if (status >= 0)
		return status;
	if ((hook.bundle ? write_hook(&hook, &error) : attach(&hook, &error)) == 0)
		return EXIT_OK;
	diag_error("hook: %s", error.text);
	return EXIT_FAILED;
}
