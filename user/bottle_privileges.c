// SPDX-License-Identifier: BSD-2-Clause
/* What the command may do and what it inherits: user, capabilities, filter, environment. */
#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bottle_broker.h"
#include "bottle_environment.h"
#include "bottle_launch.h"
#include "bottle_seccomp.h"

int launch_environment(struct launch *launch, struct error *error)
{
	const struct bottle_user *user = launch->options->user;
	struct environment_options options = {
		.secrets = launch->plan.secrets,
		.secret_count = launch->plan.secret_count,
		.ca_bundle = launch->ca_bundle,
		.proxy_name = launch->plan.proxy_name,
		.user = user->name,
		.home = user->home,
		.shell = user->shell,
	};

	launch->environment = environment_build(environ, &options);
	if (!launch->environment)
		return error_set(error, "out of memory");
	/* These strings are what /proc/1/environ shows. */
	environment_wipe(environ);
	environ = launch->environment;
	return 0;
}

/* By its path: the directory that we stand in may have been covered since. */
int launch_working_directory(struct launch *launch, struct error *error)
{
	if (launch->working_path && chdir(launch->working_path) == 0)
		return 0;
	if (chdir("/") < 0)
		return error_set(error, "cannot change to /: %s", strerror(errno));
	return 0;
}

/* An empty bounding set: no later execve(2) as uid 0 brings a capability back. */
static int drop_bounding_set(struct error *error)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return error_set(error, "cannot empty the capability bounding set");
	for (int capability = 0; capability <= 63; capability++) {
		if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1)
			return error_set(error, "capability %d stayed in the bounding set",
					 capability);
	}
	return 0;
}

/* Groups first, the user last: after it none could be changed. */
static int become(const struct bottle_user *user, struct error *error)
{
	if (setgroups(user->group_count, user->groups) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return error_set(error, "cannot become user %u: %s", (unsigned)user->uid,
				 strerror(errno));
	return 0;
}

/* Asked for again afterwards: a library that silently kept one would undo the walls. */
static int drop_capabilities(struct error *error)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return error_set(error, "cannot drop capabilities");
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_get_caps_process() < 0 || capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return error_set(error, "capabilities stayed after they were dropped");
	return 0;
}

int launch_user(struct launch *launch, struct error *error)
{
	/* The bounding set takes CAP_SETPCAP, the user CAP_SETUID: the capabilities themselves go
	 * last. */
	if (drop_bounding_set(error) < 0 || become(launch->options->user, error) < 0 ||
	    drop_capabilities(error) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(error, "cannot set no_new_privs: %s", strerror(errno));
	/* A change of user clears what was set before, so it is set here (prctl(2)). Nobody inside
	 * may look into the init either. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(error, "prctl: %s", strerror(errno));
	return 0;
}

/* A socket of the caller's stays in the caller's cgroup and network namespace, whose walls are not
 * ours: what can be connected, again too (AF_UNSPEC), or names whom it sends to, reaches others there.
 * Programs at security hooks judge a unix socket by who uses it; where the broker stands in for them,
 * only one that is connected for good may stay. */
static int check_stream(int fd, bool brokered, struct error *error)
{
	int domain = AF_UNSPEC, type = 0;
	socklen_t size = sizeof(int), peer_size = sizeof(struct sockaddr_un);
	struct sockaddr_un peer;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return errno == EBADF ? 0 : error_set(error, "standard stream %d: %s", fd, strerror(errno));
	/* It is on the caller's mounts, where nothing is hidden, cgroupfs neither. */
	if (S_ISDIR(status.st_mode))
		return error_set(error, "standard stream %d is a directory: with it the command could "
				 "reach what is hidden from it", fd);
	if (!S_ISSOCK(status.st_mode))
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX)
		return error_set(error, "standard stream %d is a network socket: with it the command could "
				 "reach others; put a pipe in between: cat | egress-bpf exec ... | cat", fd);
	size = sizeof(int);
	if (!brokered ||
	    (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type != SOCK_DGRAM &&
	     getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0))
		return 0;
	return error_set(error, "standard stream %d is a unix socket that is not connected, or takes "
			 "datagrams: with it the command could reach others", fd);
}

int launch_seccomp(int broker, struct error *error)
{
	int listener = -1, rc = 0;

	for (int fd = 0; rc == 0 && fd < 3; fd++)
		rc = check_stream(fd, broker >= 0, error);
	if (rc == 0)
		rc = bottle_seccomp_load(broker >= 0 ? &listener : NULL, error);
	if (rc == 0 && listener >= 0)
		rc = bottle_broker_engage(broker, listener, error);
	if (listener >= 0)
		close(listener);
	return rc;
}
