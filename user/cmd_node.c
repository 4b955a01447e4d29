// SPDX-License-Identifier: BSD-2-Clause
/* node: the agent of a Kubernetes node. The work is node.c's. */
#include <getopt.h>
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

enum {
	OPTION_POLICIES = 256,
	OPTION_TOKENS,
	OPTION_CA,
	OPTION_KUBELET,
	OPTION_KUBELET_ADDRESS,
	OPTION_KUBELET_CA,
	OPTION_KUBELET_TOKEN,
	OPTION_INTERVAL,
	OPTION_UNKNOWN,
	OPTION_PUBLISH,
	OPTION_KUBEPODS,
	OPTION_STATE,
	OPTION_READY,
	OPTION_LIST,
	OPTION_JSON,
};

static const struct option long_options[] = {
	{"policies", required_argument, NULL, OPTION_POLICIES},
	{"tokens", required_argument, NULL, OPTION_TOKENS},
	{"ca-dir", required_argument, NULL, OPTION_CA},
	{"kubelet", required_argument, NULL, OPTION_KUBELET},
	{"kubelet-address", required_argument, NULL, OPTION_KUBELET_ADDRESS},
	{"kubelet-ca", required_argument, NULL, OPTION_KUBELET_CA},
	{"kubelet-token", required_argument, NULL, OPTION_KUBELET_TOKEN},
	{"interval", required_argument, NULL, OPTION_INTERVAL},
	{"unknown", required_argument, NULL, OPTION_UNKNOWN},
	{"publish-declared", no_argument, NULL, OPTION_PUBLISH},
	{"kubepods", required_argument, NULL, OPTION_KUBEPODS},
	{"state-dir", required_argument, NULL, OPTION_STATE},
	{"ready-file", required_argument, NULL, OPTION_READY},
	{"list", no_argument, NULL, OPTION_LIST},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* The digit is looked at first: strtoul(3) takes blanks and a sign as well. */
static int take_interval(struct options *options)
{
	char *end;
	unsigned long value = strtoul(optarg, &end, 10);

	if (optarg[0] < '0' || optarg[0] > '9' || *end || value < 1 || value > 3600)
		return cmd_usage("node", "--interval %s: not seconds from 1 to 3600", optarg);
	options->node.interval_s = (unsigned)value;
	return EXIT_OK;
}

/* Any other word is refused: a typing error must not choose the weaker of two. */
static int take_unknown(struct options *options)
{
	options->node.ignore_unknown = strcmp(optarg, "ignore") == 0;
	if (!options->node.ignore_unknown && strcmp(optarg, "deny") != 0)
		return cmd_usage("node", "--unknown %s: would be right: deny, ignore", optarg);
	return EXIT_OK;
}

static int take_root(struct options *options)
{
	if (options->root_count == ROOTS_MAX)
		return cmd_usage("node", "--kubepods: at most %d", ROOTS_MAX);
	options->roots[options->root_count++] = optarg;
	return EXIT_OK;
}

/* The options that are a text and no more. */
static const char **text_of(struct options *options, int option)
{
	struct node_options *node = &options->node;

	switch (option) {
	case OPTION_POLICIES:
		return &node->policies;
	case OPTION_TOKENS:
		return &node->tokens;
	case OPTION_CA:
		return &node->ca_directory;
	case OPTION_KUBELET:
		return &node->kubelet.url;
	case OPTION_KUBELET_ADDRESS:
		return &node->kubelet.address;
	case OPTION_KUBELET_CA:
		return &node->kubelet.ca_file;
	case OPTION_KUBELET_TOKEN:
		return &node->kubelet.token_file;
	case OPTION_STATE:
		return &node->state_directory;
	case OPTION_READY:
		return &options->ready_file;
	default:
		return NULL;
	}
}

static int take_option(struct options *options, int option)
{
	const char **text = text_of(options, option);

	if (text) {
		*text = optarg;
		return EXIT_OK;
	}
	switch (option) {
	case OPTION_INTERVAL:
		return take_interval(options);
	case OPTION_UNKNOWN:
		return take_unknown(options);
	case OPTION_KUBEPODS:
		return take_root(options);
	case OPTION_PUBLISH:
		options->node.publish = true;
		return EXIT_OK;
	case OPTION_LIST:
		options->list = true;
		return EXIT_OK;
	case OPTION_JSON:
		options->json = true;
		return EXIT_OK;
	default:
		return cmd_usage("node", "unknown option or missing value");
	}
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
	int option, status;

	while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help_text, stdout);
			return EXIT_OK;
		}
		status = take_option(options, option);
		if (status != EXIT_OK)
			return status;
	}
	options->node.more = argv + optind;
	options->node.more_count = (size_t)(argc - optind);
	options->node.roots = options->roots;
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
