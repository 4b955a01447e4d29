// SPDX-License-Identifier: BSD-2-Clause
/* start: the plan of a bottle becomes a sidecar on a container engine. The work is sidecar.c's. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "engine.h"
#include "sidecar.h"

static const char help_text[] =
	"usage: egress-bpf start PLAN [--bottle-image IMAGE [-- COMMAND...]] [OPTIONS]\n"
	"\n"
	"Starts the sidecar of a bottle on Docker, by the directory that 'egress-bpf prepare' made, and\n"
	"prints what a container needs to be in the bottle. The values of tokens are taken from the\n"
	"environment, and reach the sidecar by files on a tmpfs. A sidecar that runs already takes the\n"
	"plan's routes and tokens, both at once; the bottle goes on.\n"
	"\n"
	"  --bottle-image IMAGE  start the bottle, too: IMAGE, with COMMAND or its own\n"
	"  --image IMAGE         the image of egress-bpf (default egress-bpf; container/Dockerfile)\n"
	"  --engine SOCKET       of the engine (default: DOCKER_HOST, or /run/docker.sock)\n"
	"  --timeout SECONDS     how long the sidecar may take to be ready (default 30)\n"
	"  --json                print that as JSON\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 it serves, 1 it does not and nothing of it is left, 2 usage or a missing token.\n";

struct start {
	struct sidecar_options sidecar;
	const char *directory, *engine;
	bool json;
};

/* PLAN may stand before options; what stands behind "--" is the bottle's. */
static int parse_options(struct start *start, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"bottle-image", .text = &start->sidecar.bottle_image},
		{"image", .text = &start->sidecar.image},
		{"engine", .text = &start->engine},
		{"timeout", .seconds = &start->sidecar.seconds},
		{"json", .flag = &start->json},
		{0},
	};
	int status;

	if (argc > 1 && argv[1][0] != '-') {
		start->directory = argv[1];
		argv++;
		argc--;
	}
	status = cmd_options_ahead("start", help_text, options, argc, argv);
	if (status >= 0)
		return status;
	if (!start->directory && optind < argc)
		start->directory = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	start->sidecar.command = argv + optind;
	if (!start->directory)
		return cmd_usage("start", "say which PLAN: the directory that 'egress-bpf prepare' made");
	if (optind < argc && !start->sidecar.bottle_image)
		return cmd_usage("start", "'%s' is a command without --bottle-image", argv[optind]);
	return -1;
}

/* A line to copy, since three values that only the engine and the plan know have to come together. */
static void print_text(const struct plan *plan, const struct sidecar_names *names)
{
	printf("%s: ready. A container is in the bottle with:\n"
	       "  docker run --network %s --cgroup-parent %s \\\n"
	       "    --mount type=bind,readonly,src=%s,dst=/usr/local/share/ca-certificates/egress-bpf.crt "
	       "\\\n    IMAGE\n"
	       "Explicit proxy inside: http://egress:9099. End it with: egress-bpf stop %s\n"
	       "What is decided: docker exec %s /usr/bin/egress-bpf events --follow\n",
	       plan->slug, names->network, names->parent, plan->ca_cert_file, plan->slug,
	       names->sidecar);
}

static void print_json(const struct plan *plan, const struct sidecar_names *names)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "bottle", plan->slug, "sidecar",
				   names->sidecar, "network", names->network, "cgroup_parent",
				   names->parent, "ca_cert", plan->ca_cert_file, "proxy",
				   "http://egress:9099");

	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

/* The engine is asked in JSON: what is not UTF-8 would be left out of the question, and all that stands
 * beside it. */
static bool is_speakable(const struct plan *plan)
{
	json_t *text = json_string(plan->directory);

	if (!text)
		diag_error("start: %s: the path is not UTF-8, and the engine takes no other: move the plan",
			   plan->directory);
	json_decref(text);
	return text;
}

static int start_plan(const struct start *start, const struct plan *plan)
{
	struct sidecar_options sidecar = start->sidecar;
	struct sidecar_names names;
	struct engine *engine = NULL;
	struct error error = {0};
	const char *socket = engine_find_socket(start->engine);
	int result = -1;

	sidecar.plan = plan;
	if (!socket)
		error_set(&error, "no container engine: neither DOCKER_HOST nor /run/docker.sock");
	else if (engine_open(socket, &engine, &error) == 0)
		result = sidecar_start(engine, &sidecar, &names, &error);
	engine_free(engine);
	/* Said after the start and not refused before it: whoever chose these networks may have had to. */
	if (result == 0 && plan_wire_open(plan->networks.bottle, plan->networks.sidecar))
		diag_warning("%s: the bottle is on the network %s, and the tc wall does not reach its wire "
			     "from %s: the kernel programs alone hold it (networks: {bottle: none}, or "
			     "sidecar: host)",
			     plan->slug, plan->networks.bottle, plan->networks.sidecar);
	if (result < 0)
		diag_error("start: %s", error.text);
	else if (start->json)
		print_json(plan, &names);
	else
		print_text(plan, &names);
	return result < 0 ? EXIT_FAILED : EXIT_OK;
}

int cmd_start(int argc, char **argv)
{
	struct start start = {.sidecar = {.image = "egress-bpf", .seconds = 30}};
	int status = parse_options(&start, argc, argv);
	struct diag_list errors = {0};
	struct error error = {0};
	struct plan *plan = NULL;

	if (status >= 0)
		return status;
	/* Tokens are in the environment, which a core file would hold with the rest of the
	 * memory. */
	cmd_guard_memory();
	if (geteuid() != 0) {
		diag_error("start: needs root: tokens are to be in files that only root can read");
		return EXIT_FAILED;
	}
	/* Usage, and not failure: nothing has been touched yet, and the same call would end the same way. */
	if (plan_read(start.directory, &plan, &error) < 0) {
		diag_error("start: %s", error.text);
		return EXIT_USAGE;
	}
	status = EXIT_USAGE;
	if (is_speakable(plan) && sidecar_tokens_check(plan, &errors))
		status = start_plan(&start, plan);
	diag_list_print(&errors);
	diag_list_free(&errors);
	plan_free(plan);
	return status;
}
