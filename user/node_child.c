// SPDX-License-Identifier: BSD-2-Clause
/* The one process that serves a pod: this same program, as `run`. What it needs of the agent is in its
 * arguments; secrets are not among them, it reads them from the files itself. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "node_fork.h"
#include "node_pod.h"

#define ARGUMENTS (24 + NODE_MORE_MAX + 2 * NODE_PORTS_MAX)

struct arguments {
	const char *list[ARGUMENTS];
	size_t count;
	char policy[PATH_MAX], name[PATH_MAX], tokens[PATH_MAX], netns[64];
	char ports[NODE_PORTS_MAX][8];
};

static void add(struct arguments *a, const char *option, const char *value)
{
	a->list[a->count++] = option;
	if (value)
		a->list[a->count++] = value;
}

static void add_ports(struct arguments *a, const struct node_record *record)
{
	for (size_t i = 0; i < record->port_count; i++) {
		snprintf(a->ports[i], sizeof(a->ports[i]), "%u", record->ports[i]);
		add(a, "--publish", a->ports[i]);
	}
}

/* The namespace by our own descriptor: a path below a process of the pod might be another process'
 * by the time it is opened. Not inherited, since `run` would keep the namespace alive by it. */
static int fill(struct arguments *a, const struct node_pod *pod, struct error *error)
{
	const struct node_options *options = pod->options;
	const struct node_record *record = &pod->state.record;

	if (node_state_path(options->state_directory, record->uid, ".yaml", a->policy,
			    sizeof(a->policy), error) < 0)
		return -1;
	if (snprintf(a->name, sizeof(a->name), "%s/%s.yaml", options->policies, record->policy) >=
	    (int)sizeof(a->name))
		return error_set(error, "%s: the path is too long", options->policies);
	snprintf(a->netns, sizeof(a->netns), "/proc/%d/fd/%d", (int)getpid(), pod->netns_fd);
	snprintf(a->tokens, sizeof(a->tokens), "%s/%s",
		 options->tokens ? options->tokens : "/nonexistent", record->policy);
	add(a, "egress-bpf", "run");
	add(a, "--name", pod->wall);
	add(a, "--policy", a->policy);
	add(a, "--policy-name", a->name);
	add(a, "--cgroup", pod->path);
	add(a, "--netns", a->netns);
	add(a, "--ca-dir", options->ca_directory);
	add(a, "--token-dir", a->tokens);
	if (options->publish)
		add_ports(a, record);
	for (size_t i = 0; i < options->more_count; i++)
		add(a, options->more[i], NULL);
	return 0;
}

/* Its output is ours, which is the container's log. */
static void become_run(const struct arguments *a, pid_t agent)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* What an agent leaves behind would hold the name against the next one's. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != agent || dup2(null, 0) < 0 ||
	    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(1);
	execv("/proc/self/exe", (char *const *)a->list);
	_exit(1);
}

pid_t node_child_start(const struct node_pod *pod, struct error *error)
{
	const pid_t agent = getpid();
	struct arguments arguments = {.count = 0};
	pid_t pid;

	if (fill(&arguments, pod, error) < 0)
		return -1;
	pid = node_fork();
	if (pid == 0)
		become_run(&arguments, agent);
	return pid > 0 ? pid : error_set(error, "fork: %s", strerror(errno));
}
