// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "control.h"
#include "diag.h"
#include "ui.h"

#define DEFAULT_IDLE_MINUTES 15
#define IDLE_MINUTES_MAX (7 * 24 * 60)

static const char help_text[] =
	"usage: egress-bpf ui [NAME] [--listen ADDR:PORT] [--idle MINUTES]\n"
	"\n"
	"Serves a page about one bottle on loopback, and prints the link to it: verdicts as they happen,\n"
	"what waits for a decision, with buttons for that, the policy with the line that decided, hosts\n"
	"and walls. The link is good for one browser tab, once; end this with Ctrl-C and start it again\n"
	"for another. Without NAME: the only bottle there is.\n"
	"\n"
	"  --listen ADDR:PORT  a loopback address, such as [::1]:0; default 127.0.0.1:0, any free port\n"
	"  --idle MINUTES      end when no page was open for so long; default 15\n"
	"  --help              this text\n"
	"\n"
	"From another machine: 'ssh -L PORT:127.0.0.1:PORT HOST', with --listen 127.0.0.1:PORT.\n"
	"\n"
	"Exit status: 0 ended by a signal or by itself, 1 failed, 2 usage error.\n";

static void say_ready(const char *url)
{
	diag_notice("ui: open this, once, in a browser on this machine; Ctrl-C ends it");
	puts(url);
	fflush(stdout);
}

static unsigned parse_minutes(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && number <= IDLE_MINUTES_MAX ? (unsigned)number : 0;
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
	static const struct option long_options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"idle", required_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct ui_options options = {.listen = "127.0.0.1:0", .idle_s = DEFAULT_IDLE_MINUTES * 60};
	char *name = NULL;
	int option, status;

	while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help_text, stdout);
			return EXIT_OK;
		}
		if (option == 'l')
			options.listen = optarg;
		else if (option != 'i')
			return cmd_usage("ui", "unknown option or missing value");
		else if ((options.idle_s = parse_minutes(optarg) * 60) == 0)
			return cmd_usage("ui", "--idle %s: say minutes, 1 to %d", optarg,
					 IDLE_MINUTES_MAX);
	}
	if (optind + 1 < argc)
		return cmd_usage("ui", "say one NAME, or none");
	status = cmd_bottle("ui", argv[optind], &name);
	options.name = name;
	if (status == EXIT_OK)
		status = ask_first(name);
	if (status == EXIT_OK)
		status = serve(&options);
	free(name);
	return status;
}
