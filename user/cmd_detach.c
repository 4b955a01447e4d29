// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdio.h>

#include "cmd.h"
#include "diag.h"
#include "kernel.h"

static const char help_text[] =
	"usage: egress-bpf detach NAME [--force]\n"
	"\n"
	"Takes the wall of a bottle down, on purpose: what still runs in it can reach whatever its\n"
	"network lets it reach. Does nothing when there is none.\n"
	"\n"
	"  --force  also while its sidecar runs\n"
	"  --help   this text\n"
	"\n"
	"Exit status: 0 there is no wall now, 1 failed, 2 usage error.\n";

int cmd_detach(int argc, char **argv)
{
	static const struct option options[] = {
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct error error = {0};
	bool force = false;
	int option;

	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help_text, stdout);
			return EXIT_OK;
		}
		if (option != 'f')
			return cmd_usage("detach", "unknown option");
		force = true;
	}
	if (optind + 1 != argc)
		return cmd_usage("detach", "say the NAME of one bottle");
	if (!kernel_name_valid(argv[optind]))
		return cmd_usage("detach", "'%s' cannot be a bottle's name", argv[optind]);
	if (kernel_detach(argv[optind], force, &error) < 0) {
		diag_error("detach: %s", error.text);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}
