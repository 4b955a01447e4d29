// SPDX-License-Identifier: BSD-2-Clause
/* metrics: for Prometheus, once or served. Needs no sidecar that lives: the counters are pinned. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "cmd_bottle.h"
#include "diag.h"
#include "kernel.h"
#include "metrics.h"

static const char help_text[] =
	"usage: egress-bpf metrics [NAME] [--listen ADDR:PORT]\n"
	"\n"
	"Prints what is counted of every bottle, or of NAME, in the text format of Prometheus. With\n"
	"--listen it serves that at /metrics until SIGTERM: in our network namespace, so that a bottle\n"
	"with one of its own does not reach it, and neither does one that shares it, but for a port that\n"
	"a route names. There is no password: use a loopback address or a unix socket.\n"
	"\n"
	"  --listen ADDR:PORT  such as 127.0.0.1:9469; or the path of a unix socket, made with mode 0600\n"
	"  --help              this text\n"
	"\n"
	"At most 256 hosts of a bottle have a label of their own; the others are added up as host=\"\".\n"
	"\n"
	"Exit status: 0 ok, 1 failed, 2 usage error.\n";

/* Only when it listens: what waits for this line may connect at once. */
static void say_ready(const char *address)
{
	diag_notice("metrics: ready at %s", address);
}

/* No series would be reassuring and wrong where there is no such bottle, or for who cannot look. */
static bool may_look(const char *name)
{
	struct kernel_status status;
	struct error error = {0};
	char **names;

	if (!name) {
		(void)!cmd_bottles(&names, &error);
		for (size_t i = 0; names && names[i]; i++)
			free(names[i]);
		free((void *)names);
	} else if (kernel_read_status(name, &status, &error) == 0) {
		kernel_status_free(&status);
	}
	if (error.text[0])
		diag_error("metrics: %s", error.text);
	return !error.text[0];
}

static int print_once(const char *name)
{
	struct bytes text = {0};
	bool fine;

	if (!may_look(name))
		return EXIT_FAILED;
	fine = metrics_collect(name, &text);
	if (fine)
		fwrite(bytes_span(&text).data, 1, text.length, stdout);
	else
		diag_error("metrics: out of memory");
	bytes_free(&text);
	/* A full disk or a closed pipe must not pass for a scrape. */
	return fine && fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

int cmd_metrics(int argc, char **argv)
{
	const char *address = NULL, *name;
	const struct cmd_option options[] = {{"listen", .text = &address}, {0}};
	int status = cmd_options("metrics", help_text, options, argc, argv);
	struct error error = {0};

	if (status >= 0)
		return status;
	if (optind + 1 < argc)
		return cmd_usage("metrics", "say one NAME, or none");
	name = argv[optind];
	/* It stands in labels without being escaped: user/metrics.c. */
	if (name && !kernel_name_valid(name))
		return cmd_usage("metrics", "'%s' cannot be a bottle's name", name);
	if (!address)
		return print_once(name);
	if (metrics_serve(address, name, say_ready, &error) == 0)
		return EXIT_OK;
	diag_error("metrics: %s", error.text);
	return EXIT_FAILED;
}
