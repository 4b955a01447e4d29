/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the kernel module share, and nobody else. */
#ifndef KERNEL_PRIVATE_H
#define KERNEL_PRIVATE_H

#include "../bpf/egress_skb.h"
#include "kernel.h"

/* The maps of bpf/egress_abi.h that are pinned; the names are the ELF's and the pins'. */
#define KERNEL_MAPS(X)                                                                             \
	X(SETTINGS, settings)                                                                      \
	X(ADDRESSES, addresses)                                                                    \
	X(CIDRS, cidrs)                                                                            \
	X(HOSTS, hosts)                                                                            \
	X(HOST_COUNTERS, host_counters)                                                            \
	X(COUNTERS, counters)                                                                      \
	X(VERDICTS, verdicts)                                                                      \
	X(HOST_VERDICTS, host_verdicts)                                                            \
	X(FLOWS, flows)                                                                            \
	X(SOCKETS, sockets)                                                                        \
	X(PEERS, peers)                                                                            \
	X(WIRES, wires)                                                                            \
	X(DENIALS, denials)                                                                        \
	X(LET_IN, let_in)
enum kernel_map {
#define X(symbol, name) KERNEL_MAP_##symbol,
	KERNEL_MAPS(X)
#undef X
	KERNEL_MAP_COUNT
};
extern const char *const kernel_map_names[KERNEL_MAP_COUNT];

/* The programs in the order in which they are attached. */
struct kernel_program {
	const char *name;
	const char *since; /* the first Linux that has the hook */
};
#define KERNEL_PROGRAM_COUNT 15
extern const struct kernel_program kernel_programs[KERNEL_PROGRAM_COUNT];
/* Beside the cgroup, where they are asked for and the kernel can; see kernel_unix.c. */
#define KERNEL_UNIX_PROGRAM_COUNT 2
extern const struct kernel_program kernel_unix_programs[KERNEL_UNIX_PROGRAM_COUNT];

#define KERNEL_ROOT_PROGRAM_COUNT 4
extern const struct kernel_program kernel_root_programs[KERNEL_ROOT_PROGRAM_COUNT];

/* Seen from the bottle. */
enum kernel_direction { KERNEL_WIRE_OUT, KERNEL_WIRE_IN, KERNEL_DIRECTIONS };

struct ring_buffer;
struct kernel {
	char name[65];
	int directory_fd; /* holds the lock */
	uint16_t published[EGRESS_MAX_PUBLISHED]; /* as we were told; the map may be written by others */
	uint32_t published_count;
	uint64_t spared_cgroup;
	struct egress_settings settings; /* that kernel_raise() puts in force */
	int wire_programs[KERNEL_DIRECTIONS]; /* of the policy in force */
	bool wires_closed; /* they let nothing pass, on every wire */
	bool adopted;
	int maps[KERNEL_MAP_COUNT];
	struct ring_buffer *ring; /* made by the first reader */
	void (*each_denial)(void *context, const struct egress_denial *denial);
	void *each_denial_context;
	int denials_read;
	bool root_walled;
	struct error unix_missing; /* why that wall was asked for and is not there */
	bool unix_brokered;
};

/* ---- kernel_pins.c: bpffs ------------------------------------------------------------------ */

#define KERNEL_PATH_SIZE 160
/* Not created, not checked for existence; `name` has to be valid. */
void kernel_pins_directory(char path[KERNEL_PATH_SIZE], const char *name);
/* "ROOT/NAME/KIND-ITEM"; KIND is "map", "link" or "cls". Returns `path`. */
const char *kernel_pin_path(char path[KERNEL_PATH_SIZE], const char *name, const char *kind,
			    const char *item);
/* Mounts bpffs where it is missing; safe among several who start at once. */
int kernel_bpffs_mount(struct error *error) WARN_UNUSED;
/* Makes and locks NAME's directory. When another process holds it, the error names its
 * pid as the settings have it. The descriptor holds the lock until it is closed. */
int kernel_pins_lock(const char *name, int *ret_fd, struct error *error) WARN_UNUSED;
/* Whether a supervisor lives. False also when NAME is unknown. */
bool kernel_pins_locked(const char *name);
/* How many of our maps are pinned; and of links by any name, also those of another version. */
size_t kernel_pinned_maps(const char *name);
size_t kernel_pinned_links(const char *name);
/* Removes every pin of NAME, whatever version made it, links first, and its directory. */
int kernel_pins_remove(const char *name, struct error *error) WARN_UNUSED;
/* A pinned object; -1 with errno. */
int kernel_pin_open(const char *name, const char *kind, const char *item);

/* ---- kernel_links.c: programs on the cgroup ------------------------------------------------ */

/* The cgroup that a pinned link is attached to: 0 when it is detached or not pinned, or when the
 * cgroup was removed and only a socket of its own keeps it. */
uint64_t kernel_link_cgroup(const char *name, const char *program);
/* Fails when a living link is attached to another cgroup than `cgroup_id`. */
int kernel_links_check(const char *name, uint64_t cgroup_id, struct error *error) WARN_UNUSED;
/* Puts every program in force: replaces those of living links, makes and pins the links that are
 * missing. On failure what it did is undone. */
int kernel_links_install(const char *name, int cgroup_fd, const int programs[], struct error *error)
	WARN_UNUSED;

/* ---- kernel_unix.c: programs at security hooks ---------------------------------------------- */

/* After the programs on the cgroup, when the maps are pinned. 0 also where the kernel does not load
 * them: kernel_unix_missing() says so. */
int kernel_unix_install(struct kernel *kernel, const struct kernel_open_options *options,
			struct egress_settings *settings, struct error *error) WARN_UNUSED;
/* From the pin, of any program at a security hook; false also when the link is not one of this kind. */
bool kernel_unix_attached(const char *name, const char *program);
/* False where every such program would be refused. */
bool kernel_takes_tracing(void);

/* ---- kernel_root.c: what root may not ask of the kernel -------------------------------------- */

/* When the maps are there. EGRESS_UNIX_WALLED, EGRESS_UNIX_UNABLE, or 0 when it is not asked for: never
 * fails, since what it refuses is beyond what the rest promises. */
uint32_t kernel_root_install(struct kernel *kernel, const struct kernel_open_options *options,
			     const struct egress_settings *settings) WARN_UNUSED;

/* ---- kernel_unix_doors.c: in their place, where a broker makes up for what these cannot see -- */

bool kernel_unix_doors_probe(void);
/* Attaches and pins, under the names of those at security hooks. 1 on a kernel that does not load
 * them. */
int kernel_unix_doors_install(const struct kernel *kernel, const struct kernel_open_options *options,
			      struct error *error) WARN_UNUSED;

/* ---- kernel_tc.c: programs on the bottle's wires -------------------------------------------- */

/* Of our filters. */
#define KERNEL_TC_PRIORITY 1
#define KERNEL_TC_HANDLE 0xe69e55

/* Puts the kernel's wire programs in force wherever NAME's stand; on failure wherever it could. */
int kernel_tc_replace(const struct kernel *kernel, struct error *error) WARN_UNUSED;
/* On how many ends both programs stand; only on `ifindex` unless that is 0. */
size_t kernel_tc_walled(const char *name, uint32_t ifindex);
/* True when there was a wall on `ifindex` of our namespace, and the interface is no more. */
bool kernel_tc_gone(const char *name, uint32_t ifindex);
/* All of NAME's filters that can be seen from this namespace, and every pin of one. */
void kernel_tc_remove(const char *name);
/* Those of other namespaces that some process is in, with their pins. On purpose alone: somebody may be
 * behind such a wire whom kernel_tc_walled() cannot see from here. */
void kernel_tc_remove_elsewhere(const char *name);

/* ---- kernel_wire.c: the programs for the wires ----------------------------------------------- */

/* Loads those that let `targets` with `direct` and the published ports pass; closes nothing that
 * `ret_programs` held before. */
int kernel_wire_load(const struct kernel *kernel, const struct egress_cidr_key *keys,
		     const struct egress_target *targets, size_t count,
		     int ret_programs[KERNEL_DIRECTIONS], struct error *error) WARN_UNUSED;
/* The same, in force at once wherever a wire is walled, and for those to come. */
int kernel_wire_policy(struct kernel *kernel, const struct egress_cidr_key *keys,
		       const struct egress_target *targets, size_t count, struct error *error)
	WARN_UNUSED;
/* kernel.c: -1 and the cure. A wall that we cannot read or take over is left as it is: it goes on
 * refusing, and only a person may decide to take it down. */
int kernel_damaged(const char *name, const char *what, struct error *error);
/* The same when errno, of kernel_pin_open(), is ENOENT; what else it is says nothing against the wall. */
int kernel_map_not_opened(const char *name, const char *map, struct error *error);
/* The settings at `fd`, of this version; or one of these. */
int kernel_settings_of(const char *name, int fd, struct egress_settings *ret, struct error *error)
	WARN_UNUSED;
/* kernel.c: loads; the verifier's words are in the error. */
struct bpf_object;
int kernel_load(struct bpf_object *object, struct error *error) WARN_UNUSED;

/* kernel_btf.c: found once; `known` is 0 where the kernel does not describe its structures. */
struct egress_skb_offsets kernel_skb_offsets(void);

/* kernel.c: the programs' ELF object, which is in the binary once: static. */
const void *kernel_elf(size_t *ret_size);

/* ---- kernel_maps.c ------------------------------------------------------------------------- */

/* -1 with errno: EPROTO when another version made the map, of another size. */
int kernel_settings_read(int settings_fd, struct egress_settings *ret_settings) WARN_UNUSED;
int kernel_settings_write(int settings_fd, const struct egress_settings *settings,
			  struct error *error) WARN_UNUSED;
/* kernel_each_host() for a map that is open without a wall. */
int kernel_each_host_in(int hosts_fd, int (*each)(void *context, const struct kernel_host *host),
			void *context);

#endif
