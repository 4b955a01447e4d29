// SPDX-License-Identifier: BSD-2-Clause
/* status: read from pins alone, so that it tells the truth when every process of ours is dead. What
 * could be misread as safe is said in capitals. */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "cmd.h"
#include "cmd_bottle.h"
#include "control.h"
#include "diag.h"
#include "kernel.h"
#include "reason.h"
#include "status.h"

static const char help_text[] =
	"usage: egress-bpf status [NAME] [--json] [--watch]\n"
	"\n"
	"Shows each bottle's walls and counters, read from the pinned maps: also when every process\n"
	"of ours is dead. Without NAME: all bottles.\n"
	"\n"
	"  --json   an array of objects instead of tables\n"
	"  --watch  again each second, until interrupted\n"
	"  --help   this text\n"
	"\n"
	"P50 and P99 are the proxy's own time, in ms, until a request was on its way: half, and all but\n"
	"one in a hundred, took less. They, the policy's age and the last reload are known while the\n"
	"sidecar is alive.\n"
	"\n"
	"Exit status: 0 every wall is whole, 1 one is not, or there is no such bottle, 2 usage error.\n";

/* ---- tables ---------------------------------------------------------------------------------- */

static void print_open_wire(const struct egress_wire *wire)
{
	if (strcmp(wire->kind, "veth") == 0)
		printf("          %s is a veth, %s: not walled from outside\n", wire->name,
		       wire->outside ? "whose outer end has lost or never had its programs, as far as "
				       "can be seen from this network namespace"
				     : "whose outer end is out of our reach");
	else
		printf("          %s is a %s: not walled from outside\n", wire->name,
		       wire->kind[0] ? wire->kind : "device of no known kind");
}

static void print_wall0(const struct kernel_status *status)
{
	size_t open = status_open_wires(status);

	if (status->settings.shared_netns) {
		printf("  wall 0  ABSENT: shares the host's network namespace; sockets made before it"
		       " joined and packet sockets are not held\n");
	} else if (open == 0 && status->walled_ends == 0) {
		printf("  wall 0  no wire: own network namespace with lo alone\n");
	} else {
		printf("  wall 0  %sveth: %zu of %zu walled\n",
		       open ? "OWN NETWORK NAMESPACE WITH WIRE, NOT WALLED; " : "",
		       status->walled_ends, status->walled_ends + open);
		printf("          not held: links of its own, by root with the host's CAP_NET_ADMIN%s\n",
		       status->settings.published_count
			       ? "; what leaves from a published port, by root with its CAP_SYS_ADMIN"
			       : "");
		for (size_t i = 0; i < status->wire_count; i++)
			if (!status->wires[i].walled)
				print_open_wire(&status->wires[i].wire);
	}
}

static void print_walls(const struct kernel_status *status)
{
	printf("%s: %s\n", status->name,
	       status->supervisor_pid ? "sidecar alive"
				      : "SIDECAR DEAD: the wall stands, everything is refused");
	print_wall0(status);
	printf("  wall 1  %zu of %zu kernel programs attached%s\n", status_attached_links(status),
	       status->link_count, status_is_whole(status) ? "" : "; MISSING:");
	for (size_t i = 0; i < status->link_count; i++) {
		if (!status->links[i].attached)
			printf("          %s\n", status->links[i].name);
	}
	if (status->settings.unix_wall == EGRESS_UNIX_UNABLE)
		printf("          unix sockets that are bound outside later are NOT refused: this kernel"
		       " cannot ('egress-bpf doctor' says why)\n");
	if (!status->cgroup_alive)
		printf("  the bottle's cgroup is gone; 'egress-bpf detach %s' clears this up\n",
		       status->name);
}

static void print_counters(const struct kernel_status *status)
{
	printf("\n  %-24s %12s %12s\n", "REASON", "KERNEL", "PROXY");
	for (int i = 0; i < EGRESS_REASON_COUNT; i++) {
		if (status->counters[i] || status->verdicts[i])
			printf("  %-24s %12" PRIu64 " %12" PRIu64 "\n", reason_name(i),
			       (uint64_t)status->counters[i], (uint64_t)status->verdicts[i]);
	}
	for (int i = EGRESS_REASON_COUNT; i < EGRESS_COUNTER_COUNT; i++) {
		if (status->counters[i])
			printf("  %-24s %12" PRIu64 "\n", status_counter_names[i - EGRESS_REASON_COUNT],
			       (uint64_t)status->counters[i]);
	}
}

static int by_name(const void *a, const void *b)
{
	const struct kernel_host_status *x = a, *y = b;

	return strcmp(x->host.name, y->host.name);
}

/* "0.1" or "-" */
static const char *latency_text(const json_t *sidecar, uint32_t id, const char *key, char text[16])
{
	char name[16];
	json_int_t us;

	snprintf(name, sizeof(name), "%u", id);
	us = json_integer_value(
		json_object_get(json_object_get(json_object_get(sidecar, "latency"), name), key));
	if (us == 0)
		return "-";
	snprintf(text, 16, "%.*f", us < 1000 ? 2 : us < 100000 ? 1 : 0, (double)us / 1000);
	return text;
}

static void print_hosts(struct kernel_status *status, const json_t *sidecar)
{
	char p50[16], p99[16];
	char address[ADDRESS_TEXT_SIZE];

	if (status->host_count == 0)
		return;
	qsort(status->hosts, status->host_count, sizeof(*status->hosts), by_name);
	printf("\n  %-32s %-15s %8s %8s %8s %12s %12s %7s %7s\n", "HOST", "ADDRESS", "STEERED", "ALLOWED",
	       "REFUSED", "BYTES UP", "BYTES DOWN", "P50", "P99");
	for (size_t i = 0; i < status->host_count; i++) {
		const struct kernel_host_status *h = &status->hosts[i];

		printf("  %-32s %-15s %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %12" PRIu64 " %12" PRIu64
		       " %7s %7s%s\n",
		       h->host.name, address_format(&h->host.address, address),
		       (uint64_t)h->counters.steered, (uint64_t)h->verdicts.allowed,
		       (uint64_t)(h->counters.refused + h->verdicts.refused),
		       (uint64_t)h->verdicts.bytes_up, (uint64_t)h->verdicts.bytes_down,
		       latency_text(sidecar, h->host.id, "p50_us", p50),
		       latency_text(sidecar, h->host.id, "p99_us", p99),
		       h->removed ? "  (removed)" : "");
	}
}

static void format_age(time_t since, char text[24])
{
	long long age = (long long)(time(NULL) - since);

	if (age < 120)
		snprintf(text, 24, "%lld s", age > 0 ? age : 0);
	else if (age < 7200)
		snprintf(text, 24, "%lld min", age / 60);
	else
		snprintf(text, 24, "%lld h", age / 3600);
}

static void print_buffers(const json_t *buffers)
{
	json_int_t limit = json_integer_value(json_object_get(buffers, "limit")) >> 20;

	if (limit > 0)
		printf("  buffers %lld of %lld MiB; %lld ended for being the largest when they were full\n",
		       (long long)json_integer_value(json_object_get(buffers, "bytes")) >> 20,
		       (long long)limit,
		       (long long)json_integer_value(json_object_get(buffers, "ended")));
}

static void print_lost(const json_t *tallies)
{
	json_int_t lost = json_integer_value(json_object_get(tallies, "log_lost"));

	if (lost > 0)
		printf("  log     %lld records LOST: it could not be written, or its reader is slow\n",
		       (long long)lost);
}

static void print_workers(const json_t *sidecar)
{
	int restarts = (int)json_integer_value(json_object_get(sidecar, "restarts"));
	int all = (int)json_integer_value(json_object_get(sidecar, "workers"));
	int ready = (int)json_integer_value(json_object_get(sidecar, "workers_ready"));

	if (all > 1)
		printf("  workers %d, of which %d %s; restarted %d %s\n", all, ready,
		       ready == 1 ? "serves" : "serve", restarts, restarts == 1 ? "time" : "times");
	else
		printf("  worker  %s; restarted %d %s\n", ready ? "serves" : "DOES NOT SERVE",
		       restarts, restarts == 1 ? "time" : "times");
}

static void print_sidecar(const json_t *sidecar)
{
	const json_t *reload = json_object_get(sidecar, "reload");
	const char *hash = json_string_value(json_object_get(sidecar, "policy_hash"));
	const char *file = json_string_value(json_object_get(sidecar, "policy_file"));
	const char *error = json_string_value(json_object_get(reload, "error"));
	char age[24];

	if (!sidecar)
		return;
	format_age((time_t)json_integer_value(json_object_get(sidecar, "policy_since")), age);
	printf("  policy  %.12s in force for %s%s%s\n", hash ? hash : "", age, file && *file ? ", " : "",
	       file ? file : "");
	format_age((time_t)json_integer_value(json_object_get(reload, "at")), age);
	if (error && *error)
		printf("          LAST RELOAD FAILED %s ago: %s\n", age, error);
	else if (error)
		printf("          last reload %s ago, without error\n", age);
	if (json_array_size(json_object_get(sidecar, "grants")) > 0)
		printf("  grants  %zu in force beside the file; 'egress-bpf pending' lists them\n",
		       json_array_size(json_object_get(sidecar, "grants")));
	print_workers(sidecar);
	print_buffers(json_object_get(sidecar, "buffers"));
	print_lost(json_object_get(sidecar, "tallies"));
}

/* ---- the command ------------------------------------------------------------------------------ */

/* Prints, or adds to `list`. EXIT_OK when the wall is whole. */
static int show(const char *name, json_t *list)
{
	struct kernel_status status = {0};
	struct error error = {0};
	json_t *sidecar;
	int result;

	if (kernel_read_status(name, &status, &error) < 0) {
		diag_error("status: %s", error.text);
		return EXIT_FAILED;
	}
	result = status_is_whole(&status) ? EXIT_OK : EXIT_FAILED;
	/* A dead one's socket is not asked: the pins say it all, at once. */
	sidecar = status.supervisor_pid ? status_ask_sidecar(name) : NULL;
	if (list) {
		json_array_append_new(list, status_json(&status, sidecar));
	} else {
		print_walls(&status);
		print_sidecar(sidecar);
		print_counters(&status);
		print_hosts(&status, sidecar);
	}
	json_decref(sidecar);
	kernel_status_free(&status);
	return result;
}

static int show_all(json_t *list)
{
	struct error error = {0};
	char **names;
	int result = EXIT_OK;

	if (cmd_bottles(&names, &error) < 0) {
		diag_error("status: %s", error.text);
		return EXIT_FAILED;
	}
	if (!names) {
		if (!list)
			diag_notice("status: no bottle has a wall");
		return EXIT_OK;
	}
	for (size_t i = 0; names[i]; i++) {
		if (!list && i > 0)
			putchar('\n');
		if (show(names[i], list) != EXIT_OK)
			result = EXIT_FAILED;
		free(names[i]);
	}
	free((void *)names);
	return result;
}

static int show_once(const char *name, bool json)
{
	json_t *list = json ? json_array() : NULL;
	int result = name ? show(name, list) : show_all(list);

	if (list) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(list);
	}
	return result;
}

/* Until a signal ends us, the output goes away, or the bottle. */
static int watch(const char *name, bool json)
{
	const bool terminal = !json && isatty(STDOUT_FILENO);
	int result;

	/* 'status --watch | head' is to end when its reader does. */
	signal(SIGPIPE, SIG_DFL);
	/* A whole picture in one write: half of one would be on the screen otherwise. */
	setvbuf(stdout, NULL, _IOFBF, 65536);
	do {
		/* To the top, and what is left of the old picture cleared behind the new: no flicker. */
		if (terminal)
			fputs("\033[H\033[J", stdout);
		result = show_once(name, json);
		if (!terminal)
			putchar('\n');
		if (fflush(stdout) != 0 || (name && !kernel_pinned(name)))
			return result;
		sleep(1);
	} while (true);
}

int cmd_status(int argc, char **argv)
{
	bool json = false, again = false;
	const struct cmd_option options[] = {{"json", .flag = &json}, {"watch", .flag = &again}, {0}};
	int status = cmd_options("status", help_text, options, argc, argv);
	const char *name;

	if (status >= 0)
		return status;
	if (optind + 1 < argc)
		return cmd_usage("status", "say one NAME, or none");
	if (optind < argc && !kernel_name_valid(argv[optind]))
		return cmd_usage("status", "'%s' cannot be a bottle's name", argv[optind]);
	name = optind < argc ? argv[optind] : NULL;
	return again ? watch(name, json) : show_once(name, json);
}
