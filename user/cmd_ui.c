// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "control.h"
#include "diag.h"
#include "ui.h"

#define DEFAULT_IDLE_S (15 * 60)
#define IDLE_MAX_S (7 * 24 * 3600)

static const char help_text[] =
	"usage: egress-bpf ui [NAME] [--listen ADDR:PORT] [--idle TIME]\n"
	"\n"
	"Serves a page about one bottle on loopback, and prints the link to it: verdicts as they happen,\n"
	"what waits for a decision, with buttons for that, the policy with the line that decided, hosts\n"
	"and walls. The link is good for one browser tab, once; end this with Ctrl-C and start it again\n"
	"for another. Without NAME: the only bottle there is.\n"
	"\n"
	"  --listen ADDR:PORT  a loopback address, such as [::1]:0; default 127.0.0.1:0, any free port\n"
	"  --idle TIME         end when no page was open for so long: 90s, 15m, 2h; default 15m\n"
	"  --help              this text\n"
	"\n"
	"From another machine: 'ssh -L PORT:127.0.0.1:PORT HOST', with --listen 127.0.0.1:PORT.\n"
	"\n"
	"Exit status: 0 ended by a signal or by itself, 1 failed, 2 usage error.\n";

/* The address alone is on standard output, for scripts; it holds the secret that is good once. */
static void say_ready(const char *url)
{
	diag_notice("ui: open this, once, in a browser on this machine; Ctrl-C ends it");
	puts(url);
	fflush(stdout);
}

/* Seconds; 0: it is no time, or too long. */
static unsigned parse_time(const char *text)
{
	static const char units[] = "smh";
	static const unsigned lengths[] = {1, 60, 3600};
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	const char *unit = end[0] && !end[1] ? strchr(units, end[0]) : NULL;

	/* The limit is divided, not the number multiplied: that could wrap round to a short time. */
	if (*text < '0' || *text > '9' || !unit || number > IDLE_MAX_S / lengths[unit - units])
		return 0;
	return (unsigned)number * lengths[unit - units];
}

/* A link to a page that can say nothing is of no use. */
static int ask_first(const char *name)
{
	struct error error = {0};
	int fd = control_ask(name, json_pack("{s:s}", "command", "status"), &error);

	if (fd >= 0) {
		close(fd);
		return EXIT_OK;
	}
	diag_error("ui: %s", error.text);
	return EXIT_FAILED;
}

static int serve(const struct ui_options *options)
{
	struct error error = {0};

	if (ui_serve(options, say_ready, &error) == 0)
		return EXIT_OK;
	diag_error("ui: %s", error.text);
	return EXIT_FAILED;
}

int cmd_ui(int argc, char **argv)
{
	struct ui_options ui = {.listen = "127.0.0.1:0", .idle_s = DEFAULT_IDLE_S};
	const char *idle = NULL;
	const struct cmd_option options[] = {{"listen", .text = &ui.listen}, {"idle", .text = &idle}, {0}};
	int status = cmd_options("ui", help_text, options, argc, argv);
	char *name = NULL;

	if (status >= 0)
		return status;
	if (idle && (ui.idle_s = parse_time(idle)) == 0)
		return cmd_usage("ui", "--idle %s: say 90s, 15m or 2h, at most 168h", idle);
	if (optind + 1 < argc)
		return cmd_usage("ui", "say one NAME, or none");
	status = cmd_bottle("ui", argv[optind], &name);
	ui.name = name;
	if (status == EXIT_OK)
		status = ask_first(name);
	if (status == EXIT_OK)
		status = serve(&ui);
	free(name);
	return status;
}
