// SPDX-License-Identifier: BSD-2-Clause
/* stop: by the plan, or by the slug where the plan is gone. Idempotent: what is not there is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "diag.h"
#include "engine.h"
#include "sidecar.h"

static const char help_text[] =
	"usage: egress-bpf stop PLAN|SLUG [--engine SOCKET]\n"
	"\n"
	"Ends what 'egress-bpf start' began: bottle, sidecar, network holder; then the wall, its tokens\n"
	"and its cgroup. Does nothing when there is nothing. While containers of others are in the\n"
	"bottle its wall stays.\n"
	"\n"
	"  --engine SOCKET       of the engine (default: DOCKER_HOST, or /run/docker.sock)\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 nothing of it is left, 1 something is, 2 usage.\n";

/* A directory is a plan; else it is a slug. */
static int find_slug(const char *what, char **ret, struct error *error)
{
	struct plan *plan = NULL;
	struct stat status;

	if (stat(what, &status) == 0 && S_ISDIR(status.st_mode)) {
		if (plan_read(what, &plan, error) < 0)
			return -1;
		*ret = strdup(plan->slug);
		plan_free(plan);
	} else {
		/* It becomes part of the names of containers and of a directory that is removed: no
		 * slash, no dots alone. */
		if (!engine_name_valid(what) || strlen(what) > 48)
			return error_set(error, "'%s' is neither a plan's directory nor a slug", what);
		*ret = strdup(what);
	}
	return *ret ? 0 : error_set(error, "out of memory");
}

/* The name is judged before an engine is asked: a wrong one is the user's, whatever runs here. */
static int stop(const char *what, const char *wanted, struct error *error)
{
	const char *socket = engine_find_socket(wanted);
	struct engine *engine = NULL;
	char *slug = NULL;
	int result = -1;

	if (find_slug(what, &slug, error) < 0)
		return -1;
	if (!socket)
		error_set(error, "no container engine: neither DOCKER_HOST nor /run/docker.sock");
	else if (engine_open(socket, &engine, error) == 0)
		result = sidecar_stop(engine, slug, error);
	engine_free(engine);
	free(slug);
	return result;
}

int cmd_stop(int argc, char **argv)
{
	const char *socket = NULL;
	const struct cmd_option options[] = {{"engine", .text = &socket}, {0}};
	int status = cmd_options("stop", help_text, options, argc, argv);
	struct error error = {0};

	if (status >= 0)
		return status;
	if (optind + 1 != argc)
		return cmd_usage("stop", "say one PLAN or SLUG");
	if (geteuid() != 0)
		error_set(&error, "needs root: the wall is root's");
	else if (stop(argv[optind], socket, &error) == 0)
		return EXIT_OK;
	diag_error("stop: %s", error.text);
	return EXIT_FAILED;
}
