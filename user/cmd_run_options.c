// SPDX-License-Identifier: BSD-2-Clause
/* run: what it is asked for. Whatever contradicts itself is refused before anything is touched. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "cmd_run_private.h"
#include "kernel.h"
#include "node_tree.h"
#include "sockets.h"

static const char help_text[] =
	"usage: egress-bpf run --policy FILE (--cgroup PATH | --pid PID | --container NAME | --pod UID |\n"
	"                      --no-kernel) [OPTIONS]\n"
	"\n"
	"Puts the kernel wall round a cgroup and serves it: names, steered connections, the explicit\n"
	"proxy. Runs until SIGTERM; the wall stays, and refuses, until 'egress-bpf detach NAME'. When\n"
	"the cgroup is removed it ends, with status 0, and takes the wall with it, but for that on a wire\n"
	"that still stands.\n"
	"SIGHUP reads the policy again; a bad one changes nothing.\n"
	"\n"
	"  --policy FILE       routes.yaml\n"
	"  --policy-name NAME  FILE is a copy: records and messages call it NAME, which is the one to\n"
	"                      edit, and 'allow --persist' does not write to the copy\n"
	"  --cgroup PATH       the bottle's cgroup v2 directory\n"
	"  --pid PID           the cgroup and the network namespace of a process\n"
	"  --container NAME    the same of a container, by name or ID: Docker's, Podman's, containerd's\n"
	"  --engine PATH       where to ask for it: an engine's socket, or containerd's state directory\n"
	"                      (default: DOCKER_HOST, the usual ones, then cgroups named by an ID)\n"
	"  --wait              wait until that container runs, and after its end until it runs again\n"
	"  --pod UID           the Kubernetes pod that we are a sidecar of: all of its containers but ours\n"
	"  --kubepods DIR      with --pod: the kubelet's topmost cgroup (default: the usual ones)\n"
	"  --until-exit        with --pid: end, and take the wall along, when that process has ended\n"
	"  --netns PATH        the bottle's network namespace, e.g. /run/netns/NAME; by default that\n"
	"                      of a process in the cgroup, or ours when there is none\n"
	"  --no-kernel         the proxy alone, WITHOUT ANY WALL: nothing makes a program use it\n"
	"  --name NAME         name of the bottle (default: last part of the cgroup's path)\n"
	"  --listen ADDR:PORT  where the proxy listens (default 127.0.0.1:9099 and [::1]:9099)\n"
	"  --publish PORT      a port of the bottle that others may connect to; may be repeated\n"
	"  --ca-dir DIR        CA made by 'egress-bpf ca init DIR' (default " STATE_DIRECTORY "/NAME,\n"
	"                      made when missing)\n"
	"  --token-dir DIR     the value for 'token_env: NAME' is in DIR/NAME, not in the environment\n"
	"  --log FILE          one JSON line per decision ('-': standard output, the default)\n"
	"  --learn FILE        refuse nothing that has a name, and at the end write a policy to FILE that\n"
	"                      allows what was asked for; addresses and UDP stay refused\n"
	"  --wildcards         with --learn: '*.example.com' for three or more names below it\n"
	"  --metrics ADDR:PORT serve what is counted, for Prometheus: 'egress-bpf metrics' beside it; or\n"
	"                      the whole path of a unix socket\n"
	"  --log-query         log the query of paths too; it may hold secrets\n"
	"  --workers N|auto    processes that speak to the network, 1 to 64; auto (the default) is one, and\n"
	"                      more, up to one for each processor, when all are busy; they stay\n"
	"  --worker-uid UID    user id of the process that speaks to the network (default: one that no\n"
	"                      other bottle's has, from 90112 to 94207)\n"
	"  --no-worker-seccomp any system call for that process: only for debuggers and valgrind\n"
	"  --no-self-test      do not try the wall from inside the bottle before it is ready\n"
	"  --ready-file FILE   appears, with our pid in it, when it is ready; removed at the end.\n"
	"                      systemd is told by NOTIFY_SOCKET (Type=notify or notify-reload)\n"
	"  --help              this text\n"
	"\n"
	"Exit status: 0 ended in order, 1 failed, 2 usage or policy error.\n";

/* From 1 on: 0 is no pid, no port, and as user id root. */
static bool parse_number(const char *text, unsigned long limit, unsigned long *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtoul(text, &end, 10);
	return errno == 0 && *end == '\0' && *ret > 0 && *ret <= limit;
}

static int take_published(void *context, const char *text)
{
	struct run *run = context;
	unsigned long port;

	if (!parse_number(text, UINT16_MAX, &port))
		return cmd_usage("run", "--publish %s: not a port from 1 to 65535", text);
	if (run->published_count == EGRESS_MAX_PUBLISHED)
		return cmd_usage("run", "--publish: at most %d ports", EGRESS_MAX_PUBLISHED);
	run->published[run->published_count++] = (uint16_t)port;
	return EXIT_OK;
}

static int take_pid(void *context, const char *text)
{
	struct run *run = context;
	unsigned long number;

	if (!parse_number(text, INT32_MAX, &number))
		return cmd_usage("run", "--pid %s: not a process id", text);
	run->pid = (pid_t)number;
	return EXIT_OK;
}

static int take_name(void *context, const char *text)
{
	struct run *run = context;

	if (!kernel_name_valid(text))
		return cmd_usage("run", "--name %s: use 1 to 64 of A-Z a-z 0-9 . _ -", text);
	snprintf(run->name, sizeof(run->name), "%s", text);
	return EXIT_OK;
}

static int take_workers(void *context, const char *text)
{
	struct run *run = context;

	if (!supervisor_parse_workers(text, &run->supervisor.workers))
		return cmd_usage("run", "--workers %s: neither 1 to %d nor auto", text,
				 SUPERVISOR_WORKERS_MAX);
	return EXIT_OK;
}

static int take_listen(void *context, const char *text)
{
	struct run *run = context;

	if (!sockets_parse_listen(text, &run->supervisor.listen))
		return cmd_usage("run", "--listen %s: not an ADDR:PORT such as 127.0.0.1:9099", text);
	return EXIT_OK;
}

/* Here, and not only by the process that serves: a slip of the finger would be one line in a log. */
static int take_metrics(void *context, const char *text)
{
	struct sockets_place place;
	struct run *run = context;

	if (text[0] != '/' && !sockets_parse_listen(text, &place))
		return cmd_usage("run", "--metrics %s: neither ADDR:PORT, such as 127.0.0.1:9469, nor the "
				 "whole path of a unix socket", text);
	run->metrics = text;
	return EXIT_OK;
}

static int take_worker_uid(void *context, const char *text)
{
	struct run *run = context;
	unsigned long number;

	/* (uid_t)-1 is no user: to setresuid(2) it means 'as it is', which is root here. */
	if (!parse_number(text, UINT32_MAX - 1, &number))
		return cmd_usage("run", "--worker-uid %s: not a user id, or root's", text);
	run->supervisor.worker_uid = (uid_t)number;
	return EXIT_OK;
}

/* -1: go on; else the exit status. Each contradiction in its own words: a guess would put the wall
 * somewhere else than was meant. */
static int check_options(const struct run *run)
{
	if (run->outputs.wildcards && !run->outputs.learn_path)
		return cmd_usage("run", "--wildcards goes with --learn FILE");
	if (!run->supervisor.policy_path && !run->outputs.learn_path)
		return cmd_usage("run", "--policy FILE is missing");
	if (run->supervisor.policy_name && !run->supervisor.policy_path)
		return cmd_usage("run", "--policy-name goes with --policy FILE");
	if ((run->cgroup != NULL) + (run->pid > 0) + (run->follow.container != NULL) +
		    (run->pod != NULL) + run->no_kernel != 1)
		return cmd_usage("run", "say one of --cgroup PATH, --pid PID, --container NAME, "
				 "--pod UID, --no-kernel");
	if (run->pod && run->netns)
		return cmd_usage("run", "--netns does not go with --pod: it is ours");
	if (run->pod && !node_uid_valid(run->pod))
		return cmd_usage("run", "--pod %s: not a pod's uid", run->pod);
	if (run->kubepods[0] && !run->pod)
		return cmd_usage("run", "--kubepods goes with --pod UID");
	if (run->metrics && run->no_kernel)
		return cmd_usage("run", "--metrics needs a kernel wall, which counts");
	if (run->no_kernel && run->netns)
		return cmd_usage("run", "--netns needs a kernel wall: leave --no-kernel out");
	if ((run->follow.wait || run->follow.engine) && !run->follow.container)
		return cmd_usage("run", "--wait and --engine need --container NAME");
	if (run->until_exit && run->pid <= 0)
		return cmd_usage("run", "--until-exit needs --pid PID");
	return -1;
}

int run_parse_options(struct run *run, int argc, char **argv)
{
	struct supervisor_options *supervisor = &run->supervisor;
	bool no_self_test = false;
	const struct cmd_option list[] = {
		{"policy", .text = &supervisor->policy_path},
		{"policy-name", .text = &supervisor->policy_name},
		{"cgroup", .text = &run->cgroup},
		{"pid", .take = take_pid, .context = run},
		{"container", .text = &run->follow.container},
		{"engine", .text = &run->follow.engine},
		{"wait", .flag = &run->follow.wait},
		{"until-exit", .flag = &run->until_exit},
		{"pod", .text = &run->pod},
		{"kubepods", .text = &run->kubepods[0]},
		{"token-dir", .text = &supervisor->token_directory},
		{"netns", .text = &run->netns},
		{"no-kernel", .flag = &run->no_kernel},
		{"name", .take = take_name, .context = run},
		{"listen", .take = take_listen, .context = run},
		{"publish", .take = take_published, .context = run},
		{"ca-dir", .text = &supervisor->ca_directory},
		{"log", .text = &supervisor->log_path},
		{"metrics", .take = take_metrics, .context = run},
		{"learn", .text = &run->outputs.learn_path},
		{"wildcards", .flag = &run->outputs.wildcards},
		{"log-query", .flag = &supervisor->log_query},
		{"workers", .take = take_workers, .context = run},
		{"worker-uid", .take = take_worker_uid, .context = run},
		{"no-worker-seccomp", .flag = &supervisor->worker_any_call},
		{"no-self-test", .flag = &no_self_test},
		{"ready-file", .text = &run->ready_file},
		{0},
	};
	int status = cmd_options("run", help_text, list, argc, argv);

	if (status >= 0)
		return status;
	if (optind < argc)
		return cmd_usage("run", "'%s' is not an option", argv[optind]);
	supervisor->self_test = !no_self_test;
	return check_options(run);
}
