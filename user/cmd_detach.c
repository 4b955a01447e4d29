// SPDX-License-Identifier: BSD-2-Clause
/* detach: the one command that opens a bottle on purpose. Refused while a supervisor lives, unless
 * forced: it would otherwise go on as if the wall stood. */
#include <stdio.h>

#include "cmd.h"
#include "control.h"
#include "diag.h"
#include "kernel.h"

static const char help_text[] =
	"usage: egress-bpf detach NAME [--force]\n"
	"\n"
	"Takes the wall of a bottle down, on purpose: what still runs in it can reach whatever its\n"
	"network lets it reach.\n"
	"\n"
	"  --force  also while its sidecar runs\n"
	"  --help   this text\n"
	"\n"
	"Exit status: 0 the wall is down, 1 there was none of that name, or it could not be taken\n"
	"down, 2 usage error.\n";

int cmd_detach(int argc, char **argv)
{
	struct error error = {0};
	bool force = false;
	const struct cmd_option options[] = {{"force", .flag = &force}, {0}};
	int status = cmd_options("detach", help_text, options, argc, argv), result;

	if (status >= 0)
		return status;
	if (optind + 1 != argc)
		return cmd_usage("detach", "say the NAME of one bottle");
	if (!kernel_name_valid(argv[optind]))
		return cmd_usage("detach", "'%s' cannot be a bottle's name", argv[optind]);
	result = kernel_detach(argv[optind], force, &error);
	if (result == 1)
		error_set(&error, "there is no wall named '%s'; 'egress-bpf status' lists them",
			  argv[optind]);
	/* Also where there was no wall: a sidecar that was killed may have left its socket's
	 * file. */
	if (result >= 0)
		control_forget(argv[optind]);
	if (result == 0)
		return EXIT_OK;
	diag_error("detach: %s", error.text);
	return EXIT_FAILED;
}
