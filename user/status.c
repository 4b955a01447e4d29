// SPDX-License-Identifier: BSD-2-Clause
#include "status.h"

#include <stdio.h>

#include "address.h"
#include "control.h"
#include "reason.h"

const char *const status_counter_names[] = {"steered", "dns",	      "loopback", "direct",
					    "probe",   "lost_events", "wire_dropped"};

_Static_assert(sizeof(status_counter_names) / sizeof(status_counter_names[0]) ==
		       EGRESS_COUNTER_COUNT - EGRESS_REASON_COUNT,
	       "a name for each counter");

size_t status_attached_links(const struct kernel_status *status)
{
	size_t attached = 0;

	for (size_t i = 0; i < status->link_count; i++)
		attached += status->links[i].attached;
	return attached;
}

bool status_is_whole(const struct kernel_status *status)
{
	return status->link_count > 0 && status_attached_links(status) == status->link_count;
}

size_t status_open_wires(const struct kernel_status *status)
{
	size_t open = 0;

	for (size_t i = 0; i < status->wire_count; i++)
		open += !status->wires[i].walled;
	return open;
}

static const char *wall0_name(const struct kernel_status *status)
{
	/* First of all: in a shared namespace the wires are the host's, and no number of walled
	 * ones makes it a wall. */
	if (status->settings.shared_netns)
		return "shared";
	if (status_open_wires(status) > 0)
		return "open";
	return status->walled_ends > 0 ? "walled" : "no_wire";
}

/* By settings.unix_wall. */
static const char *const unix_names[] = {
	[0] = "not_walled",
	[EGRESS_UNIX_WALLED] = "walled",
	[EGRESS_UNIX_UNABLE] = "kernel_cannot",
	[EGRESS_UNIX_BROKERED] = "brokered",
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
			 json_wires(status), "whole", status_is_whole(status), "attached", attached,
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

json_t *status_json(const struct kernel_status *status, json_t *sidecar)
{
	json_t *hosts = json_array(), *counters = json_object();
	char hash[33];

	for (size_t i = 0; i < status->host_count; i++)
		json_array_append_new(hosts, json_host(&status->hosts[i]));
	for (int i = EGRESS_REASON_COUNT; i < EGRESS_COUNTER_COUNT; i++)
		json_object_set_new(counters, status_counter_names[i - EGRESS_REASON_COUNT],
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

json_t *status_ask_sidecar(const char *name)
{
	int fd = control_ask(name, json_pack("{s:s}", "command", "status"), NULL);

	return fd < 0 ? NULL : control_answer(fd, NULL);
}
