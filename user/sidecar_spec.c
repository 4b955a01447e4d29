// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sidecar.h"
#include "trust_variables.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PLAN_INSIDE "/etc/egress-bpf/plan"
#define CURRENT_INSIDE (PLAN_INSIDE "/current")
#define ROUTES_INSIDE (PLAN_INSIDE "/current/" PLAN_ROUTES)
#define TOKENS_INSIDE (PLAN_INSIDE "/current/" SIDECAR_TOKENS)
#define STATE_INSIDE "/run/egress-bpf/state"
#define READY_INSIDE (STATE_INSIDE "/ready")
#define BUNDLE_INSIDE "/etc/egress-bpf/ca-bundle.pem"

/* What the sidecar may do. BPF and PERFMON are parts of SYS_ADMIN, which setns() needs, and older
 * engines do not know them. */
static const char *const capabilities[] = {
	"SYS_ADMIN", /* setns() into the bottle's network, load programs, objects by id */
	"NET_ADMIN", /* programs for sockets and packets */
	"NET_RAW",   /* the self-test's raw socket: that the wall refuses it, and not the kernel */
	"SETUID", "SETGID", "SETPCAP", /* for a worker of its own account with none of these */
};

/* The engine's usual list, with /proc/sys in parts: net, which is the network namespace's own, is left
 * out, so that our ports in the bottle can be reserved. */
static const char *const read_only_paths[] = {
	"/proc/bus",	    "/proc/fs",	       "/proc/irq",	"/proc/sysrq-trigger",
	"/proc/sys/abi",    "/proc/sys/debug", "/proc/sys/dev", "/proc/sys/fs",
	"/proc/sys/kernel", "/proc/sys/user",  "/proc/sys/vm",
};

/* Not "Binds": there a colon in a path would be the separator, and a path that is not there would be
 * made, as a directory. */
static json_t *mount(const char *host, const char *inside, bool read_only)
{
	return json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source", host, "Target", inside,
			 "ReadOnly", read_only);
}

static json_t *strings(const char *const *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(items[i]));
	return list;
}

/* What all three have: a mark by whom they are. */
static json_t *describe(const struct sidecar_options *options, const char *image, json_t *command,
			json_t *host)
{
	return json_pack("{s:s, s:o*, s:{s:s}, s:o}", "Image", image, "Cmd", command, "Labels",
			 "egress-bpf.bottle", options->plan->slug, "HostConfig", host);
}

json_t *sidecar_spec_holder(const struct sidecar_options *options,
			    const struct sidecar_names *names)
{
	json_t *host = json_pack("{s:s, s:s, s:b, s:[s], s:[s]}", "NetworkMode",
				 options->plan->networks.bottle, "CgroupParent", names->parent,
				 "ReadonlyRootfs", 1, "SecurityOpt", "no-new-privileges", "CapDrop",
				 "ALL");

	return describe(options, options->image, json_pack("[s]", "pause"), host);
}

static json_t *sidecar_mounts(const struct plan *plan, const struct sidecar_files *files,
			      const char *cgroup_root)
{
	json_t *list = json_pack("[o,o,o,o]", mount(files->plan, PLAN_INSIDE, true),
				 mount(files->state, STATE_INSIDE, false),
				 mount("/sys/fs/bpf", "/sys/fs/bpf", false),
				 mount(cgroup_root, cgroup_root, true));

	for (size_t i = 0; i < plan->file_count; i++)
		json_array_append_new(list, mount(plan->files[i], plan->files[i], true));
	return list;
}

/* AppArmor's docker-default forbids writing below /sys/fs/bpf. The cgroups are the host's, all of
 * them, for a program's depth is counted from their root; read-only is enough to attach. */
json_t *sidecar_spec_sidecar(const struct sidecar_options *options,
			     const struct sidecar_names *names, const struct sidecar_files *files,
			     const char *cgroup_root, const char *cgroup)
{
	const char *const command[] = {
		"run",		"--name",	  options->plan->slug,
		"--policy",	ROUTES_INSIDE,	  "--ca-dir",
		CURRENT_INSIDE, "--token-dir",	  TOKENS_INSIDE,
		"--cgroup",	cgroup,		  "--netns",
		"/proc/1/ns/net", "--ready-file", READY_INSIDE,
	};
	json_t *host = json_pack(
		"{s:s, s:s, s:s, s:b, s:[s,s], s:{s:s,s:s}, s:[s], s:o, s:o, s:o}", "NetworkMode",
		options->plan->networks.sidecar, "PidMode", names->network, "CgroupnsMode", "host",
		"ReadonlyRootfs", 1, "SecurityOpt", "no-new-privileges", "apparmor=unconfined",
		"Tmpfs", "/tmp", "mode=0700", "/run/egress-bpf", "mode=0700", "CapDrop", "ALL",
		"CapAdd", strings(capabilities, COUNT(capabilities)), "ReadonlyPaths",
		strings(read_only_paths, COUNT(read_only_paths)), "Mounts",
		sidecar_mounts(options->plan, files, cgroup_root));

	return describe(options, options->image,
			strings(command, COUNT(command)), host);
}

static json_t *bottle_environment(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < trust_variable_count; i++)
		json_array_append_new(list, json_sprintf("%s=" BUNDLE_INSIDE, trust_variables[i]));
	return list;
}

json_t *sidecar_spec_bottle(const struct sidecar_options *options,
			    const struct sidecar_names *names, const struct sidecar_files *files)
{
	json_t *host = json_pack("{s:s, s:s, s:b, s:[s], s:[s,s], s:[o]}", "NetworkMode",
				 names->network, "CgroupParent", names->parent, "Init", 1,
				 "SecurityOpt",
				 "no-new-privileges", "CapDrop", "NET_RAW", "NET_ADMIN", "Mounts",
				 mount(files->bundle, BUNDLE_INSIDE, true));
	json_t *command = NULL, *spec;

	if (options->command && options->command[0]) {
		command = json_array();
		for (size_t i = 0; options->command[i]; i++)
			json_array_append_new(command, json_string(options->command[i]));
	}
	spec = describe(options, options->bottle_image, command, host);
	json_object_set_new(spec, "Env", bottle_environment());
	return spec;
}
