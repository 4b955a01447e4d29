// SPDX-License-Identifier: BSD-2-Clause
/* node: the agent of a Kubernetes node. The work is node.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "node.h"
#include "ready.h"

#define ROOTS_MAX 8

static const char help_text[] =
	"usage: egress-bpf node --policies DIR --ca-dir DIR --kubelet URL [OPTIONS] [-- OPTIONS of run]\n"
	"       egress-bpf node --list [--json] [--state-dir DIR]\n"
	"\n"
	"The agent of a Kubernetes node: a wall round each pod that has the label\n"
	"'egress-bpf/policy: NAME', and an 'egress-bpf run' that serves it by the policy NAME.yaml. The\n"
	"wall comes first, as soon as the pod's cgroup is there, and refuses everything until its\n"
	"policy is served; where the policy is missing or wrong, for good. A label counts once: what\n"
	"it becomes later changes nothing. Walls outlive the agent; the next one takes them over.\n"
	"Wants the host's network, process ids and cgroups: container/kubernetes/daemonset.yaml.\n"
	"\n"
	"  --policies DIR      NAME.yaml for the label's value NAME; read again when they change\n"
	"  --tokens DIR        the value for 'token_env: VARIABLE' of policy NAME is DIR/NAME/VARIABLE\n"
	"  --ca-dir DIR        the CA of all walls, made by 'egress-bpf ca init DIR'\n"
	"  --kubelet URL       https://NODE:10250; NODE is the name that its certificate has to prove\n"
	"  --kubelet-address ADDR  where to connect to for that name\n"
	"  --kubelet-ca FILE   who may sign that certificate (default: the system's roots)\n"
	"  --kubelet-token FILE  the bearer token; read again for each question\n"
	"  --interval SECONDS  how often the kubelet is asked when no pod comes (default 30)\n"
	"  --unknown deny|ignore  what becomes of a new pod while the kubelet does not tell of it: it is\n"
	"                      refused everything (the default), or left alone\n"
	"  --publish-declared  others may connect to the TCP ports that a pod's containers declare\n"
	"  --kubepods DIR      the kubelet's topmost cgroup; may be repeated (default: the usual ones)\n"
	"  --state-dir DIR     what the next agent has to know (default " NODE_STATE_DIRECTORY ")\n"
	"  --ready-file FILE   appears when the kubelet has answered; removed at the end. With --list:\n"
	"                      exit status 1 while it is not there, for a probe\n"
	"  --list              show the labelled pods of this node, their policies and walls, and why\n"
	"                      one is refused everything; needs no agent\n"
	"  --json              with --list: one JSON object a line\n"
	"  --help              this text\n"
	"\n"
	"SIGHUP reads the policies again. Exit status: 0 ended in order, 1 failed, 2 usage.\n";

struct options {
	struct node_options node;
	const char *roots[ROOTS_MAX + 1];
	size_t root_count;
	const char *ready_file;
	bool list, json;
};

/* Any other word is refused: a typing error must not choose the weaker of two. */
static int take_unknown(void *context, const char *text)
{
	struct options *options = context;

	options->node.ignore_unknown = strcmp(text, "ignore") == 0;
	if (!options->node.ignore_unknown && strcmp(text, "deny") != 0)
		return cmd_usage("node", "--unknown %s: would be right: deny, ignore", text);
	return EXIT_OK;
}

static int take_root(void *context, const char *text)
{
	struct options *options = context;

	if (options->root_count == ROOTS_MAX)
		return cmd_usage("node", "--kubepods: at most %d", ROOTS_MAX);
	options->roots[options->root_count++] = text;
	return EXIT_OK;
}

/* A directory that is not there would make every pod's `run` fail: that is said once, and now. */
static int check_options(struct options *options, int rest)
{
	struct node_options *node = &options->node;
	char authority[4096];

	if (options->list)
		return -1;
	if (options->json)
		return cmd_usage("node", "--json goes with --list");
	if (!node->policies || !node->ca_directory || !node->kubelet.url)
		return cmd_usage("node", "--policies DIR, --ca-dir DIR and --kubelet URL are needed");
	/* They become a fixed list of arguments in node_child.c, which has no room to find that out. */
	if (rest > NODE_MORE_MAX)
		return cmd_usage("node", "at most %d options for run", NODE_MORE_MAX);
	snprintf(authority, sizeof(authority), "%s/ca.pem", node->ca_directory);
	if (access(authority, R_OK) < 0)
		return cmd_usage("node", "--ca-dir %s: no ca.pem there that can be read; 'egress-bpf ca "
				 "init DIR' makes one", node->ca_directory);
	return -1;
}

/* -1: go on; else the exit status. */
static int parse_options(struct options *options, int argc, char **argv)
{
	struct node_options *node = &options->node;
	const struct cmd_option list[] = {
		{"policies", .text = &node->policies},
		{"tokens", .text = &node->tokens},
		{"ca-dir", .text = &node->ca_directory},
		{"kubelet", .text = &node->kubelet.url},
		{"kubelet-address", .text = &node->kubelet.address},
		{"kubelet-ca", .text = &node->kubelet.ca_file},
		{"kubelet-token", .text = &node->kubelet.token_file},
		{"interval", .seconds = &options->node.interval_s},
		{"unknown", .take = take_unknown, .context = options},
		{"publish-declared", .flag = &node->publish},
		{"kubepods", .take = take_root, .context = options},
		{"state-dir", .text = &node->state_directory},
		{"ready-file", .text = &options->ready_file},
		{"list", .flag = &options->list},
		{"json", .flag = &options->json},
		{0},
	};
	int status = cmd_options("node", help_text, list, argc, argv);

	if (status >= 0)
		return status;
	node->more = argv + optind;
	node->more_count = (size_t)(argc - optind);
	node->roots = options->roots;
	return check_options(options, argc - optind);
}

/* The lock before the ready file, which is the other agent's while that has the lock. */
static int run_agent(struct options *options)
{
	struct error error = {0};
	int lock = node_lock(options->node.state_directory, &error), status;

	if (lock < 0 || ready_open(options->ready_file, &options->node.ready, &error) < 0) {
		diag_error("node: %s", error.text);
		status = EXIT_FAILED;
	} else {
		status = node_run(&options->node);
		ready_free(options->node.ready);
	}
	if (lock >= 0)
		close(lock);
	return status;
}

/* Reads what agents noted and asks none, so that it also tells of one that is dead. A probe wants the
 * exit status: the list alone says nothing of whether the kubelet has answered. */
static int list_pods(const struct options *options)
{
	struct error error = {0};

	if (node_list(options->node.state_directory, options->json, stdout, &error) < 0) {
		diag_error("node: %s", error.text);
		return EXIT_FAILED;
	}
	return options->ready_file && access(options->ready_file, F_OK) < 0 ? EXIT_FAILED : EXIT_OK;
}

int cmd_node(int argc, char **argv)
{
	struct options options = {
		.node = {.state_directory = NODE_STATE_DIRECTORY, .interval_s = 30}};
	int status = parse_options(&options, argc, argv);

	if (status >= 0)
		return status;
	return options.list ? list_pods(&options) : run_agent(&options);
}
