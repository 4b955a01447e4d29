/* SPDX-License-Identifier: BSD-2-Clause */
/* The bottle's inside: what its init does step by step before it runs the command. */
#ifndef BOTTLE_LAUNCH_H
#define BOTTLE_LAUNCH_H

#include "attributes.h"
#include "bottle.h"

/* The octet that lets the command run. */
#define LAUNCH '!'
#define LAUNCH_BROKERED 'b'

/* Ends of pipes that the init was born with. */
struct launch_pipes {
	int plan;   /* read: bottle_plan_write()'s text, then one octet: go; end of file: give up */
	int report; /* write: one octet 0 when loopback is up; then nothing, or status and text */
	int life;   /* read: end of file when the supervisor is gone */
	int broker[2]; /* the init's end, bottle_broker_engage(), and the broker's */
};

struct bottle_sockets; /* bottle_sockets.c */

/* The state the steps share. */
struct launch {
	const struct bottle_options *options;
	struct bottle_plan plan;
	char *directory;    /* private tmpfs for the files below */
	char *ca_bundle;    /* path in it */
	char *working_path; /* to go back to when the mounts are done; NULL: "/" */
	char **environment;
	struct bottle_sockets *sockets;
};

/* Process 1 of the bottle; never returns. */
NORETURN void bottle_init(const struct bottle_options *options, const struct launch_pipes *pipes);

/* The plan on its way through the pipe, as JSON; what follows it stays in the pipe. The reader's
 * strings live until it exits. */
int bottle_plan_write(int fd, const struct bottle_plan *plan, struct error *error) WARN_UNUSED;
int bottle_plan_read(int fd, struct bottle_plan *ret_plan, struct error *error) WARN_UNUSED;

/* ---- steps: 0, or -1 with `error` set ------------------------------------------------------ */

/* bottle_mounts.c */
int launch_private_mounts(struct launch *launch, struct error *error);
int launch_proc(struct launch *launch, struct error *error);
int launch_sys(struct launch *launch, struct error *error);
int launch_hide_filesystems(struct launch *launch, struct error *error);
int launch_hide_devices(struct launch *launch, struct error *error);
int launch_hide_secrets(struct launch *launch, struct error *error);
/* bottle_sockets.c; the first while /proc is still the host's */
int launch_find_sockets(struct launch *launch, struct error *error);
int launch_hide_sockets(struct launch *launch, struct error *error);
/* bottle_files.c */
int launch_directory(struct launch *launch, struct error *error);
int launch_names(struct launch *launch, struct error *error);
int launch_trust(struct launch *launch, struct error *error);
int launch_seal(struct launch *launch, struct error *error);
/* bottle_privileges.c */
int launch_environment(struct launch *launch, struct error *error);
int launch_working_directory(struct launch *launch, struct error *error);
int launch_user(struct launch *launch, struct error *error);
/* When the walls are up; `broker` is launch_pipes' end, or -1 when it is not needed. */
int launch_seccomp(int broker, struct error *error) WARN_UNUSED;

/* Covers a file, socket or directory with an empty, read-only one. What is not there is no
 * error. */
int bottle_cover(const struct launch *launch, const char *path, struct error *error) WARN_UNUSED;
/* Makes a file in the private directory, and binds it over `target` (NULL: nowhere). */
int bottle_place(const struct launch *launch, const char *name, const void *data, size_t length,
		 const char *target, struct error *error) WARN_UNUSED;

#endif
