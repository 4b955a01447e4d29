// SPDX-License-Identifier: BSD-2-Clause
/* status: read from pins alone, so that it tells the truth when every process of ours is dead. What
 * could be misread as safe is said in capitals. */
#include <errno.h>
#include <getopt.h>
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
#include "control.h"
#include "diag.h"
#include "kernel.h"
#include "reason.h"

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

/* Counters that are no reasons; `enum egress_counter` from EGRESS_REASON_COUNT on. */
static const char *const counter_names[] = {"steered", "dns",	      "loopback", "direct",
					    "probe",   "lost_events", "wire_dropped"};

_Static_assert(sizeof(counter_names) / sizeof(counter_names[0]) ==
		       EGRESS_COUNTER_COUNT - EGRESS_REASON_COUNT,
	       "a name for each counter");

static size_t attached_links(const struct kernel_status *status)
{
	size_t attached = 0;

	for (size_t i = 0; i < status->link_count; i++)
		attached += status->links[i].attached;
	return attached;
}

/* No links at all is not whole. */
static bool is_whole(const struct kernel_status *status)
{
	return status->link_count > 0 && attached_links(status) == status->link_count;
}

/* Wires that are not walled from outside. */
static size_t open_wires(const struct kernel_status *status)
{
	size_t open = 0;

	for (size_t i = 0; i < status->wire_count; i++)
		open += !status->wires[i].walled;
	return open;
}

static const char *wall0_name(const struct kernel_status *status)
{
	if (status->settings.shared_netns)
		return "shared";
	if (open_wires(status) > 0)
		return "open";
	return status->walled_ends > 0 ? "walled" : "no_wire";
}

/* By settings.unix_wall. */
static const char *const unix_names[] = {
	[0] = "not_walled",
	[EGRESS_UNIX_WALLED] = "walled",
	[EGRESS_UNIX_UNABLE] = "kernel_cannot",
};

/* ---- JSON ------------------------------------------------------------------------------------ */

/* JSON's integers are signed; a counter takes centuries to get there. */
static json_t *json_counter(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* Reasons that never occurred are left out. */
static json_t *json_reasons(const uint64_t *counters)
{
	json_t *object = json_object();

	for (int i = 0; i < EGRESS_REASON_COUNT; i++) {
		if (counters[i])
			json_object_set_new(object, reason_name(i), json_counter(counters[i]));
	}
	return object;
}

static json_t *json_wires(const struct kernel_status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->wire_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:b}", "name",
						      status->wires[i].wire.name, "kind",
						      status->wires[i].wire.kind, "outside",
						      (int)status->wires[i].wire.outside, "walled",
						      status->wires[i].walled));
	return list;
}

static json_t *json_walls(const struct kernel_status *status)
{
	json_t *missing = json_array(), *attached = json_array();

	for (size_t i = 0; i < status->link_count; i++)
		json_array_append_new(status->links[i].attached ? attached : missing,
				      json_string(status->links[i].name));
	return json_pack("{s:b, s:s, s:o, s:b, s:o, s:o, s:s}", "own_network_namespace",
			 !status->settings.shared_netns, "wall0", wall0_name(status), "wires",
			 json_wires(status), "whole", is_whole(status), "attached", attached,
			 "missing", missing, "unix_sockets", unix_names[status->settings.unix_wall]);
}

static json_t *json_host(const struct kernel_host_status *host)
{
	char address[ADDRESS_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "host", host->host.name,
			 "address", address_format(&host->host.address, address), "removed",
			 host->removed, "steered", (json_int_t)host->counters.steered,
			 "kernel_refused", (json_int_t)host->counters.refused, "allowed",
			 (json_int_t)host->verdicts.allowed, "refused",
			 (json_int_t)host->verdicts.refused, "bytes_up",
			 (json_int_t)host->verdicts.bytes_up, "bytes_down",
			 (json_int_t)host->verdicts.bytes_down);
}

static json_t *json_status(const struct kernel_status *status, json_t *sidecar)
{
	json_t *hosts = json_array(), *counters = json_object();
	char hash[33];

	for (size_t i = 0; i < status->host_count; i++)
		json_array_append_new(hosts, json_host(&status->hosts[i]));
	for (int i = EGRESS_REASON_COUNT; i < EGRESS_COUNTER_COUNT; i++)
		json_object_set_new(counters, counter_names[i - EGRESS_REASON_COUNT],
				    json_counter(status->counters[i]));
	for (size_t i = 0; i < sizeof(status->settings.policy_hash); i++)
		snprintf(hash + 2 * i, 3, "%02x", status->settings.policy_hash[i]);
	return json_pack("{s:s, s:b, s:i, s:b, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:O?}", "name",
			 status->name, "alive", status->supervisor_pid != 0, "pid",
			 (int)status->supervisor_pid, "cgroup_alive", status->cgroup_alive,
			 "policy_hash", hash, "proxy_port", (int)status->settings.proxy_port,
			 "walls", json_walls(status), "kernel", json_reasons(status->counters),
			 "proxy", json_reasons(status->verdicts), "counters", counters, "hosts",
			 hosts, "sidecar", sidecar);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void print_open_wire(const struct egress_wire *wire)
{
	if (strcmp(wire->kind, "veth") == 0)
		printf("          %s is a veth, %s: not walled from outside\n", wire->name,
		       wire->outside ? "whose outer end has lost or never had its programs"
				     : "whose outer end is out of our reach");
	else
		printf("          %s is a %s: not walled from outside\n", wire->name,
		       wire->kind[0] ? wire->kind : "device of no known kind");
}

static void print_wall0(const struct kernel_status *status)
{
	size_t open = open_wires(status);

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
	printf("  wall 1  %zu of %zu kernel programs attached%s\n", attached_links(status),
	       status->link_count, is_whole(status) ? "" : "; MISSING:");
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
			printf("  %-24s %12" PRIu64 "\n", counter_names[i - EGRESS_REASON_COUNT],
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

static void print_sidecar(const json_t *sidecar)
{
	const json_t *reload = json_object_get(sidecar, "reload");
	const char *hash = json_string_value(json_object_get(sidecar, "policy_hash"));
	const char *file = json_string_value(json_object_get(sidecar, "policy_file"));
	const char *error = json_string_value(json_object_get(reload, "error"));
	int restarts = (int)json_integer_value(json_object_get(sidecar, "restarts"));
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
	printf("  worker  %s; restarted %d %s\n",
	       json_is_true(json_object_get(sidecar, "worker_ready")) ? "serves" : "DOES NOT SERVE",
	       restarts, restarts == 1 ? "time" : "times");
}

/* ---- the command ------------------------------------------------------------------------------ */

/* What only a living sidecar knows; NULL when it does not say. */
static json_t *ask_sidecar(const char *name)
{
	int fd = control_ask(name, json_pack("{s:s}", "command", "status"), NULL);

	return fd < 0 ? NULL : control_answer(fd, NULL);
}

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
	result = is_whole(&status) ? EXIT_OK : EXIT_FAILED;
	sidecar = status.supervisor_pid ? ask_sidecar(name) : NULL;
	if (list) {
		json_array_append_new(list, json_status(&status, sidecar));
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

/* Who cannot look is told so: 'no bottle' would be reassuring and wrong. */
static int show_all(json_t *list)
{
	char **names = kernel_list();
	int result = EXIT_OK;

	if (!names && errno != ENOENT) {
		diag_error("status: cannot look into " KERNEL_PIN_ROOT ": %s; only root can",
			   strerror(errno));
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

static bool is_gone(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), KERNEL_PIN_ROOT "/%s", name);
	return access(path, F_OK) < 0;
}

/* Until a signal ends us, the output goes away, or the bottle. */
static int watch(const char *name, bool json)
{
	const bool terminal = !json && isatty(STDOUT_FILENO);
	int result;

	signal(SIGPIPE, SIG_DFL);
	setvbuf(stdout, NULL, _IOFBF, 65536);
	do {
		/* To the top, and what is left of the old picture cleared behind the new: no flicker. */
		if (terminal)
			fputs("\033[H\033[J", stdout);
		result = show_once(name, json);
		if (!terminal)
			putchar('\n');
		if (fflush(stdout) != 0 || (name && is_gone(name)))
			return result;
		sleep(1);
	} while (true);
}

int cmd_status(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"watch", no_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false, again = false;
	const char *name;
	int option;

	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help_text, stdout);
			return EXIT_OK;
		}
		if (option != 'j' && option != 'w')
			return cmd_usage("status", "unknown option");
		json |= option == 'j';
		again |= option == 'w';
	}
	if (optind + 1 < argc)
		return cmd_usage("status", "say one NAME, or none");
	if (optind < argc && !kernel_name_valid(argv[optind]))
		return cmd_usage("status", "'%s' cannot be a bottle's name", argv[optind]);
	name = optind < argc ? argv[optind] : NULL;
	return again ? watch(name, json) : show_once(name, json);
}
